//! Who else says that an address of ours is his: heard from the ARP packets and
//! neighbour advertisements that come in.

use std::{
    collections::{BTreeMap, BTreeSet},
    io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    os::fd::{AsFd, AsRawFd, OwnedFd},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    thread,
    time::Instant,
};

use etherparse::{
    ArpPacketSlice, Icmpv6Slice,
    icmpv6::{Icmpv6PayloadSlice, NdpOptionSlice},
};
use rustix::net::{AddressFamily, RecvFlags, SocketFlags, SocketType, recv, socket_with};

use crate::model::Mac;

/// Larger than any ARP packet or advertisement; the rest of a larger one is nothing
/// that is read here.
const BUFFER: usize = 2048;

/// Our addresses, and who claimed them last. Copies are the same.
#[derive(Debug, Clone, Default)]
pub(super) struct Claims(Arc<Mutex<Known>>);

#[derive(Debug, Default)]
struct Known {
    /// The MAC addresses of this host's interfaces: two of them on one network
    /// answer for each other.
    own: BTreeSet<Mac>,
    watched: BTreeMap<IpAddr, Option<Claim>>,
}

#[derive(Debug, Clone, Copy)]
struct Claim {
    mac: Mac,
    heard: Instant,
}

impl Claims {
    pub(super) fn are_own(&self, macs: impl IntoIterator<Item = Mac>) {
        self.known().own = macs.into_iter().collect();
    }

    pub(super) fn watch(&self, address: IpAddr) {
        self.known().watched.entry(address).or_default();
    }

    pub(super) fn forget(&self, address: IpAddr) {
        self.known().watched.remove(&address);
    }

    /// Who has claimed the address since then.
    pub(super) fn since(&self, address: IpAddr, then: Instant) -> Option<Mac> {
        let claim = (*self.known().watched.get(&address)?)?;
        (claim.heard >= then).then_some(claim.mac)
    }

