//! The sole writer's answers: what each request asks, does and says.

use std::{
    collections::BTreeMap,
    net::{IpAddr, SocketAddr},
    time::Duration,
};

use super::{
    command::Command,
    describe::Beside,
    error::Error,
    handle::{Declare, FlowQuery, Measured, Report, Request},
    merge::{Edit, Reading},
    writer::{Control, FLOWS_READ, declared},
};
use crate::{
    dataplane::{Counters, FlowRecord, NatPortFill},
    model::{
        AttributesSpec, BackendCounters, BackendId, BackendIndex, DrainTimeout, HealthCheck,
        Invalid, LbName, Leave, ListenerKey, NatSource, Protocol, spec,
    },
    state::life::Health,
    wire::{self, FlowSort, HealthByHand, checked},
};

/// The most that are answered, and how many unless told.
const FLOWS_MOST: usize = 100_000;
const FLOWS_DEFAULT: usize = 1000;

/// So many backends that cannot be reached are warned of by name: a router that is
/// gone may be in the way to all of them.
const NAMED: usize = 50;

/// A backend that has been sent so many packets has had the time to answer one.
const ASKED: u64 = 5;

impl Control {
    pub(super) fn answer(&mut self, by: &str, request: Request) {
        // Who asked may be gone: the change was made all the same.
        match request {
            Request::Status(reply) => drop(reply.send(self.status())),
            Request::Measure(reply) => drop(reply.send(self.measure())),
            Request::Room(reply) => drop(reply.send(Ok(self.state.room(&self.sizes)))),
            Request::LoadBalancers(reply) => drop(reply.send(self.load_balancers())),
            Request::LoadBalancer(lb, reply) => drop(reply.send(self.load_balancer(&lb))),
            Request::CreateLoadBalancer(new, reply) => drop(reply.send(self.create(new, by))),
            Request::DeleteLoadBalancer(lb, how, reply) => {
                drop(reply.send(self.delete(&lb, &how, by)));
            }
            Request::AddListeners(lb, listeners, reply) => {
                drop(reply.send(self.add_listeners(&lb, &listeners, by)));
            }
            Request::RemoveListeners(lb, listeners, reply) => {
                drop(reply.send(self.remove_listeners(&lb, &listeners, by)));
            }
            Request::Backends(lb, reply) => drop(reply.send(self.backends(&lb))),
            Request::Backend(lb, id, reply) => drop(reply.send(self.backend(&lb, &id))),
            Request::Register(lb, new, reply) => drop(reply.send(self.register(&lb, new, by))),
            Request::Deregister(lb, ids, how, reply) => {
                drop(reply.send(self.deregister(&lb, &ids, &how, by)));
            }
            Request::SetHealth(lb, id, health, reply) => {
                drop(reply.send(self.set_health(&lb, &id, health, by)));
            }
            Request::ReportHealth(report) => self.report_health(vec![report]),
            Request::Attributes(lb, reply) => drop(reply.send(self.attributes(&lb))),
            Request::SetAttributes(lb, patch, reply) => {
                drop(reply.send(self.set_attributes(&lb, patch, by)));
            }
            Request::HealthCheck(lb, reply) => drop(reply.send(self.health_check(&lb))),
            Request::SetHealthCheck(lb, check, reply) => {
                drop(reply.send(self.set_health_check(&lb, check, by)));
            }
            Request::KeepElb(lb, elb, reply) => drop(reply.send(self.keep_elb(&lb, elb, by))),
            Request::Flows(lb, query, reply) => drop(reply.send(self.flows(&lb, &query))),
            Request::Declare(declare, reply) => {
                let answer = self.declare(&declare, by);
                if declare.reading == Reading::Reload {
                    self.trouble.file = answer.as_ref().err().map(Error::message);
                }
                drop(reply.send(answer));
            }
            Request::Unreadable(why, reply) => {
                self.trouble.file = Some(why);
                drop(reply.send(Ok(())));
            }
        }
    }

