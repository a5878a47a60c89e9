//! P10: who does not know a connection's sequence numbers can neither end, move,
//! hold up nor redirect it. Each test is an attack on an open flow, in every mode
//! and family in which it can be made; and beside it the honest packet that looks
//! most like it, which is believed.

use lb_common::abi::{backend::TAKES_NEW, counter::BackendCounters, flow::REPLY};
use lb_userspace::{
    control::plan::plan,
    dataplane::{BackendView, Change, Member, View},
};

use crate::{
    frame::{self, ACK, Ends, FIN, Icmp, Mac, PSH, RST, SYN, Segment, ends},
    world::{CLIENT_MAC, DROP, Mode, OTHER_IFINDEX, OUR_MAC, Out, VIP4, VIP6, World, backend_mac},
};

pub(crate) const MODES: [Mode; 3] = [Mode::Nat, Mode::Dsr, Mode::Ipip];
/// The next numbers of the client and of the backend, once a flow is open.
pub(crate) const CLIENT: u32 = 1001;
pub(crate) const BACKEND: u32 = 5001;
pub(crate) const STRANGERS_MAC: Mac = [2, 0, 0, 0, 0, 0xE1];

/// An open flow.
pub(crate) struct Victim {
    pub(crate) world: World,
    pub(crate) v6: bool,
    pub(crate) client: Ends,
    pub(crate) backend: u16,
    /// As the backend sees the client's packets (nat).
    pub(crate) at_backend: Ends,
}

/// An open flow in every mode and family.
pub(crate) fn victims() -> impl Iterator<Item = Victim> {
    MODES
        .into_iter()
        .flat_map(|mode| [false, true].map(|v6| Victim::open(mode, v6)))
}

pub(crate) fn client(v6: bool) -> Ends {
    if v6 {
        ends("[fd00::9]:40000", &format!("[{VIP6}]:80"))
    } else {
        ends("10.0.0.9:40000", &format!("{VIP4}:80"))
    }
}

pub(crate) fn segment(ends: Ends, flags: u8, seq: u32, ack: u32) -> Segment {
    Segment {
        ends,
        flags,
        seq,
        ack,
        payload: 0,
    }
}

impl Victim {
    pub(crate) fn open(mode: Mode, v6: bool) -> Self {
        Self::open_in(World::new(mode, 4), v6)
    }

    pub(crate) fn open_in(mut world: World, v6: bool) -> Self {
        let client = client(v6);
        let first = world.tcp(segment(client, SYN, CLIENT - 1, 0));
        let mut victim = Self {
            backend: backend_of(&first, v6),
            at_backend: first.seen().ends,
            world,
            v6,
            client,
        };
        victim.answer(SYN | ACK, BACKEND - 1, CLIENT);
        victim.client(ACK, CLIENT, BACKEND);
        assert_eq!(victim.counters().opened, 1, "{}", victim.world.state());
        victim
    }

    pub(crate) fn is_nat(&self) -> bool {
        self.world.mode == Mode::Nat
    }

    pub(crate) fn counters(&mut self) -> BackendCounters {
        let index = World::index(self.backend, self.v6);
        self.world.counters(index)
    }

    /// A packet with the client's tuple.
    pub(crate) fn client(&mut self, flags: u8, seq: u32, ack: u32) -> Out {
        self.world.tcp(segment(self.client, flags, seq, ack))
    }

    /// A packet with the backend's tuple, which only nat lets pass by ebb.
    pub(crate) fn answer(&mut self, flags: u8, seq: u32, ack: u32) {
        if self.is_nat() {
            let back = turned(self.at_backend);
            self.world.tcp(segment(back, flags, seq, ack));
        }
    }

    /// All that the tables know of the flow, by direction.
    pub(crate) fn facts(&mut self) -> Vec<(bool, String)> {
        let mut facts: Vec<_> = if self.v6 {
            let flows = self.world.flows6("FLOWS_V6").into_iter();
            flows
                .map(|(_, f)| (f.state & REPLY != 0, format!("{f:?}")))
                .collect()
        } else {
            let flows = self.world.flows4("FLOWS_V4").into_iter();
            flows
                .map(|(_, f)| (f.state & REPLY != 0, format!("{f:?}")))
                .collect()
        };
        facts.sort();
        facts
    }

