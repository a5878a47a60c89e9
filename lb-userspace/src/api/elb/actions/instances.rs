//! Instances, which ebb calls backends: registered, deregistered, and how they
//! are.

use std::{collections::BTreeSet, net::IpAddr};

use super::{
    action::{Action, lb_name},
    tags,
};
use crate::{
    api::elb::{
        desk::{Desk, Known},
        errors::{Code, Refusal, shortened},
        form::Params,
        xml::Xml,
    },
    control,
    state::life::{self, REGISTERING, UNHEALTHY},
    wire::{Backend, Deregister as How, NewBackend, State},
};

/// `Instances.member.N.InstanceId`, each once, in the order sent.
fn read_ids(params: &mut Params) -> Result<Option<Vec<String>>, Refusal> {
    let ids = params.list("Instances", |instance| instance.required_text("InstanceId"))?;
    Ok(ids.map(|ids| {
        let mut seen = BTreeSet::new();
        ids.into_iter()
            .filter(|id| seen.insert(id.clone()))
            .collect()
    }))
}

fn read_some_ids(params: &mut Params) -> Result<Vec<String>, Refusal> {
    match read_ids(params)? {
        None => Err(Refusal::constraint("null", "Instances", "not be null")),
        Some(ids) if ids.is_empty() => Err(Refusal::validation("Instance list cannot be empty.")),
        Some(ids) => Ok(ids),
    }
}

/// The answer to register and deregister alike: what is registered now.
async fn registered(desk: &Desk, name: &str) -> Result<Xml, Refusal> {
    let known = desk.lb(name).await?;
    let mut xml = Xml::default();
    xml.list("Instances", known.registered(), |xml, backend| {
        xml.text("InstanceId", &backend.id);
    });
    Ok(xml)
}

#[derive(Debug)]
pub(super) struct Register {
    name: String,
    ids: Vec<String>,
}

impl Action for Register {
    const NAME: &'static str = "RegisterInstancesWithLoadBalancer";

    fn read(params: &mut Params) -> Result<Self, Refusal> {
        Ok(Self {
            name: lb_name(params)?,
            ids: read_some_ids(params)?,
        })
    }

    async fn run(self, desk: &Desk) -> Result<Xml, Refusal> {
        let _writing = desk.writing().await;
        let known = desk.lb(&self.name).await?;
        let mut new = Vec::new();
        for id in self.ids {
            let there = known.lb.backends.iter().find(|backend| backend.id == id);
            let address = match there {
                Some(backend) => backend.address,
                None => address(desk, &known, &id).await?,
            };
            new.push(NewBackend {
                id: Some(id),
                address,
                // Only another way in can say otherwise, and then it stays.
                weight: there.map_or(1, |backend| backend.weight),
            });
        }
        match desk.control.register_all(&self.name, new).await {
            Ok(_) => registered(desk, &self.name).await,
            Err(control::Error::Invalid(invalid)) => {
                Err(Refusal::new(Code::InvalidInstance, invalid.to_string()))
            }
            Err(error) => Err(error.into()),
        }
    }
}

/// The address that an instance id stands for.
async fn address(desk: &Desk, known: &Known, id: &str) -> Result<IpAddr, Refusal> {
    if let Ok(address) = id.parse() {
        return Ok(address);
    }
    if let Some(address) = tags::instance(&known.extras.tags, id) {
        return Ok(address);
    }
    if let Some(address) = desk.settings().instances.get(id) {
        return Ok(*address);
    }
    // One that drained away not long ago and comes back.
    if let Ok(gone) = desk.control.backend(&known.lb.name, id).await {
        return Ok(gone.address);
    }
    let id = shortened(id);
    Err(Refusal::new(
        Code::InvalidInstance,
        format!(
            "Invalid id: \"{id}\": an instance's id is its address, or a name for one, given as \
             `instances = {{ \"{id}\" = ADDRESS }}` in [elb_api] of ebb's configuration \
             or as the load balancer's tag {}{id}",
            tags::INSTANCE
        ),
    ))
}

#[derive(Debug)]
pub(super) struct Deregister {
    name: String,
    ids: Vec<String>,
}

