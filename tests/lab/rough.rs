//! A rough road: a link that loses frames, brings some late, so that they overtake one
//! another, and takes its time. Two taps, one on either end, and a thread for each
//! direction that carries frames from one to the other. Or a smooth one between two devices
//! whose packets have no link header.

use std::{
    cmp::Reverse,
    collections::BinaryHeap,
    fs::File,
    io::{self, Read as _, Write as _},
    os::fd::AsFd,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result};
use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    fs::{OFlags, fcntl_setfl},
    ioctl::{Setter, ioctl, opcode},
};

use super::namespace::Namespace;

/// What the road is like, for each direction.
#[derive(Debug, Clone, Copy)]
pub struct Manner {
    /// How many of a thousand frames are lost.
    pub lost: u64,
    /// How many of a thousand come late, by so much.
    pub late: u64,
    pub by: Duration,
    /// How long every frame takes.
    pub delay: Duration,
}

/// A road that is open; closed when dropped.
#[derive(Debug)]
pub struct Rough {
    closed: Arc<AtomicBool>,
    lost: Arc<AtomicU64>,
    late: Arc<AtomicU64>,
    carriers: Vec<JoinHandle<io::Result<()>>>,
}

/// The longest frame here: an MTU of 1500 and a link header.
const LONGEST: usize = 1514;

/// Frames that may be on their way at once: the queue of a router.
const ON_THE_WAY: usize = 10_000;

/// How long a carrier sleeps at most.
const TICK: Duration = Duration::from_millis(50);

impl Rough {
    /// Opens a road between a tap called `here` and one called `there`.
    pub(super) fn open(
        here: (&Namespace, &str),
        there: (&Namespace, &str),
        manner: Manner,
    ) -> Result<Self> {
        Self::between(device(here, TAP)?, device(there, TAP)?, manner)
    }

    /// Opens a smooth one between devices of these names without link headers.
    pub(super) fn open_bare(here: (&Namespace, &str), there: (&Namespace, &str)) -> Result<Self> {
        let smooth = Manner {
            lost: 0,
            late: 0,
            by: Duration::ZERO,
            delay: Duration::ZERO,
        };
        Self::between(device(here, TUN)?, device(there, TUN)?, smooth)
    }

    fn between(near: File, far: File, manner: Manner) -> Result<Self> {
        let (near, far) = (Arc::new(near), Arc::new(far));
        let mut road = Self {
            closed: Arc::default(),
            lost: Arc::default(),
            late: Arc::default(),
            carriers: Vec::new(),
        };
        for (from, to, seed) in [(&near, &far, 1), (&far, &near, 2)] {
            let carrier = Carrier {
                from: Arc::clone(from),
                to: Arc::clone(to),
                manner,
                dice: Dice(0x9E37_79B9_7F4A_7C15 ^ seed),
                closed: Arc::clone(&road.closed),
                lost: Arc::clone(&road.lost),
                late: Arc::clone(&road.late),
            };
            road.carriers.push(thread::spawn(move || carrier.run()));
        }
        Ok(road)
    }

    /// How many frames were lost so far, and how many came late.
    pub fn suffered(&self) -> (u64, u64) {
        let read = |count: &AtomicU64| count.load(Ordering::Relaxed);
        (read(&self.lost), read(&self.late))
    }
}

impl Drop for Rough {
    fn drop(&mut self) {
        self.closed.store(true, Ordering::Relaxed);
        for carrier in self.carriers.drain(..) {
            match carrier.join() {
                Ok(Ok(())) => {}
                Ok(Err(error)) => eprintln!("lab: the rough road: {error}"),
                Err(_) => eprintln!("lab: a carrier on the rough road fell"),
            }
        }
    }
}

struct Carrier {
    from: Arc<File>,
    to: Arc<File>,
    manner: Manner,
    dice: Dice,
    closed: Arc<AtomicBool>,
    lost: Arc<AtomicU64>,
    late: Arc<AtomicU64>,
}

