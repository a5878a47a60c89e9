//! ebb on the balancer: the agent as a process, and its command line.

use std::{
    env, fs,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use anyhow::{Context as _, Result, bail};
use lb_userspace::{
    model::Mode,
    wire::{Backend, HealthByHand, LoadBalancer, Status},
};
use serde::de::DeserializeOwned;

use crate::hook::Hook;

use super::{
    passer::Passer,
    process::Process,
    resets::Resets,
    site::{Site, TALKER, VIP_V4},
    wait,
};

/// The load balancer that [`Settings`] describe.
pub const LB: &str = "web";

/// How long the agent may take to come up, or to go.
const PATIENCE: Duration = Duration::from_secs(15);

/// What a test wants of its load balancer.
#[derive(Debug, Clone)]
pub struct Settings {
    pub draining: bool,
    /// Seconds.
    pub drain_timeout: u32,
    /// Seconds.
    pub idle_timeout: u32,
    /// Established entries that the kernel's table has room for.
    pub flows: u32,
    /// Half-open ones.
    pub half_open: u32,
    /// Which of the site's backends are in it; all, when empty.
    pub backends: Vec<String>,
    /// The lines of `[load_balancer.health_check]`; none, when empty.
    pub health_check: String,
    /// Lines at the top of the file.
    pub more: String,
}

impl Default for Settings {
    /// As the product's own defaults.
    fn default() -> Self {
        Self {
            draining: true,
            drain_timeout: 300,
            idle_timeout: 350,
            flows: 262_144,
            half_open: 65_536,
            backends: Vec::new(),
            health_check: String::new(),
            more: String::new(),
        }
    }
}

impl Settings {
    /// The configuration file for `site`.
    pub fn write(&self, site: &Site) -> String {
        let (mode, web_port) = match site.mode {
            Mode::Nat => ("nat", 8080),
            Mode::Dsr => ("dsr", 80),
            Mode::Ipip => ("ipip", 80),
        };
        let wanted =
            |id: &str| self.backends.is_empty() || self.backends.iter().any(|name| name == id);
        let backends: String = site
            .backends
            .iter()
            .map(|backend| &backend.host)
            .filter(|host| wanted(&host.name))
            .map(|host| {
                format!(
                    "    {{ id = \"{}\", address = \"{}\" }},\n",
                    host.name, host.v4
                )
            })
            .collect();
        let health_check = match &*self.health_check {
            "" => String::new(),
            lines => format!("[load_balancer.health_check]\n{lines}"),
        };
        format!(
            r#"{preamble}{more}

[tables]
flows = {flows}
half_open = {half_open}

[[load_balancer]]
name = "{LB}"
mode = "{mode}"
listeners = [
    {{ protocol = "tcp", address = "{VIP_V4}", port = 80, backend_port = {web_port} }},
    {{ protocol = "tcp", address = "{VIP_V4}", port = {TALKER} }},
    {{ protocol = "udp", address = "{VIP_V4}", port = {TALKER} }},
]
backends = [
{backends}]
[load_balancer.attributes]
connection_draining = {{ enabled = {draining}, timeout = {drain_timeout} }}
idle_timeout = {idle_timeout}
{health_check}
"#,
            preamble = site.preamble(),
            draining = self.draining,
            drain_timeout = self.drain_timeout,
            idle_timeout = self.idle_timeout,
            more = self.more,
            flows = self.flows,
            half_open = self.half_open,
        )
    }
}

/// The agent, running on a site's balancer; killed when dropped.
#[derive(Debug)]
pub struct Ebb<'a> {
    site: &'a Site,
    binary: PathBuf,
    /// What the agent is started by, if not by itself.
    starter: Vec<String>,
    process: Option<Process>,
    /// At the other ends of the balancer's links.
    passer: Option<Passer>,
}

/// The `ebb` under test.
pub(super) fn binary() -> Result<PathBuf> {
    env::var_os("EBB_BIN")
        .map(PathBuf::from)
        .context("EBB_BIN does not name the ebb to run; `cargo xtask test` sets it")
}

/// What a command of `ebb` came to.
#[derive(Debug)]
pub struct Output {
    pub exit: i32,
    pub stdout: String,
    pub stderr: String,
}

impl<'a> Ebb<'a> {
    /// Counts the RSTs of flows that are none where the balancer's link ends.
    pub fn count_resets(&mut self) -> Result<Resets> {
        // One program per interface: this one passes everything else.
        self.passer = None;
        Resets::count(self.site)
    }

