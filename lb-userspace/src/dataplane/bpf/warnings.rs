//! What an operator should know of the packet path, and can mend.

use std::net::SocketAddr;

use super::shared::Crowd;
use crate::{
    dataplane::{Attachment, NatPortFill, NatTarget},
    model::Hook,
};

/// Of the `wanted` interfaces: those that are not there, and those that are slow.
pub(super) fn of_interfaces(
    wanted: &[String],
    attachments: &[Attachment],
) -> impl Iterator<Item = String> {
    wanted.iter().filter_map(move |interface| {
        match attachments.iter().find(|a| a.interface == *interface) {
            None => Some(format!(
                "{interface} is missing: its traffic is not balanced"
            )),
            Some(attachment) => of_hook(attachment),
        }
    })
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

fn of_hook(attachment: &Attachment) -> Option<String> {
    let Attachment { interface, hook } = attachment;
    match hook {
        Hook::Xdp | Hook::Tc => None,
        Hook::GenericXdp => Some(format!(
            "{interface} runs XDP in generic mode, at a fraction of the speed: its driver does \
             not support XDP, and TC needs Linux 6.6 or later"
        )),
    }
}
