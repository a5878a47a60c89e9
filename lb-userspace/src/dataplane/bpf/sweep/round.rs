//! One walk through all flow tables: looks at every entry, takes out what has
//! ended, and notes what the entries that stay still name.
//!
//! The half-open tables come first: a flow that moves on to the established ones
//! during the round is met there, if not here. So when a round is over, a
//! backend that could get no new flows since before it began and was not met is
//! named nowhere.

use std::{
    collections::{BTreeSet, HashSet},
    net::IpAddr,
    sync::Arc,
    time::Instant,
};

use lb_common::{
    abi::{
        address::{Addr4, Addr6},
        flow::{Flow, FlowKey, HALF_OPEN_TICKS, KEEPS_SOURCE, NAT, REPLY},
    },
    tcp::CLOSED,
};

use super::{
    super::{
        clock::Tick,
        maps::{AnyKey, Family, Maps},
        rules::{BackendRule, Board, Rules},
        shared::Crowd,
        table::{TableError, Walk},
        vips::{ListenerId, protocol_of},
    },
    closer::{Closer, Farewell, entries, same},
    decide::{Decision, Facts, Stage, decide},
    ports::Met,
};
use crate::{
    dataplane::NatTarget,
    model::{BackendIndex, Protocol},
};

pub(super) struct Round {
    pub(super) number: u64,
    pub(super) began: Instant,
    /// As the rules were then.
    pub(super) rules: Arc<Rules>,
    /// Jobs wait for its end: it does not spare the CPU.
    pub(super) urgent: bool,
    /// How full the established tables, IPv4 and IPv6, were when it began.
    crowds: [Crowd; 2],
    /// Rows of nat ports of which many were in use then.
    short_of_ports: BTreeSet<u32>,
    half_v4: Walk<FlowKey<Addr4>, Flow<Addr4>>,
    half_v6: Walk<FlowKey<Addr6>, Flow<Addr6>>,
    flows_v4: Walk<FlowKey<Addr4>, Flow<Addr4>>,
    flows_v6: Walk<FlowKey<Addr6>, Flow<Addr6>>,
    pub(super) tally: Tally,
}

/// What a round has met.
#[derive(Debug, Default)]
pub(super) struct Tally {
    /// Open flows by backend, of those that stay, IPv4 and IPv6.
    open: Vec<[u64; 2]>,
    /// Backends that an entry names.
    named: Vec<bool>,
    listeners: BTreeSet<ListenerId>,
    nat_sources: HashSet<IpAddr>,
    /// Entries of the established tables, IPv4 and IPv6.
    pub(super) established: [u64; 2],
    pub(super) ports: Met,
    /// What the last entry named: most entries name the same.
    last: Option<(ListenerId, IpAddr)>,
}

/// Entries per slice: so many are looked at between two looks at what else there
/// is to do.
const SLICE: usize = super::super::table::BATCH;

impl Round {
    pub(super) fn new(
        number: u64,
        rules: Arc<Rules>,
        urgent: bool,
        crowds: [Crowd; 2],
        short_of_ports: BTreeSet<u32>,
    ) -> Self {
        Self {
            short_of_ports,
            number,
            began: Instant::now(),
            rules,
            urgent,
            crowds,
            half_v4: Walk::new(SLICE),
            half_v6: Walk::new(SLICE),
            flows_v4: Walk::new(SLICE),
            flows_v6: Walk::new(SLICE),
            tally: Tally::default(),
        }
    }

    /// Looks at some more entries; true when that were the last.
    pub(super) fn slice(&mut self, closer: &mut Closer, board: &Board) -> Result<bool, TableError> {
        use Stage::{Established, HalfOpen};
        let tally = &mut self.tally;
        let crowds = (self.crowds, &self.short_of_ports);
        if !self.half_v4.is_done() {
            slice(HalfOpen, crowds, &mut self.half_v4, closer, board, tally)?;
        } else if !self.half_v6.is_done() {
            slice(HalfOpen, crowds, &mut self.half_v6, closer, board, tally)?;
        } else if !self.flows_v4.is_done() {
            slice(
                Established,
                crowds,
                &mut self.flows_v4,
                closer,
                board,
                tally,
            )?;
        } else if !self.flows_v6.is_done() {
            slice(
                Established,
                crowds,
                &mut self.flows_v6,
                closer,
                board,
                tally,
            )?;
        }
        closer.hand_over();
        Ok(self.flows_v6.is_done())
    }
}

fn slice<A: Family>(
    stage: Stage,
    (crowds, short_of_ports): ([Crowd; 2], &BTreeSet<u32>),
    walk: &mut Walk<FlowKey<A>, Flow<A>>,
    closer: &mut Closer,
    board: &Board,
    tally: &mut Tally,
) -> Result<(), TableError> {
    let maps = Arc::clone(closer.maps());
    entries::<A>(&maps, stage).read(walk)?;
    // The rules and the time after the entries: an entry that is newer than the
    // rules by which it is judged would look as if it were disowned.
    let Some(rules) = board.latest() else {
        return Ok(());
    };
    let now = Tick::now();
    for (key, flow) in walk.batch() {
        let mut visit = Visit {
            stage,
            crowd: crowds[usize::from(A::V6)],
            short_of_ports,
            now,
            rules: &rules,
            closer,
            tally,
        };
        visit.entry(key, flow)?;
    }
    Ok(())
}

