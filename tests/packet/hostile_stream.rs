//! Many packets of few tuples on one table, whoever sent them: honest ones, guesses, and
//! backends that lose their flows meanwhile. What is promised of flows holds after each.

use std::collections::BTreeMap;

use fastrand::Rng;
use lb_common::{
    abi::{
        address::Address,
        flow::{FlowKey, REPLY},
    },
    tcp::{CLIENT_FIN, CLOSED, WAS_RESET},
};

use crate::{
    frame::{ACK, Ends, FIN, PSH, RST, SYN},
    hostile::{MODES, client, segment, turned},
    world::{World, backend_mac},
};

/// Packets for each mode and family.
const PACKETS: u32 = 10_000;
const BACKENDS: u16 = 3;
const TUPLES: u16 = 5;

/// A forward entry of the established table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Known {
    backend: u16,
    state: u32,
    epoch: u32,
    seq: u32,
    ack: u32,
}

impl Known {
    /// Nobody has said yet that it ends.
    fn is_open(&self) -> bool {
        self.state & (CLOSED | CLIENT_FIN | WAS_RESET) == 0
    }
}

/// The flows by their clients' ports.
fn flows(world: &mut World, v6: bool) -> BTreeMap<u16, Known> {
    let known = |flow: (u16, u32, u32, u32, u32)| Known {
        backend: flow.0,
        state: flow.1,
        epoch: flow.2,
        seq: flow.3,
        ack: flow.4,
    };
    if v6 {
        let flows = world.flows6("FLOWS_V6").into_iter();
        flows
            .filter(|(_, f)| f.state & REPLY == 0)
            .map(|(k, f)| (port(&k), known((f.backend, f.state, f.epoch, f.seq, f.ack))))
            .collect()
    } else {
        let flows = world.flows4("FLOWS_V4").into_iter();
        flows
            .filter(|(_, f)| f.state & REPLY == 0)
            .map(|(k, f)| (port(&k), known((f.backend, f.state, f.epoch, f.seq, f.ack))))
            .collect()
    }
}

fn port<A: Address>(key: &FlowKey<A>) -> u16 {
    assert_ne!(key.source.words(), [0; 4], "a client has an address");
    key.ports.source()
}

struct Stream {
    world: World,
    v6: bool,
    rng: Rng,
    epochs: BTreeMap<u16, u32>,
    /// How the backend sees each tuple's packets.
    at_backend: BTreeMap<u16, Ends>,
}

impl Stream {
    fn ends(&self, port: u16) -> Ends {
        let mut ends = client(self.v6);
        ends.from.set_port(port);
        ends
    }

    /// A number that fits, is near, or is nobody's.
    fn number(&mut self, known: u32) -> u32 {
        let off = [0, 0, 0, 1, u32::MAX, self.rng.u32(..)];
        known.wrapping_add(off[self.rng.usize(..off.len())])
    }

    /// One packet, and what holds after it.
    fn step(&mut self, seed: u64) {
        let before = flows(&mut self.world, self.v6);
        let port = 1000 + self.rng.u16(..TUPLES);
        if self.rng.u32(..150) == 0 {
            let backend = self.rng.u16(..BACKENDS);
            let epoch = self.epochs.entry(backend).or_insert(1);
            *epoch += 1;
            let epoch = *epoch;
            self.world
                .put_backend(backend, self.v6, |b| b.epoch = epoch);
        }
        let flow = before.get(&port).copied();
        let flags = [
            SYN,
            SYN | ACK,
            ACK,
            ACK,
            ACK | PSH,
            FIN | ACK,
            RST,
            RST | ACK,
        ];
        let flags = flags[self.rng.usize(..flags.len())];
        let answers = self.rng.u32(..3) == 0 || flags == SYN | ACK;
        // As a handshake has them, where there is no flow yet.
        let first = match (flags & SYN != 0, answers) {
            (true, false) => (1001, 5001),
            (true, true) => (1002, 5001),
            (false, _) => (1002, 5002),
        };
        let (seq, ack) = flow.map_or(first, |f| (f.seq, f.ack));
        let (seq, ack) = (self.number(seq), self.number(ack));
        let ends = match self.at_backend.get(&port) {
            Some(at_backend) if answers => turned(*at_backend),
            _ => self.ends(port),
        };
        let sent = if ends.from.port() == port {
            segment(ends, flags, seq, ack)
        } else {
            segment(ends, flags, ack, seq)
        };
        let out = self.world.tcp(sent);
        let what = || format!("seed {seed}, {sent:?} of {flow:?}");
        let of_client = ends.from.port() == port;
        if of_client && flags == SYN {
            let seen = out.seen();
            if seen.ends.to != ends.from {
                self.at_backend.insert(port, seen.ends);
            }
        }
        if let Some(flow) = flow
            && of_client
        {
            let number = flow.backend - if self.v6 { 100 } else { 0 };
            let is_owned = flow.epoch == self.epochs.get(&number).copied().unwrap_or(1);
            if is_owned && flow.is_open() {
                assert_eq!(
                    out.seen().macs.0,
                    backend_mac(flow.backend),
                    "P2: {}",
                    what()
                );
            } else if !is_owned && flags == ACK {
                let answer = out.segment();
                assert_eq!((answer.flags, answer.seq), (RST, ack), "P4: {}", what());
            }
        }
        let after = flows(&mut self.world, self.v6);
        for (port, flow) in &before {
            let number = flow.backend - if self.v6 { 100 } else { 0 };
            let is_owned = flow.epoch == self.epochs.get(&number).copied().unwrap_or(1);
            if is_owned && flow.is_open() {
                let now = after.get(port);
                let stays =
                    now.is_some_and(|now| (now.backend, now.epoch) == (flow.backend, flow.epoch));
                assert!(stays, "P2, P6: {flow:?} became {now:?} by {}", what());
            }
        }
        for backend in 0..BACKENDS {
            let index = World::index(backend, self.v6);
            let counters = self.world.counters(index);
            let open = after
                .values()
                .filter(|flow| flow.backend == index && flow.state & CLOSED == 0)
                .count();
            let books = counters.opened - counters.closed;
            assert_eq!(books, open as u64, "P9, {backend}: {}", what());
        }
    }
}

#[test]
fn p2_p4_p6_p9_hold_after_every_packet_of_a_stream_of_honest_and_made_up_ones() {
    let seed = std::env::var("EBB_FUZZ_SEED").ok().map_or_else(
        || fastrand::u64(..),
        |n| n.parse().expect("EBB_FUZZ_SEED is a number"),
    );
    for mode in MODES {
        for v6 in [false, true] {
            let mut stream = Stream {
                world: World::new(mode, BACKENDS),
                v6,
                rng: Rng::with_seed(seed),
                epochs: BTreeMap::new(),
                at_backend: BTreeMap::new(),
            };
            for _ in 0..PACKETS {
                stream.step(seed);
            }
            let index = |backend| World::index(backend, v6);
            let opened: u64 = (0..BACKENDS)
                .map(|backend| stream.world.counters(index(backend)).opened)
                .sum();
            assert!(opened > 20, "{mode:?}: only {opened} flows were opened");
        }
    }
}
