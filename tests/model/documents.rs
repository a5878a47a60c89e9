//! Reload does what the file says anew; apply makes what is named as it says.

use std::time::Duration;

use lb_userspace::{
    config::{Document, Purpose},
    control::Error,
    wire::{Applied, Apply, StepAction},
};

use crate::rig::{LB, Rig, new_lb};

const SECOND: Duration = Duration::from_secs(1);

/// A file that declares [`LB`] with these backends.
fn file(backends: &[u8]) -> String {
    let backends: Vec<String> = backends
        .iter()
        .map(|n| format!("{{ id = \"web-{n}\", address = \"10.0.1.{n}\" }}"))
        .collect();
    format!(
        r#"[[load_balancer]]
name = "web"
mode = "nat"
listeners = [{{ protocol = "tcp", address = "10.0.0.100", port = 80 }}]
backends = [{}]
[load_balancer.attributes]
connection_draining = {{ timeout = 20 }}
"#,
        backends.join(", ")
    )
}

fn reload(rig: &mut Rig, text: &str) -> Result<Applied, Error> {
    let document = Document::parse("ebb.toml", text, Purpose::Apply, None).unwrap();
    let handle = rig.handle.clone();
    rig.ask(handle.reload("ebb.toml", document))
}

fn apply(rig: &mut Rig, text: &str, dry_run: bool) -> Result<Applied, Error> {
    let handle = rig.handle.clone();
    rig.ask(handle.apply(Apply {
        document: text.to_owned(),
        source: Some("ebb.toml".to_owned()),
        dry_run,
    }))
}

fn registered(rig: &mut Rig) -> Vec<String> {
    let backends = rig.lb(LB).unwrap().backends;
    backends
        .into_iter()
        .filter(|backend| backend.registration == "registered")
        .map(|backend| backend.id)
        .collect()
}

#[test]
fn the_file_is_in_force_after_the_start() {
    let mut rig = Rig::with_file(Some(&file(&[1, 2])));
    assert_eq!(registered(&mut rig), ["web-1", "web-2"]);
    assert!(rig.connect().is_ok());
    let lb = rig.lb(LB).unwrap();
    assert_eq!(lb.attributes.connection_draining.timeout, 20);
    assert!(lb.attributes.connection_draining.enabled);
}

#[test]
fn a_backend_drained_by_hand_does_not_come_back_by_a_restart_or_a_reload() {
    let mut rig = Rig::with_file(Some(&file(&[1, 2])));
    let flow = rig.connect_until("web-1", 1)[0];
    rig.deregister("web-1").unwrap();
    rig.restart(Some(&file(&[1, 2])));
    reload(&mut rig, &file(&[1, 2])).unwrap();
    assert_eq!(registered(&mut rig), ["web-2"]);
    rig.world.end(flow);
    rig.wait(SECOND);
    rig.restart(Some(&file(&[1, 2])));
    assert_eq!(registered(&mut rig), ["web-2"]);
    // Another change in the file is made, and that one only.
    rig.restart(Some(&file(&[1, 2, 3])));
    assert_eq!(registered(&mut rig), ["web-2", "web-3"]);
}

#[test]
fn a_reload_that_is_refused_is_warned_of_until_one_is_not() {
    let mut rig = Rig::with_file(Some(&file(&[1])));
    let warned = |rig: &mut Rig| {
        let handle = rig.handle.clone();
        let warnings = rig.ask(handle.status()).unwrap().warnings;
        let of_it = |warning: &&String| warning.contains("reload was refused");
        warnings.iter().filter(of_it).count()
    };
    assert_eq!(warned(&mut rig), 0);
    let handle = rig.handle.clone();
    rig.ask(handle.unreadable("ebb.toml is not valid".to_owned()))
        .unwrap();
    assert_eq!(warned(&mut rig), 1);
    reload(&mut rig, &file(&[1, 2])).unwrap();
    assert_eq!(warned(&mut rig), 0);
    // A good file can ask for what cannot be done.
    rig.create(new_lb("by-hand", "10.0.0.7", &[])).unwrap();
    let clash = file(&[1]).replace("10.0.0.100", "10.0.0.7");
    reload(&mut rig, &clash).unwrap_err();
    assert_eq!(warned(&mut rig), 1);
}

#[test]
fn a_backend_registered_by_hand_survives_a_reload() {
    let mut rig = Rig::with_file(Some(&file(&[1])));
    rig.register("web-9", "10.0.1.9").unwrap();
    reload(&mut rig, &file(&[1, 2])).unwrap();
    assert_eq!(registered(&mut rig), ["web-1", "web-2", "web-9"]);
}

#[test]
fn a_backend_that_the_file_no_longer_names_is_drained() {
    let mut rig = Rig::with_file(Some(&file(&[1, 2])));
    let flow = rig.connect_until("web-2", 1)[0];
    let applied = reload(&mut rig, &file(&[1])).unwrap();
    assert_eq!(applied.steps.len(), 1);
    assert_eq!(applied.steps[0].action, StepAction::Drain);
    assert_eq!(applied.steps[0].subject.as_deref(), Some("backend web-2"));
    assert!(rig.is_open(flow));
    assert_eq!(rig.backend("web-2").drain.unwrap().timeout, 20);
    rig.wait(21 * SECOND);
    assert!(!rig.is_open(flow));
}

#[test]
fn a_load_balancer_that_the_file_no_longer_names_is_drained_and_gone() {
    let mut rig = Rig::with_file(Some(&file(&[1])));
    rig.create(new_lb("by-hand", "10.0.0.7", &[])).unwrap();
    let flow = rig.connect().unwrap();
    reload(&mut rig, "").unwrap();
    assert!(rig.lb(LB).unwrap().deleting);
    rig.world.end(flow);
    rig.wait(SECOND);
    assert!(rig.lb(LB).is_err());
    assert!(rig.lb("by-hand").is_ok(), "the file never named it");
}

