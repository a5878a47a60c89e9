//! The sole writer's look at drains: what still ties clients to backends that
//! leave, and which drains are over.

use std::time::Duration;

use super::{
    command::Command,
    edit::{Draft, Note},
    writer::Control,
};
use crate::{
    dataplane::Ties,
    model::{BackendId, BackendIndex, LbName},
    wire::What,
};

/// How often a drain's progress is said.
const PROGRESS: Duration = Duration::from_secs(5);

impl Control {
    /// Reads what ties clients to draining backends (all, or those named) and
    /// ends the drains that are over; what begins or ends by it does so in the
    /// name of `by`.
    pub(super) fn look_at_drains(&mut self, only: Option<(&str, &[BackendId])>, by: &str) {
        let mut draft = self.draft();
        let now = draft.now();
        if only.is_none() {
            self.looked = now.moment;
        }
        // The kernel must know of a drain before its ties mean anything.
        if self.trouble.kernel_behind {
            return;
        }
        let draining: Vec<(LbName, BackendId, BackendIndex)> = self
            .index
            .draining()
            .filter(|(lb, id, _)| {
                only.is_none_or(|(name, ids)| lb.as_str() == name && ids.contains(id))
            })
            .map(|(lb, id, draining)| (lb.clone(), id.clone(), draining.index))
            .collect();
        let mut progress = Vec::new();
        for (lb, id, index) in draining {
            match self.parts.dataplane.ties(index) {
                Ok(ties) => {
                    let polled = Command::Polled(lb.clone(), id.clone(), ties);
                    if let Err(error) = draft.make(polled) {
                        self.complain(&error.message(), now);
                    }
                    progress.extend(self.progress(&draft, &lb, &id, index, ties));
                }
                Err(error) => self.complain(&error.to_string(), now),
            }
        }
        self.say(progress, by, now);
        self.commit_anyway(draft, by);
    }

    /// What is to be said of a drain that goes on, if it is time to.
    fn progress(
        &mut self,
        draft: &Draft,
        lb: &LbName,
        id: &BackendId,
        index: BackendIndex,
        ties: Ties,
    ) -> Option<Note> {
        let now = draft.now().moment;
        let (_, backend) = draft.state().backend(lb.as_str(), id.as_str()).ok()?;
        let drain = backend
            .life
            .drain()
            .filter(|_| backend.life.is_draining())?;
        let said = self.progress.entry(index).or_insert(drain.since);
        if now < *said + PROGRESS {
            return None;
        }
        *said = now;
        Some(Note {
            lb: lb.clone(),
            backend: Some(id.clone()),
            what: What::DrainProgress {
                flows_left: ties.flows,
                seconds_left: drain.seconds_left(now),
            },
        })
    }
}