    fn status(&mut self) -> Result<wire::Status, Error> {
        let now = self.parts.clock.now();
        let counters = self.parts.dataplane.counters()?;
        let mut tally = wire::BackendTally::default();
        let mut flows = 0;
        let mut warnings = self.parts.dataplane.warnings();
        let mut unreachable = 0_usize;
        let mut silent = Vec::new();
        let beside = self.beside(&counters);
        for (lb, id, backend) in self.state().backends() {
            let counted = beside.counters(&backend);
            flows += counted.active();
            if backend.life.is_gone() {
                continue;
            }
            if let Some(Err(reason)) = backend.next_hop {
                unreachable += 1;
                if unreachable <= NAMED {
                    warnings.push(format!("{lb}/{id} is not reachable: {reason}"));
                }
            }
            if silent.len() < NAMED
                && self.keeps_source(lb)
                && counted.packets_in >= ASKED
                && counted.packets_out == 0
            {
                silent.push(format!(
                    "{lb}/{id} was sent {} packets from its clients' own addresses, and no answer \
                     came by ebb: with nat-source=client the backend's route to its clients has to \
                     lead here",
                    counted.packets_in
                ));
            }
            if !backend.life.is_registered() {
                tally.draining += 1;
            } else if backend.life.takes_new() {
                tally.in_service += 1;
            } else {
                tally.out_of_service += 1;
            }
        }
        if let Some(more) = unreachable.checked_sub(NAMED).filter(|more| *more > 0) {
            warnings.push(format!("{more} more backends are not reachable"));
        }
        warnings.extend(self.guard.warnings());
        warnings.extend(self.late_checks());
        warnings.extend(silent);
        warnings.extend(self.trouble.warnings());
        Ok(wire::Status {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            pid: std::process::id(),
            started: self.started.wall.to_string(),
            uptime_seconds: now.moment.since(self.started.moment).as_secs(),
            interfaces: self
                .parts
                .dataplane
                .attachments()
                .into_iter()
                .map(|attachment| wire::InterfaceStatus {
                    name: attachment.interface,
                    xdp: attachment.hook.xdp().to_owned(),
                    hook: attachment.hook.name().to_owned(),
                })
                .collect(),
            tables: self.tables(),
            nat_ports: fullest(self.parts.dataplane.gauges().nat_ports),
            load_balancers: self.state().desired.load_balancers.len() as u64,
            backends: tally,
            flows,
            verdicts: counters
                .verdicts
                .iter()
                .map(|(name, packets)| ((*name).to_owned(), *packets))
                .collect(),
            warnings,
        })
    }

    fn keeps_source(&self, lb: &LbName) -> bool {
        let lb = self.state().desired.load_balancers.get(lb);
        lb.is_some_and(|lb| lb.mode.translates() && lb.attributes.nat_source == NatSource::Client)
    }

    /// The load balancers whose health checks cannot be made in time once their
    /// backends hang.
    fn late_checks(&self) -> impl Iterator<Item = String> {
        self.roster.checks().filter_map(|(lb, check, backends)| {
            let warning = check.warning(backends)?;
            Some(format!("{lb}: {warning}"))
        })
    }

    /// How much of each table is taken: what is counted here, and what the
    /// kernel's tables of flows held when they were last walked.
    fn tables(&self) -> Vec<wire::Table> {
        let counted = self.state.room(&self.sizes).map(|room| wire::Table {
            name: room.what.key().to_owned(),
            used: room.used.into(),
            limit: room.limit.into(),
        });
        let flows = self.parts.dataplane.gauges().tables;
        let flows = flows.into_iter().map(|table| wire::Table {
            name: format!("flows_{}", table.family),
            used: table.entries,
            limit: table.limit,
        });
        counted.into_iter().chain(flows).collect()
    }

    fn measure(&mut self) -> Result<Measured, Error> {
        Ok(Measured {
            status: self.status()?,
            load_balancers: self.load_balancers()?,
            gauges: self.parts.dataplane.gauges(),
            books_differ: self.books_differ,
            store_behind: self.trouble.store_behind,
            kernel_behind: self.trouble.kernel_behind,
            hooks: Vec::new(),
        })
    }

    fn beside<'a>(&'a self, counters: &'a Counters) -> Beside<'a> {
        Beside {
            now: self.parts.clock.now(),
            counters,
            board: &self.inbox.board,
        }
    }

