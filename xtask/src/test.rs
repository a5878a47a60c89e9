//! `cargo xtask test`: the gates, then every test there is, the quick ones first.

use std::{env, ffi::OsString, fs, path::Path, slice, thread};

use anyhow::Result;
use clap::ValueEnum as _;

use crate::{
    bench,
    build::{self, Built},
    check, clean_lab,
    command::{self, step},
    fuzz, guest, hosts, setup, workspace,
};

#[derive(clap::Args)]
pub(crate) struct Args {
    /// Run only the tests whose name contains this.
    #[arg(long, value_name = "TEXT")]
    filter: Option<String>,
    /// Run only this suite; may be given more than once.
    #[arg(long, value_name = "SUITE")]
    only: Vec<Suite>,
    /// Run the packet tests, and only them, under a kernel of this series in
    /// an emulated machine, as the suite `oldest-kernel` does under 6.1.
    #[arg(long, value_name = "SERIES", conflicts_with_all = ["only", "jobs"])]
    kernel: Option<guest::Series>,
    /// Have packets taken at this hook only, in the suites that say nothing of hooks.
    #[arg(long, value_name = "HOOK")]
    hook: Option<Hook>,
    /// How many network tests run at a time. Each has its own namespaces, and
    /// most of its time goes by waiting.
    #[arg(long, value_name = "N", default_value_t = default_jobs())]
    jobs: usize,
    /// Passed on to the test programs.
    #[arg(last = true)]
    args: Vec<OsString>,
}

/// What is run together.
#[derive(Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Suite {
    /// Unit and property tests of every crate.
    Unit,
    /// Packets through the kernel program, one at a time.
    Packet,
    /// One round of the bench, which proves each path before it is timed.
    Bench,
    /// The data plane in the kernel, without an agent above it.
    Dataplane,
    /// The agent's control over a data plane in memory.
    Model,
    /// What parses strangers' bytes, fuzzed for a few seconds each.
    Fuzz,
    /// Real servers and clients in network namespaces.
    Net,
    /// Those of the network tests that carry the most, with packets taken at TC.
    NetAtTc,
    /// The Query API, driven by `aws` and boto3.
    Elb,
    /// The console, driven in a browser.
    Console,
    /// What strangers try, packet by packet and over the network: those of the packet
    /// and network tests that are named after it.
    Hostile,
    /// The packet tests under the oldest kernel that is supported, in an emulated
    /// machine.
    OldestKernel,
    /// The Debian package on whole hosts with systemd, emulated. Takes so long that it
    /// is run for those who ask for it.
    Package,
}

/// Where in the kernel packets are taken.
#[derive(Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Hook {
    Xdp,
    Tc,
}

impl Hook {
    /// As the tests are told.
    const fn name(self) -> &'static str {
        match self {
            Self::Xdp => "xdp",
            Self::Tc => "tc",
        }
    }
}

/// For how long each target is fuzzed, in seconds.
const FUZZ_SECONDS: u64 = 10;

fn default_jobs() -> usize {
    thread::available_parallelism().map_or(1, |n| n.get().min(4))
}

/// Runs the tests; `xtask` is our own command line, which the gates ask for.
pub(crate) fn run(args: &Args, xtask: clap::Command) -> Result<()> {
    if let Some(series) = args.kernel {
        return guest::run(series, &args.of_tests());
    }
    // Who asks for some of the tests is at work, and judges the source later.
    let all = args.only.is_empty() && args.filter.is_none();
    if all {
        check::run(&check::Args::default(), xtask)?;
    }
    setup::lab()?;
    let built = build::build(&[])?;
    clean_lab::run()?;
    // What the tests measured, from now on.
    let report = workspace::target_dir().join("test-report.txt");
    fs::write(&report, "")?;
    for &suite in Suite::value_variants() {
        let by_default = args.only.is_empty()
            && suite != Suite::Hostile // its tests are others' too
            && suite != Suite::Package
            && (all || suite.has_names());
        if by_default || args.only.contains(&suite) {
            step(suite.title(), || suite.run(args, &built, &report))?;
        }
    }
    // The lines that the tests had to say, in the order in which they said them.
    print!("{}", fs::read_to_string(&report)?);
    Ok(())
}

impl Args {
    /// What a test program is given.
    fn of_tests(&self) -> Vec<OsString> {
        // Tests that need root are marked as ignored, for those who type
        // `cargo test`; here is where they are meant to run.
        let mut arguments = vec!["--include-ignored".into()];
        arguments.extend(self.filter.as_ref().map(OsString::from));
        arguments.extend(self.args.iter().cloned());
        arguments
    }
}

