//! The state in the words of the API. Pure.

use crate::{
    clock::Now,
    dataplane::Counters,
    health::Board,
    model::{BackendCounters, BackendId, Drain, LbName, ListenerKey},
    state::{
        Backend, Lb,
        life::{RECOVERING, Registration, UNHEALTHY},
    },
    wire,
};

/// What is read beside the state to describe it.
#[derive(Debug)]
pub struct Beside<'a> {
    pub now: Now,
    pub counters: &'a Counters,
    pub board: &'a Board,
}

impl Beside<'_> {
    #[must_use]
    pub fn load_balancer(&self, name: &LbName, lb: Lb<'_>) -> wire::LoadBalancer {
        wire::LoadBalancer {
            name: name.to_string(),
            mode: lb.mode,
            listeners: lb
                .listeners
                .iter()
                .map(|(key, port)| listener(key, *port))
                .collect(),
            attributes: lb.attributes.into(),
            health_check: lb.health_check.clone().map(Into::into),
            backends: lb
                .present()
                .map(|(id, backend)| self.backend(name, id, &backend))
                .collect(),
            created: lb.created.to_string(),
            deleting: lb.deleting,
            elb: lb.elb.clone(),
        }
    }

    #[must_use]
    pub fn backend(&self, lb: &LbName, id: &BackendId, backend: &Backend<'_>) -> wire::Backend {
        let life = &backend.life;
        let last_check = self.board.last(lb.as_str(), id.as_str());
        let passed = last_check.as_ref().is_some_and(|last| last.passed());
        let described = match life.described() {
            UNHEALTHY if passed && !life.by_hand() => RECOVERING,
            described => described,
        };
        let counters = self.counters(backend);
        let next_hop = backend.next_hop;
        wire::Backend {
            id: id.to_string(),
            address: backend.address,
            weight: backend.weight.get(),
            state: described.state,
            reason_code: described.reason_code.to_owned(),
            description: described.description.to_owned(),
            registration: life.registration().name().to_owned(),
            health: life.health().name().to_owned(),
            health_by_hand: life.by_hand(),
            last_check: last_check.map(|last| last.as_ref().into()),
            takes_new: life.takes_new() && matches!(next_hop, Some(Ok(_))),
            flows: counters.active(),
            next_hop: next_hop.and_then(|found| found.as_ref().ok().cloned().map(Into::into)),
            next_hop_error: next_hop.and_then(|found| found.as_ref().err().cloned()),
            drain: life
                .drain()
                .map(|drain| self.drain(drain, life.registration(), counters.active())),
            counters: counters.into(),
        }
    }

    #[must_use]
    pub fn counters(&self, backend: &Backend<'_>) -> BackendCounters {
        backend
            .index
            .and_then(|index| self.counters.backends.get(&index))
            .copied()
            .unwrap_or_default()
    }

    fn drain(&self, drain: &Drain, registration: &Registration, flows: u64) -> wire::Drain {
        let runs = drain.outcome.is_none();
        wire::Drain {
            started: self.now.wall_at(drain.since).to_string(),
            timeout: drain.timeout,
            seconds_left: match registration {
                Registration::Draining(_) => drain.seconds_left(self.now.moment),
                _ => 0,
            },
            flows_at_start: drain.flows_at_start.unwrap_or(flows),
            flows_left: if runs { flows } else { 0 },
            outcome: drain.outcome.map(Into::into),
        }
    }
}

fn listener(key: &ListenerKey, backend_port: u16) -> wire::Listener {
    wire::Listener {
        protocol: key.protocol,
        address: key.address,
        port: key.port,
        backend_port: Some(backend_port),
    }
}
