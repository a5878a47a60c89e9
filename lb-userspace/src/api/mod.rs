//! The doors into the control task: the admin API with its shapes and its
//! client, and the Classic ELB's Query API.
//!
//! - [`admin`], [`client`], [`types`]: JSON over a Unix socket;
//! - [`elb`]: what the original's clients speak;
//! - [`metrics`]: for Prometheus;
//! - [`connections`], [`deadline`]: what all doors do with connections.

pub mod admin;
pub mod client;
mod connections;
mod deadline;
pub mod elb;
pub mod metrics;
pub mod types;