    /// Starts the agent with this configuration and waits until it answers.
    pub fn start(site: &'a Site, settings: &Settings) -> Result<Self> {
        Self::start_with(site, &settings.write(site))
    }

    /// As [`Ebb::start`], with the configuration written out.
    pub fn start_with(site: &'a Site, configuration: &str) -> Result<Self> {
        let mut ebb = Self::prepare(site, configuration)?;
        ebb.launch()?;
        Ok(ebb)
    }

    /// All but the agent itself.
    pub fn prepare(site: &'a Site, configuration: &str) -> Result<Self> {
        let ebb = Self {
            site,
            binary: binary()?,
            starter: Vec::new(),
            process: None,
            passer: match site.hook {
                Hook::Xdp => Some(Passer::start(site)?),
                Hook::Tc => None,
            },
        };
        ebb.write_config(configuration)?;
        Ok(ebb)
    }

    /// Starts the agent again, after [`Ebb::stop`] or [`Ebb::crash`].
    pub fn launch(&mut self) -> Result<()> {
        let mut words = self.starter.iter().map(AsRef::as_ref);
        let program = words.next().unwrap_or(self.binary.as_os_str());
        let mut command = self.site.balancer.command(program);
        command.args(words);
        if !self.starter.is_empty() {
            command.arg(&self.binary);
        }
        command.arg("agent").arg("--config").arg(self.config());
        let process = self
            .process
            .insert(Process::start("ebb agent", &mut command, &self.log())?);
        let socket = self.site.dir().join("ebb.sock");
        wait::until_true("the agent to answer", PATIENCE, || {
            process.expect_running()?;
            Ok(std::os::unix::net::UnixStream::connect(&socket).is_ok())
        })?;
        self.status().map(drop)
    }

    /// From now on the agent is started without root's rights, as the systemd
    /// unit starts it: another user, with these capabilities and no others.
    pub fn as_nobody(&mut self) -> Result<()> {
        const NOBODY: u32 = 65534;
        const CAPABILITIES: &str = "-all,+bpf,+net_admin,+net_raw,+perfmon";
        let state = self.site.dir().join("state");
        for dir in [self.site.dir(), &state, self.site.pins()] {
            fs::create_dir_all(dir).with_context(|| format!("cannot make {}", dir.display()))?;
            std::os::unix::fs::chown(dir, Some(NOBODY), Some(NOBODY))
                .with_context(|| format!("cannot give {} away", dir.display()))?;
        }
        self.starter = [
            "setpriv",
            &format!("--reuid={NOBODY}"),
            &format!("--regid={NOBODY}"),
            "--clear-groups",
            "--no-new-privs",
            &format!("--inh-caps={CAPABILITIES}"),
            &format!("--ambient-caps={CAPABILITIES}"),
            &format!("--bounding-set={CAPABILITIES}"),
        ]
        .map(str::to_owned)
        .into();
        Ok(())
    }

    /// From now on the agent is started by this program, whose last arguments
    /// it becomes.
    pub fn started_by(&mut self, words: &[&str]) {
        self.starter = words.iter().map(|word| (*word).to_owned()).collect();
    }

    /// From now on it is another binary, as after the package's upgrade.
    pub fn upgrade(&mut self) -> Result<()> {
        let newer = self.site.dir().join("ebb-newer");
        // By another process: a file that this one has open for writing could
        // be so in a child that another test has just forked, and then it
        // cannot be run.
        let copied = Command::new("cp").arg(&self.binary).arg(&newer).status()?;
        if !copied.success() {
            bail!("cannot copy {}", self.binary.display());
        }
        self.binary = newer;
        Ok(())
    }

    /// Ends the agent in an orderly way.
    pub fn stop(&mut self) -> Result<()> {
        let process = self.process.take().context("no agent is running")?;
        process.terminate(PATIENCE).map(drop)
    }

    /// Ends the agent as a crash would.
    pub fn crash(&mut self) -> Result<()> {
        self.process.take().context("no agent is running")?.kill()
    }

    /// The running agent's process.
    pub fn process(&self) -> Result<&Process> {
        self.process.as_ref().context("no agent is running")
    }

    pub fn write_config(&self, text: &str) -> Result<()> {
        let file = self.config();
        let mode = if text.contains("access_keys") {
            0o600
        } else {
            0o644
        };
        fs::write(&file, text)
            .and_then(|()| fs::set_permissions(&file, fs::Permissions::from_mode(mode)))
            .with_context(|| format!("cannot write {}", file.display()))
    }

