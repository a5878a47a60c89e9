//! A backend's life: registration and health, and everything
//! that follows from the two. Pure: no I/O, and time comes in as an argument.
//!
//! ```text
//!              register                       no ties
//!    (none) ───────────→ Registered ←──┐   ┌──────────→ Gone ──1 h──→ (none)
//!                             │        │   │              ↑
//!                 deregister  │        │ register         │ closed
//!                             ↓        │   │              │
//!                         Draining ────┴───┤          Closing
//!                             │            │              ↑
//!                             └────────────┴──────────────┘
//!                                deadline, `--now`, draining disabled
//! ```
//!
//! Leaving always goes through `Draining`: first the kernel is told that the
//! backend takes no new flows, then [`Life::poll`] looks at what still ties
//! clients to it and decides. "At once" is a drain whose deadline is now.

use std::time::Duration;

use crate::{
    clock::Moment,
    dataplane::Ties,
    model::{Drain, DrainTimeout, Epoch, Leave, Standing},
    wire::State,
};

/// How long a backend that is gone can still be described.
pub const REMEMBERED: Duration = Duration::from_secs(3600);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Health {
    Unknown,
    Healthy,
    Unhealthy,
}

impl Health {
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Unknown => "unknown",
            Self::Healthy => "healthy",
            Self::Unhealthy => "unhealthy",
        }
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Registration {
    Registered {
        /// The drain that registering again cancelled, if one was.
        cancelled: Option<Drain>,
    },
    /// Deregistered; keeps its flows until the last ends or the deadline
    /// passes.
    Draining(Drain),
    /// Its flows are being closed by force, which takes a while when paced.
    Closing(Drain),
    /// Not registered any more, and remembered since then for a while.
    Gone { since: Moment, drain: Drain },
}

impl Registration {
    #[must_use]
    pub fn is_registered(&self) -> bool {
        matches!(self, Self::Registered { .. })
    }

    #[must_use]
    pub fn is_draining(&self) -> bool {
        matches!(self, Self::Draining(_))
    }

    #[must_use]
    pub fn is_gone(&self) -> bool {
        matches!(self, Self::Gone { .. })
    }

    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Self::Registered { .. } => "registered",
            Self::Draining(_) => "draining",
            Self::Closing(_) => "closing",
            Self::Gone { .. } => "gone",
        }
    }

    /// Shifts everything that was measured on another boot's clock.
    pub fn rebase(&mut self, shift: impl Fn(Moment) -> Moment) {
        match self {
            Self::Registered { cancelled } => {
                if let Some(drain) = cancelled {
                    drain.since = shift(drain.since);
                }
            }
            Self::Draining(drain) | Self::Closing(drain) => drain.since = shift(drain.since),
            Self::Gone { since, drain } => {
                *since = shift(*since);
                drain.since = shift(drain.since);
            }
        }
    }
}

/// The epochs that no backend had yet. They only go up, over all backends and
/// restarts, so that no old flow can ever be taken for a new one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Epochs(Epoch);

impl Default for Epochs {
    fn default() -> Self {
        Self(1)
    }
}

impl From<Epoch> for Epochs {
    /// From this one on.
    fn from(next: Epoch) -> Self {
        Self(next)
    }
}

impl Epochs {
    /// The one that is taken next.
    #[must_use]
    pub fn next(self) -> Epoch {
        self.0
    }

    fn take(&mut self) -> Epoch {
        let epoch = self.0;
        // Four billion disowned backends; wrapping is harmless, for the
        // epochs in use are never that far apart.
        self.0 = self.0.wrapping_add(1).max(1);
        epoch
    }
}

/// What was asked for of a backend, and how far that has come.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Asked {
    pub registration: Registration,
    /// What an operator said, over what the checks say.
    pub by_hand: Option<Health>,
}

/// What this host gave a backend, and what it found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    pub epoch: Epoch,
    /// What health checks found; `None` while none watches this backend.
    pub checked: Option<Health>,
    /// Flows of earlier epochs are being closed by force, and the data plane
    /// has not said yet that it is done.
    pub cutting: bool,
}

/// The two facts about a backend, and what they need to be decided: a half of
/// it from what people asked for, the other from what this host found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Life {
    pub asked: Asked,
    pub found: Found,
}

/// What a step did, for events and logs. The kernel is told by comparing views.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// Nothing changed.
    None,
    Registered,
    /// Registered again before the drain ended.
    Cancelled,
    DrainStarted {
        timeout: u32,
    },
    DeadlineMoved {
        timeout: u32,
    },
    /// What is left is being closed, under a new epoch.
    Cutting {
        flows: u64,
    },
    /// A forced close is done, and the backend stays.
    Cut {
        flows: u64,
    },
    /// Nothing ties clients to it any more.
    Gone,
    HealthChanged,
    /// It became unhealthy with draining disabled: its flows are being closed.
    Disowned,
}

