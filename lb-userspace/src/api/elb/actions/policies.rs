//! Policies. ebb records them, as the original does; putting one into effect
//! would need something that looks into the stream, and is refused.

use std::{collections::BTreeMap, ops::RangeInclusive};

use super::{
    action::{Action, lb_name},
    listeners,
};
use crate::api::elb::{
    desk::{Desk, Known},
    errors::{Code, Refusal, shortened},
    extras::Policy,
    form::Params,
    xml::Xml,
};

const APP_COOKIE: &str = "AppCookieStickinessPolicyType";
const LB_COOKIE: &str = "LBCookieStickinessPolicyType";
const PROXY_PROTOCOL: &str = "ProxyProtocolPolicyType";

const MOST: usize = 100;
/// Attributes of one policy; the original's have one or none.
const ATTRIBUTES_MOST: usize = 20;
const NAME_LENGTH: RangeInclusive<usize> = 1..=128;

/// A kind of policy that can be recorded.
struct Kind {
    name: &'static str,
    description: &'static str,
    attribute: &'static str,
    attribute_type: &'static str,
    /// `ONE`, `ZERO_OR_ONE`.
    cardinality: &'static str,
}

const KINDS: [Kind; 3] = [
    Kind {
        name: APP_COOKIE,
        description: "Stickiness that follows an application's cookie. ebb records it and \
                      cannot put it into effect: it forwards connections and reads no cookies.",
        attribute: "CookieName",
        attribute_type: "String",
        cardinality: "ONE",
    },
    Kind {
        name: LB_COOKIE,
        description: "Stickiness by a cookie of the load balancer's own. ebb records it and \
                      cannot put it into effect: it forwards connections and sets no cookies.",
        attribute: "CookieExpirationPeriod",
        attribute_type: "Long",
        cardinality: "ZERO_OR_ONE",
    },
    Kind {
        name: PROXY_PROTOCOL,
        description: "Client addresses told to instances in a line before the stream. ebb \
                      records it and cannot put it into effect; in its modes dsr and ipip \
                      instances see the clients' own addresses.",
        attribute: "ProxyProtocol",
        attribute_type: "Boolean",
        cardinality: "ONE",
    },
];

fn kind(name: &str) -> Result<&'static Kind, Refusal> {
    KINDS.iter().find(|kind| kind.name == name).ok_or_else(|| {
        Refusal::new(
            Code::PolicyTypeNotFound,
            format!(
                "There is no policy type '{}'; there are {}",
                shortened(name),
                KINDS.map(|kind| kind.name).join(", ")
            ),
        )
    })
}

/// What `DescribeLoadBalancers` shows of them.
pub(super) fn by_kind(xml: &mut Xml, policies: &BTreeMap<String, Policy>) {
    let of = |kind| {
        policies
            .iter()
            .filter(move |(_, policy)| policy.type_name == kind)
    };
    let value = |policy: &Policy| policy.attributes.first().map(|(_, value)| value.clone());
    xml.list(
        "AppCookieStickinessPolicies",
        of(APP_COOKIE),
        |xml, (name, policy)| {
            xml.text("PolicyName", name);
            if let Some(cookie) = value(policy) {
                xml.text("CookieName", cookie);
            }
        },
    );
    xml.list(
        "LBCookieStickinessPolicies",
        of(LB_COOKIE),
        |xml, (name, policy)| {
            xml.text("PolicyName", name);
            if let Some(seconds) = value(policy) {
                xml.text("CookieExpirationPeriod", seconds);
            }
        },
    );
    xml.texts("OtherPolicies", of(PROXY_PROTOCOL).map(|(name, _)| name));
}

async fn record(desk: &Desk, lb: &str, name: String, policy: Policy) -> Result<Xml, Refusal> {
    let _writing = desk.writing().await;
    let mut known = desk.lb(lb).await?;
    let policies = &mut known.extras.policies;
    if policies.contains_key(&name) {
        return Err(Refusal::new(
            Code::DuplicatePolicyName,
            format!("A policy named '{name}' already exists for load balancer '{lb}'"),
        ));
    }
    if policies.len() >= MOST {
        return Err(Refusal::new(
            Code::TooManyPolicies,
            format!("The maximum number of policies of a load balancer is {MOST}"),
        ));
    }
    policies.insert(name, policy);
    desk.keep(lb, &known.extras).await?;
    Ok(Xml::default())
}

fn policy_name(params: &mut Params) -> Result<String, Refusal> {
    let name = params.bounded_text("PolicyName", NAME_LENGTH)?;
    if name
        .bytes()
        .all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
    {
        Ok(name)
    } else {
        Err(Refusal::validation(
            "PolicyName must contain only alphanumeric characters or hyphens",
        ))
    }
}

#[derive(Debug)]
pub(super) struct CreateAppCookie {
    lb: String,
    name: String,
    cookie: String,
}

impl Action for CreateAppCookie {
    const NAME: &'static str = "CreateAppCookieStickinessPolicy";