    /// Somebody says that the address is at this MAC address. True if it is ours.
    fn hear(&self, address: IpAddr, mac: Mac, now: Instant) -> bool {
        let mut known = self.known();
        if known.own.contains(&mac) {
            return false;
        }
        let Some(claim) = known.watched.get_mut(&address) else {
            return false;
        };
        *claim = Some(Claim { mac, heard: now });
        true
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Reads who says that he has which address.
type Parse = fn(&[u8]) -> Option<(IpAddr, Mac)>;

/// Listens on all interfaces of the calling thread's network namespace, on a thread
/// for each family, for as long as the process lives. `claimed` is told of each claim
/// to an address that is watched.
pub(super) fn listen(
    claims: &Claims,
    claimed: impl Fn(IpAddr) + Clone + Send + 'static,
) -> io::Result<()> {
    let parsers: [(_, Parse); 2] = [(arp_socket()?, arp), (icmpv6_socket()?, advertisement)];
    for (socket, parse) in parsers {
        let (claims, claimed) = (claims.clone(), claimed.clone());
        let hear = move || {
            let mut buffer = [0; BUFFER];
            loop {
                let length = match recv(&socket, &mut buffer[..], RecvFlags::empty()) {
                    Ok((_, length)) => length.min(BUFFER),
                    Err(rustix::io::Errno::INTR | rustix::io::Errno::NETDOWN) => continue,
                    Err(error) => {
                        tracing::warn!("who else claims VIPs is not heard any more: {error}");
                        return;
                    }
                };
                if let Some((address, mac)) = parse(&buffer[..length])
                    && claims.hear(address, mac, Instant::now())
                {
                    claimed(address);
                }
            }
        };
        thread::Builder::new()
            .name("claims".to_owned())
            .spawn(hear)?;
    }
    Ok(())
}

/// Receives every ARP packet that comes in, from its Ethernet header on.
fn arp_socket() -> io::Result<OwnedFd> {
    let protocol = u32::from((libc::ETH_P_ARP as u16).to_be());
    let protocol = std::num::NonZeroU32::new(protocol).map(rustix::net::Protocol::from_raw);
    let socket = socket_with(
        AddressFamily::PACKET,
        SocketType::DGRAM,
        SocketFlags::CLOEXEC,
        protocol,
    )?;
    Ok(socket)
}

/// From linux/icmpv6.h: the option, and its level.
const ICMPV6_FILTER: libc::c_int = 1;
/// RFC 4861, section 4.4.
const NEIGHBOR_ADVERTISEMENT: usize = 136;

/// Receives every neighbour advertisement that comes in, from its ICMPv6 header on.
fn icmpv6_socket() -> io::Result<OwnedFd> {
    let socket = socket_with(
        AddressFamily::INET6,
        SocketType::RAW,
        SocketFlags::CLOEXEC,
        Some(rustix::net::ipproto::ICMPV6),
    )?;
    // A bit that is set keeps its type away (RFC 3542, section 3.2).
    let mut filter = [u32::MAX; 8];
    filter[NEIGHBOR_ADVERTISEMENT / 32] &= !(1 << (NEIGHBOR_ADVERTISEMENT % 32));
    // SAFETY: the kernel reads as many bytes from `filter` as it is told that there
    // are.
    let done = unsafe {
        libc::setsockopt(
            socket.as_fd().as_raw_fd(),
            libc::IPPROTO_ICMPV6,
            ICMPV6_FILTER,
            filter.as_ptr().cast(),
            size_of_val(&filter) as libc::socklen_t,
        )
    };
    if done != 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(socket)
}

/// Whose an ARP packet says that its sender's address is.
fn arp(bytes: &[u8]) -> Option<(IpAddr, Mac)> {
    let arp = ArpPacketSlice::from_slice(bytes).ok()?;
    let mac = arp.sender_hw_addr().try_into().ok()?;
    let address: [u8; 4] = arp.sender_protocol_addr().try_into().ok()?;
    Some((Ipv4Addr::from(address).into(), mac))
}

/// Whose a neighbour advertisement says that its target is.
fn advertisement(bytes: &[u8]) -> Option<(IpAddr, Mac)> {
    let icmp = Icmpv6Slice::from_slice(bytes).ok()?;
    let Icmpv6PayloadSlice::NeighborAdvertisement(said) = icmp.payload_slice().ok()? else {
        return None;
    };
    let address: Ipv6Addr = said.target_address();
    said.options_iterator().find_map(|option| match option {
        Ok(NdpOptionSlice::TargetLinkLayerAddress(link)) => {
            let mac = link.link_layer_address().try_into().ok()?;
            Some((address.into(), mac))
        }
        _ => None,
    })
}

#[cfg(test)]
mod tests {
    use super::{super::frames, *};

    const OURS: Mac = [2, 0, 0, 0, 0, 0xA];
    const OTHERS: Mac = [2, 0, 0, 0, 0, 0xB];
    const ETHERNET: usize = 14;
    const IPV6: usize = 40;

    fn addresses() -> [IpAddr; 2] {
        ["10.0.0.100", "fd00::100"].map(|a| a.parse().unwrap())
    }

    /// What is heard of a frame, as the sockets deliver it.
    fn heard(frame: &[u8], address: IpAddr) -> Option<(IpAddr, Mac)> {
        match address {
            IpAddr::V4(_) => arp(&frame[ETHERNET..]),
            IpAddr::V6(_) => advertisement(&frame[ETHERNET + IPV6..]),
        }
    }

    #[test]
    fn an_announcement_is_heard_as_a_claim_and_a_probe_is_not() {
        let claims = Claims::default();
        claims.are_own([OURS]);
        for address in addresses() {
            claims.watch(address);
            let then = Instant::now();
            let frame = frames::announcement(OTHERS, address).unwrap();
            let (said, mac) = heard(&frame, address).expect("a claim");
            assert!(claims.hear(said, mac, Instant::now()));
            assert_eq!(claims.since(address, then), Some(OTHERS));
            let probe = frames::probe(OTHERS, address).unwrap();
            assert_ne!(heard(&probe, address).map(|(said, _)| said), Some(address));
        }
    }

    #[test]
    fn what_this_host_says_itself_is_no_claim() {
        let claims = Claims::default();
        claims.are_own([OURS]);
        for address in addresses() {
            claims.watch(address);
            assert!(!claims.hear(address, OURS, Instant::now()));
        }
    }

    #[test]
    fn a_claim_to_an_address_that_is_not_watched_is_nobodys_business() {
        let claims = Claims::default();
        let [address, other] = addresses();
        claims.watch(address);
        let then = Instant::now();
        assert!(!claims.hear(other, OTHERS, then));
        claims.forget(address);
        assert!(!claims.hear(address, OTHERS, then));
        assert_eq!(claims.since(address, then), None);
    }

    #[test]
    fn bytes_of_any_kind_are_read_without_harm() {
        for length in 0..64 {
            let bytes: Vec<u8> = (0..length).map(|n| n as u8 ^ 0x88).collect();
            let _ = (arp(&bytes), advertisement(&bytes));
        }
    }
}
