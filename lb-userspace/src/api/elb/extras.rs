//! What the Classic Load Balancer knows of a load balancer and ebb does not:
//! tags, labels, attributes and policies that are only recorded. The control
//! plane keeps it with the load balancer, unread.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
};

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::errors::Refusal;

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct Extras {
    /// The address that it was given, which it keeps without listeners too.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) vip: Option<IpAddr>,
    pub(super) scheme: Scheme,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub(super) tags: BTreeMap<String, String>,
    #[serde(skip_serializing_if = "BTreeSet::is_empty")]
    pub(super) availability_zones: BTreeSet<String>,
    #[serde(skip_serializing_if = "BTreeSet::is_empty")]
    pub(super) subnets: BTreeSet<String>,
    #[serde(skip_serializing_if = "BTreeSet::is_empty")]
    pub(super) security_groups: BTreeSet<String>,
    /// Ports of listeners that were asked for as HTTP; they forward TCP.
    #[serde(skip_serializing_if = "BTreeSet::is_empty")]
    pub(super) http_ports: BTreeSet<u16>,
    pub(super) cross_zone: bool,
    pub(super) access_log: AccessLog,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) desync_mitigation: Option<String>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub(super) policies: BTreeMap<String, Policy>,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Scheme {
    #[default]
    InternetFacing,
    Internal,
}

impl Scheme {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::InternetFacing => "internet-facing",
            Self::Internal => "internal",
        }
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct AccessLog {
    pub(super) enabled: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) bucket: Option<String>,
    /// Minutes.
    pub(super) emit_interval: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) prefix: Option<String>,
}

impl Default for AccessLog {
    fn default() -> Self {
        Self {
            enabled: false,
            bucket: None,
            emit_interval: 60,
            prefix: None,
        }
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Policy {
    pub(super) type_name: String,
    /// In the order in which they were given.
    pub(super) attributes: Vec<(String, String)>,
}

impl Extras {
    /// What the control plane kept; nothing, for a load balancer that the
    /// Query API has not touched yet.
    pub(super) fn of(kept: &Value) -> Result<Self, Refusal> {
        if kept.is_null() {
            return Ok(Self::default());
        }
        Self::deserialize(kept)
            .map_err(|e| Refusal::internal(format!("what was kept of it is not understood: {e}")))
    }

    pub(super) fn to_value(&self) -> Result<Value, Refusal> {
        serde_json::to_value(self).map_err(|e| Refusal::internal(format!("cannot be kept: {e}")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_kept_is_read_back() {
        let mut extras = Extras::default();
        extras.tags.insert("k".to_owned(), "v".to_owned());
        extras.http_ports.insert(80);
        extras.scheme = Scheme::Internal;
        let kept = extras.to_value().unwrap();
        assert_eq!(Extras::of(&kept).unwrap(), extras);
        assert_eq!(Extras::of(&Value::Null).unwrap(), Extras::default());
        assert!(Extras::of(&Value::Bool(true)).is_err());
    }
}