impl Carrier {
    fn run(mut self) -> io::Result<()> {
        // The earliest first; of those that are due at once, the first that came.
        let mut on_the_way: BinaryHeap<Reverse<(Instant, u64, Vec<u8>)>> = BinaryHeap::new();
        let mut number = 0;
        while !self.closed.load(Ordering::Relaxed) {
            let next = on_the_way.peek().map(|Reverse((due, ..))| *due);
            let now = Instant::now();
            let sleep = next.map_or(TICK, |due| due.saturating_duration_since(now).min(TICK));
            wait(&self.from, sleep)?;
            while let Some(frame) = read(&self.from)? {
                number += 1;
                if on_the_way.len() < ON_THE_WAY
                    && let Some(due) = self.fate(Instant::now())
                {
                    on_the_way.push(Reverse((due, number, frame)));
                }
            }
            let now = Instant::now();
            while let Some(Reverse((due, ..))) = on_the_way.peek()
                && *due <= now
                && let Some(Reverse((.., frame))) = on_the_way.pop()
            {
                // A tap that is down, or whose queue is full, loses it.
                let _ = (&*self.to).write(&frame);
            }
        }
        Ok(())
    }

    /// When a frame arrives, if it does.
    fn fate(&mut self, now: Instant) -> Option<Instant> {
        let Manner {
            lost,
            late,
            by,
            delay,
        } = self.manner;
        let thrown = self.dice.below(1000);
        if thrown < lost {
            self.lost.fetch_add(1, Ordering::Relaxed);
            return None;
        }
        if thrown < lost + late {
            self.late.fetch_add(1, Ordering::Relaxed);
            return Some(now + delay + by);
        }
        Some(now + delay)
    }
}

/// The same throws in every run.
struct Dice(u64);

impl Dice {
    fn below(&mut self, sides: u64) -> u64 {
        // xorshift64
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 16) % sides
    }
}

fn wait(tap: &File, at_most: Duration) -> io::Result<()> {
    let mut fds = [PollFd::new(tap, PollFlags::IN)];
    let timeout = Timespec::try_from(at_most).unwrap_or_default();
    match poll(&mut fds, Some(&timeout)) {
        Ok(_) | Err(rustix::io::Errno::INTR) => Ok(()),
        Err(errno) => Err(errno.into()),
    }
}

/// The next frame that has come.
fn read(mut tap: &File) -> io::Result<Option<Vec<u8>>> {
    let mut frame = vec![0; LONGEST];
    match tap.read(&mut frame) {
        Ok(len) => {
            frame.truncate(len);
            Ok(Some(frame))
        }
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(None),
        Err(error) => Err(error),
    }
}

/// `struct ifreq` of linux/if.h, as far as taps have use for it.
#[repr(C)]
struct Request {
    name: [u8; 16],
    flags: u16,
    rest: [u8; 22],
}

/// `IFF_TAP` and `IFF_NO_PI` of linux/if_tun.h: frames, and nothing before them.
const TAP: u16 = 0x0002 | 0x1000;
/// `IFF_TUN` and `IFF_NO_PI`: packets, and nothing before them.
const TUN: u16 = 0x0001 | 0x1000;

/// A new device of this name. It goes with its descriptor.
fn device((namespace, name): (&Namespace, &str), flags: u16) -> Result<File> {
    // The device is made in the network namespace of whoever opens this.
    let file = namespace
        .enter(|| File::options().read(true).write(true).open("/dev/net/tun"))?
        .context("cannot open /dev/net/tun")?;
    let mut request = Request {
        name: [0; 16],
        flags,
        rest: [0; 22],
    };
    request.name[..name.len()].copy_from_slice(name.as_bytes());
    // SAFETY: TUNSETIFF takes a `struct ifreq`, which `Request` is in size and layout; its
    // number has the size of an int all the same.
    unsafe {
        let ask = Setter::<{ opcode::write::<i32>(b'T', 202) }, Request>::new(request);
        ioctl(file.as_fd(), ask)
    }
    .with_context(|| format!("cannot make the device {name}"))?;
    fcntl_setfl(&file, OFlags::NONBLOCK).context("cannot make the device non-blocking")?;
    Ok(file)
}
