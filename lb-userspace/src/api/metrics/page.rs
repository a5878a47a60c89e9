//! What is measured, and how it is called. Pure: from one look at the agent to
//! the page that Prometheus reads.

use std::net::SocketAddr;

use prometheus::{
    CounterVec, Encoder as _, GaugeVec, IntCounterVec, IntGaugeVec, Opts, Registry, TextEncoder,
};

use crate::{
    control::Measured,
    dataplane::NatPortFill,
    model::Counted,
    wire::{Backend, Drain, LoadBalancer, State},
};

/// The content type of [`page`].
pub(super) const FORM: &str = prometheus::TEXT_FORMAT;

type Result<T> = prometheus::Result<T>;

/// One page of metrics, each family made anew: what is gone is not on it.
///
/// # Errors
/// When a name is none of Prometheus's, which a test would have found.
pub fn page(measured: &Measured) -> Result<String> {
    let page = Page(Registry::new());
    page.agent(measured)?;
    page.kernel(measured)?;
    page.balancers(&measured.load_balancers)?;
    page.backends(&measured.load_balancers)?;
    page.drains(&measured.load_balancers)?;
    page.checks(&measured.load_balancers)?;
    page.hooks(measured)?;
    let mut text = Vec::new();
    TextEncoder::new().encode(&page.0.gather(), &mut text)?;
    Ok(String::from_utf8_lossy(&text).into_owned())
}

/// The page as far as it is written.
struct Page(Registry);

/// What most families are labelled with.
const WHOSE: [&str; 2] = ["load_balancer", "backend"];

impl Page {
    fn counters(&self, name: &str, help: &str, labels: &[&str]) -> Result<IntCounterVec> {
        let family = IntCounterVec::new(Opts::new(name, help), labels)?;
        self.0.register(Box::new(family.clone()))?;
        Ok(family)
    }

    fn gauges(&self, name: &str, help: &str, labels: &[&str]) -> Result<IntGaugeVec> {
        let family = IntGaugeVec::new(Opts::new(name, help), labels)?;
        self.0.register(Box::new(family.clone()))?;
        Ok(family)
    }

    /// For what is measured in seconds.
    fn seconds(&self, name: &str, help: &str, labels: &[&str]) -> Result<GaugeVec> {
        let family = GaugeVec::new(Opts::new(name, help), labels)?;
        self.0.register(Box::new(family.clone()))?;
        Ok(family)
    }

    fn agent(&self, measured: &Measured) -> Result<()> {
        let status = &measured.status;
        self.gauges("ebb_build_info", "The agent's version.", &["version"])?
            .with_label_values(&[&status.version])
            .set(1);
        self.seconds(
            "ebb_uptime_seconds",
            "Seconds since the agent started. The kernel program may be older.",
            &[],
        )?
        .with_label_values::<&str>(&[])
        .set(whole(status.uptime_seconds));
        let interfaces = self.gauges(
            "ebb_interface_info",
            "An interface with the program on it: how XDP runs there (driver, off), and the hook (xdp, tc).",
            &["interface", "xdp", "hook"],
        )?;
        for interface in &status.interfaces {
            interfaces
                .with_label_values(&[&interface.name, &interface.xdp, &interface.hook])
                .set(1);
        }
        self.gauges(
            "ebb_warnings",
            "What an operator should know and has not mended yet; `ebb status` says it.",
            &[],
        )?
        .with_label_values::<&str>(&[])
        .set(count(status.warnings.len() as u64));
        let behind = self.gauges(
            "ebb_behind",
            "1 while what is in force could not be written there.",
            &["what"],
        )?;
        behind
            .with_label_values(&["store"])
            .set(measured.store_behind.into());
        behind
            .with_label_values(&["kernel"])
            .set(measured.kernel_behind.into());
        Ok(())
    }

