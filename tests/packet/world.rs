//! The program with its maps filled, and nothing attached.

use std::{collections::BTreeMap, net::IpAddr};

use aya::{
    maps::{Array, HashMap, MapData},
    programs::{TestRun, TestRunOptions, TestRunResult},
};
use lb_common::{
    abi::{
        address::{Addr4, Addr6, Address, words_of},
        backend::{self, Backend, LoadBalancer, Slots},
        config::Settings,
        counter::{BackendCounters, Verdict},
        exit::{Exit, RouterKey},
        flow::{Flow, FlowKey},
        fragment::{FragmentKey, FragmentPorts},
        half_open::{Bucket, Way},
        rate::Rate,
    },
    maglev::{self, Member},
};

pub(crate) use lb_common::mode::Mode;
use tests::{filled::Room, hook::Hook};

use crate::{
    frame::{self, Mac, Seen, Segment},
    loaded::{self, Loaded},
};

/// XDP actions (`linux/bpf.h`).
pub(crate) const ABORTED: u32 = 0;
pub(crate) const DROP: u32 = 1;
pub(crate) const PASS: u32 = 2;
pub(crate) const TX: u32 = 3;
pub(crate) const REDIRECT: u32 = 4;

/// The size of `struct __sk_buff` (`linux/bpf.h`), and where in it the segments are said.
const SK_BUFF: usize = 192;
const GSO_SEGS: usize = 164;
const GSO_SIZE: usize = 176;

/// TC actions (`linux/pkt_cls.h`).
mod tc {
    pub(super) const UNSPEC: u32 = u32::MAX;
    pub(super) const SHOT: u32 = 2;
    pub(super) const REDIRECT: u32 = 7;
}

/// `BPF_PROG_TEST_RUN` has packets come in by the loopback device.
const IFINDEX: u32 = 1;
/// Another interface. Backends with an odd index are reached by it; in nat none is,
/// whose answers come in by the first one.
pub(crate) const OTHER_IFINDEX: u32 = 7;

pub(crate) const CLIENT_MAC: Mac = [2, 0, 0, 0, 0, 0xC1];
pub(crate) const OUR_MAC: Mac = [2, 0, 0, 0, 0, 0x0B];

/// The MAC address of a backend.
pub(crate) fn backend_mac(index: u16) -> Mac {
    let [a, b] = index.to_be_bytes();
    [2, 0, 0, 0xBE, a, b]
}

/// The VIPs of every world, by family.
pub(crate) const VIP4: &str = "10.0.0.100";
pub(crate) const VIP6: &str = "fd00::100";
/// The length of the Maglev tables here.
const SLOTS: usize = 251;
/// The listeners' port, and the backends'.
pub(crate) const PORT: u16 = 80;

pub(crate) struct World {
    filled: Loaded,
    pub(crate) mode: Mode,
    backends: u16,
    /// The interface that leads to each backend, by its index.
    led_by: BTreeMap<u16, u32>,
}

/// What became of a packet.
#[derive(Debug)]
pub(crate) struct Out {
    pub(crate) action: u32,
    pub(crate) frame: Vec<u8>,
}

impl Out {
    /// The packet as it left, with right checksums.
    pub(crate) fn seen(&self) -> Seen {
        frame::read(&self.frame)
    }

    pub(crate) fn segment(&self) -> Segment {
        self.seen().tcp.expect("a TCP segment")
    }
}

impl World {
    /// One load balancer with a TCP and a UDP listener on port 80 of each VIP,
    /// and `backends` backends in service: 10.0.1.1 and on, fd00:1::1 and on.
    pub(crate) fn new(mode: Mode, backends: u16) -> Self {
        // Small tables: some tests fill them up.
        Self::with_tables(mode, backends, 64, 1024)
    }

