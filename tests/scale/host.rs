//! A host of the bench's own: a network namespace with one interface, an agent,
//! and a folder for its state.

use std::{
    env, fs,
    io::Write as _,
    path::PathBuf,
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};
use lb_userspace::{api::client::Client, wire::Status};
use rustix::thread::{UnshareFlags, unshare_unsafe};
use tempfile::TempDir;
use tests::lab::{process::Process, wait};

/// Whether the backends' neighbours can be reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Neighbours {
    /// All of them are behind a router whose MAC address is known.
    Known,
    /// Each is on the link, and none answers.
    Silent,
}

/// How long anything may take that is not measured.
const PATIENCE: Duration = Duration::from_secs(300);

/// Where all backends are.
const BACKENDS: &str = "10.64.0.0/10";

/// The rest of this process, and what it starts, is in a network of its own.
pub(crate) fn leave_the_hosts_network() -> Result<()> {
    // SAFETY: the new namespace is of the network only; what this process
    // shares between threads stays shared.
    unsafe { unshare_unsafe(UnshareFlags::NEWNET) }.context("cannot make a network namespace")
}

/// The interface, as long as this is there.
pub(crate) struct Host {
    dir: TempDir,
    pins: PathBuf,
    binary: PathBuf,
    agent: Option<Process>,
    pub(crate) client: Client,
}

impl Host {
    /// A host without an agent yet, and what the agent is to be told beside its
    /// settings.
    pub(crate) fn new(neighbours: Neighbours) -> Result<Self> {
        let way = match neighbours {
            Neighbours::Known => format!(
                "neigh replace 10.0.0.254 lladdr 02:00:00:00:00:fe dev front nud permanent\n\
                 route add {BACKENDS} via 10.0.0.254\n"
            ),
            Neighbours::Silent => format!("route add {BACKENDS} dev front\n"),
        };
        ip(&format!(
            "link add front type veth peer name rear\n\
             link set front up\n\
             link set rear up\n\
             address add 10.0.0.1/24 dev front\n\
             {way}"
        ))?;
        let dir = TempDir::with_prefix("ebb-scale-")?;
        Ok(Self {
            pins: format!("/sys/fs/bpf/ebb-scale-{}", std::process::id()).into(),
            binary: env::var_os("EBB_BIN")
                .map(PathBuf::from)
                .context("EBB_BIN does not name the ebb to run; `cargo xtask bench` sets it")?,
            agent: None,
            client: Client::new(dir.path().join("ebb.sock")),
            dir,
        })
    }

    /// The agent's settings, with room for so many backends.
    pub(crate) fn write_settings(&self, backends: u32) -> Result<()> {
        let dir = self.dir.path().display();
        let text = format!(
            "interfaces = [\"front\"]\n\
             socket = \"{dir}/ebb.sock\"\n\
             state_dir = \"{dir}/state\"\n\
             bpffs_dir = \"{}\"\n\
             [tables]\n\
             backends = {backends}\n",
            self.pins.display()
        );
        Ok(fs::write(self.config(), text)?)
    }

    fn config(&self) -> PathBuf {
        self.dir.path().join("ebb.toml")
    }

    /// Starts the agent, and returns how long it took to its first answer.
    pub(crate) async fn start(&mut self) -> Result<Duration> {
        let began = Instant::now();
        let mut agent = Command::new(&self.binary);
        agent
            .arg("agent")
            .arg("--config")
            .arg(self.config())
            .env("EBB_LOG", "error");
        let log = self.dir.path().join("agent.log");
        let agent = self
            .agent
            .insert(Process::start("the agent", &mut agent, &log)?);
        while self.client.status().await.is_err() {
            agent.expect_running()?;
            ensure!(began.elapsed() < PATIENCE, "no answer: {}", agent.printed());
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        Ok(began.elapsed())
    }

    pub(crate) fn stop(&mut self) -> Result<()> {
        let agent = self.agent.take().context("no agent is running")?;
        agent.terminate(PATIENCE).map(drop)
    }

    /// Waits until the status is as wanted.
    pub(crate) async fn wait(&self, what: &str, wanted: impl Fn(&Status) -> bool) -> Result<()> {
        let began = Instant::now();
        loop {
            let status = self.client.status().await?;
            if wanted(&status) {
                return Ok(());
            }
            ensure!(began.elapsed() < PATIENCE, "waited for {what}: {status:?}");
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    }

    /// The CPU time that the agent has used.
    pub(crate) fn cpu(&self) -> Result<Duration> {
        /// In a second, as the kernel tells it to anybody (USER_HZ).
        const TICKS: u64 = 100;
        let text = self.proc("stat")?;
        let after_name = text.rsplit_once(')').context("no name in it")?.1;
        let fields: Vec<&str> = after_name.split_whitespace().collect();
        // proc_pid_stat(5): fields 14 and 15, of which two are before this.
        let ticks = |field: usize| -> Result<u64> { Ok(fields[field - 3].parse()?) };
        Ok(Duration::from_millis(
            (ticks(14)? + ticks(15)?) * 1000 / TICKS,
        ))
    }

    /// The memory that the agent has resident, in bytes.
    pub(crate) fn resident(&self) -> Result<u64> {
        let text = self.proc("status")?;
        let line = text
            .lines()
            .find_map(|line| line.strip_prefix("VmRSS:"))
            .context("no VmRSS")?;
        let kilobytes: u64 = line.trim().trim_end_matches(" kB").parse()?;
        Ok(kilobytes * 1024)
    }

    fn proc(&self, file: &str) -> Result<String> {
        let agent = self.agent.as_ref().context("no agent is running")?;
        let path = format!("/proc/{}/{file}", agent.id());
        fs::read_to_string(&path).with_context(|| format!("cannot read {path}"))
    }

    /// What the agent has on disk, in bytes.
    pub(crate) fn state_size(&self) -> Result<u64> {
        let mut bytes = 0;
        for entry in fs::read_dir(self.dir.path().join("state"))? {
            bytes += entry?.metadata()?.len();
        }
        Ok(bytes)
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        drop(self.agent.take());
        let unloaded = Command::new(&self.binary)
            .args(["unload", "--config"])
            .arg(self.config())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status();
        if !unloaded.is_ok_and(|status| status.success()) {
            eprintln!("the agent's maps are still in {}", self.pins.display());
        }
        let gone = wait::until_true("the interface to go", PATIENCE, || {
            Ok(ip("link delete front\n").is_ok())
        });
        if let Err(error) = gone {
            eprintln!("{error:#}");
        }
    }
}

/// Runs lines of `ip`, without the word itself.
fn ip(lines: &str) -> Result<()> {
    let mut child = Command::new("ip")
        .args(["-batch", "-"])
        .stdin(Stdio::piped())
        .spawn()
        .context("cannot start ip")?;
    if let Some(mut stdin) = child.stdin.take() {
        stdin.write_all(lines.as_bytes())?;
    }
    let done = child.wait()?;
    ensure!(done.success(), "ip -batch: {done}\n{lines}");
    Ok(())
}
