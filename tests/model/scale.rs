//! A thousand load balancers with twenty backends each, control and the store on
//! disk, over a data plane in memory: what a command costs must not grow with
//! what it is not about.
//!
//! The bounds are several times the goals, for a build without optimisation on a
//! busy machine; the figures are what the report is for.

use std::time::{Duration, Instant};

use lb_userspace::{
    clock::{Clock as _, HostClock},
    config::{Document, Purpose},
    control::{self, Control, Handle, Parts, handle::Declare, merge::Reading},
    dataplane::memory::World,
    model::TableSizes,
    store::{Store as _, disk::DiskStore},
    wire::Deregister,
};
use tests::report;

use crate::rig::{ask, new_backend};

const LBS: u32 = 1000;
const EACH: u32 = 20;

fn document() -> String {
    use std::fmt::Write as _;
    let mut text = String::new();
    for lb in 0..LBS {
        let (high, low) = (lb / 250, lb % 250);
        writeln!(
            text,
            "[[load_balancer]]\nname = \"lb-{lb}\"\nmode = \"nat\"\n\
             listeners = [{{ protocol = \"tcp\", address = \"10.200.{high}.{low}\", port = 80 }}]\n\
             backends = ["
        )
        .unwrap();
        for backend in 0..EACH {
            let address = format!("10.{}.{high}.{low}", backend + 1);
            writeln!(
                text,
                "  {{ id = \"b-{backend}\", address = \"{address}\" }},"
            )
            .unwrap();
        }
        text.push_str("]\n");
    }
    text
}

fn start(
    folder: &std::path::Path,
    world: Option<&World>,
    file: Option<Declare>,
) -> (Control, Handle, World) {
    let (handle, inbox) = control::channel();
    let sink = handle.dataplane_events();
    let world = match world {
        Some(world) => world.heard_by(sink),
        None => World::new(sink),
    };
    world.resize(TableSizes {
        backends: LBS * EACH + 100,
        ..TableSizes::default()
    });
    let parts = Parts {
        clock: Box::new(HostClock),
        store: Box::new(DiskStore::open(folder, "one boot").unwrap()),
        dataplane: Box::new(world.dataplane()),
        vips: None,
    };
    let control = Control::start(inbox, parts, file).unwrap();
    (control, handle, world)
}

/// The middle of several times, and the longest.
fn several(mut times: Vec<Duration>) -> (Duration, Duration) {
    times.sort_unstable();
    (times[times.len() / 2], times[times.len() - 1])
}

fn timed<T>(what: impl FnOnce() -> T) -> (T, Duration) {
    let begun = Instant::now();
    let done = what();
    (done, begun.elapsed())
}

#[test]
fn a_command_costs_no_more_among_a_thousand_load_balancers() {
    let folder = tempfile::tempdir().unwrap();
    let document = Document::parse("scale", &document(), Purpose::Apply, None).unwrap();
    let declare = Declare {
        source: "scale".to_owned(),
        document,
        reading: Reading::Reload,
        dry_run: false,
    };
    let ((mut control, handle, world), apply) = timed(|| start(folder.path(), None, Some(declare)));
    control.step();

    let (mut leaving, mut coming) = (Vec::new(), Vec::new());
    for lb in (0..LBS).step_by(20) {
        let name = format!("lb-{lb}");
        let (gone, time) = timed(|| {
            ask(
                &mut control,
                handle.deregister(&name, "b-0", Deregister::default()),
            )
        });
        assert_eq!(gone.unwrap().registration, "gone");
        leaving.push(time);
        let (high, low) = (lb / 250, lb % 250);
        let new = new_backend("b-0", &format!("10.1.{high}.{low}"));
        let (back, time) = timed(|| ask(&mut control, handle.register(&name, new)));
        back.unwrap();
        coming.push(time);
    }
    let status = (0..10)
        .map(|_| timed(|| ask(&mut control, handle.status()).unwrap()).1)
        .collect();
    let idle = (0..100).map(|_| timed(|| control.step()).1).collect();
    let state = control.state().clone();
    drop(control);

    let ((mut control, handle, _), restart) = timed(|| {
        let (mut control, handle, world) = start(folder.path(), Some(&world), None);
        ask(&mut control, handle.status()).unwrap();
        (control, handle, world)
    });
    control.step();
    drop(handle);
    assert_eq!(control.state().desired, state.desired);
    drop(control);
    let there = DiskStore::open(folder.path(), "one boot")
        .unwrap()
        .load(HostClock.now());
    assert_eq!(there.unwrap().unwrap().desired, state.desired);
    let size = std::fs::metadata(folder.path().join("state.db"))
        .unwrap()
        .len();

    let (leaving, coming) = (several(leaving), several(coming));
    let (status, idle) = (several(status), several(idle));
    report::line(&format!(
        "{LBS} load balancers x {EACH} backends: apply {apply:?}; deregister {:?} (longest {:?}); \
         register {:?} (longest {:?}); status {:?}; restart to first answer {restart:?}; \
         a turn with nothing to do {:?}; state.db {size} bytes",
        leaving.0, leaving.1, coming.0, coming.1, status.0, idle.0
    ));
    // Goals: 10 ms, 50 ms, 3 s.
    assert!(leaving.0 < Duration::from_millis(100), "{leaving:?}");
    assert!(status.0 < Duration::from_millis(500), "{status:?}");
    assert!(restart < Duration::from_secs(20), "{restart:?}");
    assert!(idle.0 < Duration::from_millis(1), "{idle:?}");
}
