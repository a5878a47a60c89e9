//! `ebb init`: a first configuration file, made from what this host is like.
//!
//! - [`host`]: what is asked of the kernel;
//! - [`written`]: the file's text; pure.

mod host;
mod written;

use std::{
    fs::{self, OpenOptions},
    io::Write as _,
    os::unix::fs::{OpenOptionsExt as _, fchown},
    path::{Path, PathBuf},
};

use nix::unistd::Group;
use serde::Serialize;

use super::{
    backend::BackendSpec,
    error::CliError,
    exit::Exit,
    lb::{ListenerSpec, ModeArg},
    ui::Ui,
};
use crate::{
    config::{Document, Host, Purpose},
    wire::NewBackend,
};

/// Where the package has it.
const DEFAULT_FILE: &str = "/etc/ebb/ebb.toml";

#[derive(Debug, clap::Args)]
#[command(after_help = "\
The interfaces that are up and have an address go into the file, and the hosts seen on
their networks into comments. Without --listener and --backend, the load balancer is a
commented-out example. The file is checked before it is written.

Examples:
  ebb init -
  ebb init --listener tcp:192.0.2.10:80:8080 --backend web-1=192.0.2.21 \\
      --backend web-2=192.0.2.22")]
pub(super) struct Args {
    /// Where to write the file, or - for standard output
    #[arg(value_name = "FILE", default_value = DEFAULT_FILE)]
    file: PathBuf,

    /// Replace an existing file; the old one is kept with a ~ after its name
    #[arg(long)]
    force: bool,

    /// The load balancer's name
    #[arg(long, value_name = "NAME", default_value = "web")]
    name: String,

    /// How packets reach the backends
    #[arg(long, value_enum, default_value_t = ModeArg::Nat)]
    mode: ModeArg,

    /// What clients connect to, and the backends' port if it differs; may be
    /// repeated
    #[arg(
        long = "listener",
        requires = "backends",
        value_name = "tcp|udp:ADDRESS:PORT[:BACKEND_PORT]"
    )]
    listeners: Vec<ListenerSpec>,

    /// A backend; may be repeated
    #[arg(
        long = "backend",
        requires = "listeners",
        value_name = "[ID=]ADDRESS[@WEIGHT]"
    )]
    backends: Vec<BackendSpec>,
}

/// What was written where.
#[derive(Debug, Serialize)]
struct Done {
    file: PathBuf,
    interfaces: Vec<String>,
    load_balancers: Vec<String>,
}

pub(super) fn run(args: &Args, ui: &Ui) -> Result<Exit, CliError> {
    let found = host::look().map_err(CliError::Host)?;
    if found.interfaces.is_empty() {
        return Err(CliError::NoInterfaceToServe);
    }
    let wanted = (!args.listeners.is_empty()).then(|| written::Wanted {
        name: args.name.clone(),
        mode: args.mode.into(),
        listeners: args.listeners.iter().map(|spec| spec.0.clone()).collect(),
        backends: args
            .backends
            .iter()
            .cloned()
            .map(NewBackend::from)
            .collect(),
    });
    let to_stdout = args.file == Path::new("-");
    let name = if to_stdout {
        DEFAULT_FILE.to_owned()
    } else {
        args.file.display().to_string()
    };
    let text = written::text(&found, wanted.as_ref(), &name);
    // Nothing is written that the agent would refuse.
    let host = Host::read().map_err(CliError::Host)?;
    let document = Document::parse(&name, &text, Purpose::Agent, Some(&host))
        .map_err(|faults| CliError::Document { name, faults })?;
    if to_stdout {
        ui.raw(&text)?;
        return Ok(Exit::Done);
    }
    put(&args.file, &text, args.force)?;
    let done = Done {
        file: args.file.clone(),
        interfaces: found.interfaces.into_iter().map(|i| i.name).collect(),
        load_balancers: document
            .declaration
            .keys()
            .map(ToString::to_string)
            .collect(),
    };
    ui.result(&done, || next_steps(&done))?;
    Ok(Exit::Done)
}

/// What a person does now.
fn next_steps(done: &Done) -> String {
    let file = done.file.display();
    let next = if done.load_balancers.is_empty() {
        format!("add your load balancer to it, then: ebb check-config {file}")
    } else {
        format!("systemctl start ebb (without the package: ebb agent --config {file})")
    };
    format!("wrote {file}. Next:\n  ebb doctor\n  {next}")
}

/// Writes the file, readable by root and by the service's group alone: keys may
/// come to stand in it.
fn put(file: &Path, text: &str, force: bool) -> Result<(), CliError> {
    let failed = |source| CliError::Write {
        path: file.to_owned(),
        source,
    };
    if let Some(folder) = file.parent() {
        fs::create_dir_all(folder).map_err(failed)?;
    }
    if force && file.exists() {
        let mut old = file.as_os_str().to_owned();
        old.push("~");
        fs::rename(file, old).map_err(failed)?;
    }
    let created = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o640)
        .open(file);
    let mut created = match created {
        Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {
            return Err(CliError::FileIsThere {
                path: file.to_owned(),
            });
        }
        other => other.map_err(failed)?,
    };
    created.write_all(text.as_bytes()).map_err(failed)?;
    // Where there is no such group there is no such service, either.
    if let Ok(Some(group)) = Group::from_name("ebb") {
        fchown(&created, None, Some(group.gid.as_raw())).map_err(failed)?;
    }
    created.sync_all().map_err(failed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_that_is_there_is_replaced_only_by_force_and_then_kept_aside() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("etc/ebb.toml");
        put(&file, "one\n", false).unwrap();
        let refused = put(&file, "two\n", false).unwrap_err();
        assert!(matches!(refused, CliError::FileIsThere { .. }), "{refused}");
        assert_eq!(fs::read_to_string(&file).unwrap(), "one\n");
        put(&file, "two\n", true).unwrap();
        assert_eq!(fs::read_to_string(&file).unwrap(), "two\n");
        let old = folder.path().join("etc/ebb.toml~");
        assert_eq!(fs::read_to_string(old).unwrap(), "one\n");
    }
}
