//! The paths that are measured, each with the proof that it is that path.

use anyhow::{Result, ensure};
use lb_common::abi::{
    address::Addr4,
    counter::Verdict,
    flow::{Flow, FlowKey},
};

use crate::{
    balancer::{self, BACKEND_MAC, Balancer, CLIENT_MAC, OUR_MAC, PASS, Service, TX},
    frame::{self, ACK, Ends, SYN},
    front::{Front, Fronts, Job, rotated},
    report::Goal,
};

/// How many flows the rotation has.
pub(crate) const MILLION: u32 = 1_000_000;
/// Room for them in the baseline's table, and in ebb's when that is full.
pub(crate) const ROOM: u32 = 1 << 20;
/// The room that the documentation advises: twice the flows.
pub(crate) const AMPLE_ROOM: u32 = 2 * ROOM;
/// New flows come round only after the table of half-open ones has long
/// forgotten them.
pub(crate) const NEW: u32 = 1 << 24;

/// Which tables it needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Tables {
    Hot,
    /// A million flows, and room for as many again.
    Million,
    /// A million flows, and hardly room for more.
    Full,
}

/// Where its packets are counted.
#[derive(Debug, Clone, Copy)]
enum Counted {
    In(Service),
    Out(Service),
    Under(Verdict),
}

/// The packet of a path as the balancer of the first generation gets it: the same, or the
/// nearest that it can have.
pub(crate) struct Rival {
    pub(crate) front: Front,
    pub(crate) frame: Vec<u8>,
}

/// One way through the program.
pub(crate) struct Path {
    pub(crate) name: &'static str,
    pub(crate) tables: Tables,
    pub(crate) goal: Option<Goal>,
    /// What the balancer of the first generation gets.
    pub(crate) rival: Rival,
    pub(crate) front: Front,
    pub(crate) action: u32,
    pub(crate) frame: Vec<u8>,
    counted: Counted,
}

impl Path {
    pub(crate) fn job<'a>(&'a self, balancer: &'a Balancer) -> Result<Job<'a>> {
        Ok(Job {
            program: balancer.program()?,
            front: self.front,
            frame: &self.frame,
        })
    }

    /// How many packets went this way so far.
    pub(crate) fn count(&self, balancer: &Balancer) -> Result<u64> {
        Ok(match self.counted {
            Counted::In(service) => balancer.counters(service)?.packets_in,
            Counted::Out(service) => balancer.counters(service)?.packets_out,
            Counted::Under(verdict) => balancer.verdict(verdict)?,
        })
    }
}

/// The paths with few flows; establishes those that they need.
pub(crate) fn hot(balancer: &Balancer) -> Result<Vec<Path>> {
    const HIT: Option<Goal> = Some(Goal::OfForerunner(0.75));
    let mut paths = Vec::new();
    for (name, service, front) in [
        ("v4-tcp-hit-dsr", Service::Dsr, Front::Hops),
        ("v4-tcp-hit-ipip", Service::Ipip, Front::Tunnel),
        ("v4-tcp-hit-nat", Service::Nat, Front::Nat),
        ("v4-tcp-hit-nat-reply", Service::Nat, Front::Nat),
        ("v6-tcp-hit-ipip", Service::Ipip6, Front::Tunnel),
    ] {
        let client = service.client();
        balancer.connect(client, service == Service::Nat)?;
        let frame = frame::tcp(client, ACK, 1001, 5001)?;
        let rival = Rival::of(service, &frame);
        let reply = name.ends_with("reply");
        paths.push(Path {
            name,
            tables: Tables::Hot,
            goal: HIT,
            rival,
            front,
            action: TX,
            frame: if reply {
                let answer = balancer::answer(&balancer.run(&frame)?)?;
                frame::tcp(answer, ACK, 5001, 1011)?
            } else {
                frame
            },
            counted: if reply {
                Counted::Out(service)
            } else {
                Counted::In(service)
            },
        });
    }
    let frame = converse(balancer, Service::Ipip.client())?;
    paths.push(Path {
        name: "v4-udp-hit-ipip",
        tables: Tables::Hot,
        goal: HIT,
        rival: Rival::of(Service::Ipip, &frame),
        front: Front::Tunnel,
        action: TX,
        frame,
        counted: Counted::In(Service::Ipip),
    });
    let stranger = Ends {
        to: "198.51.100.7:80".parse()?,
        ..Service::Dsr.client()
    };
    let frame = frame::tcp(stranger, ACK, 1001, 5001)?;
    paths.push(Path {
        name: "not-ours",
        tables: Tables::Hot,
        goal: HIT,
        rival: Rival::of(Service::Dsr, &frame),
        front: Front::None,
        action: PASS,
        frame,
        counted: Counted::Under(Verdict::NotOurs),
    });
    // The table of half-open flows is full: every SYN evicts another. In nat all ports are
    // bound besides: every SYN takes another's.
    for (name, service, front) in [
        ("v4-tcp-new-dsr", Service::Dsr, Front::Rotate { flows: NEW }),
        (
            "v4-tcp-new-nat",
            Service::Nat,
            Front::RotateNat { flows: NEW },
        ),
    ] {
        let frame = frame::tcp(service.client(), SYN, 1000, 0)?;
        paths.push(Path {
            name,
            tables: Tables::Hot,
            goal: HIT.filter(|_| service == Service::Dsr),
            rival: Rival {
                front: Front::Rotate { flows: NEW },
                frame: frame.clone(),
            },
            front,
            action: TX,
            frame,
            counted: Counted::In(service),
        });
    }
    Ok(paths)
}

