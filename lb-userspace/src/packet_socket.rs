//! Sends frames out of any interface, as they are.

use std::{
    io,
    os::fd::{AsRawFd, FromRawFd, OwnedFd},
    ptr, thread,
    time::Duration,
};

/// A frame and where it goes out.
pub(crate) trait Frame {
    /// The interface that it leaves by.
    fn ifindex(&self) -> u32;
    /// From the link header on, if it has one.
    fn bytes(&self) -> &[u8];
    /// The `EtherType`, as it lies in a link header.
    fn protocol(&self) -> u16 {
        ethertype(self.bytes())
    }
}

/// A raw packet socket that receives nothing.
///
/// Frames go through the interface's queueing discipline. Going past it would
/// be faster, but drops frames when the queue of the hardware is full, and hides
/// them from tcpdump; a RST that is lost leaves somebody hanging.
pub(crate) struct PacketSocket(OwnedFd);

/// Frames per system call.
const BATCH: usize = 64;

/// The interface's queue is full: how long it is given to get on, and how often.
const PAUSE: Duration = Duration::from_millis(1);
const PAUSES: u32 = 200;

impl PacketSocket {
    pub(crate) fn open() -> io::Result<Self> {
        // Protocol 0: no packets are delivered to it.
        // SAFETY: the call takes numbers only.
        let fd = unsafe { libc::socket(libc::AF_PACKET, libc::SOCK_RAW | libc::SOCK_CLOEXEC, 0) };
        if fd < 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: the kernel has just made this descriptor for us.
        Ok(Self(unsafe { OwnedFd::from_raw_fd(fd) }))
    }

    /// Sends the frames, and says how many the kernel refused (for one, because
    /// the interface is gone), with the last reason. Where frames leave more slowly
    /// than they come, it waits.
    pub(crate) fn send(&self, frames: &[impl Frame]) -> Result<(), Unsent> {
        let mut unsent = Unsent::default();
        let mut pauses = PAUSES;
        for batch in frames.chunks(BATCH) {
            let mut rest = batch;
            while !rest.is_empty() {
                match self.send_some(rest) {
                    Ok(sent) => {
                        rest = &rest[sent.clamp(1, rest.len())..];
                        pauses = PAUSES;
                    }
                    Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                    Err(error) if pauses > 0 && error.raw_os_error() == Some(libc::ENOBUFS) => {
                        pauses -= 1;
                        thread::sleep(PAUSE);
                    }
                    Err(error) => {
                        unsent.frames += 1;
                        unsent.reason = Some(error);
                        rest = &rest[1..];
                    }
                }
            }
        }
        if unsent.frames == 0 {
            Ok(())
        } else {
            Err(unsent)
        }
    }

    /// Sends as many as the kernel takes; fails if it does not take the first.
    fn send_some(&self, frames: &[impl Frame]) -> io::Result<usize> {
        let mut addresses: Vec<_> = frames.iter().map(address).collect();
        let mut slices: Vec<_> = frames
            .iter()
            .map(|frame| libc::iovec {
                iov_base: frame.bytes().as_ptr().cast_mut().cast(),
                iov_len: frame.bytes().len(),
            })
            .collect();
        let mut messages: Vec<_> = addresses
            .iter_mut()
            .zip(&mut slices)
            .map(|(address, slice)| libc::mmsghdr {
                msg_hdr: libc::msghdr {
                    msg_name: ptr::from_mut(address).cast(),
                    msg_namelen: size_of::<libc::sockaddr_ll>() as libc::socklen_t,
                    msg_iov: slice,
                    msg_iovlen: 1,
                    msg_control: ptr::null_mut(),
                    msg_controllen: 0,
                    msg_flags: 0,
                },
                msg_len: 0,
            })
            .collect();
        // SAFETY: every message points to an address and a slice that live until
        // the end of this function; sending only reads them.
        let sent = unsafe {
            libc::sendmmsg(
                self.0.as_raw_fd(),
                messages.as_mut_ptr(),
                messages.len() as libc::c_uint,
                0,
            )
        };
        usize::try_from(sent).map_err(|_| io::Error::last_os_error())
    }
}

/// Where a frame goes, beside what it says itself.
fn address(frame: &impl Frame) -> libc::sockaddr_ll {
    libc::sockaddr_ll {
        sll_family: libc::AF_PACKET as libc::c_ushort,
        sll_protocol: frame.protocol(),
        sll_ifindex: frame.ifindex().cast_signed(),
        sll_hatype: 0,
        sll_pkttype: 0,
        sll_halen: 0,
        sll_addr: [0; 8],
    }
}

/// The `EtherType`, as it lies in the frame.
fn ethertype(bytes: &[u8]) -> u16 {
    match bytes {
        [_, _, _, _, _, _, _, _, _, _, _, _, high, low, ..] => u16::from_ne_bytes([*high, *low]),
        _ => 0,
    }
}

/// Frames that were not sent.
#[derive(Debug, Default)]
pub(crate) struct Unsent {
    pub(crate) frames: usize,
    pub(crate) reason: Option<io::Error>,
}