    fn kernel(&self, measured: &Measured) -> Result<()> {
        let verdicts = self.counters(
            "ebb_packets_total",
            "Packets by what the program decided about them; each is counted once.",
            &["verdict"],
        )?;
        for (verdict, packets) in &measured.status.verdicts {
            verdicts.with_label_values(&[verdict]).inc_by(*packets);
        }
        let gauges = &measured.gauges;
        let entries = self.gauges(
            "ebb_flow_table_entries",
            "Entries of the table of established flows at the last sweep; a nat flow has two.",
            &["family"],
        )?;
        let room = self.gauges(
            "ebb_flow_table_entries_limit",
            "Entries that the table of established flows has room for.",
            &["family"],
        )?;
        for table in &gauges.tables {
            let family = &[table.family];
            entries.with_label_values(family).set(count(table.entries));
            room.with_label_values(family).set(count(table.limit));
        }
        let whose = ["source", "target", "protocol"];
        let used = self.gauges(
            "ebb_nat_ports_used",
            "Ports in use from an address of ebb's to a backend's address and port (nat), at the \
             last sweep; none where none is.",
            &whose,
        )?;
        let room = self.gauges(
            "ebb_nat_ports_limit",
            "Ports that there are from an address of ebb's to a backend's address and port.",
            &whose,
        )?;
        for NatPortFill {
            target,
            used: ports,
            limit,
        } in &gauges.nat_ports
        {
            let source = target.source.to_string();
            let to = SocketAddr::new(target.address, target.port).to_string();
            let labels = [&*source, &to, target.protocol.name()];
            used.with_label_values(&labels).set(count(*ports));
            room.with_label_values(&labels).set(count(*limit));
        }
        let used = self.gauges(
            "ebb_table_used",
            "Load balancers, backends and listeners that there are; see [tables].",
            &["table"],
        )?;
        let room = self.gauges(
            "ebb_table_limit",
            "Load balancers, backends and listeners that there is room for.",
            &["table"],
        )?;
        for counted in Counted::ALL {
            let tables = &measured.status.tables;
            if let Some(table) = tables.iter().find(|table| table.name == counted.key()) {
                used.with_label_values(&[counted.key()])
                    .set(count(table.used));
                room.with_label_values(&[counted.key()])
                    .set(count(table.limit));
            }
        }
        self.counters(
            "ebb_sweeps_total",
            "Rounds of the sweeper over the flow tables.",
            &[],
        )?
        .with_label_values::<&str>(&[])
        .inc_by(gauges.sweeps);
        self.seconds(
            "ebb_sweep_duration_seconds",
            "How long the last round of the sweeper took, its pauses included.",
            &[],
        )?
        .with_label_values::<&str>(&[])
        .set(gauges.last_sweep.as_secs_f64());
        self.counters(
            "ebb_books_differences_total",
            "Times that opened - closed and the flow table disagreed; anything but 0 is a fault.",
            &[],
        )?
        .with_label_values::<&str>(&[])
        .inc_by(measured.books_differ);
        Ok(())
    }

    fn balancers(&self, load_balancers: &[LoadBalancer]) -> Result<()> {
        let backends = self.gauges(
            "ebb_load_balancer_backends",
            "Backends of a load balancer by state.",
            &["load_balancer", "state"],
        )?;
        let flows = self.gauges(
            "ebb_load_balancer_flows",
            "Open flows of a load balancer.",
            &["load_balancer"],
        )?;
        for lb in load_balancers {
            for state in ["in_service", "out_of_service", "draining"] {
                let is = lb.backends.iter().filter(|b| state_of(b) == state).count();
                backends
                    .with_label_values(&[&lb.name, state])
                    .set(count(is as u64));
            }
            let open = lb.backends.iter().map(|backend| backend.flows).sum();
            flows.with_label_values(&[&lb.name]).set(count(open));
        }
        Ok(())
    }

    fn backends(&self, load_balancers: &[LoadBalancer]) -> Result<()> {
        let [lb, backend] = WHOSE;
        let directed = [lb, backend, "direction"];
        let packets = self.counters(
            "ebb_backend_packets_total",
            "Packets from clients (in) and from the backend (out; 0 where answers bypass ebb).",
            &directed,
        )?;
        let bytes = self.counters(
            "ebb_backend_bytes_total",
            "Bytes from clients (in) and from the backend (out; 0 where answers bypass ebb).",
            &directed,
        )?;
        let opened = self.counters("ebb_backend_flows_opened_total", "Flows opened.", &WHOSE)?;
        let closed = self.counters("ebb_backend_flows_closed_total", "Flows closed.", &WHOSE)?;
        let untracked = self.counters(
            "ebb_backend_untracked_packets_total",
            "Packets forwarded without an entry, for the table of flows was full (dsr, ipip).",
            &WHOSE,
        )?;
        let flows = self.gauges("ebb_backend_flows", "Open flows.", &WHOSE)?;
        let takes_new = self.gauges(
            "ebb_backend_takes_new_flows",
            "1 if new flows may go there: in service, and the way to it is known.",
            &WHOSE,
        )?;
        let weight = self.gauges(
            "ebb_backend_weight",
            "Share of the new flows, relative to the others'.",
            &WHOSE,
        )?;
        for (whose, backend) in each(load_balancers) {
            let [lb, id] = whose;
            let counters = &backend.counters;
            for (direction, p, b) in [
                ("in", counters.packets_in, counters.bytes_in),
                ("out", counters.packets_out, counters.bytes_out),
            ] {
                packets.with_label_values(&[lb, id, direction]).inc_by(p);
                bytes.with_label_values(&[lb, id, direction]).inc_by(b);
            }
            opened.with_label_values(&whose).inc_by(counters.opened);
            closed.with_label_values(&whose).inc_by(counters.closed);
            untracked
                .with_label_values(&whose)
                .inc_by(counters.untracked);
            flows.with_label_values(&whose).set(count(backend.flows));
            takes_new
                .with_label_values(&whose)
                .set(backend.takes_new.into());
            weight.with_label_values(&whose).set(backend.weight.into());
        }
        Ok(())
    }