    fn load_balancers(&mut self) -> Result<Vec<wire::LoadBalancer>, Error> {
        let counters = self.parts.dataplane.counters()?;
        let beside = self.beside(&counters);
        let all = self.state().load_balancers();
        Ok(all
            .map(|(name, lb)| beside.load_balancer(name, lb))
            .collect())
    }

    fn load_balancer(&mut self, lb: &str) -> Result<wire::LoadBalancer, Error> {
        let backends = self.state().lb(lb)?.1.backends();
        let indices: Vec<_> = backends.filter_map(|(_, b)| b.index).collect();
        let counters = self.counters_of(&indices)?;
        let (name, lb) = self.state().lb(lb)?;
        Ok(self.beside(&counters).load_balancer(name, lb))
    }

    /// The counters of these backends alone: whoever asks for a few does not pay
    /// for all.
    fn counters_of(&mut self, backends: &[BackendIndex]) -> Result<Counters, Error> {
        Ok(Counters {
            backends: self.parts.dataplane.counters_of(backends)?,
            ..Counters::default()
        })
    }

    fn backends(&mut self, lb: &str) -> Result<Vec<wire::Backend>, Error> {
        self.load_balancer(lb).map(|lb| lb.backends)
    }

    fn backend(&mut self, lb: &str, id: &str) -> Result<wire::Backend, Error> {
        let index = self.state().backend(lb, id)?.1.index;
        let counters = self.counters_of(index.as_slice())?;
        let (name, _) = self.state().lb(lb)?;
        let (id, backend) = self.state().backend(lb, id)?;
        Ok(self.beside(&counters).backend(name, id, &backend))
    }

    fn create(
        &mut self,
        new: wire::NewLoadBalancer,
        by: &str,
    ) -> Result<wire::LoadBalancer, Error> {
        let elb = new.elb.clone();
        let (name, spec) = checked::load_balancer(new)?;
        self.carry_out([Command::Create(name.clone(), spec, elb)], by)?;
        self.hear_pending();
        self.load_balancer(name.as_str())
    }

    fn delete(
        &mut self,
        lb: &str,
        how: &wire::Deregister,
        by: &str,
    ) -> Result<wire::Deleted, Error> {
        let how = leave(how)?;
        let backends = self.state().lb(lb)?.1.backends();
        let indices: Vec<_> = backends.filter_map(|(_, b)| b.index).collect();
        let counters = self.counters_of(&indices)?;
        let (name, entry) = self.state().lb(lb)?;
        let name = name.clone();
        let beside = self.beside(&counters);
        let flows = entry
            .present()
            .map(|(_, backend)| beside.counters(&backend).active())
            .sum();
        let present: Vec<BackendId> = entry.present().map(|(id, _)| id.clone()).collect();
        let registered = entry.present().filter(|(_, b)| b.life.is_registered());
        let backends = registered.map(|(id, _)| id.to_string()).collect();
        self.carry_out([Command::Delete(lb.to_owned(), how)], by)?;
        self.look_at_drains(Some((lb, &present)), by);
        self.hear_pending();
        Ok(wire::Deleted {
            backends,
            flows,
            gone: self.state().find(lb).is_none(),
            name: name.into(),
        })
    }

    fn add_listeners(
        &mut self,
        lb: &str,
        listeners: &[wire::Listener],
        by: &str,
    ) -> Result<wire::LoadBalancer, Error> {
        let mode = self.state().lb(lb)?.1.mode;
        let mut commands = Vec::with_capacity(listeners.len());
        for listener in listeners {
            let (key, backend_port) = checked::listener(mode, listener)?;
            commands.push(Command::AddListener(lb.to_owned(), key, backend_port));
        }
        self.carry_out(commands, by)?;
        self.load_balancer(lb)
    }

    fn remove_listeners(
        &mut self,
        lb: &str,
        listeners: &[(Protocol, IpAddr, u16)],
        by: &str,
    ) -> Result<wire::LoadBalancer, Error> {
        let commands = listeners.iter().map(|(protocol, address, port)| {
            let key = ListenerKey {
                protocol: *protocol,
                address: *address,
                port: *port,
            };
            Command::RemoveListener(lb.to_owned(), key)
        });
        self.carry_out(commands, by)?;
        self.load_balancer(lb)
    }

