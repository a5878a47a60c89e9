//! P3: a drain ends when its last flow ends, within a second; with no flows it
//! ends at once.

use std::{
    io::{self, Read as _, Write as _},
    net::{SocketAddr, TcpStream},
    time::{Duration, Instant},
};

use anyhow::Result;
use lb_userspace::{model::Mode, wire::DrainOutcome};
use tests::lab::{
    agent::{LB, Settings},
    conversation::Conversation,
    wait,
};

use crate::scene::{SOON, in_each_mode, play};

const A_SECOND: Duration = Duration::from_secs(1);

in_each_mode! {
    with_no_flows_it_ends_at_once,
    with_one_flow_it_ends_within_a_second_of_it,
    a_flow_that_is_reset_has_ended_too,
    a_client_that_is_killed_with_a_lot_in_flight_has_ended_too,
    the_command_that_waits_exits_with_0,
}

fn with_no_flows_it_ends_at_once(mode: Mode) -> Result<()> {
    play(mode, &Settings::default(), |_, ebb| {
        let before = Instant::now();
        let answer = ebb.deregister("web-1", &[])?;
        assert_eq!(answer.registration, "gone", "{answer:?}");
        assert!(before.elapsed() < A_SECOND);
        assert_eq!(ebb.load_balancer()?.backends.len(), 2);
        Ok(())
    })
}

fn with_one_flow_it_ends_within_a_second_of_it(mode: Mode) -> Result<()> {
    play(mode, &Settings::default(), |site, ebb| {
        let talk = Conversation::open(&site.client, site.talkers())?;
        let id = talk.backend.clone();
        ebb.wait_flows(&id, 1, SOON)?;
        let answer = ebb.deregister(&id, &[])?;
        assert_eq!(answer.registration, "draining");
        wait::till(Instant::now() + A_SECOND)?;
        assert_eq!(
            ebb.backend(&id)?.registration,
            "draining",
            "its flow is still open"
        );
        drop(talk);
        let gone = ebb.wait_gone(&id, A_SECOND)?;
        assert_eq!(
            gone.drain.and_then(|drain| drain.outcome),
            Some(DrainOutcome::Ended)
        );
        Ok(())
    })
}

fn a_flow_that_is_reset_has_ended_too(mode: Mode) -> Result<()> {
    play(mode, &Settings::default(), |site, ebb| {
        let talk = Conversation::open(&site.client, site.talkers())?;
        let id = talk.backend.clone();
        ebb.deregister(&id, &[])?;
        talk.abort()?;
        let gone = ebb.wait_gone(&id, A_SECOND)?;
        assert_eq!(
            gone.drain.and_then(|drain| drain.outcome),
            Some(DrainOutcome::Ended)
        );
        Ok(())
    })
}

fn a_client_that_is_killed_with_a_lot_in_flight_has_ended_too(mode: Mode) -> Result<()> {
    play(mode, &Settings::default(), |site, ebb| {
        let (id, stream) = site.client.enter(|| stuffed(site.talkers()))??;
        ebb.wait_flows(&id, 1, SOON)?;
        ebb.deregister(&id, &[])?;
        // What it has not read makes its kernel send a RST, with a number that the
        // backend, whose buffer is full, has not come to.
        drop(stream);
        let gone = ebb.wait_gone(&id, A_SECOND)?;
        assert_eq!(
            gone.drain.and_then(|drain| drain.outcome),
            Some(DrainOutcome::Ended)
        );
        Ok(())
    })
}

/// A connection whose client has sent all that both ends have room for, and reads
/// nothing of what comes back; and whom it is with.
fn stuffed(vip: SocketAddr) -> Result<(String, TcpStream)> {
    let mut stream = TcpStream::connect_timeout(&vip, SOON)?;
    stream.set_read_timeout(Some(SOON))?;
    let mut greeting = [0; 128];
    let len = stream.read(&mut greeting)?;
    let greeting = String::from_utf8_lossy(&greeting[..len]);
    let name = greeting.split(' ').next().unwrap_or_default().to_owned();
    stream.set_write_timeout(Some(Duration::from_millis(300)))?;
    let mut sent = 0;
    loop {
        match stream.write(&[b'.'; 64 << 10]) {
            Ok(len) => sent += len,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
            Err(error) => return Err(error.into()),
        }
    }
    anyhow::ensure!(sent > 512 << 10, "only {sent} bytes are under way");
    Ok((name, stream))
}

fn the_command_that_waits_exits_with_0(mode: Mode) -> Result<()> {
    play(mode, &Settings::default(), |site, ebb| {
        let talk = Conversation::open(&site.client, site.talkers())?;
        let id = talk.backend.clone();
        std::thread::scope(|scope| {
            let waiting = scope.spawn(|| ebb.run(&["backend", "deregister", LB, &id, "--wait"]));
            wait::until_true("the drain to begin", SOON, || {
                Ok(ebb.backend(&id)?.registration == "draining")
            })?;
            drop(talk);
            let done = waiting.join().expect("it does not panic")?;
            assert_eq!(done.exit, 0, "{done:?}");
            Ok(())
        })
    })
}
