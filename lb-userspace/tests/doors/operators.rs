//! Without access keys: who may use the admin socket may change something by
//! the other doors, and nobody else.

use crate::rig::{Door, Rig};

const CREATE: &str = "Action=CreateLoadBalancer&Version=2012-06-01&LoadBalancerName=web\
                      &Listeners.member.1.Protocol=TCP&Listeners.member.1.LoadBalancerPort=80\
                      &Listeners.member.1.InstancePort=80&AvailabilityZones.member.1=a";

fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

#[test]
fn without_keys_a_local_user_reads_and_changes_nothing() {
    if !is_root() {
        return;
    }
    let rig = Rig::without_keys();
    let answer = rig.answer(
        rig.connect_as_nobody(Door::Elb),
        &rig.question(Door::Elb, "close"),
    );
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    let create = rig.post_form(CREATE);
    let refused = rig.answer(rig.connect_as_nobody(Door::Elb), &create);
    assert!(refused.starts_with("HTTP/1.1 403 "), "{refused}");
    assert!(refused.contains("uid 65534 may not use"), "{refused}");
    // What is wrong with it is not the first thing that is said.
    let nonsense = rig.post_form("Action=CreateLoadBalancer&Version=2012-06-01&No=1");
    let refused = rig.answer(rig.connect_as_nobody(Door::Elb), &nonsense);
    assert!(refused.contains("<Code>AccessDenied</Code>"), "{refused}");

    let change = rig.console_post("/v1/load-balancers/web/backends", "", "{}");
    let refused = rig.answer(rig.connect_as_nobody(Door::Console), &change);
    assert!(refused.starts_with("HTTP/1.1 403 "), "{refused}");
    assert!(refused.contains("not_an_operator"), "{refused}");
    let answer = rig.answer(rig.connect(Door::Console), &change);
    assert!(!answer.starts_with("HTTP/1.1 403 "), "{answer}");
}

#[test]
fn without_keys_no_get_changes_anything() {
    let rig = Rig::without_keys();
    let get = rig
        .question(Door::Elb, "close")
        .replace("Action=DescribeLoadBalancers&Version=2012-06-01", CREATE);
    let refused = rig.answer(rig.connect(Door::Elb), &get);
    assert!(refused.starts_with("HTTP/1.1 403 "), "{refused}");
    assert!(refused.contains("sent as a POST"), "{refused}");
    // As a POST it is only that there are no addresses to give away.
    let refused = rig.answer(rig.connect(Door::Elb), &rig.post_form(CREATE));
    assert!(
        refused.contains("<Code>OperationNotPermitted</Code>"),
        "{refused}"
    );
}