    /// As [`Self::new`], with so many established and half-open entries.
    pub(crate) fn with_tables(mode: Mode, backends: u16, flows: u32, half_open: u32) -> Self {
        assert!(
            lb_userspace::object::is_embedded(),
            "built without the kernel program: run `cargo xtask test`"
        );
        let interface = Exit {
            ifindex: IFINDEX,
            from: bytemuck::cast(OUR_MAC),
            mtu: 1500,
            ..Exit::default()
        };
        let room = Room { flows, half_open };
        let mut world = Self {
            filled: Loaded::get(room, interface),
            mode,
            backends,
            led_by: BTreeMap::new(),
        };
        world.fill();
        world
    }

    /// Backends in tunnels of one family, for VIPs of this or the other one.
    pub(crate) fn tunnels(inner_v6: bool, outer_v6: bool, backends: u16) -> Self {
        let mut world = Self::new(Mode::Ipip, backends);
        world.change_tunnel(inner_v6, outer_v6, |_| {});
        world
    }

    /// Changes the entries of the backends that [`Self::tunnels`] has.
    pub(crate) fn change_tunnel(
        &mut self,
        inner_v6: bool,
        outer_v6: bool,
        change: impl Fn(&mut Backend),
    ) {
        for backend in 0..self.backends {
            self.put_backend(backend, inner_v6, |b| {
                b.address = words_of(Self::backend_address(backend, outer_v6));
                b.source = words_of(Self::nat_source(outer_v6));
                b.flags &= !backend::V6;
                b.flags |= if outer_v6 { backend::V6 } else { 0 };
                change(b);
            });
        }
    }

    fn array<T: aya::Pod>(&mut self, name: &str) -> Array<&mut MapData, T> {
        self.filled.array(name).expect("an array")
    }

    fn hash<K: aya::Pod, V: aya::Pod>(&mut self, name: &str) -> HashMap<&mut MapData, K, V> {
        self.filled.hash(name).expect("a hash table")
    }

    fn fill(&mut self) {
        let entry = LoadBalancer {
            seed: 1,
            slots: SLOTS as u32,
            mode: self.mode.byte(),
            over_share: 0,
            keeps_source: 0,
            pad: 0,
            pools: Default::default(),
        };
        for (lb, vip) in [(0, VIP4), (1, VIP6)] {
            let vip: IpAddr = vip.parse().unwrap();
            let source = Self::nat_source(vip.is_ipv6());
            self.filled.serve(lb, entry, (vip, PORT), source).unwrap();
        }
        for index in 0..self.backends {
            for v6 in [false, true] {
                self.put_backend(index, v6, |_| {});
            }
        }
        self.swap_tables(|_| true);
    }

    /// Writes the settings, with this range of ports for nat.
    pub(crate) fn set_nat_ports(&mut self, first: u16, last: u16) {
        self.filled.set_nat_ports(first, last).unwrap();
    }

    /// The index of a backend: those of IPv6 begin at 100.
    pub(crate) fn index(backend: u16, v6: bool) -> u16 {
        if v6 { backend + 100 } else { backend }
    }

    pub(crate) fn nat_source(v6: bool) -> IpAddr {
        if v6 {
            "fd00:1::fe".parse().unwrap()
        } else {
            "10.0.1.254".parse().unwrap()
        }
    }

    pub(crate) fn backend_address(backend: u16, v6: bool) -> IpAddr {
        let n = backend + 1;
        if v6 {
            format!("fd00:1::{n:x}")
        } else {
            format!("10.0.1.{n}")
        }
        .parse()
        .unwrap()
    }

    /// Writes a backend's entry, changed by `change`.
    pub(crate) fn put_backend(
        &mut self,
        backend: u16,
        v6: bool,
        change: impl FnOnce(&mut Backend),
    ) {
        let index = Self::index(backend, v6);
        let mut entry = Backend {
            macs: backend::macs(backend_mac(index), OUR_MAC),
            ifindex: if backend.is_multiple_of(2) || self.mode == Mode::Nat {
                IFINDEX
            } else {
                OTHER_IFINDEX
            },
            epoch: 1,
            flags: backend::TAKES_NEW | backend::REACHABLE | if v6 { backend::V6 } else { 0 },
            address: words_of(Self::backend_address(backend, v6)),
            source: words_of(Self::nat_source(v6)),
            lb: u16::from(v6),
            mtu: 1500,
            mode: self.mode.byte(),
            class_kept: u8::MAX,
            class_added: 0,
            pad: 0,
        };
        change(&mut entry);
        self.led_by.insert(index, entry.ifindex);
        self.filled.put_backend(index, entry).unwrap();
    }

