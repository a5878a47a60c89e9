//! New connections without a pause: each asks nginx for its name and is closed.

use std::{
    io::{Read as _, Write as _},
    net::{SocketAddr, TcpStream},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result};

use super::{host::Host, wait};

const PATIENCE: Duration = Duration::from_secs(3);

/// One short connection, from before its SYN to its last byte.
#[derive(Debug, Clone)]
pub struct Request {
    /// Taken before the connection was asked for.
    pub started: Instant,
    /// The backend that answered, or why none did.
    pub answer: Result<String, String>,
}

/// A host that opens one connection after the other; it stops when dropped.
#[derive(Debug)]
pub struct Load {
    stop: Arc<AtomicBool>,
    done: Arc<Mutex<Vec<Request>>>,
    thread: Option<JoinHandle<()>>,
}

impl Load {
    /// Starts asking `server` for `/`, with `pause` between two requests.
    pub fn start(client: &Arc<Host>, server: SocketAddr, pause: Duration) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let done = Arc::new(Mutex::new(Vec::new()));
        let thread = thread::spawn({
            let (client, stop, done) = (Arc::clone(client), Arc::clone(&stop), Arc::clone(&done));
            move || {
                let entered = client.enter(|| {
                    while !stop.load(Ordering::Relaxed) {
                        let request = request(server);
                        lock(&done).push(request);
                        thread::sleep(pause);
                    }
                });
                if let Err(error) = entered {
                    let answer = Err(format!("{error:#}"));
                    lock(&done).push(Request {
                        started: Instant::now(),
                        answer,
                    });
                }
            }
        });
        Self {
            stop,
            done,
            thread: Some(thread),
        }
    }

    /// How many are done so far.
    pub fn count(&self) -> usize {
        lock(&self.done).len()
    }

    /// Those that are done so far, the oldest first.
    pub fn so_far(&self) -> Vec<Request> {
        lock(&self.done).clone()
    }

    /// Waits until so many more are done than now.
    pub fn wait_for_more(&self, requests: usize, within: Duration) -> Result<()> {
        let goal = self.count() + requests;
        wait::until_true(&format!("{requests} more requests"), within, || {
            Ok(self.count() >= goal)
        })
    }

    /// Stops, and returns all of them.
    pub fn stop(mut self) -> Vec<Request> {
        self.end();
        std::mem::take(&mut lock(&self.done))
    }

    fn end(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            // A panic in there has been printed.
            let _ = thread.join();
        }
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        self.end();
    }
}

fn request(server: SocketAddr) -> Request {
    let started = Instant::now();
    let answer = ask(server).map_err(|error| format!("{error:#}"));
    Request { started, answer }
}

fn ask(server: SocketAddr) -> Result<String> {
    let mut stream = TcpStream::connect_timeout(&server, PATIENCE).context("connecting")?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream
        .write_all(b"GET / HTTP/1.0\r\n\r\n")
        .context("asking")?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).context("reading")?;
    let (head, body) = answer
        .split_once("\r\n\r\n")
        .with_context(|| format!("answer {answer:?}"))?;
    anyhow::ensure!(head.starts_with("HTTP/1.1 200"), "answer {head:?}");
    Ok(body.to_owned())
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
