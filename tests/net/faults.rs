//! What breaks on a host: each ends in the right state without help.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use anyhow::{Context as _, Result, bail};
use lb_userspace::{model::Mode, wire::HealthByHand};
use rustix::process::Signal;
use tests::lab::{
    agent::{Ebb, LB, Settings},
    conversation::Conversation,
    curl,
    site::Site,
    wait,
};

use crate::scene::{SOON, in_each_mode, play, play_at, play_on};

in_each_mode! {
    a_backend_whose_mac_changes_is_found_again,
    news_that_overflow_are_read_anew,
}

const PATIENCE: Duration = Duration::from_secs(10);

/// A small file system; gone when dropped.
struct Disk(PathBuf);

impl Disk {
    fn mount(at: PathBuf) -> Result<Self> {
        fs::create_dir_all(&at)?;
        run(Command::new("mount")
            .args(["-t", "tmpfs", "-o", "size=256k,mode=0700", "ebb-disk"])
            .arg(&at))?;
        Ok(Self(at))
    }

    fn make(&self, how: &str) -> Result<()> {
        run(Command::new("mount")
            .args(["-o", &format!("remount,{how}")])
            .arg(&self.0))
    }

    /// Fills it to the last byte.
    fn fill(&self) -> Result<PathBuf> {
        let ballast = self.0.join("ballast");
        let full = fs::write(&ballast, vec![0; 1 << 20]);
        match full {
            Err(error) if error.kind() == std::io::ErrorKind::StorageFull => Ok(ballast),
            other => bail!("the disk did not fill: {other:?}"),
        }
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        // A mount that stays is seen by whoever removes the folder.
        let _ = Command::new("umount").arg("--lazy").arg(&self.0).status();
    }
}

fn run(command: &mut Command) -> Result<()> {
    let status = command.status()?;
    if !status.success() {
        bail!("{command:?}: {status}");
    }
    Ok(())
}

/// A change is refused with `reason`, and nothing has changed.
fn refused(ebb: &Ebb<'_>, reason: &str) -> Result<()> {
    let before = ebb.load_balancer()?;
    let done = ebb.run(&["backend", "deregister", LB, "web-1"])?;
    assert_eq!(done.exit, 1, "{}", done.stdout);
    assert!(done.stderr.contains(reason), "{}", done.stderr);
    let after = ebb.load_balancer()?;
    for (one, other) in before.backends.iter().zip(&after.backends) {
        assert_eq!(one.registration, other.registration);
    }
    Ok(())
}

#[test]
#[ignore = "needs root: cargo xtask test"]
fn a_full_or_read_only_disk_refuses_changes_and_disturbs_nobody() -> Result<()> {
    let site = Site::new(Mode::Nat)?;
    let disk = Disk::mount(site.dir().join("state"))?;
    play_at(&site, &Settings::default(), |site, ebb| {
        let talk = Conversation::open(&site.client, site.talkers())?;
        let ballast = disk.fill()?;
        refused(ebb, "No space left on device")?;
        talk.echo("on a full disk")?;
        assert_eq!(curl::many(&site.client, &site.url("/"), 50)?.failed, 0);
        fs::remove_file(ballast)?;

        // The kernel makes no disk read-only on which a database is open.
        ebb.crash()?;
        disk.make("ro")?;
        talk.echo("on a read-only disk")?;
        let up = ebb.launch();
        disk.make("rw")?;
        if let Err(error) = up {
            // It needs its lock and its database; then it says so, and the kernel goes on.
            let said = format!("{error:#}");
            assert!(said.contains("Read-only file system"), "{said}");
            talk.echo("without an agent")?;
            ebb.launch()?;
        }
        ebb.deregister("web-1", &["--now"])?;
        ebb.wait_gone("web-1", SOON).map(drop)
    })
}

#[test]
#[ignore = "needs root: cargo xtask test"]
fn without_a_bpf_file_system_the_agent_says_how_to_mount_one() -> Result<()> {
    let site = Site::new(Mode::Nat)?;
    let text = Settings::default().write(&site);
    let pins = site.pins().display().to_string();
    let elsewhere = site.dir().join("no-bpffs");
    let text = text.replace(&pins, &elsewhere.display().to_string());
    let ebb = Ebb::prepare(&site, &text)?;
    let config = ebb.config().display().to_string();
    let refused = ebb.run(&["agent", "--config", &config])?;
    assert_eq!(refused.exit, 78, "{}", refused.stderr);
    assert!(
        refused.stderr.contains("mount -t bpf bpf"),
        "{}",
        refused.stderr
    );
    Ok(())
}

