//! The state as ebb 0.1.0 kept it: `state.json`, one file with everything in
//! it and a checksum of itself. It is read once and then put aside.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs::File,
    io::{self, Read as _},
    net::IpAddr,
    path::Path,
    sync::Arc,
};

use serde::Deserialize;
use serde_json::Value;
use sha2::{Digest as _, Sha256};

use super::{
    StoreError,
    document::{BadDocument, declared, desired as doc},
    written::Written,
};
use crate::{
    model::{BackendId, LbName},
    state::{
        Desired, Node, State, desired,
        life::{Epochs, Found},
        node,
    },
};

/// The only format that it had.
const FORMAT: u32 = 1;
/// Far more than any real state; a file beyond that is not ours.
const MOST_BYTES: u64 = 256 << 20;
/// Stands for the checksum while it is computed.
const BLANK: &str = "0000000000000000000000000000000000000000000000000000000000000000";

/// What the file held.
pub struct Old {
    pub state: State,
    pub written: Written,
    /// By which it is known again.
    pub checksum: String,
}

#[derive(Deserialize)]
struct Content<S> {
    format: u32,
    /// SHA-256 of the file with zeros in this place.
    checksum: String,
    written: Written,
    state: S,
}

#[derive(Deserialize)]
struct Everything {
    load_balancers: BTreeMap<String, LoadBalancer>,
    epochs: u32,
    #[serde(default)]
    retired: BTreeSet<u16>,
    #[serde(default)]
    vips: BTreeMap<IpAddr, String>,
    #[serde(default)]
    declared: BTreeMap<String, declared::Declared>,
}

#[derive(Deserialize)]
struct LoadBalancer {
    index: u16,
    mode: doc::Mode,
    created: String,
    listeners: BTreeMap<String, u16>,
    attributes: doc::Attributes,
    health_check: Option<doc::HealthCheck>,
    backends: BTreeMap<String, Backend>,
    #[serde(default)]
    deleting: bool,
    #[serde(default)]
    held: BTreeSet<IpAddr>,
    #[serde(default)]
    elb: Value,
}

#[derive(Deserialize)]
struct Backend {
    address: IpAddr,
    weight: u16,
    index: Option<u16>,
    life: Life,
}

#[derive(Deserialize)]
struct Life {
    registration: doc::Registration,
    epoch: u32,
    checked: Option<doc::Health>,
    by_hand: Option<doc::Health>,
    #[serde(default)]
    cutting: bool,
}

/// `None` if there is no such file.
///
/// # Errors
/// When it cannot be read, or is not what was written.
pub fn read(path: &Path) -> Result<Option<Old>, StoreError> {
    let failed = StoreError::io("read", path);
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(failed(error)),
    };
    let mut bytes = Vec::new();
    let read = file.take(MOST_BYTES).read_to_end(&mut bytes);
    read.map_err(failed)?;
    parse(path, &bytes).map(Some)
}

fn parse(path: &Path, bytes: &[u8]) -> Result<Old, StoreError> {
    let damaged = |reason: String| StoreError::damaged(path, reason);
    let text = std::str::from_utf8(bytes)
        .map_err(|error| damaged(format!("it is not text from byte {}", error.valid_up_to())))?;
    let content: Content<serde::de::IgnoredAny> =
        serde_json::from_str(text).map_err(|error| damaged(error.to_string()))?;
    if content.format > FORMAT {
        return Err(StoreError::Newer {
            path: path.to_owned(),
            found: content.format,
            known: FORMAT,
        });
    }
    let blank = text.trim_end().replacen(&content.checksum, BLANK, 1);
    if content.checksum.len() != BLANK.len() || checksum(&blank) != content.checksum {
        return Err(damaged(
            "its checksum is not that of its content".to_owned(),
        ));
    }
    let content: Content<Everything> =
        serde_json::from_str(text).map_err(|error| damaged(error.to_string()))?;
    Ok(Old {
        state: content
            .state
            .try_into()
            .map_err(|error: BadDocument| damaged(error.to_string()))?,
        written: content.written,
        checksum: content.checksum,
    })
}

fn checksum(text: &str) -> String {
    Sha256::digest(text)
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect()
}

impl TryFrom<Everything> for State {
    type Error = BadDocument;

    fn try_from(all: Everything) -> Result<Self, BadDocument> {
        let mut desired = Desired::default();
        let mut placements = BTreeMap::new();
        for (name, lb) in all.load_balancers {
            let name = LbName::try_from(name)?;
            let (lb, placement) = halves(lb)?;
            desired.load_balancers.insert(name.clone(), Arc::new(lb));
            placements.insert(name, Arc::new(placement));
        }
        for (source, said) in all.declared {
            let said = declared::read(said)?;
            desired.declared.insert(source, Arc::new(said));
        }
        let epochs = Epochs::from(all.epochs);
        let node = Node::new(placements, epochs, all.retired, all.vips);
        Ok(Self { desired, node })
    }
}

fn halves(lb: LoadBalancer) -> Result<(desired::LoadBalancer, node::Placement), BadDocument> {
    let mut asked = BTreeMap::new();
    let mut spots = BTreeMap::new();
    for (id, backend) in lb.backends {
        let Life {
            registration,
            epoch,
            checked,
            by_hand,
            cutting,
        } = backend.life;
        let spot = node::Spot {
            index: backend.index,
            found: Found {
                epoch,
                checked: checked.map(Into::into),
                cutting,
            },
            next_hop: None,
        };
        spots.insert(BackendId::try_from(id.clone())?, spot);
        let backend = doc::Backend {
            address: backend.address,
            weight: backend.weight,
            registration,
            by_hand,
        };
        asked.insert(id, backend);
    }
    let placement = node::Placement {
        index: lb.index,
        held: lb.held,
        backends: spots,
    };
    let desired = doc::LoadBalancer {
        mode: lb.mode,
        created: lb.created,
        listeners: lb.listeners,
        attributes: lb.attributes,
        health_check: lb.health_check,
        backends: asked,
        deleting: lb.deleting,
        elb: lb.elb,
    };
    Ok((desired.try_into()?, placement))
}

#[cfg(test)]
mod tests;
