//! Availability zones, subnets and security groups: labels that ebb remembers
//! and that change nothing in how it forwards.

use std::collections::BTreeSet;

use super::action::{Action, lb_name};
use crate::api::elb::{
    desk::Desk,
    errors::{Code, Refusal, shortened},
    extras::Extras,
    form::Params,
    xml::Xml,
};

type Labels = BTreeSet<String>;

/// The longest label, and the most of them, that a load balancer has.
const LENGTH_MOST: usize = 64;
const MOST: usize = 100;

/// Letters, digits and hyphens, as all such ids have.
fn is_label(text: &str) -> bool {
    (1..=LENGTH_MOST).contains(&text.len())
        && text
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
}

pub(super) fn zones(names: Vec<String>) -> Result<Labels, Refusal> {
    match names.iter().find(|name| !is_label(name)) {
        Some(bad) => Err(Refusal::validation(format!(
            "Invalid Availability Zone: '{}'",
            shortened(bad)
        ))),
        None => few(names),
    }
}

pub(super) fn subnets(ids: Vec<String>) -> Result<Labels, Refusal> {
    for id in &ids {
        let Some(rest) = id.strip_prefix("subnet-") else {
            return Err(Refusal::new(
                Code::SubnetNotFound,
                format!(
                    "The subnet ID '{}' does not exist: they begin with subnet-",
                    shortened(id)
                ),
            ));
        };
        if !is_label(rest) {
            return Err(Refusal::new(
                Code::InvalidSubnet,
                format!("The subnet ID '{}' is malformed", shortened(id)),
            ));
        }
    }
    few(ids)
}

pub(super) fn security_groups(ids: Vec<String>) -> Result<Labels, Refusal> {
    let good = |id: &str| id.strip_prefix("sg-").is_some_and(is_label);
    match ids.iter().find(|id| !good(id)) {
        Some(bad) => Err(Refusal::new(
            Code::InvalidSecurityGroup,
            format!(
                "The security group '{}' does not exist: their ids begin with sg-",
                shortened(bad)
            ),
        )),
        None => few(ids),
    }
}

fn few(labels: Vec<String>) -> Result<Labels, Refusal> {
    let labels = Labels::from_iter(labels);
    if labels.len() > MOST {
        return Err(Refusal::validation(format!(
            "there are {} labels, and {MOST} is the most",
            labels.len()
        )));
    }
    Ok(labels)
}

/// What is done to which labels of the load balancer.
async fn relabel(
    desk: &Desk,
    name: &str,
    change: impl FnOnce(&mut Extras) -> Result<(), Refusal> + Send,
) -> Result<Extras, Refusal> {
    let _writing = desk.writing().await;
    let known = desk.lb(name).await?;
    let mut extras = known.extras.clone();
    change(&mut extras)?;
    if extras != known.extras {
        desk.keep(name, &extras).await?;
    }
    Ok(extras)
}

/// Adds some, unless the load balancer is placed the other way.
fn place(labels: &mut Labels, new: Labels, other: &Labels, what: &str) -> Result<(), Refusal> {
    if !other.is_empty() {
        return Err(Refusal::new(
            Code::InvalidConfigurationRequest,
            format!("the load balancer is placed by {what}; it cannot be both"),
        ));
    }
    labels.extend(new);
    *labels = few(labels.iter().cloned().collect())?;
    Ok(())
}

/// Removes some, but not all.
fn unplace(labels: &mut Labels, gone: &Labels, what: &str) -> Result<(), Refusal> {
    let had = !labels.is_empty();
    labels.retain(|label| !gone.contains(label));
    if had && labels.is_empty() {
        return Err(Refusal::new(
            Code::InvalidConfigurationRequest,
            format!("a load balancer has at least one {what} at all times"),
        ));
    }
    Ok(())
}

macro_rules! label_action {
    ($name:ident, $wire:literal, $param:literal, $read:path, $field:ident, |$extras:ident, $labels:ident| $change:expr) => {
        #[derive(Debug)]
        pub(super) struct $name {
            name: String,
            labels: Labels,
        }

        impl Action for $name {
            const NAME: &'static str = $wire;

            fn read(params: &mut Params) -> Result<Self, Refusal> {
                Ok(Self {
                    name: lb_name(params)?,
                    labels: $read(params.required_texts($param)?)?,
                })
            }

            async fn run(self, desk: &Desk) -> Result<Xml, Refusal> {
                let $labels = self.labels;
                let extras = relabel(desk, &self.name, |$extras| $change).await?;
                let mut xml = Xml::default();
                xml.texts($param, &extras.$field);
                Ok(xml)
            }
        }
    };
}

label_action! {
    EnableZones, "EnableAvailabilityZonesForLoadBalancer", "AvailabilityZones", zones,
    availability_zones, |extras, new| {
        place(&mut extras.availability_zones, new, &extras.subnets, "subnets")
    }
}

label_action! {
    DisableZones, "DisableAvailabilityZonesForLoadBalancer", "AvailabilityZones", zones,
    availability_zones, |extras, gone| {
        unplace(&mut extras.availability_zones, &gone, "Availability Zone")
    }
}

label_action! {
    AttachSubnets, "AttachLoadBalancerToSubnets", "Subnets", subnets,
    subnets, |extras, new| {
        place(&mut extras.subnets, new, &extras.availability_zones, "Availability Zones")
    }
}

label_action! {
    DetachSubnets, "DetachLoadBalancerFromSubnets", "Subnets", subnets,
    subnets, |extras, gone| unplace(&mut extras.subnets, &gone, "subnet")
}

label_action! {
    ApplySecurityGroups, "ApplySecurityGroupsToLoadBalancer", "SecurityGroups", security_groups,
    security_groups, |extras, groups| {
        extras.security_groups = groups;
        Ok(())
    }
}
