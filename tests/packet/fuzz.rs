//! Random and mutated packets, through the program and through the model: the
//! same verdict and the same bytes, a million times.

use std::{
    collections::{HashMap, HashSet},
    net::{IpAddr, SocketAddr},
    time::{Duration, Instant},
};

use fastrand::Rng;
use lb_common::abi::counter::Verdict;

use crate::{
    frame::{self, ACK, Ends, FIN, Icmp, PSH, RST, SYN, Segment},
    model::{Backend, Model, Tuple},
    world::{CLIENT_MAC, Mode, OTHER_IFINDEX, OUR_MAC, PASS, VIP4, VIP6, World, backend_mac},
};

/// How many packets, all modes together; `EBB_FUZZ_PACKETS` says another number.
const PACKETS: u64 = 1_000_000;
/// A round begins with empty tables and is over long before a second has passed
/// (however the machine stumbles), after which flows would count as settled.
const ROUND: u64 = 2000;
const ROUND_TIME: Duration = Duration::from_millis(250);
const BACKENDS: u16 = 4;
/// In nat, this one is reached by another interface than its answers come in by.
const ELSEWHERE: u16 = 3;

#[test]
fn the_program_does_what_the_model_says() {
    let packets = std::env::var("EBB_FUZZ_PACKETS").ok().map_or(PACKETS, |n| {
        n.parse().expect("EBB_FUZZ_PACKETS is a number")
    });
    let seed = std::env::var("EBB_FUZZ_SEED").ok().map_or_else(
        || fastrand::u64(..),
        |n| n.parse().expect("EBB_FUZZ_SEED is a number"),
    );
    println!("EBB_FUZZ_SEED={seed}");
    let mut rng = Rng::with_seed(seed);
    for mode in [Mode::Nat, Mode::Dsr, Mode::Ipip] {
        let mut pair = Pair::new(mode);
        let (mut done, mut forwarded) = (0, 0);
        while done < packets / 3 {
            let (sent, went) = pair.round(&mut rng);
            done += sent;
            forwarded += went;
        }
        println!("{mode:?}: {done} packets, {forwarded} forwarded");
        // A fuzz that only makes rubbish proves nothing.
        assert!(forwarded > done / 20, "too few packets were forwarded");
        if mode.tunnels() {
            let told = pair.verdicts.get(Verdict::TunnelTooBig.name());
            println!("{told:?} clients told of their tunnels");
            assert!(told.is_some() || done < 10_000, "no error about a tunnel");
        }
    }
}

/// The program and the model, told the same.
struct Pair {
    world: World,
    model: Model,
    verdicts: HashMap<&'static str, u64>,
    forwarded: u64,
}

impl Pair {
    fn new(mode: Mode) -> Self {
        let mut world = World::with_tables(mode, BACKENDS, 8192, 65_536);
        if mode == Mode::Nat {
            for v6 in [false, true] {
                world.put_backend(ELSEWHERE, v6, |b| b.ifindex = OTHER_IFINDEX);
            }
        }
        let mut backends = HashMap::new();
        for v6 in [false, true] {
            for b in 0..BACKENDS {
                let index = World::index(b, v6);
                let backend = Backend {
                    address: World::backend_address(b, v6),
                    mac: backend_mac(index),
                    same_interface: if mode == Mode::Nat {
                        b != ELSEWHERE
                    } else {
                        b.is_multiple_of(2)
                    },
                    epoch: 1,
                    takes_new: true,
                };
                backends.insert(index, backend);
            }
        }
        let model = Model {
            mode,
            vips: [VIP4.parse().unwrap(), VIP6.parse().unwrap()],
            nat_sources: [World::nat_source(false), World::nat_source(true)],
            nat_ports: (1024, 32_767),
            nat_seed: 7,
            lb_seed: 1,
            cursors: HashMap::new(),
            bound: HashSet::new(),
            again: None,
            slots: [world.slots(false), world.slots(true)],
            backends,
            flows: HashMap::new(),
            half_open: HashMap::new(),
            renewals: HashMap::new(),
            fragments: HashMap::new(),
            books: HashMap::new(),
            mtu: 1500,
            tunnel_bits: [16, 32],
        };
        Self {
            world,
            model,
            verdicts: HashMap::new(),
            forwarded: 0,
        }
    }

