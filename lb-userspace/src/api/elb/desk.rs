//! What every action works with: the control plane, asked in the name of the
//! caller, and how the API is configured.

use std::{collections::BTreeSet, net::IpAddr, sync::Arc};

use tokio::sync::{Mutex, MutexGuard};

use super::{
    errors::{Code, Refusal},
    extras::Extras,
};
use crate::{
    api::{ends::Ends, operators::Operators},
    config::ElbApi,
    control::Handle,
    wire::{Backend, LoadBalancer},
};

/// What all callers share.
#[derive(Debug)]
pub(super) struct Shared {
    pub(super) settings: ElbApi,
    /// Actions that look before they change something do so one at a time:
    /// what the API keeps in [`Extras`] is written by nobody else.
    writing: Mutex<()>,
}

impl Shared {
    pub(super) fn new(settings: ElbApi) -> Self {
        Self {
            settings,
            writing: Mutex::default(),
        }
    }
}

/// Whether a caller may change something.
#[derive(Debug, Clone)]
pub(super) enum MayChange {
    /// Who signed may.
    Yes,
    /// Without access keys: many things on a host can be talked into a GET.
    NotByGet,
    /// Without access keys: those who may use the admin socket.
    If(Operators, Ends),
}

/// One caller's desk.
#[derive(Debug, Clone)]
pub(super) struct Desk {
    pub(super) control: Handle,
    shared: Arc<Shared>,
    may_change: MayChange,
}

/// A load balancer with what the API remembers of it.
#[derive(Debug, Clone)]
pub(super) struct Known {
    pub(super) lb: LoadBalancer,
    pub(super) extras: Extras,
}

impl Known {
    fn of(lb: LoadBalancer) -> Result<Self, Refusal> {
        let extras = Extras::of(&lb.elb)?;
        Ok(Self { lb, extras })
    }

    /// Those that are not on their way out: what the API calls instances.
    pub(super) fn registered(&self) -> impl Iterator<Item = &Backend> {
        self.lb
            .backends
            .iter()
            .filter(|backend| backend.registration == "registered")
    }

    /// The address that clients connect to.
    pub(super) fn vip(&self) -> Option<IpAddr> {
        let first = || self.lb.listeners.iter().map(|listener| listener.address);
        self.extras.vip.or_else(|| first().min())
    }
}

impl Desk {
    pub(super) fn new(control: Handle, shared: Arc<Shared>, may_change: MayChange) -> Self {
        Self {
            control,
            shared,
            may_change,
        }
    }

    /// Refuses whoever may not change anything.
    pub(super) async fn admit_change(&self) -> Result<(), Refusal> {
        match &self.may_change {
            MayChange::Yes => Ok(()),
            MayChange::NotByGet => Err(Refusal::new(
                Code::AccessDenied,
                "without access keys what changes something is sent as a POST",
            )),
            MayChange::If(operators, ends) => operators.admit(*ends).await.map_err(|why| {
                let message = format!("{why}; {}", why.hint());
                Refusal::new(Code::AccessDenied, message)
            }),
        }
    }

    pub(super) fn settings(&self) -> &ElbApi {
        &self.shared.settings
    }

    /// Held while an action looks and changes.
    pub(super) async fn writing(&self) -> MutexGuard<'_, ()> {
        self.shared.writing.lock().await
    }

    /// One that is being deleted is gone, as far as this API goes.
    pub(super) async fn lb(&self, name: &str) -> Result<Known, Refusal> {
        let lb = self.control.load_balancer(name).await?;
        if lb.deleting {
            return Err(Refusal::no_such_lb(name));
        }
        Known::of(lb)
    }

    /// Sorted by name.
    pub(super) async fn lbs(&self) -> Result<Vec<Known>, Refusal> {
        let all = self.control.load_balancers().await?;
        all.into_iter()
            .filter(|lb| !lb.deleting)
            .map(Known::of)
            .collect()
    }

    /// Remembers it. On disk when this returns.
    pub(super) async fn keep(&self, name: &str, extras: &Extras) -> Result<(), Refusal> {
        let value = extras.to_value()?;
        Ok(self.control.keep_elb(name, value).await?)
    }

    /// An address for a new load balancer.
    pub(super) async fn free_vip(&self) -> Result<IpAddr, Refusal> {
        let pool = &self.settings().vip_pool;
        if pool.is_empty() {
            return Err(Refusal::new(
                Code::OperationNotPermitted,
                "there are no addresses to give to load balancers: \
                 name some as `vip_pool` in [elb_api] of ebb's configuration",
            ));
        }
        // Those that are being deleted have theirs still.
        let mut taken = BTreeSet::new();
        for lb in self.control.load_balancers().await? {
            taken.extend(Extras::of(&lb.elb)?.vip);
            taken.extend(lb.listeners.iter().map(|listener| listener.address));
            taken.extend(lb.backends.iter().map(|backend| backend.address));
        }
        pool.first_free(&taken).ok_or_else(|| {
            Refusal::new(
                Code::TooManyLoadBalancers,
                "every address of `vip_pool` in ebb's configuration is taken: \
                 delete a load balancer, or add addresses",
            )
        })
    }
}
