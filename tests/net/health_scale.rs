//! What health checks cost: a thousand backends every 5 seconds take less than
//! 5 % of a core, or on a slow machine no more than half again what the plainest
//! client takes there at the same pace, and no more memory as time goes by.

use std::{
    fmt::Write as _,
    fs,
    io::{self, Read as _, Write as _},
    net::{Ipv4Addr, TcpStream},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result};
use lb_userspace::{model::Mode, wire::LoadBalancer};
use rustix::time::{ClockId, clock_gettime};
use tests::{
    lab::{
        agent::{Ebb, Settings},
        site::{Site, VIP_V4},
        wait,
    },
    report,
};

use crate::scene::play_with;

const BACKENDS: u32 = 1000;
/// Long enough for every backend to be checked.
const MEASURED: Duration = Duration::from_secs(6);
/// Of a core.
const MOST: f64 = 0.05;
/// Of what the plainest client takes, where that is more.
const MOST_TIMES: f64 = 1.5;
/// Seconds from one check of a backend to the next.
const INTERVAL: f64 = 5.0;
/// In a second, as the kernel tells it to anybody (USER_HZ).
const TICKS: f64 = 100.0;
/// Kilobytes that the agent may have grown by while it was watched.
const GROWTH: u64 = 4096;

/// A load balancer whose thousand backends are addresses of one host.
fn many(site: &Site) -> String {
    let mut text = format!(
        "{}\n[[load_balancer]]\nname = \"many\"\nmode = \"nat\"\n\
         listeners = [{{ protocol = \"tcp\", address = \"{VIP_V4}\", port = 81 }}]\n\
         health_check = {{ target = \"HTTP:8080/\", interval = 5 }}\nbackends = [\n",
        Settings::default().write(site),
    );
    for n in 0..BACKENDS {
        let _ = writeln!(
            text,
            "    {{ address = \"10.77.{}.{}\" }},",
            n / 250,
            n % 250 + 1
        );
    }
    text.push_str("]\n");
    text
}

fn wait_for_all(ebb: &Ebb<'_>) -> Result<()> {
    wait::until_true(
        "all of them to be in service",
        Duration::from_secs(30),
        || {
            let lb: LoadBalancer = ebb.json(&["lb", "show", "many"])?;
            let in_service = lb.backends.iter().filter(|backend| backend.takes_new);
            Ok(in_service.count() == BACKENDS as usize)
        },
    )
}

/// The share of a core that the agent takes while something else goes on.
fn share_while<T>(ebb: &Ebb<'_>, what: impl FnOnce() -> Result<T>) -> Result<(f64, T)> {
    let pid = ebb.process()?.id();
    let before = cpu_time(pid)?;
    let begun = Instant::now();
    let beside = what()?;
    let used = cpu_time(pid)? - before;
    Ok((used / begun.elapsed().as_secs_f64(), beside))
}

/// What was measured in the same seconds.
#[derive(Clone, Copy)]
struct Pair {
    /// The agent's share of a core.
    agent: f64,
    /// The plainest client's.
    plain: f64,
}

impl Pair {
    /// What the health checks may take.
    fn most(self) -> f64 {
        MOST.max(MOST_TIMES * self.plain)
    }
}

/// The least of a few: whatever else the machine does only adds to it, the
/// handling of other tests' packets included. Of more than a few while it is too much: a
/// busy neighbour stays for a while.
fn least(ebb: &Ebb<'_>, site: &Site) -> Result<Pair> {
    const FEW: usize = 3;
    const MANY: usize = 12;
    let mut least: Option<Pair> = None;
    for look in 1..=MANY {
        let (agent, plain) = share_while(ebb, || plain_share(site))?;
        let pair = Pair { agent, plain };
        let best = *least.insert(match least {
            Some(before) if before.agent - before.most() < agent - pair.most() => before,
            _ => pair,
        });
        if look >= FEW && best.agent < best.most() {
            break;
        }
    }
    least.context("nothing was measured")
}

/// The share of a core that as many requests take as the health checks make, made by
/// the plainest client there is: what the kernel's sockets and this machine cost. It makes
/// them at the checks' pace, for what follows another at once finds all caches warm, and
/// for as long as is measured.
fn plain_share(site: &Site) -> Result<f64> {
    let ask = |n: u32| -> io::Result<()> {
        let address = Ipv4Addr::new(10, 77, 0, (n % 250 + 1) as u8);
        let mut stream = TcpStream::connect((address, 8080))?;
        stream.write_all(b"GET / HTTP/1.1\r\nhost: plain\r\nconnection: close\r\n\r\n")?;
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).map(drop)
    };
    site.balancer.enter(|| -> Result<f64> {
        let pace = Duration::from_secs_f64(INTERVAL / f64::from(BACKENDS));
        let before = thread_time()?;
        let begun = Instant::now();
        let mut requests = 0;
        while begun.elapsed() < MEASURED {
            ask(requests)?;
            requests += 1;
            thread::sleep((begun + pace * requests).saturating_duration_since(Instant::now()));
        }
        let used = thread_time()? - before;
        let each = used.as_secs_f64() / f64::from(requests);
        Ok(each * f64::from(BACKENDS) / INTERVAL)
    })?
}

/// What this thread has had of a processor.
fn thread_time() -> Result<Duration> {
    Ok(Duration::try_from(clock_gettime(ClockId::ThreadCPUTime))?)
}

/// Seconds of processor that a process has had, all of its threads.
fn cpu_time(pid: u32) -> Result<f64> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat"))?;
    // After the name, which may have anything in it.
    let (_, rest) = stat.rsplit_once(')').context("no name")?;
    let mut ticks = rest.split_whitespace().skip(11).map(str::parse::<u32>);
    let mut next = || Ok::<_, anyhow::Error>(ticks.next().context("too short")??);
    Ok(f64::from(next()? + next()?) / TICKS)
}

/// Kilobytes.
fn memory(pid: u32) -> Result<u64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let number = line.and_then(|line| line.split_whitespace().next());
    Ok(number.context("no VmRSS")?.parse()?)
}

#[test]
#[ignore = "needs root: cargo xtask test"]
fn a_thousand_backends_cost_little() -> Result<()> {
    let site = Site::with_backends(Mode::Nat, 1)?;
    let host = &site.backends[0].host;
    let gateway = host.v4.to_string();
    host.run(
        "ip",
        &["route", "add", "local", "10.77.0.0/16", "dev", "lo"],
    )?;
    site.balancer
        .run("ip", &["route", "add", "10.77.0.0/16", "via", &gateway])?;
    play_with(&site, &many(&site), |site, ebb| {
        wait_for_all(ebb)?;
        let pid = ebb.process()?.id();
        let small = memory(pid)?;
        let with = least(ebb, site)?;
        let growth = memory(pid)?.saturating_sub(small);

        let none: serde_json::Value = ebb.json(&["lb", "health-check", "many", "--none"])?;
        assert!(none["health_check"].is_null(), "{none}");
        let without = least(ebb, site)?;
        let checks = with.agent - without.agent;
        report::line(&format!(
            "health checks: {BACKENDS} backends every 5 s take {:.1} % of a core \
             (the plainest client {:.1} %; the agent {:.1} % with them, {:.1} % without)",
            checks * 100.0,
            with.plain * 100.0,
            with.agent * 100.0,
            without.agent * 100.0,
        ));
        let most = with.most();
        assert!(checks < most, "{checks}, and at most {most} is wanted");
        assert!(growth < GROWTH, "{growth} KB");
        Ok(())
    })
}