#[test]
fn attributes_that_the_file_says_no_longer_go_back_to_their_defaults() {
    let mut rig = Rig::with_file(Some(&file(&[1])));
    let without = file(&[1]).replace("connection_draining = { timeout = 20 }\n", "");
    reload(&mut rig, &without).unwrap();
    let lb = rig.lb(LB).unwrap();
    assert_eq!(lb.attributes.connection_draining.timeout, 300);
}

#[test]
fn attributes_set_by_hand_survive_a_reload_that_does_not_touch_them() {
    let mut rig = Rig::with_file(Some(&file(&[1])));
    rig.draining(true, Some(99)).unwrap();
    reload(&mut rig, &file(&[1, 2])).unwrap();
    let lb = rig.lb(LB).unwrap();
    assert_eq!(lb.attributes.connection_draining.timeout, 99);
}

#[test]
fn apply_makes_it_so_whatever_was_done_by_hand() {
    let mut rig = Rig::with_file(Some(&file(&[1, 2])));
    rig.connect_until("web-1", 1);
    rig.connect_until("web-2", 1);
    rig.deregister("web-1").unwrap();
    rig.register("web-9", "10.0.1.9").unwrap();
    rig.draining(true, Some(99)).unwrap();
    apply(&mut rig, &file(&[1, 2]), false).unwrap();
    assert_eq!(registered(&mut rig), ["web-1", "web-2"]);
    let lb = rig.lb(LB).unwrap();
    assert_eq!(lb.attributes.connection_draining.timeout, 20);
}

#[test]
fn a_dry_run_shows_the_plan_and_changes_nothing() {
    let mut rig = Rig::with_file(Some(&file(&[1, 2])));
    rig.connect_until("web-1", 1);
    let (state, view) = (rig.control.state().clone(), rig.world.view());
    let applied = apply(&mut rig, &file(&[2, 3]), true).unwrap();
    assert!(applied.dry_run);
    let steps: Vec<_> = applied
        .steps
        .iter()
        .map(|step| (step.action, step.subject.as_deref().unwrap()))
        .collect();
    assert_eq!(
        steps,
        [
            (StepAction::Drain, "backend web-1"),
            (StepAction::Add, "backend web-3")
        ]
    );
    assert_eq!(*rig.control.state(), state);
    assert_eq!(rig.world.view(), view);
}

#[test]
fn applying_twice_changes_nothing() {
    let mut rig = Rig::empty();
    let first = apply(&mut rig, &file(&[1, 2]), false).unwrap();
    assert_eq!(first.steps.len(), 4, "{first:?}");
    let changes = rig.world.log().len();
    let second = apply(&mut rig, &file(&[1, 2]), false).unwrap();
    assert_eq!(second.steps, []);
    assert_eq!(rig.world.log().len(), changes);
}

#[test]
fn what_was_applied_from_the_file_is_not_undone_by_a_restart() {
    let mut rig = Rig::with_file(Some(&file(&[1])));
    apply(&mut rig, &file(&[1, 2]), false).unwrap();
    rig.connect_until("web-2", 1);
    rig.deregister("web-2").unwrap();
    rig.restart(Some(&file(&[1, 2])));
    assert_eq!(registered(&mut rig), ["web-1"]);
}

#[test]
fn what_cannot_be_done_is_named_with_its_line_and_nothing_is() {
    let mut rig = Rig::with_file(Some(&file(&[1])));
    rig.create(new_lb("by-hand", "10.0.0.7", &[])).unwrap();
    let state = rig.control.state().clone();
    for (text, said) in [
        (
            file(&[1, 2]).replace("\"nat\"", "\"dsr\""),
            "its mode cannot become dsr",
        ),
        (
            file(&[1, 2]).replace("10.0.1.1\"", "10.0.1.7\""),
            "cannot become 10.0.1.7",
        ),
        (
            file(&[1, 2]).replace("10.0.0.100", "10.0.0.7"),
            "belongs to load balancer",
        ),
    ] {
        let Err(Error::Document(found)) = apply(&mut rig, &text, false) else {
            panic!("{text}");
        };
        assert_eq!((found[0].file.as_str(), found[0].line), ("ebb.toml", 2));
        assert!(found[0].message.contains(said), "{}", found[0]);
        assert_eq!(*rig.control.state(), state);
    }
    let Err(Error::Document(found)) = apply(&mut rig, "intefaces = []", false) else {
        panic!();
    };
    assert_eq!(found[0].hint.as_deref(), Some("did you mean `interfaces`?"));
}

#[test]
fn a_listener_can_move_from_one_load_balancer_to_another() {
    let both = |first: &str, second: &str| {
        format!(
            r#"[[load_balancer]]
name = "a"
mode = "nat"
listeners = [{{ protocol = "tcp", address = "10.0.0.1", port = {first} }}]
[[load_balancer]]
name = "b"
mode = "nat"
listeners = [{{ protocol = "tcp", address = "10.0.0.1", port = {second} }}]
"#
        )
    };
    let mut rig = Rig::with_file(Some(&both("80", "81")));
    reload(&mut rig, &both("81", "80")).unwrap();
    let owners: Vec<String> = rig
        .world
        .view()
        .listeners
        .values()
        .map(|listener| rig.world.view().lbs[&listener.lb].name.clone())
        .collect();
    assert_eq!(owners, ["b", "a"]);
}
