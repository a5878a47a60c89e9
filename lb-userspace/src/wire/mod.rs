//! JSON on the wire: the documents of the admin API, which the server sends, the
//! command line prints and hooks deliver. Types of their own, so that a word of
//! the model can be renamed without a client noticing. Times are seconds; dates
//! are RFC 3339 in UTC.
//!
//! - [`load_balancer`], [`listener`], [`backend`], [`attributes`], [`health`]: what
//!   there is, and is asked for; [`drain`]: how a backend leaves; [`flow`]: what it
//!   still has;
//! - [`apply`], [`status`], [`error`]: of all of it; [`event`]: what is told;
//! - [`words`]: what the model's own words are there;
//! - [`checked`]: from such a document to the model, and back.
//!
//! `golden` has one of each, as it is sent.

mod apply;
mod attributes;
mod backend;
pub mod checked;
mod drain;
mod error;
pub mod event;
mod flow;
mod health;
mod listener;
mod load_balancer;
mod status;
mod words;

pub use apply::{Applied, Apply, Step, StepAction};
pub use attributes::{Attributes, AttributesPatch, ConnectionDraining, ConnectionDrainingPatch};
pub use backend::{Backend, BackendCounters, Backends, NewBackend, NewBackends, NextHop, State};
pub use drain::{Deregister, Drain, DrainOutcome};
pub use error::{Error, ErrorBody};
pub use event::{Event, Events, What};
pub use flow::{Flow, FlowSort, Flows};
pub use health::{HealthByHand, HealthCheck, HealthCheckSetting, LastCheck, SetHealth};
pub use listener::Listener;
pub use load_balancer::{Deleted, LoadBalancer, LoadBalancers, NewLoadBalancer};
pub use status::{BackendTally, InterfaceStatus, NatPorts, Status, Table};

#[cfg(test)]
mod tests;
