//! A configuration file that is to be put in force, and what that takes.

use serde::{Deserialize, Serialize};

/// The body of `POST /v1/apply`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Apply {
    /// A configuration file, TOML, whole.
    pub document: String,
    /// The file's path, in errors and to know what it named the last time.
    #[serde(default)]
    pub source: Option<String>,
    #[serde(default)]
    pub dry_run: bool,
}

/// The answer of `POST /v1/apply`: the plan, in the order of its steps.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Applied {
    /// True when nothing was changed, only planned.
    pub dry_run: bool,
    /// None when everything already is as the file says.
    pub steps: Vec<Step>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Step {
    pub action: StepAction,
    pub load_balancer: String,
    /// What of it: `backend web-1`, `listener tcp 10.0.0.100:80`, an
    /// attribute's key. The load balancer itself when left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subject: Option<String>,
    /// From what to what: `weight 1 → 5`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub detail: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum StepAction {
    Add,
    Change,
    /// No new flows; removed when the last one has ended or at the deadline.
    Drain,
    Remove,
}
