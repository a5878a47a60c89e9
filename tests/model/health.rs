//! Health checks as control sees them: what they report, and what follows.

use std::sync::Arc;

use lb_userspace::{
    control::{Error, Kind},
    model::{HealthReport, Standing},
    wire::{HealthByHand, HealthCheck, State, What},
};

use crate::rig::{LB, Rig, VIP, new_lb};

fn check(target: &str) -> HealthCheck {
    HealthCheck {
        interval: 5,
        ..HealthCheck::new(target.to_owned())
    }
}

impl Rig {
    fn set_check(&mut self, check: Option<HealthCheck>) -> Result<Option<HealthCheck>, Error> {
        let handle = self.handle.clone();
        self.ask(handle.set_health_check(LB, check))
    }

    fn report(&mut self, id: &str, report: HealthReport) {
        let handle = self.handle.clone();
        self.ask(handle.report_health(LB, id, report)).unwrap();
    }

    /// What the checks are told to check, and what they are to hold it for.
    fn checked(&self) -> Vec<(String, Standing)> {
        let roster = Arc::clone(&self.handle.roster().borrow());
        roster
            .iter()
            .map(|(key, subject)| (key.backend.to_string(), subject.standing))
            .collect()
    }
}

/// [`LB`], checked, with one backend that nothing is known of yet.
fn one() -> Rig {
    let mut rig = Rig::empty();
    let mut lb = new_lb(LB, VIP, &[("web-1", "10.0.1.1")]);
    lb.health_check = Some(check("HTTP:80/ping"));
    rig.create(lb).unwrap();
    rig
}

#[test]
fn the_first_success_puts_a_new_backend_into_service() {
    let mut rig = one();
    let new = rig.backend("web-1");
    assert_eq!(
        (new.state, &*new.health, new.takes_new),
        (State::OutOfService, "unknown", false)
    );
    assert_eq!(
        new.description,
        "Instance registration is still in progress."
    );
    rig.connect().unwrap_err();
    assert_eq!(rig.checked(), [("web-1".to_owned(), Standing::New)]);

    rig.happened();
    rig.report("web-1", HealthReport::Healthy);
    rig.connect().unwrap();
    assert_eq!(rig.backend("web-1").state, State::InService);
    assert_eq!(rig.checked(), [("web-1".to_owned(), Standing::Healthy)]);
    let web_1 = || Some("web-1".to_owned());
    assert_eq!(
        rig.happened(),
        [(web_1(), What::CheckPassed), (web_1(), What::InService)]
    );
}

#[test]
fn ill_health_stops_new_flows_and_says_why() {
    let mut rig = one();
    rig.report("web-1", HealthReport::Healthy);
    let flow = rig.connect().unwrap();
    rig.happened();
    let reason = "the answer was 503; only 200 passes".to_owned();
    rig.report("web-1", HealthReport::Unhealthy(reason.clone()));
    rig.connect().unwrap_err();
    assert!(rig.is_open(flow), "open flows go on");
    assert_eq!(rig.happened()[0].1, What::CheckFailed { reason });
    assert_eq!(rig.checked(), [("web-1".to_owned(), Standing::Unhealthy)]);
}

#[test]
fn a_check_that_is_new_takes_nobody_out_of_service() {
    let mut rig = Rig::three();
    let set = rig.set_check(Some(check("tcp:80"))).unwrap().unwrap();
    assert_eq!((&*set.target, set.timeout), ("TCP:80", Some(4)));
    assert!(rig.backend("web-1").takes_new);
    rig.report("web-1", HealthReport::Unhealthy("refused".to_owned()));
    assert!(!rig.backend("web-1").takes_new);

    // Another check begins with what is known.
    rig.set_check(Some(check("TCP:81"))).unwrap();
    assert!(!rig.backend("web-1").takes_new && rig.backend("web-2").takes_new);
    // And without one everybody counts as healthy.
    assert_eq!(rig.set_check(None).unwrap(), None);
    assert!(rig.backend("web-1").takes_new);
    assert!(rig.checked().is_empty());
    // What was under way by then is not taken in any more.
    rig.report("web-1", HealthReport::Unhealthy("late".to_owned()));
    assert!(rig.backend("web-1").takes_new);
}

#[test]
fn the_operators_word_is_above_the_checks() {
    let mut rig = one();
    rig.health("web-1", HealthByHand::Healthy).unwrap();
    assert!(rig.backend("web-1").takes_new);
    rig.report("web-1", HealthReport::Unhealthy("refused".to_owned()));
    assert!(rig.backend("web-1").takes_new);
    rig.health("web-1", HealthByHand::Auto).unwrap();
    assert!(!rig.backend("web-1").takes_new);
}

#[test]
fn checks_and_what_they_found_survive_a_restart() {
    let mut rig = one();
    rig.report("web-1", HealthReport::Healthy);
    rig.restart(None);
    assert!(rig.backend("web-1").takes_new);
    assert_eq!(rig.checked(), [("web-1".to_owned(), Standing::Healthy)]);
    let lb = rig.lb(LB).unwrap();
    assert_eq!(lb.health_check.unwrap().target, "HTTP:80/ping");
}

#[test]
fn what_no_check_can_be_is_refused() {
    let mut rig = Rig::three();
    let error = rig.set_check(Some(check("ICMP:1"))).unwrap_err();
    assert_eq!(error.kind(), Kind::Invalid);
    assert_eq!(rig.lb(LB).unwrap().health_check, None);
}

#[test]
fn a_file_that_says_nothing_of_checks_leaves_the_operators_alone() {
    let file = |more: &str| {
        format!(
            "[[load_balancer]]\nname = \"web\"\nmode = \"nat\"\n\
             listeners = [{{ protocol = \"tcp\", address = \"{VIP}\", port = 80 }}]\n{more}"
        )
    };
    let mut rig = Rig::with_file(Some(&file("")));
    rig.set_check(Some(check("TCP:80"))).unwrap();
    rig.restart(Some(&file("")));
    assert!(rig.lb(LB).unwrap().health_check.is_some());
    // One that does, sets it, and takes it away again with its line.
    let with = file("[load_balancer.health_check]\ntarget = \"HTTP:80/\"\ninterval = 1\n");
    rig.restart(Some(&with));
    let set = rig.lb(LB).unwrap().health_check.unwrap();
    assert_eq!((&*set.target, set.interval), ("HTTP:80/", 1));
    rig.restart(Some(&file("")));
    assert_eq!(rig.lb(LB).unwrap().health_check, None);
}
