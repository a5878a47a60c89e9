//! From the load balancers as written to a declaration.

use std::collections::BTreeMap;

use super::{
    diagnostic::{At, Findings, Span},
    value::{address, one_of},
    written::{WrittenAttributes, WrittenBackend, WrittenHealthCheck, WrittenLb, WrittenListener},
};
use crate::{
    model::{
        AttributesSpec, BackendId, BackendSpec, BadCheck, Declaration, HealthCheck, Invalid,
        LbName, LbSpec, ListenerKey, Listeners, Mode, NatSource, Protocol, Target, Together,
        Weight, spec,
    },
    wire::{self, Listener, NewBackend, checked},
};

pub(super) fn declaration(
    written: &[At<WrittenLb>],
    places: &mut BTreeMap<LbName, (usize, usize)>,
    findings: &mut Findings<'_>,
) -> Declaration {
    let mut together = Together::default();
    let mut declaration = Declaration::new();
    for At { value: lb, span } in written {
        let Some(name) = required(lb.name.as_ref(), "name", "a load balancer", span, findings)
        else {
            continue;
        };
        let at = &name.span;
        let Some(name) = findings.keep(at, LbName::try_from(name.value.clone())) else {
            continue;
        };
        if places.insert(name.clone(), findings.position(at)).is_some() {
            let twice = Invalid::LoadBalancerTwice {
                name: name.to_string(),
            };
            findings.add(at, twice.to_string(), None);
            continue;
        }
        if let Some(spec) = load_balancer(&name, lb, span, &mut together, findings) {
            declaration.insert(name, spec);
        }
    }
    declaration
}

fn load_balancer(
    name: &LbName,
    written: &WrittenLb,
    span: &Span,
    together: &mut Together,
    findings: &mut Findings<'_>,
) -> Option<LbSpec> {
    let mode = required(
        written.mode.as_ref(),
        "mode",
        "a load balancer",
        span,
        findings,
    )?;
    let modes = Mode::ALL.map(|mode| (mode.name(), mode));
    let mode = one_of(mode, "a mode", &modes, findings)?;

    let mut listeners = Listeners::new();
    match &written.listeners {
        Some(At { value, .. }) if !value.is_empty() => {
            for At { value, span } in value {
                if let Some((key, backend_port)) = listener(mode, value, span, findings)
                    && findings
                        .keep(span, together.listener(name, mode, key))
                        .is_some()
                {
                    listeners.insert(key, backend_port);
                }
            }
        }
        other => {
            let span = other.as_ref().map_or(span, |at| &at.span);
            let none = Invalid::NoListener {
                lb: name.to_string(),
            };
            findings.add(span, none.to_string(), None);
        }
    }

    let mut backends = BTreeMap::new();
    for At { value, span } in written.backends.iter().flat_map(|list| &list.value) {
        let Some((id, spec)) = backend(value, span, findings) else {
            continue;
        };
        let twice: Option<&BackendSpec> = backends.get(&id);
        if twice.is_some() {
            let twice = Invalid::BackendTwice {
                lb: name.to_string(),
                id: id.to_string(),
            };
            findings.add(span, twice.to_string(), None);
        } else if findings
            .keep(span, together.backend(name, mode, &id, spec.address))
            .is_some()
        {
            backends.insert(id, spec);
        }
    }
    Some(LbSpec {
        mode,
        listeners,
        backends,
        attributes: attributes(&written.attributes, findings),
        health_check: written
            .health_check
            .as_ref()
            .and_then(|at| health_check(at, findings)),
    })
}

fn listener(
    mode: Mode,
    written: &WrittenListener,
    span: &Span,
    findings: &mut Findings<'_>,
) -> Option<(ListenerKey, u16)> {
    let what = "a listener";
    let protocol =
        required(written.protocol.as_ref(), "protocol", what, span, findings).and_then(|at| {
            let protocols = [
                (Protocol::Tcp.name(), Protocol::Tcp),
                (Protocol::Udp.name(), Protocol::Udp),
            ];
            one_of(at, "a protocol", &protocols, findings)
        });
    let address = required(written.address.as_ref(), "address", what, span, findings)
        .and_then(|at| address(&at.value, &at.span, "the address of a listener", findings));
    let port = required(written.port.as_ref(), "port", what, span, findings)
        .and_then(|at| port(at, "a listener", findings));
    let backend_port = match &written.backend_port {
        Some(at) => Some(Some(port_of_backend(at, findings)?)),
        None => Some(None),
    };
    let listener = Listener {
        protocol: protocol?,
        address: address?,
        port: port?,
        backend_port: backend_port?,
    };
    findings.keep(span, checked::listener(mode, &listener))
}

fn port_of_backend(written: &At<i64>, findings: &mut Findings<'_>) -> Option<u16> {
    port(written, "a backend", findings)
}

fn port(written: &At<i64>, what: &'static str, findings: &mut Findings<'_>) -> Option<u16> {
    let At { value, span } = written;
    match u16::try_from(*value) {
        Ok(0) => findings.keep(span, Err(Invalid::PortZero { what })),
        Ok(port) => Some(port),
        Err(_) => {
            let message = format!("port {value} is not a port: {what} takes 1 to 65535");
            findings.add(span, message, None);
            None
        }
    }
}

