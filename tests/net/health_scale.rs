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
/// Of what the plainest client takes, where that is more. Measured: 1.2 to 1.5, with other
/// tests on the other core.
const MOST_TIMES: f64 = 1.75;
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

/// The share of a core that the agent takes from now on, for a while.
fn share(ebb: &Ebb<'_>) -> Result<f64> {
    let pid = ebb.process()?.id();
    let before = cpu_time(pid)?;
    let begun = Instant::now();
    // The time is the subject of the test, not something to wait for.
    thread::sleep(MEASURED);
    let used = cpu_time(pid)? - before;
    Ok(used / begun.elapsed().as_secs_f64())
}

/// The least of a few: whatever else the machine does only adds to it, the
/// handling of other tests' packets included. Of more than a few while it is above
/// `enough`: a busy neighbour stays for a while.
fn least_share(ebb: &Ebb<'_>, enough: f64) -> Result<f64> {
    const FEW: usize = 3;
    const MANY: usize = 12;
    let mut least = f64::INFINITY;
    for look in 1..=MANY {
        least = least.min(share(ebb)?);
        if look >= FEW && least < enough {
            break;
        }
    }
    Ok(least)
}

/// The share of a core that as many requests take as the health checks make, made by
/// the plainest client there is: what the kernel's sockets and this machine cost. It makes
/// them at the checks' pace, for what follows another at once finds all caches warm.
fn plain_share(site: &Site) -> Result<f64> {
    const REQUESTS: u32 = 400;
    let ask = |n: u32| -> io::Result<()> {
        let address = Ipv4Addr::new(10, 77, 0, (n % 250 + 1) as u8);
        let mut stream = TcpStream::connect((address, 8080))?;
        stream.write_all(b"GET / HTTP/1.1\r\nhost: plain\r\nconnection: close\r\n\r\n")?;
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).map(drop)
    };
    let used = site.balancer.enter(|| -> io::Result<Duration> {
        let before = clock_gettime(ClockId::ThreadCPUTime);
        let pace = Duration::from_secs_f64(INTERVAL / f64::from(BACKENDS));
        let begun = Instant::now();
        for n in 0..REQUESTS {
            thread::sleep((begun + pace * n).saturating_duration_since(Instant::now()));
            ask(n)?;
        }
        let after = clock_gettime(ClockId::ThreadCPUTime);
        let nanoseconds = |time: rustix::time::Timespec| {
            Duration::new(
                time.tv_sec.unsigned_abs(),
                time.tv_nsec.unsigned_abs() as u32,
            )
        };
        Ok(nanoseconds(after) - nanoseconds(before))
    })??;
    let each = used.as_secs_f64() / f64::from(REQUESTS);
    Ok(each * f64::from(BACKENDS) / INTERVAL)
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
        let with = least_share(ebb, MOST)?;
        let growth = memory(pid)?.saturating_sub(small);

        let plain = plain_share(site)?;
        let none: serde_json::Value = ebb.json(&["lb", "health-check", "many", "--none"])?;
        assert!(none["health_check"].is_null(), "{none}");
        let without = least_share(ebb, MOST)?;
        let checks = with - without;
        report::line(&format!(
            "health checks: {BACKENDS} backends every 5 s take {:.1} % of a core \
             (the plainest client {:.1} %; the agent {:.1} % with them, {:.1} % without)",
            checks * 100.0,
            plain * 100.0,
            with * 100.0,
            without * 100.0,
        ));
        let most = MOST.max(MOST_TIMES * plain);
        assert!(checks < most, "{checks}, and at most {most} is wanted");
        assert!(growth < GROWTH, "{growth} KB");
        Ok(())
    })
}
