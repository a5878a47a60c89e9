//! `ModifyLoadBalancerAttributes` and `DescribeLoadBalancerAttributes`.
//!
//! Draining and the idle timeout are ebb's own. The rest is recorded: ebb has
//! no zones to balance across, writes no access logs, and reads no HTTP.

use std::ops::RangeInclusive;

use super::action::{Action, lb_name};
use crate::{
    api::elb::{
        desk::Desk,
        errors::{Code, Refusal, shortened},
        extras::{AccessLog, Extras},
        form::Params,
        xml::Xml,
    },
    model::{DRAIN_TIMEOUT, IDLE_TIMEOUT},
    wire::{Attributes, AttributesPatch, ConnectionDrainingPatch},
};

/// The one key that `AdditionalAttributes` is known to have, and its values.
const DESYNC: &str = "elb.http.desyncmitigationmode";
const DESYNC_VALUES: [&str; 3] = ["monitor", "defensive", "strictest"];
const DESYNC_DEFAULT: &str = "defensive";
const ADDITIONAL_MOST: usize = 10;
const ADDITIONAL_LENGTH: RangeInclusive<usize> = 0..=256;

/// Minutes.
const EMIT_INTERVALS: [u32; 2] = [5, 60];

#[derive(Debug)]
pub(super) struct Modify {
    name: String,
    draining: Option<ConnectionDrainingPatch>,
    idle_timeout: Option<u32>,
    cross_zone: Option<bool>,
    access_log: Option<AccessLog>,
    desync_mitigation: Option<String>,
}

impl Action for Modify {
    const NAME: &'static str = "ModifyLoadBalancerAttributes";

    fn read(params: &mut Params) -> Result<Self, Refusal> {
        let name = lb_name(params)?;
        params.required_structure("LoadBalancerAttributes", |attributes| {
            Ok(Self {
                name,
                draining: attributes.structure("ConnectionDraining", |draining| {
                    Ok(ConnectionDrainingPatch {
                        enabled: Some(draining.required_truth("Enabled")?),
                        // Left out, the one before stays.
                        timeout: draining.number("Timeout", DRAIN_TIMEOUT)?,
                    })
                })?,
                idle_timeout: attributes.structure("ConnectionSettings", |settings| {
                    settings.required_number("IdleTimeout", IDLE_TIMEOUT)
                })?,
                cross_zone: attributes.structure("CrossZoneLoadBalancing", |cross_zone| {
                    cross_zone.required_truth("Enabled")
                })?,
                access_log: attributes.structure("AccessLog", access_log)?,
                desync_mitigation: desync_mitigation(attributes)?,
            })
        })
    }

    async fn run(self, desk: &Desk) -> Result<Xml, Refusal> {
        let _writing = desk.writing().await;
        let known = desk.lb(&self.name).await?;
        let mut attributes = known.lb.attributes;
        if self.draining.is_some() || self.idle_timeout.is_some() {
            let patch = AttributesPatch {
                connection_draining: self.draining,
                idle_timeout: self.idle_timeout,
                close_rate: None,
                nat_source: None,
            };
            attributes = desk.control.set_attributes(&self.name, patch).await?;
        }
        let mut extras = known.extras.clone();
        if let Some(enabled) = self.cross_zone {
            extras.cross_zone = enabled;
        }
        if let Some(access_log) = &self.access_log {
            extras.access_log = access_log.clone();
        }
        if self.desync_mitigation.is_some() {
            extras.desync_mitigation.clone_from(&self.desync_mitigation);
        }
        if extras != known.extras {
            desk.keep(&self.name, &extras).await?;
        }
        let shown = Shown {
            draining: self.draining.is_some(),
            idle_timeout: self.idle_timeout.is_some(),
            cross_zone: self.cross_zone.is_some(),
            access_log: self.access_log.is_some(),
            additional: self.desync_mitigation.is_some(),
        };
        let mut xml = Xml::default();
        xml.text("LoadBalancerName", &self.name);
        shown.write(&mut xml, &attributes, &extras);
        Ok(xml)
    }
}

