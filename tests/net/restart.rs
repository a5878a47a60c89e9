//! P2 and P7 under traffic: the agent is killed, restarted and replaced while
//! clients download, and nobody notices.
//!
//! Every agent that starts puts its own program into the pinned link, so each
//! return is a program replacement too; the test looks that it was one.

use std::{
    fs,
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result};
use aya::programs::links::{FdLink, PinnedLink};
use lb_userspace::model::Mode;
use tests::{
    hook::Hook,
    lab::{
        agent::{Ebb, LB, Settings},
        conversation::{Conversation, How},
        curl::Download,
        host::Host,
        load::Load,
        process::Process,
        site::{Site, VIP_V4},
        wait,
    },
    report,
};

use crate::scene::{SOON, in_each_mode, play, play_with};

in_each_mode! {
    nobody_notices_that_the_agent_is_killed_restarted_and_replaced,
    a_deadline_that_passed_is_enforced_within_a_second_of_the_return,
}

const DOWNLOADS: usize = 100;
/// What each of them is long, and how many seconds it takes.
const PART: usize = 1 << 20;
const LONG: usize = 14;
/// The longest silence that a restart may bring.
const GAP: Duration = Duration::from_millis(50);
/// Where iperf3 listens; both of its connections must reach the same server.
const IPERF: u16 = 5201;

/// A load balancer for iperf3, with one backend.
fn with_iperf(site: &Site) -> String {
    let mode = match site.mode {
        Mode::Nat => "nat",
        Mode::Dsr => "dsr",
        Mode::Ipip => "ipip",
    };
    let perf = &site.backends[0].host;
    format!(
        "{}\n[[load_balancer]]\nname = \"perf\"\nmode = \"{mode}\"\n\
         listeners = [{{ protocol = \"tcp\", address = \"{VIP_V4}\", port = {IPERF} }}]\n\
         backends = [{{ id = \"{}\", address = \"{}\" }}]\n",
        Settings::default().write(site),
        perf.name,
        perf.v4
    )
}

/// Packets that have come in to a host, over all of its interfaces but `lo`.
fn packets_in() -> Result<u64> {
    let table = fs::read_to_string("/proc/thread-self/net/dev")?;
    table
        .lines()
        .skip(2)
        .filter_map(|line| line.split_once(':'))
        .filter(|(name, _)| name.trim() != "lo")
        .map(|(name, numbers)| {
            let packets = numbers.split_whitespace().nth(1);
            let packets = packets.with_context(|| format!("no packets of {name}"))?;
            Ok(packets.parse::<u64>()?)
        })
        .sum()
}

/// The longest time in which no packet came to `host`, as long as `on`. Only
/// silence that was seen from both ends counts: a watcher that was not let run
/// has seen nothing.
fn longest_gap(host: &Host, on: &AtomicBool) -> Result<Duration> {
    host.enter(|| {
        let mut longest = Duration::ZERO;
        let mut count = packets_in()?;
        let (mut first, mut last) = (Instant::now(), Instant::now());
        while on.load(Ordering::Relaxed) {
            thread::sleep(Duration::from_millis(1));
            let asked = Instant::now();
            let now = packets_in()?;
            if now == count {
                last = asked;
                longest = longest.max(last - first);
            } else {
                count = now;
                first = Instant::now();
                last = first;
            }
        }
        let _ = last;
        Ok(longest)
    })?
}

/// The ids of the programs on the balancer's interfaces.
fn programs(site: &Site) -> Result<Vec<u32>> {
    let mut ids = Vec::new();
    for interface in site.interfaces() {
        let folder = match site.hook {
            Hook::Xdp => "links",
            Hook::Tc => "tc",
        };
        let pin = site.pins().join(folder).join(interface);
        let link = PinnedLink::from_pin(&pin).with_context(|| format!("{}", pin.display()))?;
        ids.push(FdLink::from(link).info()?.program_id());
    }
    Ok(ids)
}

