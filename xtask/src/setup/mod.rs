//! `cargo xtask setup`: what the other verbs need, and installing what is
//! missing of it.
//!
//! Every part first looks, which takes milliseconds, and acts only on what it
//! misses. As root on Debian or Ubuntu it installs; elsewhere, or without
//! root, it stops and says exactly what to install.

mod apt;
mod clients;
mod crates;
mod cross;
mod emulator;
mod linker;
mod toolchain;
mod unpacked;

use std::{
    fs,
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, Result, bail};

pub(crate) use clients::find_or_install as clients;
pub(crate) use crates::find_or_build as crate_built;
pub(crate) use cross::find_or_install as cross;
pub(crate) use emulator::{Emulator, find_or_unpack as emulator};
pub(crate) use toolchain::{OLDEST_RUSTC, major_minor, rustup_toolchains};

use crate::{
    command::{self, step},
    workspace,
};

/// A compiler for BPF and the linker that goes with it.
pub(crate) struct Toolchain {
    compiler: toolchain::Compiler,
    linker_dir: PathBuf,
}

impl Toolchain {
    pub(crate) fn cargo(&self) -> PathBuf {
        self.compiler.bin("cargo")
    }

    /// Clippy of the same compiler; none of another can read what it wrote.
    pub(crate) fn cargo_clippy(&self) -> Result<PathBuf> {
        self.compiler.clippy()
    }

    pub(crate) fn rustc(&self) -> PathBuf {
        self.compiler.bin("rustc")
    }

    /// The folder of `bpf-linker`, for PATH.
    pub(crate) fn linker_dir(&self) -> &Path {
        &self.linker_dir
    }
}

/// Programs that the lab runs, and the packages that have them.
const LAB_PROGRAMS: [(&str, &str); 8] = [
    ("nginx", "nginx-light"),
    ("curl", "curl"),
    ("ethtool", "ethtool"),
    ("iperf3", "iperf3"),
    // Floods of SYNs.
    ("hping3", "hping3"),
    // For `promtool`, which checks metrics.
    ("promtool", "prometheus"),
    ("ip", "iproute2"),
    ("ss", "iproute2"),
];

/// What balancers are measured against.
const RIVALS: [(&str, &str); 3] = [
    ("nft", "nftables"),
    ("haproxy", "haproxy"),
    ("nginx", "nginx-light"),
];

/// What makes nginx a balancer of connections, and the package that has it.
const NGINX_STREAM: (&str, &str) = (
    "/usr/lib/nginx/modules/ngx_stream_module.so",
    "libnginx-mod-stream",
);

/// Programs that the console's test runs, and the packages that have them.
const BROWSER_PROGRAMS: [(&str, &str); 2] = [
    ("chromium", "chromium"),
    ("chromedriver", "chromium-driver"),
];

/// Programs that make the disk of a whole host, and the packages that have them.
const HOST_PROGRAMS: [(&str, &str); 2] = [("mmdebstrap", "mmdebstrap"), ("mkfs.ext4", "e2fsprogs")];

pub(crate) fn run() -> Result<()> {
    let toolchain = toolchain()?;
    lab()?;
    clients()?;
    browser()?;
    emulator()?;
    host_builder()?;
    cxx()?;
    toolchain.cargo_clippy()?;
    cargo_deny()?;
    println!(
        "ready: {}, {}",
        toolchain.compiler.description,
        toolchain.linker_dir.join("bpf-linker").display()
    );
    Ok(())
}

/// What compiles the kernel program.
pub(crate) fn toolchain() -> Result<Toolchain> {
    let compiler = toolchain::find_or_install()?;
    let linker_dir = linker::find_or_build(&compiler)?;
    Ok(Toolchain {
        compiler,
        linker_dir,
    })
}

/// What judges the dependencies.
pub(crate) fn cargo_deny() -> Result<PathBuf> {
    crate_built("cargo-deny", "0.20.2")
}

/// What the lab needs of the host: root, programs, and a place for pins.
pub(crate) fn lab() -> Result<()> {
    programs("the lab's programs", &LAB_PROGRAMS)?;
    if !is_root() {
        bail!(
            "the lab makes network namespaces and loads programs into the kernel: run this as root"
        );
    }
    bpffs()
}

/// A C++ compiler, which LLVM's fuzzer is built with.
pub(crate) fn cxx() -> Result<()> {
    programs("a C++ compiler for the fuzzer", &[("c++", "g++")])
}

/// A browser without a screen, and what drives it.
pub(crate) fn browser() -> Result<()> {
    programs("a browser for the console's test", &BROWSER_PROGRAMS)
}

/// What the bench between virtual devices measures ebb against.
pub(crate) fn rivals() -> Result<()> {
    const WHAT: &str = "what ebb is measured against";
    programs(WHAT, &RIVALS)?;
    let (module, package) = NGINX_STREAM;
    if !Path::new(module).exists() {
        apt::install(WHAT, &[package])?;
    }
    Ok(())
}

/// What makes the disk of a whole host.
pub(crate) fn host_builder() -> Result<()> {
    programs("what makes a host of packages", &HOST_PROGRAMS)
}

/// Installs what is missing of the programs.
fn programs(what: &str, wanted: &[(&str, &'static str)]) -> Result<()> {
    let missing: Vec<&str> = wanted
        .iter()
        .filter(|(program, _)| workspace::find_program(program).is_none())
        .map(|(_, package)| *package)
        .collect();
    if !missing.is_empty() {
        apt::install(what, &missing)?;
    }
    Ok(())
}

/// Puts the files of the oldest package whose name matches `pattern` into
/// `place`, and leaves the system as it is.
pub(crate) fn unpacked(pattern: &str, place: &Path) -> Result<()> {
    let package = apt::oldest(pattern)?;
    unpacked::put(&package, unpacked::Dependencies::Without, place)
}

/// Mounts the file system that pinned programs and maps live in.
pub(crate) fn bpffs() -> Result<()> {
    const PLACE: &str = "/sys/fs/bpf";
    let mounts =
        fs::read_to_string("/proc/self/mounts").context("cannot read /proc/self/mounts")?;
    if mounts.lines().any(|line| is_bpffs_at(line, PLACE)) {
        return Ok(());
    }
    let mut mount = Command::new("mount");
    mount.args(["-t", "bpf", "bpf", PLACE]);
    if !is_root() {
        bail!("no bpffs at {PLACE}; as root: mount -t bpf bpf {PLACE}");
    }
    step(&format!("mounting bpffs at {PLACE}"), || {
        command::run(&mut mount)
    })
}

fn is_bpffs_at(mount: &str, place: &str) -> bool {
    let mut fields = mount.split(' ').skip(1);
    fields.next() == Some(place) && fields.next() == Some("bpf")
}

fn is_root() -> bool {
    // The owner of our own folder in /proc is our effective user.
    fs::metadata("/proc/self").is_ok_and(|of_us| of_us.uid() == 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mounted_bpffs_is_recognised() {
        assert!(is_bpffs_at(
            "bpf /sys/fs/bpf bpf rw,relatime,mode=700 0 0",
            "/sys/fs/bpf"
        ));
        assert!(!is_bpffs_at("none /sys/fs/bpf tmpfs rw 0 0", "/sys/fs/bpf"));
        assert!(!is_bpffs_at("bpf /sys/fs/bpf/tc bpf rw 0 0", "/sys/fs/bpf"));
    }
}
