//! How a load balancer is shown.

use super::{listeners, policies};
use crate::{
    api::elb::{desk::Known, xml::Xml},
    wire::HealthCheck,
};

/// Seconds that a check may take unless told otherwise.
const TIMEOUT: u32 = 5;

/// What goes into a `LoadBalancerDescription`.
pub(super) fn load_balancer(xml: &mut Xml, known: &Known) {
    let Known { lb, extras } = known;
    xml.text("LoadBalancerName", &lb.name);
    if let Some(vip) = known.vip() {
        xml.text("DNSName", vip);
    }
    let listeners = listeners::shown(known);
    xml.list("ListenerDescriptions", listeners, |xml, listener| {
        xml.within("Listener", |xml| {
            xml.text("Protocol", listener.protocol)
                .text("LoadBalancerPort", listener.port)
                .text("InstanceProtocol", listener.protocol)
                .text("InstancePort", listener.instance_port);
        });
        // None takes effect, so none is ever set.
        xml.within("PolicyNames", |_| {});
    });
    xml.within("Policies", |xml| policies::by_kind(xml, &extras.policies));
    xml.within("BackendServerDescriptions", |_| {});
    xml.texts("AvailabilityZones", &extras.availability_zones);
    xml.texts("Subnets", &extras.subnets);
    xml.list("Instances", known.registered(), |xml, backend| {
        xml.text("InstanceId", &backend.id);
    });
    // One that was declared elsewhere may have none.
    if let Some(check) = &lb.health_check {
        health_check(xml, check);
    }
    xml.texts("SecurityGroups", &extras.security_groups);
    xml.text("CreatedTime", &lb.created);
    xml.text("Scheme", extras.scheme.name());
}

/// What a load balancer has before one is configured.
pub(super) fn default_health_check(instance_port: u16) -> HealthCheck {
    HealthCheck {
        timeout: Some(TIMEOUT),
        ..HealthCheck::new(format!("TCP:{instance_port}"))
    }
}

pub(super) fn health_check(xml: &mut Xml, check: &HealthCheck) {
    xml.within("HealthCheck", |xml| {
        xml.text("Target", &check.target)
            .text("Interval", check.interval)
            .text("Timeout", check.timeout.unwrap_or(TIMEOUT))
            .text("UnhealthyThreshold", check.unhealthy_threshold)
            .text("HealthyThreshold", check.healthy_threshold);
    });
}
