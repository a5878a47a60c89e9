//! What the data plane is to know of a state. Pure.

use crate::{
    dataplane::{BackendView, LbView, ListenerView, Member, View},
    model::LbName,
    state::{Lb, State},
};

/// Everything that the kernel should know.
#[must_use]
pub fn whole(state: &State) -> View {
    let mut view = View::default();
    for (name, lb) in state.load_balancers() {
        add(&mut view, name, lb);
    }
    view
}

/// What it should know of these load balancers.
#[must_use]
pub fn of<'a>(state: &State, names: impl IntoIterator<Item = &'a LbName>) -> View {
    let mut view = View::default();
    for name in names {
        if let Some((name, lb)) = state.find(name.as_str()) {
            add(&mut view, name, lb);
        }
    }
    view
}

fn add(view: &mut View, name: &LbName, lb: Lb<'_>) {
    let index = lb.index();
    view.lbs.insert(
        index,
        LbView {
            index,
            name: name.to_string(),
            mode: lb.mode,
            idle_timeout: lb.attributes.idle_timeout.duration(),
            close_rate: lb.attributes.close_rate,
            nat_source: lb.attributes.nat_source,
        },
    );
    for (key, backend_port) in &lb.listeners {
        view.listeners.insert(
            *key,
            ListenerView {
                key: *key,
                lb: index,
                backend_port: *backend_port,
            },
        );
    }
    let mut members = Vec::new();
    for (id, backend) in lb.backends() {
        let Some(index) = backend.index else {
            continue;
        };
        view.backends.insert(
            index,
            BackendView {
                index,
                epoch: backend.life.epoch(),
                lb: lb.index(),
                address: backend.address,
                takes_new: backend.takes_new(),
                fails: backend.fails(),
            },
        );
        // Until it is gone: whoever leaves the table for good moves slots of others.
        if !backend.life.is_gone() {
            members.push(Member {
                backend: index,
                id: id.to_string(),
                weight: backend.weight.get(),
                in_service: backend.takes_new(),
            });
        }
    }
    view.tables.insert(index, members);
}