fn nobody_notices_that_the_agent_is_killed_restarted_and_replaced(mode: Mode) -> Result<()> {
    let site = Site::new(mode)?;
    play_with(&site, &with_iperf(&site), |site, ebb| {
        ebb.wait_in_service()?;
        let perf = &site.backends[0].host;
        let log = |name: &str| site.dir().join(name);
        let port = IPERF.to_string();
        let mut server = perf.command("iperf3");
        server.args(["--server", "--port", &port, "--forceflush"]);
        let _server = Process::start("iperf3 server", &mut server, &log("iperf-server.log"))?;
        wait::until_true("iperf3 to listen", SOON, || {
            perf.enter(|| std::net::TcpStream::connect((perf.v4, IPERF)).is_ok())
        })?;
        // Paced, so that the silence that is looked for is not that of a full
        // queue on a small machine.
        let mut client = site.client.command("iperf3");
        client.args(["--client", &VIP_V4.to_string(), "--port", &port]);
        client.args(["--time", &LONG.to_string(), "--bitrate", "20M", "--json"]);
        client.args(["--length", "1400", "--parallel", "2"]);
        let mut iperf = Process::start("iperf3", &mut client, &log("iperf.json"))?;

        let url = site.url(&format!("/file?rate={}", PART / LONG));
        let mut downloads = Vec::new();
        for n in 0..DOWNLOADS {
            let name = format!("download-{n}");
            downloads.push(Download::part(&site.client, &url, PART, site.dir(), &name)?);
        }
        for download in &mut downloads {
            download.backend()?;
        }
        let talk = Conversation::open(&site.client, site.talkers())?;
        let load = Load::start(&site.client, site.web(), Duration::from_millis(5));
        load.wait_for_more(10, SOON)?;

        let on = AtomicBool::new(true);
        let gap = thread::scope(|scope| {
            let watcher = scope.spawn(|| longest_gap(perf, &on));
            let acted = disturb(site, ebb, &talk);
            on.store(false, Ordering::Relaxed);
            let gap = watcher.join().expect("the watcher does not panic");
            acted.and(gap)
        })?;

        let requests = load.stop();
        let failed: Vec<_> = requests
            .iter()
            .filter_map(|request| request.answer.as_ref().err())
            .collect();
        let mut lost = failed.len();
        let patience = Duration::from_secs(3 * LONG as u64);
        for download in downloads {
            let done = download.wait(patience)?;
            if done.exit != 0 || done.body != site.file[..PART] {
                lost += 1;
            }
        }
        if talk.echo("at the end").is_err() {
            lost += 1;
        }
        let ended = iperf.wait(patience)?;
        if !ended.success() {
            lost += 1;
        }
        // The downloads, the conversation, iperf3's three, the short ones.
        let connections = DOWNLOADS + 4 + requests.len();
        report::line(&format!(
            "restart test, {}: connections {connections}, lost {lost}, longest gap {} ms",
            mode.name(),
            gap.as_millis()
        ));
        assert_eq!(lost, 0, "{failed:?}\n{}", iperf.printed());
        assert!(gap <= GAP, "{gap:?}");
        Ok(())
    })
}

/// What a host goes through, one after the other.
fn disturb(site: &Site, ebb: &mut Ebb<'_>, talk: &Conversation) -> Result<()> {
    for how in ["SIGKILL", "SIGTERM", "replacement"] {
        let before = programs(site)?;
        match how {
            "SIGKILL" => ebb.crash()?,
            _ => ebb.stop()?,
        }
        assert_eq!(programs(site)?, before, "{how}: the program stays");
        talk.echo(how)?;
        if how == "replacement" {
            ebb.upgrade()?;
        }
        ebb.launch()?;
        for (old, new) in before.iter().zip(programs(site)?) {
            assert_ne!(*old, new, "{how}: the program is the new agent's");
        }
        talk.echo("and it is back")?;
        ebb.wait_in_service()?;
    }
    Ok(())
}

fn a_deadline_that_passed_is_enforced_within_a_second_of_the_return(mode: Mode) -> Result<()> {
    play(mode, &Settings::default(), |site, ebb| {
        let talk = Conversation::open(&site.client, site.talkers())?;
        let begun = Instant::now();
        ebb.deregister(&talk.backend, &["--timeout", "1"])?;
        ebb.crash()?;
        wait::till(begun + Duration::from_millis(1500))?;
        talk.echo("nobody enforces it")?;
        ebb.launch()?;
        // It answers only since then.
        let back = Instant::now();
        let end = talk.wait_end(SOON)?;
        assert_eq!(end.how, How::Reset);
        let late = end.at.saturating_duration_since(back);
        assert!(late <= Duration::from_secs(1), "{late:?}");
        Ok(())
    })
}

#[test]
#[ignore = "needs root: cargo xtask test"]
fn a_second_agent_refuses_and_the_first_goes_on() -> Result<()> {
    play(Mode::Nat, &Settings::default(), |site, ebb| {
        let talk = Conversation::open(&site.client, site.talkers())?;
        let config = ebb.config().display().to_string();
        let second = ebb.run(&["agent", "--config", &config])?;
        assert_ne!(second.exit, 0);
        assert!(
            second.stderr.contains("another agent") && second.stderr.contains("stop it first"),
            "{}",
            second.stderr
        );
        talk.echo("nothing has happened")?;
        ebb.status().map(drop)
    })
}

#[test]
#[ignore = "needs root: cargo xtask test"]
fn other_maps_are_refused_with_what_to_do_and_the_kernel_goes_on() -> Result<()> {
    play(Mode::Nat, &Settings::default(), |site, ebb| {
        let talk = Conversation::open(&site.client, site.talkers())?;
        let bigger = Settings {
            flows: 524_288,
            ..Settings::default()
        };
        ebb.stop()?;
        ebb.write_config(&bigger.write(site))?;
        let config = ebb.config().display().to_string();
        let refused = ebb.run(&["agent", "--config", &config])?;
        assert_ne!(refused.exit, 0);
        for said in ["[tables]", "262144", "524288", "rm -r"] {
            assert!(refused.stderr.contains(said), "{said}: {}", refused.stderr);
        }
        talk.echo("the kernel goes on")?;
        ebb.write_config(&Settings::default().write(site))?;
        ebb.launch()?;
        talk.echo("and so does the agent, with the maps it had")?;
        assert_eq!(
            ebb.json::<serde_json::Value>(&["lb", "show", LB])?["name"],
            LB
        );
        Ok(())
    })
}
