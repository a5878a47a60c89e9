//! curl on the client: many short requests, or one long download.

use std::{
    collections::BTreeMap,
    fs, io,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail};

use super::{host::Host, process::Process, wait};

/// curl's exit code for "could not read: the connection was reset", among
/// others.
pub const CUT: i32 = 56;

/// Has curl print how many seconds it was at work.
const TOOK: &str = "%{stderr}took %{time_total}\n";

/// What many short requests came to.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// Answers by backend.
    pub answers: BTreeMap<String, usize>,
    /// Requests without a good answer.
    pub failed: usize,
}

impl Tally {
    pub fn of(&self, backend: &str) -> usize {
        self.answers.get(backend).copied().unwrap_or(0)
    }

    pub fn total(&self) -> usize {
        self.answers.values().sum::<usize>() + self.failed
    }
}

/// Asks `url` so many times, with a new connection for each.
pub fn many(client: &Host, url: &str, requests: usize) -> Result<Tally> {
    let mut curl = client.command("curl");
    curl.args(["--silent", "--http1.1", "--max-time", "10"]);
    curl.args([
        "--header",
        "Connection: close",
        "--write-out",
        " %{http_code}\\n",
    ]);
    curl.arg(format!("{url}?[1-{requests}]"));
    let done = curl.output().context("cannot start curl")?;
    let mut tally = Tally::default();
    for line in String::from_utf8_lossy(&done.stdout).lines() {
        match line.split_once(' ') {
            Some((backend, "200")) => *tally.answers.entry(backend.to_owned()).or_default() += 1,
            _ => tally.failed += 1,
        }
    }
    if tally.total() != requests {
        bail!(
            "curl made {} requests instead of {requests}: {}",
            tally.total(),
            String::from_utf8_lossy(&done.stderr)
        );
    }
    Ok(tally)
}

/// A download under way; ended when dropped.
#[derive(Debug)]
pub struct Download {
    process: Process,
    head: PathBuf,
    body: PathBuf,
    pub started: Instant,
}

/// What a download came to.
#[derive(Debug)]
pub struct Downloaded {
    /// curl's own: 0, or [`CUT`], or another.
    pub exit: i32,
    pub body: Vec<u8>,
    pub ended: Instant,
}

impl Download {
    /// Starts to fetch `url` into `dir`, where its files are called `name`.
    pub fn start(client: &Host, url: &str, dir: &Path, name: &str) -> Result<Self> {
        Self::fetch(client, url, &[], dir, name)
    }

    /// As [`Download::start`], of the first `bytes` only.
    pub fn part(client: &Host, url: &str, bytes: usize, dir: &Path, name: &str) -> Result<Self> {
        let range = format!("0-{}", bytes - 1);
        Self::fetch(client, url, &["--range", &range], dir, name)
    }

    fn fetch(client: &Host, url: &str, more: &[&str], dir: &Path, name: &str) -> Result<Self> {
        let path = |ending| dir.join(format!("{name}.{ending}"));
        let (head, body, log) = (path("head"), path("body"), path("log"));
        for left in [&head, &body] {
            // An earlier download of this name must not answer for this one.
            match fs::remove_file(left) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => {
                    return Err(error).with_context(|| format!("cannot remove {}", left.display()));
                }
                _ => {}
            }
        }
        let mut curl = client.command("curl");
        curl.args([
            "--silent",
            "--show-error",
            "--globoff",
            "--http1.1",
            "--no-buffer",
            "--write-out",
            TOOK,
        ]);
        curl.args(more);
        curl.arg("--dump-header")
            .arg(&head)
            .arg("--output")
            .arg(&body)
            .arg(url);
        let process = Process::start(&format!("curl {url}"), &mut curl, &log)?;
        Ok(Self {
            process,
            head,
            body,
            started: Instant::now(),
        })
    }

    /// The backend that answers, as soon as it does.
    pub fn backend(&mut self) -> Result<String> {
        wait::until("the head of the answer", Duration::from_secs(5), || {
            let head = fs::read_to_string(&self.head).unwrap_or_default();
            if head.contains("\r\n\r\n") {
                let name = head
                    .lines()
                    .find_map(|line| line.strip_prefix("X-Backend: "));
                return Ok(Some(
                    name.with_context(|| format!("no name in {head:?}"))?
                        .to_owned(),
                ));
            }
            self.process.expect_running()?;
            Ok(None)
        })
    }

    /// Bytes that have come so far.
    pub fn received(&self) -> u64 {
        fs::metadata(&self.body).map_or(0, |body| body.len())
    }

    /// An error if it is not under way any more.
    pub fn expect_running(&mut self) -> Result<()> {
        self.process.expect_running()
    }

    /// Waits for its end.
    pub fn wait(mut self, within: Duration) -> Result<Downloaded> {
        let status = self.process.wait(within)?;
        let printed = self.process.printed();
        let took = printed
            .lines()
            .rev()
            .find_map(|line| line.strip_prefix("took "))
            .with_context(|| format!("curl does not say how long it took: {printed:?}"))?;
        let took = Duration::try_from_secs_f64(took.parse()?)?;
        let exit = status
            .code()
            .with_context(|| format!("curl ended by {status}"))?;
        let body = fs::read(&self.body).unwrap_or_default();
        Ok(Downloaded {
            exit,
            body,
            ended: self.started + took,
        })
    }
}
