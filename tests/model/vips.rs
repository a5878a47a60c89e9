//! VIPs are put on an interface and taken away with their load balancer, and
//! only those that ebb put there.

use std::time::Duration;

use crate::rig::{LB, Rig, key, new_lb, now};

const SECOND: Duration = Duration::from_secs(1);

#[test]
fn a_vip_comes_and_goes_with_its_load_balancer() {
    let mut rig = Rig::empty();
    rig.create(new_lb("a", "10.0.0.1", &[])).unwrap();
    rig.create(new_lb("b", "10.0.0.2", &[])).unwrap();
    assert_eq!(rig.addresses.list().len(), 2);
    rig.delete("a", now()).unwrap();
    let left: Vec<_> = rig.addresses.list().into_keys().collect();
    assert_eq!(left, ["10.0.0.2".parse::<std::net::IpAddr>().unwrap()]);
}

#[test]
fn a_vip_stays_until_the_last_flow_has_drained() {
    let mut rig = Rig::three();
    let flow = rig.connect().unwrap();
    rig.delete(LB, Default::default()).unwrap();
    assert_eq!(rig.addresses.list().len(), 1);
    rig.world.end(flow);
    rig.wait(SECOND);
    assert!(rig.addresses.list().is_empty());
}

#[test]
fn an_address_of_the_host_is_never_taken_away() {
    let mut rig = Rig::empty();
    rig.addresses.put("10.0.0.1", "eth0");
    rig.create(new_lb("a", "10.0.0.1", &[])).unwrap();
    rig.restart(None);
    rig.delete("a", now()).unwrap();
    assert_eq!(rig.addresses.list().len(), 1);
}

#[test]
fn a_vip_of_ours_is_taken_away_after_a_restart_too() {
    let mut rig = Rig::empty();
    rig.create(new_lb("a", "10.0.0.1", &[])).unwrap();
    rig.restart(None);
    rig.delete("a", now()).unwrap();
    assert!(rig.addresses.list().is_empty());
    rig.restart(None);
    assert!(rig.control.state().node.vips.is_empty());
}

#[test]
fn the_address_of_a_removed_listener_stays_for_its_open_flows() {
    let mut rig = Rig::three();
    let handle = rig.handle.clone();
    let listeners =
        serde_json::from_str(r#"[{"protocol": "tcp", "address": "10.0.0.101", "port": 80}]"#);
    rig.ask(handle.add_listeners(LB, listeners.unwrap()))
        .unwrap();
    let second = key("10.0.0.101", 80);
    let flow = rig.connect_to(second).unwrap();
    let gone = vec![(second.protocol, second.address, second.port)];
    rig.ask(handle.remove_listeners(LB, gone)).unwrap();
    rig.wait(60 * SECOND);
    assert!(rig.addresses.list().contains_key(&second.address));
    rig.world.end(flow);
    rig.wait(20 * SECOND);
    assert!(!rig.addresses.list().contains_key(&second.address));
}
