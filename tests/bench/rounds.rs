//! The measuring: everything in turn, in short runs and in an order of chance, round after
//! round until the figures are steady. What else the machine does touches all alike then,
//! and what it does in the worst three quarters of the time touches none.

use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use aya::programs::Xdp;
use lb_common::abi::{address::Addr4, flow::FlowKey};

use crate::{
    balancer::{Balancer, LOOPBACK, Service, TX},
    forerunner::Forerunner,
    frame::{self, ACK},
    front::{Front, Fronts, Job, rotated},
    memory,
    path::{self, AMPLE_ROOM, MILLION, NEW, Path, ROOM, Tables},
    report::{Measure, Row},
    stats,
    yardstick::Yardstick,
};

/// For how long a program runs at a time.
const RUN: Duration = Duration::from_millis(5);
/// How often it runs before that is known, so many times.
const TRIAL: u32 = 1000;
const TRIALS: u32 = 10;
/// So many rounds there are at least, and so many between two looks at the figures.
const LEAST_ROUNDS: usize = 32;
const LOOK: usize = 8;
/// A figure is steady if the even rounds and the odd ones agree to this share of it.
const STEADY: f64 = 0.03;
/// What ebb's tables are by default.
const DEFAULT_ROOM: u32 = 262_144;
/// As many SYNs as fill every table of new flows.
const FILLING: u32 = 2 * DEFAULT_ROOM;

/// Everything loaded, filled and proved.
struct Bench {
    fronts: Fronts,
    hot: Balancer,
    million: Balancer,
    full: Balancer,
    hot_yardstick: Yardstick,
    million_yardstick: Yardstick,
    hot_forerunner: Forerunner,
    million_forerunner: Forerunner,
    paths: Vec<Path>,
}

/// A program that is timed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Program {
    /// Sends the packet back, and nothing else.
    Empty,
    Redirect,
    /// The look-up of one flow, and of a million in turn.
    LookUp,
    LookUps,
    /// The balancer of the first generation, on the packet of a path.
    Forerunner(usize),
    /// ebb, on a path.
    Ebb(usize),
}

/// A program with its packet, and how long it took.
struct Probe {
    program: Program,
    front: Front,
    frame: Vec<u8>,
    action: u32,
    /// How often it runs at a time.
    repeat: u32,
    /// Nanoseconds for once, by round.
    samples: Vec<f64>,
}

/// What was found, and how.
pub(crate) struct Found {
    pub(crate) rows: Vec<Row>,
    pub(crate) rounds: usize,
}