#[test]
#[ignore = "needs root: cargo xtask test"]
fn an_interface_that_vanishes_and_returns_is_served_again() -> Result<()> {
    play(Mode::Nat, &Settings::default(), |site, ebb| {
        site.unplug("s0")?;
        wait::until_true("the warning", PATIENCE, || {
            let warnings = ebb.status()?.warnings;
            Ok(warnings
                .iter()
                .any(|warning| warning.contains("s0 is missing")))
        })?;
        let tally = curl::many(&site.client, &site.url("/"), 3);
        assert!(tally.is_err() || tally.is_ok_and(|tally| tally.failed == 3));

        site.plug("s0")?;
        wait::until_true("everything to work again", PATIENCE, || {
            let tally = curl::many(&site.client, &site.url("/"), 10)?;
            Ok(tally.failed == 0)
        })?;
        wait::until_true("the warning to go", PATIENCE, || {
            let warnings = ebb.status()?.warnings;
            Ok(!warnings
                .iter()
                .any(|warning| warning.contains("s0 is missing")))
        })?;
        // VIPs are on the other interface, and backends are in service again.
        ebb.wait_in_service()
    })
}

/// Gives the backend another MAC, of which it tells the LAN.
fn change_mac(site: &Site, id: &str, mac: &str) -> Result<()> {
    let host = &site.backend(id)?.host;
    host.sysctl("net/ipv4/conf/eth0/arp_notify", "1")?;
    host.run("ip", &["link", "set", "dev", "eth0", "address", mac])
        .map(drop)
}

fn mac_of(ebb: &Ebb<'_>, id: &str) -> Result<String> {
    let way = ebb.backend(id)?.next_hop;
    Ok(way.map(|way| way.mac).unwrap_or_default())
}

fn a_backend_whose_mac_changes_is_found_again(mode: Mode) -> Result<()> {
    play(mode, &Settings::default(), |site, ebb| {
        let talk = Conversation::open(&site.client, site.talkers())?;
        let mac = "02:00:00:00:77:01";
        assert_ne!(mac_of(ebb, &talk.backend)?, mac);
        change_mac(site, &talk.backend, mac)?;
        wait::until_true("the new MAC", PATIENCE, || {
            Ok(mac_of(ebb, &talk.backend)? == mac)
        })?;
        talk.echo("the open connection goes on")?;
        let tally = curl::many(&site.client, &site.url("/"), 60)?;
        assert!(
            tally.failed == 0 && tally.of(&talk.backend) > 0,
            "{tally:?}"
        );
        Ok(())
    })
}

fn news_that_overflow_are_read_anew(mode: Mode) -> Result<()> {
    play(mode, &Settings::default(), |site, ebb| {
        let mac = "02:00:00:00:77:02";
        let servers = site.interfaces().last().context("no interface")?;
        let like = site.backends[0].host.v4.octets();
        let other = format!("{}.{}.{}.200", like[0], like[1], like[2]);
        // The agent does not listen while more is said than its socket holds.
        ebb.process()?.signal(Signal::STOP)?;
        change_mac(site, "web-1", mac)?;
        // So that the balancer's kernel itself knows.
        let web_1 = site.backends[0].host.v4.to_string();
        site.balancer.run(
            "ip",
            &[
                "neigh",
                "replace",
                &web_1,
                "lladdr",
                mac,
                "dev",
                servers,
                "nud",
                "reachable",
            ],
        )?;
        let flood: String = (0..8000)
            .map(|n: u32| {
                format!(
                    "neigh replace {other} lladdr 02:00:00:01:{:02x}:{:02x} dev {servers}\n",
                    n >> 8,
                    n & 0xff
                )
            })
            .collect();
        let batch = site.dir().join("flood");
        fs::write(&batch, flood)?;
        site.balancer
            .run("ip", &["-batch", &batch.display().to_string()])?;
        ebb.process()?.signal(Signal::CONT)?;
        wait::until_true("the new MAC", PATIENCE, || Ok(mac_of(ebb, "web-1")? == mac))?;
        let tally = curl::many(&site.client, &site.url("/"), 60)?;
        assert!(tally.failed == 0 && tally.of("web-1") > 0, "{tally:?}");
        Ok(())
    })
}

