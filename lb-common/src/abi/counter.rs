//! The books: counters per backend and per verdict, on every CPU, that only go
//! up.

use super::plain::plain;

/// Of one backend. A forwarded packet is counted here and nowhere else.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[repr(C)]
pub struct BackendCounters {
    pub packets_in: u64,
    pub bytes_in: u64,
    pub packets_out: u64,
    pub bytes_out: u64,
    /// Flows that came into the table of established ones.
    pub opened: u64,
    /// Flows that ended there (a lingering entry is not a flow any more).
    pub closed: u64,
    /// Flows whose client has closed, where the backend's side is not seen
    /// (dsr, ipip); they end when they have been quiet for a moment.
    pub closing: u64,
    /// Packets that were forwarded without an entry in the table of established flows,
    /// for that is full (dsr, ipip). They are among [`Self::packets_in`].
    pub untracked: u64,
}
plain!(BackendCounters);
const _: () = assert!(size_of::<BackendCounters>() == 64);

macro_rules! verdicts {
    ($($(#[$doc:meta])* $variant:ident = $what:ident $name:literal,)*) => {
        /// What became of a packet that was not forwarded. Every packet is
        /// counted under exactly one of these, or by its backend.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        #[repr(u32)]
        pub enum Verdict { $($(#[$doc])* $variant,)* }

        impl Verdict {
            /// All of them, in the order of their numbers.
            pub const ALL: &[Self] = &[$(Self::$variant,)*];

            /// What happens to the packet.
            #[must_use]
            #[inline(always)]
            pub const fn what(self) -> What {
                match self { $(Self::$variant => What::$what,)* }
            }

            /// The name in metrics and in `ebb status`.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self { $(Self::$variant => $name,)* }
            }
        }
    };
}

/// What a verdict does to its packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum What {
    /// On to the host, byte for byte as it came.
    Pass,
    /// Gone.
    Drop,
    /// Gone, and the tracepoint `xdp:xdp_exception` says so: it should not have
    /// happened.
    Abort,
    /// Turned into the answer to itself, and sent back.
    Answer,
}

verdicts! {
    /// Not to a VIP and not from a backend to us, or in a frame to somebody else: passed,
    /// untouched.
    NotOurs = Pass "pass_not_ours",
    /// To a VIP, but to no listener of it: passed, untouched.
    NoListener = Pass "pass_no_listener",
    /// Shorter than its headers say, or with more headers than ebb reads, and not to a
    /// VIP: passed, untouched.
    Malformed = Pass "pass_malformed",
    /// An answer for the host itself on an address that nat uses: passed.
    NotAFlow = Pass "pass_no_flow",
    /// No backend in service: RST.
    ResetNoBackend = Answer "reset_no_backend",
    /// Not a SYN, and no flow knows it: RST.
    ResetNoFlow = Answer "reset_no_flow",
    /// A flow that was taken from its backend: RST.
    ResetDisowned = Answer "reset_disowned",
    /// The flow table is full: RST.
    ResetFull = Answer "reset_table_full",
    /// No nat port is free: RST.
    ResetNoPort = Answer "reset_no_nat_port",
    /// A stray RST or other packet that no answer is due to: dropped.
    DropNoFlow = Drop "drop_no_flow",
    /// No backend in service: ICMP port unreachable.
    UnreachableNoBackend = Answer "unreachable_no_backend",
    /// The flow table is full (UDP): ICMP port unreachable.
    UnreachableFull = Answer "unreachable_table_full",
    /// No nat port is free (UDP): ICMP port unreachable.
    UnreachableNoPort = Answer "unreachable_no_nat_port",
    /// Echo to a VIP, answered.
    Echo = Answer "echo_reply",
    /// Too big for the link to the backend: ICMP fragmentation needed, or
    /// packet too big.
    TooBig = Answer "icmp_too_big",
    /// An ICMP error says that a link to the backend is too narrow for the tunnel: told
    /// to the client, about the datagram inside.
    TunnelTooBig = Answer "icmp_tunnel_too_big",
    /// As the two above, but more than the rate limit: dropped.
    DropTooBig = Drop "drop_too_big",
    /// Its hops are used up: ICMP time exceeded.
    TimeExceeded = Answer "icmp_time_exceeded",
    /// A fragment whose first one was not seen: dropped.
    DropFragment = Drop "drop_unknown_fragment",
    /// An ICMP error about no flow that we know: passed to the host.
    IcmpNoFlow = Pass "pass_icmp_no_flow",
    /// The next hop to the backend, or the interface of the client, is not known:
    /// dropped.
    DropNoNextHop = Drop "drop_no_next_hop",
    /// Its hops are used up, and no answer is due to it, or more than the rate limit:
    /// dropped.
    DropTtl = Drop "drop_ttl_expired",
    /// From an address that nobody can have there, a VIP's or our own: dropped, for
    /// the answer would go nowhere, to everybody, or round in a circle.
    DropMartian = Drop "drop_martian_source",
    /// Has a VLAN tag and would leave by another interface than it came by, where
    /// the tag may mean something else: dropped.
    DropVlan = Drop "drop_vlan_tag",
    /// To a VIP, but its transport header cannot be found or is cut short: dropped, for
    /// the host might read further than ebb does.
    DropUnreadable = Drop "drop_unreadable",
    /// An answer was due, but there were too many of its kind just now: dropped.
    DropLimited = Drop "drop_answer_limited",
    /// An ICMP error that does not fit its flow, by the number in it, the side that it
    /// comes from, or an MTU that is too small: dropped.
    DropIcmp = Drop "drop_icmp_not_believed",
    /// An ICMP error about a tunnel, but not about length: nothing that a client could do
    /// anything about, and no flow's end: dropped.
    DropTunnel = Drop "drop_icmp_about_tunnel",
    /// Too big for the way to a client (nat): noted for that client, and not told to the
    /// backend, which would hold it against all clients: dropped.
    DropPathMtu = Drop "drop_path_mtu_noted",
    /// Sent on by XDP, and lost by the kernel or a driver behind it: the interface that it
    /// was for takes no frames from XDP, is down, or its queue is full. Counted besides
    /// what was counted when it was sent on.
    DropLost = Drop "drop_redirect_lost",
    /// Leaves by an interface that takes no frames from XDP: passed up to the program at
    /// TC. Counted besides the verdict that it gets there.
    PassUp = Pass "pass_up_to_tc",
    /// From this host itself, to a listener whose answers do not come by way of ebb (`dsr`,
    /// `ipip`): RST.
    ResetLocal = Answer "reset_local_client",
    /// As above (UDP): ICMP port unreachable.
    UnreachableLocal = Answer "unreachable_local_client",
    /// The kernel refused a helper call: dropped.
    DropInternal = Abort "drop_internal_error",
}

/// How many verdicts there are.
pub const VERDICTS: u32 = Verdict::ALL.len() as u32;
