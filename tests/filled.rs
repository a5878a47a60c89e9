//! The kernel program, loaded but attached to nothing, and its maps filled as the
//! agent fills them: for the packet tests and the bench alike.

use std::net::IpAddr;

use anyhow::{Context as _, Result};
use aya::{
    Ebpf, EbpfLoader, Pod,
    maps::{Array, ArrayOfMaps, HashMap, LpmTrie, Map, MapData, PerCpuArray, lpm_trie::Key},
    programs::{SchedClassifier, Xdp},
};
use lb_common::abi::{
    address::{Addr4, Addr6, Address},
    backend::{Backend, LoadBalancer, Slots},
    config::Settings,
    counter::{BackendCounters, Verdict},
    exit::{Exit, INTERFACE_BITS, Reach},
    half_open, nat_port,
    vip::{Filter, Listener, NAT_SOURCE, VIP_ITSELF, VipKey, filter_bit},
};

use crate::hook::Hook;

/// What its tables have room for, in entries of each family.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Room {
    pub flows: u32,
    pub half_open: u32,
}

/// The program at TC, by its name in the object.
const CLASSIFIER: &str = "ebb_tc";

/// The rows of nat ports: enough that the backends of a test have one each.
const NAT_PORT_ROWS: u32 = 64;

/// The listeners that [`Filled::serve`] writes for a VIP: TCP and UDP.
const PROTOCOLS: [u16; 2] = [6, 17];

/// The program and its maps.
pub struct Filled {
    ebpf: Ebpf,
    /// A row of ports that nobody has, with the settings that it is of.
    blank: Option<(Settings, Box<nat_port::Row>)>,
}

impl Filled {
    /// Loads the program of a hook from `object` as the agent does, unless that is told
    /// otherwise, with one interface.
    ///
    /// # Errors
    /// Where the object is damaged or the verifier refuses the program.
    pub fn load(object: &[u8], hook: Hook, room: Room, interface: Exit) -> Result<Self> {
        let buckets = half_open::buckets(room.half_open);
        let ebpf = EbpfLoader::new()
            .override_global(aya_log::LEVEL, &0_u8, true)
            .override_global("HALF_OPEN_BUCKETS", &buckets, true)
            .override_global("NAT_PORT_ROWS", &NAT_PORT_ROWS, true)
            .map_max_entries("NAT_PORTS", NAT_PORT_ROWS)
            .map_max_entries("FLOWS_V4", room.flows)
            .map_max_entries("FLOWS_V6", room.flows)
            .map_max_entries("HALF_V4", buckets)
            .map_max_entries("HALF_V6", buckets)
            .load(object)
            .context("cannot load the kernel program")?;
        let mut filled = Self { ebpf, blank: None };
        match hook {
            Hook::Xdp => filled.verify("ebb")?,
            Hook::Tc => filled
                .classifier_mut()?
                .load()
                .context("the verifier refuses ebb_tc")?,
        }
        filled.begin(interface)?;
        Ok(filled)
    }

    /// Writes to maps that are empty what they have to hold before there is a service.
    ///
    /// # Errors
    /// Where the kernel refuses.
    pub fn begin(&mut self, interface: Exit) -> Result<()> {
        self.set_nat_ports(1024, 32_767)?;
        self.array("EXITS")?.set(0, interface, 0)?;
        self.hash("INTERFACE_BY_IFINDEX")?
            .insert(interface.ifindex, 0_u32, 0)?;
        Ok(())
    }

    /// Has the verifier accept one of the object's programs.
    ///
    /// # Errors
    /// Where it does not.
    pub fn verify(&mut self, name: &str) -> Result<()> {
        let program = self.program_mut(name)?;
        program
            .load()
            .with_context(|| format!("the verifier refuses the program {name}"))
    }

    /// # Errors
    /// If there is none of this name.
    pub fn program(&self, name: &str) -> Result<&Xdp> {
        let program = self.ebpf.program(name);
        let program = program.with_context(|| format!("no program {name}"))?;
        Ok(program.try_into()?)
    }

    /// # Errors
    /// If there is none of this name.
    pub fn program_mut(&mut self, name: &str) -> Result<&mut Xdp> {
        let program = self.ebpf.program_mut(name);
        let program = program.with_context(|| format!("no program {name}"))?;
        Ok(program.try_into()?)
    }

