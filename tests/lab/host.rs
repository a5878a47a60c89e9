//! A host: a namespace with a name and addresses.

use std::{
    ffi::OsStr,
    net::{Ipv4Addr, Ipv6Addr},
    process::Command,
};

use anyhow::Result;

use super::namespace::{Namespace, output};

#[derive(Debug)]
pub struct Host {
    pub name: String,
    pub v4: Ipv4Addr,
    pub v6: Ipv6Addr,
    pub(super) namespace: Namespace,
}

impl Host {
    /// Does `work` on a thread of this host. Sockets that it opens, or returns,
    /// are this host's.
    pub fn enter<T: Send>(&self, work: impl FnOnce() -> T + Send) -> Result<T> {
        self.namespace.enter(work)
    }

    /// A program to be run on this host. It is killed when the thread that
    /// starts it ends.
    pub fn command(&self, program: impl AsRef<OsStr>) -> Command {
        self.namespace.command(program)
    }

    /// Runs a program on this host to its end and returns what it printed.
    pub fn run(&self, program: &str, args: &[&str]) -> Result<String> {
        output(self.command(program).args(args))
    }

    /// Sets a key below /proc/sys, written with slashes.
    pub fn sysctl(&self, key: &str, value: &str) -> Result<()> {
        self.namespace.sysctl(key, value)
    }

    /// Its addresses, neighbours and connections, for people who look for what
    /// went wrong.
    pub fn describe(&self) -> String {
        let mut text = format!("--- {} ({})\n", self.name, self.namespace.name());
        for (program, args) in [
            ("ip", &["-brief", "address"][..]),
            ("ip", &["neighbour"]),
            ("ss", &["-Htanp", "exclude", "time-wait"]),
        ] {
            match self.run(program, args) {
                Ok(printed) => text.push_str(&printed),
                Err(error) => text.push_str(&format!("{error:#}\n")),
            }
        }
        text
    }
}
