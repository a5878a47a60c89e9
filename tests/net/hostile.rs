//! P10 from the other side: honest kernels at both ends, whose packets look like an
//! attacker's. None is refused.

use std::{
    io::{self, Read as _},
    net::{SocketAddr, TcpStream},
    time::Duration,
};

use anyhow::{Context as _, Result, ensure};
use lb_userspace::{model::Mode, wire::DrainOutcome};
use tests::lab::{
    agent::{Ebb, LB, Settings},
    conversation::Conversation,
    curl::Download,
    iperf::{self, Direction},
    rough::Manner,
    site::{Site, TALKER, VIP_V4, VIP_V4_IN_V6, VIP_V6},
    wait,
};

use crate::scene::{SOON, in_each_mode, play, play_with};

in_each_mode! {
    a_client_that_comes_back_on_its_port_is_served_every_time,
    transfers_over_a_link_that_loses_and_reorders_are_never_refused,
    downloads_over_a_long_way_fill_their_windows_and_are_never_refused,
}

/// For 16 MiB over a rough road, on a machine that does other things as well.
const TRANSFER: Duration = Duration::from_secs(60);

/// No packet was refused or dropped so far.
fn nobody_was_refused(ebb: &Ebb<'_>) -> Result<()> {
    let verdicts = ebb.status()?.verdicts;
    let refused = |name: &str| {
        name.starts_with("reset") || name.starts_with("drop") || name.starts_with("unreachable")
    };
    assert!(
        !verdicts
            .iter()
            .any(|(name, count)| refused(name) && *count > 0),
        "{verdicts:?}"
    );
    Ok(())
}

fn a_client_that_comes_back_on_its_port_is_served_every_time(mode: Mode) -> Result<()> {
    play(mode, &Settings::default(), |site, ebb| {
        // Each time with other numbers, as a kernel chooses them.
        for visit in 0..20 {
            let talk = Conversation::open_from(&site.client, 41_000, site.talkers())?;
            talk.echo(&format!("visit {visit}"))?;
            nobody_was_refused(ebb)?;
            talk.abort()?;
        }
        Ok(())
    })
}

/// A load balancer of each family, with one backend, and iperf3 on both ends.
fn of_both_families(site: &Site) -> String {
    let (mode, web) = match site.mode {
        Mode::Nat => ("nat", 8080),
        Mode::Dsr => ("dsr", 80),
        Mode::Ipip => ("ipip", 80),
    };
    let host = &site.backends[0].host;
    let mut text = site.preamble();
    for (name, vip, backend) in [
        (LB, VIP_V4.to_string(), host.v4.to_string()),
        ("web-v6", VIP_V6.to_string(), host.v6.to_string()),
    ] {
        text += &format!(
            "[[load_balancer]]\nname = \"{name}\"\nmode = \"{mode}\"\nlisteners = [\n\
             {{ protocol = \"tcp\", address = \"{vip}\", port = 80, backend_port = {web} }},\n\
             {{ protocol = \"tcp\", address = \"{vip}\", port = {} }},\n]\n\
             backends = [{{ id = \"web-1\", address = \"{backend}\" }}]\n",
            iperf::PORT
        );
    }
    text
}

/// Has `act` play where the client's link is rough, and nobody may be refused.
fn on_a_rough_road(
    mode: Mode,
    manner: Manner,
    act: impl FnOnce(&Site, &iperf::Server) -> Result<()>,
) -> Result<()> {
    let site = Site::with_backends(mode, 1)?;
    let road = site.roughen(manner)?;
    let iperf = iperf::Server::start(&site, &site.backends[0].host)?;
    play_with(&site, &of_both_families(&site), |site, ebb| {
        for name in [LB, "web-v6"] {
            wait::until_true(&format!("{name} to take new flows"), SOON * 3, || {
                let shown: lb_userspace::wire::LoadBalancer = ebb.json(&["lb", "show", name])?;
                Ok(shown.backends.iter().all(|backend| backend.takes_new))
            })?;
        }
        act(site, &iperf)?;
        println!("lost and late: {:?}", road.suffered());
        nobody_was_refused(ebb)?;
        // Every connection has ended, and ebb knows: a drain has nothing to wait for. But
        // iperf3's server resets what it has not read, which only nat sees.
        let sees_all = site.mode == Mode::Nat || manner.lost == 0;
        if sees_all {
            ebb.deregister("web-1", &["--timeout", "60"])?;
            let gone = ebb.wait_gone("web-1", SOON * 5)?;
            let outcome = gone.drain.and_then(|drain| drain.outcome);
            ensure!(outcome == Some(DrainOutcome::Ended), "{outcome:?}");
        }
        Ok(())
    })
}

