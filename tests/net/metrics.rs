//! Metrics: what Prometheus gets is what happened, in a form that its own tool
//! has no complaints about.

use std::{
    io::Write as _,
    process::{Command, Stdio},
};

use anyhow::{Context as _, Result, bail};
use lb_userspace::model::Mode;
use tests::lab::{
    agent::{Ebb, Settings},
    conversation::Conversation,
    curl,
    site::Site,
    wait,
};

use crate::scene::{SOON, play};

const PAGE: &str = "http://127.0.0.1:9180/metrics";

fn measured() -> Settings {
    Settings {
        more: "[metrics]\naddress = \"127.0.0.1:9180\"\n\
               [[hook]]\nname = \"told\"\nevents = [\"deregistered\"]\n\
               command = [\"/bin/true\"]\n"
            .to_owned(),
        health_check: "target = \"TCP:80\"\ninterval = 1\n".to_owned(),
        ..Settings::default()
    }
}

fn read_page(site: &Site) -> Result<String> {
    site.balancer
        .run("curl", &["--silent", "--show-error", "--fail", PAGE])
}

/// The value of the sample that is written like this.
fn sample(page: &str, name: &str) -> Result<f64> {
    let line = page
        .lines()
        .find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    let value = line.with_context(|| format!("no {name} in\n{page}"))?;
    Ok(value.parse()?)
}

/// What Prometheus's own tool says of the page.
fn lint(page: &str) -> Result<()> {
    let mut promtool = Command::new("promtool")
        .args(["check", "metrics"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .context("cannot start promtool")?;
    promtool
        .stdin
        .take()
        .context("promtool has no input")?
        .write_all(page.as_bytes())?;
    let done = promtool.wait_with_output()?;
    let said = [done.stdout, done.stderr].concat();
    let said = String::from_utf8_lossy(&said);
    if !done.status.success() || !said.trim().is_empty() {
        bail!("promtool: {}\n{said}\n{page}", done.status);
    }
    Ok(())
}

#[test]
#[ignore = "needs root: cargo xtask test"]
fn what_prometheus_reads_is_what_happened() -> Result<()> {
    play(Mode::Nat, &measured(), |site, ebb| {
        let talk = Conversation::open(&site.client, site.talkers())?;
        talk.echo("counted")?;
        curl::many(&site.client, &site.url("/"), 20)?;
        ebb.deregister(&talk.backend, &["--timeout", "60"])?;
        let page_of = |name: &str| {
            format!(
                "{name}{{backend=\"{}\",load_balancer=\"web\"}}",
                talk.backend
            )
        };

        let page = read_page(site)?;
        lint(&page)?;
        assert_eq!(sample(&page, &page_of("ebb_drain_flows_remaining"))?, 1.0);
        let left = sample(&page, &page_of("ebb_drain_deadline_seconds"))?;
        assert!((55.0..=60.0).contains(&left), "{left}");
        assert_eq!(sample(&page, &page_of("ebb_backend_takes_new_flows"))?, 0.0);
        assert_eq!(sample(&page, &page_of("ebb_health_check_success"))?, 1.0);
        let limit = sample(&page, "ebb_flow_table_entries_limit{family=\"ipv4\"}")?;
        assert_eq!(limit, 262_144.0);
        assert_eq!(sample(&page, "ebb_books_differences_total")?, 0.0);
        compare(&page, ebb)?;

        drop(talk);
        wait::until_true("the hook to be told", SOON, || {
            let page = read_page(site)?;
            Ok(page.contains("ebb_hook_events_total{hook=\"told\",outcome=\"delivered\"} 1"))
        })?;
        let last = read_page(site)?;
        lint(&last)?;
        expect_shown(&(page + &last));
        Ok(())
    })
}

/// The dashboard asks for nothing that is not there.
fn expect_shown(pages: &str) {
    let dashboard = include_str!("../../docs/grafana-dashboard.json");
    let name = |c: char| c.is_ascii_lowercase() || c == '_';
    for (at, _) in dashboard.match_indices("ebb_") {
        let rest = &dashboard[at..];
        let metric = &rest[..rest.find(|c| !name(c)).unwrap_or(rest.len())];
        assert!(pages.contains(&format!("# TYPE {metric} ")), "{metric}");
    }
}

/// What the page says of each backend is what the API says.
fn compare(page: &str, ebb: &Ebb<'_>) -> Result<()> {
    for backend in ebb.load_balancer()?.backends {
        let of = |name: &str| {
            sample(
                page,
                &format!("{name}{{backend=\"{}\",load_balancer=\"web\"}}", backend.id),
            )
        };
        let opened = of("ebb_backend_flows_opened_total")?;
        let closed = of("ebb_backend_flows_closed_total")?;
        assert_eq!(of("ebb_backend_flows")?, opened - closed, "{}", backend.id);
        let untracked = f64::from(u32::try_from(backend.counters.untracked)?);
        assert!(of("ebb_backend_untracked_packets_total")? <= untracked);
        // The API was asked later.
        let open_now = f64::from(u32::try_from(backend.counters.opened)?);
        assert!(opened <= open_now, "{opened} {open_now}");
    }
    Ok(())
}
