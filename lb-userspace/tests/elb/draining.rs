//! An instance's life as the API tells it, in the original's words.

use std::{
    thread,
    time::{Duration, Instant},
};

use lb_userspace::{
    control::Handle,
    model::HealthReport,
    wire::{Attributes, ConnectionDraining, DrainOutcome, HealthByHand, What},
};

use crate::world::{Agent, ask};

const IN_SERVICE: &str = "InService N/A N/A";
const DRAINING: &str = "InService N/A Instance deregistration currently in progress.";
const GONE: &str =
    "OutOfService Instance Instance is not currently registered with the LoadBalancer.";
const UNHEALTHY: &str = "OutOfService Instance \
    Instance has failed at least the UnhealthyThreshold number of health checks consecutively.";

fn wait_for(what: &str, mut look: impl FnMut() -> bool) {
    let start = Instant::now();
    while !look() {
        assert!(
            start.elapsed() < Duration::from_secs(20),
            "waited for {what}"
        );
        thread::sleep(Duration::from_millis(20));
    }
}

fn drain(agent: &Agent, lb: &str, seconds: u32) {
    agent.ok(
        "ModifyLoadBalancerAttributes",
        &[
            &format!("LoadBalancerName={lb}"),
            "LoadBalancerAttributes.ConnectionDraining.Enabled=true",
            &format!("LoadBalancerAttributes.ConnectionDraining.Timeout={seconds}"),
        ],
    );
}

fn instances(agent: &Agent, action: &str, lb: &str, ids: &[&str]) -> Vec<String> {
    let ids: Vec<String> = ids
        .iter()
        .enumerate()
        .map(|(n, id)| format!("Instances.member.{}.InstanceId={id}", n + 1))
        .collect();
    let name = format!("LoadBalancerName={lb}");
    let mut parameters = vec![name.as_str()];
    parameters.extend(ids.iter().map(String::as_str));
    let answer = agent.ok(action, &parameters);
    answer.texts(&format!("{action}Result/Instances/member/InstanceId"))
}

fn register(agent: &Agent, lb: &str, ids: &[&str]) -> Vec<String> {
    instances(agent, "RegisterInstancesWithLoadBalancer", lb, ids)
}

fn deregister(agent: &Agent, lb: &str, ids: &[&str]) -> Vec<String> {
    instances(agent, "DeregisterInstancesFromLoadBalancer", lb, ids)
}

#[test]
fn a_drained_instance_is_told_of_in_the_originals_words() {
    let agent = Agent::start();
    let vip = agent.create("web");
    drain(&agent, "web", 300);
    assert_eq!(
        register(&agent, "web", &["web-1", "web-2"]),
        ["web-1", "web-2"]
    );
    wait_for("web-1 to serve", || {
        agent.health("web", "web-1") == IN_SERVICE
    });

    let flow = agent.client(&vip, 0);
    // What remains registered, at once without it.
    assert_eq!(deregister(&agent, "web", &["web-1"]), ["web-2"]);
    assert_eq!(agent.health("web", "web-1"), DRAINING);
    for choice in 0..10 {
        let other = agent.client(&vip, choice);
        assert_ne!(agent.world.backend_of(other), agent.world.backend_of(flow));
    }
    // Without ids, those that still drain are told of, too.
    let all = agent.ok("DescribeInstanceHealth", &["LoadBalancerName=web"]);
    let ids = "DescribeInstanceHealthResult/InstanceStates/member/InstanceId";
    assert_eq!(all.texts(ids), ["web-1", "web-2"]);
    let described = agent.ok("DescribeLoadBalancers", &[]);
    let instances =
        "DescribeLoadBalancersResult/LoadBalancerDescriptions/member/Instances/member/InstanceId";
    assert_eq!(described.texts(instances), ["web-2"]);

    assert!(agent.world.end(flow));
    wait_for("the drain to end", || agent.health("web", "web-1") == GONE);
    let all = agent.ok("DescribeInstanceHealth", &["LoadBalancerName=web"]);
    assert_eq!(all.texts(ids), ["web-2"]);
    assert_eq!(agent.health("web", "web-9"), "InvalidInstance");
    // Once more is no mistake, and a stranger is one.
    assert_eq!(deregister(&agent, "web", &["web-1"]), ["web-2"]);
    let gone = [
        "LoadBalancerName=web",
        "Instances.member.1.InstanceId=web-9",
    ];
    let code = agent.refused("DeregisterInstancesFromLoadBalancer", &gone);
    assert_eq!(code, "InvalidInstance");
}

#[test]
fn at_the_deadline_what_is_left_is_closed() {
    let agent = Agent::start();
    let vip = agent.create("web");
    drain(&agent, "web", 1);
    register(&agent, "web", &["10.0.1.11"]);
    let flow = agent.client(&vip, 0);
    let begin = Instant::now();
    assert!(deregister(&agent, "web", &["10.0.1.11"]).is_empty());
    wait_for("the deadline", || agent.health("web", "10.0.1.11") == GONE);
    assert!(begin.elapsed() >= Duration::from_millis(950));
    assert_eq!(agent.world.backend_of(flow), None);
}

