//! Many short connections a second, from many addresses, each closed as one says.

use std::{
    collections::BTreeMap,
    io::{self, Read as _, Write as _},
    net::{IpAddr, Ipv6Addr, Shutdown, SocketAddr, TcpListener, TcpStream},
    os::fd::OwnedFd,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result};
use nix::sys::socket::{setsockopt, sockopt::IpBindAddressNoPort};
use rustix::net::{
    AddressFamily, SocketFlags, SocketType, bind, connect, ipproto, listen, socket_with, sockopt,
};

use super::host::Host;

/// Who closes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum First {
    Client,
    Backend,
    /// Both, as soon as they are connected.
    Both,
}

/// How long any step of a connection may take: some retransmissions of a SYN.
const PATIENCE: Duration = Duration::from_secs(8);

/// So many connections are under way at once, at most.
const WORKERS: usize = 48;

/// A server that closes its connections as it should; it stops when dropped.
#[derive(Debug)]
pub struct Server {
    listener: TcpListener,
    threads: Vec<JoinHandle<()>>,
}

impl Server {
    /// Listens on a port of every address of the host.
    pub fn start(host: &Host, port: u16, first: First) -> Result<Self> {
        let listener = host.enter(|| listens(port))??;
        let threads = (0..WORKERS / 2)
            .map(|_| {
                let listener = listener.try_clone()?;
                Ok(thread::spawn(move || serve(&listener, first)))
            })
            .collect::<io::Result<_>>()?;
        Ok(Self { listener, threads })
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // Who waits for a connection waits no more.
        let _ = rustix::net::shutdown(&self.listener, rustix::net::Shutdown::Both);
        for thread in self.threads.drain(..) {
            // A panic in there has been printed.
            let _ = thread.join();
        }
    }
}

fn listens(port: u16) -> Result<TcpListener> {
    let fd = socket(AddressFamily::INET6)?;
    sockopt::set_socket_reuseaddr(&fd, true)?;
    // One IPv6 socket takes IPv4 as well.
    bind(&fd, &SocketAddr::from((Ipv6Addr::UNSPECIFIED, port)))?;
    // As long a queue as the kernel gives: nobody is to wait for this host.
    listen(&fd, i32::MAX)?;
    Ok(fd.into())
}

/// One that no program keeps open which another thread starts meanwhile.
fn socket(family: AddressFamily) -> rustix::io::Result<OwnedFd> {
    let (kind, flags) = (SocketType::STREAM, SocketFlags::CLOEXEC);
    socket_with(family, kind, flags, Some(ipproto::TCP))
}

fn serve(listener: &TcpListener, first: First) {
    while let Ok((stream, _)) = listener.accept() {
        // What goes wrong the client sees.
        let _ = end(stream, first != First::Client, b"x");
    }
}

/// Says its word and closes; or waits until the other end has.
fn end(mut stream: TcpStream, at_once: bool, word: &[u8]) -> io::Result<()> {
    stream.set_read_timeout(Some(PATIENCE))?;
    let mut rest = Vec::new();
    if at_once {
        stream.write_all(word)?;
        stream.shutdown(Shutdown::Write)?;
    }
    stream.read_to_end(&mut rest)?;
    Ok(())
}

/// What came of the connections.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Tally {
    pub opened: u64,
    /// Those that failed, by why.
    pub failed: BTreeMap<String, u64>,
    /// SYNs that the client sent again.
    pub syns_again: u64,
    /// How long all of it took.
    pub took: Duration,
}

/// Connections to make.
#[derive(Debug, Clone)]
pub struct Rush {
    pub to: SocketAddr,
    /// In turn.
    pub from: Vec<IpAddr>,
    pub first: First,
    pub per_second: u64,
    pub lasts: Duration,
}

impl Rush {
    /// Makes them all, each at its time or as soon after that as can be.
    pub fn run(&self, client: &Host) -> Result<Tally> {
        let before = client.counter("TCPSynRetrans")?;
        let begun = Instant::now();
        let number = AtomicU64::new(0);
        let tally = Mutex::new(Tally::default());
        client.enter(|| {
            thread::scope(|scope| {
                for _ in 0..WORKERS {
                    scope.spawn(|| self.work(&number, begun, &tally));
                }
            });
        })?;
        let mut tally = tally.into_inner().unwrap_or_else(PoisonError::into_inner);
        tally.took = begun.elapsed();
        tally.syns_again = client.counter("TCPSynRetrans")? - before;
        Ok(tally)
    }

    /// How many there are to be.
    pub fn count(&self) -> u64 {
        self.per_second * self.lasts.as_secs()
    }

    fn work(&self, number: &AtomicU64, begun: Instant, tally: &Mutex<Tally>) {
        let (mut opened, mut failed) = (0, BTreeMap::<String, u64>::new());
        loop {
            let n = number.fetch_add(1, Ordering::Relaxed);
            if n >= self.count() {
                break;
            }
            let due = Duration::from_secs_f64(n as f64 / self.per_second as f64);
            thread::sleep(due.saturating_sub(begun.elapsed()));
            let from = self.from[n as usize % self.from.len()];
            match self.one(from) {
                Ok(()) => opened += 1,
                Err(error) => *failed.entry(format!("{error:#}")).or_default() += 1,
            }
        }
        let mut tally = tally.lock().unwrap_or_else(PoisonError::into_inner);
        tally.opened += opened;
        for (why, times) in failed {
            *tally.failed.entry(why).or_default() += times;
        }
    }

    fn one(&self, from: IpAddr) -> Result<()> {
        let stream = connected(from, self.to).context("connecting")?;
        end(stream, self.first != First::Backend, b"").context("closing")
    }
}

fn connected(from: IpAddr, to: SocketAddr) -> Result<TcpStream> {
    let family = match to {
        SocketAddr::V4(_) => AddressFamily::INET,
        SocketAddr::V6(_) => AddressFamily::INET6,
    };
    let fd = socket(family)?;
    // Ports are chosen by connection, not by socket: there are enough.
    setsockopt(&fd, IpBindAddressNoPort, &true)?;
    bind(&fd, &SocketAddr::new(from, 0))?;
    sockopt::set_socket_timeout(&fd, sockopt::Timeout::Send, Some(PATIENCE))?;
    connect(&fd, &to)?;
    Ok(fd.into())
}

impl Host {
    /// A counter of the host's TCP, by its name in `/proc/net/netstat`.
    pub fn counter(&self, name: &str) -> Result<u64> {
        let text = self.enter(|| std::fs::read_to_string("/proc/thread-self/net/netstat"))??;
        let lines: Vec<_> = text
            .lines()
            .filter(|line| line.starts_with("TcpExt:"))
            .collect();
        let [names, values] = lines[..] else {
            anyhow::bail!("there are {} lines of TcpExt", lines.len());
        };
        let mut fields = names.split_whitespace().zip(values.split_whitespace());
        let found = fields.find(|(found, _)| *found == name);
        let (_, value) = found.with_context(|| format!("there is no counter {name}"))?;
        Ok(value.parse()?)
    }
}
