//! Flows as people and the control task want to see them.

use std::net::IpAddr;

use lb_common::{
    abi::{
        address::{Addr4, Addr6},
        flow::{Flow, FlowKey, NAT, RENEWS, REPLY, ticks},
    },
    tcp::{BACKEND_FIN, CLIENT_FIN, CLOSED, WAS_RESET},
    wire,
};

use super::{
    books,
    clock::{Tick, duration},
    maps::{Family, Maps},
    rules::{BackendRule, Rules},
    table::{BATCH, TableError, Walk},
    vips::protocol_of,
};
use crate::{
    dataplane::{FlowRecord, Ties},
    model::{BackendIndex, LbIndex, Protocol},
};

/// A handshake that began longer ago than this is not waited for.
const HANDSHAKE: u32 = ticks(3000);

/// How often the books are read until they stand still.
const LOOKS: usize = 5;

/// What still ties clients to a backend. When it says nothing, there was nothing
/// at the moment of the last look at the books.
pub(super) fn ties(maps: &Maps, rules: &Rules, backend: BackendIndex) -> Result<Ties, TableError> {
    let Some(rule) = rules.backend(backend) else {
        return Ok(Ties::default());
    };
    for _ in 0..LOOKS {
        let before = books::row(maps, backend)?;
        let flows = books::active(&before);
        if flows > 0 {
            return Ok(Ties {
                flows,
                handshakes: 0,
            });
        }
        let handshakes =
            handshakes::<Addr4>(maps, backend, rule) + handshakes::<Addr6>(maps, backend, rule);
        // A handshake that was finished meanwhile has left the half-open table
        // perhaps before it was looked at, but is in the books by now.
        let after = books::row(maps, backend)?;
        if (before.opened, before.closed) == (after.opened, after.closed) {
            return Ok(Ties {
                flows: 0,
                handshakes,
            });
        }
    }
    // Flows come and go at every look; nobody is waiting for the last one.
    Ok(Ties {
        flows: 1,
        handshakes: 0,
    })
}

fn handshakes<A: Family>(maps: &Maps, backend: BackendIndex, rule: &BackendRule) -> u64 {
    let now = Tick::now();
    let mut count = 0;
    A::maps(maps).half_open.each(|key, flow| {
        let is_handshake = flow.backend == backend
            && flow.state & (REPLY | RENEWS) == 0
            && flow.epoch == rule.epoch
            && key.protocol == u32::from(wire::TCP)
            && now.since(flow.born) < HANDSHAKE;
        count += u64::from(is_handshake);
    });
    count
}

/// At most `limit` open flows of a load balancer, or of one backend of it.
pub(super) fn records(
    maps: &Maps,
    rules: &Rules,
    lb: LbIndex,
    backend: Option<BackendIndex>,
    limit: usize,
) -> Result<Vec<FlowRecord>, TableError> {
    let mut records = Vec::new();
    let wanted = |index: BackendIndex| {
        backend.is_none_or(|b| b == index) && rules.backend(index).is_some_and(|r| r.lb == lb)
    };
    collect::<Addr4>(maps, lb, &wanted, limit, &mut records)?;
    collect::<Addr6>(maps, lb, &wanted, limit, &mut records)?;
    Ok(records)
}

fn collect<A: Family>(
    maps: &Maps,
    lb: LbIndex,
    wanted: &impl Fn(BackendIndex) -> bool,
    limit: usize,
    records: &mut Vec<FlowRecord>,
) -> Result<(), TableError> {
    let table = &A::maps(maps).flows;
    let mut walk = Walk::new(BATCH);
    while !walk.is_done() && records.len() < limit {
        for (key, flow) in table.read(&mut walk)? {
            if records.len() >= limit {
                break;
            }
            if flow.state & (REPLY | CLOSED) != 0 || !wanted(flow.backend) {
                continue;
            }
            let reply = reply_of(maps, key, flow)?;
            records.extend(record(key, flow, reply.as_ref(), lb, Tick::now()));
        }
    }
    Ok(())
}

fn reply_of<A: Family>(
    maps: &Maps,
    key: &FlowKey<A>,
    forward: &Flow<A>,
) -> Result<Option<Flow<A>>, TableError> {
    if forward.state & NAT == 0 {
        return Ok(None);
    }
    let backend = maps.backends.at(u32::from(forward.backend))?;
    A::maps(maps).flows.get(&FlowKey {
        source: A::from_words(backend.address),
        destination: forward.peer,
        ports: forward.ports.swapped(),
        protocol: key.protocol,
    })
}

fn record<A: Family>(
    key: &FlowKey<A>,
    forward: &Flow<A>,
    reply: Option<&Flow<A>>,
    lb: LbIndex,
    now: Tick,
) -> Option<FlowRecord> {
    let protocol = protocol_of(key.protocol)?;
    let client: IpAddr = key.source.into();
    let vip: IpAddr = key.destination.into();
    let idle = reply
        .map(|reply| now.since(reply.seen))
        .into_iter()
        .fold(now.since(forward.seen), u32::min);
    Some(FlowRecord {
        protocol,
        client: (client, key.ports.source()),
        vip: (vip, key.ports.destination()),
        lb,
        backend: forward.backend,
        state: state_name(protocol, forward.state),
        age: duration(now.since(forward.born)),
        idle: duration(idle),
        bytes: forward.bytes + reply.map_or(0, |reply| reply.bytes),
    })
}

/// What an open flow is doing, in a word.
fn state_name(protocol: Protocol, state: u32) -> &'static str {
    match protocol {
        Protocol::Tcp if state & (CLIENT_FIN | WAS_RESET) != 0 => "client closed",
        Protocol::Tcp if state & BACKEND_FIN != 0 => "backend closed",
        Protocol::Tcp | Protocol::Udp => "established",
    }
}

#[cfg(test)]
mod tests {
    use lb_common::abi::flow::Ports;

    use super::*;

    #[test]
    fn a_record_adds_up_both_directions() {
        let key = FlowKey {
            source: Addr4::from(std::net::Ipv4Addr::new(10, 0, 0, 2)),
            destination: Addr4::from(std::net::Ipv4Addr::new(10, 0, 0, 100)),
            ports: Ports::new(40_000, 80),
            protocol: u32::from(wire::TCP),
        };
        let now = Tick(100_000);
        let forward = Flow {
            state: NAT,
            backend: 7,
            seen: 90_000,
            born: 50_000,
            bytes: 100,
            ..Flow::default()
        };
        let reply = Flow {
            seen: 99_000,
            bytes: 9000,
            ..forward
        };
        let record = record(&key, &forward, Some(&reply), 3, now).unwrap();
        assert_eq!(record.bytes, 9100);
        assert_eq!(record.idle, duration(1000));
        assert_eq!(record.age, duration(50_000));
        assert_eq!(record.client, ("10.0.0.2".parse().unwrap(), 40_000));
        assert_eq!(record.vip, ("10.0.0.100".parse().unwrap(), 80));
        assert_eq!(record.state, "established");
    }
}
