//! What the kernel program should do, said a second time: plainly, over hash
//! maps and byte slices, without a thought for speed. The fuzz test holds the
//! two against each other, byte by byte and verdict by verdict.
//!
//! Shared with the program are the pure pieces that have tests of their own:
//! the hash, the Maglev table, checksum arithmetic and TCP steps.

use std::{
    collections::{HashMap, HashSet},
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
};

use lb_common::{
    abi::{
        address::{Addr4, Addr6},
        counter::Verdict,
        flow::{FlowKey, Ports},
        nat_port,
    },
    checksum, hash,
    maglev::NO_BACKEND,
    tcp::{self, Numbers, Segment},
};

use crate::{
    frame::{ACK, FIN, Mac, RST, SYN},
    world::{ABORTED, DROP, Mode, OUR_MAC, PASS, REDIRECT, TX},
};

const TCP: u8 = 6;
const UDP: u8 = 17;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Tuple {
    pub(crate) from: IpAddr,
    pub(crate) to: IpAddr,
    pub(crate) source: u16,
    pub(crate) destination: u16,
    pub(crate) protocol: u8,
}

impl Tuple {
    pub(crate) fn reversed(self) -> Self {
        Self {
            from: self.to,
            to: self.from,
            source: self.destination,
            destination: self.source,
            protocol: self.protocol,
        }
    }

    /// As the program hashes it.
    fn hash(&self, seed: u32) -> u32 {
        let ports = Ports::new(self.source, self.destination);
        let protocol = u32::from(self.protocol);
        match (self.from, self.to) {
            (IpAddr::V4(a), IpAddr::V4(b)) => {
                let (source, destination) = (Addr4::from(a), Addr4::from(b));
                FlowKey {
                    source,
                    destination,
                    ports,
                    protocol,
                }
                .hash(seed)
            }
            (IpAddr::V6(a), IpAddr::V6(b)) => {
                let (source, destination) = (Addr6::from(a), Addr6::from(b));
                FlowKey {
                    source,
                    destination,
                    ports,
                    protocol,
                }
                .hash(seed)
            }
            _ => unreachable!("a tuple has one family"),
        }
    }
}

#[derive(Debug, Clone)]
pub(crate) struct Flow {
    pub(crate) reply: bool,
    /// Where packets of this direction are made to come from and go to (nat).
    pub(crate) write: Tuple,
    pub(crate) backend: u16,
    pub(crate) epoch: u32,
    pub(crate) client_mac: Mac,
    pub(crate) state: u32,
    pub(crate) answered: bool,
    /// The backend has said something else than the answer to a SYN (nat, not yet answered).
    pub(crate) stuck: bool,
    pub(crate) adopted: bool,
    /// Routers may fragment what the backend sends.
    pub(crate) fragments: bool,
    pub(crate) numbers: Numbers,
    pub(crate) bytes: u64,
}

impl Flow {
    fn has_sent(&self, number: u32) -> bool {
        tcp::is_sent(number, self.numbers.seq, self.bytes)
    }
}

#[derive(Debug, Clone)]
pub(crate) struct Backend {
    pub(crate) address: IpAddr,
    pub(crate) mac: Mac,
    pub(crate) same_interface: bool,
    pub(crate) epoch: u32,
    pub(crate) takes_new: bool,
}

/// Where a datagram's parts lie, and what they say.
#[derive(Debug, Clone)]
struct Datagram {
    l3: usize,
    l4: usize,
    len: usize,
    protocol: u8,
    from: IpAddr,
    to: IpAddr,
    hops: u8,
    id: u32,
    fragment: Fragment,
    /// No options, no extension headers, no tags: what the fast way takes.
    plain: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fragment {
    Whole,
    First,
    Later,
}

#[derive(Debug, Clone)]
struct Packet {
    l3: usize,
    l4: usize,
    len: usize,
    hops: u8,
    tuple: Tuple,
    has_l4: bool,
    segment: Segment,
}

impl Packet {
    fn has(&self, flags: u8) -> bool {
        self.segment.has(flags)
    }
    fn opens(&self) -> bool {
        self.segment.flags & (SYN | ACK | RST | FIN) == SYN
    }
    fn is_tcp(&self) -> bool {
        self.tuple.protocol == TCP
    }
}

pub(crate) struct Model {
    pub(crate) mode: Mode,
    pub(crate) vips: [IpAddr; 2],
    pub(crate) nat_sources: [IpAddr; 2],
    pub(crate) nat_ports: (u16, u16),
    pub(crate) nat_seed: u32,
    pub(crate) lb_seed: u32,
    /// Where the search for a port goes on, by row, and those that are bound.
    pub(crate) cursors: HashMap<nat_port::Owner, u32>,
    pub(crate) bound: HashSet<(nat_port::Owner, u16)>,
    /// The tuple of the backend's packets of a flow that its client begins anew.
    pub(crate) again: Option<Tuple>,
    /// By family, IPv4 first.
    pub(crate) slots: [Vec<u16>; 2],
    pub(crate) backends: HashMap<u16, Backend>,
    pub(crate) flows: HashMap<Tuple, Flow>,
    pub(crate) half_open: HashMap<Tuple, Flow>,
    /// SYNs on open flows: the number that follows each, and how many bytes had
    /// passed of the flow's direction.
    pub(crate) renewals: HashMap<Tuple, (u32, u64)>,
    pub(crate) fragments: HashMap<(IpAddr, IpAddr, u32, u8), (u16, u16)>,
    /// Opened and closed, by backend.
    pub(crate) books: HashMap<u16, (u64, u64)>,
    pub(crate) mtu: usize,
    pub(crate) tunnel_bits: [u8; 2],
}

/// Places in a row of ports.
const PLACES: u32 = 65_536;

/// What the model expects: the action and the frame; the verdict if the packet
/// is not forwarded.
pub(crate) type Expected = (u32, Vec<u8>, Option<Verdict>);

fn be16(b: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_be_bytes(b.get(at..at + 2)?.try_into().ok()?))
}
fn be32(b: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_be_bytes(b.get(at..at + 4)?.try_into().ok()?))
}
fn ip(b: &[u8], at: usize, v6: bool) -> IpAddr {
    if v6 {
        IpAddr::V6(Ipv6Addr::from(
            <[u8; 16]>::try_from(&b[at..at + 16]).unwrap(),
        ))
    } else {
        IpAddr::V4(Ipv4Addr::from(<[u8; 4]>::try_from(&b[at..at + 4]).unwrap()))
    }
}
fn octets(a: IpAddr) -> Vec<u8> {
    match a {
        IpAddr::V4(a) => a.octets().to_vec(),
        IpAddr::V6(a) => a.octets().to_vec(),
    }
}
/// The sum over 32-bit words, as the program sums addresses.
fn words(bytes: &[u8]) -> u64 {
    bytes
        .as_chunks::<4>()
        .0
        .iter()
        .map(|w| u64::from(u32::from_ne_bytes(*w)))
        .sum()
}
fn addresses(a: IpAddr, b: IpAddr) -> u64 {
    words(&octets(a)) + words(&octets(b))
}
fn mend(frame: &mut [u8], at: usize, difference: u64) -> u16 {
    let field = u16::from_ne_bytes([frame[at], frame[at + 1]]);
    let sum = checksum::updated(field, difference);
    frame[at..at + 2].copy_from_slice(&sum.to_ne_bytes());
    sum
}

