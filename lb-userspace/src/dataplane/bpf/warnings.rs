//! What an operator should know of the packet path, and can mend.

use std::net::SocketAddr;

use super::shared::Crowd;
use crate::dataplane::{Attachment, NatPortFill, NatTarget};

/// Of the `wanted` interfaces: those that are not there.
pub(super) fn of_interfaces(
    wanted: &[String],
    attachments: &[Attachment],
) -> impl Iterator<Item = String> {
    let is_missing = |interface: &&String| attachments.iter().all(|a| a.interface != **interface);
    let missing = wanted.iter().filter(is_missing);
    missing.map(|interface| format!("{interface} is missing: its traffic is not balanced"))
}

/// Of the tables of established flows, by the entries of each and what one holds.
pub(super) fn of_tables(entries: [u64; 2], max: u32) -> impl Iterator<Item = String> {
    let families = entries.into_iter().zip(["IPv4", "IPv6"]);
    families
        .filter(move |(entries, _)| Crowd::of(*entries, max) == Crowd::Short)
        .map(move |(entries, family)| {
            format!(
                "the table of {family} flows is almost full ({entries} of {max} entries); \
                 when it is full, nat refuses new flows, and dsr and ipip forget them: raise \
                 [tables] flows"
            )
        })
}

/// Of the ports of nat.
pub(super) fn of_ports(ports: Vec<NatPortFill>) -> impl Iterator<Item = String> {
    ports.into_iter().filter(NatPortFill::is_short).map(
        |NatPortFill {
             target,
             used,
             limit,
         }| {
            let NatTarget {
                source,
                address,
                port,
                protocol,
                ..
            } = target;
            let to = SocketAddr::new(address, port);
            format!(
                "few ports are left from {source} to {to} ({}): {used} of {limit} are in \
                 use; when all are, nat refuses new flows there: widen [nat] ports, or add \
                 addresses to [nat] pool",
                protocol.name()
            )
        },
    )
}
