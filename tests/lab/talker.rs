//! A server whose connections can be looked into from both ends: it greets
//! with its name and the address it sees, then says everything back.

use std::{
    io::{self, IoSlice, IoSliceMut, Write as _},
    net::{IpAddr, Ipv6Addr, Shutdown, SocketAddr, TcpListener, TcpStream, UdpSocket},
    os::fd::AsRawFd as _,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    thread::{self, JoinHandle},
    time::Duration,
};

use anyhow::{Context as _, Result};
use nix::sys::socket::{
    ControlMessage, ControlMessageOwned, MsgFlags, SockaddrIn6, recvmsg, sendmsg, setsockopt,
    sockopt::Ipv6RecvPacketInfo,
};

use super::{
    conversation::{End, Watch},
    host::Host,
};

const PATIENCE: Duration = Duration::from_secs(3);

/// Said to it, it makes the server close first.
pub(super) const BYE: &[u8] = b"bye\n";

/// The server, over TCP and UDP alike; stopped when dropped.
#[derive(Debug)]
pub struct Talker {
    tcp: TcpListener,
    udp: UdpSocket,
    accepted: Arc<Mutex<Vec<Accepted>>>,
    threads: Vec<JoinHandle<()>>,
}

#[derive(Debug)]
struct Accepted {
    /// The client's end, as we see it.
    peer: SocketAddr,
    stream: TcpStream,
    watch: Arc<Watch>,
}

impl Talker {
    pub(super) fn start(host: &Host, port: u16) -> Result<Self> {
        // One IPv6 socket takes IPv4 as well.
        let any = SocketAddr::from((Ipv6Addr::UNSPECIFIED, port));
        let sockets =
            host.enter(|| io::Result::Ok((TcpListener::bind(any)?, UdpSocket::bind(any)?)))?;
        let (tcp, udp) =
            sockets.with_context(|| format!("{} cannot listen on {port}", host.name))?;
        setsockopt(&udp, Ipv6RecvPacketInfo, &true)?;
        let accepted = Arc::default();
        let threads = vec![
            thread::spawn({
                let (tcp, name, accepted) =
                    (tcp.try_clone()?, host.name.clone(), Arc::clone(&accepted));
                move || accept_all(&tcp, &name, &accepted)
            }),
            thread::spawn({
                let (udp, name) = (udp.try_clone()?, host.name.clone());
                move || answer_all(&udp, &name)
            }),
        ];
        Ok(Self {
            tcp,
            udp,
            accepted,
            threads,
        })
    }

    /// How many connections it has ever taken.
    pub fn accepted(&self) -> usize {
        lock(&self.accepted).len()
    }

    /// How the latest connection from `peer` ended, if it has.
    pub fn end_of(&self, peer: SocketAddr) -> Option<End> {
        self.watch(peer)?.end()
    }

    /// Waits for the end of the latest connection from `peer`.
    pub fn wait_end_of(&self, peer: SocketAddr, within: Duration) -> Result<End> {
        self.watch(peer)
            .with_context(|| format!("there was no connection from {peer}"))?
            .wait_end(within)
            .with_context(|| format!("the connection from {peer} is still open after {within:?}"))
    }

    fn watch(&self, peer: SocketAddr) -> Option<Arc<Watch>> {
        let all = lock(&self.accepted);
        let latest = all.iter().rev().find(|accepted| accepted.peer == peer)?;
        Some(Arc::clone(&latest.watch))
    }
}

impl Drop for Talker {
    fn drop(&mut self) {
        // On Linux this wakes a thread that waits in accept() or recv(). It
        // reports ENOTCONN for a UDP socket, and wakes it all the same.
        let _ = rustix::net::shutdown(&self.tcp, rustix::net::Shutdown::Both);
        let _ = rustix::net::shutdown(&self.udp, rustix::net::Shutdown::Both);
        for accepted in lock(&self.accepted).iter() {
            let _ = accepted.stream.shutdown(Shutdown::Both);
        }
        for thread in self.threads.drain(..) {
            // A panic in there has been printed.
            let _ = thread.join();
        }
    }
}

