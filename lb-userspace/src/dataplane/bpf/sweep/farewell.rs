//! The last word to both ends, and the books: on a thread of its own, so that a
//! deadline with a million flows takes them out of the table on one CPU while
//! another sends the RSTs. When that falls behind, who takes flows out lends a hand.

use std::{
    collections::BTreeMap,
    io, mem,
    sync::{Arc, Mutex, MutexGuard, PoisonError, mpsc},
    thread::{self, JoinHandle},
    time::Duration,
};

use tracing::{debug, warn};

use super::super::{maps::Maps, nat_ports::Port, reset::Frame, table::TableError};
use crate::{model::BackendIndex, packet_socket::PacketSocket};

/// What was taken out of the table.
#[derive(Default)]
pub(super) struct Taken {
    /// To be sent to the flows' ends.
    pub(super) frames: Vec<Frame>,
    /// To be sent to backends that remember a connection which is over. Nobody waits for
    /// these.
    pub(super) reminders: Vec<Frame>,
    /// How many were open, by backend: to be entered into the books after that. Who
    /// reads there that a flow has ended finds its ends told.
    pub(super) closed: BTreeMap<BackendIndex, u64>,
    /// Ports that are free once the backends have been told.
    pub(super) ports: Vec<Port>,
}

impl Taken {
    fn is_empty(&self) -> bool {
        let Self {
            frames,
            reminders,
            closed,
            ports,
        } = self;
        frames.is_empty() && reminders.is_empty() && closed.is_empty() && ports.is_empty()
    }
}

enum Message {
    Tell(Taken),
    /// Answer when all that came before is done.
    Wait(mpsc::Sender<()>),
}

/// How much may wait to be told: each is at most a few hundred frames.
const WAITING: usize = 8;

/// So many frames that nobody waits for are sent at once, with a pause after them: the
/// smallest receive rings, those of virtual devices, have room for 256.
const AT_ONCE: usize = 32;
const PAUSE: Duration = Duration::from_millis(1);

/// The thread. It ends, when all is told, after this is dropped.
pub(super) struct Farewells {
    teller: Arc<Teller>,
    messages: Option<mpsc::SyncSender<Message>>,
    thread: Option<JoinHandle<()>>,
}

impl Farewells {
    pub(super) fn start(maps: Arc<Maps>) -> io::Result<Self> {
        let teller = Arc::new(Teller {
            socket: PacketSocket::open()?,
            maps,
            books: Mutex::new(Ok(())),
        });
        let (messages, inbox) = mpsc::sync_channel(WAITING);
        let thread = thread::Builder::new()
            .name("ebb-farewell".to_owned())
            .spawn({
                let teller = Arc::clone(&teller);
                move || run(&inbox, &teller)
            })?;
        Ok(Self {
            teller,
            messages: Some(messages),
            thread: Some(thread),
        })
    }

    /// Has it told and noted in a moment, or does it at once.
    pub(super) fn tell(&self, taken: Taken) {
        if taken.is_empty() {
            return;
        }
        match self.messages().try_send(Message::Tell(taken)) {
            Err(mpsc::TrySendError::Full(Message::Tell(taken))) => self.teller.tell(taken),
            Ok(()) => {}
            Err(_) => panic!("the thread listens"),
        }
    }

    /// Returns when all is told and noted.
    ///
    /// # Errors
    /// What went wrong with the books since this was asked last.
    pub(super) fn wait(&self) -> Result<(), TableError> {
        let (done, answer) = mpsc::channel();
        if self.messages().send(Message::Wait(done)).is_err() {
            panic!("the thread listens");
        }
        answer.recv().expect("the thread answers");
        mem::replace(&mut *self.teller.books(), Ok(()))
    }

    fn messages(&self) -> &mpsc::SyncSender<Message> {
        self.messages.as_ref().expect("only dropping takes it")
    }
}

impl Drop for Farewells {
    fn drop(&mut self) {
        drop(self.messages.take());
        if let Some(thread) = self.thread.take() {
            // If it has panicked, that is in the log.
            let _ = thread.join();
        }
    }
}

fn run(inbox: &mpsc::Receiver<Message>, teller: &Teller) {
    while let Ok(message) = inbox.recv() {
        match message {
            Message::Tell(taken) => teller.tell(taken),
            // Who does not wait any more need not be told.
            Message::Wait(done) => drop(done.send(())),
        }
    }
}

struct Teller {
    socket: PacketSocket,
    maps: Arc<Maps>,
    /// Who writes into the books reads first what is there, and so is alone. What
    /// went wrong with that first is kept until somebody asks.
    books: Mutex<Result<(), TableError>>,
}

impl Teller {
    fn tell(&self, taken: Taken) {
        self.send(&taken.frames);
        self.remind(&taken.reminders);
        for port in taken.ports {
            self.maps.nat_ports.free(port);
        }
        let mut outcome = self.books();
        if let Err(error) = self.note(taken.closed)
            && outcome.is_ok()
        {
            *outcome = Err(error);
        }
    }

    fn send(&self, frames: &[Frame]) {
        if let Err(unsent) = self.socket.send(frames) {
            let reason = unsent.reason.map(|r| r.to_string()).unwrap_or_default();
            warn!(frames = unsent.frames, reason, "could not send some RSTs");
        } else if !frames.is_empty() {
            debug!(frames = frames.len(), "sent RSTs");
        }
    }

    /// Sends them a few at a time: in a burst, they would take the room in a backend's
    /// receive ring that its clients' packets need.
    fn remind(&self, frames: &[Frame]) {
        for some in frames.chunks(AT_ONCE) {
            self.send(some);
            thread::sleep(PAUSE);
        }
    }

    fn note(&self, closed: BTreeMap<BackendIndex, u64>) -> Result<(), TableError> {
        let books = &self.maps.closed_by_agent;
        for (backend, flows) in closed {
            let index = u32::from(backend);
            books.put(&index, &(books.at(index)? + flows))?;
        }
        Ok(())
    }

    fn books(&self) -> MutexGuard<'_, Result<(), TableError>> {
        // Nothing in here is left half-done by a panic.
        self.books.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
