//! `ebb lb delete`.

use crate::{
    api::client::Client,
    cli::{backend::LeaveArgs, error::CliError, exit::Exit, ui::Ui, words},
    wire::Deleted,
};

#[derive(Debug, clap::Args)]
#[command(after_help = "\
The listeners are removed at once: new clients are refused, and the addresses are free
for another load balancer. The backends are deregistered, so open flows drain as with
`ebb backend deregister`; the load balancer is gone when its last backend is.")]
pub(in crate::cli) struct Args {
    /// The load balancer's name
    #[arg(value_name = "LB")]
    lb: String,

    #[command(flatten)]
    leave: LeaveArgs,
}

pub(super) async fn run(args: &Args, client: &Client, ui: &Ui) -> Result<Exit, CliError> {
    let how = (&args.leave).into();
    let deleted = client.delete(&args.lb, &how).await?;
    ui.result(&deleted, || describe(&deleted, args.leave.now))?;
    Ok(Exit::Done)
}

fn describe(deleted: &Deleted, now: bool) -> String {
    let name = &deleted.name;
    if deleted.gone {
        return format!("{name} is gone");
    }
    format!(
        "{name} accepts no new clients; {} of {} {}",
        words::counted(deleted.flows, "open flow"),
        words::counted(deleted.backends.len() as u64, "backend"),
        if now {
            "are being closed"
        } else {
            "may still end by themselves (`ebb backend list` shows how long)"
        }
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn deleting_says_what_becomes_of_the_flows() {
        let mut deleted = Deleted {
            name: "web".to_owned(),
            backends: vec!["web-1".to_owned(), "web-2".to_owned()],
            flows: 12,
            gone: false,
        };
        assert!(
            describe(&deleted, false).starts_with(
                "web accepts no new clients; 12 open flows of 2 backends may still end"
            )
        );
        assert!(describe(&deleted, true).ends_with("2 backends are being closed"));
        deleted.gone = true;
        assert_eq!(describe(&deleted, false), "web is gone");
    }
}