    /// Builds the Maglev tables of the backends that `in_service` names.
    pub(crate) fn swap_tables(&mut self, in_service: impl Fn(u16) -> bool) {
        for v6 in [false, true] {
            let mut slots = Slots([maglev::NO_BACKEND; backend::SLOTS_LEN]);
            slots.0[..SLOTS].copy_from_slice(&self.slots_of(v6, &in_service));
            self.filled.put_table(u16::from(v6), slots).unwrap();
        }
    }

    /// The Maglev table of a family with all backends in service.
    pub(crate) fn slots(&self, v6: bool) -> Vec<u16> {
        self.slots_of(v6, |_| true)
    }

    fn slots_of(&self, v6: bool, in_service: impl Fn(u16) -> bool) -> Vec<u16> {
        let mut members: Vec<_> = (0..self.backends)
            .filter(|b| in_service(*b))
            .map(|b| Member::new(Self::index(b, v6), &b.to_be_bytes(), 1, SLOTS))
            .collect();
        let mut slots = vec![0; SLOTS];
        maglev::populate(&mut members, &mut slots);
        slots
    }

    /// Changes the settings.
    pub(crate) fn set(&mut self, change: impl FnOnce(&mut Settings)) {
        let mut settings = self.array("SETTINGS");
        let mut now: Settings = settings.get(&0, 0).expect("readable settings");
        change(&mut now);
        settings.set(0, now, 0).expect("writable settings");
    }

    /// Changes the interface that packets come in by.
    pub(crate) fn set_interface(&mut self, change: impl FnOnce(&mut Exit)) {
        let mut interfaces = self.array("EXITS");
        let mut now: Exit = interfaces.get(&0, 0).expect("a readable table");
        change(&mut now);
        interfaces.set(0, now, 0).expect("a writable table");
    }

    /// Changes a way out to clients, by its number.
    pub(crate) fn set_exit(&mut self, number: u32, change: impl FnOnce(&mut Exit)) {
        let mut exits = self.array("EXITS");
        let mut now: Exit = exits.get(&number, 0).expect("a readable table");
        change(&mut now);
        exits.set(number, now, 0).expect("a writable table");
    }

    /// Says which way out belongs to a MAC address on the packets' interface.
    pub(crate) fn put_router(&mut self, mac: Mac, v6: bool, exit: u32) {
        let key = RouterKey {
            ifindex: IFINDEX,
            mac: bytemuck::cast(mac),
            v6: v6.into(),
        };
        let mut routers = self.hash("ROUTERS");
        routers.insert(key, exit, 0).expect("room");
    }

    /// Says which way out leads to addresses by the packets' interface.
    pub(crate) fn put_route(&mut self, to: IpAddr, len: u32, exit: u32) {
        let filled = &mut self.filled;
        match to {
            IpAddr::V4(to) => filled.put_route("ROUTES_V4", IFINDEX, Addr4::from(to), len, exit),
            IpAddr::V6(to) => filled.put_route("ROUTES_V6", IFINDEX, Addr6::from(to), len, exit),
        }
        .expect("room");
    }

    /// Says in which tables the load balancer of a family has more than its share.
    pub(crate) fn set_over_share(&mut self, v6: bool, over_share: u8) {
        let mut lbs = self.array("LBS");
        let index = u32::from(v6);
        let now: LoadBalancer = lbs.get(&index, 0).expect("a readable table");
        let row = LoadBalancer { over_share, ..now };
        lbs.set(index, row, 0).expect("a writable table");
    }

    /// As if nothing had been answered in this second.
    pub(crate) fn reset_rates(&mut self) {
        loaded::zero_per_cpu::<Rate>(&mut self.filled, "RATES");
    }