fn access_log(params: &mut Params) -> Result<AccessLog, Refusal> {
    let enabled = params.required_truth("Enabled")?;
    let bucket = params.text("S3BucketName")?.filter(|name| !name.is_empty());
    let emit_interval = params.number("EmitInterval", 0_u32..)?.unwrap_or(60);
    let prefix = params.text("S3BucketPrefix")?;
    if !EMIT_INTERVALS.contains(&emit_interval) {
        return Err(Refusal::constraint(
            emit_interval,
            &params.at("EmitInterval"),
            "be 5 or 60",
        ));
    }
    if enabled && bucket.is_none() {
        return Err(Refusal::new(
            Code::InvalidConfigurationRequest,
            "an enabled AccessLog needs its S3BucketName",
        ));
    }
    Ok(AccessLog {
        enabled,
        bucket,
        emit_interval,
        prefix: prefix.filter(|prefix| !prefix.is_empty()),
    })
}

fn desync_mitigation(attributes: &mut Params) -> Result<Option<String>, Refusal> {
    let additional = attributes.list("AdditionalAttributes", |attribute| {
        Ok((
            attribute.bounded_text("Key", ADDITIONAL_LENGTH)?,
            attribute.bounded_text("Value", ADDITIONAL_LENGTH)?,
        ))
    })?;
    let additional = additional.unwrap_or_default();
    if additional.len() > ADDITIONAL_MOST {
        return Err(Refusal::constraint(
            additional.len(),
            &attributes.at("AdditionalAttributes"),
            &format!("have length less than or equal to {ADDITIONAL_MOST}"),
        ));
    }
    let mut mode = None;
    for (key, value) in additional {
        if key != DESYNC {
            return Err(Refusal::new(
                Code::LoadBalancerAttributeNotFound,
                format!(
                    "There is no load balancer attribute '{}'; there is {DESYNC}",
                    shortened(&key)
                ),
            ));
        }
        if !DESYNC_VALUES.contains(&value.as_str()) {
            return Err(Refusal::constraint(
                shortened(&value),
                DESYNC,
                &format!("be one of {}", DESYNC_VALUES.join(", ")),
            ));
        }
        mode = Some(value);
    }
    Ok(mode)
}

#[derive(Debug)]
pub(super) struct Describe {
    name: String,
}

impl Action for Describe {
    const NAME: &'static str = "DescribeLoadBalancerAttributes";

    fn read(params: &mut Params) -> Result<Self, Refusal> {
        Ok(Self {
            name: lb_name(params)?,
        })
    }

    async fn run(self, desk: &Desk) -> Result<Xml, Refusal> {
        let known = desk.lb(&self.name).await?;
        let all = Shown {
            draining: true,
            idle_timeout: true,
            cross_zone: true,
            access_log: true,
            additional: true,
        };
        let mut xml = Xml::default();
        all.write(&mut xml, &known.lb.attributes, &known.extras);
        Ok(xml)
    }
}

/// Which attributes an answer shows.
#[derive(Debug, Clone, Copy)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "each says yes or no of one attribute"
)]
struct Shown {
    draining: bool,
    idle_timeout: bool,
    cross_zone: bool,
    access_log: bool,
    additional: bool,
}

impl Shown {
    fn write(self, xml: &mut Xml, attributes: &Attributes, extras: &Extras) {
        xml.within("LoadBalancerAttributes", |xml| {
            if self.cross_zone {
                xml.within("CrossZoneLoadBalancing", |xml| {
                    xml.text("Enabled", extras.cross_zone);
                });
            }
            if self.access_log {
                xml.within("AccessLog", |xml| write_access_log(xml, &extras.access_log));
            }
            if self.draining {
                let draining = attributes.connection_draining;
                xml.within("ConnectionDraining", |xml| {
                    xml.text("Enabled", draining.enabled)
                        .text("Timeout", draining.timeout);
                });
            }
            if self.idle_timeout {
                xml.within("ConnectionSettings", |xml| {
                    xml.text("IdleTimeout", attributes.idle_timeout);
                });
            }
            if self.additional {
                let mode = extras.desync_mitigation.as_deref();
                let mode = mode.unwrap_or(DESYNC_DEFAULT);
                xml.list("AdditionalAttributes", [mode], |xml, mode| {
                    xml.text("Key", DESYNC).text("Value", mode);
                });
            }
        });
    }
}

