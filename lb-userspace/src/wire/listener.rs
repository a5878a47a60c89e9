//! Listeners.

use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use super::words;
use crate::model::Protocol;

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Listener {
    #[serde(with = "words::Protocol")]
    pub protocol: Protocol,
    pub address: IpAddr,
    pub port: u16,
    /// The port that backends listen on; the listener's own when left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub backend_port: Option<u16>,
}
