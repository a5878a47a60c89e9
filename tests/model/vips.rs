//! VIPs are put on an interface and taken away with their load balancer, and
//! only those that ebb put there.

use std::time::Duration;

use lb_userspace::wire::What;

use crate::rig::{LB, Rig, VIP, key, new_lb, now};

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

/// The events about VIPs so far, by name and address.
fn told(rig: &mut Rig) -> Vec<(&'static str, String)> {
    rig.happened()
        .into_iter()
        .filter_map(|(_, what)| match &what {
            What::VipMissing { address }
            | What::VipContested { address, .. }
            | What::VipPutBack { address, .. } => Some((what.name(), address.clone())),
            _ => None,
        })
        .collect()
}

fn warnings(rig: &mut Rig) -> Vec<String> {
    let handle = rig.handle.clone();
    rig.ask(handle.status()).unwrap().warnings
}

fn both(address: &str) -> [(&'static str, String); 2] {
    ["vip_missing", "vip_put_back"].map(|what| (what, address.to_owned()))
}

#[test]
fn p11_a_vip_that_somebody_takes_away_is_put_back_within_a_second_and_said() {
    let mut rig = Rig::three();
    told(&mut rig);
    rig.addresses.take(VIP);
    rig.wait(SECOND);
    assert_eq!(rig.addresses.list().len(), 1);
    assert_eq!(told(&mut rig), both(VIP));
    assert_eq!(warnings(&mut rig), [""; 0]);
}

#[test]
fn a_vip_whose_loss_nobody_tells_of_is_found_all_the_same() {
    let mut rig = Rig::three();
    told(&mut rig);
    rig.addresses.take_silently(VIP);
    rig.wait(11 * SECOND);
    assert_eq!(rig.addresses.list().len(), 1);
    assert_eq!(told(&mut rig), both(VIP));
}

#[test]
fn a_vip_that_is_taken_away_all_the_time_is_put_back_each_time_and_said_once_a_minute() {
    let mut rig = Rig::three();
    told(&mut rig);
    for _ in 0..50 {
        rig.addresses.take(VIP);
        rig.wait(SECOND);
        assert_eq!(rig.addresses.list().len(), 1);
    }
    assert_eq!(told(&mut rig), both(VIP));
    rig.wait(60 * SECOND);
    rig.addresses.take(VIP);
    rig.wait(SECOND);
    assert_eq!(told(&mut rig), both(VIP));
}

#[test]
fn a_vip_that_cannot_be_put_back_is_warned_of_until_it_can() {
    let mut rig = Rig::three();
    told(&mut rig);
    rig.addresses.refuse(Some(VIP));
    rig.addresses.take(VIP);
    rig.wait(5 * SECOND);
    let said = warnings(&mut rig);
    assert_eq!(said.len(), 1, "{said:?}");
    assert!(
        said[0].starts_with("the VIP 10.0.0.100 is not on this host"),
        "{said:?}"
    );
    rig.addresses.refuse(None);
    rig.wait(2 * SECOND);
    assert_eq!(rig.addresses.list().len(), 1);
    assert_eq!(told(&mut rig), both(VIP));
    assert_eq!(warnings(&mut rig), [""; 0]);
}

#[test]
fn a_vip_that_the_host_had_by_itself_becomes_ebbs_when_the_host_lets_it_go() {
    let mut rig = Rig::empty();
    rig.addresses.put("10.0.0.1", "eth0");
    rig.create(new_lb("a", "10.0.0.1", &[])).unwrap();
    assert!(rig.control.state().node.vips.is_empty());
    rig.addresses.take("10.0.0.1");
    rig.wait(SECOND);
    assert_eq!(rig.addresses.list().len(), 1);
    rig.delete("a", now()).unwrap();
    assert!(rig.addresses.list().is_empty());
}

#[test]
fn a_vip_that_nobody_wants_is_not_put_back() {
    let mut rig = Rig::three();
    rig.delete(LB, now()).unwrap();
    rig.addresses.take(VIP);
    rig.wait(60 * SECOND);
    assert!(rig.addresses.list().is_empty());
}

#[test]
fn an_agent_starts_before_its_interface_is_there_and_puts_the_vip_on_when_it_comes() {
    let mut rig = Rig::three();
    for knows_its_place in [true, false] {
        if !knows_its_place {
            rig.delete(LB, now()).unwrap();
        }
        rig.addresses.unplug(true);
        let file = r#"
            [[load_balancer]]
            name = "late"
            mode = "nat"
            listeners = [{ protocol = "tcp", address = "10.0.0.200", port = 80 }]
            "#;
        rig.restart((!knows_its_place).then_some(file));
        assert!(rig.addresses.list().is_empty());
        let said = warnings(&mut rig);
        assert_eq!(said.len(), 1, "{said:?}");
        rig.addresses.unplug(false);
        rig.wait(2 * SECOND);
        assert_eq!(rig.addresses.list().len(), 1);
        assert_eq!(warnings(&mut rig), [""; 0]);
    }
}

#[test]
fn a_vip_that_another_host_has_is_warned_of_with_its_mac_as_long_as_it_has_it() {
    let mut rig = Rig::three();
    told(&mut rig);
    rig.addresses.contest(VIP, Some("02:00:00:00:00:0b"));
    rig.wait(60 * SECOND);
    assert_eq!(told(&mut rig), [("vip_contested", VIP.to_owned())], "once");
    let said = warnings(&mut rig);
    assert_eq!(said.len(), 1, "{said:?}");
    assert!(said[0].contains("02:00:00:00:00:0b"), "{said:?}");
    rig.addresses.contest(VIP, None);
    rig.wait(SECOND);
    assert_eq!(warnings(&mut rig), [""; 0]);
}