    /// The number that each direction sends next, as ebb knows it.
    pub(crate) fn numbers(&mut self) -> (u32, Option<u32>) {
        let mut numbers = (0, None);
        let flows: Vec<_> = if self.v6 {
            let flows = self.world.flows6("FLOWS_V6").into_iter();
            flows.map(|(_, f)| (f.state & REPLY != 0, f.seq)).collect()
        } else {
            let flows = self.world.flows4("FLOWS_V4").into_iter();
            flows.map(|(_, f)| (f.state & REPLY != 0, f.seq)).collect()
        };
        for (reply, seq) in flows {
            if reply {
                numbers.1 = Some(seq);
            } else {
                numbers.0 = seq;
            }
        }
        numbers
    }

    /// The attack changes nothing of the flow, whose next packet goes as ever.
    #[track_caller]
    pub(crate) fn is_unmoved_by(&mut self, attack: impl FnOnce(&mut Self)) {
        let (mode, v6) = (self.world.mode, self.v6);
        let (facts, closed) = (self.facts(), self.counters().closed);
        attack(self);
        assert_eq!(self.facts(), facts, "{mode:?} IPv6 {v6}");
        assert_eq!(self.counters().closed, closed, "{mode:?} IPv6 {v6}");
        let next = self.client(ACK | PSH, CLIENT, BACKEND);
        assert_eq!(
            backend_of(&next, self.v6),
            self.backend,
            "{mode:?} IPv6 {v6}"
        );
        assert!(
            self.world.verdicts().is_empty(),
            "{:?}",
            self.world.verdicts()
        );
    }
}

pub(crate) fn turned(ends: Ends) -> Ends {
    Ends {
        from: ends.to,
        to: ends.from,
    }
}

/// The backend that a packet went to.
pub(crate) fn backend_of(out: &Out, v6: bool) -> u16 {
    let to = out.seen().macs.0;
    (0..4)
        .find(|b| backend_mac(World::index(*b, v6)) == to)
        .unwrap_or_else(|| panic!("went to no backend: {:?}", out.seen()))
}

/// Numbers that nobody has: spread evenly, none near the flow's.
fn guesses() -> impl Iterator<Item = (u32, u32)> {
    (1..16_u32).flat_map(|a| (1..16_u32).map(move |b| (CLIENT + (a << 28), BACKEND + (b << 28))))
}

#[test]
fn p10_made_up_numbers_are_forwarded_and_change_nothing() {
    for mut victim in victims() {
        victim.is_unmoved_by(|victim| {
            for (seq, ack) in guesses() {
                for flags in [ACK, FIN | ACK, RST, RST | ACK, SYN | ACK, SYN | FIN, 0] {
                    let before = victim.counters().packets_in;
                    victim.client(flags, seq, ack);
                    assert_eq!(
                        victim.counters().packets_in,
                        before + 1,
                        "its receiver answers"
                    );
                    victim.answer(flags, ack, seq);
                }
            }
        });
    }
}

#[test]
fn p10_an_acknowledgement_and_a_reset_with_the_same_number_do_not_end_a_flow() {
    for mut victim in victims() {
        victim.is_unmoved_by(|victim| {
            for seq in [0x1000_0000, 0x9000_0000] {
                victim.client(ACK, seq, seq);
                victim.client(RST, seq, 0);
                victim.answer(ACK, seq, seq);
                victim.answer(RST, seq, 0);
            }
        });
    }
}

#[test]
fn p10_a_fin_and_a_syn_with_made_up_numbers_do_not_move_a_flow() {
    for mut victim in victims() {
        // The table names another backend now.
        let first = victim.backend;
        victim.world.swap_tables(|backend| backend != first);
        victim.is_unmoved_by(|victim| {
            for (seq, ack) in guesses() {
                victim.client(FIN | ACK, seq, ack);
                let syn = victim.client(SYN, seq, 0);
                assert_eq!(backend_of(&syn, victim.v6), first);
                victim.client(ACK, seq.wrapping_add(77), ack);
            }
        });
    }
}