    fn register(
        &mut self,
        lb: &str,
        new: Vec<wire::NewBackend>,
        by: &str,
    ) -> Result<Vec<wire::Backend>, Error> {
        let mut commands = Vec::with_capacity(new.len());
        let mut ids = Vec::with_capacity(new.len());
        for new in new {
            let (id, spec) = checked::backend(new)?;
            commands.push(Command::Register(lb.to_owned(), id.clone(), spec));
            ids.push(id);
        }
        self.carry_out(commands, by)?;
        self.hear_pending();
        self.describe(lb, &ids)
    }

    fn deregister(
        &mut self,
        lb: &str,
        ids: &[String],
        how: &wire::Deregister,
        by: &str,
    ) -> Result<Vec<wire::Backend>, Error> {
        let how = leave(how)?;
        let mut commands = Vec::with_capacity(ids.len());
        let mut named = Vec::with_capacity(ids.len());
        for id in ids {
            named.push(self.state().backend(lb, id)?.0.clone());
            commands.push(Command::Deregister(lb.to_owned(), id.clone(), how));
        }
        self.carry_out(commands, by)?;
        self.look_at_drains(Some((lb, &named)), by);
        self.hear_pending();
        self.describe(lb, &named)
    }

    fn describe(&mut self, lb: &str, ids: &[BackendId]) -> Result<Vec<wire::Backend>, Error> {
        let (_, entry) = self.state().lb(lb)?;
        let indices = ids
            .iter()
            .filter_map(|id| entry.backend(id.as_str())?.1.index);
        let indices: Vec<_> = indices.collect();
        let counters = self.counters_of(&indices)?;
        let beside = self.beside(&counters);
        let (name, _) = self.state().lb(lb)?;
        ids.iter()
            .map(|id| {
                let (id, backend) = self.state().backend(lb, id.as_str())?;
                Ok(beside.backend(name, id, &backend))
            })
            .collect()
    }

    fn set_health(
        &mut self,
        lb: &str,
        id: &str,
        health: HealthByHand,
        by: &str,
    ) -> Result<wire::Backend, Error> {
        let by_hand = match health {
            HealthByHand::Healthy => Some(Health::Healthy),
            HealthByHand::Unhealthy => Some(Health::Unhealthy),
            HealthByHand::Auto => None,
        };
        let command = Command::SetByHand(lb.to_owned(), id.to_owned(), by_hand);
        self.carry_out([command], by)?;
        self.hear_pending();
        self.backend(lb, id)
    }

    /// Takes in what checks found, all of it in one change: a host that starts
    /// may find a thousand backends healthy in the same second.
    pub(super) fn report_health(&mut self, reports: Vec<Report>) {
        let mut draft = self.draft();
        let mut answers = Vec::with_capacity(reports.len());
        for Report {
            lb,
            id,
            report,
            reply,
        } in reports
        {
            answers.push((reply, draft.make(Command::Checked(lb, id, report))));
        }
        self.commit_anyway(draft, "health check");
        for (reply, answer) in answers {
            // Who asked may be gone.
            drop(reply.send(answer));
        }
    }

    fn health_check(&self, lb: &str) -> Result<Option<wire::HealthCheck>, Error> {
        let check = self.state().lb(lb)?.1.health_check.clone();
        Ok(check.map(Into::into))
    }

    fn set_health_check(
        &mut self,
        lb: &str,
        check: Option<wire::HealthCheck>,
        by: &str,
    ) -> Result<Option<wire::HealthCheck>, Error> {
        let check = check.map(HealthCheck::try_from).transpose();
        let check = check.map_err(Invalid::from)?;
        self.carry_out([Command::SetHealthCheck(lb.to_owned(), check)], by)?;
        self.health_check(lb)
    }

    fn attributes(&mut self, lb: &str) -> Result<wire::Attributes, Error> {
        Ok(self.state().lb(lb)?.1.attributes.into())
    }

    fn set_attributes(
        &mut self,
        lb: &str,
        patch: wire::AttributesPatch,
        by: &str,
    ) -> Result<wire::Attributes, Error> {
        let spec = AttributesSpec::try_from(patch)?;
        self.carry_out([Command::SetAttributes(lb.to_owned(), spec)], by)?;
        self.attributes(lb)
    }

    fn keep_elb(&mut self, lb: &str, elb: serde_json::Value, by: &str) -> Result<(), Error> {
        self.carry_out([Command::KeepElb(lb.to_owned(), elb)], by)
    }

