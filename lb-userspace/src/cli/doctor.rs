//! `ebb doctor`: what of this host is in ebb's way, and what mends it.

use std::path::PathBuf;

use serde::Serialize;

use super::{
    error::CliError,
    exit::Exit,
    table::{Cell, Table},
    ui::{BAD, CAUTION, GOOD, Ui},
};
use crate::doctor::{Facts, Finding, Verdict, examine};

#[derive(Debug, clap::Args)]
#[command(after_help = "\
Nothing is changed, and no agent needs to be running. Exits with 0 if ebb can run here,
warnings or not, and with 1 if something must be fixed first.")]
pub(super) struct Args {
    /// The agent's configuration file
    #[arg(long, value_name = "FILE", default_value = "/etc/ebb/ebb.toml")]
    config: PathBuf,

    /// Check this interface instead of those in the file; may be repeated
    #[arg(long = "interface", value_name = "IF")]
    interfaces: Vec<String>,
}

#[derive(Debug, Serialize)]
struct Report {
    findings: Vec<Finding>,
}

pub(super) fn run(args: &Args, ui: &Ui) -> Result<Exit, CliError> {
    let findings = examine(&Facts::gather(&args.config, &args.interfaces));
    let report = Report { findings };
    ui.result(&report, || render(&report.findings))?;
    let bad = report
        .findings
        .iter()
        .filter(|finding| finding.verdict == Verdict::Bad)
        .count();
    Ok(if bad == 0 { Exit::Done } else { Exit::Sick })
}

fn render(findings: &[Finding]) -> String {
    let mut table = Table::new(["", "WHAT", "FOUND"]);
    for finding in findings {
        let (word, style) = match finding.verdict {
            Verdict::Good => ("ok", GOOD),
            Verdict::Warning => ("warning", CAUTION),
            Verdict::Bad => ("bad", BAD),
        };
        table.row([
            Cell::styled(word, style),
            finding.what.as_str().into(),
            finding.found.as_str().into(),
        ]);
    }
    let mut text = table.render();
    let mends: Vec<&str> = findings
        .iter()
        .filter_map(|finding| finding.mend.as_deref())
        .collect();
    if !mends.is_empty() {
        text.push_str("\nTo fix it:\n");
        for mend in mends {
            text.push_str("  ");
            text.push_str(mend);
            text.push('\n');
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::samples::plain;

    #[test]
    fn what_is_wrong_comes_with_the_command_that_mends_it() {
        let finding = |what: &str, verdict, found: &str, mend: Option<&str>| Finding {
            what: what.to_owned(),
            verdict,
            found: found.to_owned(),
            mend: mend.map(str::to_owned),
        };
        let text = render(&[
            finding("kernel", Verdict::Good, "6.1.0", None),
            finding(
                "eth0: link",
                Verdict::Bad,
                "down",
                Some("ip link set dev eth0 up"),
            ),
        ]);
        assert_eq!(
            plain(&text),
            "     WHAT        FOUND\n\
             ok   kernel      6.1.0\n\
             bad  eth0: link  down\n\
             \nTo fix it:\n  ip link set dev eth0 up\n"
        );
    }
}