#[test]
fn p10_a_reset_counts_only_with_the_number_that_its_receiver_expects() {
    for mut victim in victims() {
        // In the window, and not exact: the receiver asks back.
        victim.is_unmoved_by(|victim| {
            for off in [1, 100, 65_000] {
                victim.client(RST, CLIENT + off, 0);
                victim.answer(RST, BACKEND + off, 0);
            }
        });
        victim.client(RST, CLIENT, 0);
        assert_eq!(victim.counters().closed, 1, "{}", victim.world.state());
    }
    let mut victim = Victim::open(Mode::Nat, false);
    victim.answer(RST, BACKEND, 0);
    assert_eq!(victim.counters().closed, 1, "the backend's, too");
}

#[test]
fn p3_a_reset_of_what_the_backend_has_acknowledged_counts_with_half_a_megabyte_in_flight() {
    for mut victim in victims() {
        let mut seq = CLIENT;
        while seq < CLIENT + (512 << 10) {
            victim.world.tcp(Segment {
                payload: 1400,
                ..segment(victim.client, ACK, seq, BACKEND)
            });
            seq += 1400;
        }
        victim.client(RST, CLIENT, 0);
        let counters = victim.counters();
        // Where the backend's acknowledgements are not seen a moment of silence
        // has to confirm it.
        let expected = if victim.is_nat() { (1, 0) } else { (0, 1) };
        assert_eq!((counters.closed, counters.closing), expected);
    }
}

#[test]
fn p10_another_mac_address_takes_the_answers_only_with_the_right_numbers() {
    for v6 in [false, true] {
        let mut victim = Victim::open(Mode::Nat, v6);
        let send = |victim: &mut Victim, seq, ack| {
            let frame = frame::tcp(
                (STRANGERS_MAC, OUR_MAC),
                segment(victim.client, ACK, seq, ack),
            );
            victim.world.run(&frame);
        };
        let answered = |victim: &mut Victim| {
            let back = turned(victim.at_backend);
            let out = victim.world.tcp(segment(back, ACK, BACKEND, CLIENT));
            out.seen().macs.0
        };
        for (seq, ack) in guesses() {
            send(&mut victim, seq, ack);
        }
        assert_eq!(answered(&mut victim), CLIENT_MAC);
        // The client's router was replaced.
        send(&mut victim, CLIENT, BACKEND);
        assert_eq!(answered(&mut victim), STRANGERS_MAC);
    }
}

#[test]
fn p10_what_comes_in_where_the_backend_is_not_is_not_its_answer() {
    for v6 in [false, true] {
        let mut victim = Victim::open(Mode::Nat, v6);
        let backend = victim.backend;
        // From now on the backend is behind another interface than the frames.
        victim
            .world
            .put_backend(backend, v6, |b| b.ifindex = OTHER_IFINDEX);
        victim.is_unmoved_by(|victim| {
            victim.answer(ACK | PSH, BACKEND, CLIENT);
            victim.answer(FIN | ACK, BACKEND, CLIENT);
            victim.answer(RST, BACKEND, 0);
        });
    }
}

#[test]
fn p10_a_vlan_tag_is_not_carried_to_another_interface() {
    for mode in MODES {
        for v6 in [false, true] {
            let mut world = World::new(mode, 1);
            world.put_backend(0, v6, |b| b.ifindex = OTHER_IFINDEX);
            let frame = frame::tcp((CLIENT_MAC, OUR_MAC), segment(client(v6), SYN, 7, 0));
            let out = world.run(&frame::tagged(&frame, &[[0x81, 0, 0, 7]]));
            if mode == Mode::Ipip {
                // The tunnel begins without it.
                assert_ne!(out.frame[12..14], [0x81, 0]);
            } else {
                assert_eq!(out.action, DROP);
                assert_eq!(world.verdicts(), [("drop_vlan_tag", 1)].into());
            }
        }
    }
}