/// Measures the paths whose name contains `only`, for `most` rounds at most.
pub(crate) fn measure(most: usize, only: &str) -> Result<Found> {
    let mut bench = Bench::prepare(only)?;
    let mut probes = bench.probes()?;
    for probe in &mut probes {
        bench.calibrate(probe)?;
    }
    let mut order: Vec<usize> = (0..probes.len()).collect();
    let mut chance = fastrand::Rng::with_seed(1);
    let mut rounds = 0;
    loop {
        chance.shuffle(&mut order);
        for number in &order {
            let sample = bench.run(&probes[*number])?;
            probes[*number].samples.push(sample);
        }
        rounds += 1;
        if rounds >= most {
            break;
        }
        if rounds >= LEAST_ROUNDS && rounds.is_multiple_of(LOOK) {
            let rows = bench.rows(&probes)?;
            if rows.iter().all(|row| row.steady) {
                break;
            }
        }
    }
    let mut rows = bench.rows(&probes)?;
    rows.extend(memory::rows(&bench.full, ROOM)?);
    Ok(Found { rows, rounds })
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
            bail!("{vip} is not IPv4");
        };
        let key = |n: &u32| rotated(*n, Addr4::from(address), vip.port());
        let one: Vec<FlowKey<Addr4>> = [0].iter().map(key).collect();
        let all = || order.iter().map(key);
        Ok(Self {
            fronts,
            hot,
            million,
            full,
            hot_yardstick: Yardstick::load(DEFAULT_ROOM, one.into_iter())?,
            million_yardstick: Yardstick::load(ROOM, all())?,
            hot_forerunner: Forerunner::load(DEFAULT_ROOM, [].into_iter())?,
            million_forerunner: Forerunner::load(AMPLE_ROOM, all())?,
            paths,
        })
    }

    /// All that is timed: the programs before each other, alone; the yardsticks; the paths,
    /// each with the forerunner on the same packet.
    fn probes(&mut self) -> Result<Vec<Probe>> {
        let frame = frame::tcp(Service::Ipip.client(), ACK, 1001, 5001)?;
        let mut one = frame.clone();
        // The flow number 0 of the rotation.
        one[26..30].copy_from_slice(&[11, 0, 0, 0]);
        one[34..36].copy_from_slice(&0x8000_u16.to_be_bytes());
        let million = Front::Rotate { flows: MILLION };
        let mut probes = vec![
            Probe::new(Program::LookUp, Front::None, one),
            Probe::new(Program::LookUps, million, frame.clone()),
            Probe {
                action: REDIRECT,
                ..Probe::new(Program::Redirect, Front::None, frame)
            },
        ];
        for (number, path) in self.paths.iter().enumerate() {
            probes.push(Probe {
                action: path.action,
                ..Probe::new(Program::Ebb(number), path.front, path.frame.clone())
            });
            let rival = &path.rival;
            probes.push(Probe {
                action: path.action,
                ..Probe::new(
                    Program::Forerunner(number),
                    rival.front,
                    rival.frame.clone(),
                )
            });
        }
        let mut alone: Vec<Probe> = Vec::new();
        for Probe { front, frame, .. } in &probes {
            if !alone.iter().any(|probe| probe.is_before(*front, frame)) {
                alone.push(Probe::new(Program::Empty, *front, frame.clone()));
            }
        }
        probes.extend(alone);
        // Whatever finds its tables full in the end finds them so from the beginning.
        for probe in &probes {
            if probe.front.flows() == Some(NEW) && probe.program != Program::Empty {
                self.time(probe, FILLING)?;
            }
        }
        Ok(probes)
    }

    /// Finds how often a program runs in [`RUN`].
    fn calibrate(&mut self, probe: &mut Probe) -> Result<()> {
        let mut once = f64::INFINITY;
        for _ in 0..TRIALS {
            once = once.min(self.time(probe, TRIAL)?);
        }
        probe.repeat = (RUN.as_nanos() as f64 / once.max(1.0)) as u32;
        Ok(())
    }

    /// One run of a round, whose packets all have to go their way.
    fn run(&mut self, probe: &Probe) -> Result<f64> {
        let before = self.count(probe)?;
        let sample = self.time(probe, probe.repeat)?;
        let counted = self.count(probe)? - before;
        let expected = match probe.program {
            Program::Ebb(_) => u64::from(probe.repeat),
            _ => 0,
        };
        ensure!(
            counted == expected,
            "{:?}: {counted} packets where {expected} were to be counted",
            probe.program
        );
        Ok(sample)
    }

    /// How many packets went ebb's way so far, or missed the flow that they were looked up by.
    fn count(&self, probe: &Probe) -> Result<u64> {
        match probe.program {
            Program::Ebb(number) => self.paths[number].count(self.balancer(number)),
            Program::LookUp => self.hot_yardstick.missed(),
            Program::LookUps => self.million_yardstick.missed(),
            _ => Ok(0),
        }
    }

    fn balancer(&self, path: usize) -> &Balancer {
        match self.paths[path].tables {
            Tables::Hot => &self.hot,
            Tables::Million => &self.million,
            Tables::Full => &self.full,
        }
    }

    /// Nanoseconds of this thread's CPU time for once.
    fn time(&mut self, probe: &Probe, repeat: u32) -> Result<f64> {
        let program: &Xdp = match probe.program {
            Program::Empty => self.hot_yardstick.empty()?,
            Program::Redirect => self.hot_yardstick.redirect()?,
            Program::LookUp => self.hot_yardstick.baseline()?,
            Program::LookUps => self.million_yardstick.baseline()?,
            Program::Forerunner(path) => match self.paths[path].tables {
                Tables::Hot => self.hot_forerunner.program()?,
                Tables::Million | Tables::Full => self.million_forerunner.program()?,
            },
            Program::Ebb(path) => match self.paths[path].tables {
                Tables::Hot => self.hot.program()?,
                Tables::Million => self.million.program()?,
                Tables::Full => self.full.program()?,
            },
        };
        let job = Job {
            program,
            front: probe.front,
            frame: &probe.frame,
        };
        let (action, took) = self.fronts.time(job, repeat)?;
        ensure!(
            action == probe.action,
            "{:?} ended with the action {action} instead of {}",
            probe.program,
            probe.action
        );
        Ok(took.as_nanos() as f64 / f64::from(repeat))
    }

    fn rows(&self, probes: &[Probe]) -> Result<Vec<Row>> {
        let find = |program| -> Result<&Probe> {
            let probe = probes.iter().find(|probe| probe.program == program);
            probe.with_context(|| format!("{program:?} is not measured"))
        };
        let net = |program| find(program).and_then(|probe| net(probe, probes));
        let (one, many) = (net(Program::LookUp)?, net(Program::LookUps)?);
        let empty = probes
            .iter()
            .find(|probe| probe.program == Program::Empty && probe.front == Front::None)
            .context("the empty program is not measured")?;
        let row = |name, figure: Figure| Row {
            name,
            measure: Measure::Ns(figure.net),
            share: None,
            over_look_up: None,
            over_forerunner: None,
            spread: figure.spread,
            steady: figure.steady,
            goal: None,
        };
        let mut rows = vec![
            row("floor-send-back", Figure::of(empty, None)),
            row("floor-redirect", net(Program::Redirect)?),
            row("look-up", one),
            row("look-up-million-flows", many),
        ];
        for (number, path) in self.paths.iter().enumerate() {
            let look_up = match path.tables {
                Tables::Hot => one,
                Tables::Million | Tables::Full => many,
            };
            let figure = net(Program::Ebb(number))?;
            let rival = net(Program::Forerunner(number))?;
            rows.push(Row {
                over_look_up: Some(figure.net / look_up.net),
                over_forerunner: Some(figure.net / rival.net),
                steady: figure.steady && rival.steady,
                goal: path.goal,
                ..row(path.name, figure)
            });
        }
        Ok(rows)
    }
}

