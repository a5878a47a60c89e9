//! A million open flows: what they cost the agent while nothing happens, and
//! their end at a deadline.
//!
//! The flows are copies of one real one, written into the kernel's table as the
//! program would have, and counted as opened.

use std::{
    fs,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};
use aya::maps::{HashMap, Map, MapData, PerCpuArray, PerCpuValues};
use lb_common::abi::{
    address::Addr4,
    counter::BackendCounters,
    flow::{Flow, FlowKey, Ports},
};
use lb_userspace::model::Mode;
use tests::{
    lab::{
        agent::{Ebb, LB, Settings},
        conversation::{Conversation, How},
        site::Site,
        wait,
    },
    report,
};

use crate::scene::{pins, play_at};

const MILLION: u32 = 1_000_000;
/// Twice the flows, as the documentation advises.
const ROOM: u32 = 2 * MILLION;

#[test]
#[ignore = "needs root: cargo xtask test"]
fn a_million_flows_are_idle_at_little_cost_and_end_at_the_deadline() -> Result<()> {
    // With dsr both ends' resets leave by the one interface.
    let site = Site::with_backends(Mode::Dsr, 1)?;
    let settings = Settings {
        flows: ROOM,
        idle_timeout: 4000,
        ..Settings::default()
    };
    play_at(&site, &settings, |site, ebb| {
        let talk = Conversation::open(&site.client, site.talkers())?;
        fill(site)?;
        wait::until_true(
            "a million flows to be shown",
            Duration::from_secs(5),
            || Ok(ebb.backend("web-1")?.flows == u64::from(MILLION) + 1),
        )?;
        idle_at_little_cost(ebb)?;
        end_at_the_deadline(ebb, &talk)
    })
}

fn idle_at_little_cost(ebb: &Ebb<'_>) -> Result<()> {
    const WATCHED: Duration = Duration::from_secs(10);
    const SHARE: f64 = 0.02;
    const MEMORY_KIB: u64 = 64 << 10;

    let pid = ebb.process()?.id();
    let before = cpu_time(pid)?;
    std::thread::sleep(WATCHED);
    let share = (cpu_time(pid)? - before).as_secs_f64() / WATCHED.as_secs_f64();
    let memory = resident_kib(pid)?;
    println!(
        "idle with a million flows: {:.2} % of a CPU, {memory} KiB",
        share * 100.0
    );
    // The clock of a process moves in hundredths of a second.
    ensure!(share < SHARE + 0.002, "{:.2} % of a CPU", share * 100.0);
    ensure!(memory < MEMORY_KIB, "{memory} KiB resident");
    Ok(())
}

fn end_at_the_deadline(ebb: &mut Ebb<'_>, talk: &Conversation) -> Result<()> {
    const DEADLINE: Duration = Duration::from_secs(1);
    /// Of the agent's CPU time, because other tests run beside this one.
    const WITHIN: Duration = Duration::from_secs(15);
    const PATIENCE: Duration = Duration::from_secs(120);

    talk.talk_on()?;
    let sent = ebb.count_resets()?;
    let pid = ebb.process()?.id();
    let computed = cpu_time(pid)?;
    let deregistered = Instant::now();
    ebb.deregister("web-1", &["--timeout", "1"])?;
    let deadline = deregistered + DEADLINE;
    let wait = ["backend", "deregister", LB, "web-1", "--wait"];
    let (end, gone, took) = std::thread::scope(|scope| {
        // One that waits, not one that asks again and again: the CPUs are wanted.
        let waiting = scope.spawn(|| (ebb.run(&wait), deadline.elapsed()));
        let end = talk.wait_end(PATIENCE);
        let (gone, took) = waiting.join().expect("waiting does not panic");
        anyhow::Ok((end?, gone?, took))
    })?;
    ensure!(gone.exit == 3, "the deadline cut flows: {gone:?}");
    // The next packet of a flow meets its reset at once, wherever the sweeper is.
    ensure!(end.how == How::Reset, "the real one ended by {:?}", end.how);
    let cut = end.at.saturating_duration_since(deadline);
    println!("its first packet after the deadline was reset after {cut:.2?}");
    ensure!(
        cut < Duration::from_secs(1),
        "the flow went on for {cut:.2?}"
    );
    let computed = cpu_time(pid)? - computed;
    let resets = sent.counted()?;
    report::line(&format!(
        "a million flows ended in {took:.2?}, {computed:.2?} of CPU time: {resets:?} resets"
    ));
    ensure!(
        resets == [u64::from(MILLION); 2],
        "{resets:?} are not a reset for each end of a million flows"
    );
    ensure!(computed < WITHIN, "it took {computed:.2?} of CPU time");
    ensure!(
        !ebb.process()?.printed().contains("books do not balance"),
        "the audit has found a difference"
    );
    Ok(())
}

/// Copies the only flow a million times, and counts it.
fn fill(site: &Site) -> Result<()> {
    let pins = pins(site.pins())?;
    let map = MapData::from_pin(pins.join("FLOWS_V4"))?;
    let mut flows: HashMap<_, FlowKey<Addr4>, Flow<Addr4>> = Map::HashMap(map).try_into()?;
    let (key, flow) = flows.iter().next().context("there is no flow")??;
    for n in 0..MILLION {
        let key = FlowKey {
            source: Addr4((0x0B00_0000 + (n >> 8)).to_be()),
            ports: Ports::new(0x8000 | (n & 0xFF) as u16, key.ports.destination()),
            ..key
        };
        flows.insert(key, flow, 0)?;
    }
    let map = MapData::from_pin(pins.join("BACKEND_COUNTERS"))?;
    let mut counters: PerCpuArray<_, BackendCounters> = Map::PerCpuArray(map).try_into()?;
    let index = u32::from(flow.backend);
    let mut rows = counters.get(&index, 0)?.to_vec();
    rows[0].opened += u64::from(MILLION);
    counters.set(index, PerCpuValues::try_from(rows)?, 0)?;
    Ok(())
}

/// What the process has computed so far.
fn cpu_time(pid: u32) -> Result<Duration> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat"))?;
    // The name, in brackets, may hold anything.
    let after = stat.rsplit_once(')').context("no name in stat")?.1;
    let fields: Vec<&str> = after.split_whitespace().collect();
    let ticks = |n: usize| -> Result<u64> { Ok(fields.get(n).context("a short stat")?.parse()?) };
    // utime and stime, in hundredths of a second (proc(5)).
    Ok(Duration::from_millis((ticks(11)? + ticks(12)?) * 10))
}

fn resident_kib(pid: u32) -> Result<u64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let number = line.and_then(|line| line.trim().strip_suffix(" kB"));
    Ok(number.context("no VmRSS")?.trim().parse()?)
}