    fn round(&mut self, rng: &mut Rng) -> (u64, u64) {
        self.world.clear();
        // What the tables lose by clearing is no flow's end.
        self.model.clear();
        let (opened, closed) = (self.books_of_world(), self.model.books.clone());
        let begun = Instant::now();
        let before = self.forwarded;
        let mut sent = 0;
        for _ in 0..ROUND {
            if begun.elapsed() > ROUND_TIME {
                break;
            }
            self.change(rng);
            let frame = self.packet(rng);
            self.check(&frame);
            sent += 1;
        }
        for (index, (o, c)) in self.books_of_world() {
            let (o0, c0) = opened[&index];
            let (mo, mc) = self.model.books.get(&index).copied().unwrap_or_default();
            let (mo0, mc0) = closed.get(&index).copied().unwrap_or_default();
            assert_eq!(
                (o - o0, c - c0),
                (mo - mo0, mc - mc0),
                "books of backend {index}"
            );
        }
        let found: HashMap<_, _> = self.world.verdicts().into_iter().collect();
        assert_eq!(found, self.verdicts, "the verdicts differ");
        let tables = (self.world.established(false), self.world.established(true));
        let of = |v6| {
            self.model
                .flows
                .keys()
                .filter(|t| t.to.is_ipv6() == v6)
                .count()
        };
        assert_eq!(tables, (of(false), of(true)), "the tables differ");
        (sent, self.forwarded - before)
    }

    fn books_of_world(&mut self) -> HashMap<u16, (u64, u64)> {
        let indices: Vec<_> = self.model.backends.keys().copied().collect();
        indices
            .into_iter()
            .map(|i| {
                let counters = self.world.counters(i);
                (i, (counters.opened, counters.closed))
            })
            .collect()
    }

    /// Now and then a backend goes out of service, comes back, or loses its
    /// flows.
    fn change(&mut self, rng: &mut Rng) {
        if rng.u32(..200) != 0 {
            return;
        }
        let (backend, v6) = (rng.u16(..BACKENDS), rng.bool());
        let entry = self
            .model
            .backends
            .get_mut(&World::index(backend, v6))
            .unwrap();
        if rng.bool() {
            entry.takes_new = !entry.takes_new;
        } else {
            entry.epoch += 1;
        }
        let (epoch, takes_new) = (entry.epoch, entry.takes_new);
        let elsewhere = !entry.same_interface;
        self.world.put_backend(backend, v6, |b| {
            b.epoch = epoch;
            if elsewhere {
                b.ifindex = OTHER_IFINDEX;
            }
            if !takes_new {
                b.flags &= !lb_common::abi::backend::TAKES_NEW;
            }
        });
    }

    fn check(&mut self, frame: &[u8]) {
        if !World::takes(frame) {
            return;
        }
        let (action, expected, verdict) = self.model.run(frame);
        let out = self.world.run(frame);
        let dropped = verdict.is_some_and(|v| v.name().starts_with("drop"));
        // Of a dropped packet nobody sees the bytes.
        let same = out.action == action && (dropped || out.frame == expected);
        assert!(
            same,
            "{:?} packet {frame:02x?}\nmodel   {action} {verdict:?} {expected:02x?}\nprogram {} {:02x?}\n{:?}",
            self.model.mode,
            out.action,
            out.frame,
            self.world.verdicts(),
        );
        if out.action == PASS {
            assert!(out.frame == frame, "a passed packet was changed");
        }
        match verdict {
            None => self.forwarded += 1,
            // The limit on these errors goes by the clock.
            Some(Verdict::TooBig | Verdict::DropTooBig) => unreachable!("packets here are small"),
            Some(verdict) => *self.verdicts.entry(verdict.name()).or_default() += 1,
        }
    }

    fn packet(&self, rng: &mut Rng) -> Vec<u8> {
        let mut frame = match rng.u32(..10) {
            0..=2 => stray(rng),
            3..=8 => self.known(rng).unwrap_or_else(|| stray(rng)),
            _ if self.model.mode == Mode::Ipip && rng.bool() => {
                self.tunnel_error(rng).unwrap_or_else(|| stray(rng))
            }
            _ => self.error(rng).unwrap_or_else(|| stray(rng)),
        };
        for _ in 0..2 {
            if rng.u32(..4) == 0 {
                frame = mutate(rng, frame);
            }
        }
        frame
    }