#[test]
fn p4_a_client_that_comes_back_on_its_port_has_its_new_numbers_followed() {
    // Half a number space ahead, and behind.
    for start in [0x7000_0000_u32, 0xF000_0000] {
        for mut victim in victims() {
            victim.client(SYN, start, 0);
            victim.answer(SYN | ACK, 77, start + 1);
            victim.client(ACK, start + 1, 78);
            victim.world.tcp(Segment {
                payload: 100,
                ..segment(victim.client, ACK | PSH, start + 1, 78)
            });
            let expected = (start + 101, victim.is_nat().then_some(78));
            assert_eq!(victim.numbers(), expected, "{}", victim.world.state());
            assert_eq!(victim.counters().opened, 1);
            victim.client(RST, start + 101, 0);
            assert_eq!(victim.counters().closed, 1);
        }
    }
}

#[test]
fn p10_a_syn_on_an_open_flow_changes_no_number_unless_it_is_answered() {
    for v6 in [false, true] {
        let mut victim = Victim::open(Mode::Nat, v6);
        victim.is_unmoved_by(|victim| {
            victim.client(SYN, 0x7000_0000, 0);
            // The next packet of a handshake that nobody has answered; and answers
            // to other SYNs.
            victim.client(ACK, 0x7000_0001, 78);
            victim.answer(SYN | ACK, 77, 0x7000_0002);
            victim.answer(SYN | ACK, 77, 0x6FFF_FFFF);
        });
    }
}

#[test]
fn p10_a_handshake_is_ended_by_nobody_who_does_not_know_its_number() {
    for v6 in [false, true] {
        let mut world = World::new(Mode::Nat, 4);
        let client = client(v6);
        let at_backend = world.tcp(segment(client, SYN, CLIENT - 1, 0)).seen().ends;
        let back = turned(at_backend);
        for (seq, ack) in guesses() {
            world.tcp(segment(client, RST, seq, 0));
            world.tcp(segment(back, RST | ACK, 0, seq));
            world.tcp(segment(back, SYN | ACK, ack, seq));
        }
        world.tcp(segment(back, SYN | ACK, BACKEND - 1, CLIENT));
        for (seq, _) in guesses() {
            world.tcp(segment(client, RST, seq, 0));
            world.tcp(segment(back, RST, seq, 0));
        }
        let ack = world.tcp(segment(client, ACK, CLIENT, BACKEND));
        assert_eq!(ack.seen().ends, at_backend);
        assert_eq!(world.established(v6), 2, "{}", world.state());
        assert!(world.verdicts().is_empty(), "{:?}", world.verdicts());
    }
}

/// A half-open flow whose backend has left since, and that backend.
fn abandoned(mode: Mode, v6: bool) -> (World, Ends, u16) {
    let mut world = World::new(mode, 4);
    let first = world.tcp(segment(client(v6), SYN, CLIENT - 1, 0));
    let backend = backend_of(&first, v6);
    (world, first.seen().ends, backend)
}

fn leaves(world: &mut World, v6: bool, backend: u16) {
    world.put_backend(backend, v6, |b| b.flags &= !TAKES_NEW);
    world.swap_tables(|b| b != backend);
}

#[test]
fn p1_a_syn_on_an_abandoned_handshake_is_admitted_anew() {
    for mode in MODES {
        for v6 in [false, true] {
            for seq in [CLIENT - 1, 77, CLIENT + (1 << 30)] {
                let (mut world, _, backend) = abandoned(mode, v6);
                leaves(&mut world, v6, backend);
                let syn = world.tcp(segment(client(v6), SYN, seq, 0));
                assert_ne!(backend_of(&syn, v6), backend, "{mode:?} {seq}");
            }
        }
    }
}

#[test]
fn p1_an_answered_handshake_goes_on_with_the_same_syn_and_not_with_another() {
    for v6 in [false, true] {
        let (mut world, at_backend, backend) = abandoned(Mode::Nat, v6);
        world.tcp(segment(turned(at_backend), SYN | ACK, BACKEND - 1, CLIENT));
        leaves(&mut world, v6, backend);
        let same = world.tcp(segment(client(v6), SYN, CLIENT - 1, 0));
        assert_eq!(same.seen().ends, at_backend);
        let other = world.tcp(segment(client(v6), SYN, 77, 0));
        assert_ne!(backend_of(&other, v6), backend);
    }
}

