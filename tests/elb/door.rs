//! A site whose agent has the Query API open, and its clients.

use std::{
    env, fs,
    panic::{self, AssertUnwindSafe},
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, Result, bail, ensure};
use lb_userspace::model::Mode;
use tests::lab::{agent::Ebb, host::Host, site::Site};

/// Where the API listens when only the balancer itself may ask.
pub(crate) const LOOPBACK: &str = "127.0.0.1:8089";

/// Where it listens for the client's host, which then must sign.
pub(crate) const OUTSIDE: &str = "10.0.0.1:8089";

pub(crate) const KEY: &str = "AKIDEXAMPLE";
pub(crate) const SECRET: &str = "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY";

/// A site with an agent that has no load balancer yet.
pub(crate) struct Door<'s> {
    pub(crate) site: &'s Site,
    pub(crate) ebb: Ebb<'s>,
    listen: &'static str,
}

/// Has `act` play where the API listens on `listen`.
pub(crate) fn play(listen: &'static str, act: impl FnOnce(&Door<'_>) -> Result<()>) -> Result<()> {
    let site = Site::new(Mode::Nat)?;
    let ebb =
        Ebb::start_with(&site, &configuration(&site, listen)).with_context(|| site.describe())?;
    let door = Door {
        site: &site,
        ebb,
        listen,
    };
    let played = panic::catch_unwind(AssertUnwindSafe(|| act(&door)));
    if !matches!(played, Ok(Ok(()))) {
        // The harness shows what a failed test prints.
        print!("{}{}", door.ebb.describe(), site.describe());
    }
    played.unwrap_or_else(|panic| panic::resume_unwind(panic))
}

fn configuration(site: &Site, listen: &str) -> String {
    let instances: String = site
        .backends
        .iter()
        .map(|backend| format!("{} = \"{}\"\n", backend.host.name, backend.host.v4))
        .collect();
    let keys = match listen {
        LOOPBACK => String::new(),
        _ => format!("access_keys = {{ {KEY} = \"{SECRET}\" }}\n"),
    };
    format!(
        r#"{preamble}
[elb_api]
listen = "{listen}"
vip_pool = ["10.0.0.100-10.0.0.103"]
{keys}
[elb_api.instances]
{instances}"#,
        preamble = site.preamble(),
    )
}

impl Door<'_> {
    /// Where a client runs that can reach the API.
    fn host(&self) -> &Host {
        match self.listen {
            LOOPBACK => &self.site.balancer,
            _ => &self.site.client,
        }
    }

    /// A command with the clients' programs on its path, and nothing of ours
    /// in its environment but what `aws configure` would have written.
    fn command(&self, program: impl AsRef<std::ffi::OsStr>) -> Result<Command> {
        let clients = clients()?;
        let config = self.site.dir().join("aws-config");
        fs::write(
            &config,
            format!(
                "[default]\n\
                 region = us-east-1\n\
                 output = json\n\
                 aws_access_key_id = {KEY}\n\
                 aws_secret_access_key = {SECRET}\n\
                 services = ebb\n\
                 [services ebb]\n\
                 elastic_load_balancing =\n\
                 \x20 endpoint_url = http://{}\n",
                self.listen
            ),
        )
        .with_context(|| format!("cannot write {}", config.display()))?;
        let mut path = vec![clients];
        path.extend(env::split_paths(&env::var_os("PATH").unwrap_or_default()));
        let mut command = self.host().command(program);
        for (name, _) in env::vars_os() {
            if name.to_string_lossy().starts_with("AWS_") {
                command.env_remove(name);
            }
        }
        command
            .env("AWS_CONFIG_FILE", &config)
            .env("AWS_SHARED_CREDENTIALS_FILE", "/dev/null")
            .env("AWS_EC2_METADATA_DISABLED", "true")
            .env("PYTHONDONTWRITEBYTECODE", "1")
            .env("PATH", env::join_paths(path)?);
        Ok(command)
    }

    /// Types a line into a shell; what it printed.
    pub(crate) fn shell(&self, line: &str) -> Result<String> {
        let mut bash = self.command("bash")?;
        output(bash.args(["-c", line]))
    }

    /// Sends a form as it is, without a client and its signature; the answer.
    pub(crate) fn query(&self, form: &str) -> Result<String> {
        let url = format!("http://{}/", self.listen);
        let args = ["-sS", "--fail", "--max-time", "5", "-d", form, &url];
        self.host().run("curl", &args)
    }

    /// Types a line that must fail; what it complained of.
    pub(crate) fn shell_refuses(&self, line: &str) -> Result<String> {
        let mut bash = self.command("bash")?;
        let done = bash.args(["-c", line]).output()?;
        ensure!(!done.status.success(), "{line} did not fail");
        Ok(String::from_utf8_lossy(&done.stderr).into_owned())
    }

    /// Runs a script of this folder with the python that has boto3, and shows
    /// what it printed.
    pub(crate) fn python(&self, script: &str, args: &[&str]) -> Result<String> {
        let script = Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("elb")
            .join(script);
        let mut python = self.command(clients()?.join("python"))?;
        let printed = output(python.arg(script).args(args))?;
        print!("{printed}");
        Ok(printed)
    }
}

fn clients() -> Result<PathBuf> {
    env::var_os("EBB_CLIENTS")
        .map(PathBuf::from)
        .context("EBB_CLIENTS does not name the clients' folder; `cargo xtask test` sets it")
}

fn output(command: &mut Command) -> Result<String> {
    let done = command
        .output()
        .with_context(|| format!("cannot start {command:?}"))?;
    let printed = String::from_utf8_lossy(&done.stdout).into_owned();
    if !done.status.success() {
        let complaint = String::from_utf8_lossy(&done.stderr);
        bail!("{}: {command:?}\n{printed}{complaint}", done.status);
    }
    Ok(printed)
}
