//! What the data plane says by itself, and what follows from it.

use super::{command::Command, edit::Note, handle::Message, writer::Control};
use crate::{dataplane::Event, model::BackendIndex, wire::What};

impl Control {
    /// Takes in what the data plane has said, all of it in one change: a host
    /// that starts may find the next hops to a thousand backends in the same second.
    pub(super) fn hear(&mut self, events: Vec<Event>) {
        let commands: Vec<Command> = events
            .iter()
            .filter_map(|event| self.command(event))
            .collect();
        if !self.carry_out_anyway(commands, "agent") {
            // It is said only once.
            let again = |event: &Event| !matches!(event, Event::BooksDiffer { .. });
            let unheard = events.into_iter().filter(again);
            self.trouble.unheard.extend(unheard);
        }
    }

    /// What the event changes, if it is about somebody whom we know.
    fn command(&mut self, event: &Event) -> Option<Command> {
        match event {
            Event::Closed {
                backend,
                epoch,
                flows,
            } => {
                let (lb, id) = self.index.owner(*backend)?.clone();
                Some(Command::Closed(lb, id, *epoch, *flows))
            }
            Event::Forgotten(index) => Some(Command::Forgotten(*index)),
            Event::NextHop { backend, next_hop } => {
                // It may have been under way when the backend was removed.
                let (lb, id) = self.index.owner(*backend)?.clone();
                Some(Command::Heard(lb, id, next_hop.clone()))
            }
            Event::BooksDiffer {
                backend,
                counted,
                found,
            } => {
                self.books_differ += 1;
                let (counted, found) = (*counted, *found);
                let note = self.note(*backend, What::BooksDiffer { counted, found });
                let now = self.parts.clock.now();
                self.say(note.into_iter().collect(), "agent", now);
                None
            }
        }
    }

    fn note(&self, index: BackendIndex, what: What) -> Option<Note> {
        let (lb, id) = self.index.owner(index)?.clone();
        Some(Note {
            lb,
            backend: Some(id),
            what,
        })
    }

    /// What the data plane has said by now, before an answer goes out.
    pub(super) fn hear_pending(&mut self) {
        self.backlog.extend(self.inbox.messages.try_iter());
        let mut events = Vec::new();
        for message in std::mem::take(&mut self.backlog) {
            match message {
                Message::Dataplane(event) => events.push(event),
                other => self.backlog.push_back(other),
            }
        }
        if !events.is_empty() {
            self.hear(events);
        }
    }
}
