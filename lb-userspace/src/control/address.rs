//! The sole writer's care for VIPs: which addresses ought to be on an
//! interface, which of them are there because of us, and which may go.

use std::{collections::BTreeSet, net::IpAddr};

use super::{
    edit::Draft,
    error::Error,
    state::State,
    writer::{Control, FLOWS_READ},
};
use crate::model::LbName;

impl Control {
    /// Decides on which interface the addresses go that `next` wants beyond
    /// those that it `had`, and writes it down in `next`. Answers with those.
    pub(super) fn place_vips(
        &mut self,
        had: &BTreeSet<IpAddr>,
        next: &mut State,
    ) -> Result<Vec<(IpAddr, String)>, Error> {
        let Some(keeper) = &mut self.parts.vips else {
            return Ok(Vec::new());
        };
        let wanted = next.wanted_vips();
        let homeless: Vec<IpAddr> = wanted
            .difference(had)
            .filter(|address| !next.vips.contains_key(address))
            .copied()
            .collect();
        if homeless.is_empty() {
            return Ok(Vec::new());
        }
        let placed = keeper.place(&homeless).map_err(Error::Vip)?;
        next.vips.extend(placed.iter().cloned());
        Ok(placed)
    }

    /// Takes away addresses that have just been put there.
    pub(super) fn remove_vips(&mut self, added: &[(IpAddr, String)]) {
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
        let wanted = self.state.wanted_vips();
        let stale: Vec<(IpAddr, String)> = self
            .state
            .vips
            .iter()
            .filter(|(address, _)| !wanted.contains(address))
            .map(|(address, interface)| (*address, interface.clone()))
            .collect();
        let Some(keeper) = &mut self.parts.vips else {
            return;
        };
        for (address, interface) in stale {
            match keeper.remove(address, &interface) {
                Ok(()) => {
                    tracing::info!("{address} taken from {interface}");
                    self.state.vips.remove(&address);
                    // Said again after a crash, the removal does no harm.
                    self.trouble.store_behind = true;
                }
                Err(error) => tracing::warn!("{error}"),
            }
        }
    }

    /// Whether addresses of removed listeners are kept for open flows.
    pub(super) fn holds_vips(&self) -> bool {
        self.state
            .load_balancers
            .values()
            .any(|lb| !lb.deleting && !lb.held.is_empty())
    }

    /// Lets go of the addresses of removed listeners that no open flow uses.
    pub(super) fn release_vips(&mut self) {
        let mut draft = self.draft();
        let now = draft.now;
        let holding: Vec<(LbName, u16)> = self
            .state
            .load_balancers
            .iter()
            .filter(|(_, lb)| !lb.deleting && !lb.held.is_empty())
            .map(|(name, lb)| (name.clone(), lb.index))
            .collect();
        for (name, index) in holding {
            match self.parts.dataplane.flows(index, None, FLOWS_READ) {
                // More than can be looked at: one of them may use it.
                Ok(flows) if flows.len() >= FLOWS_READ => {}
                Ok(flows) => {
                    let used: BTreeSet<IpAddr> = flows.iter().map(|flow| flow.vip.0).collect();
                    release(&mut draft, &name, &used);
                }
                Err(error) => self.complain(&error.to_string(), now),
            }
        }
        self.commit_anyway(draft, "agent");
    }
}

fn release(draft: &mut Draft, name: &LbName, used: &BTreeSet<IpAddr>) {
    if let Some(lb) = draft.state.load_balancers.get_mut(name) {
        lb.held.retain(|address| used.contains(address));
    }
}