impl Action for Deregister {
    const NAME: &'static str = "DeregisterInstancesFromLoadBalancer";

    fn read(params: &mut Params) -> Result<Self, Refusal> {
        Ok(Self {
            name: lb_name(params)?,
            ids: read_some_ids(params)?,
        })
    }

    async fn run(self, desk: &Desk) -> Result<Xml, Refusal> {
        let _writing = desk.writing().await;
        // One that is being deleted is gone for this API.
        let known = desk.lb(&self.name).await?;
        let deregistered = desk
            .control
            .deregister_all(&self.name, self.ids, How::default())
            .await;
        match deregistered {
            Ok(_) => registered(desk, &self.name).await,
            Err(control::Error::NoSuchBackend { id, .. }) => Err(not_registered(&known, &id)),
            Err(error) => Err(error.into()),
        }
    }
}

/// `id` is none of the load balancer's. Whoever gave an address is told the
/// name that it is registered under.
fn not_registered(known: &Known, id: &str) -> Refusal {
    let address: Option<IpAddr> = id.parse().ok();
    let under = |backend: &&Backend| Some(backend.address) == address;
    let hint = match known.lb.backends.iter().find(under) {
        Some(backend) => format!("; its id here is \"{}\"", backend.id),
        None => String::new(),
    };
    Refusal::new(
        Code::InvalidInstance,
        format!(
            "Could not find instance {} in load balancer '{}'{hint}",
            shortened(id),
            known.lb.name
        ),
    )
}

#[derive(Debug)]
pub(super) struct DescribeHealth {
    name: String,
    /// All, when empty.
    ids: Vec<String>,
}

impl Action for DescribeHealth {
    const NAME: &'static str = "DescribeInstanceHealth";

    fn read(params: &mut Params) -> Result<Self, Refusal> {
        Ok(Self {
            name: lb_name(params)?,
            ids: read_ids(params)?.unwrap_or_default(),
        })
    }

    /// Without ids: the registered ones and those that still drain. With ids:
    /// also one that has drained away, for as long as it is remembered.
    async fn run(self, desk: &Desk) -> Result<Xml, Refusal> {
        let known = desk.lb(&self.name).await?;
        let mut backends = Vec::new();
        for id in &self.ids {
            let there = known.lb.backends.iter().find(|backend| backend.id == *id);
            backends.push(match there {
                Some(backend) => backend.clone(),
                None => match desk.control.backend(&self.name, id).await {
                    Ok(gone) => gone,
                    Err(control::Error::NoSuchBackend { id, .. }) => {
                        return Err(not_registered(&known, &id));
                    }
                    Err(error) => return Err(error.into()),
                },
            });
        }
        if self.ids.is_empty() {
            backends.clone_from(&known.lb.backends);
        }
        let mut xml = Xml::default();
        xml.list("InstanceStates", &backends, |xml, backend| {
            let Described {
                state,
                reason_code,
                description,
            } = described(backend);
            xml.text("InstanceId", &backend.id)
                .text("State", state)
                .text("ReasonCode", reason_code)
                .text("Description", description);
        });
        Ok(xml)
    }
}

struct Described<'b> {
    state: &'static str,
    reason_code: &'b str,
    description: &'b str,
}

/// The backend in the original's words. One that is healthy and has no way
/// that leads to it is not in service, whoever waits for that.
fn described(backend: &Backend) -> Described<'_> {
    let lost = backend.registration == "registered"
        && backend.state == State::InService
        && !backend.takes_new;
    match (lost, &backend.next_hop_error) {
        (false, _) => Described {
            state: state(backend.state),
            reason_code: &backend.reason_code,
            description: &backend.description,
        },
        (true, None) => Described::from(REGISTERING),
        (true, Some(_)) => Described::from(UNHEALTHY),
    }
}

impl From<life::Described> for Described<'_> {
    fn from(described: life::Described) -> Self {
        Self {
            state: state(described.state),
            reason_code: described.reason_code,
            description: described.description,
        }
    }
}

fn state(state: State) -> &'static str {
    match state {
        State::InService => "InService",
        State::OutOfService => "OutOfService",
        State::Unknown => "Unknown",
    }
}