/// The action of a redirect (`linux/bpf.h`).
const REDIRECT: u32 = 4;

impl Probe {
    fn new(program: Program, front: Front, frame: Vec<u8>) -> Self {
        Self {
            program,
            front,
            frame,
            action: TX,
            repeat: TRIAL,
            samples: Vec::new(),
        }
    }

    /// Whether this is what a front program costs alone before such a frame.
    fn is_before(&self, front: Front, frame: &[u8]) -> bool {
        const KIND: std::ops::Range<usize> = 12..14;
        self.front == front && self.frame[KIND] == frame[KIND]
    }
}

/// A cost, net of what stands before it.
#[derive(Clone, Copy)]
struct Figure {
    net: f64,
    spread: f64,
    steady: bool,
}

/// A program's own cost.
fn net(probe: &Probe, probes: &[Probe]) -> Result<Figure> {
    let alone = probes
        .iter()
        .filter(|other| other.program == Program::Empty)
        .find(|other| other.is_before(probe.front, &probe.frame))
        .with_context(|| format!("{:?} is not measured alone", probe.front))?;
    Ok(Figure::of(probe, Some(alone)))
}

impl Figure {
    /// The lower quartile of the runs, less that of what stands before the program.
    fn of(probe: &Probe, alone: Option<&Probe>) -> Self {
        let figure = |rounds: &dyn Fn(&[f64]) -> Vec<f64>| {
            let quartile = |of: &Probe| stats::quantile(&rounds(&of.samples), 0.25);
            quartile(probe) - alone.map_or(0.0, quartile)
        };
        let every_second = |from: usize| {
            move |samples: &[f64]| -> Vec<f64> {
                samples.iter().skip(from).step_by(2).copied().collect()
            }
        };
        let net = figure(&<[f64]>::to_vec);
        let (even, odd) = (figure(&every_second(0)), figure(&every_second(1)));
        let samples = &probe.samples;
        let quartiles = stats::quantile(samples, 0.75) - stats::quantile(samples, 0.25);
        Self {
            net,
            spread: quartiles / net,
            steady: (even - odd).abs() <= STEADY * net,
        }
    }
}

/// The numbers below `n` in an order of chance, the same every time: where flows
/// lie in a table tells nothing about where the next one lies.
fn shuffled(n: u32) -> Vec<u32> {
    let mut numbers: Vec<u32> = (0..n).collect();
    fastrand::Rng::with_seed(1).shuffle(&mut numbers);
    numbers
}