fn accept_all(listener: &TcpListener, name: &str, accepted: &Mutex<Vec<Accepted>>) {
    while let Ok((stream, peer)) = listener.accept() {
        let peer = SocketAddr::new(peer.ip().to_canonical(), peer.port());
        // The client may be gone again, which is its right.
        let Ok(watch) = serve(&stream, peer, name) else {
            continue;
        };
        lock(accepted).push(Accepted {
            peer,
            stream,
            watch,
        });
    }
}

fn serve(stream: &TcpStream, peer: SocketAddr, name: &str) -> io::Result<Arc<Watch>> {
    stream.set_nodelay(true)?;
    let watch = Arc::new(Watch::default());
    let (reader, mut writer, ours) = (stream.try_clone()?, stream.try_clone()?, Arc::clone(&watch));
    writer.write_all(format!("{name} {peer}\n").as_bytes())?;
    thread::spawn(move || {
        ours.read(reader, |said| match said {
            BYE => writer.shutdown(Shutdown::Write),
            _ => writer.write_all(said),
        });
        // Our side is done too, however it ended.
        let _ = writer.shutdown(Shutdown::Both);
    });
    Ok(watch)
}

/// Answers every datagram with our name and what it said, from the address that
/// it was sent to: with dsr that is not the one the host would choose.
fn answer_all(socket: &UdpSocket, name: &str) {
    let fd = socket.as_raw_fd();
    let mut buffer = [0; 16 << 10];
    let mut control = nix::cmsg_space!(nix::libc::in6_pktinfo);
    loop {
        let mut room = [IoSliceMut::new(&mut buffer)];
        let received = recvmsg::<SockaddrIn6>(fd, &mut room, Some(&mut control), MsgFlags::empty());
        let Ok(received) = received else { return };
        // After shutdown() an empty datagram without a sender is "received".
        let Some(peer) = received.address.filter(|_| received.bytes > 0) else {
            return;
        };
        let length = received.bytes;
        let to = received.cmsgs().ok().and_then(|mut all| {
            all.find_map(|message| match message {
                ControlMessageOwned::Ipv6PacketInfo(mut to) => {
                    // Whichever interface leads to the client.
                    to.ipi6_ifindex = 0;
                    Some(to)
                }
                _ => None,
            })
        });
        let answer = [name.as_bytes(), b" ", &buffer[..length]].concat();
        let from: Vec<_> = to.iter().map(ControlMessage::Ipv6PacketInfo).collect();
        let answer = [IoSlice::new(&answer)];
        // The client may be gone.
        let _ = sendmsg(fd, &answer, &from, MsgFlags::empty(), Some(&peer));
    }
}

/// Says something to a talker over UDP, from a port of its own, and returns the
/// name of the one that answered.
pub fn ask(client: &Host, to: SocketAddr, text: &str) -> Result<String> {
    ask_from(client, 0, to, text)
}

/// As [`ask`], from a port of the caller's choice: one that was used a moment ago is
/// of the same conversation.
pub fn ask_from(client: &Host, port: u16, to: SocketAddr, text: &str) -> Result<String> {
    let answered = client.enter(|| -> Result<String> {
        let socket = UdpSocket::bind(SocketAddr::from((Ipv6Addr::UNSPECIFIED, port)))?;
        socket.set_read_timeout(Some(PATIENCE))?;
        socket.connect(mapped(to))?;
        socket.send(text.as_bytes())?;
        let mut buffer = [0; 16 << 10];
        let length = socket.recv(&mut buffer).context("no answer")?;
        Ok(String::from_utf8_lossy(&buffer[..length]).into_owned())
    })?;
    let answer = answered.with_context(|| format!("asking {to}"))?;
    let name = answer.strip_suffix(text).map(str::trim_end);
    Ok(name
        .with_context(|| format!("{to} answered {answer:?}"))?
        .to_owned())
}

/// As an IPv6 socket writes it.
fn mapped(address: SocketAddr) -> SocketAddr {
    let ip = match address.ip() {
        IpAddr::V4(ip) => ip.to_ipv6_mapped(),
        IpAddr::V6(ip) => ip,
    };
    (ip, address.port()).into()
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
