//! `CreateLoadBalancer`, `DeleteLoadBalancer`, `DescribeLoadBalancers`.

use super::{
    action::{Action, lb_name},
    describe, labels,
    limits::Page,
    listeners::{self, Listener},
    tags,
};
use crate::{
    api::elb::{
        desk::{Desk, Known},
        errors::{Code, Refusal, shortened},
        extras::{Extras, Scheme},
        form::Params,
        xml::Xml,
    },
    control,
    model::{Mode, NAME_MAX},
    wire::{AttributesPatch, ConnectionDrainingPatch, NewLoadBalancer},
};

/// What the original begins with: draining off, and a minute of silence.
const IDLE_TIMEOUT: u32 = 60;

#[derive(Debug)]
pub(super) struct Create {
    name: String,
    listeners: Vec<Listener>,
    /// Labels, tags and scheme.
    extras: Extras,
}

impl Action for Create {
    const NAME: &'static str = "CreateLoadBalancer";

    fn read(params: &mut Params) -> Result<Self, Refusal> {
        let name = new_name(params)?;
        let mut listeners = listeners::read_list(params)?;
        listeners.sort_unstable();
        let zones = params.texts("AvailabilityZones")?.unwrap_or_default();
        let subnets = params.texts("Subnets")?.unwrap_or_default();
        let groups = params.texts("SecurityGroups")?.unwrap_or_default();
        let scheme = match params.text("Scheme")?.as_deref() {
            None | Some("" | "internet-facing") => Scheme::InternetFacing,
            Some("internal") => Scheme::Internal,
            Some(other) => {
                return Err(Refusal::new(
                    Code::InvalidScheme,
                    format!(
                        "'{}' is no scheme: it is internal or internet-facing",
                        shortened(other)
                    ),
                ));
            }
        };
        let tags = params.list("Tags", tags::read)?.unwrap_or_default();
        match (zones.is_empty(), subnets.is_empty()) {
            (true, true) => Err(Refusal::validation(
                "Either AvailabilityZones or SubnetIds must be specified",
            )),
            (false, false) => Err(Refusal::validation(
                "Only one of SubnetIds or AvailabilityZones may be specified",
            )),
            _ => Ok(()),
        }?;
        let mut extras = Extras {
            scheme,
            availability_zones: labels::zones(zones)?,
            subnets: labels::subnets(subnets)?,
            security_groups: labels::security_groups(groups)?,
            ..Extras::default()
        };
        tags::put(&mut extras.tags, tags)?;
        let http = listeners.iter().filter(|listener| listener.is_http());
        extras.http_ports = http.map(|listener| listener.port).collect();
        Ok(Self {
            name,
            listeners,
            extras,
        })
    }

    async fn run(mut self, desk: &Desk) -> Result<Xml, Refusal> {
        let _writing = desk.writing().await;
        let vip = match desk.lb(&self.name).await {
            Ok(known) if self.is_that(&known) => known.vip(),
            Ok(_) => {
                return Err(Refusal::new(
                    Code::DuplicateLoadBalancerName,
                    format!(
                        "Load Balancer named '{}' already exists and it is configured with \
                         different parameters.",
                        self.name
                    ),
                ));
            }
            Err(refusal) if refusal.code == Code::LoadBalancerNotFound => None,
            Err(refusal) => return Err(refusal),
        };
        let vip = match vip {
            Some(vip) => vip,
            None => self.create(desk).await?,
        };
        let mut xml = Xml::default();
        xml.text("DNSName", vip);
        Ok(xml)
    }
}

impl Create {
    async fn create(&mut self, desk: &Desk) -> Result<std::net::IpAddr, Refusal> {
        let vip = desk.free_vip().await?;
        self.extras.vip = Some(vip);
        let first = self.listeners.first().map(|first| first.instance_port);
        let new = NewLoadBalancer {
            name: self.name.clone(),
            mode: Mode::Nat,
            listeners: self.listeners.iter().map(|one| one.at(vip)).collect(),
            backends: Vec::new(),
            health_check: first.map(describe::default_health_check),
            attributes: AttributesPatch {
                connection_draining: Some(ConnectionDrainingPatch {
                    enabled: Some(false),
                    timeout: None,
                }),
                idle_timeout: Some(IDLE_TIMEOUT),
                close_rate: None,
                nat_source: None,
            },
            elb: self.extras.to_value()?,
        };
        match desk.control.create_load_balancer(new).await {
            Ok(_) => Ok(vip),
            Err(error) => Err(error.into()),
        }
    }

    /// Asked for again, what is there already is no duplicate.
    fn is_that(&self, known: &Known) -> bool {
        let Extras {
            scheme,
            availability_zones,
            subnets,
            security_groups,
            ..
        } = &known.extras;
        listeners::shown(known) == self.listeners
            && *scheme == self.extras.scheme
            && *availability_zones == self.extras.availability_zones
            && *subnets == self.extras.subnets
            && *security_groups == self.extras.security_groups
    }
}

fn new_name(params: &mut Params) -> Result<String, Refusal> {
    let name = lb_name(params)?;
    if name.chars().count() > NAME_MAX {
        return Err(Refusal::validation(format!(
            "LoadBalancer name cannot be longer than {NAME_MAX} characters"
        )));
    }
    crate::model::LbName::try_from(name)
        .map(String::from)
        .map_err(|_| {
            Refusal::validation(
                "LoadBalancer name must contain only alphanumeric characters or hyphens, \
                 and must not begin or end with a hyphen",
            )
        })
}

#[derive(Debug)]
pub(super) struct Delete {
    name: String,
}

impl Action for Delete {
    const NAME: &'static str = "DeleteLoadBalancer";

    fn read(params: &mut Params) -> Result<Self, Refusal> {
        Ok(Self {
            name: lb_name(params)?,
        })
    }

    /// Succeeds for a name that nobody has, too: then there is nothing to
    /// delete. Instances drain as the attributes say.
    async fn run(self, desk: &Desk) -> Result<Xml, Refusal> {
        let _writing = desk.writing().await;
        let how = crate::wire::Deregister::default();
        match desk.control.delete_load_balancer(&self.name, how).await {
            Ok(_)
            | Err(
                control::Error::NoSuchLoadBalancer { .. } | control::Error::BeingDeleted { .. },
            ) => Ok(Xml::default()),
            Err(error) => Err(error.into()),
        }
    }
}

#[derive(Debug)]
pub(super) struct Describe {
    names: Vec<String>,
    page: Page,
}

impl Action for Describe {
    const NAME: &'static str = "DescribeLoadBalancers";

    fn read(params: &mut Params) -> Result<Self, Refusal> {
        Ok(Self {
            names: params.texts("LoadBalancerNames")?.unwrap_or_default(),
            page: Page::read(params)?,
        })
    }

    async fn run(self, desk: &Desk) -> Result<Xml, Refusal> {
        let mut lbs = desk.lbs().await?;
        if !self.names.is_empty() {
            let unknown = |name: &&String| !lbs.iter().any(|known| known.lb.name == **name);
            if let Some(name) = self.names.iter().find(unknown) {
                return Err(Refusal::no_such_lb(name));
            }
            lbs.retain(|known| self.names.contains(&known.lb.name));
        }
        let (page, next) = self.page.of(lbs, |known| &known.lb.name);
        let mut xml = Xml::default();
        xml.list("LoadBalancerDescriptions", &page, describe::load_balancer);
        if let Some(next) = next {
            xml.text("NextMarker", next);
        }
        Ok(xml)
    }
}
