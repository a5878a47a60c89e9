//! Tells the hosts on a link which MAC address an IP address now has, unless
//! another host has it.
//!
//! A neighbour keeps for minutes what it has learnt of an address, so one that
//! moves here from another host is unreachable until each has asked again, unless
//! it is told: by a gratuitous ARP request (RFC 5227, section 3: an announcement)
//! or an unsolicited neighbour advertisement (RFC 9131 and RFC 4861, section
//! 7.2.6). Either may be lost, so each is said again twice.
//!
//! - [`frames`] are what is said and asked;
//! - [`steps`] says when;
//! - [`claims`] are of others who say that an address is theirs.

mod claims;
mod frames;
mod steps;

use std::{
    collections::BTreeMap,
    io,
    net::IpAddr,
    sync::{
        Arc, Mutex, PoisonError,
        mpsc::{self, RecvTimeoutError},
    },
    thread,
    time::Instant,
};

use self::{
    claims::Claims,
    steps::{Say, Step},
};
use crate::{
    model::Mac,
    packet_socket::{self, PacketSocket},
};

/// A frame that says it.
struct Said {
    ifindex: u32,
    bytes: Vec<u8>,
}

impl packet_socket::Frame for Said {
    fn ifindex(&self) -> u32 {
        self.ifindex
    }

    fn bytes(&self) -> &[u8] {
        &self.bytes
    }
}

/// What the thread is told.
#[derive(Clone, Copy)]
enum Word {
    /// The address is on this link from now on; if it has just come, it is announced.
    Here {
        address: IpAddr,
        ifindex: u32,
        mac: Mac,
        is_new: bool,
    },
    Gone(IpAddr),
    /// Somebody else says that it is his.
    Claimed(IpAddr),
}

/// Says it, in the network namespace of the thread that made it.
#[derive(Debug)]
pub(crate) struct Announcer {
    words: mpsc::Sender<Word>,
    claims: Claims,
    rivals: Rivals,
}

/// Who else has which address, as far as is known.
type Rivals = Arc<Mutex<BTreeMap<IpAddr, Mac>>>;

impl Announcer {
    /// # Errors
    /// When there are no raw sockets or threads to be had.
    pub(crate) fn start() -> io::Result<Self> {
        let socket = PacketSocket::open()?;
        let (words, heard) = mpsc::channel();
        let (claims, rivals) = (Claims::default(), Rivals::default());
        let claimed = words.clone();
        claims::listen(&claims, move |address| {
            // The thread is there as long as the process is.
            let _ = claimed.send(Word::Claimed(address));
        })?;
        let speaker = Speaker {
            socket,
            claims: claims.clone(),
            rivals: Arc::clone(&rivals),
            here: BTreeMap::new(),
        };
        thread::Builder::new()
            .name("announcer".to_owned())
            .spawn(move || speaker.run(&heard))?;
        Ok(Self {
            words,
            claims,
            rivals,
        })
    }

    /// The MAC addresses of the host's own interfaces: what they say is no claim of
    /// anybody else's.
    pub(crate) fn are_own(&self, macs: impl IntoIterator<Item = Mac>) {
        self.claims.are_own(macs);
    }

    /// `address` is on a link, at `mac`. If it has just come, the link is told.
    pub(crate) fn is_here(&self, ifindex: u32, mac: Mac, address: IpAddr, is_new: bool) {
        self.claims.watch(address);
        self.say(Word::Here {
            address,
            ifindex,
            mac,
            is_new,
        });
    }

    /// `address` is not here any more.
    pub(crate) fn is_gone(&self, address: IpAddr) {
        self.claims.forget(address);
        self.say(Word::Gone(address));
    }

    /// The addresses that another host has as well, with its MAC address.
    pub(crate) fn rivals(&self) -> BTreeMap<IpAddr, Mac> {
        let rivals = self.rivals.lock();
        rivals.unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn say(&self, word: Word) {
        // The thread ends when this does.
        let _ = self.words.send(word);
    }
}

/// The thread.
struct Speaker {
    socket: PacketSocket,
    claims: Claims,
    rivals: Rivals,
    here: BTreeMap<IpAddr, Address>,
}

/// An address that is here.
struct Address {
    ifindex: u32,
    mac: Mac,
    /// What is to be done next.
    next: Option<(Instant, Step)>,
    /// When it was last asked who else has it.
    asked: Instant,
}

impl Speaker {
    fn run(mut self, words: &mpsc::Receiver<Word>) {
        loop {
            let due = self.here.values().filter_map(|address| address.next);
            let first = due.map(|(when, _)| when).min();
            let word = match first {
                None => words.recv().map_err(|_| RecvTimeoutError::Disconnected),
                Some(when) => words.recv_timeout(when.saturating_duration_since(Instant::now())),
            };
            let now = Instant::now();
            match word {
                Ok(word) => self.hear(word, now),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return,
            }
            self.step(now);
        }
    }

    fn hear(&mut self, word: Word, now: Instant) {
        match word {
            Word::Here {
                address,
                ifindex,
                mac,
                is_new,
            } => {
                let known = Address {
                    ifindex,
                    mac,
                    next: is_new.then_some((now, Step::Probe)),
                    asked: now,
                };
                self.here.insert(address, known);
            }
            Word::Gone(address) => {
                self.here.remove(&address);
                self.is_rival(address, None);
            }
            Word::Claimed(address) => {
                // Whoever only says it once, as one who gives the address up may do
                // late, does not answer when asked.
                if let Some(known) = self.here.get_mut(&address)
                    && known.next.is_none()
                {
                    known.next = Some((now, Step::Probe));
                }
            }
        }
    }

    /// Does what is due.
    fn step(&mut self, now: Instant) {
        let mut judged = Vec::new();
        for (&ip, address) in &mut self.here {
            let Some((_, step)) = address.next.filter(|(when, _)| *when <= now) else {
                continue;
            };
            let claim = self.claims.since(ip, address.asked);
            let (say, next) = step.take(claim.is_some());
            address.next = next.map(|(wait, step)| (now + wait, step));
            let frames = match say {
                Say::Nothing => Ok(Vec::new()),
                Say::Probe => {
                    address.asked = now;
                    frames::probe(address.mac, ip).map(|frame| vec![frame])
                }
                Say::Announcement => frames::announcement(address.mac, ip)
                    .and_then(|frame| Ok(vec![frame, frames::probe(address.mac, ip)?])),
            };
            if step != Step::Probe {
                judged.push((ip, claim));
            }
            let ifindex = address.ifindex;
            let said = frames.map(|frames| {
                let frames = frames.into_iter();
                let said: Vec<_> = frames.map(|bytes| Said { ifindex, bytes }).collect();
                said
            });
            let sent = said.and_then(|said| send(&self.socket, &said));
            if let Err(error) = sent {
                // The interface may have gone meanwhile.
                tracing::debug!("nothing is said of {ip}: {error}");
            }
        }
        for (address, claim) in judged {
            self.is_rival(address, claim);
        }
    }

    fn is_rival(&self, address: IpAddr, mac: Option<Mac>) {
        let mut rivals = self.rivals.lock().unwrap_or_else(PoisonError::into_inner);
        match mac {
            Some(mac) => rivals.insert(address, mac),
            None => rivals.remove(&address),
        };
    }
}

fn send(socket: &PacketSocket, frames: &[Said]) -> io::Result<()> {
    socket.send(frames).map_err(|unsent| {
        let why = unsent.reason;
        why.unwrap_or_else(|| io::Error::other("the kernel did not send it"))
    })
}