    /// The program at TC.
    ///
    /// # Errors
    /// If there is none.
    pub fn classifier(&self) -> Result<&SchedClassifier> {
        let program = self.ebpf.program(CLASSIFIER).context("no program at TC")?;
        Ok(program.try_into()?)
    }

    fn classifier_mut(&mut self) -> Result<&mut SchedClassifier> {
        let program = self.ebpf.program_mut(CLASSIFIER);
        Ok(program.context("no program at TC")?.try_into()?)
    }

    /// Says which way out leads to addresses by an interface, in the routes of a family.
    ///
    /// # Errors
    /// Where the map has no room.
    pub fn put_route<A>(
        &mut self,
        name: &str,
        ifindex: u32,
        address: A,
        len: u32,
        exit: u32,
    ) -> Result<()>
    where
        Reach<A>: Pod,
    {
        let key = Key::new(INTERFACE_BITS + len, Reach { ifindex, address });
        Ok(self.routes(name)?.insert(&key, exit, 0)?)
    }

    /// # Errors
    /// If there is none of this name and family.
    pub fn routes<A>(&mut self, name: &str) -> Result<LpmTrie<&mut MapData, Reach<A>, u32>>
    where
        Reach<A>: Pod,
    {
        let map = self.map_mut(name)?;
        map.try_into().with_context(|| format!("map {name}"))
    }

    /// The names of all maps.
    #[must_use]
    pub fn maps(&self) -> Vec<String> {
        self.ebpf.maps().map(|(name, _)| name.to_owned()).collect()
    }

    /// # Errors
    /// If there is none of this name.
    pub fn map(&self, name: &str) -> Result<&Map> {
        let map = self.ebpf.map(name);
        map.with_context(|| format!("no map {name}"))
    }

    fn map_mut(&mut self, name: &str) -> Result<&mut Map> {
        let map = self.ebpf.map_mut(name);
        map.with_context(|| format!("no map {name}"))
    }

    /// # Errors
    /// If there is none of this name and shape.
    pub fn array<T: Pod>(&mut self, name: &str) -> Result<Array<&mut MapData, T>> {
        let map = self.map_mut(name)?;
        map.try_into().with_context(|| format!("map {name}"))
    }

    /// # Errors
    /// If there is none of this name and shape.
    pub fn per_cpu<T: Pod>(&mut self, name: &str) -> Result<PerCpuArray<&mut MapData, T>> {
        let map = self.map_mut(name)?;
        map.try_into().with_context(|| format!("map {name}"))
    }

    /// # Errors
    /// If there is none of this name and shape.
    pub fn hash<K: Pod, V: Pod>(&mut self, name: &str) -> Result<HashMap<&mut MapData, K, V>> {
        let map = self.map_mut(name)?;
        map.try_into().with_context(|| format!("map {name}"))
    }

    /// Writes the settings, with this range of ports for nat.
    ///
    /// # Errors
    /// Where the kernel refuses.
    pub fn set_nat_ports(&mut self, first: u16, last: u16) -> Result<()> {
        let settings = Settings {
            nat_port_first: first,
            nat_port_last: last,
            tunnel_bits_v4: 16,
            tunnel_bits_v6: 32,
            nat_seed: 7,
            least_mtu_v4: 1280,
            ..Settings::default()
        };
        self.array("SETTINGS")?.set(0, settings, 0)?;
        self.forget_nat_ports()
    }

    /// Makes every port of nat one that nobody has.
    ///
    /// # Errors
    /// Where the kernel refuses.
    pub fn forget_nat_ports(&mut self) -> Result<()> {
        let settings: Settings = self.array("SETTINGS")?.get(&0, 0)?;
        let blank = match self.blank.take() {
            Some((of, blank)) if of == settings => blank,
            _ => {
                let (first, last) = (settings.nat_port_first, settings.nat_port_last);
                Box::new(nat_port::Row(nat_port::blank(
                    first,
                    last,
                    settings.nat_seed,
                )))
            }
        };
        let mut rows = self.array::<nat_port::Row>("NAT_PORTS")?;
        for index in 0..NAT_PORT_ROWS {
            rows.set(index, *blank, 0)?;
        }
        self.blank = Some((settings, blank));
        Ok(())
    }

