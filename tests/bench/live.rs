//! Packets per second through a virtual Ethernet: ebb at its far end, against a
//! program there that only sends everything back.
//!
//! The kernel makes the frames itself (a test run with live frames) and sends
//! them out of the near end; what comes back is counted there and ends its way.

use std::{process::Command, thread, time::Instant};

use anyhow::{Context as _, Result, bail, ensure};
use aya::{
    Ebpf,
    programs::{TestRun as _, TestRunAttrs, TestRunOptions, XdpMode},
};
use rustix::thread::{UnshareFlags, unshare_unsafe};

use crate::{
    balancer::{self, Balancer, Service},
    frame::{self, ACK},
    front::{Front, Fronts, Job},
    report::{Goal, Measure, Row},
    stats, yardstick,
};

/// The ends of the virtual Ethernet, by their index in a namespace of our own.
const NEAR: u32 = 10;
const FAR: u32 = 11;

/// How many frames a round sends.
const FRAMES: u32 = 400_000;
/// So many of them at least have to come back.
const ENOUGH: u64 = FRAMES as u64 / 100 * 99;
/// The share is steady if its quartiles are no farther apart.
const STEADY: f64 = 0.1;
/// How many the kernel makes at a time: what a driver's poll takes.
const BATCH: u32 = 64;

/// Both rows, after so many rounds.
pub(crate) fn measure(rounds: usize) -> Result<[Row; 2]> {
    // The namespace is the thread's, and goes with it.
    thread::scope(|scope| {
        let inside = scope.spawn(|| {
            // SAFETY: the new namespace is of the network only; what this
            // process shares between threads stays shared.
            unsafe { unshare_unsafe(UnshareFlags::NEWNET) }
                .context("cannot make a network namespace")?;
            Veth::make()?.measure(rounds)
        });
        match inside.join() {
            Ok(done) => done,
            Err(panic) => std::panic::resume_unwind(panic),
        }
    })
}

struct Veth {
    helpers: Ebpf,
    fronts: Fronts,
    balancer: Balancer,
    frame: Vec<u8>,
}

impl Veth {
    fn make() -> Result<Self> {
        for line in [
            format!("link add near index {NEAR} type veth peer name far index {FAR}"),
            "link set near up".to_owned(),
            "link set far up".to_owned(),
        ] {
            let mut ip = Command::new("ip");
            let done = ip
                .args(line.split(' '))
                .status()
                .context("cannot start ip")?;
            ensure!(done.success(), "ip {line}: {done}");
        }
        let mut helpers = yardstick::object(1, 1)?;
        yardstick::program_mut(&mut helpers, "sink")?.attach_to_if_index(NEAR, XdpMode::Driver)?;
        let balancer = Balancer::load(1024, FAR)?;
        let client = Service::Dsr.client();
        balancer.connect(client, false)?;
        Ok(Self {
            helpers,
            fronts: Fronts::load()?,
            balancer,
            frame: frame::tcp(client, ACK, 1001, 5001)?,
        })
    }

    fn measure(mut self, rounds: usize) -> Result<[Row; 2]> {
        let (mut bare, mut dsr) = (Vec::new(), Vec::new());
        for round in 0..=rounds {
            let empty = yardstick::program_mut(&mut self.helpers, "empty")?;
            let link = empty.attach_to_if_index(FAR, XdpMode::Driver)?;
            let bounced = self.rate()?;
            yardstick::program_mut(&mut self.helpers, "empty")?.detach(link)?;

            let link = self
                .balancer
                .program_mut()?
                .attach_to_if_index(FAR, XdpMode::Driver)?;
            let before = self.balancer.counters(Service::Dsr)?.packets_in;
            let forwarded = self.rate()?;
            let counted = self.balancer.counters(Service::Dsr)?.packets_in - before;
            self.balancer.program_mut()?.detach(link)?;
            ensure!(
                counted > ENOUGH,
                "ebb forwarded {counted} of {FRAMES} frames"
            );
            // The first warms up.
            if round > 0 {
                bare.push(bounced);
                dsr.push(forwarded);
            }
        }
        let shares: Vec<f64> = dsr.iter().zip(&bare).map(|(a, b)| a / b).collect();
        let row = |name, rates: &[f64], shares: Option<&[f64]>, goal| Row {
            name,
            measure: Measure::PacketsPerSecond(stats::median(rates).round()),
            share: shares.map(stats::median),
            over_look_up: None,
            over_forerunner: None,
            spread: stats::spread(shares.unwrap_or(rates)),
            steady: stats::spread(shares.unwrap_or(rates)) <= STEADY,
            goal,
        };
        Ok([
            row("veth-live-bare", &bare, None, None),
            row(
                "veth-live-dsr",
                &dsr,
                Some(&shares),
                Some(Goal::Share(0.75)),
            ),
        ])
    }

    /// Frames per second, there and back. When the CPU is taken away in between, a
    /// queue overflows: that is no measurement.
    fn rate(&mut self) -> Result<f64> {
        const TRIES: usize = 10;
        let mut arrived = 0;
        for _ in 0..TRIES {
            let rate;
            (arrived, rate) = self.send()?;
            if arrived > ENOUGH {
                return Ok(rate);
            }
        }
        bail!("{arrived} of {FRAMES} frames came back")
    }

    /// How many frames came back, and how many that is per second.
    fn send(&mut self) -> Result<(u64, f64)> {
        let context = balancer::context(&self.frame, NEAR);
        let mut options = TestRunOptions::new();
        options.data_in = Some(&self.frame);
        options.ctx_in = Some(bytemuck::cast_slice(&context));
        options.repeat = FRAMES;
        options.attrs = TestRunAttrs::new().xdp_live_frames(BATCH);
        let before = yardstick::counter(&self.helpers, "ARRIVED")?;
        // Sends every frame out of the interface that it claims to come from. The kernel has
        // a few, which it sends again and again as they come back: with a hop less each time.
        let job = Job {
            program: yardstick::program(&self.helpers, "empty")?,
            front: Front::Hops,
            frame: &self.frame,
        };
        let sender = self.fronts.before(job, 1)?;
        let start = Instant::now();
        sender.test_run(options)?;
        let seconds = start.elapsed().as_secs_f64();
        let arrived = yardstick::counter(&self.helpers, "ARRIVED")? - before;
        Ok((arrived, arrived as f64 / seconds))
    }
}
