//! Requests that outlive their instance: whole if the timeout lets them, reset
//! at the deadline if not.

use std::{
    io::{self, Read as _, Write as _},
    net::{Ipv6Addr, SocketAddr, TcpListener, TcpStream},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};
use tests::{
    lab::{host::Host, site::VIP_V4, wait},
    report,
};

use crate::door::{Door, LOOPBACK, play};

/// How long the server thinks before it answers.
const THINKS: Duration = Duration::from_secs(8);
/// When, after the request, the instance is deregistered.
const DEREGISTERED: Duration = Duration::from_secs(2);

const PORT: u16 = 9000;
const ANSWER: &str = "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nConnection: close\r\n\r\nwhole";

#[test]
#[ignore = "needs root: cargo xtask test"]
fn with_time_enough_a_slow_request_ends_whole() -> Result<()> {
    play(LOOPBACK, |door| {
        let told = ask_and_deregister(door, 20)?;
        assert_eq!(told.answer?, ANSWER);
        ensure!(told.took >= THINKS, "{:?}", told.took);
        report::line(&format!(
            "a request of 8 s, its instance deregistered after 2 s, timeout 20 s: whole after {:.1?}",
            told.took
        ));
        Ok(())
    })
}

#[test]
#[ignore = "needs root: cargo xtask test"]
fn at_the_deadline_a_slow_request_is_reset() -> Result<()> {
    play(LOOPBACK, |door| {
        let told = ask_and_deregister(door, 4)?;
        let error = told.answer.err().context("it was answered")?;
        assert_eq!(error.kind(), io::ErrorKind::ConnectionReset);
        let timeout = Duration::from_secs(4);
        let after = told.ended - told.deregistered.0;
        ensure!(after >= timeout, "reset {after:?} after the command began");
        let after = told.ended - told.deregistered.1;
        report::line(&format!(
            "a request of 8 s, its instance deregistered after 2 s, timeout 4 s: reset {after:.1?} later"
        ));
        ensure!(
            after < timeout + Duration::from_secs(1),
            "reset {after:?} after the answer"
        );
        ensure!(told.took < THINKS, "{:?}", told.took);
        Ok(())
    })
}

struct Told {
    answer: io::Result<String>,
    took: Duration,
    ended: Instant,
    /// When the command began, and when it had its answer.
    deregistered: (Instant, Instant),
}

fn ask_and_deregister(door: &Door<'_>, timeout: u32) -> Result<Told> {
    let server = listen(&door.site.backend("web-1")?.host)?;
    door.shell(
        "aws elb create-load-balancer --load-balancer-name web \
         --listeners Protocol=HTTP,LoadBalancerPort=80,InstancePort=9000 \
         --availability-zones local-1a",
    )?;
    door.shell(&format!(
        "aws elb modify-load-balancer-attributes --load-balancer-name web \
         --load-balancer-attributes '{{\"ConnectionDraining\":{{\"Enabled\":true,\"Timeout\":{timeout}}}}}'"
    ))?;
    // Two, so that there is somewhere to go.
    door.shell(
        "aws elb register-instances-with-load-balancer --load-balancer-name web --instances web-1",
    )?;
    door.shell("aws elb wait instance-in-service --load-balancer-name web")?;

    // Not scoped: a test that fails before the request must not wait for it.
    thread::spawn(move || think(&server));
    thread::scope(|scope| {
        let started = Instant::now();
        let client = scope.spawn(|| {
            let answer = door.site.client.enter(ask);
            (answer, Instant::now())
        });
        wait::till(started + DEREGISTERED)?;
        let begun = Instant::now();
        // The moment matters, and `aws` takes seconds to start on a busy machine.
        door.query(
            "Action=DeregisterInstancesFromLoadBalancer&Version=2012-06-01\
             &LoadBalancerName=web&Instances.member.1.InstanceId=web-1",
        )?;
        let answered = Instant::now();
        let health = door.query(
            "Action=DescribeInstanceHealth&Version=2012-06-01\
             &LoadBalancerName=web&Instances.member.1.InstanceId=web-1",
        )?;
        ensure!(
            health.contains("<State>InService</State>")
                && health.contains("Instance deregistration currently in progress."),
            "{health}"
        );
        let (answer, ended) = client.join().expect("it does not panic");
        Ok(Told {
            answer: answer?,
            took: ended - started,
            ended,
            deregistered: (begun, answered),
        })
    })
}

fn ask() -> io::Result<String> {
    let mut stream = TcpStream::connect(SocketAddr::from((VIP_V4, 80)))?;
    stream.set_read_timeout(Some(THINKS * 2))?;
    stream.write_all(b"GET /slow HTTP/1.1\r\nHost: web\r\n\r\n")?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    Ok(answer)
}

fn listen(host: &Host) -> Result<TcpListener> {
    let any = SocketAddr::from((Ipv6Addr::UNSPECIFIED, PORT));
    host.enter(|| TcpListener::bind(any))?
        .with_context(|| format!("{} cannot listen on {PORT}", host.name))
}

/// Answers the first request, late; who only looks in (a health check) is let go.
fn think(server: &TcpListener) {
    for stream in server.incoming() {
        let Ok(mut stream) = stream else { return };
        let mut request = [0; 1024];
        match stream.read(&mut request) {
            Ok(length) if length > 0 => {
                thread::sleep(THINKS);
                // It may have been reset meanwhile.
                let _ = stream.write_all(ANSWER.as_bytes());
                return;
            }
            _ => {}
        }
    }
}
