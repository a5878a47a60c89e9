//! What only TC has: segments that a device cuts later. (Unfinished checksums cannot be
//! made by `BPF_PROG_TEST_RUN`; the network tests have them, with every packet.)

use lb_common::mode::Mode;
use tests::hook::Hook;

use crate::{
    frame::{ACK, PSH},
    hostile::{BACKEND, CLIENT, Victim, segment, turned},
    world::{REDIRECT, TX},
};

/// What one segment may carry on a link of 1,500 bytes, and a little more.
const FITS: u32 = 1440;
const TOO_MUCH: u32 = 1461;
/// The payload of all of them, and how many they are.
const WHOLE: usize = 3000;
const SEGMENTS: u64 = 3;

/// nat and dsr; the kernel wants to know more of a packet that it puts a tunnel's header
/// before than a test run can say.
const MODES: [Mode; 2] = [Mode::Nat, Mode::Dsr];

#[test]
fn a_segment_that_is_cut_later_goes_through_whole_and_counts_as_on_the_wire() {
    if Hook::of_run() == Hook::Xdp {
        return;
    }
    for mode in MODES {
        for v6 in [false, true] {
            let mut victim = Victim::open(mode, v6);
            let before = victim.counters();
            let mut sent = segment(victim.client, ACK | PSH, CLIENT, BACKEND);
            sent.payload = WHOLE;
            let out = victim.world.cut_later(sent, FITS);
            assert!(
                [TX, REDIRECT].contains(&out.action),
                "{mode:?} IPv6 {v6}: {:?}",
                victim.world.verdicts()
            );
            assert_eq!(out.segment().payload, WHOLE, "{mode:?} IPv6 {v6}");
            // As on the wire: every segment has headers of its own.
            let headers = if v6 { 60 } else { 40 };
            let after = victim.counters();
            assert_eq!(after.packets_in - before.packets_in, SEGMENTS);
            assert_eq!(
                after.bytes_in - before.bytes_in,
                WHOLE as u64 + SEGMENTS * headers
            );
            assert_eq!(victim.numbers().0, CLIENT + WHOLE as u32);
        }
    }
}

#[test]
fn a_segment_whose_parts_do_not_fit_the_link_is_answered() {
    if Hook::of_run() == Hook::Xdp {
        return;
    }
    for mode in MODES {
        for v6 in [false, true] {
            let mut victim = Victim::open(mode, v6);
            let mut sent = segment(victim.client, ACK | PSH, CLIENT, BACKEND);
            sent.payload = WHOLE;
            let out = victim.world.cut_later(sent, TOO_MUCH);
            let error = out.seen().icmp.expect("an ICMP error");
            let expected = if v6 { (2, 0) } else { (3, 4) };
            assert_eq!((error.kind, error.code), expected, "{mode:?} IPv6 {v6}");
        }
    }
}

#[test]
fn an_answer_of_nat_that_is_cut_later_goes_back_whole() {
    if Hook::of_run() == Hook::Xdp {
        return;
    }
    for v6 in [false, true] {
        let mut victim = Victim::open(Mode::Nat, v6);
        let mut sent = segment(turned(victim.at_backend), ACK | PSH, BACKEND, CLIENT);
        sent.payload = WHOLE;
        let out = victim.world.cut_later(sent, FITS);
        assert_eq!(out.action, TX, "IPv6 {v6}: {:?}", victim.world.verdicts());
        assert_eq!(out.segment().ends, turned(victim.client));
        assert_eq!(out.segment().payload, WHOLE);
    }
}
