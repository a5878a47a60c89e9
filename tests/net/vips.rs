//! The VIP is on the host as long as ebb is (P11), and its neighbours know it.

use std::{
    net::{IpAddr, TcpStream},
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result};
use lb_userspace::model::Mode;
use tests::lab::{
    agent::{LB, Settings},
    site::{Site, VIP_V4, VIP_V6},
    wait,
};

use crate::scene::play_with;

/// A MAC address that no host here has.
const STRANGER: &str = "02:00:00:00:99:99";

/// How long a client may go on asking the host that had the address before.
const TAKEOVER: Duration = Duration::from_secs(6);

/// Has the client know the VIP as another host's, by an entry that the kernel
/// asks nobody about for half a minute.
fn mislead(site: &Site, vip: IpAddr) -> Result<()> {
    let vip = vip.to_string();
    site.client
        .run("ip", &["neigh", "flush", "to", &vip, "dev", "eth0"])?;
    site.client.run(
        "ip",
        &[
            "neigh",
            "add",
            &vip,
            "lladdr",
            STRANGER,
            "nud",
            "reachable",
            "dev",
            "eth0",
        ],
    )?;
    Ok(())
}

#[test]
#[ignore = "needs root: cargo xtask test"]
fn p11_a_vip_that_moves_here_from_another_host_is_announced() -> Result<()> {
    let site = Site::with_backends(Mode::Nat, 1)?;
    let settings = Settings::default().write(&site);
    let head = settings
        .split("[[load_balancer]]")
        .next()
        .unwrap_or_default();
    for (vip, backend) in [
        (IpAddr::from(VIP_V4), IpAddr::from(site.backends[0].host.v4)),
        (VIP_V6.into(), site.backends[0].host.v6.into()),
    ] {
        play_with(&site, head, |site, ebb| {
            mislead(site, vip)?;
            let listener = match vip {
                IpAddr::V4(vip) => format!("tcp:{vip}:80:8080"),
                IpAddr::V6(vip) => format!("tcp:[{vip}]:80:8080"),
            };
            let server = format!("web-1={backend}");
            let created = ebb.run(&[
                "lb",
                "create",
                LB,
                "--listener",
                &listener,
                "--backend",
                &server,
            ])?;
            assert_eq!(created.exit, 0, "{}", created.stderr);
            let began = Instant::now();
            ebb.wait_in_service()?;
            wait::until_true("the client to find the VIP here", TAKEOVER, || {
                connects(site, vip)
            })?;
            println!("{vip} taken over in {:?}", began.elapsed());
            let deleted = ebb.run(&["lb", "delete", LB, "--now"])?;
            assert_eq!(deleted.exit, 0, "{}", deleted.stderr);
            ebb.stop()
        })?;
    }
    Ok(())
}

/// How long a VIP may be away (put back within a second, and seen by a client that
/// has to resolve it anew).
const AWAY: Duration = Duration::from_secs(2);

const BOTH: [IpAddr; 2] = [IpAddr::V4(VIP_V4), IpAddr::V6(VIP_V6)];

/// A configuration with a VIP of each family.
fn of_both_families(site: &Site) -> String {
    format!(
        "{}\n[[load_balancer]]\nname = \"web-v6\"\nmode = \"nat\"\n\
         listeners = [{{ protocol = \"tcp\", address = \"{VIP_V6}\", port = 80, backend_port = 8080 }}]\n\
         backends = [{{ id = \"web-1\", address = \"{}\" }}]\n",
        Settings::default().write(site),
        site.backends[0].host.v6,
    )
}

/// The VIPs that the balancer has on its interfaces.
fn vips_of(site: &Site) -> Result<Vec<IpAddr>> {
    let text = site.balancer.run("ip", &["-o", "address"])?;
    let all = [IpAddr::from(VIP_V4), VIP_V6.into()];
    Ok(all
        .into_iter()
        .filter(|vip| text.contains(&format!(" {vip}/")))
        .collect())
}

fn connects(site: &Site, vip: IpAddr) -> Result<bool> {
    let connect = || TcpStream::connect_timeout(&(vip, 80).into(), Duration::from_millis(200));
    Ok(site.client.enter(connect)?.is_ok())
}

/// Somebody takes these VIPs away by these commands on the balancer; they come back,
/// and `ebb events` and the log say so.
fn taken_away_by(how: &[&[&str]], taken: &[IpAddr]) -> Result<()> {
    let site = Site::with_backends(Mode::Nat, 1)?;
    play_with(&site, &of_both_families(&site), |site, ebb| {
        ebb.wait_in_service()?;
        assert_eq!(vips_of(site)?.len(), 2, "both are there");
        for command in how {
            site.balancer.run(command[0], &command[1..])?;
        }
        let began = Instant::now();
        wait::until_true("the VIPs to be put back", AWAY, || {
            Ok(vips_of(site)?.len() == 2)
        })?;
        println!("put back after {:?}", began.elapsed());
        for vip in [IpAddr::from(VIP_V4), VIP_V6.into()] {
            wait::until_true("the client to reach the VIP", TAKEOVER, || {
                connects(site, vip)
            })?;
        }
        wait::until_true("the events to say so", AWAY, || {
            let told = ebb.run(&["events"])?.stdout;
            let told = |vip: IpAddr| {
                told.contains(&format!("VIP {vip} was taken from this host"))
                    && told.contains(&format!("VIP {vip} is on c0 again"))
            };
            Ok(taken.iter().all(|vip| told(*vip)))
        })?;
        wait::until_true("no warning to be left", AWAY, || {
            let warnings = ebb.status()?.warnings;
            Ok(!warnings.iter().any(|warning| warning.contains("VIP")))
        })?;
        ebb.stop()
    })
}

