//! What is known of VIPs that are not where they should be, and when to look. Pure.

use std::{collections::BTreeMap, net::IpAddr, time::Duration};

use crate::clock::Moment;

/// How often it is asked whether the host's addresses or interfaces changed:
/// one system call.
pub(super) const LISTEN: Duration = Duration::from_millis(250);
/// How often the host is looked at even so, and what is missing tried again.
const LOOK: Duration = Duration::from_secs(10);
const AGAIN: Duration = Duration::from_secs(1);
/// A VIP that is taken away again and again is said that often at most.
const SAY: Duration = Duration::from_secs(60);

/// What is known of VIPs that are not where they should be.
#[derive(Debug)]
pub(super) struct Guard {
    pub(super) looked: Moment,
    /// Those that are missing, and why they could not be put back.
    pub(super) missing: BTreeMap<IpAddr, String>,
    /// The hosts that have a VIP as well, by their MAC addresses.
    pub(super) rivals: BTreeMap<IpAddr, String>,
    /// When it was last said of an address that it was taken away.
    said: BTreeMap<IpAddr, Moment>,
}

impl Guard {
    pub(super) fn new(now: Moment) -> Self {
        Self {
            looked: now,
            missing: BTreeMap::new(),
            rivals: BTreeMap::new(),
            said: BTreeMap::new(),
        }
    }

    /// What an operator should know of it.
    pub(super) fn warnings(&self) -> impl Iterator<Item = String> {
        let missing = self.missing.iter().map(|(address, why)| {
            format!("the VIP {address} is not on this host, so no client reaches it: {why}")
        });
        let rivals = self.rivals.iter().map(|(address, mac)| {
            format!("the VIP {address} is also on the host with the MAC address {mac}")
        });
        missing.chain(rivals)
    }

    pub(super) fn is_due(&self, now: Moment) -> bool {
        let gap = if self.missing.is_empty() { LOOK } else { AGAIN };
        now >= self.looked + gap
    }

    /// Whether the loss of the address is worth saying now.
    pub(super) fn is_news(&mut self, address: IpAddr, now: Moment) -> bool {
        self.said.retain(|_, at| now < *at + SAY);
        let is_news = !self.said.contains_key(&address);
        self.said.entry(address).or_insert(now);
        is_news
    }
}