    /// A packet of a flow that is in a table, in a state that may follow.
    fn known(&self, rng: &mut Rng) -> Option<Vec<u8>> {
        let (tuple, seq, ack) = self.pick(rng)?;
        let ends = ends_of(tuple);
        if tuple.protocol == 17 {
            return Some(frame::udp(macs(rng), ends, &vec![1; rng.usize(..40)]));
        }
        let flags = [
            SYN,
            SYN | ACK,
            ACK,
            ACK,
            ACK,
            ACK | PSH,
            FIN | ACK,
            RST,
            RST | ACK,
            rng.u8(..32),
        ];
        let jitter = [0, 0, 0, 1, rng.u32(..)];
        let segment = Segment {
            ends,
            flags: flags[rng.usize(..flags.len())],
            seq: seq.wrapping_add(jitter[rng.usize(..5)]),
            ack: ack.wrapping_add(jitter[rng.usize(..5)]),
            payload: rng.usize(..60),
        };
        Some(frame::tcp(macs(rng), segment))
    }

    /// A tuple of the tables, with the numbers that its next packet has.
    fn pick(&self, rng: &mut Rng) -> Option<(Tuple, u32, u32)> {
        let table = if rng.bool() {
            &self.model.flows
        } else {
            &self.model.half_open
        };
        // The order of a hash map is random already; looking at few is enough.
        let at = rng.usize(..table.len().max(1)).min(50);
        let (tuple, flow) = table.iter().nth(at)?;
        let other = table.get(&flow.write.reversed());
        let ack = other.map_or(flow.numbers.ack, |o| o.numbers.seq);
        Some((*tuple, flow.numbers.seq, ack))
    }

    /// An ICMP error about a packet of a tunnel.
    fn tunnel_error(&self, rng: &mut Rng) -> Option<Vec<u8>> {
        let (tuple, seq, ack) = self.pick(rng)?;
        let payload = rng.usize(1100..1440);
        let sent = if tuple.protocol == 17 {
            frame::udp(macs(rng), ends_of(tuple), &vec![9; payload])
        } else {
            let off = [0, 0, 1, 40, rng.u32(..)][rng.usize(..5)];
            let segment = Segment {
                ends: ends_of(tuple),
                flags: ACK,
                seq: seq.wrapping_sub(off),
                ack,
                payload,
            };
            frame::tcp(macs(rng), segment)
        };
        let v6 = tuple.to.is_ipv6();
        let mut about = self.model.wrapped(&sent)?[14..].to_vec();
        let source: IpAddr = if v6 {
            <[u8; 16]>::try_from(&about[8..24]).unwrap().into()
        } else {
            <[u8; 4]>::try_from(&about[12..16]).unwrap().into()
        };
        about.truncate(rng.usize(20..200));
        if rng.u32(..4) == 0 {
            let at = rng.usize(..about.len());
            about[at] = rng.u8(..);
        }
        let big = if v6 { (2, 0) } else { (3, 4) };
        let (kind, code) = [big, big, (rng.u8(..14), rng.u8(..6))][rng.usize(..3)];
        let message = Icmp {
            kind,
            code,
            rest: [0, 0, rng.u8(4..6), rng.u8(..)],
            payload: about,
        };
        let router: IpAddr = if v6 { "fd00:1::f" } else { "10.0.1.15" }.parse().unwrap();
        Some(frame::icmp(macs(rng), router, source, &message))
    }

    /// An ICMP error about a packet that goes against a known tuple.
    fn error(&self, rng: &mut Rng) -> Option<Vec<u8>> {
        let (tuple, seq, ack) = self.pick(rng)?;
        let back = Ends {
            from: ends_of(tuple).to,
            to: ends_of(tuple).from,
        };
        let about = if tuple.protocol == 17 {
            frame::udp(macs(rng), back, b"about this")
        } else {
            // What the client, or the backend, has not acknowledged; or something else.
            let off = [0, 0, 100, u32::MAX, rng.u32(..)][rng.usize(..5)];
            let segment = Segment {
                ends: back,
                flags: ACK,
                seq: ack.wrapping_add(off),
                ack: seq,
                payload: 20,
            };
            frame::tcp(macs(rng), segment)
        };
        let v6 = tuple.to.is_ipv6();
        let message = Icmp {
            kind: rng.u8(..14),
            code: rng.u8(..6),
            rest: [0, 0, rng.u8(4..6), 0],
            payload: about[14..rng.usize(14..=about.len())].to_vec(),
        };
        let router: IpAddr = if v6 { "fd00::f" } else { "10.0.0.15" }.parse().unwrap();
        Some(frame::icmp(macs(rng), router, back.from.ip(), &message))
    }
}

