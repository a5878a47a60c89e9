//! P1: from the moment a change is acknowledged, no new flow reaches the
//! backend.

use std::{
    collections::BTreeSet,
    time::{Duration, Instant},
};

use anyhow::Result;
use lb_userspace::model::Mode;
use tests::lab::{agent::Settings, conversation::Conversation, curl, load::Load};

use crate::scene::{SOON, in_each_mode, play};

in_each_mode! {
    five_hundred_connections_after_a_deregister_and_none_to_the_backend,
    none_under_a_constant_load_of_new_connections,
    none_to_a_backend_that_had_no_flows_left,
    udp_goes_elsewhere_too,
}

fn five_hundred_connections_after_a_deregister_and_none_to_the_backend(mode: Mode) -> Result<()> {
    play(mode, &Settings::default(), |site, ebb| {
        let open = Conversation::open(&site.client, site.talkers())?;
        ebb.deregister(&open.backend, &[])?;
        let tally = curl::many(&site.client, &site.url("/"), 500)?;
        assert_eq!(tally.of(&open.backend), 0, "{tally:?}");
        assert_eq!(tally.failed, 0, "{tally:?}");
        open.echo("still here")
    })
}

fn none_under_a_constant_load_of_new_connections(mode: Mode) -> Result<()> {
    play(mode, &Settings::default(), |site, ebb| {
        let open = Conversation::open_with(&site.client, site.talkers(), "web-2")?;
        let loads = [(); 4].map(|()| Load::start(&site.client, site.web(), Duration::ZERO));
        for load in &loads {
            load.wait_for_more(50, SOON)?;
        }
        ebb.deregister("web-2", &[])?;
        let acknowledged = Instant::now();
        for load in &loads {
            load.wait_for_more(200, SOON * 5)?;
        }
        let requests: Vec<_> = loads.into_iter().flat_map(Load::stop).collect();
        for request in &requests {
            let backend = request.answer.as_deref().expect("no request fails");
            assert!(
                backend != "web-2" || request.started < acknowledged,
                "a connection reached web-2, asked for {:?} after the acknowledgement",
                request.started - acknowledged
            );
        }
        open.echo("still here")
    })
}

fn none_to_a_backend_that_had_no_flows_left(mode: Mode) -> Result<()> {
    play(mode, &Settings::default(), |site, ebb| {
        for id in ["web-1", "web-2"] {
            ebb.deregister(id, &[])?;
        }
        let tally = curl::many(&site.client, &site.url("/"), 100)?;
        assert_eq!(tally.of("web-3"), 100, "{tally:?}");
        ebb.deregister("web-3", &[])?;
        // With nobody in service the client hears so at once.
        let before = Instant::now();
        let refused = site
            .client
            .enter(|| std::net::TcpStream::connect_timeout(&site.web(), SOON))?;
        let error = refused.expect_err("there is no backend");
        assert_eq!(error.kind(), std::io::ErrorKind::ConnectionRefused);
        assert!(before.elapsed() < Duration::from_millis(200));
        Ok(())
    })
}

fn udp_goes_elsewhere_too(mode: Mode) -> Result<()> {
    use tests::lab::talker::ask_from;

    play(mode, &Settings::default(), |site, ebb| {
        // Each from a port of its own: the same again would be the same flow.
        let ask = |port| ask_from(&site.client, port, site.talkers(), "who?");
        let seen = (20_000..20_050).map(ask).collect::<Result<BTreeSet<_>>>()?;
        assert_eq!(seen.len(), 3, "{seen:?}");
        ebb.deregister("web-1", &[])?;
        for port in 20_050..20_100 {
            assert_ne!(ask(port)?, "web-1", "from port {port}");
        }
        Ok(())
    })
}
