//! The words of the model that documents carry as they are, as they are written
//! there.

use serde::{Deserialize, Serialize};

use crate::model;

#[derive(Serialize, Deserialize)]
#[serde(remote = "model::Mode", rename_all = "lowercase")]
pub(super) enum Mode {
    Nat,
    Dsr,
    Ipip,
}

#[derive(Serialize, Deserialize)]
#[serde(remote = "model::Protocol", rename_all = "lowercase")]
pub(super) enum Protocol {
    Tcp,
    Udp,
}
