//! What strangers at the doors leave behind in the agent: no memory.

use std::{
    fs,
    io::{Read as _, Write as _},
    net::TcpStream,
    thread,
    time::Duration,
};

use anyhow::{Context as _, Result, ensure};
use lb_userspace::model::Mode;
use tests::{
    lab::{
        agent::{Ebb, Settings},
        host::Host,
        wait,
    },
    report,
};

use crate::scene::play;

/// As many connections as the Query API has places, each with a body of the largest size.
const CONNECTIONS: usize = 256;
const BODY: usize = 1 << 20;
/// One burst after the other.
const BURSTS: usize = 4;

/// By how much the agent may have grown when they have gone, in kilobytes: what the runtime
/// and the allocator keep for the next connections. All bodies together have 256 MiB.
const STAYS: u64 = 4 << 10;

/// For whatever is waited for.
const PATIENCE: Duration = Duration::from_secs(20);

fn open_at(listen: &str, keys: &str) -> Settings {
    Settings {
        more: format!("[elb_api]\nlisten = \"{listen}\"\n{keys}"),
        ..Settings::default()
    }
}

/// Kilobytes.
fn memory(ebb: &Ebb<'_>) -> Result<u64> {
    let status = fs::read_to_string(format!("/proc/{}/status", ebb.process()?.id()))?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let number = line.and_then(|line| line.split_whitespace().next());
    Ok(number.context("no VmRSS")?.parse()?)
}

/// Sends a body of the largest size, as far as anybody takes it; and hears the answer.
fn send(address: &str, head: &str) -> Result<()> {
    let mut stream = TcpStream::connect(address)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    let head = format!(
        "POST / HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\nContent-Length: {BODY}\r\n{head}\r\n"
    );
    // Whoever is cut has been refused.
    let piece = [b'a'; 16 << 10];
    let _ = stream.write_all(head.as_bytes());
    for _ in 0..BODY / piece.len() {
        if stream.write_all(&piece).is_err() {
            break;
        }
    }
    let _ = stream.read_to_end(&mut Vec::new());
    Ok(())
}

fn burst(address: &str, hosts: &[&Host], head: &str) -> Result<()> {
    thread::scope(|scope| {
        let senders: Vec<_> = (0..CONNECTIONS)
            .map(|n| {
                let host = hosts[n % hosts.len()];
                scope.spawn(move || host.enter(|| send(address, head))?)
            })
            .collect();
        senders
            .into_iter()
            .try_for_each(|sender| sender.join().expect("it does not panic"))
    })
}

/// The agent is as small after the bursts as it was before, or nearly.
fn leaves_nothing(ebb: &Ebb<'_>, kind: &str, burst: impl Fn() -> Result<()>) -> Result<()> {
    let before = memory(ebb)?;
    let mut most = before;
    for _ in 0..BURSTS {
        burst()?;
        most = most.max(memory(ebb)?);
    }
    let comes_back = wait::until_true("the memory to come back", PATIENCE, || {
        Ok(memory(ebb)? <= before + STAYS)
    });
    let after = memory(ebb)?;
    report::line(&format!(
        "memory of the agent, {kind}: {before} kB before, {most} kB after a burst, {after} kB in the end"
    ));
    ensure!(
        comes_back.is_ok(),
        "{before} kB before and {after} kB after: {} kB stay, where {STAYS} kB may",
        after - before
    );
    Ok(())
}

#[test]
#[ignore = "needs root: cargo xtask test"]
fn large_requests_by_who_has_no_key_leave_no_memory_behind() -> Result<()> {
    const ADDRESS: &str = "10.0.0.1:8089";
    let settings = open_at(ADDRESS, "access_keys = { anna = \"secret\" }\n");
    play(Mode::Nat, &settings, |site, ebb| {
        let hosts = [&*site.client, &site.balancer];
        let signed = format!(
            "X-Amz-Date: 20261122T120000Z\r\nAuthorization: AWS4-HMAC-SHA256 \
             Credential=anna/20261122/us-east-1/elasticloadbalancing/aws4_request, \
             SignedHeaders=host;x-amz-date, Signature={}\r\n",
            "0".repeat(64)
        );
        leaves_nothing(ebb, "unsigned requests", || burst(ADDRESS, &hosts, ""))?;
        leaves_nothing(ebb, "wrong signatures", || burst(ADDRESS, &hosts, &signed))
    })
}

#[test]
#[ignore = "needs root: cargo xtask test"]
fn large_requests_of_local_users_leave_no_memory_behind() -> Result<()> {
    const ADDRESS: &str = "127.0.0.1:8089";
    play(Mode::Nat, &open_at(ADDRESS, ""), |site, ebb| {
        leaves_nothing(ebb, "local requests", || {
            burst(ADDRESS, &[&site.balancer], "")
        })
    })
}