    /// The agent's configuration file.
    pub fn config(&self) -> PathBuf {
        self.site.dir().join("ebb.toml")
    }

    fn log(&self) -> PathBuf {
        self.site.dir().join("agent.log")
    }

    /// An `ebb` command on the balancer.
    pub fn command(&self, args: &[&str]) -> Command {
        let mut command = self.site.balancer.command(&self.binary);
        command
            .arg("--socket")
            .arg(self.site.dir().join("ebb.sock"))
            .args(args);
        command
    }

    /// Runs `ebb` with these arguments, whatever comes of it.
    pub fn run(&self, args: &[&str]) -> Result<Output> {
        let done = self.command(args).output().context("cannot start ebb")?;
        Ok(Output {
            exit: done
                .status
                .code()
                .with_context(|| format!("ebb ended by {}", done.status))?,
            stdout: String::from_utf8_lossy(&done.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&done.stderr).into_owned(),
        })
    }

    /// Runs `ebb --json` with these arguments and reads what it prints.
    pub fn json<T: DeserializeOwned>(&self, args: &[&str]) -> Result<T> {
        let args = [&["--json"], args].concat();
        let done = self.run(&args)?;
        if done.exit != 0 {
            bail!(
                "ebb {}: exit {}\n{}{}",
                args.join(" "),
                done.exit,
                done.stdout,
                done.stderr
            );
        }
        serde_json::from_str(&done.stdout)
            .with_context(|| format!("ebb {} printed {}", args.join(" "), done.stdout))
    }

    pub fn status(&self) -> Result<Status> {
        self.json(&["status"])
    }

    pub fn load_balancer(&self) -> Result<LoadBalancer> {
        self.json(&["lb", "show", LB])
    }

    /// The backend, also for a while after it is gone.
    pub fn backend(&self, id: &str) -> Result<Backend> {
        self.json(&["backend", "show", LB, id])
    }

    /// Deregisters; `options` are more of the command's arguments. The answer
    /// means: in force.
    pub fn deregister(&self, id: &str, options: &[&str]) -> Result<Backend> {
        self.json(&[&["backend", "deregister", LB, id], options].concat())
    }

    /// Registers a backend of the site, under its own name.
    pub fn register(&self, id: &str) -> Result<Backend> {
        let address = self.site.backend(id)?.host.v4;
        let backend = format!("{id}={address}");
        let _: serde_json::Value = self.json(&["backend", "register", LB, &backend])?;
        self.backend(id)
    }

    /// Sets a backend's health by hand.
    pub fn set_health(&self, id: &str, health: HealthByHand) -> Result<Backend> {
        let health = match health {
            HealthByHand::Healthy => "healthy",
            HealthByHand::Unhealthy => "unhealthy",
            HealthByHand::Auto => "auto",
        };
        self.json(&["backend", "health", LB, id, health])
    }

    /// Waits until every backend takes new connections.
    pub fn wait_in_service(&self) -> Result<()> {
        wait::until_true("every backend to take new flows", PATIENCE, || {
            let lb = self.load_balancer()?;
            Ok(!lb.backends.is_empty() && lb.backends.iter().all(|backend| backend.takes_new))
        })
    }

    /// Waits until the backend has so many flows.
    pub fn wait_flows(&self, id: &str, flows: u64, within: Duration) -> Result<()> {
        let what = format!("{id} to have {flows} flows");
        wait::until_true(&what, within, || Ok(self.backend(id)?.flows == flows))
    }

    /// Waits until the backend is gone, and returns how its drain went.
    pub fn wait_gone(&self, id: &str, within: Duration) -> Result<Backend> {
        wait::until(&format!("{id} to be gone"), within, || {
            let backend = self.backend(id)?;
            Ok((backend.registration == "gone").then_some(backend))
        })
    }

    /// What the agent logged, and says of itself, for people who look for what
    /// went wrong.
    pub fn describe(&self) -> String {
        let mut text = format!("--- the agent's log\n{}", read(&self.log()));
        for args in [
            &["status"][..],
            &["lb", "show", LB],
            &["flows", LB, "--limit", "20"],
        ] {
            let shown = match self.run(args) {
                Ok(output) => output.stdout + &output.stderr,
                Err(error) => format!("{error:#}\n"),
            };
            text.push_str(&format!("--- ebb {}\n{shown}", args.join(" ")));
        }
        text
    }
}

fn read(file: &Path) -> String {
    fs::read_to_string(file).unwrap_or_else(|error| format!("({error})\n"))
}
