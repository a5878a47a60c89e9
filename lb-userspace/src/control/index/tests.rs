use proptest::prelude::*;

use super::*;
use crate::{
    clock::{Now, Wall},
    control::{command::Command, edit::Draft},
    dataplane::Ties,
    model::{BackendSpec, LbSpec, Leave, Listeners, Mode, TableSizes},
    store::document,
};

/// Whatever may be asked of three load balancers at four addresses.
#[derive(Debug, Clone)]
enum Ask {
    Create(u8, u8),
    Delete(u8),
    AddListener(u8, u8, u16),
    RemoveListener(u8, u8, u16),
    Register(u8, u8),
    Deregister(u8, u8),
    Polled(u8, u8, u64),
    Forgotten(u16),
    Used(u8),
    /// That many minutes pass.
    Wait(i64),
}

fn ask() -> impl Strategy<Value = Ask> {
    let (lb, at) = (|| 0_u8..3, || 0_u8..4);
    prop_oneof![
        2 => (lb(), at()).prop_map(|(lb, at)| Ask::Create(lb, at)),
        1 => lb().prop_map(Ask::Delete),
        2 => (lb(), at(), 80_u16..82).prop_map(|(lb, at, port)| Ask::AddListener(lb, at, port)),
        2 => (lb(), at(), 80_u16..82).prop_map(|(lb, at, port)| Ask::RemoveListener(lb, at, port)),
        4 => (lb(), at()).prop_map(|(lb, at)| Ask::Register(lb, at)),
        3 => (lb(), at()).prop_map(|(lb, at)| Ask::Deregister(lb, at)),
        4 => (lb(), at(), 0_u64..2).prop_map(|(lb, at, flows)| Ask::Polled(lb, at, flows)),
        1 => (0_u16..6).prop_map(Ask::Forgotten),
        1 => lb().prop_map(Ask::Used),
        1 => (1_i64..50).prop_map(Ask::Wait),
    ]
}

fn name(lb: u8) -> LbName {
    LbName::try_from(format!("lb-{lb}")).unwrap()
}

fn address(at: u8) -> IpAddr {
    IpAddr::from([10, 0, 0, at])
}

fn id(at: u8) -> BackendId {
    BackendId::from(address(at))
}

fn key(at: u8, port: u16) -> ListenerKey {
    ListenerKey {
        protocol: Protocol::Tcp,
        address: address(at),
        port,
    }
}

fn command(ask: &Ask) -> Option<Command> {
    Some(match *ask {
        Ask::Create(lb, at) => {
            let spec = LbSpec {
                mode: Mode::Nat,
                listeners: Listeners::from([(key(at, 80), 80)]),
                backends: BTreeMap::new(),
                attributes: Default::default(),
                health_check: None,
            };
            Command::Create(name(lb), spec, serde_json::Value::Null)
        }
        Ask::Delete(lb) => Command::Delete(name(lb).into(), Leave::ByAttributes),
        Ask::AddListener(lb, at, port) => Command::AddListener(name(lb).into(), key(at, port), 80),
        Ask::RemoveListener(lb, at, port) => {
            Command::RemoveListener(name(lb).into(), key(at, port))
        }
        Ask::Register(lb, at) => {
            let weight = 1_i64.try_into().unwrap();
            let address = address(at);
            Command::Register(name(lb).into(), id(at), BackendSpec { address, weight })
        }
        Ask::Deregister(lb, at) => {
            Command::Deregister(name(lb).into(), id(at).into(), Leave::ByAttributes)
        }
        Ask::Polled(lb, at, flows) => {
            let handshakes = 0;
            Command::Polled(name(lb), id(at), Ties { flows, handshakes })
        }
        Ask::Forgotten(index) => Command::Forgotten(index),
        Ask::Used(lb) => Command::Used(name(lb), BTreeSet::new()),
        Ask::Wait(_) => return None,
    })
}

/// Every rule, checked over the whole state.
fn check_whole(state: &State) -> bool {
    let mut together = Together::default();
    let mut lbs = state.load_balancers();
    lbs.all(|(name, lb)| lb.check(name, &mut together).is_ok())
}

/// Both halves are of the same things, and no index is taken twice.
fn fits_together(state: &State) -> Result<(), TestCaseError> {
    let (desired, node) = (&state.desired, &state.node);
    prop_assert!(desired.load_balancers.keys().eq(node.load_balancers.keys()));
    let mut taken: Vec<BackendIndex> = node.retired.iter().copied().collect();
    for (name, lb) in state.load_balancers() {
        let ids = (lb.desired.backends.keys(), lb.node.backends.keys());
        prop_assert!(ids.0.eq(ids.1), "{name}");
        for (id, backend) in lb.backends() {
            prop_assert_eq!(backend.index.is_none(), backend.life.is_gone(), "{}", id);
            taken.extend(backend.index);
        }
    }
    let room = state.room(&TableSizes::default());
    prop_assert_eq!(room[1].used as usize, taken.len());
    taken.sort_unstable();
    taken.dedup();
    prop_assert_eq!(
        room[1].used as usize,
        taken.len(),
        "an index is taken twice"
    );
    let lbs: BTreeSet<_> = state.load_balancers().map(|(_, lb)| lb.index()).collect();
    prop_assert_eq!(lbs.len(), node.load_balancers.len());
    Ok(())
}

/// What comes back from the disk.
fn stored(state: &State) -> State {
    let documents = document::differing(&State::default(), state).unwrap();
    let there = documents.into_iter();
    document::assemble(there.map(|(key, text)| (key, text.unwrap()))).unwrap()
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    /// The index follows change by change to where it would be if it were made
    /// anew, and what is checked with its help is what a check of everything
    /// would find.
    #[test]
    fn it_is_always_that_of_the_state(asks in prop::collection::vec(ask(), 1..80)) {
        let mut state = State::default();
        let mut index = Index::default();
        let mut now = Now { moment: Moment(0), wall: Wall(0) };
        for ask in &asks {
            let mut draft = Draft::new(&state, now, TableSizes::default());
            match command(ask) {
                Some(command) if draft.make(command.clone()).is_err() => continue,
                Some(_) => {}
                None => {
                    if let Ask::Wait(minutes) = ask {
                        now.moment.0 += minutes * 60_000;
                    }
                    draft = Draft::new(&state, now, TableSizes::default());
                }
            }
            let whole = check_whole(draft.state());
            prop_assert_eq!(draft.check(&index).is_ok(), whole, "{:?}", ask);
            let Ok(ready) = draft.finish(&state, &index) else {
                prop_assert!(!whole);
                continue;
            };
            for (name, lb) in &state.desired.load_balancers {
                // Whoever did not change is shared.
                if !ready.changed().contains(name.as_str()) {
                    prop_assert_eq!(Some(lb), ready.state().desired.load_balancers.get(name));
                }
            }
            index.follow(ready.changed(), &state, ready.state());
            state = ready.state().clone();
            prop_assert_eq!(&index, &Index::of(&state));
            fits_together(&state)?;
            prop_assert_eq!(&stored(&state), &state);
        }
    }
}
