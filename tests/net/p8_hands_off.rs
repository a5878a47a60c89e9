//! P8: what is not ours goes to the host as if ebb were not there.

use std::{
    io::{self, Write as _},
    net::{IpAddr, SocketAddr, TcpListener, TcpStream},
    time::Duration,
};

use anyhow::{Context as _, Result};
use lb_userspace::model::Mode;
use tests::lab::{agent::Settings, host::Host, site::VIP_V4};

use crate::scene::{SOON, in_each_mode, play};

in_each_mode! {
    the_host_itself_is_reached_as_before,
    unknown_ports_of_a_vip_are_the_hosts_to_answer,
}

fn the_host_itself_is_reached_as_before(mode: Mode) -> Result<()> {
    play(mode, &Settings::default(), |site, _| {
        let balancer = &site.balancer;
        // ARP, anew; then ICMP.
        site.client.run("ip", &["neighbour", "flush", "all"])?;
        for address in [IpAddr::from(balancer.v4), balancer.v6.into(), VIP_V4.into()] {
            ping(&site.client, address)?;
        }
        // A service of the host's own, as SSH would be.
        let service = balancer.enter(|| TcpListener::bind("[::]:22"))??;
        for address in [IpAddr::from(balancer.v4), balancer.v6.into()] {
            let mut client = connect(&site.client, (address, 22).into())??;
            let (mut server, _) = service.accept()?;
            server.write_all(b"SSH-2.0")?;
            drop(server);
            let mut greeting = String::new();
            io::Read::read_to_string(&mut client, &mut greeting)?;
            assert_eq!(greeting, "SSH-2.0");
        }
        // The backends' own addresses, from the host.
        for backend in &site.backends {
            ping(balancer, backend.host.v4.into())?;
            connect(balancer, (backend.host.v4, 80).into())?
                .context("the host itself cannot reach a backend")?;
        }
        Ok(())
    })
}

fn unknown_ports_of_a_vip_are_the_hosts_to_answer(mode: Mode) -> Result<()> {
    play(mode, &Settings::default(), |site, _| {
        for address in [IpAddr::from(VIP_V4), site.balancer.v4.into()] {
            let refused = connect(&site.client, (address, 81).into())?;
            let error = refused.expect_err("nobody listens");
            assert_eq!(error.kind(), io::ErrorKind::ConnectionRefused, "{address}");
        }
        Ok(())
    })
}

fn ping(from: &Host, to: IpAddr) -> Result<()> {
    let socket = crate::raw::Ping::open(from, to)?;
    socket.ping(SOON)
}

fn connect(from: &Host, to: SocketAddr) -> Result<io::Result<TcpStream>> {
    from.enter(|| TcpStream::connect_timeout(&to, Duration::from_secs(1)))
}
