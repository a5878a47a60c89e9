//! One TCP connection of the client's, watched until it ends.

use std::{
    io::{self, BufRead as _, BufReader, Read as _, Write as _},
    net::{Shutdown, SocketAddr, TcpStream},
    sync::{
        Arc, Condvar, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, anyhow};

use super::{host::Host, talker::BYE};

/// How long a connection may take to be made and greeted.
const PATIENCE: Duration = Duration::from_secs(3);

/// How a connection ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum How {
    /// The other side closed it (FIN).
    Closed,
    /// The other side reset it (RST).
    Reset,
    /// Anything else that the kernel reports.
    Failed(io::ErrorKind),
}

/// The end of a connection, as its own socket saw it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct End {
    pub how: How,
    pub at: Instant,
}

/// A connection to a [`Talker`](super::talker::Talker), which greets with its
/// name and says everything back.
#[derive(Debug)]
pub struct Conversation {
    /// Which backend it is with.
    pub backend: String,
    /// Our end.
    pub local: SocketAddr,
    /// The address that we connected to.
    pub vip: SocketAddr,
    /// Our end, as the backend sees it.
    pub seen_as: SocketAddr,
    stream: TcpStream,
    watch: Arc<Watch>,
}

impl Conversation {
    pub fn open(client: &Host, vip: SocketAddr) -> Result<Self> {
        Self::connect(client, vip, None)
    }

    /// From a port of one's choice.
    pub fn open_from(client: &Host, port: u16, vip: SocketAddr) -> Result<Self> {
        Self::connect(client, vip, Some(port))
    }

    /// Opens connections until one is with `backend`; the others are closed.
    pub fn open_with(client: &Host, vip: SocketAddr, backend: &str) -> Result<Self> {
        const TRIES: usize = 200;
        for _ in 0..TRIES {
            let conversation = Self::open(client, vip)?;
            if conversation.backend == backend {
                return Ok(conversation);
            }
        }
        Err(anyhow!(
            "{TRIES} connections to {vip}, and none with {backend}"
        ))
    }

    fn connect(client: &Host, vip: SocketAddr, port: Option<u16>) -> Result<Self> {
        let greeted = client.enter(|| -> Result<_> {
            let stream = match port {
                None => TcpStream::connect_timeout(&vip, PATIENCE)?,
                Some(port) => connect_from(port, vip)?,
            };
            stream.set_read_timeout(Some(PATIENCE))?;
            stream.set_nodelay(true)?;
            let mut greeting = String::new();
            // The talker says no more than its greeting before it is spoken to,
            // so that nothing is lost in the buffer.
            BufReader::new(&stream)
                .read_line(&mut greeting)
                .context("no greeting")?;
            Ok((stream, greeting))
        })?;
        let (stream, greeting) = greeted.with_context(|| format!("connecting to {vip}"))?;
        let (backend, seen_as) = greeting
            .trim_end()
            .split_once(' ')
            .and_then(|(name, peer)| Some((name.to_owned(), peer.parse().ok()?)))
            .with_context(|| format!("{vip} greeted with {greeting:?}"))?;
        stream.set_read_timeout(None)?;
        let watch = Watch::over(&stream)?;
        Ok(Self {
            backend,
            local: stream.local_addr()?,
            vip,
            seen_as,
            stream,
            watch,
        })
    }

    /// Says something and waits until it has come back.
    pub fn echo(&self, text: &str) -> Result<()> {
        let before = self.watch.bytes();
        (&self.stream)
            .write_all(text.as_bytes())
            .context("cannot send")?;
        let expected = before + text.len() as u64;
        super::wait::until_true("the echo", PATIENCE, || match self.watch.end() {
            Some(end) => Err(anyhow!("the connection has ended: {:?}", end.how)),
            None => Ok(self.watch.bytes() >= expected),
        })
    }

    /// Talks from now on without a pause, until the connection ends.
    pub fn talk_on(&self) -> Result<()> {
        let (mut stream, watch) = (self.stream.try_clone()?, Arc::clone(&self.watch));
        thread::spawn(move || {
            while watch.write(&mut stream, &[b'x'; 512]).is_ok() {
                thread::sleep(Duration::from_millis(1));
            }
        });
        Ok(())
    }

    /// Bytes that have come from the backend.
    pub fn received(&self) -> u64 {
        self.watch.bytes()
    }

    /// How it ended, if it has.
    pub fn end(&self) -> Option<End> {
        self.watch.end()
    }

    /// Waits for the end.
    pub fn wait_end(&self, within: Duration) -> Result<End> {
        self.watch.wait_end(within).with_context(|| {
            format!(
                "the connection with {} is still open after {within:?}",
                self.backend
            )
        })
    }