    /// Empties the tables of flows, their ports, and fragments, and forgets what was answered.
    pub(crate) fn clear(&mut self) {
        self.reset_rates();
        self.filled.forget_nat_ports().unwrap();
        let filled = &mut self.filled;
        loaded::remove_all::<FlowKey<Addr4>, Flow<Addr4>>(filled, "FLOWS_V4");
        loaded::remove_all::<FlowKey<Addr6>, Flow<Addr6>>(filled, "FLOWS_V6");
        loaded::zero::<Bucket<Addr4>>(filled, "HALF_V4");
        loaded::zero::<Bucket<Addr6>>(filled, "HALF_V6");
        loaded::remove_all::<FragmentKey<Addr4>, FragmentPorts>(filled, "FRAGMENTS_V4");
        loaded::remove_all::<FragmentKey<Addr6>, FragmentPorts>(filled, "FRAGMENTS_V6");
    }

    /// Makes room for one flow.
    pub(crate) fn forget_one_flow(&mut self, v6: bool) {
        if v6 {
            let key = self.flows6("FLOWS_V6")[0].0;
            self.hash::<_, Flow<Addr6>>("FLOWS_V6").remove(&key)
        } else {
            let key = self.flows4("FLOWS_V4")[0].0;
            self.hash::<_, Flow<Addr4>>("FLOWS_V4").remove(&key)
        }
        .expect("nobody else removes");
    }

    /// Runs the program on a frame that came from the client's side.
    pub(crate) fn run(&mut self, frame: &[u8]) -> Out {
        self.run_beside(frame)
    }

    /// Whether `BPF_PROG_TEST_RUN` makes of a frame what its hook would get. For TC it
    /// wants the whole IP header that the EtherType says is there, and it leaves a tag in
    /// the frame, which the kernel has laid beside it before TC.
    pub(crate) fn takes(frame: &[u8]) -> bool {
        let header = match frame.get(12..14) {
            Some([0x08, 0x00]) => 20,
            Some([0x86, 0xDD]) => 40,
            Some([0x81, 0x00] | [0x88, 0xA8]) => usize::MAX,
            _ => 1,
        };
        Hook::of_run() == Hook::Xdp || frame.len().saturating_sub(14) >= header
    }

    /// As [`Self::run`], while others run it too.
    pub(crate) fn run_beside(&self, frame: &[u8]) -> Out {
        match Hook::of_run() {
            Hook::Xdp => run(self.filled.program("ebb").expect("the program"), frame),
            Hook::Tc => self.run_at_tc(frame, None),
        }
    }

    /// Runs the program at TC, in a context if one is given.
    fn run_at_tc(&self, frame: &[u8], context: Option<&[u8]>) -> Out {
        let aborted = self.aborted();
        let program = self.filled.classifier().expect("the program");
        let out = run_in(program, frame, context);
        self.as_at_xdp(out, self.aborted() != aborted)
    }

    /// Whether another interface than the packets' own leads to the backend.
    fn is_elsewhere(&self, index: u16) -> bool {
        self.led_by
            .get(&index)
            .is_some_and(|ifindex| *ifindex != IFINDEX)
    }

    /// A TCP segment from the client's side that a device cuts later, into pieces of so
    /// many bytes (TC only).
    pub(crate) fn cut_later(&mut self, segment: Segment, piece: u32) -> Out {
        let frame = frame::tcp((CLIENT_MAC, OUR_MAC), segment);
        let mut context = [0; SK_BUFF];
        let pieces = segment.payload as u32 / piece + 1;
        context[GSO_SEGS..][..4].copy_from_slice(&pieces.to_ne_bytes());
        context[GSO_SIZE..][..4].copy_from_slice(&piece.to_ne_bytes());
        self.run_at_tc(&frame, Some(&context))
    }

    fn aborted(&self) -> u64 {
        self.filled.verdict(Verdict::DropInternal).unwrap()
    }

    /// What the program would have said at XDP: where TC has one action, XDP has two.
    fn as_at_xdp(&self, out: Out, aborted: bool) -> Out {
        let action = match out.action {
            tc::UNSPEC => PASS,
            tc::SHOT if aborted => ABORTED,
            tc::SHOT => DROP,
            tc::REDIRECT => match out.frame[..6] {
                [2, 0, 0, 0xBE, a, b] if self.is_elsewhere(u16::from_be_bytes([a, b])) => REDIRECT,
                _ => TX,
            },
            other => panic!("the action {other} of TC"),
        };
        Out { action, ..out }
    }