#[test]
fn another_syn_while_nobody_has_answered_is_the_handshake_from_then_on() {
    for v6 in [false, true] {
        let (mut world, at_backend, _) = abandoned(Mode::Nat, v6);
        // The first was lost on its way to the backend, and the client gave up.
        for seq in [CLIENT - 1 + (1 << 31), 77] {
            let out = world.tcp(segment(client(v6), SYN, seq, 0));
            assert_eq!(out.seen().ends, at_backend);
        }
        world.tcp(segment(turned(at_backend), SYN | ACK, BACKEND - 1, 78));
        world.tcp(segment(client(v6), ACK, 78, BACKEND));
        assert_eq!(world.established(v6), 2, "{}", world.state());
    }
}

/// A load balancer of sixteen, of which these are in service.
fn view(in_service: impl Fn(u16) -> bool) -> View {
    let mut view = View::default();
    let mut members = Vec::new();
    for index in 0..16 {
        let backend = BackendView {
            index,
            epoch: 1,
            lb: 0,
            address: World::backend_address(index, false),
            takes_new: in_service(index),
            fails: false,
        };
        view.backends.insert(index, backend);
        members.push(Member {
            backend: index,
            id: index.to_string(),
            weight: 1,
            in_service: in_service(index),
        });
    }
    view.tables.insert(0, members);
    view
}

#[test]
fn no_syn_is_refused_at_any_moment_while_fifteen_of_sixteen_leave_or_come_back() {
    let (all, one) = (view(|_| true), view(|index| index == 7));
    for v6 in [false, true] {
        let mut world = World::with_tables(Mode::Dsr, 16, 64, 65_536);
        let mut ports = 1024..;
        for changes in [plan(&all, &one), plan(&one, &all)] {
            for change in changes {
                match change {
                    Change::PutBackend(backend) => world.put_backend(backend.index, v6, |b| {
                        if !backend.takes_new {
                            b.flags &= !TAKES_NEW;
                        }
                    }),
                    Change::PutTable(_, members) => {
                        world.swap_tables(|index| members[usize::from(index)].in_service);
                    }
                    other => panic!("nothing else changes: {other:?}"),
                }
                for port in ports.by_ref().take(300) {
                    let mut ends = client(v6);
                    ends.from.set_port(port);
                    world.tcp(segment(ends, SYN, 7, 0));
                }
                assert!(world.verdicts().is_empty(), "{:?}", world.verdicts());
            }
        }
    }
}

#[test]
fn what_nobody_can_have_sent_is_dropped_and_answered_to_nobody() {
    for mode in MODES {
        for v6 in [false, true] {
            let mut world = World::new(mode, 4);
            let vip = client(v6).to;
            let own = [vip.ip(), World::nat_source(v6)];
            let strange: &[&str] = if v6 {
                &["::", "::1", "ff02::1", "::ffff:10.0.0.9"]
            } else {
                &["0.0.0.0", "127.0.0.1", "224.0.0.1", "255.255.255.255"]
            };
            let strange = strange.iter().map(|a| a.parse().unwrap());
            let mut sent = 0;
            for source in strange.chain(own) {
                // From port 80 to port 80: were it answered, it would go on for ever.
                let ends = Ends {
                    from: (source, 80).into(),
                    to: vip,
                };
                let macs = (CLIENT_MAC, OUR_MAC);
                let echo = Icmp {
                    kind: if v6 { 128 } else { 8 },
                    code: 0,
                    rest: [1; 4],
                    payload: vec![0; 8],
                };
                for frame in [
                    frame::tcp(macs, segment(ends, SYN, 7, 0)),
                    frame::tcp(macs, segment(ends, ACK, 7, 7)),
                    frame::udp(macs, ends, b"again"),
                    frame::icmp(macs, source, vip.ip(), &echo),
                ] {
                    assert_eq!(world.run(&frame).action, DROP, "from {source}");
                    sent += 1;
                }
            }
            assert_eq!(world.verdicts(), [("drop_martian_source", sent)].into());
        }
    }
}
