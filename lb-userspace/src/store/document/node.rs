//! This host's part of the state, as it is written down.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
};

use serde::{Deserialize, Serialize};

use super::{bad::BadDocument, desired::Health};
use crate::{
    model::{BackendId, BackendIndex},
    state::{
        life::{Epochs, Found},
        node,
    },
};

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Placement {
    pub index: u16,
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub held: BTreeSet<IpAddr>,
    pub backends: BTreeMap<String, Spot>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Spot {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub index: Option<u16>,
    pub epoch: u32,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub checked: Option<Health>,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub cutting: bool,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Node {
    pub epochs: u32,
    pub retired: BTreeSet<u16>,
}

impl From<&node::Placement> for Placement {
    fn from(placement: &node::Placement) -> Self {
        let spot = |(id, spot): (&BackendId, &node::Spot)| {
            let found = &spot.found;
            let spot = Spot {
                index: spot.index,
                epoch: found.epoch,
                checked: found.checked.map(Into::into),
                cutting: found.cutting,
            };
            (id.to_string(), spot)
        };
        Self {
            index: placement.index,
            held: placement.held.clone(),
            backends: placement.backends.iter().map(spot).collect(),
        }
    }
}

impl TryFrom<Placement> for node::Placement {
    type Error = BadDocument;

    fn try_from(placement: Placement) -> Result<Self, BadDocument> {
        let mut backends = BTreeMap::new();
        for (id, spot) in placement.backends {
            let spot = node::Spot {
                index: spot.index,
                found: Found {
                    epoch: spot.epoch,
                    checked: spot.checked.map(Into::into),
                    cutting: spot.cutting,
                },
                next_hop: None,
            };
            backends.insert(BackendId::try_from(id)?, spot);
        }
        Ok(Self {
            index: placement.index,
            held: placement.held,
            backends,
        })
    }
}

impl From<&node::Node> for Node {
    fn from(node: &node::Node) -> Self {
        Self {
            epochs: node.epochs.next(),
            retired: node.retired.clone(),
        }
    }
}

impl From<Node> for (Epochs, BTreeSet<BackendIndex>) {
    fn from(node: Node) -> Self {
        (Epochs::from(node.epochs), node.retired)
    }
}