    /// A TCP segment from the client's side.
    pub(crate) fn tcp(&mut self, segment: Segment) -> Out {
        let frame = frame::tcp((CLIENT_MAC, OUR_MAC), segment);
        self.run(&frame)
    }

    /// The verdicts that were counted, by name, without zeros.
    pub(crate) fn verdicts(&mut self) -> BTreeMap<&'static str, u64> {
        Verdict::ALL
            .iter()
            .map(|verdict| (verdict.name(), self.filled.verdict(*verdict).unwrap()))
            .filter(|(_, count)| *count > 0)
            .collect()
    }

    /// The counters of a backend, over all CPUs.
    pub(crate) fn counters(&mut self, index: u16) -> BackendCounters {
        self.filled.counters(index).unwrap()
    }

    /// The entries of a flow table: `FLOWS_V4`, `HALF_V4`.
    pub(crate) fn flows4(&mut self, table: &str) -> Vec<(FlowKey<Addr4>, Flow<Addr4>)> {
        if table == "HALF_V4" {
            return entries(&self.array(table));
        }
        self.hash(table)
            .iter()
            .map(|e| e.expect("a readable table"))
            .collect()
    }

    /// As [`Self::flows4`], for IPv6.
    pub(crate) fn flows6(&mut self, table: &str) -> Vec<(FlowKey<Addr6>, Flow<Addr6>)> {
        if table == "HALF_V6" {
            return entries(&self.array(table));
        }
        self.hash(table)
            .iter()
            .map(|e| e.expect("a readable table"))
            .collect()
    }

    /// How many entries the established table of a family has.
    pub(crate) fn established(&mut self, v6: bool) -> usize {
        if v6 {
            self.flows6("FLOWS_V6").len()
        } else {
            self.flows4("FLOWS_V4").len()
        }
    }

    /// Everything that a failing test wants to see.
    pub(crate) fn state(&mut self) -> String {
        format!(
            "verdicts {:?}\nFLOWS_V4 {:#?}\nHALF_V4 {:#?}\nFLOWS_V6 {:#?}\nHALF_V6 {:#?}",
            self.verdicts(),
            self.flows4("FLOWS_V4"),
            self.flows4("HALF_V4"),
            self.flows6("FLOWS_V6"),
            self.flows6("HALF_V6"),
        )
    }
}

/// Runs a program on a frame.
pub(crate) fn run<P>(program: &P, frame: &[u8]) -> Out
where
    P: for<'a> TestRun<Opts<'a> = TestRunOptions<'a>, Result = TestRunResult>,
{
    run_in(program, frame, None)
}

/// As [`run`], in a context that says more than that the packet is there.
fn run_in<P>(program: &P, frame: &[u8], context: Option<&[u8]>) -> Out
where
    P: for<'a> TestRun<Opts<'a> = TestRunOptions<'a>, Result = TestRunResult>,
{
    let mut out = vec![0; frame.len() + 256];
    let mut options = TestRunOptions::new();
    options.data_in = Some(frame);
    options.data_out = Some(&mut out);
    options.ctx_in = context;
    let result = program
        .test_run(options)
        .expect("the kernel runs the program");
    let len = result.data_size_out as usize;
    out.truncate(len);
    Out {
        action: result.return_value,
        frame: out,
    }
}

/// What a table of half-open flows holds.
fn entries<A: Address>(buckets: &Array<&mut MapData, Bucket<A>>) -> Vec<(FlowKey<A>, Flow<A>)>
where
    Bucket<A>: aya::Pod,
{
    buckets
        .iter()
        .flat_map(|bucket| {
            let Bucket { marks, ways } = bucket.expect("a readable table");
            marks.into_iter().zip(ways)
        })
        .filter(|(mark, _)| mark.is_whole())
        .map(|(_, Way { key, flow })| (key, flow))
        .collect()
}