impl Model {
    fn is_martian(&self, a: IpAddr) -> bool {
        let strange = match a {
            IpAddr::V4(a) => a.is_loopback() || a.octets()[0] == 0 || a.octets()[0] >= 224,
            IpAddr::V6(a) => {
                a.is_unspecified()
                    || a.is_loopback()
                    || a.is_multicast()
                    || a.to_ipv4_mapped().is_some()
            }
        };
        strange || self.is_ours(a)
    }

    fn is_ours(&self, a: IpAddr) -> bool {
        self.vips.contains(&a) || self.nat_sources.contains(&a)
    }

    /// What the program should do with a frame.
    pub(crate) fn run(&mut self, frame: &[u8]) -> Expected {
        match self.way(frame) {
            Ok((action, out)) => (action, out, None),
            Err((verdict, out)) => {
                let action = match verdict.what() {
                    lb_common::abi::counter::What::Pass => PASS,
                    lb_common::abi::counter::What::Drop => DROP,
                    lb_common::abi::counter::What::Abort => ABORTED,
                    lb_common::abi::counter::What::Answer => TX,
                };
                (action, out, Some(verdict))
            }
        }
    }

    fn way(&mut self, frame: &[u8]) -> Result<(u32, Vec<u8>), (Verdict, Vec<u8>)> {
        let pass = |verdict| (verdict, frame.to_vec());
        if self.is_ipv6_for_another(frame) {
            return Err(pass(Verdict::NotOurs));
        }
        if frame[..6] != OUR_MAC && !self.is_hit(frame) {
            let cut = link(frame).is_err();
            let verdict = [Verdict::NotOurs, Verdict::Malformed][usize::from(cut)];
            return Err(pass(verdict));
        }
        let to_vip = self.is_to_vip(frame);
        let unread = |verdict| {
            pass(if verdict == Verdict::Malformed && to_vip {
                Verdict::DropUnreadable
            } else {
                verdict
            })
        };
        let datagram = read_datagram(frame).map_err(unread)?;
        let ours = self.is_ours(datagram.to);
        let end = datagram.l3 + datagram.len;
        if end > frame.len() || datagram.l4 > end {
            return Err(unread(Verdict::Malformed));
        }
        let from_a_group = frame[6] & 1 != 0 && ours && !self.is_hit(frame);
        let of_one = || {
            if from_a_group {
                Err(pass(Verdict::DropMartian))
            } else {
                Ok(())
            }
        };
        let v6 = datagram.to.is_ipv6();
        if datagram.protocol != TCP && datagram.protocol != UDP {
            let icmp = datagram.protocol == if v6 { 58 } else { 1 };
            let error = frame.get(datagram.l4..datagram.l4 + 8);
            let about_a_tunnel = icmp && error.is_some_and(|error| is_icmp_error(error[0], v6));
            if datagram.plain && !ours && !about_a_tunnel {
                return Err(pass(Verdict::NotOurs));
            }
            of_one()?;
            if icmp && datagram.fragment == Fragment::Whole {
                return self.icmp(frame, &datagram);
            }
            let vip = self.vips.contains(&datagram.to);
            return Err(pass(if vip {
                Verdict::NoListener
            } else {
                Verdict::NotOurs
            }));
        }
        if datagram.fragment == Fragment::Whole {
            let packet = transport(frame, &datagram, true).map_err(unread)?;
            of_one()?;
            return self.connection(frame, &packet);
        }
        if !ours {
            return Err(pass(Verdict::NotOurs));
        }
        let key = (datagram.from, datagram.to, datagram.id, datagram.protocol);
        if datagram.fragment == Fragment::First {
            let packet = transport(frame, &datagram, false).map_err(unread)?;
            self.fragments
                .insert(key, (packet.tuple.source, packet.tuple.destination));
            of_one()?;
            return self.connection(frame, &packet);
        }
        let Some((source, destination)) = self.fragments.get(&key).copied() else {
            let vip = self.vips.contains(&datagram.to);
            return Err(pass(if vip {
                Verdict::DropFragment
            } else {
                Verdict::NotOurs
            }));
        };
        of_one()?;
        let packet = Packet {
            l3: datagram.l3,
            l4: datagram.l4,
            len: datagram.len,
            hops: datagram.hops,
            tuple: Tuple {
                from: datagram.from,
                to: datagram.to,
                source,
                destination,
                protocol: datagram.protocol,
            },
            has_l4: false,
            segment: Segment::default(),
        };
        self.connection(frame, &packet)
    }

    /// Whether it is for a VIP, as far as that can be read.
    fn is_to_vip(&self, frame: &[u8]) -> bool {
        let Ok((l3, kind)) = link(frame) else {
            return false;
        };
        let v6 = kind == 0x86DD;
        let (len, at) = if v6 { (40, 24) } else { (20, 16) };
        frame
            .get(l3..l3 + len)
            .is_some_and(|header| self.vips.contains(&ip(header, at, v6)))
    }

    /// Whether the hit path takes it, which does not ask whose frame it is.
    fn is_hit(&self, frame: &[u8]) -> bool {
        let Ok(datagram) = read_datagram(frame) else {
            return false;
        };
        let v6 = datagram.to.is_ipv6();
        let plain = datagram.plain && datagram.l3 == 14 && (!v6 || datagram.l4 == 54);
        let inside = (datagram.l4..=frame.len()).contains(&(14 + datagram.len));
        if !plain || !inside || ![TCP, UDP].contains(&datagram.protocol) {
            return false;
        }
        let Ok(packet) = transport(frame, &datagram, true) else {
            return false;
        };
        let Some(flow) = self.flows.get(&packet.tuple) else {
            return false;
        };
        let over = tcp::CLOSED | tcp::CLIENT_FIN | tcp::WAS_RESET;
        let usual = !packet.has(SYN | FIN | RST)
            && (!packet.is_tcp() || flow.numbers.fits(packet.segment))
            && flow.state & over == 0
            && !self.is_disowned(flow)
            && !flow.fragments
            && packet.hops > 1;
        let known = if flow.reply {
            self.is_near(flow)
        } else {
            self.mode != Mode::Nat || frame[6..12] == flow.client_mac
        };
        usual && known
    }

    /// Whose extension headers are not read, then.
    fn is_ipv6_for_another(&self, frame: &[u8]) -> bool {
        frame.len() >= 54
            && frame[12..14] == [0x86, 0xDD]
            && frame[14] >> 4 == 6
            && 54 + usize::from(be16(frame, 18).unwrap()) <= frame.len()
            && ![TCP, UDP].contains(&frame[20])
            && !self.is_ours(ip(frame, 38, true))
            && !(frame[20] == 58 && frame.len() >= 62 && is_icmp_error(frame[54], true))
    }

    fn is_disowned(&self, flow: &Flow) -> bool {
        self.backends[&flow.backend].epoch != flow.epoch
    }

    /// The tuple of a nat flow's other direction.
    fn other(flow: &Flow) -> Tuple {
        flow.write.reversed()
    }

