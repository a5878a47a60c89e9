//! `cargo xtask fuzz`: LLVM's fuzzer on what parses strangers' bytes.
//!
//! The fuzzer begins with the seeds in `tests/fuzz/seeds` and changes them by what
//! it sees covered: the compiler puts a counter at every branch, which stable Rust
//! can. What it found on the way is kept in the build output and begun with the
//! next time. An input that breaks a promise is left in `target/fuzz`; with its
//! fault mended it belongs among the seeds, which every test run tries.

use std::{
    ffi::OsString,
    fs, io,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, Result, ensure};

use crate::{
    command::{self, step},
    setup, workspace,
};

#[derive(clap::Args)]
pub(crate) struct Args {
    /// What to send strangers' bytes to: a folder of `tests/fuzz/seeds`. Without it
    /// each in turn.
    #[arg(value_name = "TARGET")]
    target: Option<String>,
    /// For how long, each.
    #[arg(long, value_name = "N", default_value_t = 10)]
    minutes: u64,
    /// Passed on to the fuzzer; `-- -help=1` tells what it takes.
    #[arg(last = true)]
    args: Vec<OsString>,
}

/// How much a target may have, in mebibytes, and how long for one input, in
/// seconds. The longest that the admin API takes is a mebibyte.
const MEMORY: u32 = 512;
const PATIENCE: u32 = 5;
/// Longer inputs find nothing that shorter ones do not.
const LONGEST: u32 = 16 << 10;

/// Where a build counts what is covered: LLVM's pass, and what the fuzzer reads.
const COUNTED: [&str; 6] = [
    "-Cpasses=sancov-module",
    "-Cllvm-args=-sanitizer-coverage-level=4",
    "-Cllvm-args=-sanitizer-coverage-inline-8bit-counters",
    "-Cllvm-args=-sanitizer-coverage-pc-table",
    "-Ccodegen-units=1",
    "-Cdebug-assertions=on",
];

pub(crate) fn run(args: &Args) -> Result<()> {
    let targets = targets()?;
    let wanted: Vec<&String> = match &args.target {
        Some(target) => vec![
            targets
                .iter()
                .find(|known| *known == target)
                .with_context(|| format!("{target} is none of {}", targets.join(", ")))?,
        ],
        None => targets.iter().collect(),
    };
    let fuzzer = build()?;
    for target in wanted {
        fuzz(&fuzzer, target, args.minutes * 60, &args.args)?;
    }
    Ok(())
}

/// A little of each: what `cargo xtask test` does.
pub(crate) fn briefly(seconds: u64) -> Result<()> {
    let targets = targets()?;
    let fuzzer = build()?;
    for target in targets {
        fuzz(&fuzzer, &target, seconds, &[])?;
    }
    Ok(())
}

fn seeds() -> PathBuf {
    workspace::root().join("tests/fuzz/seeds")
}

/// Every target has a folder of seeds, or `tests/fuzz/seeds.rs` fails.
fn targets() -> Result<Vec<String>> {
    let seeds = seeds();
    let unread = || format!("cannot list {}", seeds.display());
    let mut targets = Vec::new();
    for entry in fs::read_dir(&seeds).with_context(unread)? {
        targets.push(
            entry
                .with_context(unread)?
                .file_name()
                .to_string_lossy()
                .into_owned(),
        );
    }
    ensure!(!targets.is_empty(), "{} is empty", seeds.display());
    targets.sort();
    Ok(targets)
}

/// Builds the fuzzer and all that it looks into, with counters, apart from other
/// builds.
fn build() -> Result<PathBuf> {
    setup::cxx()?;
    let host = host()?;
    let dir = workspace::target_dir().join("fuzz");
    let mut cargo = command::cargo();
    cargo
        .env("CARGO_ENCODED_RUSTFLAGS", COUNTED.join("\x1f"))
        .env("CARGO_PROFILE_RELEASE_DEBUG", "line-tables-only")
        .env("CARGO_PROFILE_RELEASE_OPT_LEVEL", "1")
        .env("CARGO_INCREMENTAL", "0")
        .args(["build", "--quiet", "--release", "--package", "fuzz"])
        .args(["--features", "libfuzzer", "--bin", "ebb-fuzz"])
        // Flags are then for the target and not for build scripts and macros.
        .args(["--target", &host, "--target-dir"])
        .arg(&dir);
    step("building the fuzzer", || command::run(&mut cargo))?;
    Ok(dir.join(host).join("release/ebb-fuzz"))
}

/// What rustc calls this machine.
fn host() -> Result<String> {
    let rustc = std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
    let about = command::output(Command::new(rustc).arg("-vV"))?;
    let host = about.lines().find_map(|line| line.strip_prefix("host: "));
    Ok(host.context("rustc -vV names no host")?.to_owned())
}

fn fuzz(fuzzer: &Path, target: &str, seconds: u64, args: &[OsString]) -> Result<()> {
    let found = workspace::target_dir().join("fuzz");
    let corpus = found.join("corpus").join(target);
    fs::create_dir_all(&corpus).with_context(|| format!("cannot create {}", corpus.display()))?;
    let mut run = Command::new(fuzzer);
    run.current_dir(&found)
        .env("EBB_FUZZ_TARGET", target)
        .arg(format!("-max_total_time={seconds}"))
        .arg(format!("-rss_limit_mb={MEMORY}"))
        .arg(format!("-timeout={PATIENCE}"))
        .arg(format!("-max_len={LONGEST}"))
        .arg(format!("-artifact_prefix={target}-"))
        .args(["-print_final_stats=1", "-verbosity=0"])
        .args(args)
        // What it finds goes into the first folder.
        .arg(&corpus)
        .arg(seeds().join(target));
    step(&format!("fuzzing {target}"), || command::run(&mut run)).with_context(|| {
        format!(
            "{target} breaks a promise; the input is {}; mend it, and put the input into {}",
            newest(&found, target).map_or_else(|_| "?".into(), |file| file.display().to_string()),
            seeds().join(target).display()
        )
    })
}

/// What the fuzzer left last: an input.
fn newest(dir: &Path, target: &str) -> io::Result<PathBuf> {
    let prefix = format!("{target}-");
    fs::read_dir(dir)?
        .flatten()
        .filter(|entry| entry.file_name().to_string_lossy().starts_with(&prefix))
        .max_by_key(|entry| entry.metadata().and_then(|data| data.modified()).ok())
        .map(|entry| entry.path())
        .ok_or_else(|| io::Error::from(io::ErrorKind::NotFound))
}
