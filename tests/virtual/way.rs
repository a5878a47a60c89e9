//! The ways through the balancer's host.

use std::{io::Write as _, process::Stdio};

use anyhow::{Context as _, Result, ensure};
use lb_userspace::model::Mode;
use tests::{
    hook::Hook,
    lab::{
        agent::{Ebb, Settings},
        site::{Site, VIP_V4},
    },
};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Way {
    /// No balancer: the host routes.
    Routing,
    /// nftables: destination NAT and masquerading, with connection tracking.
    Nftables,
    EbbTc,
    /// With what XDP asks of virtual pairs: no offloads, and a program at the other ends.
    EbbXdp,
}

impl Way {
    pub(crate) const ALL: [Self; 4] = [Self::Routing, Self::Nftables, Self::EbbTc, Self::EbbXdp];

    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Routing => "plain routing",
            Self::Nftables => "nftables DNAT and masquerade",
            Self::EbbTc => "ebb nat, tc",
            Self::EbbXdp => "ebb nat, xdp",
        }
    }

    const fn hook(self) -> Hook {
        match self {
            Self::EbbXdp => Hook::Xdp,
            _ => Hook::Tc,
        }
    }

    /// A site with one server.
    pub(crate) fn site(self) -> Result<Site> {
        Site::with_hook(Mode::Nat, 1, self.hook())
    }

    /// Makes the way passable.
    pub(crate) fn open(self, site: &Site) -> Result<Path<'_>> {
        let vip = VIP_V4.to_string();
        let mut ebb = None;
        let server = match self {
            Self::Routing => {
                site.route()?;
                format!("{}:8080", site.backends[0].host.v4)
            }
            Self::Nftables => {
                site.balancer.sysctl("net/ipv4/ip_forward", "1")?;
                let address = format!("{vip}/32");
                site.balancer
                    .run("ip", &["address", "add", &address, "dev", "c0"])?;
                translate(site)?;
                vip
            }
            Self::EbbTc | Self::EbbXdp => {
                let started = Ebb::start(site, &Settings::default())?;
                started.wait_in_service()?;
                ebb = Some(started);
                vip
            }
        };
        Ok(Path {
            site,
            server,
            _ebb: ebb,
        })
    }
}

fn translate(site: &Site) -> Result<()> {
    let to = site.backends[0].host.v4;
    let rules = format!(
        "table ip balancer {{
            chain in {{
                type nat hook prerouting priority dstnat;
                ip daddr {VIP_V4} tcp dport 80 dnat to {to}:8080
            }}
            chain out {{
                type nat hook postrouting priority srcnat;
                oifname s0 masquerade
            }}
        }}"
    );
    let mut nft = site.balancer.command("nft");
    nft.args(["-f", "-"]).stdin(Stdio::piped());
    let mut running = nft.spawn().context("cannot start nft")?;
    let mut input = running.stdin.take().context("nft has no input")?;
    input.write_all(rules.as_bytes())?;
    drop(input);
    ensure!(running.wait()?.success(), "nft refused the rules");
    Ok(())
}

/// A way that can be gone.
pub(crate) struct Path<'s> {
    site: &'s Site,
    server: String,
    /// Stopped when this is dropped.
    _ebb: Option<Ebb<'s>>,
}

impl Path<'_> {
    pub(crate) fn site(&self) -> &Site {
        self.site
    }

    /// What the client asks.
    pub(crate) fn server(&self) -> &str {
        &self.server
    }
}
