//! Puts VIPs back that somebody takes away: a network manager that tidies up, an
//! operator with `ip`, an interface that goes down or is made anew.
//!
//! A VIP without its address is a load balancer that nobody reaches, while all
//! else looks well. So the host is listened to, and looked at now and then
//! besides; what is missing is said, put back at once, or tried again until it
//! can be.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
    sync::Arc,
};

use super::{command::Command, edit::Note, writer::Control};
use crate::{clock::Now, wire::What};

impl Control {
    /// Whether VIPs are guarded at all.
    pub(super) fn guards(&self) -> bool {
        self.parts.vips.is_some() && self.index.vips().next().is_some()
    }

    /// Puts back what is missing, if the host has changed or it is time to look.
    pub(super) fn guard_vips(&mut self, now: Now) {
        let Some(keeper) = &mut self.parts.vips else {
            return;
        };
        // Asked first, always: what has been heard is not heard again.
        let news = keeper.has_news();
        let rivals = keeper.rivals();
        self.note_rivals(rivals, now);
        if !news && !self.guard.is_due(now.moment) {
            return;
        }
        self.look_after_vips(now);
    }

    fn note_rivals(&mut self, rivals: BTreeMap<IpAddr, String>, now: Now) {
        if rivals == self.guard.rivals {
            return;
        }
        let known = std::mem::replace(&mut self.guard.rivals, rivals.clone());
        for address in known.keys().filter(|address| !rivals.contains_key(address)) {
            tracing::info!("no other host answers for the VIP {address} any more");
        }
        for (address, mac) in rivals {
            if known.get(&address) != Some(&mac) {
                self.say_of_vip(address, now, |address| What::VipContested { address, mac });
            }
        }
    }

    /// Looks for what is missing and puts it back.
    pub(super) fn look_after_vips(&mut self, now: Now) {
        let Some(keeper) = &mut self.parts.vips else {
            return;
        };
        self.guard.looked = now.moment;
        let wanted: Vec<IpAddr> = self.index.vips().collect();
        match keeper.missing(&wanted) {
            Ok(missing) => self.put_back(&missing, now),
            Err(error) => self.complain(&error.to_string(), now),
        }
    }

    /// All that are missing are named; those that were, and are not any more,
    /// are back.
    fn put_back(&mut self, missing: &BTreeSet<IpAddr>, now: Now) {
        let back: Vec<IpAddr> = self
            .guard
            .missing
            .extract_if(.., |address, _| !missing.contains(address))
            .map(|(address, _)| address)
            .collect();
        for address in back {
            self.say_back(address, now);
        }
        let homeless = self.find_places(missing);
        for address in missing {
            let known = self.guard.missing.contains_key(address);
            let tell = known || self.guard.is_news(*address, now.moment);
            if tell && !known {
                self.say_of_vip(*address, now, |address| What::VipMissing { address });
            }
            match self.put(*address, &homeless) {
                Ok(()) => {
                    self.guard.missing.remove(address);
                    if tell {
                        self.say_back(*address, now);
                    }
                }
                Err(why) => {
                    let said = self.guard.missing.insert(*address, why.clone());
                    if said.as_ref() != Some(&why) {
                        tracing::warn!("{why}; trying again");
                    }
                }
            }
        }
    }

    /// Decides where those go that nobody has placed: they were there without
    /// us, or had no interface to be on. Or else says why they have no place.
    fn find_places(&mut self, missing: &BTreeSet<IpAddr>) -> Result<(), String> {
        let ours = Arc::clone(&self.state.node.vips);
        let placed = self
            .place_vips(missing.clone(), &ours)
            .map_err(|error| error.to_string())?;
        if !placed.is_empty() {
            self.carry_out_anyway([Command::Placed(placed)], "agent");
        }
        Ok(())
    }

    /// Puts the address where it belongs; `homeless` is what is said of one that has no
    /// place.
    fn put(&mut self, address: IpAddr, homeless: &Result<(), String>) -> Result<(), String> {
        let Some(keeper) = &mut self.parts.vips else {
            return Ok(());
        };
        match self.state.node.vips.get(&address) {
            Some(interface) => keeper
                .add(address, interface)
                .map_err(|error| error.to_string()),
            None => homeless.clone(),
        }
    }

    fn say_back(&mut self, address: IpAddr, now: Now) {
        let interface = self.state.node.vips.get(&address).cloned();
        self.say_of_vip(address, now, |address| What::VipPutBack {
            address,
            interface,
        });
    }

    /// To all whose VIP it is.
    fn say_of_vip(&mut self, address: IpAddr, now: Now, what: impl FnOnce(String) -> What) {
        let what = what(address.to_string());
        let notes = self.index.whose_vip(address).map(|lb| Note {
            lb: lb.clone(),
            backend: None,
            what: what.clone(),
        });
        self.say(notes.collect(), "agent", now);
    }
}
