//! The sole writer's care for VIPs: which addresses ought to be on an
//! interface, which of them are there because of us, and which may go.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
};

use super::{
    command::Command,
    vip::VipError,
    writer::{Control, FLOWS_READ},
};
use crate::model::LbName;

impl Control {
    /// Decides on which interface those addresses of `wanted` go that are neither
    /// among `ours` nor somebody else's.
    pub(super) fn place_vips(
        &mut self,
        wanted: BTreeSet<IpAddr>,
        ours: &BTreeMap<IpAddr, String>,
    ) -> Result<BTreeMap<IpAddr, String>, VipError> {
        let Some(keeper) = &mut self.parts.vips else {
            return Ok(BTreeMap::new());
        };
        let homeless: Vec<IpAddr> = wanted
            .into_iter()
            .filter(|address| !ours.contains_key(address))
            .collect();
        if homeless.is_empty() {
            return Ok(BTreeMap::new());
        }
        let placed = keeper.place(&homeless)?;
        Ok(placed.into_iter().collect())
    }

    /// Takes away addresses that have just been put there.
    pub(super) fn remove_vips(&mut self, added: &BTreeMap<IpAddr, String>) {
        if let Some(keeper) = &mut self.parts.vips {
            for (address, interface) in added {
                if let Err(error) = keeper.remove(*address, interface) {
                    tracing::warn!("{error}");
                }
            }
        }
    }

    /// Takes away the addresses that are ours and that nobody wants any more.
    /// What fails is tried again at the next change.
    pub(super) fn tidy_vips(&mut self) {
        let index = &self.index;
        self.unwanted.retain(|address| !index.wants(*address));
        let Some(keeper) = &mut self.parts.vips else {
            return;
        };
        let mut gone = BTreeSet::new();
        for address in &self.unwanted {
            let Some(interface) = self.state.node.vips.get(address) else {
                continue;
            };
            match keeper.remove(*address, interface) {
                Ok(()) => {
                    tracing::info!("{address} taken from {interface}");
                    gone.insert(*address);
                }
                Err(error) => tracing::warn!("{error}"),
            }
        }
        self.unwanted.retain(|address| !gone.contains(address));
        if !gone.is_empty() {
            // Said again after a crash, the removal does no harm.
            self.carry_out_anyway([Command::Displaced(gone)], "agent");
        }
    }

    /// Lets go of the addresses of removed listeners that no open flow uses.
    pub(super) fn release_vips(&mut self) {
        let holding: Vec<LbName> = self.index.holding().iter().cloned().collect();
        let mut commands = Vec::new();
        for name in holding {
            let Some((_, lb)) = self.state.find(name.as_str()) else {
                continue;
            };
            match self.parts.dataplane.flows(lb.index(), None, FLOWS_READ) {
                // More than can be looked at: one of them may use it.
                Ok(flows) if flows.len() >= FLOWS_READ => {}
                Ok(flows) => {
                    let used = flows.iter().map(|flow| flow.vip.0).collect();
                    commands.push(Command::Used(name, used));
                }
                Err(error) => self.complain(&error.to_string(), self.parts.clock.now()),
            }
        }
        self.carry_out_anyway(commands, "agent");
    }
}