    fn read(params: &mut Params) -> Result<Self, Refusal> {
        Ok(Self {
            lb: lb_name(params)?,
            name: policy_name(params)?,
            cookie: params.bounded_text("CookieName", 1..=255)?,
        })
    }

    async fn run(self, desk: &Desk) -> Result<Xml, Refusal> {
        let policy = Policy {
            type_name: APP_COOKIE.to_owned(),
            attributes: vec![("CookieName".to_owned(), self.cookie)],
        };
        record(desk, &self.lb, self.name, policy).await
    }
}

#[derive(Debug)]
pub(super) struct CreateLbCookie {
    lb: String,
    name: String,
    /// Seconds; as long as the browser runs, when left out.
    period: Option<u64>,
}

impl Action for CreateLbCookie {
    const NAME: &'static str = "CreateLBCookieStickinessPolicy";

    fn read(params: &mut Params) -> Result<Self, Refusal> {
        Ok(Self {
            lb: lb_name(params)?,
            name: policy_name(params)?,
            period: params.number("CookieExpirationPeriod", 1..=i64::MAX.unsigned_abs())?,
        })
    }

    async fn run(self, desk: &Desk) -> Result<Xml, Refusal> {
        let period = self.period.map(|seconds| seconds.to_string());
        let policy = Policy {
            type_name: LB_COOKIE.to_owned(),
            attributes: Vec::from_iter(
                period.map(|seconds| ("CookieExpirationPeriod".to_owned(), seconds)),
            ),
        };
        record(desk, &self.lb, self.name, policy).await
    }
}

#[derive(Debug)]
pub(super) struct Create {
    lb: String,
    name: String,
    policy: Policy,
}

impl Action for Create {
    const NAME: &'static str = "CreateLoadBalancerPolicy";

    fn read(params: &mut Params) -> Result<Self, Refusal> {
        let lb = lb_name(params)?;
        let name = policy_name(params)?;
        let kind = kind(&params.required_text("PolicyTypeName")?)?;
        let attributes = params.list("PolicyAttributes", |attribute| {
            Ok((
                attribute.required_text("AttributeName")?,
                attribute.text("AttributeValue")?.unwrap_or_default(),
            ))
        })?;
        let attributes = attributes.unwrap_or_default();
        if attributes.len() > ATTRIBUTES_MOST {
            return Err(Refusal::validation(format!(
                "a policy has at most {ATTRIBUTES_MOST} attributes"
            )));
        }
        let foreign = |(name, _): &&(String, String)| name != kind.attribute;
        let invalid = match attributes.iter().find(foreign) {
            Some((name, _)) => Some(format!("it has no attribute '{}'", shortened(name))),
            None if attributes.len() > 1 => Some(format!("it has one {}", kind.attribute)),
            None if attributes.is_empty() && kind.cardinality == "ONE" => {
                Some(format!("it needs its attribute {}", kind.attribute))
            }
            None => None,
        };
        if let Some(why) = invalid {
            return Err(Refusal::new(
                Code::InvalidConfigurationRequest,
                format!("the policy is {}: {why}", kind.name),
            ));
        }
        let policy = Policy {
            type_name: kind.name.to_owned(),
            attributes,
        };
        Ok(Self { lb, name, policy })
    }

    async fn run(self, desk: &Desk) -> Result<Xml, Refusal> {
        record(desk, &self.lb, self.name, self.policy).await
    }
}

#[derive(Debug)]
pub(super) struct Delete {
    lb: String,
    name: String,
}

impl Action for Delete {
    const NAME: &'static str = "DeleteLoadBalancerPolicy";

    fn read(params: &mut Params) -> Result<Self, Refusal> {
        Ok(Self {
            lb: lb_name(params)?,
            name: params.required_text("PolicyName")?,
        })
    }

    /// One that is not there is none to delete, and no mistake.
    async fn run(self, desk: &Desk) -> Result<Xml, Refusal> {
        let _writing = desk.writing().await;
        let mut known = desk.lb(&self.lb).await?;
        if known.extras.policies.remove(&self.name).is_some() {
            desk.keep(&self.lb, &known.extras).await?;
        }
        Ok(Xml::default())
    }
}

#[derive(Debug)]
pub(super) struct Describe {
    lb: Option<String>,
    /// All, when empty.
    names: Vec<String>,
}

impl Action for Describe {
    const NAME: &'static str = "DescribeLoadBalancerPolicies";

    fn read(params: &mut Params) -> Result<Self, Refusal> {
        Ok(Self {
            lb: params.text("LoadBalancerName")?,
            names: params.texts("PolicyNames")?.unwrap_or_default(),
        })
    }