    fn connection(
        &mut self,
        frame: &[u8],
        packet: &Packet,
    ) -> Result<(u32, Vec<u8>), (Verdict, Vec<u8>)> {
        let nat = self.mode == Mode::Nat;
        self.again = None;
        if let Some(flow) = self.flows.get(&packet.tuple).cloned() {
            if self.is_disowned(&flow) {
                if packet.is_tcp() && !packet.opens() {
                    return Err(reset(frame, packet, Verdict::ResetDisowned));
                }
                if packet.hops > 1 {
                    self.retire(&flow, packet.tuple);
                }
            } else if packet.hops <= 1 {
                return Err(expired(frame, packet));
            } else if packet.opens() && !flow.reply && tcp::may_begin_anew(flow.state, nat) {
                self.retire(&flow, packet.tuple);
            } else {
                return self.live(frame, packet);
            }
        }
        if let Some(flow) = self.half_open.get(&packet.tuple).cloned() {
            if packet.hops <= 1 {
                return Err(expired(frame, packet));
            }
            let step = if self.is_disowned(&flow) {
                Step::Anew
            } else {
                self.handshake(packet, &flow)
            };
            if step != Step::Anew {
                return self.half(frame, packet, &flow, step);
            }
            self.forget(&flow, packet.tuple);
        }
        // Admission.
        let pass = |verdict| (verdict, frame.to_vec());
        let tuple = packet.tuple;
        if !self.vips.contains(&tuple.to) || tuple.destination != 80 {
            return Err(pass(if self.vips.contains(&tuple.to) {
                Verdict::NoListener
            } else if self.nat_sources.contains(&tuple.to) {
                Verdict::NotAFlow
            } else {
                Verdict::NotOurs
            }));
        }
        if self.is_martian(tuple.from) {
            return Err(pass(Verdict::DropMartian));
        }
        if !packet.has_l4 {
            return Err(pass(Verdict::DropFragment));
        }
        let adopted = packet.is_tcp() && !packet.opens();
        if adopted && (nat || packet.has(RST | SYN)) {
            return Err(reset(frame, packet, Verdict::ResetNoFlow));
        }
        let Some(backend) = self.select(&tuple) else {
            return Err(refuse(
                frame,
                packet,
                Verdict::ResetNoBackend,
                Verdict::UnreachableNoBackend,
            ));
        };
        if packet.hops <= 1 {
            return Err(expired(frame, packet));
        }
        if !self.fits(packet, backend) {
            return Err(too_big(frame, packet, self.room(backend)));
        }
        let mut flow = Flow {
            reply: false,
            write: tuple,
            backend,
            epoch: self.backends[&backend].epoch,
            client_mac: frame[6..12].try_into().unwrap(),
            state: 0,
            answered: false,
            stuck: false,
            adopted,
            fragments: false,
            numbers: Numbers {
                seq: packet.segment.next_seq,
                ack: if packet.has(ACK) {
                    packet.segment.ack
                } else {
                    0
                },
            },
            bytes: packet.len as u64,
        };
        if nat && !self.bind(tuple, &mut flow) {
            return Err(refuse(
                frame,
                packet,
                Verdict::ResetNoPort,
                Verdict::UnreachableNoPort,
            ));
        }
        self.half_open.insert(tuple, flow.clone());
        self.renewals.remove(&tuple);
        self.to_backend(frame, packet, &flow)
    }

    fn select(&self, tuple: &Tuple) -> Option<u16> {
        let slots = &self.slots[usize::from(tuple.to.is_ipv6())];
        let mut hash = tuple.hash(self.lb_seed);
        for _ in 0..8 {
            let candidate = slots[hash::below(hash, slots.len() as u32) as usize];
            if candidate != NO_BACKEND && self.backends[&candidate].takes_new {
                return Some(candidate);
            }
            hash = hash::again(hash);
        }
        None
    }

    /// The next port that is free, in the order of places; a round of the fuzz is too short
    /// to use them all.
    fn bind(&mut self, tuple: Tuple, flow: &mut Flow) -> bool {
        let v6 = tuple.to.is_ipv6();
        let (first, last) = self.nat_ports;
        let mut write = Tuple {
            from: self.nat_sources[usize::from(v6)],
            to: self.backends[&flow.backend].address,
            source: 0,
            destination: 80,
            protocol: tuple.protocol,
        };
        if let Some(again) = self.again.take() {
            write.source = again.destination;
            if write.reversed() == again {
                flow.write = write;
                self.half_open.insert(again, reply_of(flow, tuple));
                return true;
            }
            self.unbind(&again);
        }
        let row = self.row(&write.reversed());
        let cursor = self.cursors.entry(row).or_default();
        let places = (*cursor..PLACES).chain(0..*cursor);
        let free = places.into_iter().find(|place| {
            let port = nat_port::port(*place, self.nat_seed);
            (first..=last).contains(&port) && !self.bound.contains(&(row, port))
        });
        let Some(place) = free else {
            return false;
        };
        *cursor = place + 1;
        write.source = nat_port::port(place, self.nat_seed);
        self.bound.insert((row, write.source));
        flow.write = write;
        self.half_open
            .insert(write.reversed(), reply_of(flow, tuple));
        true
    }

    /// Which ports a flow has one of, by the tuple of its backend's packets.
    fn row(&self, reply: &Tuple) -> nat_port::Owner {
        let ports = Ports::new(reply.source, reply.destination);
        let protocol = reply.protocol.into();
        match (reply.from, reply.to) {
            (IpAddr::V4(a), IpAddr::V4(b)) => {
                let (source, destination) = (Addr4::from(a), Addr4::from(b));
                let key = FlowKey {
                    source,
                    destination,
                    ports,
                    protocol,
                };
                nat_port::owner(&key, self.nat_seed)
            }
            (IpAddr::V6(a), IpAddr::V6(b)) => {
                let (source, destination) = (Addr6::from(a), Addr6::from(b));
                let key = FlowKey {
                    source,
                    destination,
                    ports,
                    protocol,
                };
                nat_port::owner(&key, self.nat_seed)
            }
            _ => unreachable!("a tuple has one family"),
        }
    }

    /// The port is free again.
    fn unbind(&mut self, reply: &Tuple) {
        let row = self.row(reply);
        self.bound.remove(&(row, reply.destination));
    }

    fn retire(&mut self, flow: &Flow, tuple: Tuple) {
        let nat = self.mode == Mode::Nat;
        let forward = if flow.reply { Self::other(flow) } else { tuple };
        if nat {
            let reply = if flow.reply { tuple } else { Self::other(flow) };
            if self.flows.remove(&reply).is_some() && self.flows.contains_key(&forward) {
                self.again = Some(reply);
            }
        }
        if let Some(removed) = self.flows.remove(&forward)
            && removed.state & tcp::CLOSED == 0
        {
            self.books.entry(flow.backend).or_default().1 += 1;
        }
    }

    fn forget(&mut self, flow: &Flow, tuple: Tuple) {
        if self.mode == Mode::Nat && self.half_open.remove(&Self::other(flow)).is_some() {
            let reply = if flow.reply { tuple } else { Self::other(flow) };
            self.unbind(&reply);
        }
        self.half_open.remove(&tuple);
    }

    /// Whether the backend is reached by the interface that packets come in by.
    fn is_near(&self, flow: &Flow) -> bool {
        self.backends[&flow.backend].same_interface
    }

    /// Whether the packet came in where its sender is.
    fn is_from_its_side(&self, flow: &Flow) -> bool {
        !flow.reply || self.is_near(flow)
    }

