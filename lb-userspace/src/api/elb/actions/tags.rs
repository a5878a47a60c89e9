//! Tags. One kind of them means something to ebb: `ebb:instance:NAME`, whose
//! value is the address that the instance id NAME stands for.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
};

use super::action::Action;
use crate::api::elb::{
    desk::{Desk, Known},
    errors::{Code, Refusal, shortened},
    form::Params,
    xml::Xml,
};

/// Of a tag that names an instance.
pub(super) const INSTANCE: &str = "ebb:instance:";

/// Tags of one load balancer.
const MOST: usize = 50;
/// Load balancers in one request.
const NAMES_MOST: usize = 20;

type Tags = BTreeMap<String, String>;

/// The address that the tags give to the instance id.
pub(super) fn instance(tags: &Tags, id: &str) -> Option<IpAddr> {
    tags.get(&format!("{INSTANCE}{id}"))?.parse().ok()
}

/// One `Tag`, as sent.
pub(super) fn read(params: &mut Params) -> Result<(String, String), Refusal> {
    let key = key(params)?;
    let value = match params.text("Value")? {
        None => String::new(),
        Some(value) if value.chars().count() > 256 => {
            return Err(Refusal::constraint(
                shortened(&value),
                &params.at("Value"),
                "have length less than or equal to 256",
            ));
        }
        Some(value) => in_pattern(params, "Value", value)?,
    };
    if key.starts_with("aws:") {
        return Err(Refusal::validation(format!(
            "'{}': aws: prefixed tag key names are not allowed for external use.",
            shortened(&key)
        )));
    }
    if key.starts_with(INSTANCE) && value.parse::<IpAddr>().is_err() {
        return Err(Refusal::validation(format!(
            "the tag '{}' names an instance, and its value '{}' is not an address",
            shortened(&key),
            shortened(&value)
        )));
    }
    Ok((key, value))
}

fn key(params: &mut Params) -> Result<String, Refusal> {
    let key = params.bounded_text("Key", 1..=128)?;
    in_pattern(params, "Key", key)
}

fn in_pattern(params: &Params, name: &str, text: String) -> Result<String, Refusal> {
    let good = |c: char| {
        c.is_alphanumeric() || (c.is_whitespace() && !c.is_control()) || "_.:/=+-@".contains(c)
    };
    if text.chars().all(good) {
        Ok(text)
    } else {
        Err(Refusal::constraint(
            shortened(&text),
            &params.at(name),
            r"satisfy regular expression pattern: ^([\p{L}\p{Z}\p{N}_.:/=+\-@]*)$",
        ))
    }
}

/// Adds them, over those with the same keys.
pub(super) fn put(tags: &mut Tags, new: Vec<(String, String)>) -> Result<(), Refusal> {
    let mut keys = BTreeSet::new();
    if let Some((twice, _)) = new.iter().find(|(key, _)| !keys.insert(key.as_str())) {
        return Err(Refusal::new(
            Code::DuplicateTagKeys,
            format!("the tag key '{}' is there twice", shortened(twice)),
        ));
    }
    tags.extend(new);
    if tags.len() > MOST {
        return Err(Refusal::new(
            Code::TooManyTags,
            format!("The maximum number of tags of a load balancer is {MOST}"),
        ));
    }
    Ok(())
}

fn names(params: &mut Params) -> Result<Vec<String>, Refusal> {
    let names = params.required_texts("LoadBalancerNames")?;
    if (1..=NAMES_MOST).contains(&names.len()) {
        Ok(names)
    } else {
        Err(Refusal::constraint(
            names.len(),
            "LoadBalancerNames",
            &format!("have length between 1 and {NAMES_MOST}"),
        ))
    }
}

/// All of them, or the refusal of the first that is not there.
async fn find(desk: &Desk, names: &[String]) -> Result<Vec<Known>, Refusal> {
    let mut found = Vec::new();
    for name in names {
        found.push(desk.lb(name).await?);
    }
    Ok(found)
}

#[derive(Debug)]
pub(super) struct Add {
    names: Vec<String>,
    tags: Vec<(String, String)>,
}

impl Action for Add {
    const NAME: &'static str = "AddTags";

    fn read(params: &mut Params) -> Result<Self, Refusal> {
        Ok(Self {
            names: names(params)?,
            tags: params.required_list("Tags", read)?,
        })
    }

    async fn run(self, desk: &Desk) -> Result<Xml, Refusal> {
        let _writing = desk.writing().await;
        let mut found = find(desk, &self.names).await?;
        for known in &mut found {
            put(&mut known.extras.tags, self.tags.clone())?;
        }
        for known in &found {
            desk.keep(&known.lb.name, &known.extras).await?;
        }
        Ok(Xml::default())
    }
}

#[derive(Debug)]
pub(super) struct Remove {
    names: Vec<String>,
    keys: Vec<String>,
}

impl Action for Remove {
    const NAME: &'static str = "RemoveTags";

    fn read(params: &mut Params) -> Result<Self, Refusal> {
        Ok(Self {
            names: names(params)?,
            keys: params.required_list("Tags", key)?,
        })
    }

    /// A key that is not there is none to remove, and no mistake.
    async fn run(self, desk: &Desk) -> Result<Xml, Refusal> {
        let _writing = desk.writing().await;
        for mut known in find(desk, &self.names).await? {
            for key in &self.keys {
                known.extras.tags.remove(key);
            }
            desk.keep(&known.lb.name, &known.extras).await?;
        }
        Ok(Xml::default())
    }
}

#[derive(Debug)]
pub(super) struct Describe {
    names: Vec<String>,
}

impl Action for Describe {
    const NAME: &'static str = "DescribeTags";

    fn read(params: &mut Params) -> Result<Self, Refusal> {
        Ok(Self {
            names: names(params)?,
        })
    }

    async fn run(self, desk: &Desk) -> Result<Xml, Refusal> {
        let found = find(desk, &self.names).await?;
        let mut xml = Xml::default();
        xml.list("TagDescriptions", &found, |xml, known| {
            xml.text("LoadBalancerName", &known.lb.name).list(
                "Tags",
                &known.extras.tags,
                |xml, (key, value)| {
                    xml.text("Key", key).text("Value", value);
                },
            );
        });
        Ok(xml)
    }
}