fn ends_of(tuple: Tuple) -> Ends {
    Ends {
        from: SocketAddr::new(tuple.from, tuple.source),
        to: SocketAddr::new(tuple.to, tuple.destination),
    }
}

fn macs(rng: &mut Rng) -> (frame::Mac, frame::Mac) {
    let (mut client, mut ours) = (CLIENT_MAC, OUR_MAC);
    client[5] ^= u8::from(rng.u32(..8) == 0);
    // Of a group, and to somebody else.
    client[0] |= u8::from(rng.u32(..64) == 0);
    ours[5] ^= u8::from(rng.u32(..32) == 0);
    (client, ours)
}

/// A packet between any of a few addresses.
fn stray(rng: &mut Rng) -> Vec<u8> {
    let v6 = rng.bool();
    let clients = if v6 {
        ["fd00::9", "fd00::a"]
    } else {
        ["10.0.0.9", "10.0.0.10"]
    };
    let others = if v6 {
        ["fd00::1", "fd00:1::fe", "fd00:1::1"]
    } else {
        ["10.0.0.1", "10.0.1.254", "10.0.1.1"]
    };
    let vip = if v6 { VIP6 } else { VIP4 };
    let to = if rng.u32(..8) == 0 {
        others[rng.usize(..3)]
    } else {
        vip
    };
    let ports = [80, 80, 80, 80, 81];
    let ends = Ends {
        from: SocketAddr::new(
            clients[rng.usize(..2)].parse().unwrap(),
            rng.u16(1000..1040),
        ),
        to: SocketAddr::new(to.parse().unwrap(), ports[rng.usize(..5)]),
    };
    match rng.u32(..12) {
        0..=2 => frame::udp(macs(rng), ends, &vec![2; rng.usize(..64)]),
        3 => {
            let message = Icmp {
                kind: if v6 { 128 } else { 8 },
                code: 0,
                rest: [1; 4],
                payload: vec![3; rng.usize(..64)],
            };
            frame::icmp(macs(rng), ends.from.ip(), ends.to.ip(), &message)
        }
        4 => {
            let whole = frame::udp(macs(rng), ends, &[4; 100]);
            let mut pieces = frame::fragments(&whole, 40);
            let at = rng.usize(..pieces.len());
            pieces.swap_remove(at)
        }
        5..=9 => {
            let segment = Segment {
                ends,
                flags: SYN,
                seq: rng.u32(..),
                ack: 0,
                payload: 0,
            };
            frame::tcp(macs(rng), segment)
        }
        _ => {
            let segment = Segment {
                ends,
                flags: rng.u8(..32),
                seq: rng.u32(..),
                ack: rng.u32(..),
                payload: rng.usize(..60),
            };
            frame::tcp(macs(rng), segment)
        }
    }
}

fn mutate(rng: &mut Rng, mut frame: Vec<u8>) -> Vec<u8> {
    let plain4 = frame.len() > 34 && frame[12..15] == [8, 0, 0x45];
    let plain6 = frame.len() > 54 && frame[12..14] == [0x86, 0xDD];
    match rng.u32(..9) {
        0 => frame.truncate(rng.usize(14..=frame.len())),
        1 => frame.extend(vec![0; rng.usize(..20)]),
        2 => {
            let at = rng.usize(12..frame.len().max(13));
            if let Some(byte) = frame.get_mut(at) {
                *byte = rng.u8(..);
            }
        }
        3 => {
            let at = rng.usize(12..frame.len().max(13));
            if let Some(byte) = frame.get_mut(at) {
                *byte ^= 1 << rng.u8(..8);
            }
        }
        4 => frame = frame::tagged(&frame, &[[0x81, 0, 0, rng.u8(..)]]),
        5 => frame = frame::tagged(&frame, &[[0x88, 0xA8, 0, 1], [0x81, 0, 0, rng.u8(..)]]),
        6 if plain4 || plain6 => frame = frame::with_hops(&frame, rng.u8(..3)),
        _ if plain4 => frame = frame::with_options(&frame, &vec![1; 4 * rng.usize(1..=10)]),
        _ if plain6 => frame = frame::with_extension(&frame, [0, 43, 60, 44][rng.usize(..4)]),
        _ => {}
    }
    frame
}