    /// What a packet means to a half-open flow.
    fn handshake(&mut self, packet: &Packet, flow: &Flow) -> Step {
        let nat = self.mode == Mode::Nat;
        if !packet.has_l4 || !self.is_from_its_side(flow) {
            return Step::Forward;
        }
        let key = Self::other(flow);
        let other = self.half_open.get(&key).filter(|_| nat).cloned();
        if !packet.is_tcp() {
            if flow.reply {
                return Step::Promote;
            }
            self.mend(packet, flow);
            return Step::Follow;
        }
        let Segment {
            seq, next_seq, ack, ..
        } = packet.segment;
        if flow.reply {
            let answers =
                packet.has(ACK) && other.as_ref().is_some_and(|forward| forward.has_sent(ack));
            if packet.has(RST) {
                let exact = flow.answered && seq == flow.numbers.seq;
                return [Step::Forward, Step::Forget][usize::from(answers || exact)];
            }
            if packet.has(SYN) {
                if answers {
                    let entry = self.half_open.get_mut(&packet.tuple).unwrap();
                    entry.numbers = Numbers { seq: next_seq, ack };
                    entry.answered = true;
                }
                return [Step::Forward, Step::Follow][usize::from(answers)];
            }
            if !flow.answered && packet.has(ACK) && other.is_some() {
                self.half_open.get_mut(&key).unwrap().stuck = true;
            }
            let fits = flow.answered && flow.numbers.fits(packet.segment);
            return [Step::Forward, Step::Follow][usize::from(fits)];
        }
        if packet.has(RST) {
            return [Step::Forward, Step::Forget][usize::from(flow.has_sent(seq))];
        }
        if packet.opens() {
            let answered = other.is_some_and(|reply| reply.answered);
            let same = flow.has_sent(next_seq);
            let stays = self.backends[&flow.backend].takes_new || same && answered;
            if flow.adopted || !stays || flow.stuck && !answered {
                return Step::Anew;
            }
            self.mend(packet, flow);
            if same {
                return Step::Follow;
            }
            if answered {
                return Step::Forward;
            }
            let entry = self.half_open.get_mut(&packet.tuple).unwrap();
            entry.numbers.seq = next_seq;
            entry.bytes = 0;
            return Step::Follow;
        }
        if !packet.has(ACK) {
            return Step::Refuse;
        }
        let fits = flow.numbers.fits(packet.segment);
        if nat {
            let proven = fits && other.is_some_and(|reply| reply.answered && reply.has_sent(ack));
            return [Step::Refuse, Step::Promote][usize::from(proven)];
        }
        match (fits, flow.adopted) {
            (false, _) => Step::Anew,
            // A round of the fuzz is too short for a flow to settle.
            (true, true) => Step::Follow,
            (true, false) => Step::Promote,
        }
    }

    /// Brings a lost reply entry back.
    fn mend(&mut self, packet: &Packet, flow: &Flow) {
        if self.mode == Mode::Nat {
            let reply = reply_of(flow, packet.tuple);
            self.half_open.entry(Self::other(flow)).or_insert(reply);
        }
    }

    fn half(
        &mut self,
        frame: &[u8],
        packet: &Packet,
        flow: &Flow,
        step: Step,
    ) -> Result<(u32, Vec<u8>), (Verdict, Vec<u8>)> {
        match step {
            Step::Refuse => return Err(reset(frame, packet, Verdict::ResetNoFlow)),
            Step::Promote => {}
            _ => {
                let out = self.forward(frame, packet, step != Step::Forward)?;
                if step == Step::Forget {
                    self.forget(flow, packet.tuple);
                }
                return Ok(out);
            }
        }
        if self.mode == Mode::Nat {
            let key = Self::other(flow);
            let Some(other) = self.half_open.remove(&key) else {
                return Err((Verdict::DropInternal, frame.to_vec()));
            };
            self.flows.insert(key, other);
        }
        let moved = self.half_open.remove(&packet.tuple).unwrap();
        self.flows.insert(packet.tuple, moved);
        self.books.entry(flow.backend).or_default().0 += 1;
        self.live(frame, packet)
    }

    fn live(
        &mut self,
        frame: &[u8],
        packet: &Packet,
    ) -> Result<(u32, Vec<u8>), (Verdict, Vec<u8>)> {
        let flow = self.flows[&packet.tuple].clone();
        let believed = self.is_from_its_side(&flow)
            && (!packet.is_tcp() || packet.has_l4 && self.step(packet, &flow));
        self.forward(frame, packet, believed)
    }

    /// Takes the flow's state on; whether its numbers follow the packet.
    fn step(&mut self, packet: &Packet, flow: &Flow) -> bool {
        let both = self.mode == Mode::Nat;
        let key = Self::other(flow);
        let other = self.flows.get(&key).filter(|_| both).cloned();
        let Segment {
            flags,
            seq,
            next_seq,
            ack,
        } = packet.segment;
        if packet.opens() && !flow.reply {
            self.renewals.insert(packet.tuple, (next_seq, flow.bytes));
        }
        if packet.has(SYN) {
            if flow.reply
                && packet.has(ACK)
                && other.is_some()
                && self.renewals.get(&key).is_some_and(|(end, _)| *end == ack)
            {
                self.renewals.remove(&key);
                let forward = self.flows.get_mut(&key).unwrap();
                forward.numbers = Numbers {
                    seq: ack,
                    ack: next_seq,
                };
                forward.state &= !(tcp::CLIENT_FIN | tcp::BACKEND_FIN);
                let reply = self.flows.get_mut(&packet.tuple).unwrap();
                reply.numbers = Numbers { seq: next_seq, ack };
            }
            return false;
        }
        let truth = if flow.reply { key } else { packet.tuple };
        let Some(state) = self.flows.get(&truth).map(|f| f.state) else {
            return flags & (FIN | RST) == 0 && flow.numbers.fits(packet.segment);
        };
        let says = tcp::says(
            tcp::Sight {
                state,
                from: if flow.reply {
                    tcp::From::Backend
                } else {
                    tcp::From::Client
                },
                own: flow.numbers,
                bytes: flow.bytes,
                sees_both: both,
                expected: other.map_or(flow.numbers.seq, |o| o.numbers.ack),
            },
            packet.segment,
        );
        if says.add & !state & tcp::CLOSED != 0 {
            self.books.entry(flow.backend).or_default().1 += 1;
        }
        self.flows.get_mut(&truth).unwrap().state |= says.add;
        if says.fits || says.add != 0 || both || flags & (ACK | RST) != ACK {
            return says.fits;
        }
        if self.renewals.get(&packet.tuple) != Some(&(seq, flow.bytes)) {
            return false;
        }
        self.renewals.remove(&packet.tuple);
        self.flows.get_mut(&packet.tuple).unwrap().numbers = Numbers { seq, ack };
        true
    }

    fn room(&self, backend: u16) -> usize {
        self.mtu
            - if self.backends[&backend].address.is_ipv6() {
                40
            } else {
                20
            }
    }

    fn fits(&self, packet: &Packet, backend: u16) -> bool {
        self.mode != Mode::Ipip || packet.len <= self.room(backend)
    }

    fn entry(&mut self, tuple: Tuple) -> &mut Flow {
        match self.flows.get_mut(&tuple) {
            Some(flow) => flow,
            None => self
                .half_open
                .get_mut(&tuple)
                .expect("in one of the tables"),
        }
    }