#[test]
fn registered_again_it_keeps_its_flows_and_serves_on() {
    let agent = Agent::start();
    let vip = agent.create("web");
    drain(&agent, "web", 1);
    register(&agent, "web", &["web-1"]);
    let flow = agent.client(&vip, 0);
    deregister(&agent, "web", &["web-1"]);
    assert_eq!(agent.health("web", "web-1"), DRAINING);
    assert_eq!(register(&agent, "web", &["web-1"]), ["web-1"]);
    assert_eq!(agent.health("web", "web-1"), IN_SERVICE);
    // Past the old deadline.
    thread::sleep(Duration::from_millis(1300));
    assert!(agent.world.backend_of(flow).is_some());
    assert_eq!(agent.health("web", "web-1"), IN_SERVICE);
}

#[test]
fn draining_is_off_at_first_and_then_flows_are_closed_at_once() {
    let agent = Agent::start();
    let vip = agent.create("web");
    register(&agent, "web", &["web-1"]);
    let flow = agent.client(&vip, 0);
    deregister(&agent, "web", &["web-1"]);
    wait_for("the end", || agent.health("web", "web-1") == GONE);
    assert_eq!(agent.world.backend_of(flow), None);
}

#[test]
fn ill_health_is_told_of_as_the_original_does() {
    let agent = Agent::start();
    agent.create("web");
    register(&agent, "web", &["web-1"]);
    let set = |health| ask(agent.handle.set_health("web", "web-1", health)).unwrap();
    set(HealthByHand::Unhealthy);
    assert_eq!(agent.health("web", "web-1"), UNHEALTHY);
    set(HealthByHand::Auto);
    assert_eq!(agent.health("web", "web-1"), IN_SERVICE);
}

/// The API is one more way into the same control task.
#[test]
fn what_it_does_shows_elsewhere_and_the_other_way_round() {
    let agent = Agent::start();
    let mut events = agent.handle.subscribe();
    agent.create("web");
    drain(&agent, "web", 45);
    register(&agent, "web", &["web-1"]);

    let attributes: Attributes = ask(agent.handle.attributes("web")).unwrap();
    assert_eq!(
        attributes.connection_draining,
        ConnectionDraining {
            enabled: true,
            timeout: 45
        }
    );
    let by_hand: Handle = agent.handle.by("uid 0 pid 1");
    let how = lb_userspace::wire::Deregister::default();
    let backend = ask(by_hand.deregister("web", "web-1", how)).unwrap();
    assert_eq!(backend.drain.unwrap().outcome, Some(DrainOutcome::Ended));
    assert_eq!(agent.health("web", "web-1"), GONE);

    let mut said = Vec::new();
    while let Ok(event) = events.try_recv() {
        said.push((event.by.clone(), event.what.clone()));
    }
    let find = |wanted: fn(&What) -> bool| {
        let found = said.iter().find(|(_, what)| wanted(what));
        found.unwrap_or_else(|| panic!("{said:?}")).0.clone()
    };
    let ours = format!("elb {}", agent.address.ip());
    assert!(find(|what| *what == What::LoadBalancerCreated).starts_with(&ours));
    assert!(find(|what| matches!(what, What::AttributesChanged { .. })).starts_with(&ours));
    assert!(find(|what| *what == What::Registered).starts_with(&ours));
    assert_eq!(find(|what| *what == What::Deregistered), "uid 0 pid 1");
}

#[test]
fn an_instance_that_cannot_be_reached_is_not_in_service() {
    let agent = Agent::start();
    agent.create("web");
    agent
        .world
        .unreach([10, 0, 1, 11].into(), "no answer to ARP");
    register(&agent, "web", &["web-1"]);
    wait_for("the agent to hear of it", || {
        agent.health("web", "web-1") == UNHEALTHY
    });
    agent.world.reach([10, 0, 1, 11].into());
    wait_for("the agent to hear of it", || {
        agent.health("web", "web-1") == IN_SERVICE
    });
}

#[test]
fn the_health_check_that_is_configured_is_the_one_that_is_made() {
    let agent = Agent::start();
    agent.create_checked("web");
    register(&agent, "web", &["web-1"]);
    assert_eq!(
        agent.health("web", "web-1"),
        "OutOfService ELB Instance registration is still in progress."
    );
    let target = || {
        let check = ask(agent.handle.health_check("web")).unwrap();
        check.map(|check| check.target)
    };
    assert_eq!(target().as_deref(), Some("TCP:8080"));
    agent.ok(
        "ConfigureHealthCheck",
        &[
            "LoadBalancerName=web",
            "HealthCheck.Target=http%3A8080/ping",
            "HealthCheck.Interval=30",
            "HealthCheck.Timeout=5",
            "HealthCheck.UnhealthyThreshold=2",
            "HealthCheck.HealthyThreshold=2",
        ],
    );
    assert_eq!(target().as_deref(), Some("HTTP:8080/ping"));
    let found = |report| ask(agent.handle.report_health("web", "web-1", report)).unwrap();
    found(HealthReport::Healthy);
    assert_eq!(agent.health("web", "web-1"), IN_SERVICE);
    found(HealthReport::Unhealthy("status 503".to_owned()));
    assert_eq!(agent.health("web", "web-1"), UNHEALTHY);
}
