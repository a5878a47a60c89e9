//! The measuring: everything in turn, round after round, so that what else the
//! machine does touches all alike.

use std::collections::HashMap;

use anyhow::{Context as _, Result, ensure};
use lb_common::abi::address::Addr4;

use crate::{
    balancer::{Balancer, LOOPBACK, Service, TX},
    frame::{self, ACK},
    front::{Front, Fronts, Job, rotated},
    memory,
    path::{self, AMPLE_ROOM, MILLION, Path, ROOM, Tables},
    report::{Measure, Row},
    stats,
    yardstick::Yardstick,
};

/// How often a program runs per round.
const REPEAT: u32 = 500_000;
/// The same where a run goes through many flows: once through all of them.
const REPEAT_MANY: u32 = MILLION;
/// What ebb's tables are by default.
const DEFAULT_ROOM: u32 = 262_144;

/// Everything loaded, filled and proved.
struct Bench {
    fronts: Fronts,
    hot: Balancer,
    million: Balancer,
    full: Balancer,
    hot_yardstick: Yardstick,
    million_yardstick: Yardstick,
    paths: Vec<Path>,
}

impl Bench {
    fn prepare(only: &str) -> Result<Self> {
        let mut fronts = Fronts::load()?;
        let mut hot = Balancer::load(DEFAULT_ROOM, LOOPBACK)?;
        let mut paths = path::hot(&hot)?;
        let order = shuffled(MILLION);
        let mut million = Balancer::load(AMPLE_ROOM, LOOPBACK)?;
        paths.push(path::million(&mut million, &order, Tables::Million)?);
        let mut full = Balancer::load(ROOM, LOOPBACK)?;
        paths.push(path::million(&mut full, &order, Tables::Full)?);
        paths.retain(|path| path.name.contains(only));
        for path in &paths {
            let balancer = match path.tables {
                Tables::Hot => &mut hot,
                Tables::Million => &mut million,
                Tables::Full => &mut full,
            };
            path::prove(path, balancer, &mut fronts)
                .with_context(|| format!("{} does not do what it should", path.name))?;
        }
        let vip = Service::Ipip.vip();
        let std::net::IpAddr::V4(address) = vip.ip() else {
            anyhow::bail!("{vip} is not IPv4");
        };
        let key = |n: &u32| rotated(*n, Addr4::from(address), vip.port());
        Ok(Self {
            fronts,
            hot,
            million,
            full,
            hot_yardstick: Yardstick::load(DEFAULT_ROOM, [0].iter().map(key))?,
            million_yardstick: Yardstick::load(ROOM, order.iter().map(key))?,
            paths,
        })
    }
}

/// The net times of one round, by path; the baselines under their own names.
type Round = HashMap<&'static str, (f64, f64)>;

pub(crate) fn measure(rounds: usize, only: &str) -> Result<Vec<Row>> {
    let mut bench = Bench::prepare(only)?;
    let mut taken: Vec<Round> = Vec::new();
    for round in 0..=rounds {
        let times = bench.round()?;
        // The first warms up.
        if round > 0 {
            taken.push(times);
        }
    }
    let column = |name: &str, pick: fn(&(f64, f64)) -> f64| -> Vec<f64> {
        taken
            .iter()
            .filter_map(|round| round.get(name))
            .map(pick)
            .collect()
    };
    let row = |name: &'static str, target, katran| {
        let (ns, ratios) = (column(name, |x| x.0), column(name, |x| x.1));
        Row {
            name,
            measure: Measure::Ns(stats::median(&ns)),
            ratio: Some(stats::median(&ratios)),
            spread: stats::spread(&ratios),
            target,
            katran,
        }
    };
    let mut rows = vec![row("baseline", None, None)];
    for path in &bench.paths {
        rows.push(row(path.name, path.target, path.katran));
    }
    rows.push(row("baseline-million-flows", None, None));
    rows.extend(memory::rows(&bench.full, ROOM)?);
    Ok(rows)
}

impl Bench {
    fn round(&mut self) -> Result<Round> {
        let mut times = Round::new();
        let client = Service::Ipip.client();
        let frame = frame::tcp(client, ACK, 1001, 5001)?;

        let missed = self.hot_yardstick.missed()? + self.million_yardstick.missed()?;
        let empty = self.net(Front::None, &frame, REPEAT)?;
        let mut one = frame.clone();
        // The flow number 0 of the rotation.
        one[26..30].copy_from_slice(&[11, 0, 0, 0]);
        one[34..36].copy_from_slice(&0x8000_u16.to_be_bytes());
        let job = Job {
            program: self.hot_yardstick.baseline()?,
            front: Front::None,
            frame: &one,
        };
        let hot = self.fronts.time(job, TX, REPEAT)? - empty;
        times.insert("baseline", (hot, 1.0));

        let rotation = Front::Rotate { flows: MILLION };
        let front = self.net(rotation, &frame, REPEAT_MANY)?;
        let job = Job {
            program: self.million_yardstick.baseline()?,
            front: rotation,
            frame: &frame,
        };
        let million = self.fronts.time(job, TX, REPEAT_MANY)? - front;
        times.insert("baseline-million-flows", (million, million / hot));
        ensure!(
            self.hot_yardstick.missed()? + self.million_yardstick.missed()? == missed,
            "the baseline missed flows"
        );

        for path in &self.paths {
            let (balancer, baseline) = match path.tables {
                Tables::Hot => (&mut self.hot, hot),
                Tables::Million => (&mut self.million, million),
                Tables::Full => (&mut self.full, million),
            };
            let repeat = match path.front {
                Front::Rotate { .. } | Front::RotateNat { .. } => REPEAT_MANY,
                _ => REPEAT,
            };
            let before = path.count(balancer)?;
            let job = Job {
                program: self.hot_yardstick.empty()?,
                front: path.front,
                frame: &path.frame,
            };
            let front = self.fronts.time(job, TX, repeat)?;
            let gross = self.fronts.time(path.job(balancer)?, path.action, repeat)?;
            let net = gross - front;
            let counted = path.count(balancer)? - before;
            ensure!(
                counted == u64::from(repeat),
                "{}: {counted} packets of {repeat} went this way",
                path.name
            );
            times.insert(path.name, (net, net / baseline));
        }
        Ok(times)
    }

    /// What a front program costs, or the empty program alone.
    fn net(&mut self, front: Front, frame: &[u8], repeat: u32) -> Result<f64> {
        let job = Job {
            program: self.hot_yardstick.empty()?,
            front,
            frame,
        };
        self.fronts.time(job, TX, repeat)
    }
}

/// The numbers below `n` in an order of chance, the same every time: where flows
/// lie in a table tells nothing about where the next one lies.
fn shuffled(n: u32) -> Vec<u32> {
    let mut numbers: Vec<u32> = (0..n).collect();
    // Marsaglia's xorshift, 64 bits.
    let mut state = 0x9E37_79B9_7F4A_7C15_u64;
    for i in (1..numbers.len()).rev() {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        numbers.swap(i, (state % (i as u64 + 1)) as usize);
    }
    numbers
}