impl Suite {
    /// Whether it is run for the sake of a test's name. To boot another kernel for a
    /// test or two takes somebody who asks for it.
    fn has_names(self) -> bool {
        !matches!(
            self,
            Self::Bench | Self::Fuzz | Self::NetAtTc | Self::OldestKernel
        )
    }

    /// The hooks that the suite's packets go through, one after the other.
    fn hooks(self) -> &'static [Hook] {
        match self {
            Self::Packet => &[Hook::Xdp, Hook::Tc],
            Self::NetAtTc => &[Hook::Tc],
            _ => &[Hook::Xdp],
        }
    }

    /// What the names of its tests contain, if it is not all that its programs have.
    fn names(self) -> &'static [&'static str] {
        match self {
            Self::Hostile => &["hostile"],
            Self::NetAtTc => &["traffic::", "p4_deadline::", "restart::", "timers::"],
            _ => &[],
        }
    }

    fn title(self) -> &'static str {
        match self {
            Self::Unit => "unit and property tests",
            Self::Packet => "packet tests",
            Self::Bench => "a round of the bench",
            Self::Dataplane => "tests of the data plane",
            Self::Model => "model tests",
            Self::Fuzz => "a little fuzzing",
            Self::Net => "network tests",
            Self::NetAtTc => "network tests at TC",
            Self::Elb => "tests of the Query API with real clients",
            Self::Console => "tests of the console in a browser",
            Self::Hostile => "what strangers try",
            Self::OldestKernel => "packet tests under the oldest kernel",
            Self::Package => "the package on whole hosts",
        }
    }

    fn run(self, args: &Args, built: &Built, report: &Path) -> Result<()> {
        // What is built together has its dependencies' features together: `xtask` by
        // itself, as it is built to run, and the others with the same ones as `tests`.
        let commands: &[&[&str]] = match self {
            Self::Unit => &[
                &["--package", "xtask"],
                &["-p", "lb-common", "-p", "lb-userspace", "-p", "fuzz"],
                &["--package", "tests", "--lib"],
            ],
            Self::Packet => &[&["--package", "tests", "--test", "packet"]],
            Self::Dataplane => &[&["--package", "tests", "--test", "dataplane"]],
            Self::Model => &[&["--package", "tests", "--test", "model"]],
            Self::Net | Self::NetAtTc => &[&["--package", "tests", "--test", "net"]],
            Self::Hostile => &[&["--package", "tests", "--test", "packet", "--test", "net"]],
            Self::Elb => &[&["--package", "tests", "--test", "elb"]],
            Self::Console => &[&["--package", "tests", "--test", "console"]],
            Self::Bench => return bench::briefly(built),
            Self::Fuzz => return fuzz::briefly(FUZZ_SECONDS),
            Self::OldestKernel => return guest::run(guest::OLDEST, &args.of_tests()),
            Self::Package => return hosts::run(args.filter.as_deref()),
        };
        let clients = match self {
            Self::Elb => Some(setup::clients()?),
            _ => None,
        };
        if self == Self::Console {
            setup::browser()?;
        }
        let hooks: &[Hook] = match &args.hook {
            Some(hook) => slice::from_ref(hook),
            None => self.hooks(),
        };
        for (what, hook) in commands
            .iter()
            .flat_map(|what| hooks.iter().map(move |hook| (what, hook)))
        {
            let mut cargo = build::cargo("test", &built.objects)?;
            cargo.env("EBB_BIN", &built.ebb);
            cargo.env("EBB_TEST_REPORT", report);
            cargo.env("EBB_TEST_HOOK", hook.name());
            if env::var_os("RUST_LIB_BACKTRACE").is_none() {
                // A test's error says where it comes from in words.
                cargo.env("RUST_LIB_BACKTRACE", "0");
            }
            if let Some(clients) = &clients {
                cargo.env("EBB_CLIENTS", clients);
            }
            cargo.args(*what).arg("--").args(args.of_tests());
            cargo.args(self.names());
            if matches!(
                self,
                Self::Dataplane
                    | Self::Net
                    | Self::NetAtTc
                    | Self::Hostile
                    | Self::Elb
                    | Self::Console
            ) {
                cargo.arg(format!("--test-threads={}", args.jobs));
            }
            command::run(&mut cargo)?;
        }
        Ok(())
    }
}