/// What a look at a drain found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Polled {
    /// It was the first look: what the drain has to wait for is known now.
    pub first: bool,
    /// Nothing, or `Cutting`, or `Gone`.
    pub step: Step,
}

/// The three columns that operators and the Classic ELB API see.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Described {
    pub state: State,
    pub reason_code: &'static str,
    pub description: &'static str,
}

/// Draining, and closing too: to the outside, both are the same.
pub const DRAINING: Described = Described {
    state: State::InService,
    reason_code: "N/A",
    description: "Instance deregistration currently in progress.",
};
pub const IN_SERVICE: Described = Described {
    state: State::InService,
    reason_code: "N/A",
    description: "N/A",
};
pub const REGISTERING: Described = Described {
    state: State::OutOfService,
    reason_code: "ELB",
    description: "Instance registration is still in progress.",
};
pub const UNHEALTHY: Described = Described {
    state: State::OutOfService,
    reason_code: "Instance",
    description: "Instance has failed at least the UnhealthyThreshold number of health checks consecutively.",
};
/// Unhealthy still, but the last check passed.
pub const RECOVERING: Described = Described {
    state: State::OutOfService,
    reason_code: "Instance",
    description: "Instance has not passed the configured HealthyThreshold number of health checks consecutively.",
};
pub const NOT_REGISTERED: Described = Described {
    state: State::OutOfService,
    reason_code: "Instance",
    description: "Instance is not currently registered with the LoadBalancer.",
};

impl Life {
    /// A backend that has just been registered. `watched`: a health check will
    /// say how it is; otherwise it counts as healthy.
    #[must_use]
    pub fn begin(watched: bool, epochs: &mut Epochs) -> Self {
        Self {
            asked: Asked {
                registration: Registration::Registered { cancelled: None },
                by_hand: None,
            },
            found: Found {
                epoch: epochs.take(),
                checked: watched.then_some(Health::Unknown),
                cutting: false,
            },
        }
    }

    #[must_use]
    pub fn registration(&self) -> &Registration {
        &self.asked.registration
    }

    #[must_use]
    pub fn epoch(&self) -> Epoch {
        self.found.epoch
    }

    /// The epoch whose forced close is under way.
    #[must_use]
    pub fn closing(&self) -> Option<Epoch> {
        (self.found.cutting || matches!(self.asked.registration, Registration::Closing(_)))
            .then_some(self.found.epoch)
    }

    /// The drain that runs, or the last one.
    #[must_use]
    pub fn drain(&self) -> Option<&Drain> {
        match &self.asked.registration {
            Registration::Registered { cancelled } => cancelled.as_ref(),
            Registration::Draining(drain)
            | Registration::Closing(drain)
            | Registration::Gone { drain, .. } => Some(drain),
        }
    }

    #[must_use]
    pub fn health(&self) -> Health {
        self.asked
            .by_hand
            .or(self.found.checked)
            .unwrap_or(Health::Healthy)
    }

    /// What the checks so far hold it for, whatever was said by hand.
    #[must_use]
    pub fn standing(&self) -> Standing {
        match self.found.checked {
            None | Some(Health::Unknown) => Standing::New,
            Some(Health::Healthy) => Standing::Healthy,
            Some(Health::Unhealthy) => Standing::Unhealthy,
        }
    }

    #[must_use]
    pub fn checked(&self) -> Option<Health> {
        self.found.checked
    }

    #[must_use]
    pub fn by_hand(&self) -> bool {
        self.asked.by_hand.is_some()
    }

    #[must_use]
    pub fn is_registered(&self) -> bool {
        self.asked.registration.is_registered()
    }

    #[must_use]
    pub fn is_draining(&self) -> bool {
        self.asked.registration.is_draining()
    }

    #[must_use]
    pub fn is_gone(&self) -> bool {
        self.asked.registration.is_gone()
    }

    /// May take new flows, as far as this goes; whether there is a next hop to the
    /// backend is the data plane's business.
    #[must_use]
    pub fn takes_new(&self) -> bool {
        self.is_registered() && self.health() == Health::Healthy
    }

    /// When it need not be remembered any more, if it is gone.
    #[must_use]
    pub fn forgettable_at(&self) -> Option<Moment> {
        match self.asked.registration {
            Registration::Gone { since, .. } => Some(since + REMEMBERED),
            _ => None,
        }
    }

    /// True once it need not be remembered any more.
    #[must_use]
    pub fn forgettable(&self, now: Moment) -> bool {
        self.forgettable_at().is_some_and(|moment| now >= moment)
    }

    #[must_use]
    pub fn described(&self) -> Described {
        match (&self.asked.registration, self.health()) {
            (Registration::Registered { .. }, Health::Unknown) => REGISTERING,
            (Registration::Registered { .. }, Health::Healthy) => IN_SERVICE,
            (Registration::Registered { .. }, Health::Unhealthy) => UNHEALTHY,
            (Registration::Draining(_) | Registration::Closing(_), _) => DRAINING,
            (Registration::Gone { .. }, _) => NOT_REGISTERED,
        }
    }

