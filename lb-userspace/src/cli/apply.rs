//! `ebb apply`: make it so.

use std::path::{Path, PathBuf};

use super::{
    document,
    error::CliError,
    exit::Exit,
    ui::{BAD, CAUTION, GOOD, Ui},
};
use crate::{
    api::client::Client,
    wire::{Applied, Apply, StepAction},
};

#[derive(Debug, clap::Args)]
#[command(after_help = "\
The load balancers and backends in the file are made to match it; backends that it no
longer names are drained, not dropped. Applying a file twice changes nothing.")]
pub(super) struct Args {
    /// A configuration file, or - for standard input
    #[arg(value_name = "FILE")]
    file: PathBuf,

    /// Show what would change, and change nothing
    #[arg(long)]
    dry_run: bool,
}

pub(super) async fn run(args: &Args, client: &Client, ui: &Ui) -> Result<Exit, CliError> {
    let apply = Apply {
        document: document::read(&args.file)?,
        source: source(&args.file),
        dry_run: args.dry_run,
    };
    let applied = client.apply(&apply).await?;
    ui.result(&applied, || render(&applied))?;
    if applied.dry_run && !applied.steps.is_empty() {
        ui.note("dry run: nothing was changed");
    }
    Ok(Exit::Done)
}

/// The file by its whole path, so that the agent knows it again.
fn source(path: &Path) -> Option<String> {
    if path == Path::new("-") {
        return None;
    }
    std::path::absolute(path)
        .ok()?
        .into_os_string()
        .into_string()
        .ok()
}

fn render(applied: &Applied) -> String {
    if applied.steps.is_empty() {
        return "nothing to do: everything is as the file says\n".to_owned();
    }
    let mut text = String::new();
    for step in &applied.steps {
        let (sign, word, style) = match step.action {
            StepAction::Add => ('+', "add", GOOD),
            StepAction::Change => ('~', "change", CAUTION),
            StepAction::Drain => ('-', "drain", CAUTION),
            StepAction::Remove => ('-', "remove", BAD),
        };
        let what = match &step.subject {
            Some(subject) => format!("{subject} of {}", step.load_balancer),
            None => format!("load balancer {}", step.load_balancer),
        };
        text.push_str(&format!("{style}{sign} {word}{style:#} {what}"));
        if let Some(detail) = &step.detail {
            text.push_str(&format!(": {detail}"));
        }
        text.push('\n');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{cli::samples, wire::Step};

    #[test]
    fn a_plan_is_read_from_its_signs() {
        let step = |action, subject: Option<&str>, detail: Option<&str>| Step {
            action,
            load_balancer: "web".to_owned(),
            subject: subject.map(str::to_owned),
            detail: detail.map(str::to_owned),
        };
        let applied = Applied {
            dry_run: true,
            steps: vec![
                step(StepAction::Add, None, None),
                step(
                    StepAction::Change,
                    Some("backend web-1"),
                    Some("weight 1 → 5"),
                ),
                step(StepAction::Drain, Some("backend web-2"), Some("12 flows")),
                step(StepAction::Remove, Some("listener tcp:10.0.0.100:81"), None),
            ],
        };
        assert_eq!(
            samples::plain(&render(&applied)),
            "\
+ add load balancer web
~ change backend web-1 of web: weight 1 → 5
- drain backend web-2 of web: 12 flows
- remove listener tcp:10.0.0.100:81 of web
"
        );
        assert_eq!(
            render(&Applied::default()),
            "nothing to do: everything is as the file says\n"
        );
    }
}
