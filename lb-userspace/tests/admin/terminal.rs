//! What a person at a terminal sees: colours, a bar, a full screen, and
//! afterwards the terminal as it was.

use std::{
    fs::File,
    io::{Read as _, Write as _},
    os::fd::OwnedFd,
    path::Path,
    process::{Child, ExitStatus},
    sync::{Arc, Mutex},
    thread,
};

use lb_userspace::{
    control::handle::Request,
    wire::{Backend, DrainOutcome},
};
use nix::{
    pty::{Winsize, openpty},
    sys::termios::{Termios, tcgetattr},
};

use crate::fake::{self, Agent, draining, ebb, eventually, gone, load_balancer};

/// The binary on a pseudo-terminal of 150 columns and 24 lines.
struct Terminal {
    child: Child,
    keyboard: File,
    /// Kept open, so that the terminal can be looked at after the child.
    line: OwnedFd,
    before: Termios,
    seen: Arc<Mutex<String>>,
}

impl Terminal {
    fn start(socket: &Path, args: &[&str], variables: &[(&str, &str)]) -> Self {
        let size = Winsize {
            ws_row: 24,
            ws_col: 150,
            ws_xpixel: 0,
            ws_ypixel: 0,
        };
        let pty = openpty(Some(&size), None).unwrap();
        let before = tcgetattr(&pty.slave).unwrap();
        let end = || pty.slave.try_clone().unwrap();
        let child = ebb(socket, args)
            .env("TERM", "xterm-256color")
            .env_remove("NO_COLOR")
            .envs(variables.iter().copied())
            .stdin(end())
            .stdout(end())
            .stderr(end())
            .spawn()
            .unwrap();
        let keyboard = File::from(pty.master);
        let mut screen = keyboard.try_clone().unwrap();
        let seen = Arc::new(Mutex::new(String::new()));
        let log = Arc::clone(&seen);
        thread::spawn(move || {
            let mut bytes = [0; 4096];
            // Ends when the last other end is closed.
            while let Ok(n @ 1..) = screen.read(&mut bytes) {
                let text = String::from_utf8_lossy(&bytes[..n]).into_owned();
                log.lock().unwrap().push_str(&text);
            }
        });
        Self {
            child,
            keyboard,
            line: pty.slave,
            before,
            seen,
        }
    }

    fn seen(&self) -> String {
        self.seen.lock().unwrap().clone()
    }

    fn wait_for(&self, text: &str) {
        eventually(text, || self.seen().contains(text).then_some(()));
    }

    fn press(&mut self, keys: &str) {
        self.keyboard.write_all(keys.as_bytes()).unwrap();
    }

    fn ended(&mut self) -> ExitStatus {
        eventually("the command ends", || self.child.try_wait().unwrap())
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

fn answer(request: Request) {
    match request {
        Request::Status(reply) => drop(reply.send(Ok(fake::status()))),
        Request::LoadBalancers(reply) => {
            let mut lb = load_balancer("web");
            lb.backends.push(draining("web-2", 3));
            drop(reply.send(Ok(vec![lb])));
        }
        other => panic!("no answer to {other:?}"),
    }
}

#[test]
fn there_are_colours_on_a_terminal_unless_no_color_says_no() {
    let (agent, _dir, _) = Agent::recorded(answer);
    let mut plain = Terminal::start(&agent.socket, &["lb", "list"], &[("NO_COLOR", "1")]);
    assert!(plain.ended().success());
    plain.wait_for("tcp:10.0.0.100:80");
    assert!(!plain.seen().contains('\x1b'), "{:?}", plain.seen());

    let mut coloured = Terminal::start(&agent.socket, &["lb", "list"], &[]);
    assert!(coloured.ended().success());
    coloured.wait_for("tcp:10.0.0.100:80");
    assert!(coloured.seen().contains('\x1b'), "{:?}", coloured.seen());
}

#[test]
fn top_fills_the_screen_and_leaves_the_terminal_as_it_was() {
    let (agent, _dir, _) = Agent::recorded(answer);
    for end in ["q", "\x1b", "\x03"] {
        let mut top = Terminal::start(&agent.socket, &["top", "--interval", "0.2"], &[]);
        top.wait_for("\x1b[?1049h");
        top.wait_for("web-2");
        top.wait_for("draining");
        // Blanks are not drawn, so that words come one by one.
        top.wait_for("████░");
        top.wait_for("4m59s");
        top.press("\x1b[B\x1b[A");
        top.press(end);
        assert_eq!(top.ended().code(), Some(0), "{end:?}");
        top.wait_for("\x1b[?1049l");
        assert_eq!(tcgetattr(&top.line).unwrap(), top.before, "{end:?}");
    }
}

#[test]
fn top_leaves_the_terminal_as_it_was_when_it_is_terminated() {
    let (agent, _dir, _) = Agent::recorded(answer);
    let mut top = Terminal::start(&agent.socket, &["top"], &[]);
    top.wait_for("web-2");
    let pid = nix::unistd::Pid::from_raw(top.child.id().try_into().unwrap());
    nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGTERM).unwrap();
    top.ended();
    top.wait_for("\x1b[?1049l");
    assert_eq!(tcgetattr(&top.line).unwrap(), top.before);
}

#[test]
fn top_outlives_the_agent() {
    let dir = fake::folder();
    let socket = dir.path().join("ebb.sock");
    let first = Agent::start(&socket, |_, request| answer(request));
    let mut top = Terminal::start(&socket, &["top", "--interval", "0.2"], &[]);
    top.wait_for("web-2");
    drop(first);
    top.wait_for("no answer for");
    let before = top.seen().len();
    let _second = Agent::start(&socket, |_, request| answer(request));
    eventually("the totals are back", || {
        top.seen()[before..].contains("new/s").then_some(())
    });
    top.press("q");
    assert_eq!(top.ended().code(), Some(0));
}

#[test]
fn top_without_an_agent_or_a_terminal_is_an_error() {
    let dir = fake::folder();
    let socket = dir.path().join("ebb.sock");
    let mut top = Terminal::start(&socket, &["top"], &[]);
    assert_eq!(top.ended().code(), Some(1));
    top.wait_for("the agent is not running");
    assert!(!top.seen().contains("\x1b[?1049h"));

    let piped = ebb(&socket, &["top"]).output().unwrap();
    assert_eq!(piped.status.code(), Some(1));
    assert!(fake::stderr(&piped).contains("needs a terminal"));
}

#[test]
fn waiting_for_a_drain_shows_a_bar() {
    let mut course: Vec<Backend> = vec![
        gone("web-1", DrainOutcome::Cut { flows: 2 }),
        draining("web-1", 2),
        draining("web-1", 5),
    ];
    let (agent, _dir, _) = Agent::recorded(move |request| match request {
        Request::Deregister(_, _, _, reply) => drop(reply.send(Ok(vec![draining("web-1", 9)]))),
        Request::Backend(_, _, reply) => {
            drop(reply.send(Ok(course.pop().expect("asked no more once it is gone"))));
        }
        other => panic!("no answer to {other:?}"),
    });
    let args = ["backend", "deregister", "web", "web-1", "--wait"];
    let mut wait = Terminal::start(&agent.socket, &args, &[]);
    wait.wait_for("5 of 9 flows left, 4m59s to the deadline");
    assert_eq!(wait.ended().code(), Some(3));
    wait.wait_for("web-1 of web is gone: 2 flows were cut");
    let seen = wait.seen();
    assert!(seen.contains("web-1 of web [===="), "{seen:?}");
    assert_eq!(tcgetattr(&wait.line).unwrap(), wait.before);
}
