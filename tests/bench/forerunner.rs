//! The balancer of the first generation (`lb-ebpf/src/bench/forerunner.rs`), with the VIPs
//! and backends that ebb has.

use std::net::IpAddr;

use anyhow::{Context as _, Result};
use aya::{
    Ebpf, Pod,
    maps::{Array, HashMap, MapData},
    programs::Xdp,
};
use lb_common::abi::{
    address::{Addr4, words_of},
    backend,
    flow::FlowKey,
};

use crate::{
    balancer::{BACKEND_MAC, OUR_MAC, Service},
    yardstick,
};

/// The length of a VIP's ring.
const RING: u32 = 65_537;

/// As in the kernel program.
#[derive(Clone, Copy)]
#[repr(C)]
struct Key {
    source: [u32; 4],
    destination: [u32; 4],
    ports: u32,
    protocol: u32,
}
// SAFETY: repr(C), words without padding.
unsafe impl Pod for Key {}

/// As in the kernel program.
#[derive(Clone, Copy)]
#[repr(C)]
struct Vip {
    address: [u32; 4],
    port: u32,
    protocol: u32,
}
// SAFETY: as above.
unsafe impl Pod for Vip {}

/// As in the kernel program.
#[derive(Clone, Copy)]
#[repr(C)]
struct Real {
    address: [u32; 4],
    source: [u32; 4],
    tunnel: u32,
}
// SAFETY: as above.
unsafe impl Pod for Real {}

pub(crate) struct Forerunner {
    ebpf: Ebpf,
}

impl Forerunner {
    /// With room for `room` flows, and these in it, of [`Service::Ipip`].
    pub(crate) fn load(room: u32, flows: impl Iterator<Item = FlowKey<Addr4>>) -> Result<Self> {
        let mut forerunner = Self {
            ebpf: yardstick::object(1, room)?,
        };
        for service in Service::ALL {
            forerunner.serve(service)?;
        }
        let macs = backend::macs(BACKEND_MAC, OUR_MAC);
        forerunner
            .array::<[u32; 3]>("FORERUNNER_MACS")?
            .set(0, macs, 0)?;
        let mut table = forerunner.hash::<Key, u64>("FORERUNNER_FLOWS")?;
        for flow in flows {
            let key = Key {
                source: [flow.source.0, 0, 0, 0],
                destination: [flow.destination.0, 0, 0, 0],
                ports: flow.ports.0,
                protocol: flow.protocol,
            };
            table.insert(key, u64::from(Service::Ipip.index()), 0)?;
        }
        Ok(forerunner)
    }

    fn serve(&mut self, service: Service) -> Result<()> {
        let number = u32::from(service.index());
        let vip = service.vip();
        for protocol in [6, 17] {
            let key = Vip {
                address: address(vip.ip()),
                port: vip.port().to_be().into(),
                protocol,
            };
            self.hash("FORERUNNER_VIPS")?.insert(key, number, 0)?;
        }
        let mut rings = self.array("FORERUNNER_RINGS")?;
        for place in number * RING..(number + 1) * RING {
            rings.set(place, number, 0)?;
        }
        let real = Real {
            address: address(service.backend().ip()),
            source: address(service.source()),
            tunnel: service.tunnels().into(),
        };
        self.array("FORERUNNER_REALS")?.set(number, real, 0)?;
        Ok(())
    }

    fn array<T: Pod>(&mut self, name: &str) -> Result<Array<&mut MapData, T>> {
        let map = self.ebpf.map_mut(name);
        Ok(map.with_context(|| format!("no map {name}"))?.try_into()?)
    }

    fn hash<K: Pod, V: Pod>(&mut self, name: &str) -> Result<HashMap<&mut MapData, K, V>> {
        let map = self.ebpf.map_mut(name);
        Ok(map.with_context(|| format!("no map {name}"))?.try_into()?)
    }

    pub(crate) fn program(&self) -> Result<&Xdp> {
        yardstick::program(&self.ebpf, "forerunner")
    }
}

/// An address of IPv4 is the first word of four.
fn address(of: IpAddr) -> [u32; 4] {
    match of {
        IpAddr::V4(of) => [u32::from(of).to_be(), 0, 0, 0],
        IpAddr::V6(_) => words_of(of),
    }
}
