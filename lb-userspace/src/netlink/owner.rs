//! Whose the other end of a connection within this host is (sock_diag).

use std::{io, net::SocketAddr};

use netlink_packet_sock_diag::{
    SockDiagMessage as Message,
    constants::{AF_INET, AF_INET6, IPPROTO_TCP, TCP_LISTEN},
    inet::{ExtensionFlags, InetRequest, InetResponse, SocketId, StateFlags},
};
use netlink_sys::protocols::NETLINK_SOCK_DIAG;

use super::ask::Asker;

/// Why nobody is known to own it.
#[derive(Debug, thiserror::Error)]
pub(crate) enum NoOwner {
    #[error("the kernel does not say: {0}")]
    Kernel(#[from] io::Error),
    #[error("the other end is closed, or not on this host")]
    Gone,
}

/// The user whose socket is at `peer`, connected to ours at `local`, which has
/// this inode.
///
/// A socket that its process has closed is nobody's, and looks as if it were
/// root's; one whose connection is over may have a successor with the same
/// addresses. So the other end must be some process's, and our end must still
/// be there after it was looked at: while it is, its addresses are no other
/// connection's.
pub(crate) fn owner(peer: SocketAddr, local: SocketAddr, inode: u64) -> Result<u32, NoOwner> {
    let mut asker = Asker::speaking(NETLINK_SOCK_DIAG)?;
    let theirs = socket(&mut asker, peer, local)?;
    let ours = socket(&mut asker, local, peer)?;
    let is_ours = u64::from(ours.header.inode) == inode;
    if theirs.header.inode == 0 || !is_ours {
        return Err(NoOwner::Gone);
    }
    Ok(theirs.header.uid)
}

/// The connected socket with these addresses.
fn socket(
    asker: &mut Asker<Message>,
    local: SocketAddr,
    remote: SocketAddr,
) -> Result<InetResponse, NoOwner> {
    let id = SocketId {
        source_port: local.port(),
        destination_port: remote.port(),
        source_address: local.ip().to_canonical(),
        destination_address: remote.ip().to_canonical(),
        interface_id: 0,
        // Any.
        cookie: [0xff; 8],
    };
    let request = InetRequest {
        family: if id.source_address.is_ipv4() {
            AF_INET
        } else {
            AF_INET6
        },
        protocol: IPPROTO_TCP,
        extensions: ExtensionFlags::empty(),
        states: StateFlags::all(),
        socket_id: id.clone(),
    };
    let answers = match asker.ask(Message::InetRequest(request), 0) {
        Ok(answers) => answers,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Err(NoOwner::Gone),
        Err(error) => return Err(error.into()),
    };
    for answer in answers {
        if let Message::InetResponse(found) = answer {
            // With no such connection the kernel looks for a listener.
            let header = &found.header;
            let is_it = header.state != TCP_LISTEN
                && header.socket_id.source_port == id.source_port
                && header.socket_id.destination_port == id.destination_port;
            return if is_it {
                Ok(*found)
            } else {
                Err(NoOwner::Gone)
            };
        }
    }
    Err(NoOwner::Gone)
}

#[cfg(test)]
mod tests {
    use std::{
        net::{TcpListener, TcpStream},
        os::fd::AsFd,
    };

    use super::*;

    fn inode(socket: &impl AsFd) -> u64 {
        rustix::fs::fstat(socket).unwrap().st_ino
    }

    fn connected(to: &str) -> (TcpStream, TcpStream) {
        let listener = TcpListener::bind(to).unwrap();
        let client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        (client, listener.accept().unwrap().0)
    }

    fn owner_of(accepted: &TcpStream) -> Result<u32, NoOwner> {
        let (peer, local) = (
            accepted.peer_addr().unwrap(),
            accepted.local_addr().unwrap(),
        );
        owner(peer, local, inode(accepted))
    }

    #[test]
    fn the_other_end_is_ours_while_it_is_open() {
        for address in ["127.0.0.1:0", "[::1]:0"] {
            let (client, accepted) = connected(address);
            let me = rustix::process::geteuid().as_raw();
            assert_eq!(owner_of(&accepted).unwrap(), me);
            // Whoever says all and waits for the answer is still there.
            client.shutdown(std::net::Shutdown::Write).unwrap();
            assert_eq!(owner_of(&accepted).unwrap(), me);
            let (peer, local) = (
                accepted.peer_addr().unwrap(),
                accepted.local_addr().unwrap(),
            );
            drop(client);
            // It is the kernel's now, which looks like root's.
            let closed = owner(peer, local, inode(&accepted));
            assert!(matches!(closed, Err(NoOwner::Gone)), "{closed:?}");
        }
    }

    #[test]
    fn another_connection_with_the_same_addresses_is_not_the_one() {
        let (_client, accepted) = connected("127.0.0.1:0");
        let (peer, local) = (
            accepted.peer_addr().unwrap(),
            accepted.local_addr().unwrap(),
        );
        let other = owner(peer, local, inode(&accepted) + 1);
        assert!(matches!(other, Err(NoOwner::Gone)), "{other:?}");
    }

    #[test]
    fn a_listener_is_not_the_other_end() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let (_client, accepted) = connected("127.0.0.1:0");
        let local = accepted.local_addr().unwrap();
        let found = owner(listener.local_addr().unwrap(), local, inode(&accepted));
        assert!(matches!(found, Err(NoOwner::Gone)), "{found:?}");
    }
}