fn transfers_over_a_link_that_loses_and_reorders_are_never_refused(mode: Mode) -> Result<()> {
    let manner = Manner {
        lost: 10,
        late: 30,
        by: Duration::from_millis(3),
        delay: Duration::from_millis(2),
    };
    on_a_rough_road(mode, manner, |site, iperf| {
        for vip in [VIP_V4.into(), VIP_V6.into()] {
            for direction in [Direction::ToServer, Direction::ToClient] {
                let bytes = iperf.transfer(&site.client, vip, direction)?;
                println!("{vip}, {direction:?}: {bytes} bytes");
                ensure!(bytes > 128 << 10, "{vip}, {direction:?}: {bytes} bytes");
            }
        }
        Ok(())
    })
}

fn downloads_over_a_long_way_fill_their_windows_and_are_never_refused(mode: Mode) -> Result<()> {
    let manner = Manner {
        lost: 0,
        late: 0,
        by: Duration::ZERO,
        delay: Duration::from_millis(40),
    };
    on_a_rough_road(mode, manner, |site, _| {
        for vip in [VIP_V4.into(), VIP_V6.into()] {
            let url = format!("http://{}/file", SocketAddr::new(vip, 80));
            let name = if vip.is_ipv6() { "six" } else { "four" };
            let done = Download::start(&site.client, &url, site.dir(), name)?.wait(TRANSFER)?;
            ensure!(done.exit == 0, "curl {url}: exit {}", done.exit);
            ensure!(done.body == site.file, "{url} came changed");
        }
        Ok(())
    })
}

/// Entries of the table of flows, two for each connection through nat.
const ENTRIES: u32 = 1024;
/// More connections than nine tenths of it hold, and few enough to leave some room.
const MANY: usize = 470;

/// A connection that is greeted, or none if it is refused.
fn greeted(to: SocketAddr) -> Result<Option<TcpStream>> {
    let greeted = TcpStream::connect_timeout(&to, SOON).and_then(|mut stream| {
        stream.set_read_timeout(Some(SOON * 2))?;
        stream.read_exact(&mut [0]).map(|()| stream)
    });
    match greeted {
        Ok(stream) => Ok(Some(stream)),
        Err(error) if error.kind() == io::ErrorKind::ConnectionReset => Ok(None),
        Err(error) => Err(error.into()),
    }
}

#[test]
#[ignore = "needs root: cargo xtask test"]
fn p6_a_load_balancer_that_fills_the_table_leaves_room_for_the_others() -> Result<()> {
    let site = Site::with_backends(Mode::Nat, 1)?;
    let other = SocketAddr::from((VIP_V4_IN_V6, TALKER));
    let settings = Settings {
        flows: ENTRIES,
        ..Settings::default()
    };
    let configuration = format!(
        "{}\n[[load_balancer]]\nname = \"other\"\nmode = \"nat\"\n\
         listeners = [{{ protocol = \"tcp\", address = \"{}\", port = {TALKER} }}]\n\
         backends = [{{ id = \"web-1\", address = \"{}\" }}]\n",
        settings.write(&site),
        other.ip(),
        site.backends[0].host.v4,
    );
    play_with(&site, &configuration, |site, ebb| {
        ebb.wait_in_service()?;
        let open = |to: SocketAddr| site.client.enter(|| greeted(to))?;
        let mut held = Vec::new();
        for number in 0..MANY {
            let stream = open(site.talkers())?;
            held.push(stream.with_context(|| format!("connection {number} is refused"))?);
        }
        wait::until_true("the agent to see that", SOON * 5, || {
            Ok(ebb.process()?.printed().contains("more than its share"))
        })?;
        ensure!(open(site.talkers())?.is_none(), "it has the last room, too");
        for number in 0..5 {
            let stream = open(other)?;
            held.push(stream.with_context(|| format!("the other's {number} is refused"))?);
        }
        // As soon as it has less than its share again it is served.
        held.clear();
        wait::until_true("it to be served again", SOON * 10, || {
            Ok(open(site.talkers())?.is_some())
        })
    })
}
