//! The story itself.

use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use lb_userspace::{
    model::Mode,
    wire::{Backend, DrainOutcome, State},
};
use tests::lab::{
    agent::{Ebb, LB, Settings},
    conversation::{Conversation, How},
    curl::{self, CUT, Download, Tally},
    load::Load,
    site::{FILE_SIZE, Site},
    wait,
};

use crate::narrator::Narrator;

/// How long the drained backend's flows may live.
const TIMEOUT: Duration = Duration::from_secs(10);
/// Seconds that the downloads take: one ends within the timeout, one does not.
const QUICK: usize = 6;
const LONG: usize = 15;
/// How exactly the deadline is kept.
const TOLERANCE: Duration = Duration::from_millis(300);

/// What is open on the backend when it is taken out.
struct Open {
    quick: Download,
    long: Download,
    idle: Conversation,
}

pub(crate) fn tell(mode: Mode) -> Result<bool> {
    let mut narrator = Narrator::new();
    let site = set_up(&narrator, mode)?;
    let ebb = Ebb::start(&site, &Settings::default())?;
    let told = act(&mut narrator, &site, &ebb);
    if told.is_err() && !tests::lab::interrupt::noted() {
        eprintln!("{}{}", ebb.describe(), site.describe());
    }
    told?;
    Ok(narrator.close())
}

fn set_up(narrator: &Narrator, mode: Mode) -> Result<Site> {
    narrator.scene("The lab");
    let site = Site::new(mode)?;
    let host = |host: &tests::lab::host::Host| format!("{} {}", host.name, host.v4);
    let backends: Vec<_> = site
        .backends
        .iter()
        .map(|backend| host(&backend.host))
        .collect();
    narrator.say(format_args!(
        "{} | {}, ebb on {} | {}, nginx on each",
        host(&site.client),
        host(&site.balancer),
        site.interfaces().join(" and "),
        backends.join(", "),
    ));
    Ok(site)
}

fn act(narrator: &mut Narrator, site: &Site, ebb: &Ebb<'_>) -> Result<()> {
    ebb.wait_in_service()?;
    narrator.say(format_args!(
        "ebb is up: load balancer {LB}, {}, {}",
        site.web(),
        states(ebb)?
    ));

    narrator.scene("Three servers share the work");
    let before = curl::many(&site.client, &site.url("/"), 300)?;
    narrator.say(format_args!("300 requests: {}", shown(&before)));
    narrator.check(
        "every server gets its share",
        site.backends
            .iter()
            .all(|backend| before.of(&backend.host.name) > 300 / 6),
        shown(&before),
    );

    let (leaving, open) = open_flows(narrator, site)?;
    wait::until_true(
        "the three flows in ebb's books",
        Duration::from_secs(5),
        || {
            // With dsr some of the requests' flows may still count.
            Ok(ebb.backend(&leaving)?.flows >= 3)
        },
    )?;
    // From here to the end somebody opens a new connection every few
    // milliseconds.
    let load = Load::start(&site.client, site.web(), Duration::from_millis(5));
    load.wait_for_more(20, Duration::from_secs(5))?;

    narrator.scene(format_args!("{leaving} is taken out"));
    let asked = Instant::now();
    let answer = ebb.deregister(&leaving, &["--timeout", &TIMEOUT.as_secs().to_string()])?;
    let in_force = Instant::now();
    narrator.say(format_args!(
        "ebb backend deregister {LB} {leaving} --timeout {}   (in force after {:.0} ms)",
        TIMEOUT.as_secs(),
        (in_force - asked).as_secs_f32() * 1e3,
    ));
    narrator.say(state(&answer));
    let after = curl::many(&site.client, &site.url("/"), 300)?;
    narrator.say(format_args!("300 requests: {}", shown(&after)));

    let gone = count_down(narrator, ebb, &leaving)?;
    ended(narrator, site, &leaving, open, asked)?;

    narrator.scene("Afterwards");
    narrator.say(format_args!("{leaving}: {}", state(&gone)));
    narrator.say(format_args!("ebb is left with {}", states(ebb)?));
    books(narrator, &gone);

    let requests = load.stop();
    let failed = requests
        .iter()
        .filter(|request| request.answer.is_err())
        .count();
    let late = requests.iter().filter(|request| request.started > in_force);
    let strays = late
        .filter(|request| request.answer.as_ref().is_ok_and(|name| *name == leaving))
        .count();
    narrator.check(
        "no new flow on the drained server",
        after.of(&leaving) == 0 && strays == 0,
        format!(
            "{} of {}",
            after.of(&leaving) + strays,
            after.total() + requests.len()
        ),
    );
    narrator.check(
        "no request failed",
        before.failed + after.failed + failed == 0,
        format!(
            "{} of {}",
            before.failed + after.failed + failed,
            before.total() + after.total() + requests.len()
        ),
    );
    Ok(())
}

/// A long download, wherever it goes; then a quick one and an idle connection
/// to the same server.
fn open_flows(narrator: &Narrator, site: &Site) -> Result<(String, Open)> {
    let mut long = download(site, "long", LONG)?;
    let leaving = long.backend()?;
    narrator.scene(format_args!("Three connections are open to {leaving}"));
    narrator.say(format_args!("a download that takes {LONG} s"));
    let quick = download_from(site, "quick", QUICK, &leaving)?;
    narrator.say(format_args!("a download that takes {QUICK} s"));
    let idle = Conversation::open_with(&site.client, site.talkers(), &leaving)?;
    narrator.say(format_args!("an idle one, from {}", idle.local));
    Ok((leaving, Open { quick, long, idle }))
}

