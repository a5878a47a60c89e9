//! What the sole writer tells those who listen: events and log lines.

use std::sync::Arc;

use super::{edit::Note, writer::Control};
use crate::{
    clock::Now,
    dataplane::View,
    wire::{Event, What},
};

impl Control {
    /// Which backends came into service from the one view to the other, and
    /// which went out of it while registered.
    pub(super) fn say_service(&mut self, before: &View, after: &View, by: &str, now: Now) {
        let mut notes = Vec::new();
        for (index, after) in &after.backends {
            let took = before.backends.get(index).is_some_and(|b| b.takes_new);
            if took == after.takes_new {
                continue;
            }
            let Some((lb, id)) = self.index.owner(*index) else {
                continue;
            };
            let Ok((_, backend)) = self.state.backend(lb.as_str(), id.as_str()) else {
                continue;
            };
            let what = if after.takes_new {
                What::InService
            } else if !backend.life.is_registered() {
                continue;
            } else if let (true, Some(Err(reason))) = (backend.life.takes_new(), backend.next_hop) {
                What::OutOfService {
                    reason: reason.clone(),
                }
            } else {
                What::OutOfService {
                    reason: backend.life.described().description.to_owned(),
                }
            };
            notes.push(Note {
                lb: lb.clone(),
                backend: Some(id.clone()),
                what,
            });
        }
        self.say(notes, by, now);
    }

    pub(super) fn say(&mut self, notes: Vec<Note>, by: &str, now: Now) {
        for Note { lb, backend, what } in notes {
            self.events += 1;
            let event = Event {
                number: self.events,
                time: now.wall.to_string(),
                by: by.to_owned(),
                load_balancer: lb.into(),
                backend: backend.map(String::from),
                what,
            };
            match &event.what {
                What::DrainProgress { .. } => tracing::debug!("{event}"),
                What::BooksDiffer { .. }
                | What::NextHopLost { .. }
                | What::VipMissing { .. }
                | What::VipContested { .. } => {
                    tracing::warn!("{event}");
                }
                _ if by == "agent" => tracing::info!("{event}"),
                // Who did what: for those who must know it later.
                _ => tracing::info!(target: "audit", by, "{event}"),
            }
            // Nobody may be listening.
            drop(self.inbox.events.send(Arc::new(event)));
        }
    }
}
