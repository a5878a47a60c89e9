use std::{net::IpAddr, sync::Arc, time::Duration};

use proptest::prelude::*;

use super::*;
use crate::{
    dataplane::{Dataplane, LbView, ListenerView, Member, memory::World},
    model::{ListenerKey, Mode, NatSource, Protocol},
};

fn listener(lb: u16, port: u16, backend_port: u16) -> ListenerView {
    ListenerView {
        key: ListenerKey {
            protocol: Protocol::Tcp,
            address: IpAddr::from([10, 0, 0, 100]),
            port,
        },
        lb,
        backend_port,
    }
}

/// A view as control could make it: backend `i` is always of load balancer
/// `i % 3`.
fn view() -> impl Strategy<Value = View> {
    let lbs = prop::collection::btree_map(0_u16..3, 1_u64..3, 0..3);
    let backends = prop::collection::btree_map(0_u16..9, (any::<bool>(), 1_u32..3, 1_u16..3), 0..9);
    let listeners = prop::collection::btree_map(1_u16..6, (0_u16..3, 80_u16..82), 0..5);
    (lbs, backends, listeners).prop_map(|(lbs, backends, listeners)| {
        let mut view = View::default();
        for (index, seconds) in lbs {
            let lb = LbView {
                index,
                name: format!("lb-{index}"),
                mode: Mode::Nat,
                idle_timeout: Duration::from_secs(seconds),
                close_rate: 0,
                nat_source: NatSource::Ebb,
            };
            view.lbs.insert(index, lb);
            view.tables.insert(index, Vec::new());
        }
        for (index, (takes_new, epoch, weight)) in backends {
            let lb = index % 3;
            let Some(table) = view.tables.get_mut(&lb) else {
                continue;
            };
            let [_, last] = index.to_be_bytes();
            view.backends.insert(
                index,
                BackendView {
                    index,
                    epoch,
                    lb,
                    address: IpAddr::from([10, 0, 1, last]),
                    takes_new,
                    fails: false,
                },
            );
            table.push(Member {
                backend: index,
                id: format!("b-{index}"),
                weight,
                in_service: takes_new,
            });
        }
        for (port, (lb, backend_port)) in listeners {
            if view.lbs.contains_key(&lb) {
                let listener = listener(lb, port, backend_port);
                view.listeners.insert(listener.key, listener);
            }
        }
        view
    })
}

/// Where a change stands in the order that the module promises.
fn rank(change: &Change) -> u8 {
    match change {
        Change::RemoveListener(_) => 0,
        Change::PutLb(_) => 1,
        Change::PutBackend(backend) if backend.takes_new => 2,
        Change::PutTable(..) => 3,
        Change::PutBackend(_) => 4,
        Change::PutListener(_) => 5,
        Change::Disown { .. } => 6,
        Change::RemoveBackend(_) => 7,
        Change::RemoveLb(_) => 8,
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn applying_the_plan_gives_the_new_view(old in view(), mut new in view()) {
        for (index, after) in &mut new.backends {
            if let Some(before) = old.backends.get(index) {
                after.epoch = after.epoch.max(before.epoch);
            }
        }
        let world = World::new(Arc::new(|_| ()));
        let mut dataplane = world.dataplane();
        dataplane.reconcile(&old).unwrap();

        let changes = plan(&old, &new);
        dataplane.apply(&changes).unwrap();
        prop_assert_eq!(world.view(), new.clone());
        prop_assert_eq!(plan(&new, &new), vec![], "nothing to do twice");

        // Known backends only: a new one that takes no flows stops none.
        let known = |change: &&Change| match change {
            Change::PutBackend(backend) => old.backends.contains_key(&backend.index),
            _ => true,
        };
        prop_assert!(
            changes.iter().filter(known).map(rank).is_sorted(),
            "{:?}", changes
        );
    }
}

#[test]
fn the_table_lets_go_of_a_backend_before_it_ends_to_take_new_flows() {
    let mut old = View::default();
    old.tables.insert(0, Vec::new());
    let backend = BackendView {
        index: 4,
        epoch: 1,
        lb: 0,
        address: IpAddr::from([10, 0, 1, 4]),
        takes_new: true,
        fails: false,
    };
    let member = Member {
        backend: 4,
        id: "web-1".to_owned(),
        weight: 1,
        in_service: true,
    };
    old.backends.insert(4, backend.clone());
    old.tables.insert(0, vec![member]);
    let mut new = old.clone();
    new.backends.insert(
        4,
        BackendView {
            takes_new: false,
            epoch: 2,
            ..backend.clone()
        },
    );
    new.tables.insert(0, Vec::new());

    assert_eq!(
        plan(&old, &new),
        [
            Change::PutTable(0, Vec::new()),
            Change::PutBackend(BackendView {
                takes_new: false,
                ..backend
            }),
            Change::Disown {
                backend: 4,
                epoch: 2
            },
        ]
    );
}