struct Visit<'v> {
    stage: Stage,
    crowd: Crowd,
    short_of_ports: &'v BTreeSet<u32>,
    now: Tick,
    rules: &'v Rules,
    closer: &'v mut Closer,
    tally: &'v mut Tally,
}

impl Visit<'_> {
    fn entry<A: Family>(&mut self, key: &FlowKey<A>, flow: &Flow<A>) -> Result<(), TableError> {
        if self.stage == Stage::Established {
            self.tally.established[usize::from(A::V6)] += 1;
        }
        let stays = if flow.state & REPLY != 0 {
            self.reply(key, flow)?
        } else {
            self.forward(key, flow)?
        };
        if stays {
            self.tally.name(flow);
            if flow.state & (REPLY | KEEPS_SOURCE) == REPLY
                && let Some(protocol) = protocol_of(key.protocol)
            {
                let port = self.closer.maps().nat_ports.of(key);
                let target = NatTarget {
                    backend: flow.backend,
                    source: key.destination.into(),
                    address: key.source.into(),
                    port: key.ports.source(),
                    protocol,
                };
                self.tally.ports.meet(port, target);
            }
        }
        Ok(())
    }

    /// True if the entry stays.
    fn forward<A: Family>(&mut self, key: &FlowKey<A>, flow: &Flow<A>) -> Result<bool, TableError> {
        let (Some(protocol), Some(rule)) =
            (protocol_of(key.protocol), self.rules.backend(flow.backend))
        else {
            // Of a backend that nobody knows.
            self.closer.close(self.stage, key, flow, Farewell::Reset)?;
            return Ok(false);
        };
        let disowned = self.is_disowned(flow, rule)?;
        let mut facts = Facts {
            stage: self.stage,
            protocol,
            state: flow.state,
            silent: self.now.since(flow.seen),
            disowned,
            draining: !rule.takes_new,
            ends_udp: rule.ends_udp,
            short_of_ports: self.is_short_of_ports(key, flow)?,
            crowd: self.crowd,
            is_more_than_a_handshake: flow.is_more_than_a_handshake(),
        };
        let mut flow = *flow;
        let mut decision = decide(&facts, &rule.timers);
        if decision != Decision::Keep && !disowned {
            // A packet may have come since the batch was read, or the other
            // direction may not be silent at all.
            let Some(fresh) = entries::<A>(self.closer.maps(), self.stage).get(key)? else {
                return Ok(false);
            };
            if !same(&fresh, &flow) {
                return Ok(true);
            }
            facts.state = fresh.state;
            facts.is_more_than_a_handshake = fresh.is_more_than_a_handshake();
            facts.silent = self.silence(key, &fresh)?;
            flow = fresh;
            decision = decide(&facts, &rule.timers);
        }
        match decision {
            Decision::Keep => {
                let open = self.stage == Stage::Established && flow.state & CLOSED == 0;
                if open {
                    self.tally.count(flow.backend, A::V6);
                }
                Ok(true)
            }
            Decision::Settle => {
                self.closer.settle(key, &flow)?;
                Ok(true)
            }
            Decision::Forget => {
                self.closer
                    .close(self.stage, key, &flow, Farewell::Silent)?;
                Ok(false)
            }
            Decision::Reset => {
                self.closer.close(self.stage, key, &flow, Farewell::Reset)?;
                Ok(false)
            }
        }
    }

    /// A reply entry goes with its forward entry; here are only those looked for
    /// that have lost it. True if the entry stays.
    fn reply<A: Family>(&mut self, key: &FlowKey<A>, reply: &Flow<A>) -> Result<bool, TableError> {
        let limit = match (self.stage, self.rules.backend(reply.backend)) {
            (_, None) => 0,
            (_, Some(rule)) if rule.retired => 0,
            (Stage::HalfOpen, Some(_)) => HALF_OPEN_TICKS,
            (Stage::Established, Some(rule)) => rule.timers.idle.max(rule.timers.udp_replied),
        };
        if self.now.since(reply.seen) < limit {
            return Ok(true);
        }
        let forward_key = self.closer.forward_key(key, reply)?;
        // In the order in which a flow moves.
        for stage in [Stage::HalfOpen, Stage::Established] {
            let forward = entries::<A>(self.closer.maps(), stage).get(&forward_key)?;
            if forward.is_some_and(|forward| same(&forward, reply)) {
                return Ok(true);
            }
        }
        self.closer.delete_orphan(self.stage, key, reply)?;
        Ok(false)
    }

    /// Only of what has ended, or has not begun, is it asked.
    fn is_short_of_ports<A: Family>(
        &mut self,
        key: &FlowKey<A>,
        flow: &Flow<A>,
    ) -> Result<bool, TableError> {
        let may_go = self.stage == Stage::HalfOpen || flow.state & CLOSED != 0;
        let has_port = flow.state & (NAT | KEEPS_SOURCE) == NAT;
        if self.short_of_ports.is_empty() || !has_port || !may_go {
            return Ok(false);
        }
        let row = self.closer.port_of(key, flow)?.row;
        Ok(self.short_of_ports.contains(&row))
    }

    fn is_disowned<A: Family>(
        &self,
        flow: &Flow<A>,
        rule: &BackendRule,
    ) -> Result<bool, TableError> {
        if rule.retired && flow.state & CLOSED == 0 {
            return Ok(true);
        }
        // The rules follow the kernel by a moment, so the last word is the
        // kernel's.
        Ok(flow.epoch != rule.epoch && flow.epoch != self.closer.epoch(flow.backend)?)
    }

    /// How long neither direction was heard.
    fn silence<A: Family>(
        &mut self,
        key: &FlowKey<A>,
        forward: &Flow<A>,
    ) -> Result<u32, TableError> {
        let now = Tick::now();
        let silent = now.since(forward.seen);
        if forward.state & NAT == 0 {
            return Ok(silent);
        }
        let reply = self.closer.reply_of(self.stage, key, forward)?;
        Ok(reply.map_or(silent, |reply| silent.min(now.since(reply.seen))))
    }
}

