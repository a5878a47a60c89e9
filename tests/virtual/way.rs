//! The ways through the balancer's host.

use std::{
    fs,
    io::Write as _,
    net::{SocketAddr, TcpStream},
    process::Stdio,
    time::Duration,
};

use anyhow::{Context as _, Result, ensure};
use lb_userspace::model::Mode;
use tests::{
    hook::Hook,
    lab::{
        agent::{Ebb, Settings},
        process::Process,
        site::{Site, VIP_V4},
        wait,
    },
};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Way {
    /// No balancer: the host routes.
    Routing,
    /// nftables: destination NAT and masquerading, with connection tracking.
    Nftables,
    /// HAProxy in its mode `tcp`: a connection to the client and one to the server.
    Haproxy,
    /// nginx as a balancer of connections, likewise.
    NginxStream,
    EbbTc,
    /// With what XDP asks of virtual pairs: no offloads, and a program at the other ends.
    EbbXdp,
}

impl Way {
    pub(crate) const ALL: [Self; 6] = [
        Self::Routing,
        Self::Nftables,
        Self::Haproxy,
        Self::NginxStream,
        Self::EbbTc,
        Self::EbbXdp,
    ];

    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Routing => "plain routing",
            Self::Nftables => "nftables DNAT and masquerade",
            Self::Haproxy => "HAProxy (tcp)",
            Self::NginxStream => "nginx (stream)",
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
        let mut runs = Runs::InTheKernel;
        let server = match self {
            Self::Routing => {
                site.route()?;
                format!("{}:8080", site.backends[0].host.v4)
            }
            Self::Nftables => {
                site.balancer.sysctl("net/ipv4/ip_forward", "1")?;
                own(site, &vip)?;
                translate(site)?;
                vip
            }
            Self::Haproxy => {
                own(site, &vip)?;
                let to = site.backends[0].host.v4;
                let configuration = format!(
                    "global\n    maxconn 4096\n\
                     defaults\n    mode tcp\n    timeout connect 5s\n    timeout client 60s\n    \
                     timeout server 60s\n\
                     listen web\n    bind {VIP_V4}:80\n    server one {to}:8080\n"
                );
                runs = Runs::Proxy(proxy(site, "haproxy", &["-db", "-f"], &configuration)?);
                vip
            }
            Self::NginxStream => {
                own(site, &vip)?;
                let to = site.backends[0].host.v4;
                let configuration = format!(
                    "load_module {NGINX_STREAM};\ndaemon off;\nmaster_process off;\n\
                     pid {dir}/stream.pid;\nerror_log stderr;\n\
                     events {{ worker_connections 4096; }}\n\
                     stream {{ server {{ listen {VIP_V4}:80; proxy_pass {to}:8080; }} }}\n",
                    dir = site.dir().display(),
                );
                runs = Runs::Proxy(proxy(site, "nginx", &["-c"], &configuration)?);
                vip
            }
            Self::EbbTc | Self::EbbXdp => {
                let started = Ebb::start(site, &Settings::default())?;
                started.wait_in_service()?;
                runs = Runs::Ebb(started);
                vip
            }
        };
        Ok(Path {
            site,
            server,
            _runs: runs,
        })
    }
}

/// Where Debian's package puts it.
const NGINX_STREAM: &str = "/usr/lib/nginx/modules/ngx_stream_module.so";

/// Gives the VIP to the balancer's host.
fn own(site: &Site, vip: &str) -> Result<()> {
    let address = format!("{vip}/32");
    site.balancer
        .run("ip", &["address", "add", &address, "dev", "c0"])
        .map(drop)
}

/// Starts a proxy on the balancer's host, and waits until it takes connections.
fn proxy(site: &Site, program: &str, options: &[&str], configuration: &str) -> Result<Process> {
    let file = site.dir().join(format!("{program}-balancer.conf"));
    fs::write(&file, configuration).with_context(|| format!("cannot write {}", file.display()))?;
    let mut command = site.balancer.command(program);
    command.args(options).arg(&file);
    let what = format!("{program} on the balancer");
    let mut process = Process::start(&what, &mut command, &file.with_extension("log"))?;
    let vip = SocketAddr::from((VIP_V4, 80));
    wait::until_true(&what, Duration::from_secs(10), || {
        process.expect_running()?;
        site.balancer.enter(|| TcpStream::connect(vip).is_ok())
    })?;
    Ok(process)
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
    _runs: Runs<'s>,
}

/// What there is to stop when the way is gone.
enum Runs<'s> {
    InTheKernel,
    Proxy(#[expect(dead_code, reason = "it is stopped when it is dropped")] Process),
    Ebb(#[expect(dead_code, reason = "as above")] Ebb<'s>),
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