    fn flows(&mut self, lb: &str, query: &FlowQuery) -> Result<wire::Flows, Error> {
        let (_, entry) = self.state().lb(lb)?;
        let lb_index = entry.index();
        let ids: BTreeMap<BackendIndex, BackendId> = entry
            .backends()
            .filter_map(|(id, backend)| Some((backend.index?, id.clone())))
            .collect();
        let only = match &query.backend {
            None => None,
            Some(id) => match self.state().backend(lb, id)?.1.index {
                Some(index) => Some(index),
                // It is gone, and its flows with it.
                None => return Ok(wire::Flows::default()),
            },
        };
        let mut records = self.parts.dataplane.flows(lb_index, only, FLOWS_READ)?;
        // The longest, or the most, first.
        match query.sort {
            FlowSort::Age => records.sort_by_key(|flow| std::cmp::Reverse(flow.age)),
            FlowSort::Idle => records.sort_by_key(|flow| std::cmp::Reverse(flow.idle)),
            FlowSort::Bytes => records.sort_by_key(|flow| std::cmp::Reverse(flow.bytes)),
        }
        records.truncate(query.limit.unwrap_or(FLOWS_DEFAULT).min(FLOWS_MOST));
        let asked = ids.keys().copied();
        let asked: Vec<_> = asked
            .filter(|index| only.is_none_or(|only| *index == only))
            .collect();
        let counters = self.counters_of(&asked)?;
        let total = counters
            .backends
            .values()
            .map(BackendCounters::active)
            .sum();
        Ok(wire::Flows {
            flows: records
                .iter()
                .map(|record| flow(record, ids.get(&record.backend)))
                .collect(),
            total,
        })
    }

    fn declare(&mut self, declare: &Declare, by: &str) -> Result<wire::Applied, Error> {
        let mut draft = self.draft();
        let edits = declared(&mut draft, &self.state, &self.index, declare)?;
        if !declare.dry_run {
            self.commit(draft, by)?;
            self.look_at_drains(None, by);
            self.hear_pending();
        }
        Ok(wire::Applied {
            dry_run: declare.dry_run,
            steps: edits.iter().flat_map(Edit::steps).collect(),
        })
    }
}

/// How a backend is to leave, as the API says it.
fn leave(how: &wire::Deregister) -> Result<Leave, Error> {
    match (how.now, how.timeout) {
        (true, None) => Ok(Leave::Now),
        (true, Some(_)) => Err(Invalid::NowAndTimeout.into()),
        (false, None) => Ok(Leave::ByAttributes),
        (false, Some(timeout)) => Ok(Leave::Within(spec::checked::<DrainTimeout>(timeout)?)),
    }
}

fn flow(record: &FlowRecord, backend: Option<&BackendId>) -> wire::Flow {
    let socket = |(address, port): (IpAddr, u16)| SocketAddr::new(address, port);
    wire::Flow {
        protocol: record.protocol,
        client: socket(record.client).to_string(),
        vip: socket(record.vip).to_string(),
        backend: backend.map_or_else(|| record.backend.to_string(), ToString::to_string),
        state: record.state.to_owned(),
        age_seconds: seconds(record.age),
        idle_seconds: seconds(record.idle),
        bytes: record.bytes,
    }
}

/// To the millisecond.
fn seconds(duration: Duration) -> f64 {
    (duration.as_secs_f64() * 1000.0).round() / 1000.0
}

/// So many of the targets of nat are shown.
const TARGETS: usize = 16;

/// The targets with the largest parts of their ports in use.
fn fullest(mut ports: Vec<NatPortFill>) -> Vec<wire::NatPorts> {
    // used / limit, without a fraction.
    ports.sort_by(|a, b| (b.used * a.limit).cmp(&(a.used * b.limit)));
    ports.truncate(TARGETS);
    ports
        .into_iter()
        .map(
            |NatPortFill {
                 target,
                 used,
                 limit,
             }| wire::NatPorts {
                source: target.source.to_string(),
                target: SocketAddr::new(target.address, target.port).to_string(),
                protocol: target.protocol.name().to_owned(),
                used,
                limit,
            },
        )
        .collect()
}
