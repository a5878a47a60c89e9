//! ebb's program, attached to nothing, with one load balancer of each kind and
//! one backend in each.

use std::net::{IpAddr, SocketAddr};

use anyhow::{Context as _, Result, anyhow, ensure};
use aya::{
    Ebpf, EbpfLoader, Pod,
    maps::{Array, ArrayOfMaps, HashMap, MapData, PerCpuArray},
    programs::{TestRun as _, TestRunOptions, Xdp},
};
use lb_common::abi::{
    address::{Addr4, Addr6, Address, words_of},
    backend::{self, Backend, LoadBalancer, Slots},
    config::{Interface, Settings},
    counter::{BackendCounters, Verdict},
    vip::{Filter, Listener, NAT_SOURCE, VIP_ITSELF, VipKey, filter_bit},
};

use crate::{
    frame::{self, ACK, Ends, Mac, SYN},
    yardstick,
};

/// XDP actions (`linux/bpf.h`).
pub(crate) const PASS: u32 = 2;
pub(crate) const TX: u32 = 3;

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
    const ALL: [Self; 4] = [Self::Nat, Self::Dsr, Self::Ipip, Self::Ipip6];

    pub(crate) const fn index(self) -> u16 {
        self as u16
    }

    const fn mode(self) -> u32 {
        match self {
            Self::Nat => backend::MODE_NAT,
            Self::Dsr => backend::MODE_DSR,
            Self::Ipip | Self::Ipip6 => backend::MODE_IPIP,
        }
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
    fn source(self) -> IpAddr {
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
    ebpf: Ebpf,
    /// The interface that packets come in by and leave by.
    ifindex: u32,
}

impl Balancer {
    /// Loads the program with room for `flows` established flows of each family.
    pub(crate) fn load(flows: u32, ifindex: u32) -> Result<Self> {
        let mut ebpf = EbpfLoader::new()
            .override_global(aya_log::LEVEL, &0_u8, true)
            .map_max_entries("FLOWS_V4", flows)
            .map_max_entries("FLOWS_V6", flows)
            .load(&yardstick::built("ebb-bpf")?)
            .context("cannot load the kernel program")?;
        let program: &mut Xdp = ebpf
            .program_mut("ebb")
            .context("the object has no program `ebb`")?
            .try_into()?;
        program.load().context("the verifier refuses the program")?;
        let mut balancer = Self { ebpf, ifindex };
        balancer.configure()?;
        Ok(balancer)
    }

    pub(crate) fn program(&self) -> Result<&Xdp> {
        let program = self.ebpf.program("ebb").context("no program `ebb`")?;
        Ok(program.try_into()?)
    }

    pub(crate) fn program_mut(&mut self) -> Result<&mut Xdp> {
        let program = self.ebpf.program_mut("ebb").context("no program `ebb`")?;
        Ok(program.try_into()?)
    }

    pub(crate) fn map(&self, name: &str) -> Result<&aya::maps::Map> {
        self.ebpf
            .map(name)
            .with_context(|| format!("no map {name}"))
    }

    fn array<T: Pod>(&mut self, name: &str) -> Result<Array<&mut MapData, T>> {
        let map = self.ebpf.map_mut(name);
        Ok(map.with_context(|| format!("no map {name}"))?.try_into()?)
    }

    pub(crate) fn hash<K: Pod, V: Pod>(
        &mut self,
        name: &str,
    ) -> Result<HashMap<&mut MapData, K, V>> {
        let map = self.ebpf.map_mut(name);
        Ok(map.with_context(|| format!("no map {name}"))?.try_into()?)
    }

    fn configure(&mut self) -> Result<()> {
        let settings = Settings {
            nat_port_first: 1024,
            nat_port_last: 32_767,
            tunnel_bits_v4: 16,
            tunnel_bits_v6: 32,
            nat_seed: 7,
            ..Settings::default()
        };
        self.array("SETTINGS")?.set(0, settings, 0)?;
        let interface = Interface {
            ifindex: self.ifindex,
            mac: bytemuck::cast(OUR_MAC),
            mtu: 1500,
        };
        self.array("INTERFACES")?.set(0, interface, 0)?;
        let ifindex = self.ifindex;
        self.hash("INTERFACE_BY_IFINDEX")?
            .insert(ifindex, 0_u32, 0)?;
        let mut filter: Filter = [0; 64];
        for service in Service::ALL {
            match (service.vip().ip(), service.source()) {
                (IpAddr::V4(vip), IpAddr::V4(source)) => {
                    self.serve::<Addr4>("V4", service, vip.into(), source.into(), &mut filter)?;
                }
                (IpAddr::V6(vip), IpAddr::V6(source)) => {
                    self.serve::<Addr6>("V6", service, vip.into(), source.into(), &mut filter)?;
                }
                _ => return Err(anyhow!("{service:?} is not of one family")),
            }
        }
        self.array::<Filter>("FILTER")?.set(0, filter, 0)?;
        Ok(())
    }

    /// One load balancer: TCP and UDP on port 80 of `vip`.
    fn serve<A: Address + Pod>(
        &mut self,
        family: &str,
        service: Service,
        vip: A,
        source: A,
        filter: &mut Filter,
    ) -> Result<()>
    where
        VipKey<A>: Pod,
        Listener<A>: Pod,
    {
        let lb = service.index();
        let port = service.vip().port().to_be();
        let (vips, listeners) = (format!("VIPS_{family}"), format!("LISTENERS_{family}"));
        let itself = |address| VipKey {
            address,
            port: 0,
            protocol: 0,
        };
        self.hash(&vips)?.insert(itself(vip), VIP_ITSELF, 0)?;
        self.hash(&vips)?.insert(itself(source), NAT_SOURCE, 0)?;
        for address in [vip, source] {
            let bit = filter_bit(address);
            filter[(bit / 64) as usize] |= 1 << (bit % 64);
        }
        for (i, protocol) in [6, 17].into_iter().enumerate() {
            let index = u32::from(lb) * 2 + i as u32;
            let key = VipKey {
                address: vip,
                port,
                protocol,
            };
            self.hash(&vips)?.insert(key, index, 0)?;
            let listener = Listener {
                address: vip,
                port,
                backend_port: port,
                lb,
                protocol,
            };
            self.array(&listeners)?.set(index, listener, 0)?;
        }
        let balancer = LoadBalancer {
            seed: 1,
            slots: 65_537,
            flags: service.mode(),
            pad: 0,
        };
        self.array("LBS")?.set(u32::from(lb), balancer, 0)?;
        let v6 = if A::V6 { backend::V6 } else { 0 };
        let entry = Backend {
            macs: backend::macs(BACKEND_MAC, OUR_MAC),
            ifindex: self.ifindex,
            epoch: 1,
            flags: backend::TAKES_NEW | backend::REACHABLE | service.mode() | v6,
            address: words_of(service.backend().ip()),
            source: words_of(service.source()),
            lb,
            mtu: 1500,
            pad: 0,
        };
        self.array("BACKENDS")?.set(u32::from(lb), entry, 0)?;
        let mut table = Array::<MapData, Slots>::create(1, 0)?;
        table.set(0, Slots([lb; backend::SLOTS_LEN]), 0)?;
        let tables = self.ebpf.map_mut("TABLES").context("no map TABLES")?;
        let mut tables: ArrayOfMaps<&mut MapData, Array<MapData, Slots>> = tables.try_into()?;
        tables.set(u32::from(lb), &table, 0)?;
        Ok(())
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
        let counters: PerCpuArray<_, BackendCounters> = self.map("BACKEND_COUNTERS")?.try_into()?;
        let mut sum = BackendCounters::default();
        for row in counters.get(&u32::from(service.index()), 0)?.iter() {
            sum.packets_in += row.packets_in;
            sum.packets_out += row.packets_out;
            sum.opened += row.opened;
        }
        Ok(sum)
    }

    /// How often this was the verdict.
    pub(crate) fn verdict(&self, verdict: Verdict) -> Result<u64> {
        let counters: PerCpuArray<_, u64> = self.map("VERDICT_COUNTERS")?.try_into()?;
        Ok(counters.get(&(verdict as u32), 0)?.iter().sum())
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