    fn forward(
        &mut self,
        frame: &[u8],
        packet: &Packet,
        believed: bool,
    ) -> Result<(u32, Vec<u8>), (Verdict, Vec<u8>)> {
        let flow = self.entry(packet.tuple).clone();
        let nat = self.mode == Mode::Nat;
        if !flow.reply {
            if !self.fits(packet, flow.backend) {
                return Err(too_big(frame, packet, self.room(flow.backend)));
            }
            if self.mode != Mode::Ipip && packet.l3 != 14 && !self.is_near(&flow) {
                return Err((Verdict::DropVlan, frame.to_vec()));
            }
            if believed && nat {
                self.follow_client(frame, packet, &flow);
            }
        }
        let entry = self.entry(packet.tuple);
        if believed {
            entry.bytes += packet.len as u64;
            if packet.is_tcp() && !packet.has(SYN) {
                entry.numbers = entry.numbers.with(packet.segment);
            }
        }
        let flow = entry.clone();
        if flow.reply {
            self.to_client(frame, packet, &flow)
        } else {
            self.to_backend(frame, packet, &flow)
        }
    }

    /// Answers go where the client's last packet came from.
    fn follow_client(&mut self, frame: &[u8], packet: &Packet, flow: &Flow) {
        let mac: Mac = frame[6..12].try_into().unwrap();
        if mac != flow.client_mac {
            self.entry(packet.tuple).client_mac = mac;
            let other = Self::other(flow);
            for table in [&mut self.flows, &mut self.half_open] {
                if let Some(reply) = table.get_mut(&other) {
                    reply.client_mac = mac;
                }
            }
        }
    }

    fn to_backend(
        &self,
        frame: &[u8],
        packet: &Packet,
        flow: &Flow,
    ) -> Result<(u32, Vec<u8>), (Verdict, Vec<u8>)> {
        let backend = &self.backends[&flow.backend];
        if self.mode != Mode::Ipip && packet.l3 != 14 && !backend.same_interface {
            return Err((Verdict::DropVlan, frame.to_vec()));
        }
        let mut out = frame.to_vec();
        match self.mode {
            Mode::Dsr => spend_hop(&mut out, packet),
            Mode::Nat => translate(&mut out, packet, flow.write),
            Mode::Ipip => {
                spend_hop(&mut out, packet);
                out = self.encapsulate(&out, packet, backend);
            }
        }
        out[..6].copy_from_slice(&backend.mac);
        out[6..12].copy_from_slice(&OUR_MAC);
        Ok((if backend.same_interface { TX } else { REDIRECT }, out))
    }

    #[expect(clippy::unused_self, reason = "the counterpart of `to_backend`")]
    fn to_client(
        &self,
        frame: &[u8],
        packet: &Packet,
        flow: &Flow,
    ) -> Result<(u32, Vec<u8>), (Verdict, Vec<u8>)> {
        let mut out = frame.to_vec();
        if flow.fragments && packet.has_l4 && out[packet.l3 + 6] & 0x40 != 0 {
            allow_fragments(&mut out, packet);
        }
        translate(&mut out, packet, flow.write);
        out[..6].copy_from_slice(&flow.client_mac);
        out[6..12].copy_from_slice(&OUR_MAC);
        Ok((TX, out))
    }

    fn encapsulate(&self, frame: &[u8], packet: &Packet, backend: &Backend) -> Vec<u8> {
        let inner = &frame[packet.l3..];
        let v6 = backend.address.is_ipv6();
        let source = octets(self.tunnel_source(packet.tuple, v6));
        let (kind, class) = if packet.tuple.to.is_ipv6() {
            (41, inner[0] << 4 | inner[1] >> 4)
        } else {
            (4, inner[1])
        };
        let mut outer;
        if v6 {
            outer = vec![0x60 | class >> 4, class << 4, 0, 0];
            outer.extend((packet.len as u16).to_be_bytes());
            outer.extend([kind, 64]);
        } else {
            outer = vec![0x45, class];
            outer.extend((packet.len as u16 + 20).to_be_bytes());
            outer.extend([0, 0, 0x40, 0, 64, kind, 0, 0]);
        }
        outer.extend(source);
        outer.extend(octets(backend.address));
        if !v6 {
            let sum = !checksum::fold(checksum::sum(&outer));
            outer[10..12].copy_from_slice(&sum.to_ne_bytes());
        }
        let ether = if v6 { [0x86, 0xDD] } else { [8, 0] };
        [&[0; 12][..], &ether, &outer, inner].concat()
    }

    fn icmp(
        &mut self,
        frame: &[u8],
        datagram: &Datagram,
    ) -> Result<(u32, Vec<u8>), (Verdict, Vec<u8>)> {
        let pass = |verdict| (verdict, frame.to_vec());
        let v6 = datagram.to.is_ipv6();
        let Some(header) = frame.get(datagram.l4..datagram.l4 + 8) else {
            return Err(pass(Verdict::Malformed));
        };
        let (kind, code) = (header[0], header[1]);
        if is_icmp_error(kind, v6)
            && let Some((l3, inner_v6)) = inside_of_a_tunnel(frame, datagram)
        {
            return Err(self.tunnel_error(frame, datagram, l3, inner_v6));
        }
        if !self.is_ours(datagram.to) {
            return Err(pass(Verdict::NotOurs));
        }
        if self.is_martian(datagram.from) {
            return Err(pass(Verdict::DropMartian));
        }
        if kind == (if v6 { 128 } else { 8 }) && code == 0 && self.vips.contains(&datagram.to) {
            return Err((Verdict::Echo, echo_reply(frame, datagram)));
        }
        if !is_icmp_error(kind, v6) {
            return Err(pass(Verdict::IcmpNoFlow));
        }
        let embedded = read_ip(frame, datagram.l4 + 8, v6).map_err(pass)?;
        if embedded.fragment == Fragment::Later || ![TCP, UDP].contains(&embedded.protocol) {
            return Err(pass(Verdict::IcmpNoFlow));
        }
        let (Some(source), Some(destination)) =
            (be16(frame, embedded.l4), be16(frame, embedded.l4 + 2))
        else {
            return Err(pass(Verdict::Malformed));
        };
        let tuple = Tuple {
            from: embedded.to,
            to: embedded.from,
            source: destination,
            destination: source,
            protocol: embedded.protocol,
        };
        let mut seq = 0;
        if embedded.protocol == TCP {
            let Some(number) = be32(frame, embedded.l4 + 4) else {
                return Err(pass(Verdict::Malformed));
            };
            seq = number;
        }
        let Some(flow) = self
            .flows
            .get(&tuple)
            .or_else(|| self.half_open.get(&tuple))
            .cloned()
        else {
            return Err(pass(Verdict::IcmpNoFlow));
        };
        if self.is_disowned(&flow) {
            return Err(pass(Verdict::IcmpNoFlow));
        }
        let about_a_loss = embedded.protocol == UDP || self.is_lost(&flow, seq);
        if !self.is_from_its_side(&flow) || !about_a_loss {
            return Err(pass(Verdict::DropIcmp));
        }
        if kind == (if v6 { 2 } else { 3 }) && (v6 || code == 4) {
            let told = be32(frame, datagram.l4 + 4).unwrap();
            if (if v6 { told } else { told & 0xFFFF }) < 1280 {
                return Err(pass(Verdict::DropIcmp));
            }
            if self.mode == Mode::Nat && !flow.reply {
                let is_open = self.flows.contains_key(&tuple) && flow.state & tcp::CLOSED == 0;
                // Routers do not fragment IPv6: the backend has to know.
                if !v6 || !is_open {
                    if is_open && let Some(reply) = self.flows.get_mut(&Self::other(&flow)) {
                        reply.fragments = true;
                    }
                    return Err(pass(Verdict::DropPathMtu));
                }
            }
        }
        let packet = Packet {
            l3: datagram.l3,
            l4: datagram.l4,
            len: datagram.len,
            hops: datagram.hops,
            tuple,
            has_l4: false,
            segment: Segment::default(),
        };
        if packet.hops <= 1 {
            return Err(pass(Verdict::DropTtl));
        }
        let mut out = frame.to_vec();
        if self.mode == Mode::Nat {
            let back = flow.write.reversed();
            let inner = readdress(&mut out, embedded.l3, back.from, back.to);
            let old = u32::from_ne_bytes(out[embedded.l4..embedded.l4 + 4].try_into().unwrap());
            let new = Ports::new(back.source, back.destination).0;
            out[embedded.l4..embedded.l4 + 4].copy_from_slice(&new.to_ne_bytes());
            let mut difference = checksum::difference(u64::from(old), u64::from(new), 1);
            if v6 {
                let outer = addresses(datagram.from, datagram.to);
                difference += inner
                    + checksum::difference(outer, addresses(flow.write.from, flow.write.to), 8);
            }
            mend(&mut out, datagram.l4 + 2, difference);
        }
        if flow.reply {
            return self.to_client(&out, &packet, &flow);
        }
        if !self.fits(&packet, flow.backend) {
            return Err((Verdict::DropTooBig, out));
        }
        self.to_backend(&out, &packet, &flow)
    }

