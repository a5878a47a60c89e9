//! `ebb doctor`: what of this host is in ebb's way, and what mends it.

use std::{
    io::{self, IsTerminal as _},
    path::PathBuf,
};

use serde::Serialize;

use super::{
    error::CliError,
    exit::Exit,
    table::{Cell, Table},
    ui::{BAD, CAUTION, GOOD, Ui},
};
use crate::{
    api::client::Client,
    doctor::{Facts, Finding, Mend, Verdict, examine},
    wire::Status,
};

#[derive(Debug, clap::Args)]
#[command(after_help = "\
Without --fix nothing is changed. No agent needs to be running; one that is says what it is
short of. Exits with 0 if ebb can run
here, warnings or not, and with 1 if something must be fixed first.

What --fix changes lasts until the host restarts where the host's own configuration, of its
network or its sysctls, says otherwise.")]
pub(super) struct Args {
    /// The agent's configuration file
    #[arg(long, value_name = "FILE", default_value = "/etc/ebb/ebb.toml")]
    config: PathBuf,

    /// Check this interface instead of those in the file; may be repeated
    #[arg(long = "interface", value_name = "IF")]
    interfaces: Vec<String>,

    /// Offer to run each command that fixes something, and look again
    #[arg(long)]
    fix: bool,

    /// With --fix: run them without asking
    #[arg(long, short, requires = "fix")]
    yes: bool,
}

#[derive(Debug, Serialize)]
struct Report {
    findings: Vec<Finding>,
}

pub(super) async fn run(args: &Args, client: &Client, ui: &Ui) -> Result<Exit, CliError> {
    let look = || examine(&Facts::gather(&args.config, &args.interfaces));
    let mut findings = look();
    if args.fix {
        if !args.yes && !io::stdin().is_terminal() {
            return Err(CliError::NobodyToAsk);
        }
        let ask = || args.yes || ui.agreed("run it?");
        if fix(&findings, ui, ask, Mend::run) {
            findings = look();
        }
    }
    // One that does not run, or may not be asked, says nothing.
    if let Ok(status) = client.status().await {
        findings.extend(of_the_agent(&status));
    }
    let report = Report { findings };
    ui.result(&report, || render(&report.findings))?;
    let bad = report
        .findings
        .iter()
        .filter(|finding| finding.verdict == Verdict::Bad)
        .count();
    Ok(if bad == 0 { Exit::Done } else { Exit::Sick })
}

/// What the agent that runs says of itself.
fn of_the_agent(status: &Status) -> Vec<Finding> {
    let finding = |what: &str, verdict, found| Finding {
        what: what.to_owned(),
        verdict,
        found,
        mend: None,
    };
    let runs = format!("version {} runs (process {})", status.version, status.pid);
    let mut findings = vec![finding("agent", Verdict::Good, runs)];
    let ports = status.nat_ports.iter().map(|row| {
        let found = format!(
            "{} of {} are in use from {} to {} ({})",
            row.used, row.limit, row.source, row.target, row.protocol
        );
        // That they run short is among the warnings.
        finding("agent: nat ports", Verdict::Good, found)
    });
    findings.extend(ports);
    let warnings = status.warnings.iter();
    findings.extend(warnings.map(|text| finding("agent", Verdict::Warning, text.clone())));
    findings
}

/// Shows each command that mends something of the host, runs it if `agreed`, and says
/// how that went. Whether any was run.
fn fix(
    findings: &[Finding],
    ui: &Ui,
    agreed: impl Fn() -> bool,
    run: impl Fn(&Mend) -> io::Result<()>,
) -> bool {
    let mut ran = false;
    for finding in findings {
        let Some(mend @ Mend::Host(_)) = &finding.mend else {
            continue;
        };
        ui.note(&format!("{}: {}\n  {mend}", finding.what, finding.found));
        if agreed() {
            ran = true;
            if let Err(error) = run(mend) {
                ui.note(&format!("  {CAUTION}failed{CAUTION:#}: {error}"));
            }
        }
    }
    ran
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
    let mends: Vec<&Mend> = findings
        .iter()
        .filter_map(|finding| finding.mend.as_ref())
        .collect();
    if !mends.is_empty() {
        text.push_str("\nTo fix it:\n");
        for mend in &mends {
            text.push_str(&format!("  {mend}\n"));
        }
    }
    if mends.iter().any(|mend| matches!(mend, Mend::Host(_))) {
        text.push_str("`ebb doctor --fix` asks before it runs each of them.\n");
    }
    text
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;

    use super::*;
    use crate::{
        cli::samples::{self, plain},
        doctor::Words,
    };

    fn finding(what: &str, verdict: Verdict, found: &str, mend: Option<Mend>) -> Finding {
        Finding {
            what: what.to_owned(),
            verdict,
            found: found.to_owned(),
            mend,
        }
    }

    fn sick() -> Vec<Finding> {
        let up = Mend::Host(vec![Words::of("ip link set dev eth0 up")]);
        let check = Mend::ByHand(Words::of("ebb check-config /etc/ebb/ebb.toml"));
        vec![
            finding("kernel", Verdict::Good, "6.1.0", None),
            finding("configuration", Verdict::Bad, "2 errors", Some(check)),
            finding("eth0: link", Verdict::Bad, "down", Some(up)),
        ]
    }

    #[test]
    fn only_what_is_agreed_to_is_run_and_nothing_that_is_for_a_hand() {
        for agrees in [false, true] {
            let ran = RefCell::new(Vec::new());
            let run = |mend: &Mend| {
                ran.borrow_mut().push(mend.to_string());
                Err(io::Error::other("as if it failed"))
            };
            assert_eq!(fix(&sick(), &Ui::new(true), || agrees, run), agrees);
            let expected: &[&str] = if agrees {
                &["ip link set dev eth0 up"]
            } else {
                &[]
            };
            assert_eq!(ran.into_inner(), expected);
        }
    }

    #[test]
    fn an_agent_that_runs_says_what_it_is_short_of() {
        let text = render(&of_the_agent(&samples::status()));
        assert_eq!(
            plain(&text),
            "         WHAT              FOUND\n\
             ok       agent             version 0.1.0 runs (process 42)\n\
             ok       agent: nat ports  1146 of 31744 are in use from 10.0.1.1 to 10.0.1.11:8080 (tcp)\n\
             warning  agent             eth2 is missing: its traffic is not balanced\n"
        );
    }

    #[test]
    fn what_is_wrong_comes_with_the_command_that_mends_it() {
        let text = render(&sick());
        assert_eq!(
            plain(&text),
            "     WHAT           FOUND\n\
             ok   kernel         6.1.0\n\
             bad  configuration  2 errors\n\
             bad  eth0: link     down\n\
             \nTo fix it:\n  ebb check-config /etc/ebb/ebb.toml\n  ip link set dev eth0 up\n\
             `ebb doctor --fix` asks before it runs each of them.\n"
        );
    }
}