    /// A load balancer with listeners for TCP and UDP on `port` of `vip`, and
    /// `source` for what comes of nat. A VIP may be served once.
    ///
    /// # Errors
    /// Where the kernel refuses.
    ///
    /// # Panics
    /// If the two addresses are not of one family.
    pub fn serve(
        &mut self,
        lb: u16,
        entry: LoadBalancer,
        (vip, port): (IpAddr, u16),
        source: IpAddr,
    ) -> Result<()> {
        match (vip, source) {
            (IpAddr::V4(vip), IpAddr::V4(source)) => {
                self.listen(lb, (Addr4::from(vip), port), source.into())?;
            }
            (IpAddr::V6(vip), IpAddr::V6(source)) => {
                self.listen(lb, (Addr6::from(vip), port), source.into())?;
            }
            _ => panic!("{vip} and {source} are not of one family"),
        }
        Ok(self.array("LBS")?.set(u32::from(lb), entry, 0)?)
    }

    fn listen<A: Address + Pod>(&mut self, lb: u16, (vip, port): (A, u16), source: A) -> Result<()>
    where
        VipKey<A>: Pod,
        Listener<A>: Pod,
    {
        let family = if A::V6 { "V6" } else { "V4" };
        let (vips, listeners) = (format!("VIPS_{family}"), format!("LISTENERS_{family}"));
        let itself = |address| VipKey {
            address,
            port: 0,
            protocol: 0,
        };
        self.hash(&vips)?.insert(itself(vip), VIP_ITSELF, 0)?;
        self.hash(&vips)?.insert(itself(source), NAT_SOURCE, 0)?;
        let mut filter: Filter = self.array("FILTER")?.get(&0, 0)?;
        for address in [vip, source] {
            let bit = filter_bit(address);
            filter[(bit / 64) as usize] |= 1 << (bit % 64);
        }
        self.array::<Filter>("FILTER")?.set(0, filter, 0)?;
        let port = port.to_be();
        for (index, protocol) in (u32::from(lb) * 2..).zip(PROTOCOLS) {
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
        Ok(())
    }

    /// Writes a backend's entry.
    ///
    /// # Errors
    /// Where the kernel refuses.
    pub fn put_backend(&mut self, index: u16, entry: Backend) -> Result<()> {
        Ok(self.array("BACKENDS")?.set(u32::from(index), entry, 0)?)
    }

    /// Swaps a load balancer's Maglev table.
    ///
    /// # Errors
    /// Where the kernel refuses.
    pub fn put_table(&mut self, lb: u16, slots: Slots) -> Result<()> {
        let mut inner = Array::<MapData, Slots>::create(1, 0)?;
        inner.set(0, slots, 0)?;
        let mut tables: ArrayOfMaps<&mut MapData, Array<MapData, Slots>> =
            self.map_mut("TABLES")?.try_into()?;
        Ok(tables.set(u32::from(lb), &inner, 0)?)
    }

    /// The counters of a backend, over all CPUs.
    ///
    /// # Errors
    /// Where the kernel refuses.
    pub fn counters(&self, backend: u16) -> Result<BackendCounters> {
        let rows: PerCpuArray<_, BackendCounters> = self.map("BACKEND_COUNTERS")?.try_into()?;
        let mut sum = BackendCounters::default();
        for row in rows.get(&u32::from(backend), 0)?.iter() {
            sum.packets_in += row.packets_in;
            sum.bytes_in += row.bytes_in;
            sum.packets_out += row.packets_out;
            sum.bytes_out += row.bytes_out;
            sum.opened += row.opened;
            sum.closed += row.closed;
            sum.closing += row.closing;
            sum.untracked += row.untracked;
        }
        Ok(sum)
    }

    /// How often this was the verdict, over all CPUs.
    ///
    /// # Errors
    /// Where the kernel refuses.
    pub fn verdict(&self, verdict: Verdict) -> Result<u64> {
        let counters: PerCpuArray<_, u64> = self.map("VERDICT_COUNTERS")?.try_into()?;
        Ok(counters.get(&(verdict as u32), 0)?.iter().sum())
    }
}