    fn drains(&self, load_balancers: &[LoadBalancer]) -> Result<()> {
        let left = self.gauges(
            "ebb_drain_flows_remaining",
            "Flows that a running drain still waits for.",
            &WHOSE,
        )?;
        let at_start = self.gauges(
            "ebb_drain_flows_at_start",
            "Flows that were open when the running drain began.",
            &WHOSE,
        )?;
        let deadline = self.seconds(
            "ebb_drain_deadline_seconds",
            "Seconds until what is left of a running drain is closed.",
            &WHOSE,
        )?;
        for (whose, backend) in each(load_balancers) {
            let Some(drain @ Drain { outcome: None, .. }) = &backend.drain else {
                continue;
            };
            left.with_label_values(&whose).set(count(drain.flows_left));
            at_start
                .with_label_values(&whose)
                .set(count(drain.flows_at_start));
            deadline
                .with_label_values(&whose)
                .set(drain.seconds_left.into());
        }
        Ok(())
    }

    fn checks(&self, load_balancers: &[LoadBalancer]) -> Result<()> {
        let healthy = self.gauges(
            "ebb_backend_healthy",
            "1 if the backend is held for healthy, by its checks or by hand.",
            &WHOSE,
        )?;
        let passed = self.gauges(
            "ebb_health_check_success",
            "1 if the last health check passed.",
            &WHOSE,
        )?;
        let took = self.seconds(
            "ebb_health_check_duration_seconds",
            "How long the last health check took.",
            &WHOSE,
        )?;
        for (whose, backend) in each(load_balancers) {
            healthy
                .with_label_values(&whose)
                .set((backend.health == "healthy").into());
            if let Some(last) = &backend.last_check {
                passed
                    .with_label_values(&whose)
                    .set(last.error.is_none().into());
                let seconds = std::time::Duration::from_micros(last.took_us);
                took.with_label_values(&whose).set(seconds.as_secs_f64());
            }
        }
        Ok(())
    }

    fn hooks(&self, measured: &Measured) -> Result<()> {
        let deliveries = CounterVec::new(
            Opts::new(
                "ebb_hook_events_total",
                "Events for hooks by what became of them.",
            ),
            &["hook", "outcome"],
        )?;
        self.0.register(Box::new(deliveries.clone()))?;
        for tally in &measured.hooks {
            for (outcome, events) in [
                ("delivered", tally.delivered),
                ("failed", tally.failed),
                ("dropped", tally.dropped),
            ] {
                deliveries
                    .with_label_values(&[&*tally.name, outcome])
                    .inc_by(whole(events));
            }
        }
        Ok(())
    }
}

fn each(load_balancers: &[LoadBalancer]) -> impl Iterator<Item = ([&str; 2], &Backend)> {
    load_balancers.iter().flat_map(|lb| {
        lb.backends
            .iter()
            .map(|backend| ([lb.name.as_str(), backend.id.as_str()], backend))
    })
}

fn state_of(backend: &Backend) -> &'static str {
    match (backend.registration.as_str(), backend.state) {
        ("registered", State::InService) => "in_service",
        ("registered", _) => "out_of_service",
        _ => "draining",
    }
}

/// More than a gauge of whole numbers holds is never open at a time.
fn count(n: u64) -> i64 {
    i64::try_from(n).unwrap_or(i64::MAX)
}

#[expect(
    clippy::cast_precision_loss,
    reason = "Prometheus has no other numbers"
)]
fn whole(n: u64) -> f64 {
    n as f64
}