    /// What becomes of an error about a tunnel, with the datagram inside at `l3`.
    fn tunnel_error(
        &self,
        frame: &[u8],
        datagram: &Datagram,
        l3: usize,
        inner_v6: bool,
    ) -> (Verdict, Vec<u8>) {
        match self.told_of_a_tunnel(frame, datagram, l3, inner_v6) {
            Ok(out) => (Verdict::TunnelTooBig, out),
            Err(verdict) => (verdict, frame.to_vec()),
        }
    }

    fn told_of_a_tunnel(
        &self,
        frame: &[u8],
        datagram: &Datagram,
        l3: usize,
        inner_v6: bool,
    ) -> Result<Vec<u8>, Verdict> {
        let v6 = datagram.to.is_ipv6();
        let inner = read_ip(frame, l3, inner_v6)?;
        if inner.fragment == Fragment::Later || ![TCP, UDP].contains(&inner.protocol) {
            return Err(Verdict::IcmpNoFlow);
        }
        let (Some(source), Some(destination), Some(second)) = (
            be16(frame, inner.l4),
            be16(frame, inner.l4 + 2),
            be32(frame, inner.l4 + 4),
        ) else {
            return Err(Verdict::Malformed);
        };
        let tuple = Tuple {
            from: inner.from,
            to: inner.to,
            source,
            destination,
            protocol: inner.protocol,
        };
        let flow = self.flows.get(&tuple);
        let flow = flow
            .or_else(|| self.half_open.get(&tuple))
            .ok_or(Verdict::IcmpNoFlow)?;
        let backend = &self.backends[&flow.backend];
        let outer_to = ip(frame, l3 - if v6 { 16 } else { 4 }, v6);
        if self.mode != Mode::Ipip
            || self.is_disowned(flow)
            || outer_to != backend.address
            || datagram.to != self.tunnel_source(tuple, v6)
        {
            return Err(Verdict::IcmpNoFlow);
        }
        if inner.protocol == TCP && !flow.has_sent(second) {
            return Err(Verdict::DropIcmp);
        }
        let (kind, code) = (frame[datagram.l4], frame[datagram.l4 + 1]);
        if (kind, v6) != (2, true) && (kind, code, v6) != (3, 4, false) {
            return Err(Verdict::DropTunnel);
        }
        let told = be32(frame, datagram.l4 + 4).unwrap() as usize;
        let mtu = if v6 { told.min(65_535) } else { told & 0xFFFF };
        if mtu < 1280 {
            return Err(Verdict::DropIcmp);
        }
        let mut longest = mtu - if v6 { 40 } else { 20 };
        if inner_v6 {
            longest = longest.max(1280);
        }
        if inner.len <= longest {
            return Err(Verdict::DropIcmp);
        }
        if datagram.l3 != 14 {
            return Err(Verdict::DropVlan);
        }
        let what = if inner_v6 { (2, 0) } else { (3, 4) };
        let embedded = &frame[l3..inner.l4 + 8];
        let message = icmp_message(embedded, (tuple.to, tuple.from), what, longest as u32);
        let ether: &[u8] = if inner_v6 { &[0x86, 0xDD] } else { &[8, 0] };
        Ok([&flow.client_mac[..], &OUR_MAC, ether, &message].concat())
    }

    /// Where the outer header of a flow's packets comes from.
    fn tunnel_source(&self, tuple: Tuple, v6: bool) -> IpAddr {
        let bits = self.tunnel_bits[usize::from(v6)];
        let vary = tuple.hash(self.nat_seed) & ((1_u64 << bits) - 1) as u32;
        let mut source = octets(self.nat_sources[usize::from(v6)]);
        let low = source.len() - 4;
        for (byte, more) in source[low..].iter_mut().zip(vary.to_be_bytes()) {
            *byte |= more;
        }
        ip(&source, 0, v6)
    }

    /// A client's frame as it goes to the backend of the flow that it is of.
    pub(crate) fn wrapped(&self, frame: &[u8]) -> Option<Vec<u8>> {
        let packet = transport(frame, &read_datagram(frame).ok()?, true).ok()?;
        let flow = self.flows.get(&packet.tuple);
        let flow = flow.or_else(|| self.half_open.get(&packet.tuple))?;
        let mut out = frame.to_vec();
        spend_hop(&mut out, &packet);
        Some(self.encapsulate(&out, &packet, &self.backends[&flow.backend]))
    }

    /// Whether the receiver of an error may have sent the segment it is about.
    fn is_lost(&self, flow: &Flow, seq: u32) -> bool {
        if flow.numbers.ack != 0 {
            return tcp::is_lost(seq, flow.numbers.ack);
        }
        let other = self.half_open.get(&Self::other(flow));
        self.mode == Mode::Nat && other.is_some_and(|o| o.numbers.seq == seq.wrapping_add(1))
    }

    /// Empties the tables, as a new round finds them.
    pub(crate) fn clear(&mut self) {
        self.flows.clear();
        self.half_open.clear();
        self.renewals.clear();
        self.fragments.clear();
        self.cursors.clear();
        self.bound.clear();
    }
}

/// What a packet means to a half-open flow: see `lb-ebpf`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Step {
    Forward,
    Follow,
    Forget,
    Promote,
    Refuse,
    Anew,
}

fn reply_of(flow: &Flow, client: Tuple) -> Flow {
    Flow {
        reply: true,
        write: client.reversed(),
        numbers: Numbers::default(),
        bytes: 0,
        ..flow.clone()
    }
}

/// Where the IP header begins, and the type that says which.
fn link(frame: &[u8]) -> Result<(usize, u16), Verdict> {
    let mut kind = be16(frame, 12).ok_or(Verdict::Malformed)?;
    let mut l3 = 14;
    for _ in 0..2 {
        if kind != 0x8100 && kind != 0x88A8 {
            break;
        }
        if frame.len() < l3 + 4 {
            return Err(Verdict::Malformed);
        }
        kind = be16(frame, l3 + 2).ok_or(Verdict::Malformed)?;
        l3 += 4;
    }
    Ok((l3, kind))
}

