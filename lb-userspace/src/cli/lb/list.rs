//! `ebb lb list`.

use super::listener;
use crate::{
    api::client::Client,
    cli::{error::CliError, exit::Exit, table::Table, ui::Ui, words},
    wire::LoadBalancers,
};

#[derive(Debug, clap::Args)]
pub(in crate::cli) struct Args {}

pub(super) async fn run(client: &Client, ui: &Ui) -> Result<Exit, CliError> {
    let all = client.load_balancers().await?;
    ui.result(&all, || render(&all))?;
    if all.load_balancers.is_empty() {
        ui.note("no load balancers; `ebb lb create --help` shows how to make one");
    }
    Ok(Exit::Done)
}

fn render(all: &LoadBalancers) -> String {
    if all.load_balancers.is_empty() {
        return String::new();
    }
    let mut table = Table::new(["NAME", "MODE", "LISTENERS", ">TAKING NEW", ">FLOWS"]);
    for lb in &all.load_balancers {
        let listeners: Vec<_> = lb.listeners.iter().map(listener::shown).collect();
        let taking_new = lb.backends.iter().filter(|b| b.takes_new).count();
        let flows: u64 = lb.backends.iter().map(|b| b.flows).sum();
        table.row([
            lb.name.as_str().into(),
            lb.mode.name().into(),
            if lb.deleting {
                "deleting, draining".into()
            } else {
                listeners.join(", ").into()
            },
            format!("{taking_new} of {}", lb.backends.len()).into(),
            words::count(flows).into(),
        ]);
    }
    table.render()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::samples;

    #[test]
    fn the_list_shows_where_clients_connect_and_who_takes_them() {
        let all = LoadBalancers {
            load_balancers: vec![samples::load_balancer()],
        };
        assert_eq!(
            samples::plain(&render(&all)),
            "\
NAME  MODE  LISTENERS                                    TAKING NEW  FLOWS
web   nat   tcp:10.0.0.100:80 -> 8080, udp:[fd00::1]:53      1 of 4  1,146
"
        );
    }
}