    /// Without a load balancer the original shows sample policies for TLS; ebb
    /// has none.
    async fn run(self, desk: &Desk) -> Result<Xml, Refusal> {
        let policies = match &self.lb {
            Some(name) => desk.lb(name).await?.extras.policies,
            None => BTreeMap::new(),
        };
        if let Some(name) = self.names.iter().find(|name| !policies.contains_key(*name)) {
            return Err(no_such_policy(name));
        }
        let wanted = policies
            .iter()
            .filter(|(name, _)| self.names.is_empty() || self.names.contains(name));
        let mut xml = Xml::default();
        xml.list("PolicyDescriptions", wanted, |xml, (name, policy)| {
            xml.text("PolicyName", name)
                .text("PolicyTypeName", &policy.type_name)
                .list(
                    "PolicyAttributeDescriptions",
                    &policy.attributes,
                    |xml, (name, value)| {
                        xml.text("AttributeName", name)
                            .text("AttributeValue", value);
                    },
                );
        });
        Ok(xml)
    }
}

fn no_such_policy(name: &str) -> Refusal {
    Refusal::new(
        Code::PolicyNotFound,
        format!("There is no policy with name '{}'", shortened(name)),
    )
}

#[derive(Debug)]
pub(super) struct DescribeTypes {
    names: Vec<String>,
}

impl Action for DescribeTypes {
    const NAME: &'static str = "DescribeLoadBalancerPolicyTypes";

    fn read(params: &mut Params) -> Result<Self, Refusal> {
        Ok(Self {
            names: params.texts("PolicyTypeNames")?.unwrap_or_default(),
        })
    }

    async fn run(self, _: &Desk) -> Result<Xml, Refusal> {
        for name in &self.names {
            kind(name)?;
        }
        let wanted = KINDS
            .iter()
            .filter(|kind| self.names.is_empty() || self.names.iter().any(|n| n == kind.name));
        let mut xml = Xml::default();
        xml.list("PolicyTypeDescriptions", wanted, |xml, kind| {
            xml.text("PolicyTypeName", kind.name)
                .text("Description", kind.description)
                .list("PolicyAttributeTypeDescriptions", [kind], |xml, kind| {
                    xml.text("AttributeName", kind.attribute)
                        .text("AttributeType", kind.attribute_type)
                        .text("Cardinality", kind.cardinality);
                });
        });
        Ok(xml)
    }
}

/// Takes an empty list: that there be none in effect is how it is.
fn refuse_effect(known: &Known, names: &[String]) -> Result<Xml, Refusal> {
    let policies = &known.extras.policies;
    if let Some(name) = names.iter().find(|name| !policies.contains_key(*name)) {
        return Err(no_such_policy(name));
    }
    match names.iter().find_map(|name| policies.get_key_value(name)) {
        None => Ok(Xml::default()),
        Some((name, policy)) => {
            let why = match policy.type_name.as_str() {
                PROXY_PROTOCOL => {
                    "ebb adds nothing to the stream; in its modes dsr and ipip instances see the \
                     clients' own addresses"
                }
                _ => {
                    "ebb forwards connections and reads no cookies; a connection stays with its \
                     instance to its end, and so does everything on it"
                }
            };
            Err(Refusal::new(
                Code::InvalidConfigurationRequest,
                format!(
                    "the policy '{name}' ({}) cannot take effect: {why}",
                    policy.type_name
                ),
            ))
        }
    }
}

#[derive(Debug)]
pub(super) struct SetOfListener {
    lb: String,
    port: u16,
    names: Vec<String>,
}

impl Action for SetOfListener {
    const NAME: &'static str = "SetLoadBalancerPoliciesOfListener";

    fn read(params: &mut Params) -> Result<Self, Refusal> {
        Ok(Self {
            lb: lb_name(params)?,
            port: params.required_number("LoadBalancerPort", 1..=u16::MAX)?,
            names: params.required_texts("PolicyNames")?,
        })
    }

    async fn run(self, desk: &Desk) -> Result<Xml, Refusal> {
        let known = desk.lb(&self.lb).await?;
        listeners::find(&known, self.port)?;
        refuse_effect(&known, &self.names)
    }
}

#[derive(Debug)]
pub(super) struct SetForBackend {
    lb: String,
    port: u16,
    names: Vec<String>,
}

impl Action for SetForBackend {
    const NAME: &'static str = "SetLoadBalancerPoliciesForBackendServer";

    fn read(params: &mut Params) -> Result<Self, Refusal> {
        Ok(Self {
            lb: lb_name(params)?,
            port: params.required_number("InstancePort", 1..=u16::MAX)?,
            names: params.required_texts("PolicyNames")?,
        })
    }

    async fn run(self, desk: &Desk) -> Result<Xml, Refusal> {
        let known = desk.lb(&self.lb).await?;
        let there = listeners::shown(&known);
        if !there.iter().any(|one| one.instance_port == self.port) {
            return Err(Refusal::new(
                Code::InvalidConfigurationRequest,
                format!(
                    "no listener of load balancer '{}' leads to instance port {}",
                    self.lb, self.port
                ),
            ));
        }
        refuse_effect(&known, &self.names)
    }
}
