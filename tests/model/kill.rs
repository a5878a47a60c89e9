//! P7 against SIGKILL: a process that makes one change after the other, with
//! the store on disk, is killed at random moments a few hundred times. What it
//! had acknowledged is there each time, and nothing is half there.
//!
//! The commands are numbered, and what state follows from the first `n` of
//! them is known, so the state on disk says how many were carried out.

use std::{
    env, fs,
    io::{BufRead as _, BufReader, Write as _},
    path::Path,
    process::{Command, Stdio},
    time::Duration,
};

use lb_userspace::{
    clock::{Clock as _, HostClock},
    control::{self, Control, Parts},
    dataplane::memory::World,
    state::State,
    store::{Store as _, disk::DiskStore},
    wire::{AttributesPatch, Deregister},
};

use tests::report;

use crate::rig::{LB, VIP, ask, new_backend, new_lb};

const FOLDER: &str = "EBB_TEST_KILL_FOLDER";
const KILLS: u64 = 300;
const BACKENDS: u32 = 8;

/// The backend that the odd command `n` is about, and whether it is registered
/// after it.
fn toggled(n: u32) -> (u32, bool) {
    let turn = n / 2;
    (turn % BACKENDS, (turn / BACKENDS).is_multiple_of(2))
}

fn id(backend: u32) -> String {
    format!("web-{backend}")
}

/// How many commands the state has seen; panics if it is half of one.
fn carried_out(state: &State) -> u32 {
    let Ok((_, lb)) = state.lb(LB) else { return 0 };
    // Even commands write their own number.
    let even = lb.attributes.close_rate;
    let fits = |n: u32| {
        (0..BACKENDS).all(|backend| {
            let last = (1..=n)
                .rev()
                .filter(|n| n % 2 == 1)
                .map(toggled)
                .find(|(about, _)| *about == backend);
            let registered = state
                .backend(LB, &id(backend))
                .is_ok_and(|(_, backend)| backend.life.is_registered());
            registered == last.is_some_and(|(_, registered)| registered)
        })
    };
    let seen: Vec<u32> = [even, even + 1].into_iter().filter(|n| fits(*n)).collect();
    assert_eq!(seen.len(), 1, "half a command after {even}: {state:?}");
    seen[0]
}

fn open(folder: &Path) -> DiskStore {
    DiskStore::open(folder, "one boot").unwrap()
}

/// The process that is killed. Says the number of each command when it has
/// been acknowledged.
#[test]
#[ignore = "started by the test below"]
fn child() {
    let Some(folder) = env::var_os(FOLDER) else {
        return;
    };
    let (handle, inbox) = control::channel();
    let world = World::new(handle.dataplane_events());
    let parts = Parts {
        clock: Box::new(HostClock),
        store: Box::new(open(Path::new(&folder))),
        dataplane: Box::new(world.dataplane()),
        vips: None,
    };
    let mut control = Control::start(inbox, parts, None).unwrap();
    if control.state().lb(LB).is_err() {
        ask(
            &mut control,
            handle.create_load_balancer(new_lb(LB, VIP, &[])),
        )
        .unwrap();
    }
    // The test harness may have begun a line.
    println!();
    for n in carried_out(control.state()) + 1.. {
        if n.is_multiple_of(2) {
            let patch = AttributesPatch {
                close_rate: Some(n),
                ..AttributesPatch::default()
            };
            ask(&mut control, handle.set_attributes(LB, patch)).unwrap();
        } else {
            match toggled(n) {
                (backend, true) => {
                    let new = new_backend(&id(backend), &format!("10.0.1.{}", backend + 1));
                    ask(&mut control, handle.register(LB, new)).unwrap();
                }
                (backend, false) => {
                    let how = Deregister::default();
                    ask(&mut control, handle.deregister(LB, &id(backend), how)).unwrap();
                }
            }
        }
        println!("acknowledged {n}");
        std::io::stdout().flush().unwrap();
    }
}

#[test]
fn p7_kill_at_any_moment_loses_nothing_acknowledged() {
    let folder = tempfile::tempdir().unwrap();
    let (mut acknowledged, mut lost, mut before) = (0, 0, 0);
    for kill in 0..KILLS {
        let mut process = Command::new(env::current_exe().unwrap())
            .args(["--exact", "kill::child", "--ignored", "--nocapture"])
            .env(FOLDER, folder.path())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let output = process.stdout.take().unwrap();
        let reader = std::thread::spawn(move || {
            let lines = BufReader::new(output).lines().map_while(Result::ok);
            lines
                .filter_map(|line| line.strip_prefix("acknowledged ")?.parse::<u32>().ok())
                .last()
        });
        // The moment is the subject of the test, not something to wait for.
        std::thread::sleep(Duration::from_micros(fastrand::u64(1000..120_000)));
        process.kill().unwrap();
        process.wait().unwrap();
        if let Some(last) = reader.join().unwrap() {
            acknowledged = last;
        }

        let state = open(folder.path()).load(HostClock.now());
        let state = state.unwrap_or_else(|error| panic!("kill {kill}: {error}"));
        let there = carried_out(&state.unwrap_or_default());
        lost += acknowledged.saturating_sub(there);
        // One more may have been carried out and not acknowledged.
        assert!(
            there <= acknowledged.max(before) + 1,
            "kill {kill}: {there} commands carried out, {acknowledged} acknowledged"
        );
        before = there;
    }
    report::line(&format!(
        "kill test: acknowledged {acknowledged}, lost {lost}"
    ));
    assert_eq!(lost, 0);
    assert!(acknowledged > 100, "the process hardly ran");
    let left = fs::read_dir(folder.path()).unwrap().count();
    assert!(left <= 4, "{left} files are left");
}
