//! The VIP is on the host as long as ebb is (P11), and its neighbours know it.

use std::{
    net::{IpAddr, TcpStream},
    time::{Duration, Instant},
};

use anyhow::Result;
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
                let connect =
                    || TcpStream::connect_timeout(&(vip, 80).into(), Duration::from_millis(200));
                Ok(site.client.enter(connect)?.is_ok())
            })?;
            println!("{vip} taken over in {:?}", began.elapsed());
            let deleted = ebb.run(&["lb", "delete", LB, "--now"])?;
            assert_eq!(deleted.exit, 0, "{}", deleted.stderr);
            ebb.stop()
        })?;
    }
    Ok(())
}
