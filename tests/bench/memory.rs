//! The kernel's memory for a flow.

use std::{
    fs,
    os::fd::{AsFd as _, AsRawFd as _},
};

use anyhow::{Context as _, Result};
use aya::maps::{Map, MapData};

use crate::{
    balancer::Balancer,
    report::{Measure, Row},
};

/// A row per family, of tables with room for `flows` flows.
pub(crate) fn rows(balancer: &Balancer, flows: u32) -> Result<[Row; 2]> {
    let row = |name, table| -> Result<Row> {
        Ok(Row {
            name,
            measure: Measure::Bytes(
                memlock(balancer.filled.map(table)?)? as f64 / f64::from(flows),
            ),
            share: None,
            over_look_up: None,
            over_forerunner: None,
            spread: 0.0,
            steady: true,
            goal: None,
        })
    };
    Ok([
        row("bytes-per-flow-v4", "FLOWS_V4")?,
        row("bytes-per-flow-v6", "FLOWS_V6")?,
    ])
}

/// What the kernel says that a hash map occupies.
fn memlock(map: &Map) -> Result<u64> {
    let Map::HashMap(map) = map else {
        anyhow::bail!("a flow table is not a hash map");
    };
    let map: &MapData = map;
    let file = format!("/proc/self/fdinfo/{}", map.fd().as_fd().as_raw_fd());
    let info = fs::read_to_string(&file).with_context(|| format!("cannot read {file}"))?;
    let line = info.lines().find_map(|line| line.strip_prefix("memlock:"));
    let bytes = line.with_context(|| format!("{file} tells no memlock"))?;
    Ok(bytes.trim().parse()?)
}
