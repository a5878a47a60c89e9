//! How a draft becomes the state: checked, stored, put in force in the kernel,
//! and only then the state, said to listeners, and answered. If the store fails,
//! nothing has happened; if the kernel refuses, the store and the kernel get the
//! old state back.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
    sync::Arc,
    time::Duration,
};

use super::{
    command::Command,
    edit::{Draft, Ready},
    error::Error,
    plan::plan,
    view,
    writer::Control,
};
use crate::{
    clock::Now,
    dataplane::Change,
    model::{BackendId, LbName, Subject},
    state::Lb,
    store::Sure,
};

/// How often a failure that lasts is logged.
const COMPLAIN: Duration = Duration::from_secs(60);

impl Control {
    /// All of the commands, or none.
    pub(super) fn carry_out(
        &mut self,
        commands: impl IntoIterator<Item = Command>,
        by: &str,
    ) -> Result<(), Error> {
        let mut draft = self.draft();
        for command in commands {
            draft.make(command)?;
        }
        self.commit(draft, by)
    }

    /// All of the commands, or none, even if they cannot be stored now. False
    /// if the kernel refused.
    pub(super) fn carry_out_anyway(
        &mut self,
        commands: impl IntoIterator<Item = Command>,
        by: &str,
    ) -> bool {
        let mut draft = self.draft();
        for command in commands {
            if let Err(error) = draft.make(command) {
                self.complain(&error.message(), draft.now());
                return false;
            }
        }
        self.commit_anyway(draft, by)
    }

    /// Makes the draft the state.
    pub(super) fn commit(&mut self, draft: Draft, by: &str) -> Result<(), Error> {
        self.make_state(draft, by, Sure::OnDisk)
    }

    /// Makes the draft the state even if it cannot be stored now. For what
    /// nobody asked for: a deadline, the end of a flow, a server's ill health
    /// do not wait for a full disk. After a crash they would be found again.
    /// False if the kernel refused.
    pub(super) fn commit_anyway(&mut self, draft: Draft, by: &str) -> bool {
        let now = draft.now();
        match self.make_state(draft, by, Sure::Written) {
            Ok(()) => true,
            Err(error) => {
                self.complain(&error.message(), now);
                false
            }
        }
    }

    fn make_state(&mut self, mut draft: Draft, by: &str, sure: Sure) -> Result<(), Error> {
        draft.check(&self.index)?;
        let added = self
            .place_vips(draft.new_vips(&self.index), &draft.state().node.vips)
            .map_err(Error::Vip)?;
        draft.make(Command::Placed(added.clone()))?;
        let ready = draft.finish(&self.state, &self.index)?;
        if *ready.state() == self.state {
            return Ok(());
        }
        let now = ready.now();
        // Load balancers that do not change have no part in it.
        let before = view::of(&self.state, ready.changed());
        let after = view::of(ready.state(), ready.changed());
        let changes = plan(&before, &after);
        self.parts.dataplane.check(&changes)?;

        let saved = self.parts.store.save(ready.state(), now, sure);
        let behind = saved.is_err();
        if let Err(error) = saved {
            // It may be there all the same: what is in force must follow it.
            self.trouble.store_behind = true;
            if sure == Sure::OnDisk {
                return Err(Error::Store(error));
            }
            self.complain(&error.to_string(), now);
        }
        if let Err(error) = self.put_in_force(&added, &changes) {
            self.take_back(&added, now);
            return Err(error);
        }
        self.trouble.store_behind = behind;
        let Ready {
            state,
            notes,
            changed,
            ..
        } = ready;
        self.index.follow(&changed, &self.state, &state);
        let old = std::mem::replace(&mut self.state, state);
        let index = &self.index;
        let vips = changed
            .iter()
            .filter_map(|name| Some(old.find(name.as_str())?.1));
        let left = vips.flat_map(Lb::vips).filter(|vip| !index.wants(*vip));
        self.unwanted.extend(left);
        self.progress
            .retain(|backend, _| index.owner(*backend).is_some());
        self.say(notes, by, now);
        self.say_service(&before, &after, by, now);
        self.tidy_vips();
        self.publish_roster(&changed);
        Ok(())
    }

    fn put_in_force(
        &mut self,
        added: &BTreeMap<IpAddr, String>,
        changes: &[Change],
    ) -> Result<(), Error> {
        if let Some(keeper) = &mut self.parts.vips {
            for (address, interface) in added {
                keeper.add(*address, interface).map_err(Error::Vip)?;
            }
        }
        if !changes.is_empty() {
            self.parts.dataplane.apply(changes)?;
        }
        Ok(())
    }

    /// The kernel has refused: everything goes back to the state in force.
    fn take_back(&mut self, added: &BTreeMap<IpAddr, String>, now: Now) {
        self.remove_vips(added);
        self.trouble.store_behind = true;
        self.trouble.kernel_behind = true;
        self.retry(now);
    }

    /// Brings the store and the kernel back to the state in force.
    pub(super) fn retry(&mut self, now: Now) {
        self.trouble.retried = now.moment;
        if self.trouble.store_behind {
            match self.parts.store.save(&self.state, now, Sure::OnDisk) {
                Ok(()) => self.trouble.store_behind = false,
                Err(error) => self.complain(&error.to_string(), now),
            }
        }
        if self.trouble.kernel_behind {
            match self.parts.dataplane.reconcile(&view::whole(&self.state)) {
                Ok(()) => self.trouble.kernel_behind = false,
                Err(error) => self.complain(&error.to_string(), now),
            }
        }
        if !self.trouble.any() && self.trouble.said.take().is_some() {
            tracing::info!("the store and the kernel agree with the state again");
        }
    }

    /// Logs a failure that is tried again, but not at every try.
    pub(super) fn complain(&mut self, text: &str, now: Now) {
        let fresh = self
            .trouble
            .said
            .as_ref()
            .is_none_or(|(said, when)| said != text || now.moment >= *when + COMPLAIN);
        if fresh {
            tracing::error!("{text}; trying again");
            self.trouble.said = Some((text.to_owned(), now.moment));
        }
    }

    /// Tells the health checks whom to check from now on, as far as the load
    /// balancers `changed` are concerned.
    pub(super) fn publish_roster(&mut self, changed: &BTreeSet<LbName>) {
        let mut news = false;
        for name in changed {
            let subjects = self.state.find(name.as_str()).map(|(_, lb)| subjects(lb));
            news |= self.roster.set(name, subjects.unwrap_or_default());
        }
        if news {
            self.inbox
                .roster
                .send_replace(Arc::new(self.roster.clone()));
        }
    }
}

/// The backends that are to be checked.
fn subjects(lb: Lb<'_>) -> BTreeMap<BackendId, Subject> {
    let Some(check) = lb.health_check.clone().map(Arc::new) else {
        return BTreeMap::new();
    };
    lb.present()
        .map(|(id, backend)| {
            let subject = Subject {
                address: backend.address,
                check: Arc::clone(&check),
                standing: backend.life.standing(),
            };
            (id.clone(), subject)
        })
        .collect()
}
