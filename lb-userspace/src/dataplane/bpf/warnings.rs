//! What an operator should know of the packet path, and can mend.

use super::shared::Crowd;
use crate::{dataplane::Attachment, model::XdpMode};

/// Of the `wanted` interfaces: those that are not there, and those that run in
/// another mode than was asked for.
pub(super) fn of_interfaces(
    wanted: &[String],
    attachments: &[Attachment],
    mode: XdpMode,
) -> impl Iterator<Item = String> {
    wanted.iter().filter_map(move |interface| {
        match attachments.iter().find(|a| a.interface == *interface) {
            None => Some(format!(
                "{interface} is missing: its traffic is not balanced"
            )),
            Some(attachment) => of_mode(attachment, mode),
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

fn of_mode(attachment: &Attachment, mode: XdpMode) -> Option<String> {
    let Attachment { interface, driver } = attachment;
    match (driver, mode) {
        (false, XdpMode::Auto) => Some(format!(
            "{interface} runs in generic mode, at a fraction of the speed: its driver does not \
             support XDP"
        )),
        (false, XdpMode::Driver) => Some(format!(
            "{interface} still runs in generic mode, from before xdp_mode = \"driver\"; changing \
             that would break its flows: stop ebb and remove its link to change it"
        )),
        (true, XdpMode::Generic) => Some(format!(
            "{interface} still runs in driver mode, from before xdp_mode = \"generic\"; changing \
             that would break its flows: stop ebb and remove its link to change it"
        )),
        _ => None,
    }
}