#[test]
#[ignore = "needs root: cargo xtask test"]
fn after_a_reboot_everything_is_as_it_was_configured() -> Result<()> {
    let site = Site::new(Mode::Nat)?;
    let mut ebb = Ebb::start(&site, &Settings::default())?;
    ebb.wait_in_service()?;
    ebb.deregister("web-1", &["--timeout", "3600"])?;
    ebb.set_health("web-2", HealthByHand::Unhealthy)?;
    let talk = Conversation::open(&site.client, site.talkers())?;
    assert_eq!(talk.backend, "web-3");
    ebb.deregister("web-3", &["--timeout", "3600"])?;
    ebb.stop()?;
    // What the kernel knew is gone with it.
    let config = ebb.config().display().to_string();
    let unloaded = ebb.run(&["unload", "--config", &config])?;
    assert_eq!(unloaded.exit, 0, "{}", unloaded.stderr);
    drop(talk);
    reboot(&mut ebb, site.dir())?;
    ebb.launch()?;
    play_on(&site, ebb, |site, ebb| {
        // Nothing ties anybody to those that drained.
        ebb.wait_gone("web-1", SOON)?;
        ebb.wait_gone("web-3", SOON)?;
        assert_eq!(ebb.backend("web-2")?.health, "unhealthy");
        ebb.set_health("web-2", HealthByHand::Auto)?;
        ebb.wait_in_service()?;
        let tally = curl::many(&site.client, &site.url("/"), 20)?;
        assert_eq!((tally.of("web-2"), tally.failed), (20, 0), "{tally:?}");
        Ok(())
    })
}

/// From now on the agent sees another boot id than the host's.
fn reboot(ebb: &mut Ebb<'_>, dir: &Path) -> Result<()> {
    let id = dir.join("boot-id");
    fs::write(&id, "11111111-2222-3333-4444-555555555555\n")?;
    let script = format!(
        "mount --bind {} /proc/sys/kernel/random/boot_id && exec \"$0\" \"$@\"",
        id.display()
    );
    ebb.started_by(&["unshare", "--mount", "sh", "-c", &script]);
    Ok(())
}

#[test]
#[ignore = "needs root: cargo xtask test"]
fn a_damaged_state_is_found_before_anything_of_the_host_is_touched() -> Result<()> {
    let site = Site::with_backends(Mode::Nat, 1)?;
    let mut ebb = Ebb::start(&site, &Settings::default())?;
    ebb.wait_in_service()?;
    ebb.stop()?;
    let config = ebb.config().display().to_string();
    let unloaded = ebb.run(&["unload", "--config", &config])?;
    assert_eq!(unloaded.exit, 0, "{}", unloaded.stderr);

    let state = site.dir().join("state");
    for name in ["state.db-wal", "state.db-shm"] {
        match fs::remove_file(state.join(name)) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(error.into()),
            _ => {}
        }
    }
    let mut bytes = fs::read(state.join("state.db"))?;
    let middle = bytes.len() / 2;
    bytes[middle..].fill(0x5A);
    fs::write(state.join("state.db"), bytes)?;

    let refused = ebb.run(&["agent", "--config", &config])?;
    assert_ne!(refused.exit, 0, "{}", refused.stderr);
    assert!(refused.stderr.contains("damaged"), "{}", refused.stderr);
    let links = site.balancer.run("ip", &["-details", "link"])?;
    assert!(!links.contains("xdp"), "a program is attached: {links}");
    let addresses = site.balancer.run("ip", &["-o", "address"])?;
    assert!(
        !addresses.contains("10.0.0.100"),
        "a VIP is there: {addresses}"
    );
    let pinned = fs::read_dir(site.pins()).map_or(0, Iterator::count);
    assert_eq!(pinned, 0, "something is pinned");
    Ok(())
}