fn read_datagram(frame: &[u8]) -> Result<Datagram, Verdict> {
    let (l3, kind) = link(frame)?;
    let mut datagram = match kind {
        0x0800 => read_ip(frame, l3, false)?,
        0x86DD => read_ip(frame, l3, true)?,
        _ => return Err(Verdict::NotOurs),
    };
    datagram.plain &= l3 == 14;
    Ok(datagram)
}

fn read_ip(frame: &[u8], l3: usize, v6: bool) -> Result<Datagram, Verdict> {
    let header = frame
        .get(l3..l3 + if v6 { 40 } else { 20 })
        .ok_or(Verdict::Malformed)?;
    let mut datagram = Datagram {
        l3,
        l4: l3 + 40,
        len: 0,
        protocol: 0,
        from: ip(header, if v6 { 8 } else { 12 }, v6),
        to: ip(header, if v6 { 24 } else { 16 }, v6),
        hops: header[if v6 { 7 } else { 8 }],
        id: 0,
        fragment: Fragment::Whole,
        plain: true,
    };
    if !v6 {
        let len = usize::from(header[0] & 15) * 4;
        if header[0] >> 4 != 4 || len < 20 {
            return Err(Verdict::Malformed);
        }
        let fragment = be16(header, 6).unwrap();
        datagram.fragment = match (fragment & 0x1FFF, fragment & 0x2000) {
            (0, 0) => Fragment::Whole,
            (0, _) => Fragment::First,
            _ => Fragment::Later,
        };
        datagram.plain = len == 20 && datagram.fragment == Fragment::Whole;
        datagram.id = u32::from(be16(header, 4).unwrap());
        datagram.l4 = l3 + len;
        datagram.len = usize::from(be16(header, 2).unwrap());
        datagram.protocol = header[9];
        return Ok(datagram);
    }
    if header[0] >> 4 != 6 {
        return Err(Verdict::Malformed);
    }
    datagram.len = 40 + usize::from(be16(header, 4).unwrap());
    datagram.protocol = header[6];
    for _ in 0..4 {
        let at = datagram.l4;
        let len = match datagram.protocol {
            0 | 43 | 60 => {
                let [next, len] = *frame.get(at..at + 2).ok_or(Verdict::Malformed)? else {
                    unreachable!("two bytes")
                };
                datagram.protocol = next;
                8 + usize::from(len) * 8
            }
            44 => {
                let header = frame.get(at..at + 8).ok_or(Verdict::Malformed)?;
                datagram.protocol = header[0];
                datagram.id = be32(header, 4).unwrap();
                let place = be16(header, 2).unwrap();
                if place >> 3 != 0 {
                    datagram.fragment = Fragment::Later;
                } else if place & 1 != 0 {
                    datagram.fragment = Fragment::First;
                }
                8
            }
            _ => break,
        };
        datagram.l4 = at + len;
        if datagram.l4 > 192 {
            return Err(Verdict::Malformed);
        }
        if datagram.fragment == Fragment::Later {
            break;
        }
    }
    if [0, 43, 44, 60].contains(&datagram.protocol) && datagram.fragment != Fragment::Later {
        return Err(Verdict::Malformed);
    }
    datagram.plain = true;
    Ok(datagram)
}

fn transport(frame: &[u8], datagram: &Datagram, whole: bool) -> Result<Packet, Verdict> {
    let inside = datagram.l3 + datagram.len - datagram.l4;
    let l4 = frame.get(datagram.l4..).ok_or(Verdict::Malformed)?;
    let need = if datagram.protocol == TCP { 20 } else { 8 };
    if l4.len() < need {
        return Err(Verdict::Malformed);
    }
    let mut packet = Packet {
        l3: datagram.l3,
        l4: datagram.l4,
        len: datagram.len,
        hops: datagram.hops,
        tuple: Tuple {
            from: datagram.from,
            to: datagram.to,
            source: be16(l4, 0).unwrap(),
            destination: be16(l4, 2).unwrap(),
            protocol: datagram.protocol,
        },
        has_l4: true,
        segment: Segment::default(),
    };
    if datagram.protocol == UDP {
        let len = usize::from(be16(l4, 4).unwrap());
        return if len < 8 || whole && len > inside {
            Err(Verdict::Malformed)
        } else {
            Ok(packet)
        };
    }
    let header = usize::from(l4[12] >> 4) * 4;
    if header < 20 || header > inside {
        return Err(Verdict::Malformed);
    }
    let (flags, seq) = (l4[13], be32(l4, 4).unwrap());
    let marks = u32::from(flags & SYN != 0) + u32::from(flags & FIN != 0);
    packet.segment = Segment {
        flags,
        seq,
        next_seq: seq
            .wrapping_add((inside - header) as u32)
            .wrapping_add(marks),
        ack: be32(l4, 8).unwrap(),
    };
    Ok(packet)
}

/// Writes addresses into an IP header and mends its checksum; the difference.
fn readdress(frame: &mut [u8], l3: usize, from: IpAddr, to: IpAddr) -> u64 {
    let v6 = from.is_ipv6();
    let (at, len) = if v6 { (l3 + 8, 16) } else { (l3 + 12, 4) };
    let old = words(&frame[at..at + 2 * len]);
    let difference = checksum::difference(old, addresses(from, to), 2 * len as u64 / 4);
    frame[at..at + len].copy_from_slice(&octets(from));
    frame[at + len..at + 2 * len].copy_from_slice(&octets(to));
    if !v6 {
        mend(frame, l3 + 10, difference);
    }
    difference
}

fn set_hops(frame: &mut [u8], l3: usize, v6: bool, hops: u8) {
    if v6 {
        frame[l3 + 7] = hops;
        return;
    }
    let protocol = frame[l3 + 9];
    let word = |b| u64::from(u16::from_ne_bytes([b, protocol]));
    let difference = checksum::difference(word(frame[l3 + 8]), word(hops), 1);
    mend(frame, l3 + 10, difference);
    frame[l3 + 8] = hops;
}

/// Takes "don't fragment" out, and gives an identification to what has none.
fn allow_fragments(frame: &mut [u8], packet: &Packet) {
    let at = packet.l3 + 4;
    let old = words(&frame[at..at + 4]);
    if frame[at..at + 2] == [0, 0] {
        let differs = &frame[packet.l4 + 4..packet.l4 + 8];
        let id = [differs[0] ^ differs[2], differs[1] ^ differs[3]];
        frame[at..at + 2].copy_from_slice(&id);
    }
    frame[at + 2] &= !0x40;
    let difference = checksum::difference(old, words(&frame[at..at + 4]), 1);
    mend(frame, packet.l3 + 10, difference);
}

fn spend_hop(frame: &mut [u8], packet: &Packet) {
    set_hops(frame, packet.l3, packet.tuple.to.is_ipv6(), packet.hops - 1);
}

