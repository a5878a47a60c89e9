//! TCP RSTs for both ends of a flow, built from what its entries remember.
//!
//! A receiver believes a RST only with the very number that it expects next
//! (RFC 5961, section 3.2), and there may be data under way. So where the two
//! directions disagree about that number, both candidates are sent: the older
//! one first, since a number that is already past is ignored in silence.

use lb_common::{
    abi::{
        address::Address,
        backend::{self, BARE, Backend},
        exit::{self, Exit},
        flow::{Flow, FlowKey, NAT, Ports},
    },
    checksum,
    mode::Mode,
    tcp,
    tunnel::{Inner, Outer},
    wire,
};

use super::mac;
use crate::packet_socket;

/// Ethernet, an outer and an inner IPv6 header, TCP.
const MAX_LEN: usize = wire::ETHERNET_LEN + 2 * wire::IPV6_LEN + wire::TCP_LEN;

/// No MAC address.
const NOBODY: wire::Mac = [0; 3];

/// A frame and where it goes out.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) struct Frame {
    pub(super) ifindex: u32,
    protocol: u16,
    bytes: [u8; MAX_LEN],
    len: usize,
}

impl Frame {
    fn new(ifindex: u32) -> Self {
        Self {
            ifindex,
            protocol: 0,
            bytes: [0; MAX_LEN],
            len: 0,
        }
    }

    fn push(&mut self, bytes: &[u8]) {
        self.bytes[self.len..self.len + bytes.len()].copy_from_slice(bytes);
        self.len += bytes.len();
    }
}

impl packet_socket::Frame for Frame {
    fn ifindex(&self) -> u32 {
        self.ifindex
    }

    fn bytes(&self) -> &[u8] {
        &self.bytes[..self.len]
    }

    fn protocol(&self) -> u16 {
        self.protocol
    }
}

/// A RST as one end is to see it.
struct Segment<A> {
    source: A,
    destination: A,
    ports: Ports,
    seq: u32,
    ack: u32,
}

/// What the two ends of a flow are told.
pub(super) struct Flows<'f, A: Address> {
    /// The tuple of the client's packets.
    pub(super) key: &'f FlowKey<A>,
    pub(super) forward: &'f Flow<A>,
    /// The entry of the other direction, if there is one.
    pub(super) reply: Option<&'f Flow<A>>,
}

impl<A: Address> Flows<'_, A> {
    /// The RSTs for the client, by its way out.
    pub(super) fn to_client(&self, exit: &Exit) -> impl Iterator<Item = Frame> {
        let to = match exit.to {
            NOBODY => self.forward.client_mac,
            router => router,
        };
        let macs = backend::macs(mac::bytes(to), mac::bytes(exit.from));
        let macs = (exit.flags & exit::BARE == 0).then_some(macs);
        // What the client has acknowledged, and what the backend has sent.
        let sent = self.reply.map(|reply| reply.seq);
        let ifindex = exit.ifindex;
        candidates(self.forward.ack, sent).map(move |seq| {
            let mut frame = Frame::new(ifindex);
            link(&mut frame, macs, kind::<A>());
            segment(
                &mut frame,
                &Segment {
                    source: self.key.destination,
                    destination: self.key.source,
                    ports: self.key.ports.swapped(),
                    seq,
                    ack: self.forward.seq,
                },
            );
            frame
        })
    }

    /// The RSTs for the backend, as packets of this flow reach it.
    pub(super) fn to_backend(&self, backend: &Backend) -> impl Iterator<Item = Frame> {
        let nat = self.forward.state & NAT != 0;
        let (source, destination, ports) = if nat {
            let address = A::from_words(backend.address);
            (self.forward.peer, address, self.forward.ports)
        } else {
            (self.key.source, self.key.destination, self.key.ports)
        };
        // What the backend has acknowledged, and what the client has sent.
        let acknowledged = self.reply.map(|reply| reply.ack).filter(|ack| *ack != 0);
        let older = acknowledged.unwrap_or(self.forward.seq);
        let ack = self.reply.map_or(self.forward.ack, |reply| reply.seq);
        // Under ipip an entry has no ports to write, but what varies in the outer
        // source.
        let varied = self.forward.ports.0;
        let backend = *backend;
        candidates(older, Some(self.forward.seq)).filter_map(move |seq| {
            let mut frame = Frame::new(backend.ifindex);
            match Mode::of_byte(backend.mode)? {
                Mode::Nat | Mode::Dsr => link(&mut frame, macs_to(&backend), kind::<A>()),
                Mode::Ipip => outer::<A>(&mut frame, varied, &backend),
            }
            segment(
                &mut frame,
                &Segment {
                    source,
                    destination,
                    ports,
                    seq,
                    ack,
                },
            );
            Some(frame)
        })
    }
}