fn backend(
    written: &WrittenBackend,
    span: &Span,
    findings: &mut Findings<'_>,
) -> Option<(BackendId, BackendSpec)> {
    let at = required(
        written.address.as_ref(),
        "address",
        "a backend",
        span,
        findings,
    )?;
    let address = address(&at.value, &at.span, "the address of a backend", findings)?;
    let weight = match &written.weight {
        None => Weight::DEFAULT,
        Some(At { value, span }) => findings.keep(span, spec::checked(*value))?,
    };
    let new = NewBackend {
        id: written.id.as_ref().map(|at| at.value.clone()),
        address,
        weight: weight.get(),
    };
    let span = written.id.as_ref().map_or(span, |at| &at.span);
    findings.keep(span, checked::backend(new))
}

fn attributes(written: &WrittenAttributes, findings: &mut Findings<'_>) -> AttributesSpec {
    fn number<T: TryFrom<i64, Error = Invalid>>(
        written: Option<&At<i64>>,
        findings: &mut Findings<'_>,
    ) -> Option<T> {
        written.and_then(|at| findings.keep(&at.span, spec::checked(at.value)))
    }
    let close_rate = written.close_rate.as_ref().and_then(|at| {
        let rate = u32::try_from(at.value).ok();
        if rate.is_none() {
            let message = format!(
                "`close_rate` must be 0 (no limit) to {} flows per second, not {}",
                u32::MAX,
                at.value
            );
            findings.add(&at.span, message, None);
        }
        rate
    });
    let sources = NatSource::ALL.map(|source| (source.name(), source));
    let nat_source = written.nat_source.as_ref();
    AttributesSpec {
        draining: written.draining_enabled.as_ref().map(|at| at.value),
        drain_timeout: number(written.draining_timeout.as_ref(), findings),
        idle_timeout: number(written.idle_timeout.as_ref(), findings),
        close_rate,
        nat_source: nat_source.and_then(|at| one_of(at, "a nat_source", &sources, findings)),
    }
}

fn health_check(
    written: &At<WrittenHealthCheck>,
    findings: &mut Findings<'_>,
) -> Option<HealthCheck> {
    let At { value: check, span } = written;
    let target = required(
        check.target.as_ref(),
        "target",
        "a health check",
        span,
        findings,
    )?;
    let asked = wire::HealthCheck::new(target.value.clone());
    let parsed: Result<Target, _> = target.value.parse();
    findings.keep(
        &target.span,
        parsed.map_err(|bad| BadCheck::from(bad).into()),
    )?;
    let interval = number(check.interval.as_ref(), findings, |given| {
        BadCheck::Interval { given }
    })?;
    let timeout = number(check.timeout.as_ref(), findings, |given| {
        BadCheck::Timeout { given }
    })?;
    let unhealthy = number(check.unhealthy_threshold.as_ref(), findings, |given| {
        BadCheck::Threshold {
            which: "unhealthy_threshold",
            given,
        }
    })?;
    let healthy = number(check.healthy_threshold.as_ref(), findings, |given| {
        BadCheck::Threshold {
            which: "healthy_threshold",
            given,
        }
    })?;
    let asked = wire::HealthCheck {
        interval: interval.unwrap_or(asked.interval),
        timeout,
        unhealthy_threshold: unhealthy.unwrap_or(asked.unhealthy_threshold),
        healthy_threshold: healthy.unwrap_or(asked.healthy_threshold),
        verify_certificate: check.verify_certificate.as_ref().is_some_and(|at| at.value),
        server_name: check.server_name.as_ref().map(|at| at.value.clone()),
        ..asked
    };
    // Where a number is out of its range, its own line is named.
    let result = HealthCheck::try_from(asked);
    let at = match &result {
        Err(BadCheck::Interval { .. }) => check.interval.as_ref().map(|at| &at.span),
        Err(BadCheck::Timeout { .. } | BadCheck::TimeoutNotLess) => {
            check.timeout.as_ref().map(|at| &at.span)
        }
        Err(BadCheck::ServerName { .. }) => check.server_name.as_ref().map(|at| &at.span),
        Err(BadCheck::Threshold { which, .. }) if *which == "healthy_threshold" => {
            check.healthy_threshold.as_ref().map(|at| &at.span)
        }
        Err(BadCheck::Threshold { .. }) => check.unhealthy_threshold.as_ref().map(|at| &at.span),
        _ => None,
    };
    findings.keep(at.unwrap_or(span), result.map_err(Invalid::from))
}

/// The number that was written, if one was; `Err` is one that cannot be.
fn number(
    written: Option<&At<i64>>,
    findings: &mut Findings<'_>,
    bad: impl FnOnce(i64) -> BadCheck,
) -> Option<Option<u32>> {
    match written {
        None => Some(None),
        Some(At { value, span }) => {
            let number = u32::try_from(*value).map_err(|_| bad(*value).into());
            findings.keep(span, number).map(Some)
        }
    }
}

fn required<'w, T>(
    written: Option<&'w At<T>>,
    key: &str,
    of: &str,
    span: &Span,
    findings: &mut Findings<'_>,
) -> Option<&'w At<T>> {
    if written.is_none() {
        findings.add(span, format!("{of} needs `{key}`"), None);
    }
    written
}