fn translate(frame: &mut [u8], packet: &Packet, write: Tuple) {
    let mut difference = readdress(frame, packet.l3, write.from, write.to);
    spend_hop(frame, packet);
    if !packet.has_l4 {
        return;
    }
    let old = Ports::new(packet.tuple.source, packet.tuple.destination).0;
    let new = Ports::new(write.source, write.destination).0;
    difference += checksum::difference(u64::from(old), u64::from(new), 1);
    frame[packet.l4..packet.l4 + 4].copy_from_slice(&new.to_ne_bytes());
    if packet.is_tcp() {
        mend(frame, packet.l4 + 16, difference);
    } else if frame[packet.l4 + 6..packet.l4 + 8] != [0, 0]
        && mend(frame, packet.l4 + 6, difference) == 0
    {
        frame[packet.l4 + 6..packet.l4 + 8].fill(0xFF);
    }
}

/// The link header of an answer, its addresses turned.
fn turned(frame: &[u8], l3: usize) -> Vec<u8> {
    [&frame[6..12], &frame[..6], &frame[12..l3]].concat()
}

fn ip_header(protocol: u8, from: IpAddr, to: IpAddr, payload: usize) -> Vec<u8> {
    let mut header;
    if from.is_ipv6() {
        header = vec![0x60, 0, 0, 0];
        header.extend((payload as u16).to_be_bytes());
        header.extend([protocol, 64]);
    } else {
        header = vec![0x45, 0];
        header.extend((payload as u16 + 20).to_be_bytes());
        header.extend([0, 0, 0x40, 0, 64, protocol, 0, 0]);
    }
    header.extend(octets(from));
    header.extend(octets(to));
    if !from.is_ipv6() {
        let sum = !checksum::fold(checksum::sum(&header));
        header[10..12].copy_from_slice(&sum.to_ne_bytes());
    }
    header
}

/// The sum over a pseudo-header.
fn pseudo(protocol: u8, from: IpAddr, to: IpAddr, len: usize) -> u64 {
    addresses(from, to) + u64::from(u16::from(protocol).to_be()) + u64::from((len as u16).to_be())
}

fn reset(frame: &[u8], packet: &Packet, verdict: Verdict) -> (Verdict, Vec<u8>) {
    if !packet.has_l4 {
        return (Verdict::DropFragment, frame.to_vec());
    }
    if packet.has(RST) {
        return (Verdict::DropNoFlow, frame.to_vec());
    }
    let (seq, ack, flags) = if packet.has(ACK) {
        (packet.segment.ack, 0, RST)
    } else {
        (0, packet.segment.next_seq, RST | ACK)
    };
    let Tuple {
        from,
        to,
        source,
        destination,
        ..
    } = packet.tuple;
    let mut header = Vec::new();
    header.extend(destination.to_be_bytes());
    header.extend(source.to_be_bytes());
    header.extend(seq.to_be_bytes());
    header.extend(ack.to_be_bytes());
    header.extend([0x50, flags, 0, 0, 0, 0, 0, 0]);
    let sum = !checksum::fold(pseudo(TCP, from, to, 20) + checksum::sum(&header));
    header[16..18].copy_from_slice(&sum.to_ne_bytes());
    (
        verdict,
        [
            turned(frame, packet.l3),
            ip_header(TCP, to, from, 20),
            header,
        ]
        .concat(),
    )
}

fn icmp_error(
    frame: &[u8],
    packet: &Packet,
    kind: u8,
    code: u8,
    rest: u32,
    verdict: Verdict,
) -> (Verdict, Vec<u8>) {
    if !packet.has_l4 {
        return (Verdict::DropFragment, frame.to_vec());
    }
    let Tuple { from, to, .. } = packet.tuple;
    let embedded = &frame[packet.l3..packet.l4 + 8];
    let message = icmp_message(embedded, (to, from), (kind, code), rest);
    (verdict, [turned(frame, packet.l3), message].concat())
}

/// A datagram with an ICMP error in it.
fn icmp_message(
    embedded: &[u8],
    (from, to): (IpAddr, IpAddr),
    (kind, code): (u8, u8),
    rest: u32,
) -> Vec<u8> {
    let icmp = if from.is_ipv6() { 58 } else { 1 };
    let mut message = vec![kind, code, 0, 0];
    message.extend(rest.to_be_bytes());
    message.extend(embedded);
    let mut sum = checksum::sum(&message);
    if from.is_ipv6() {
        sum += pseudo(icmp, from, to, message.len());
    }
    message[2..4].copy_from_slice(&(!checksum::fold(sum)).to_ne_bytes());
    [ip_header(icmp, from, to, message.len()), message].concat()
}

fn is_icmp_error(kind: u8, v6: bool) -> bool {
    let errors: &[u8] = if v6 { &[1, 2, 3, 4] } else { &[3, 11, 12] };
    errors.contains(&kind)
}

/// Where the datagram inside begins, and its family, if an error is about a packet of a
/// tunnel that came from where the error went.
fn inside_of_a_tunnel(frame: &[u8], error: &Datagram) -> Option<(usize, bool)> {
    let v6 = error.to.is_ipv6();
    let (len, version, source, protocol) = if v6 {
        (40, 0x60, 8, 6)
    } else {
        (20, 0x45, 12, 9)
    };
    let l3 = error.l4 + 8;
    let outer = frame.get(l3..l3 + len)?;
    let plain = if v6 {
        outer[0] & 0xF0 == version
    } else {
        outer[0] == version && outer[6] & 0x3F == 0 && outer[7] == 0
    };
    let is_near = error.l4 == error.l3 + len;
    if !is_near || !plain || ip(outer, source, v6) != error.to {
        return None;
    }
    match outer[protocol] {
        4 => Some((l3 + len, false)),
        41 => Some((l3 + len, true)),
        _ => None,
    }
}

fn refuse(frame: &[u8], packet: &Packet, tcp: Verdict, udp: Verdict) -> (Verdict, Vec<u8>) {
    if packet.is_tcp() {
        return reset(frame, packet, tcp);
    }
    let (kind, code) = if packet.tuple.to.is_ipv6() {
        (1, 4)
    } else {
        (3, 3)
    };
    icmp_error(frame, packet, kind, code, 0, udp)
}

fn expired(frame: &[u8], packet: &Packet) -> (Verdict, Vec<u8>) {
    if !packet.has_l4 {
        return (Verdict::DropTtl, frame.to_vec());
    }
    let kind = if packet.tuple.to.is_ipv6() { 3 } else { 11 };
    icmp_error(frame, packet, kind, 0, 0, Verdict::TimeExceeded)
}

fn too_big(frame: &[u8], packet: &Packet, room: usize) -> (Verdict, Vec<u8>) {
    let (kind, code) = if packet.tuple.to.is_ipv6() {
        (2, 0)
    } else {
        (3, 4)
    };
    icmp_error(frame, packet, kind, code, room as u32, Verdict::TooBig)
}

fn echo_reply(frame: &[u8], datagram: &Datagram) -> Vec<u8> {
    let v6 = datagram.to.is_ipv6();
    let mut out = frame.to_vec();
    out[..12].copy_from_slice(&[&frame[6..12], &frame[..6]].concat());
    readdress(&mut out, datagram.l3, datagram.to, datagram.from);
    set_hops(&mut out, datagram.l3, v6, 64);
    let (old, new) = if v6 { (128, 129) } else { (8, 0) };
    let word = |b| u64::from(u16::from_ne_bytes([b, 0]));
    mend(
        &mut out,
        datagram.l4 + 2,
        checksum::difference(word(old), word(new), 1),
    );
    out[datagram.l4] = new;
    out
}