    /// Registers a backend that is leaving or gone again. A drain is cancelled;
    /// the flows stay, and health is what it was. Flows that are being closed
    /// already are lost. One that is gone begins anew.
    pub fn register(&mut self, watched: bool, epochs: &mut Epochs) -> Step {
        match &mut self.asked.registration {
            Registration::Registered { .. } => Step::None,
            Registration::Draining(drain) | Registration::Closing(drain) => {
                let mut drain = drain.clone();
                drain.cancel();
                self.found.cutting = self.closing().is_some();
                self.asked.registration = Registration::Registered {
                    cancelled: Some(drain),
                };
                Step::Cancelled
            }
            Registration::Gone { .. } => {
                *self = Self::begin(watched, epochs);
                Step::Registered
            }
        }
    }

    /// Stops new flows. [`Life::poll`] does the rest, once the kernel knows.
    /// `attribute`: the drain time of the load balancer, if draining is on.
    pub fn deregister(&mut self, now: Moment, how: Leave, attribute: Option<DrainTimeout>) -> Step {
        let timeout = match how {
            Leave::ByAttributes => attribute,
            Leave::Within(timeout) => Some(timeout),
            Leave::Now => None,
        };
        match &mut self.asked.registration {
            Registration::Registered { .. } => {
                let drain = Drain::begin(now, timeout);
                let timeout = drain.timeout;
                self.asked.registration = Registration::Draining(drain);
                Step::DrainStarted { timeout }
            }
            Registration::Draining(drain) if how != Leave::ByAttributes => {
                if drain.retime(timeout) {
                    Step::DeadlineMoved {
                        timeout: drain.timeout,
                    }
                } else {
                    Step::None
                }
            }
            _ => Step::None,
        }
    }

    /// Looks whether a drain is over: no ties are left, or no time is. Only
    /// with ties that were read after the kernel was told to stop new flows.
    pub fn poll(&mut self, now: Moment, ties: Ties, epochs: &mut Epochs) -> Polled {
        let Registration::Draining(drain) = &mut self.asked.registration else {
            return Polled {
                first: false,
                step: Step::None,
            };
        };
        let first = drain.flows_at_start.is_none();
        drain.flows_at_start.get_or_insert(ties.flows);
        // A forced close from before (see `Disowned`) must be done first, or
        // its answer would find nobody.
        let step = if ties == Ties::default() && !self.found.cutting {
            drain.end();
            let drain = drain.clone();
            self.asked.registration = Registration::Gone { since: now, drain };
            Step::Gone
        } else if now >= drain.deadline() {
            self.asked.registration = Registration::Closing(drain.clone());
            self.disown(epochs);
            Step::Cutting { flows: ties.flows }
        } else {
            Step::None
        };
        Polled { first, step }
    }

    /// The data plane has closed what was disowned when `epoch` began.
    pub fn closed(&mut self, now: Moment, epoch: Epoch, flows: u64) -> Step {
        let done = self.closing() == Some(epoch);
        if done {
            self.found.cutting = false;
        }
        match &mut self.asked.registration {
            Registration::Closing(drain) => {
                drain.cut += flows;
                if !done {
                    // An earlier close, overtaken by this one.
                    return Step::None;
                }
                drain.end();
                let drain = drain.clone();
                self.asked.registration = Registration::Gone { since: now, drain };
                Step::Gone
            }
            _ if done => Step::Cut { flows },
            _ => Step::None,
        }
    }

    /// What health checks say from now on; `None`: none watches any more.
    /// `draining`: whether it is enabled for the load balancer.
    pub fn check(&mut self, checked: Option<Health>, draining: bool, epochs: &mut Epochs) -> Step {
        let before = (self.health(), self.found.checked);
        self.found.checked = checked;
        self.health_set(before.0, before.1 != checked, draining, epochs)
    }

    /// What an operator says from now on; `None`: what the checks say.
    /// `draining`: whether it is enabled for the load balancer.
    pub fn set_by_hand(
        &mut self,
        by_hand: Option<Health>,
        draining: bool,
        epochs: &mut Epochs,
    ) -> Step {
        let before = (self.health(), self.asked.by_hand);
        self.asked.by_hand = by_hand;
        self.health_set(before.0, before.1 != by_hand, draining, epochs)
    }

    fn health_set(
        &mut self,
        before: Health,
        changed: bool,
        draining: bool,
        epochs: &mut Epochs,
    ) -> Step {
        let after = self.health();
        let fell = before != Health::Unhealthy && after == Health::Unhealthy;
        if fell && self.is_registered() && !draining {
            self.disown(epochs);
            Step::Disowned
        } else if changed {
            Step::HealthChanged
        } else {
            Step::None
        }
    }

    fn disown(&mut self, epochs: &mut Epochs) {
        self.found.epoch = epochs.take();
        self.found.cutting = true;
    }
}

#[cfg(test)]
mod tests;
