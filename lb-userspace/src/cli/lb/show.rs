//! `ebb lb show`.

use super::{health_check, listener};
use crate::{
    api::client::Client,
    cli::{
        attributes, backend,
        error::CliError,
        exit::Exit,
        table,
        ui::{STRONG, Ui},
    },
    wire::LoadBalancer,
};

#[derive(Debug, clap::Args)]
pub(in crate::cli) struct Args {
    /// The load balancer's name
    #[arg(value_name = "LB")]
    lb: String,
}

pub(super) async fn run(args: &Args, client: &Client, ui: &Ui) -> Result<Exit, CliError> {
    let lb = client.load_balancer(&args.lb).await?;
    ui.result(&lb, || render(&lb))?;
    Ok(Exit::Done)
}

pub(super) fn render(lb: &LoadBalancer) -> String {
    let mut facts = vec![
        ("mode", lb.mode.name().to_owned()),
        ("created", lb.created.clone()),
    ];
    facts.extend(
        lb.listeners
            .iter()
            .map(|l| ("listener", listener::shown(l))),
    );
    facts.extend(attributes::facts(&lb.attributes));
    if let Some(check) = &lb.health_check {
        facts.extend(health_check::facts(check));
    }
    let name = &lb.name;
    let deleting = if lb.deleting {
        ", being deleted; gone when its last backend is"
    } else {
        ""
    };
    format!(
        "{STRONG}{name}{STRONG:#}{deleting}\n{}\n{}",
        table::facts(facts),
        backend::table(&lb.backends)
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::samples;

    #[test]
    fn one_load_balancer_is_shown_whole() {
        assert_eq!(
            samples::plain(&render(&samples::load_balancer())),
            "\
web
  mode                         nat
  created                      2026-01-02T03:04:05Z
  listener                     tcp:10.0.0.100:80 -> 8080
  listener                     udp:[fd00::1]:53
  connection-draining.enabled  true
  connection-draining.timeout  300 s
  idle-timeout                 350 s
  close-rate                   0 (no limit)
  nat-source                   ebb

BACKEND  ADDRESS    WEIGHT  STATE           FLOWS  NOTE
web-1    10.0.1.11       1  draining           12  12 of 40 flows left, 4m32s to the deadline
web-2    10.0.1.12       3  in service      1,134
web-3    10.0.1.13       1  out of service      0  Instance has failed at least the UnhealthyThreshold number of health checks consecutively; set unhealthy by hand
web-4    10.0.1.14       1  in service          0  gets no new flows, unreachable: no answer to ARP on eth1
"
        );
    }
}