#[test]
#[ignore = "needs root: cargo xtask test"]
fn p11_a_vip_that_an_operator_deletes_is_put_back() -> Result<()> {
    let v4 = format!("{VIP_V4}/32");
    let v6 = format!("{VIP_V6}/128");
    taken_away_by(
        &[
            &["ip", "address", "delete", &v4, "dev", "c0"],
            &["ip", "address", "delete", &v6, "dev", "c0"],
        ],
        &BOTH,
    )
}

#[test]
#[ignore = "needs root: cargo xtask test"]
fn p11_vips_that_a_network_manager_flushes_are_put_back() -> Result<()> {
    // As one does it that wants only its own addresses there.
    taken_away_by(
        &[
            &["ip", "address", "flush", "dev", "c0", "to", "10.0.0.100"],
            &[
                "ip", "-6", "address", "flush", "dev", "c0", "scope", "global",
            ],
            &[
                "ip",
                "-6",
                "address",
                "add",
                "fd00:a::1/64",
                "dev",
                "c0",
                "nodad",
            ],
        ],
        &BOTH,
    )
}

#[test]
#[ignore = "needs root: cargo xtask test"]
fn p11_vips_are_there_again_after_the_link_was_down() -> Result<()> {
    taken_away_by(
        &[
            &["ip", "link", "set", "c0", "down"],
            &["ip", "link", "set", "c0", "up"],
            &[
                "ip",
                "-6",
                "address",
                "replace",
                "fd00:a::1/64",
                "dev",
                "c0",
                "nodad",
            ],
        ],
        &[VIP_V6.into()],
    )
}

#[test]
#[ignore = "needs root: cargo xtask test"]
fn p11_a_vip_whose_interface_is_made_anew_is_put_on_it_and_warned_of_until_then() -> Result<()> {
    let site = Site::with_backends(Mode::Nat, 1)?;
    play_with(&site, &of_both_families(&site), |site, ebb| {
        ebb.wait_in_service()?;
        site.unplug("c0")?;
        wait::until_true("a warning for each VIP", AWAY, || {
            let warnings = ebb.status()?.warnings;
            let missing = |vip: &str| {
                let begin = format!("the VIP {vip} is not on this host");
                warnings.iter().any(|warning| warning.starts_with(&begin))
            };
            Ok(missing(&VIP_V4.to_string()) && missing(&VIP_V6.to_string()))
        })?;
        site.plug("c0")?;
        wait::until_true("the VIPs to be put back", AWAY, || {
            Ok(vips_of(site)?.len() == 2)
        })?;
        for vip in [IpAddr::from(VIP_V4), VIP_V6.into()] {
            wait::until_true("the client to reach the VIP", TAKEOVER, || {
                connects(site, vip)
            })?;
        }
        ebb.stop()
    })
}

#[test]
#[ignore = "needs root: cargo xtask test"]
fn p11_a_vip_that_another_host_has_is_warned_of_and_announced_when_it_lets_go() -> Result<()> {
    let site = Site::with_backends(Mode::Nat, 1)?;
    // The client is that host: it answers for the VIPs, too.
    let both = [format!("{VIP_V4}/32"), format!("{VIP_V6}/128")];
    for vip in &both {
        let words: &[&str] = if vip.contains(':') { &["nodad"] } else { &[] };
        let mut command = vec!["address", "add", vip, "dev", "eth0"];
        command.extend(words);
        site.client.run("ip", &command)?;
    }
    let link = site.client.run("ip", &["-o", "link", "show", "eth0"])?;
    let mut words = link.split_whitespace();
    words.find(|word| *word == "link/ether");
    let mac = words.next().context("eth0 has no MAC address")?;
    play_with(&site, &of_both_families(&site), |site, ebb| {
        ebb.wait_in_service()?;
        let contested = || -> Result<usize> {
            let warnings = ebb.status()?.warnings;
            let of_both = [IpAddr::from(VIP_V4), VIP_V6.into()].map(|vip| {
                let warning =
                    format!("the VIP {vip} is also on the host with the MAC address {mac}");
                usize::from(warnings.contains(&warning))
            });
            Ok(of_both.iter().sum())
        };
        wait::until_true("a warning for each VIP", TAKEOVER, || Ok(contested()? == 2))?;
        let told = ebb.run(&["events"])?.stdout;
        assert!(told.contains("is also on the host"), "{told}");
        for vip in &both {
            site.client
                .run("ip", &["address", "delete", vip, "dev", "eth0"])?;
        }
        wait::until_true("the warnings to go", TAKEOVER, || Ok(contested()? == 0))?;
        for vip in [IpAddr::from(VIP_V4), VIP_V6.into()] {
            wait::until_true("the client to reach the VIP", TAKEOVER, || {
                connects(site, vip)
            })?;
        }
        ebb.stop()
    })
}
