//! Which addresses backends are reached from.

use std::{
    collections::BTreeSet,
    fmt::Write as _,
    net::{IpAddr, SocketAddr},
};

use anyhow::{Result, ensure};
use lb_userspace::model::Mode;
use tests::lab::{
    agent::Settings,
    conversation::Conversation,
    site::{Site, TALKER, VIP_V4, VIP_V6},
};

use crate::scene::play_with;

/// The addresses that so many connections to a listener come from, as the backends see them.
fn sources(site: &Site, vip: SocketAddr) -> Result<BTreeSet<IpAddr>> {
    (0..24)
        .map(|_| {
            Ok(Conversation::open(&site.client, vip)?
                .seen_as
                .ip()
                .to_canonical())
        })
        .collect()
}

#[test]
#[ignore = "needs root: cargo xtask test"]
fn each_load_balancer_comes_from_its_own_pool_or_that_of_all() -> Result<()> {
    let site = Site::new(Mode::Nat)?;
    for own in ["10.0.1.200/32", "10.0.1.201/32", "10.0.1.210/32"] {
        site.balancer
            .run("ip", &["address", "add", own, "dev", "s0"])?;
    }
    let settings = Settings {
        // Of IPv4 alone: in IPv6 the address of the interface is as good as ever.
        more: "nat = { pool = [\"10.0.1.200\", \"10.0.1.201\"], \
               pools = { own = [\"10.0.1.210\"] } }"
            .to_owned(),
        ..Settings::default()
    };
    let mut text = settings.write(&site);
    for (name, vip, port) in [
        ("own", VIP_V4.into(), 17),
        ("six", IpAddr::from(VIP_V6), TALKER),
    ] {
        let host = &site.backends[0].host;
        let address = match vip {
            IpAddr::V4(_) => host.v4.to_string(),
            IpAddr::V6(_) => host.v6.to_string(),
        };
        let _ = writeln!(
            text,
            "[[load_balancer]]\nname = \"{name}\"\nmode = \"nat\"\n\
             listeners = [{{ protocol = \"tcp\", address = \"{vip}\", port = {port}, \
             backend_port = {TALKER} }}]\nbackends = [{{ address = \"{address}\" }}]"
        );
    }
    play_with(&site, &text, |site, ebb| {
        ebb.wait_in_service()?;
        let ips = |all: &[&str]| all.iter().map(|ip| ip.parse()).collect::<Result<_, _>>();
        for (vip, expected) in [
            (site.talkers(), ips(&["10.0.1.200", "10.0.1.201"])?),
            ((VIP_V4, 17).into(), ips(&["10.0.1.210"])?),
            ((VIP_V6, TALKER).into(), ips(&["fd00:b::1"])?),
        ] {
            let found = sources(site, vip)?;
            ensure!(found == expected, "{vip}: {found:?}, not {expected:?}");
        }
        Ok(())
    })
}