impl Rival {
    /// A packet of one flow, which is made new where the service has a tunnel.
    fn of(service: Service, frame: &[u8]) -> Self {
        Self {
            front: if service.tunnels() {
                Front::Tunnel
            } else {
                Front::None
            },
            frame: frame.to_vec(),
        }
    }
}

/// A UDP conversation that has gone on for long enough to count as established.
fn converse(balancer: &Balancer, client: Ends) -> Result<Vec<u8>> {
    let frame = frame::udp(client)?;
    let before = balancer.counters(Service::Ipip)?.opened;
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(10);
    while balancer.counters(Service::Ipip)?.opened == before {
        ensure!(
            std::time::Instant::now() < deadline,
            "a UDP conversation is not established after 10 s"
        );
        balancer.run(&frame)?;
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
    Ok(frame)
}

/// The path with a million flows in rotation; fills the table with them, in
/// this order.
pub(crate) fn million(balancer: &mut Balancer, order: &[u32], tables: Tables) -> Result<Path> {
    let client = Service::Ipip.client();
    balancer.connect(client, false)?;
    let mut table = balancer
        .filled
        .hash::<FlowKey<Addr4>, Flow<Addr4>>("FLOWS_V4")?;
    let (key, flow) = table
        .iter()
        .next()
        .transpose()?
        .ok_or_else(|| anyhow::anyhow!("a handshake did not establish a flow"))?;
    table.remove(&key)?;
    for n in order {
        table.insert(rotated(*n, key.destination, client.to.port()), flow, 0)?;
    }
    let (name, goal) = if tables == Tables::Full {
        ("v4-tcp-million-flows-ipip-full-table", None)
    } else {
        ("v4-tcp-million-flows-ipip", Some(Goal::OfForerunner(0.8)))
    };
    let front = Front::Rotate { flows: MILLION };
    let frame = frame::tcp(client, ACK, 1001, 5001)?;
    Ok(Path {
        name,
        tables,
        goal,
        rival: Rival {
            front,
            frame: frame.clone(),
        },
        front,
        action: TX,
        frame,
        counted: Counted::In(Service::Ipip),
    })
}

/// Runs it a few times, and looks at what comes out: the same as after one run,
/// right for its forwarding mode, and counted where it must be.
pub(crate) fn prove(path: &Path, balancer: &mut Balancer, fronts: &mut Fronts) -> Result<()> {
    const RUNS: u32 = 1000;
    let before = path.count(balancer)?;
    let first = fronts.run(path.job(balancer)?, 1)?;
    let (action, out) = fronts.run(path.job(balancer)?, RUNS)?;
    let counted = path.count(balancer)? - before;
    ensure!(
        action == path.action && first.0 == action,
        "the action is {} and then {action} instead of {}: {:?}",
        first.0,
        path.action,
        balancer.verdicts()?
    );
    ensure!(
        counted == u64::from(RUNS) + 1,
        "{counted} packets of {} went this way",
        RUNS + 1
    );
    let rotates = matches!(path.front, Front::Rotate { .. } | Front::RotateNat { .. });
    ensure!(
        rotates || first.1 == out,
        "the packet was not made new: {:02x?} became {out:02x?}",
        first.1
    );
    let sent = &path.frame;
    match path.counted {
        Counted::Under(_) => ensure!(out == *sent, "the packet was changed"),
        Counted::In(Service::Dsr) => {
            ensure!(out[..12] == [BACKEND_MAC, OUR_MAC].concat(), "wrong MACs");
            ensure!(
                rotates || out[12..] == frame::one_hop_later(sent)?[12..],
                "more was changed"
            );
        }
        Counted::In(Service::Nat) => {
            let ends = if rotates {
                frame::ends_of_rotated(&out)?
            } else {
                frame::ends_of_tcp4(&out)?
            };
            ensure!(
                ends.to == Service::Nat.backend() && ends.macs == (OUR_MAC, BACKEND_MAC),
                "sent to {ends:?}"
            );
        }
        Counted::Out(_) => {
            let ends = frame::ends_of_tcp4(&out)?;
            let client = Service::Nat.client();
            ensure!(
                (ends.from, ends.to, ends.macs) == (client.to, client.from, (OUR_MAC, CLIENT_MAC)),
                "answered {ends:?}"
            );
        }
        Counted::In(service @ (Service::Ipip | Service::Ipip6)) => {
            let outer = if service == Service::Ipip { 20 } else { 40 };
            ensure!(out.len() == sent.len() + outer, "no outer header");
            ensure!(
                rotates || out[14 + outer..] == frame::one_hop_later(sent)?[14..],
                "the packet inside was changed"
            );
        }
    }
    Ok(())
}
