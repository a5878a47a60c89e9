//! `ebb lb health-check`: shows how backends are checked, or sets it.

use std::{fmt::Display, ops::RangeInclusive};

use crate::{
    api::client::Client,
    cli::{error::CliError, exit::Exit, table, ui::Ui},
    model::{INTERVAL, THRESHOLD, TIMEOUT},
    wire::HealthCheck,
};

#[derive(Debug, clap::Args)]
#[command(after_help = "\
Options that are left out keep their values; a new check starts with the defaults.
Backends that are in service stay in service until the check finds otherwise.

Examples:
  ebb lb health-check web
  ebb lb health-check web --target HTTP:8080/ping --interval 5 --timeout 2
  ebb lb health-check web --none")]
pub(in crate::cli) struct Args {
    /// The load balancer's name
    #[arg(value_name = "LB")]
    lb: String,

    /// What to check: TCP:PORT, SSL:PORT, HTTP:PORT/PATH or HTTPS:PORT/PATH
    #[arg(long)]
    target: Option<String>,

    #[arg(long, value_name = "SECONDS")]
    #[arg(help = format!("Seconds between two checks, {}", range(&INTERVAL)))]
    interval: Option<u32>,

    #[arg(long, value_name = "SECONDS")]
    #[arg(help = format!(
        "Seconds to wait for an answer, {} and less than the interval", range(&TIMEOUT)
    ))]
    timeout: Option<u32>,

    #[arg(long, value_name = "N")]
    #[arg(help = format!(
        "Failures in a row that take a backend out of service, {}", range(&THRESHOLD)
    ))]
    unhealthy_threshold: Option<u32>,

    #[arg(long, value_name = "N")]
    #[arg(help = format!(
        "Successes in a row that bring it back into service, {}", range(&THRESHOLD)
    ))]
    healthy_threshold: Option<u32>,

    /// Whether to verify certificates against the host's certificate authorities
    #[arg(long, value_name = "true|false")]
    verify_certificate: Option<bool>,

    /// The host name to ask for, which a verified certificate must match
    #[arg(long, value_name = "NAME")]
    server_name: Option<String>,

    /// Remove the check: every registered backend counts as healthy
    #[arg(long, conflicts_with_all = [
        "target", "interval", "timeout", "unhealthy_threshold", "healthy_threshold",
        "verify_certificate", "server_name",
    ])]
    none: bool,
}

pub(super) async fn run(args: Args, client: &Client, ui: &Ui) -> Result<Exit, CliError> {
    let lb = args.lb.clone();
    let setting = if args.none {
        client.set_health_check(&lb, None).await?
    } else if args.says_nothing() {
        client.health_check(&lb).await?
    } else {
        let now = client.health_check(&lb).await?.health_check;
        let check = args.over(now)?;
        client.set_health_check(&lb, Some(check)).await?
    };
    ui.result(&setting, || match &setting.health_check {
        Some(check) => table::facts(facts(check)),
        None => "no health check: every registered backend counts as healthy\n".to_owned(),
    })?;
    Ok(Exit::Done)
}

fn range(bounds: &RangeInclusive<impl Display>) -> String {
    format!("{} to {}", bounds.start(), bounds.end())
}

impl Args {
    fn says_nothing(&self) -> bool {
        self.target.is_none()
            && self.interval.is_none()
            && self.timeout.is_none()
            && self.unhealthy_threshold.is_none()
            && self.healthy_threshold.is_none()
            && self.verify_certificate.is_none()
            && self.server_name.is_none()
    }

    /// The check that is there with what was given.
    fn over(self, now: Option<HealthCheck>) -> Result<HealthCheck, CliError> {
        let mut check = match (now, &self.target) {
            (Some(now), _) => now,
            (None, Some(target)) => HealthCheck::new(target.clone()),
            (None, None) => return Err(CliError::NoCheckYet { lb: self.lb }),
        };
        if let Some(target) = self.target {
            check.target = target;
        }
        if let Some(interval) = self.interval {
            check.interval = interval;
            if self.timeout.is_none() && check.timeout >= Some(interval) {
                // What was the default need not be in the way.
                check.timeout = None;
            }
        }
        check.timeout = self.timeout.or(check.timeout);
        check.unhealthy_threshold = self
            .unhealthy_threshold
            .unwrap_or(check.unhealthy_threshold);
        check.healthy_threshold = self.healthy_threshold.unwrap_or(check.healthy_threshold);
        check.verify_certificate = self.verify_certificate.unwrap_or(check.verify_certificate);
        check.server_name = self.server_name.or(check.server_name);
        Ok(check)
    }
}

pub(super) fn facts(check: &HealthCheck) -> Vec<(&'static str, String)> {
    let mut facts = vec![
        ("health-check", check.target.clone()),
        ("interval", format!("{} s", check.interval)),
    ];
    if let Some(timeout) = check.timeout {
        facts.push(("timeout", format!("{timeout} s")));
    }
    facts.extend([
        (
            "unhealthy-threshold",
            format!("{} failures in a row", check.unhealthy_threshold),
        ),
        (
            "healthy-threshold",
            format!("{} successes in a row", check.healthy_threshold),
        ),
    ]);
    if check.verify_certificate {
        facts.push(("verify-certificate", "true".to_owned()));
    }
    if let Some(name) = &check.server_name {
        facts.push(("server-name", name.clone()));
    }
    facts
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::*;

    #[derive(Debug, clap::Parser)]
    struct Line {
        #[command(flatten)]
        args: Args,
    }

    fn typed(line: &str) -> Args {
        Line::try_parse_from(line.split(' ')).unwrap().args
    }

    #[test]
    fn what_is_not_given_keeps_its_value() {
        let now = HealthCheck {
            interval: 7,
            timeout: Some(3),
            ..HealthCheck::new("TCP:80".to_owned())
        };
        let check = typed("x web --healthy-threshold 4")
            .over(Some(now.clone()))
            .unwrap();
        assert_eq!(
            check,
            HealthCheck {
                healthy_threshold: 4,
                ..now.clone()
            }
        );
        // A timeout that no longer fits gives way, if it was not asked for.
        let check = typed("x web --interval 2").over(Some(now)).unwrap();
        assert_eq!((check.interval, check.timeout), (2, None));
    }

    #[test]
    fn a_new_check_needs_a_target() {
        let error = typed("x web --interval 5").over(None).unwrap_err();
        assert!(error.to_string().contains("--target"), "{error}");
        let check = typed("x web --target TCP:80").over(None).unwrap();
        assert_eq!((check.interval, check.healthy_threshold), (30, 10));
    }

    #[test]
    fn none_is_none() {
        assert!(Line::try_parse_from(["x", "web", "--none", "--interval", "5"]).is_err());
    }
}
