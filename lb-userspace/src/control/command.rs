//! Everything that can change the state: what people ask for, and what this
//! host finds.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
};

use serde_json::Value;

use crate::{
    dataplane::Ties,
    model::{
        AttributesSpec, BackendId, BackendIndex, BackendSpec, Declaration, Epoch, HealthCheck,
        HealthReport, LbName, LbSpec, Leave, ListenerKey,
    },
    state::{Resolution, life::Health},
};

/// Names as they were given may name nothing; those that were read from the
/// state have types.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Command {
    /// With what the ELB API is to remember of it. Takes a deletion back.
    Create(LbName, LbSpec, Value),
    Delete(String, Leave),
    /// Or another backend port for one that is there.
    AddListener(String, ListenerKey, u16),
    RemoveListener(String, ListenerKey),
    /// Or the end of its drain, or another weight.
    Register(String, BackendId, BackendSpec),
    Deregister(String, String, Leave),
    SetByHand(String, String, Option<Health>),
    SetAttributes(String, AttributesSpec),
    SetHealthCheck(String, Option<HealthCheck>),
    KeepElb(String, Value),
    /// What a source has said, so that the next time only news are done.
    Declared(String, Declaration),

    /// What the checks of a backend add up to.
    Checked(String, String, HealthReport),
    /// What tied clients to a draining backend after the kernel knew of it.
    Polled(LbName, BackendId, Ties),
    /// A forced close is done.
    Closed(LbName, BackendId, Epoch, u64),
    /// The next hop to a backend was found, or that it cannot be reached.
    Heard(LbName, BackendId, Resolution),
    /// Nothing in the kernel names this index any more.
    Forgotten(BackendIndex),
    /// VIPs are to be on these interfaces.
    Placed(BTreeMap<IpAddr, String>),
    /// VIPs are not there any more, or not ours.
    Displaced(BTreeSet<IpAddr>),
    /// Of the addresses of removed listeners, open flows use no others.
    Used(LbName, BTreeSet<IpAddr>),
}
