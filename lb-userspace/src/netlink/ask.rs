//! Questions to the kernel by netlink, and their answers.

use std::{io, marker::PhantomData, net::IpAddr};

use netlink_packet_core::{
    NLM_F_DUMP, NLM_F_REQUEST, NetlinkDeserializable, NetlinkHeader, NetlinkMessage,
    NetlinkPayload, NetlinkSerializable,
};
use netlink_packet_route::{AddressFamily, RouteNetlinkMessage};
use netlink_sys::{Socket, SocketAddr, protocols::NETLINK_ROUTE};

/// A socket to ask by, in the messages of one of netlink's protocols. Calls
/// block, for as long as the kernel needs.
pub(super) struct Asker<M = RouteNetlinkMessage> {
    socket: Socket,
    sequence: u32,
    buffer: Vec<u8>,
    speaks: PhantomData<M>,
}

/// Longer than any message or part of a dump that the kernel sends (it goes up
/// to 32 KiB).
pub(super) const BUFFER: usize = 64 * 1024;

impl Asker {
    /// To rtnetlink.
    pub(super) fn open() -> io::Result<Self> {
        Self::speaking(NETLINK_ROUTE)
    }
}

impl<M> Asker<M>
where
    M: NetlinkSerializable + NetlinkDeserializable,
{
    pub(super) fn speaking(protocol: isize) -> io::Result<Self> {
        let mut socket = Socket::new(protocol)?;
        socket.bind_auto()?;
        socket.connect(&SocketAddr::new(0, 0))?;
        Ok(Self {
            socket,
            sequence: 0,
            buffer: Vec::with_capacity(BUFFER),
            speaks: PhantomData,
        })
    }

    /// Sends a request and reads what comes back, to its end.
    pub(super) fn ask(&mut self, message: M, flags: u16) -> io::Result<Vec<M>> {
        self.sequence = self.sequence.wrapping_add(1);
        let payload = NetlinkPayload::InnerMessage(message);
        let mut request = NetlinkMessage::new(NetlinkHeader::default(), payload);
        request.header.flags = NLM_F_REQUEST | flags;
        request.header.sequence_number = self.sequence;
        request.finalize();
        let mut bytes = vec![0; request.buffer_len()];
        request.serialize(&mut bytes);
        self.socket.send(&bytes, 0)?;

        let is_dump = flags & NLM_F_DUMP == NLM_F_DUMP;
        let mut answers = Vec::new();
        loop {
            self.buffer.clear();
            self.socket.recv(&mut self.buffer, 0)?;
            for message in messages(&self.buffer) {
                let message = message?;
                if message.header.sequence_number != self.sequence {
                    // Of a request that was given up.
                    continue;
                }
                match message.payload {
                    NetlinkPayload::InnerMessage(inner) => {
                        answers.push(inner);
                        if !is_dump {
                            return Ok(answers);
                        }
                    }
                    // Code zero acknowledges.
                    NetlinkPayload::Error(error) => {
                        return match error.code {
                            None => Ok(answers),
                            Some(_) => Err(error.to_io()),
                        };
                    }
                    NetlinkPayload::Done(_) => return Ok(answers),
                    NetlinkPayload::Overrun(_) => {
                        return Err(io::Error::from_raw_os_error(libc::ENOBUFS));
                    }
                    _ => {}
                }
            }
        }
    }
}

/// The messages in a datagram.
pub(super) fn messages<M: NetlinkDeserializable>(
    mut bytes: &[u8],
) -> impl Iterator<Item = io::Result<NetlinkMessage<M>>> {
    const HEADER: usize = 16;
    std::iter::from_fn(move || {
        if bytes.len() < HEADER {
            return None;
        }
        let message = NetlinkMessage::<M>::deserialize(bytes);
        let (length, _) = bytes.split_first_chunk::<4>()?;
        let length = u32::from_ne_bytes(*length) as usize;
        // Messages begin at multiples of four bytes. One shorter than its own
        // header would go on for ever.
        let next = length.max(HEADER).next_multiple_of(4);
        bytes = bytes.get(next..).unwrap_or_default();
        Some(message.map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error.to_string())))
    })
}

pub(super) fn family(address: IpAddr) -> AddressFamily {
    match address {
        IpAddr::V4(_) => AddressFamily::Inet,
        IpAddr::V6(_) => AddressFamily::Inet6,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_a_message_ends_the_datagram() {
        assert_eq!(messages::<RouteNetlinkMessage>(&[]).count(), 0);
        assert_eq!(messages::<RouteNetlinkMessage>(&[1, 2, 3]).count(), 0);
        // A length of zero, which would never get on.
        let mut results = messages::<RouteNetlinkMessage>(&[0; 32]);
        assert!(results.next().unwrap().is_err());
        assert!(results.next().unwrap().is_err());
        assert!(results.next().is_none());
    }
}
