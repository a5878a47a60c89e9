//! ebb's program, attached to nothing, with one load balancer of each kind and
//! one backend in each.

use std::{
    collections::BTreeMap,
    net::{IpAddr, SocketAddr},
};

use anyhow::{Result, ensure};
use aya::programs::{TestRun as _, TestRunOptions, Xdp};
use lb_common::{
    abi::{
        address::words_of,
        backend::{self, Backend, LoadBalancer, Slots},
        counter::{BackendCounters, Verdict},
        exit::Exit,
    },
    maglev,
    mode::Mode,
};
use tests::{
    filled::{Filled, Room},
    hook::Hook,
};

use crate::{
    frame::{self, ACK, Ends, Mac, SYN},
    yardstick,
};

/// XDP actions (`linux/bpf.h`).
pub(crate) const PASS: u32 = 2;
pub(crate) const TX: u32 = 3;

/// The half-open flows of each family that there is room for, as by default.
const HALF_OPEN: u32 = 65_536;

/// Where a test run has packets come in by that says nothing else.
pub(crate) const LOOPBACK: u32 = 1;

pub(crate) const CLIENT_MAC: Mac = [2, 0, 0, 0, 0, 0xC1];
pub(crate) const OUR_MAC: Mac = [2, 0, 0, 0, 0, 0x0B];
pub(crate) const BACKEND_MAC: Mac = [2, 0, 0, 0, 0xBE, 1];

/// The load balancers; the number is also that of the backend.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Service {
    Nat,
    Dsr,
    Ipip,
    /// IPv6 in IPv6.
    Ipip6,
}

impl Service {
    pub(crate) const ALL: [Self; 4] = [Self::Nat, Self::Dsr, Self::Ipip, Self::Ipip6];

    pub(crate) const fn index(self) -> u16 {
        self as u16
    }

    const fn mode(self) -> Mode {
        match self {
            Self::Nat => Mode::Nat,
            Self::Dsr => Mode::Dsr,
            Self::Ipip | Self::Ipip6 => Mode::Ipip,
        }
    }

    /// Whether its backend is reached by a tunnel.
    pub(crate) const fn tunnels(self) -> bool {
        matches!(self.mode(), Mode::Ipip)
    }

    fn address(self, v4: [u8; 3], v6: u16) -> IpAddr {
        let n = self.index() as u8 + 1;
        match self {
            Self::Ipip6 => IpAddr::from([0xFD00, v6, 0, 0, 0, 0, 0, u16::from(n)]),
            _ => IpAddr::from([v4[0], v4[1], v4[2], n]),
        }
    }

    /// Where clients connect to.
    pub(crate) fn vip(self) -> SocketAddr {
        SocketAddr::new(self.address([10, 0, 0], 0), 80)
    }

    pub(crate) fn backend(self) -> SocketAddr {
        SocketAddr::new(self.address([10, 0, 1], 1), 80)
    }

    /// The address that backends see: of nat, or of a tunnel's outer header.
    pub(crate) fn source(self) -> IpAddr {
        self.address([10, 99, 0], 99)
    }

    /// The packets of a client of this load balancer.
    pub(crate) fn client(self) -> Ends {
        Ends {
            macs: (CLIENT_MAC, OUR_MAC),
            from: SocketAddr::new(self.address([192, 0, 2], 2), 40_000),
            to: self.vip(),
        }
    }
}

pub(crate) struct Balancer {
    pub(crate) filled: Filled,
    /// The interface that packets come in by and leave by.
    ifindex: u32,
}

impl Balancer {
    /// Loads the program with room for `flows` established flows of each family.
    pub(crate) fn load(flows: u32, ifindex: u32) -> Result<Self> {
        let interface = Exit {
            ifindex,
            from: bytemuck::cast(OUR_MAC),
            mtu: 1500,
            ..Exit::default()
        };
        let room = Room {
            flows,
            half_open: HALF_OPEN,
        };
        let filled = Filled::load(&yardstick::built("ebb-bpf")?, Hook::Xdp, room, interface)?;
        let mut balancer = Self { filled, ifindex };
        for service in Service::ALL {
            balancer.serve(service)?;
        }
        Ok(balancer)
    }