fn write_access_log(xml: &mut Xml, log: &AccessLog) {
    xml.text("Enabled", log.enabled);
    if let Some(bucket) = &log.bucket {
        xml.text("S3BucketName", bucket);
    }
    // As the original: nothing else of one that is off.
    if log.enabled {
        xml.text("EmitInterval", log.emit_interval);
    }
    if let Some(prefix) = &log.prefix {
        xml.text("S3BucketPrefix", prefix);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{self, Attribute, Takes};

    fn modify(of: &[(&str, String)]) -> Result<Modify, Refusal> {
        let mut form = "LoadBalancerName=web".to_owned();
        for (name, value) in of {
            form.push_str(&format!("&LoadBalancerAttributes.{name}={value}"));
        }
        let mut params = Params::parse(form.as_bytes())?;
        let modify = Modify::read(&mut params)?;
        params.finish()?;
        Ok(modify)
    }

    /// Of those that the table of all attributes gives a name in this API.
    #[test]
    fn the_attributes_have_the_names_and_the_bounds_of_the_table() {
        let ours: Vec<_> = Attribute::ALL
            .into_iter()
            .filter_map(|attribute| Some((attribute, attribute.query_api()?)))
            .collect();
        let with = |changed: Attribute, to: &str| {
            let value = |attribute: Attribute| {
                if attribute == changed {
                    to.to_owned()
                } else {
                    attribute.default().to_string()
                }
            };
            let form: Vec<_> = ours.iter().map(|(a, name)| (*name, value(*a))).collect();
            modify(&form)
        };
        for (attribute, name) in &ours {
            let Takes::Number(range, _) = attribute.takes() else {
                let read = with(*attribute, "false").unwrap();
                assert_eq!(read.draining.unwrap().enabled, Some(false), "{name}");
                continue;
            };
            for good in [range.start(), range.end()] {
                let read = with(*attribute, &good.to_string()).unwrap();
                let numbers = [read.draining.unwrap().timeout, read.idle_timeout];
                assert!(numbers.contains(&Some(*good)), "{name}: {numbers:?}");
            }
            for bad in [range.start() - 1, range.end() + 1] {
                let refusal = with(*attribute, &bad.to_string()).unwrap_err();
                assert!(refusal.message.contains(name), "{}", refusal.message);
            }
        }
    }

    #[test]
    fn an_answer_has_the_names_of_the_table() {
        let all = Shown {
            draining: true,
            idle_timeout: true,
            cross_zone: false,
            access_log: false,
            additional: false,
        };
        let mut xml = Xml::default();
        let attributes = Attributes::from(model::Attributes::default());
        all.write(&mut xml, &attributes, &Extras::default());
        let mut expected = Xml::default();
        expected.within("LoadBalancerAttributes", |xml| {
            let ours = Attribute::ALL.into_iter();
            let mut ours: Vec<_> = ours.filter_map(|a| Some((a.query_api()?, a))).collect();
            while let Some(group) = ours.first().and_then(|(name, _)| name.split('.').next()) {
                let inside = |name: &str| name.split('.').next() == Some(group);
                xml.within(group, |xml| {
                    for (name, attribute) in ours.iter().filter(|(name, _)| inside(name)) {
                        let (_, leaf) = name.split_once('.').unwrap();
                        xml.text(leaf, attribute.default());
                    }
                });
                ours.retain(|(name, _)| !inside(name));
            }
        });
        assert_eq!(format!("{xml:?}"), format!("{expected:?}"));
    }
}
