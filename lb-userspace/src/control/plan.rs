//! From the old view and the new one to the changes that lead there. Pure.
//!
//! The order is a promise. First comes everything that ends new flows (P1), so
//! that a slow step after it, like the build of a table, cannot delay it; then
//! what new flows need, before the listener that lets them in; forced closes;
//! and last what nothing refers to any more.

use crate::dataplane::{BackendView, Change, View};

/// The changes that turn `old` into `new`. Both come from the control task,
/// where an index never changes its backend while it is in a view, and an
/// epoch only goes up.
#[must_use]
pub fn plan(old: &View, new: &View) -> Vec<Change> {
    let mut changes = Vec::new();

    // No new flows: a single write each.
    for (index, after) in &new.backends {
        if let Some(before) = old.backends.get(index)
            && before.takes_new
            && !after.takes_new
        {
            changes.push(Change::PutBackend(BackendView {
                epoch: before.epoch,
                ..after.clone()
            }));
        }
    }
    for key in old.listeners.keys() {
        if !new.listeners.contains_key(key) {
            changes.push(Change::RemoveListener(*key));
        }
    }

    // What new flows need.
    for (index, after) in &new.lbs {
        if old.lbs.get(index) != Some(after) {
            changes.push(Change::PutLb(after.clone()));
        }
    }
    for (index, after) in &new.backends {
        match old.backends.get(index) {
            None => changes.push(Change::PutBackend(after.clone())),
            Some(before) if !before.takes_new && after.takes_new => {
                changes.push(Change::PutBackend(BackendView {
                    epoch: before.epoch,
                    ..after.clone()
                }));
            }
            Some(_) => {}
        }
    }
    for (index, members) in &new.tables {
        if old.tables.get(index) != Some(members) {
            changes.push(Change::PutTable(*index, members.clone()));
        }
    }
    for (key, after) in &new.listeners {
        if old.listeners.get(key) != Some(after) {
            changes.push(Change::PutListener(after.clone()));
        }
    }

    // Forced closes.
    for (index, after) in &new.backends {
        if let Some(before) = old.backends.get(index)
            && before.epoch != after.epoch
        {
            changes.push(Change::Disown {
                backend: *index,
                epoch: after.epoch,
            });
        }
    }

    // What nothing refers to any more.
    for index in old.backends.keys() {
        if !new.backends.contains_key(index) {
            changes.push(Change::RemoveBackend(*index));
        }
    }
    for index in old.lbs.keys() {
        if !new.lbs.contains_key(index) {
            changes.push(Change::RemoveLb(*index));
        }
    }
    changes
}

#[cfg(test)]
mod tests {
    use std::{net::IpAddr, sync::Arc, time::Duration};

    use proptest::prelude::*;

    use super::*;
    use crate::dataplane::{
        Dataplane, LbView, ListenerKey, ListenerView, Member, Mode, Protocol, memory::World,
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
        let backends =
            prop::collection::btree_map(0_u16..9, (any::<bool>(), 1_u32..3, 1_u16..3), 0..9);
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
            Change::PutBackend(backend) if !backend.takes_new => 0,
            Change::RemoveListener(_) => 1,
            Change::PutLb(_) => 2,
            Change::PutBackend(_) => 3,
            Change::PutTable(..) => 4,
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
    fn p1_no_new_flow_comes_before_the_table_is_built() {
        let mut old = View::default();
        old.tables.insert(0, Vec::new());
        let backend = BackendView {
            index: 4,
            epoch: 1,
            lb: 0,
            address: IpAddr::from([10, 0, 1, 4]),
            takes_new: true,
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
                Change::PutBackend(BackendView {
                    takes_new: false,
                    ..backend
                }),
                Change::PutTable(0, Vec::new()),
                Change::Disown {
                    backend: 4,
                    epoch: 2
                },
            ]
        );
    }
}
