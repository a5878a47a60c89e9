//! Hooks: a command or an HTTP POST for each of some events.
//!
//! Each hook has a queue of its own, bounded, and one delivery under way at a
//! time, in the order of the events. A delivery that fails is tried again, ever
//! more slowly, a few times. Nothing here is ever waited for by the agent: a
//! hook that is too slow loses events, and says how many.
//!
//! [`deliver`] is one event, to a command or by HTTP.

mod deliver;

use std::{sync::Arc, time::Duration};

use tokio::{
    sync::{broadcast, mpsc},
    task::JoinSet,
    time::sleep,
};

use self::deliver::Deliverer;
use crate::{config::Hook, control::Tallies, wire::Event};

/// Events that may wait for one hook.
const WAITING: usize = 1000;

/// How long the second try waits, and how long any try waits at most.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
const LONGEST_PAUSE: Duration = Duration::from_secs(60);

/// Serves `hooks` with what `happens`, until the task is dropped or nobody can
/// say anything any more.
pub async fn run(hooks: Vec<Hook>, mut happens: broadcast::Receiver<Arc<Event>>, tallies: Tallies) {
    let mut workers = JoinSet::new();
    let deliverer = Arc::new(Deliverer::default());
    let queues: Vec<_> = hooks
        .into_iter()
        .map(|hook| {
            let (queue, events) = mpsc::channel(WAITING);
            let hook = Arc::new(hook);
            workers.spawn(serve(
                Arc::clone(&hook),
                events,
                Arc::clone(&deliverer),
                tallies.clone(),
            ));
            (hook, queue)
        })
        .collect();
    loop {
        let event = match happens.recv().await {
            Ok(event) => event,
            Err(broadcast::error::RecvError::Lagged(missed)) => {
                tracing::warn!(missed, "the hooks could not keep up with the events");
                continue;
            }
            Err(broadcast::error::RecvError::Closed) => return,
        };
        for (hook, queue) in queues.iter().filter(|(hook, _)| wants(hook, &event)) {
            if queue.try_send(Arc::clone(&event)).is_err() {
                tallies.dropped(&hook.name);
                tracing::warn!(hook = %hook.name, event = event.number, "the hook is too slow; it does not get this event");
            }
        }
    }
}

fn wants(hook: &Hook, event: &Event) -> bool {
    let about = hook.load_balancer.as_ref();
    hook.events.contains(event.what.name())
        && about.is_none_or(|lb| lb.as_str() == event.load_balancer)
}

/// Delivers one event after the other.
async fn serve(
    hook: Arc<Hook>,
    mut events: mpsc::Receiver<Arc<Event>>,
    deliverer: Arc<Deliverer>,
    tallies: Tallies,
) {
    while let Some(event) = events.recv().await {
        let mut pause = FIRST_PAUSE;
        let mut tries = 1;
        loop {
            match deliverer.deliver(&hook, &event).await {
                Ok(()) => {
                    tallies.delivered(&hook.name);
                    break;
                }
                Err(error) if tries >= hook.attempts => {
                    tallies.failed(&hook.name);
                    tracing::error!(hook = %hook.name, event = event.number, tries, %error, "the hook was given up on for this event");
                    break;
                }
                Err(error) => {
                    tracing::warn!(hook = %hook.name, event = event.number, tries, %error, "the hook failed; trying again");
                }
            }
            // A tenth more or less, so that hooks that failed together do not
            // come back together.
            sleep(pause.mul_f64(0.9 + 0.2 * fastrand::f64())).await;
            pause = (pause * 2).min(LONGEST_PAUSE);
            tries += 1;
        }
    }
}

#[cfg(test)]
mod tests;