    pub(crate) fn program(&self) -> Result<&Xdp> {
        self.filled.program("ebb")
    }

    pub(crate) fn program_mut(&mut self) -> Result<&mut Xdp> {
        self.filled.program_mut("ebb")
    }

    /// One load balancer: TCP and UDP on a port of its VIP, and a backend.
    fn serve(&mut self, service: Service) -> Result<()> {
        let lb = service.index();
        let entry = LoadBalancer {
            seed: 1,
            slots: maglev::MAX_SLOTS as u32,
            mode: service.mode().byte(),
            over_share: 0,
            keeps_source: 0,
            pad: 0,
            pools: Default::default(),
        };
        let (vip, source) = (service.vip(), service.source());
        self.filled
            .serve(lb, entry, (vip.ip(), vip.port()), source)?;
        let v6 = if source.is_ipv6() { backend::V6 } else { 0 };
        let entry = Backend {
            macs: backend::macs(BACKEND_MAC, OUR_MAC),
            ifindex: self.ifindex,
            epoch: 1,
            flags: backend::TAKES_NEW | backend::REACHABLE | v6,
            address: words_of(service.backend().ip()),
            source: words_of(source),
            lb,
            mtu: 1500,
            mode: service.mode().byte(),
            class_kept: u8::MAX,
            class_added: 0,
            pad: 0,
        };
        self.filled.put_backend(lb, entry)?;
        self.filled.put_table(lb, Slots([lb; backend::SLOTS_LEN]))
    }

    /// Runs the program once, and gives what it made of the frame.
    pub(crate) fn run(&self, frame: &[u8]) -> Result<Vec<u8>> {
        let mut out = vec![0; frame.len() + 256];
        let context = context(frame, self.ifindex);
        let mut options = TestRunOptions::new();
        options.data_in = Some(frame);
        options.data_out = Some(&mut out);
        options.ctx_in = Some(bytemuck::cast_slice(&context));
        let result = self.program()?.test_run(options)?;
        ensure!(
            result.return_value == TX,
            "a packet of a handshake got the verdict {}",
            result.return_value
        );
        out.truncate(result.data_size_out as usize);
        Ok(out)
    }

    /// Takes a TCP client through its handshake: the flow is established then.
    pub(crate) fn connect(&self, client: Ends, nat: bool) -> Result<()> {
        let syn = self.run(&frame::tcp(client, SYN, 1000, 0)?)?;
        if nat {
            let answer = frame::tcp(answer(&syn)?, SYN | ACK, 5000, 1001)?;
            self.run(&answer)?;
        }
        self.run(&frame::tcp(client, ACK, 1001, 5001)?)?;
        Ok(())
    }

    /// The counters of a backend, over all CPUs.
    pub(crate) fn counters(&self, service: Service) -> Result<BackendCounters> {
        self.filled.counters(service.index())
    }

    /// The verdicts that there were, with their numbers.
    pub(crate) fn verdicts(&self) -> Result<BTreeMap<&'static str, u64>> {
        let mut verdicts = BTreeMap::new();
        for verdict in Verdict::ALL {
            let count = self.verdict(*verdict)?;
            if count > 0 {
                verdicts.insert(verdict.name(), count);
            }
        }
        Ok(verdicts)
    }

    /// How often this was the verdict.
    pub(crate) fn verdict(&self, verdict: Verdict) -> Result<u64> {
        self.filled.verdict(verdict)
    }
}

/// The packets of the backend that answers what it got in `frame` (nat).
pub(crate) fn answer(frame: &[u8]) -> Result<Ends> {
    let got = frame::ends_of_tcp4(frame)?;
    Ok(Ends {
        macs: (BACKEND_MAC, OUR_MAC),
        from: got.to,
        to: got.from,
    })
}

/// The context (`struct xdp_md`) of a frame that comes in by an interface.
pub(crate) fn context(frame: &[u8], ifindex: u32) -> [u32; 6] {
    // Data, its end, its metadata, then the interface with its queue, and the
    // interface that it leaves by, which must be zero.
    [0, frame.len() as u32, 0, ifindex, 0, 0]
}