    /// Ends it with a RST of our own.
    pub fn abort(self) -> Result<()> {
        // What POSIX calls dissolving the association; Linux sends a RST.
        rustix::net::connect_unspec(&self.stream).context("cannot reset")
    }

    /// Lets the backend close first, so that our port is free at once: it is
    /// the side that closes first whose end stays in TIME-WAIT.
    pub fn end_by_backend(self) -> Result<()> {
        (&self.stream).write_all(BYE).context("cannot send")?;
        let end = self.wait_end(PATIENCE)?;
        anyhow::ensure!(end.how == How::Closed, "instead of closing: {:?}", end.how);
        Ok(())
    }
}

/// Closes our side in an orderly way.
impl Drop for Conversation {
    fn drop(&mut self) {
        // The watching thread has the stream too, so that closing our handle
        // alone would do nothing. Fails only if the other side was quicker.
        let _ = self.stream.shutdown(Shutdown::Both);
    }
}

/// Binds to `port` first, with SO_REUSEADDR, so that a port may be used again
/// while an earlier connection of it is in TIME-WAIT.
fn connect_from(port: u16, to: SocketAddr) -> Result<TcpStream> {
    use rustix::net::{
        AddressFamily, SocketFlags, SocketType, bind, connect, ipproto, socket_with, sockopt,
    };

    let (family, any): (_, SocketAddr) = match to {
        SocketAddr::V4(_) => (
            AddressFamily::INET,
            (std::net::Ipv4Addr::UNSPECIFIED, port).into(),
        ),
        SocketAddr::V6(_) => (
            AddressFamily::INET6,
            (std::net::Ipv6Addr::UNSPECIFIED, port).into(),
        ),
    };
    let socket = socket_with(
        family,
        SocketType::STREAM,
        SocketFlags::CLOEXEC,
        Some(ipproto::TCP),
    )?;
    sockopt::set_socket_reuseaddr(&socket, true)?;
    // Bounds connect() too.
    sockopt::set_socket_timeout(&socket, sockopt::Timeout::Send, Some(PATIENCE))?;
    bind(&socket, &any)?;
    connect(&socket, &to)?;
    Ok(socket.into())
}

/// Reads a stream to its end, on a thread of its own.
#[derive(Debug, Default)]
pub(super) struct Watch {
    bytes: AtomicU64,
    /// Whether a writer was told of a reset: a socket tells of it once, and who reads
    /// afterwards finds the end of the stream.
    writer_was_reset: Mutex<bool>,
    end: Mutex<Option<End>>,
    ended: Condvar,
}

impl Watch {
    pub(super) fn over(stream: &TcpStream) -> io::Result<Arc<Self>> {
        let watch = Arc::new(Self::default());
        let (stream, ours) = (stream.try_clone()?, Arc::clone(&watch));
        thread::spawn(move || ours.read(stream, |_| Ok(())));
        Ok(watch)
    }

    /// Reads until the end; `answer` gets what was read.
    pub(super) fn read(
        &self,
        mut stream: TcpStream,
        mut answer: impl FnMut(&[u8]) -> io::Result<()>,
    ) {
        let mut buffer = [0; 16 << 10];
        let how = loop {
            match stream.read(&mut buffer) {
                Ok(0) if *self.lock_writer() => break How::Reset,
                Ok(0) => break How::Closed,
                Ok(n) => {
                    self.bytes.fetch_add(n as u64, Ordering::Relaxed);
                    // A reset can be met in writing as well.
                    if let Err(error) = answer(&buffer[..n]) {
                        break How::from(&error);
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => break How::from(&error),
            }
        };
        *self.lock() = Some(End {
            how,
            at: Instant::now(),
        });
        self.ended.notify_all();
    }

    /// Writes to the stream that is read meanwhile.
    fn write(&self, stream: &mut TcpStream, bytes: &[u8]) -> io::Result<()> {
        // Held while it is written: the reader sees the end no sooner than this.
        let mut was_reset = self.lock_writer();
        let written = stream.write_all(bytes);
        if let Err(error) = &written {
            *was_reset |= error.kind() == io::ErrorKind::ConnectionReset;
        }
        written
    }

    fn lock_writer(&self) -> MutexGuard<'_, bool> {
        self.writer_was_reset
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn bytes(&self) -> u64 {
        self.bytes.load(Ordering::Relaxed)
    }

    pub(super) fn end(&self) -> Option<End> {
        *self.lock()
    }

    pub(super) fn wait_end(&self, within: Duration) -> Option<End> {
        let waited = self
            .ended
            .wait_timeout_while(self.lock(), within, |end| end.is_none());
        *waited.unwrap_or_else(PoisonError::into_inner).0
    }

    fn lock(&self) -> MutexGuard<'_, Option<End>> {
        self.end.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl From<&io::Error> for How {
    fn from(error: &io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe => Self::Reset,
            kind => Self::Failed(kind),
        }
    }
}