impl Tally {
    fn count(&mut self, backend: BackendIndex, v6: bool) {
        let index = usize::from(backend);
        if self.open.len() <= index {
            self.open.resize(index + 1, [0; 2]);
        }
        self.open[index][usize::from(v6)] += 1;
    }

    fn name<A: Family>(&mut self, flow: &Flow<A>) {
        let index = usize::from(flow.backend);
        if self.named.len() <= index {
            self.named.resize(index + 1, false);
        }
        self.named[index] = true;
        if flow.state & REPLY != 0 {
            // Its forward entry names the same.
            return;
        }
        let listener = ListenerId {
            v6: A::V6,
            index: flow.listener,
        };
        let source: IpAddr = flow.peer.into();
        if self.last != Some((listener, source)) {
            self.last = Some((listener, source));
            self.listeners.insert(listener);
            if flow.state & NAT != 0 {
                self.nat_sources.insert(source);
            }
        }
    }

    /// Open flows of a backend.
    pub(super) fn open(&self, backend: BackendIndex) -> u64 {
        self.open_by_family(backend).iter().sum()
    }

    /// As above, IPv4 and IPv6.
    pub(super) fn open_by_family(&self, backend: BackendIndex) -> [u64; 2] {
        let open = self.open.get(usize::from(backend));
        open.copied().unwrap_or_default()
    }

    #[cfg(test)]
    pub(super) fn set_open(&mut self, backend: BackendIndex, open: [u64; 2]) {
        let index = usize::from(backend);
        self.open.resize(self.open.len().max(index + 1), [0; 2]);
        self.open[index] = open;
    }

    pub(super) fn names(&self, backend: BackendIndex) -> bool {
        self.named.get(usize::from(backend)) == Some(&true)
    }

    pub(super) fn listeners(&self) -> &BTreeSet<ListenerId> {
        &self.listeners
    }

    pub(super) fn nat_sources(&self) -> BTreeSet<IpAddr> {
        self.nat_sources.iter().copied().collect()
    }
}

/// Calls `visit` with the key and the entry of every open flow, of either
/// family, as its client's tuple names it.
pub(super) fn each_open(
    maps: &Maps,
    mut visit: impl FnMut(AnyKey, BackendIndex, Protocol, u32),
) -> Result<(), TableError> {
    each_open_of::<Addr4>(maps, &mut visit)?;
    each_open_of::<Addr6>(maps, &mut visit)
}

fn each_open_of<A: Family>(
    maps: &Maps,
    visit: &mut impl FnMut(AnyKey, BackendIndex, Protocol, u32),
) -> Result<(), TableError> {
    A::maps(maps).flows.each(|key, flow| {
        if flow.state & (REPLY | CLOSED) == 0
            && let Some(protocol) = protocol_of(key.protocol)
        {
            visit(A::any(*key), flow.backend, protocol, flow.state);
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_tally_knows_what_entries_name() {
        let mut tally = Tally::default();
        let flow = Flow::<Addr4> {
            backend: 7,
            listener: 3,
            state: NAT,
            peer: Addr4(0x0101_010A),
            ..Flow::default()
        };
        tally.name(&flow);
        tally.count(7, false);
        tally.count(7, true);
        assert!(tally.names(7) && !tally.names(6) && !tally.names(800));
        assert_eq!((tally.open(7), tally.open(8)), (2, 0));
        let listener = ListenerId {
            v6: false,
            index: 3,
        };
        assert!(tally.listeners().contains(&listener));
        assert_eq!(
            tally.nat_sources(),
            BTreeSet::from(["10.1.1.1".parse().unwrap()])
        );
    }
}