fn download(site: &Site, name: &str, seconds: usize) -> Result<Download> {
    let url = site.url(&format!("/file?rate={}", FILE_SIZE / seconds));
    Download::start(&site.client, &url, site.dir(), name)
}

fn download_from(site: &Site, name: &str, seconds: usize, backend: &str) -> Result<Download> {
    const TRIES: usize = 100;
    for _ in 0..TRIES {
        let mut download = download(site, name, seconds)?;
        if download.backend()? == backend {
            return Ok(download);
        }
    }
    bail!("{TRIES} downloads, and none from {backend}")
}

/// A line whenever the number of open flows changes, and every two seconds.
fn count_down(narrator: &Narrator, ebb: &Ebb<'_>, leaving: &str) -> Result<Backend> {
    let mut last = None;
    wait::until("the drain to end", TIMEOUT + Duration::from_secs(5), || {
        let backend = ebb.backend(leaving)?;
        if backend.registration == "gone" {
            return Ok(Some(backend));
        }
        if let Some(drain) = &backend.drain {
            let now = (drain.flows_left, drain.seconds_left / 2);
            if last != Some(now) {
                last = Some(now);
                let flows = drain.flows_left;
                narrator.say(format_args!(
                    "{flows} flows left, {} s to the deadline",
                    drain.seconds_left
                ));
            }
        }
        std::thread::sleep(Duration::from_millis(50));
        Ok(None)
    })
}

/// How the three connections ended.
fn ended(
    narrator: &mut Narrator,
    site: &Site,
    leaving: &str,
    open: Open,
    asked: Instant,
) -> Result<()> {
    let soon = Duration::from_secs(2);
    let quick = open.quick.wait(soon)?;
    let whole = quick.exit == 0 && quick.body == site.file;
    let seen = format!(
        "{} of {FILE_SIZE} bytes, after {:.1} s",
        quick.body.len(),
        seconds(quick.ended - asked)
    );
    narrator.say(format_args!("the download that had the time: {seen}"));
    narrator.check("a download that ends in time is whole", whole, seen);

    let long = open.long.wait(soon)?;
    let cut = long.ended - asked;
    let seen = format!(
        "{} of {FILE_SIZE} bytes, after {:.2} s (curl says {})",
        long.body.len(),
        seconds(cut),
        long.exit
    );
    narrator.say(format_args!("the download that had not: {seen}"));
    narrator.check(
        "one that does not is cut at the deadline",
        long.exit == CUT && on_time(cut),
        seen,
    );

    let client = open.idle.wait_end(soon)?;
    let talker = &site.backend(leaving)?.talker;
    let server = talker.wait_end_of(open.idle.seen_as, soon)?;
    let reset = [client, server]
        .iter()
        .all(|end| end.how == How::Reset && on_time(end.at - asked));
    let seen = format!(
        "client {} after {:.2} s, server {} after {:.2} s",
        how(client.how),
        seconds(client.at - asked),
        how(server.how),
        seconds(server.at - asked)
    );
    narrator.say(format_args!("the idle connection: {seen}"));
    narrator.check("an idle connection is reset at both ends", reset, seen);
    Ok(())
}

/// What ebb itself counted.
fn books(narrator: &mut Narrator, gone: &Backend) {
    let drain = gone.drain.as_ref();
    let cut = match drain.and_then(|drain| drain.outcome.as_ref()) {
        Some(DrainOutcome::Cut { flows }) => *flows,
        _ => 0,
    };
    let at_start = drain.map_or(0, |drain| drain.flows_at_start);
    let seen = format!(
        "{at_start} open at the start, {} ended by themselves, {cut} cut",
        at_start.saturating_sub(cut)
    );
    narrator.say(format_args!("ebb's books: {seen}"));
    narrator.check(
        "the books balance",
        cut == 2 && at_start >= 3 && gone.flows == 0,
        seen,
    );
}

fn on_time(after: Duration) -> bool {
    after.abs_diff(TIMEOUT) <= TOLERANCE
}

fn seconds(duration: Duration) -> f32 {
    duration.as_secs_f32()
}

fn how(how: How) -> String {
    match how {
        How::Reset => "reset".to_owned(),
        How::Closed => "closed".to_owned(),
        How::Failed(kind) => format!("failed ({kind})"),
    }
}

fn shown(tally: &Tally) -> String {
    let mut parts: Vec<_> = tally
        .answers
        .iter()
        .map(|(name, count)| format!("{name} {count}"))
        .collect();
    parts.push(format!("failed {}", tally.failed));
    parts.join(", ")
}

/// The state, as the Classic ELB words it.
fn state(backend: &Backend) -> String {
    let state = match backend.state {
        State::InService => "InService",
        State::OutOfService => "OutOfService",
        State::Unknown => "Unknown",
    };
    format!("{state} / {}", backend.description)
}

fn states(ebb: &Ebb<'_>) -> Result<String> {
    let all = ebb.load_balancer()?.backends;
    let each: Vec<_> = all
        .iter()
        .map(|backend| {
            format!(
                "{} {}",
                backend.id,
                if backend.takes_new {
                    "in service"
                } else {
                    "not in service"
                }
            )
        })
        .collect();
    Ok(each.join(", "))
}
