//! Packets that no well-behaved kernel would send for us.

use std::{
    io::{self},
    net::{IpAddr, SocketAddr},
    time::Duration,
};

use anyhow::{Context as _, Result};
use rustix::{
    fd::OwnedFd,
    net::{
        AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, bind, connect, ipproto, recv,
        send, sendto, socket_with, sockopt,
    },
};
use tests::lab::host::Host;

/// Sends TCP SYNs of IPv4, whatever the host's kernel knows of their tuples.
pub(crate) struct Syns {
    socket: OwnedFd,
    from: IpAddr,
}

impl Syns {
    pub(crate) fn open(host: &Host) -> Result<Self> {
        let from = host.v4.into();
        let socket = host.enter(|| -> io::Result<OwnedFd> {
            // The kernel adds the IP header.
            let (family, protocol) = (AddressFamily::INET, ipproto::TCP);
            let socket = socket_with(
                family,
                SocketType::RAW,
                SocketFlags::CLOEXEC,
                Some(protocol),
            )?;
            bind(&socket, &SocketAddr::new(from, 0))?;
            Ok(socket)
        })?;
        Ok(Self {
            socket: socket?,
            from,
        })
    }

    /// From the host's own address and this port.
    pub(crate) fn send(&self, port: u16, to: SocketAddr) -> Result<()> {
        let from = SocketAddr::new(self.from, port);
        let segment = syn(from, to)?;
        let to_host = SocketAddr::new(to.ip(), 0);
        sendto(&self.socket, &segment, SendFlags::empty(), &to_host)
            .with_context(|| format!("cannot send a SYN from {from} to {to}"))?;
        Ok(())
    }
}

/// A TCP header without options.
fn syn(from: SocketAddr, to: SocketAddr) -> Result<[u8; 20]> {
    const SYN: u8 = 0x02;
    let (IpAddr::V4(source), IpAddr::V4(destination)) = (from.ip(), to.ip()) else {
        anyhow::bail!("only of IPv4");
    };
    let mut header = [0; 20];
    header[0..2].copy_from_slice(&from.port().to_be_bytes());
    header[2..4].copy_from_slice(&to.port().to_be_bytes());
    header[4..8].copy_from_slice(&0x1234_5678_u32.to_be_bytes()); // sequence number
    header[12] = 5 << 4; // words of header
    header[13] = SYN;
    header[14..16].copy_from_slice(&1024_u16.to_be_bytes()); // window
    let pseudo = [
        &source.octets()[..],
        &destination.octets(),
        &[0, 6, 0, 20],
        &header,
    ]
    .concat();
    header[16..18].copy_from_slice(&checksum(&pseudo).to_be_bytes());
    Ok(header)
}

/// The internet checksum of an even number of bytes.
fn checksum(bytes: &[u8]) -> u16 {
    let mut sum: u32 = bytes
        .chunks_exact(2)
        .map(|pair| u32::from(u16::from_be_bytes([pair[0], pair[1]])))
        .sum();
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !(sum as u16)
}

/// An ICMP echo request, and its answer.
pub(crate) struct Ping {
    socket: OwnedFd,
    to: IpAddr,
}

impl Ping {
    pub(crate) fn open(host: &Host, to: IpAddr) -> Result<Self> {
        let socket = host.enter(|| -> io::Result<OwnedFd> {
            let (family, protocol) = match to {
                IpAddr::V4(_) => (AddressFamily::INET, ipproto::ICMP),
                IpAddr::V6(_) => (AddressFamily::INET6, ipproto::ICMPV6),
            };
            let socket = socket_with(
                family,
                SocketType::RAW,
                SocketFlags::CLOEXEC,
                Some(protocol),
            )?;
            connect(&socket, &SocketAddr::new(to, 0))?;
            Ok(socket)
        })?;
        Ok(Self {
            socket: socket?,
            to,
        })
    }

    /// Sends one and waits for its answer.
    pub(crate) fn ping(&self, within: Duration) -> Result<()> {
        const ID: [u8; 2] = *b"eb";
        let (request, reply, header) = match self.to {
            IpAddr::V4(_) => (8, 0, 20),
            IpAddr::V6(_) => (128, 129, 0), // a raw socket of IPv6 gives no IP header
        };
        let mut message = [request, 0, 0, 0, ID[0], ID[1], 0, 1];
        if self.to.is_ipv4() {
            // For ICMPv6 the kernel does it.
            let sum = checksum(&message);
            message[2..4].copy_from_slice(&sum.to_be_bytes());
        }
        sockopt::set_socket_timeout(&self.socket, sockopt::Timeout::Recv, Some(within))?;
        send(&self.socket, &message, SendFlags::empty())?;
        let mut buffer = [0; 256];
        loop {
            let (length, _) = recv(&self.socket, &mut buffer[..], RecvFlags::empty())
                .with_context(|| format!("{} does not answer a ping", self.to))?;
            let answer = buffer.get(header..length).unwrap_or_default();
            if answer.first() == Some(&reply) && answer.get(4..6) == Some(&ID) {
                return Ok(());
            }
        }
    }
}