/// The numbers to try: the older one, and the later one if it is later.
fn candidates(older: u32, later: Option<u32>) -> impl Iterator<Item = u32> {
    let later = later.filter(|later| tcp::after(*later, older));
    std::iter::once(older).chain(later)
}

const fn kind<A: Address>() -> u16 {
    if A::V6 {
        wire::ETHERTYPE_IPV6
    } else {
        wire::ETHERTYPE_IPV4
    }
}

/// `None` where frames to the backend have no link header.
fn macs_to(backend: &Backend) -> Option<[u32; 3]> {
    (backend.flags & BARE == 0).then_some(backend.macs)
}

/// The link header, if there is to be one.
fn link(frame: &mut Frame, macs: Option<[u32; 3]>, kind: u16) {
    frame.protocol = kind;
    let Some(macs) = macs else {
        return;
    };
    let mut header = wire::Ethernet([0; wire::ETHERNET_LEN]);
    header.set_mac_words(macs);
    header.set_kind(kind);
    frame.push(&header.0);
}

/// The tunnel to an ipip backend, as the kernel program makes it.
fn outer<A: Address>(frame: &mut Frame, varied: u32, backend: &Backend) {
    let inner = Inner {
        v6: A::V6,
        len: (A::HEADER_LEN + wire::TCP_LEN) as u16,
        class: backend.outer_class(0),
        varied,
    };
    let kind = Outer::to(backend);
    link(frame, macs_to(backend), kind.ethertype());
    match kind {
        Outer::V4 => {
            let mut header = wire::Ipv4([0; wire::IPV4_LEN]);
            inner.begin_v4(&mut header, backend);
            frame.push(&header.0);
        }
        Outer::V6 => {
            let mut header = wire::Ipv6([0; wire::IPV6_LEN]);
            inner.begin_v6(&mut header, backend);
            frame.push(&header.0);
        }
    }
}

/// The data offset of a TCP header without options.
const OFFSET: u8 = (wire::TCP_LEN as u8 / 4) << 4;

/// The IP and TCP headers.
fn segment<A: Address>(frame: &mut Frame, segment: &Segment<A>) {
    let Segment {
        source,
        destination,
        ports,
        seq,
        ack,
    } = segment;
    let len = wire::TCP_LEN as u16;
    if A::V6 {
        let mut header = wire::Ipv6([0; wire::IPV6_LEN]);
        header.begin(0, len, wire::TCP, source.words(), destination.words());
        frame.push(&header.0);
    } else {
        let mut header = wire::Ipv4([0; wire::IPV4_LEN]);
        let total = wire::IPV4_LEN as u16 + len;
        header.begin(
            0,
            total,
            wire::TCP,
            source.words()[0],
            destination.words()[0],
        );
        frame.push(&header.0);
    }
    let mut header = wire::Tcp([0; wire::TCP_LEN]);
    header.set_ports(ports.0);
    header.set_seq(seq.to_be());
    header.set_ack(ack.to_be());
    header.set_data_offset(OFFSET);
    header.set_flags(tcp::RST | tcp::ACK);
    let sum = source.sum()
        + destination.sum()
        + u64::from(u16::from(wire::TCP).to_be())
        + u64::from(len.to_be())
        + checksum::sum(&header.0);
    header.set_checksum(!checksum::fold(sum));
    frame.push(&header.0);
}

#[cfg(test)]
mod tests;
