//! A control over memory, stepped by hand: nothing happens between two calls,
//! and time passes when a test says so.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
    pin::pin,
    sync::{
        Arc, Mutex,
        atomic::{AtomicI64, Ordering},
    },
    task::{Context, Poll, Waker},
    time::Duration,
};

use lb_userspace::{
    clock::{Clock, Moment, Now, Wall},
    config::{Document, Purpose},
    control::{
        self, Control, Error, Handle, Parts,
        handle::Declare,
        merge::Reading,
        vip::{VipError, VipKeeper},
    },
    dataplane::memory::{FlowId, NoFlow, World},
    model::{BackendIndex, ListenerKey, Protocol, TableSizes},
    store::memory::MemoryStore,
    wire::{
        AttributesPatch, Backend, ConnectionDrainingPatch, Deleted, Deregister, Event,
        HealthByHand, LoadBalancer, NewBackend, NewLoadBalancer, What,
    },
};
use tokio::sync::broadcast;

pub(crate) const LB: &str = "web";
pub(crate) const VIP: &str = "10.0.0.100";

/// The clock that the tests turn.
#[derive(Debug, Clone)]
pub(crate) struct ManualClock {
    millis: Arc<AtomicI64>,
    /// How far the wall's clock was set off.
    off: Arc<AtomicI64>,
}

impl Clock for ManualClock {
    fn now(&self) -> Now {
        let millis = self.millis.load(Ordering::Relaxed);
        let off = self.off.load(Ordering::Relaxed);
        Now {
            moment: Moment(millis),
            wall: Wall(1_795_000_000_000_u64.saturating_add_signed(millis + off)),
        }
    }
}

/// The host's addresses.
#[derive(Debug, Clone, Default)]
pub(crate) struct Addresses(
    Arc<Mutex<BTreeMap<IpAddr, String>>>,
    /// One that the host takes no more.
    Arc<Mutex<Option<IpAddr>>>,
    /// Whether the host has told of a change that was not heard yet.
    Arc<Mutex<bool>>,
    /// Whether there is no interface.
    Arc<Mutex<bool>>,
    /// Other hosts that have an address, by their MAC addresses.
    Arc<Mutex<BTreeMap<IpAddr, String>>>,
);

impl Addresses {
    pub(crate) fn list(&self) -> BTreeMap<IpAddr, String> {
        self.0.lock().unwrap().clone()
    }

    /// The host has the address by itself.
    pub(crate) fn put(&self, address: &str, interface: &str) {
        let address = address.parse().unwrap();
        self.0.lock().unwrap().insert(address, interface.to_owned());
    }

    /// Somebody takes the address away, and the host tells of it.
    pub(crate) fn take(&self, address: &str) {
        self.take_silently(address);
        *self.2.lock().unwrap() = true;
    }

    pub(crate) fn take_silently(&self, address: &str) {
        let address: IpAddr = address.parse().unwrap();
        self.0.lock().unwrap().remove(&address);
    }

    /// Another host has the address as well, or not any more.
    pub(crate) fn contest(&self, address: &str, mac: Option<&str>) {
        let address: IpAddr = address.parse().unwrap();
        let mut rivals = self.4.lock().unwrap();
        match mac {
            Some(mac) => rivals.insert(address, mac.to_owned()),
            None => rivals.remove(&address),
        };
    }

    /// The interface goes, with all addresses, or comes back.
    pub(crate) fn unplug(&self, unplugged: bool) {
        self.0.lock().unwrap().clear();
        *self.2.lock().unwrap() = true;
        *self.3.lock().unwrap() = unplugged;
    }

    fn expect_interface(&self, address: IpAddr) -> Result<(), VipError> {
        if *self.3.lock().unwrap() {
            return Err(VipError::NoInterface {
                address,
                interfaces: "mem0".to_owned(),
            });
        }
        Ok(())
    }

    /// The host refuses this address from now on, or none any more.
    pub(crate) fn refuse(&self, address: Option<&str>) {
        *self.1.lock().unwrap() = address.map(|address| address.parse().unwrap());
    }
}

impl VipKeeper for Addresses {
    fn place(&mut self, addresses: &[IpAddr]) -> Result<Vec<(IpAddr, String)>, VipError> {
        let there = self.0.lock().unwrap();
        let missing = addresses.iter().filter(|a| !there.contains_key(a));
        missing
            .map(|a| self.expect_interface(*a).map(|()| (*a, "mem0".to_owned())))
            .collect()
    }

    fn has_news(&mut self) -> bool {
        std::mem::take(&mut *self.2.lock().unwrap())
    }

    fn rivals(&mut self) -> BTreeMap<IpAddr, String> {
        self.4.lock().unwrap().clone()
    }

    fn missing(&mut self, addresses: &[IpAddr]) -> Result<BTreeSet<IpAddr>, VipError> {
        let there = self.0.lock().unwrap();
        let missing = addresses.iter().filter(|a| !there.contains_key(a));
        Ok(missing.copied().collect())
    }

    fn add(&mut self, address: IpAddr, interface: &str) -> Result<(), VipError> {
        if *self.1.lock().unwrap() == Some(address) {
            return Err(VipError::Netlink {
                action: format!("put {address} on {interface}"),
                source: std::io::ErrorKind::PermissionDenied.into(),
            });
        }
        self.expect_interface(address)?;
        self.0.lock().unwrap().insert(address, interface.to_owned());
        Ok(())
    }

    fn remove(&mut self, address: IpAddr, _: &str) -> Result<(), VipError> {
        self.0.lock().unwrap().remove(&address);
        Ok(())
    }
}

/// One host with an agent on it.
pub(crate) struct Rig {
    pub(crate) clock: ManualClock,
    pub(crate) store: MemoryStore,
    pub(crate) world: World,
    pub(crate) addresses: Addresses,
    pub(crate) handle: Handle,
    pub(crate) control: Control,
    events: broadcast::Receiver<Arc<Event>>,
    clients: u64,
}

/// The listener of [`LB`].
pub(crate) fn listener() -> ListenerKey {
    key(VIP, 80)
}

pub(crate) fn key(address: &str, port: u16) -> ListenerKey {
    ListenerKey {
        protocol: Protocol::Tcp,
        address: address.parse().unwrap(),
        port,
    }
}

pub(crate) fn new_backend(id: &str, address: &str) -> NewBackend {
    NewBackend {
        id: Some(id.to_owned()),
        address: address.parse().unwrap(),
        weight: 1,
    }
}

/// The load balancer `name` with one listener and these backends.
pub(crate) fn new_lb(name: &str, vip: &str, backends: &[(&str, &str)]) -> NewLoadBalancer {
    let backends: Vec<_> = backends
        .iter()
        .map(|(id, address)| serde_json::json!({ "id": id, "address": address }))
        .collect();
    let lb = serde_json::json!({
        "name": name,
        "mode": "nat",
        "listeners": [{ "protocol": "tcp", "address": vip, "port": 80 }],
        "backends": backends,
    });
    serde_json::from_value(lb).unwrap()
}

/// Asks, and lets control answer.
pub(crate) fn ask<T>(control: &mut Control, question: impl Future<Output = T>) -> T {
    let mut question = pin!(question);
    let mut context = Context::from_waker(Waker::noop());
    for _ in 0..3 {
        if let Poll::Ready(answer) = question.as_mut().poll(&mut context) {
            return answer;
        }
        control.step();
    }
    panic!("no answer");
}

pub(crate) fn declare(text: &str) -> Declare {
    Declare {
        source: "ebb.toml".to_owned(),
        document: Document::parse("ebb.toml", text, Purpose::Apply, None).unwrap(),
        reading: Reading::Reload,
        dry_run: false,
    }
}

impl Rig {
    /// An agent with nothing to do.
    pub(crate) fn empty() -> Self {
        Self::with_file(None)
    }

    /// An agent started with this configuration.
    pub(crate) fn with_file(text: Option<&str>) -> Self {
        Self::sized(TableSizes::default(), text)
    }

    /// An agent with tables of these sizes.
    pub(crate) fn sized(sizes: TableSizes, text: Option<&str>) -> Self {
        let clock = ManualClock {
            millis: Arc::new(AtomicI64::new(1_000_000)),
            off: Arc::default(),
        };
        let store = MemoryStore::default();
        let addresses = Addresses::default();
        let (handle, inbox) = control::channel();
        let events = handle.subscribe();
        let world = World::new(handle.dataplane_events());
        world.resize(sizes);
        let parts = Parts {
            clock: Box::new(clock.clone()),
            store: Box::new(store.clone()),
            dataplane: Box::new(world.dataplane()),
            vips: Some(Box::new(addresses.clone())),
        };
        let control = Control::start(inbox, parts, text.map(declare)).unwrap();
        let mut rig = Self {
            clock,
            store,
            world,
            addresses,
            handle,
            control,
            events,
            clients: 0,
        };
        rig.control.step();
        rig
    }

    /// [`LB`] with three backends: web-1, web-2 and web-3.
    pub(crate) fn three() -> Self {
        let mut rig = Self::empty();
        let lb = new_lb(
            LB,
            VIP,
            &[
                ("web-1", "10.0.1.1"),
                ("web-2", "10.0.1.2"),
                ("web-3", "10.0.1.3"),
            ],
        );
        rig.create(lb).unwrap();
        rig
    }

    /// The agent dies and another comes up; the kernel and the disk stay.
    pub(crate) fn restart(&mut self, file: Option<&str>) {
        self.try_restart(file).unwrap();
    }

    /// As [`Self::restart`], unless the agent does not come up.
    pub(crate) fn try_restart(&mut self, file: Option<&str>) -> Result<(), Error> {
        let (handle, inbox) = control::channel();
        self.events = handle.subscribe();
        self.world = self.world.heard_by(handle.dataplane_events());
        let parts = Parts {
            clock: Box::new(self.clock.clone()),
            store: Box::new(self.store.clone()),
            dataplane: Box::new(self.world.dataplane()),
            vips: Some(Box::new(self.addresses.clone())),
        };
        self.control = Control::start(inbox, parts, file.map(declare))?;
        self.handle = handle;
        self.control.step();
        Ok(())
    }

    /// Asks, and lets control answer.
    pub(crate) fn ask<T>(&mut self, question: impl Future<Output = T>) -> T {
        ask(&mut self.control, question)
    }

    /// Time passes, and control does what is due, as often as it would.
    pub(crate) fn wait(&mut self, time: Duration) {
        let mut left = time;
        while !left.is_zero() {
            let step = left.min(Duration::from_millis(100));
            let millis = i64::try_from(step.as_millis()).unwrap();
            self.clock.millis.fetch_add(millis, Ordering::Relaxed);
            self.control.step();
            left -= step;
        }
    }

    /// Time passes while no agent runs.
    pub(crate) fn sleep(&mut self, time: Duration) {
        let millis = i64::try_from(time.as_millis()).unwrap();
        self.clock.millis.fetch_add(millis, Ordering::Relaxed);
    }

    /// Somebody sets the wall's clock.
    pub(crate) fn set_clock(&mut self, off: i64) {
        self.clock.off.store(off, Ordering::Relaxed);
    }

    /// A client connects to [`LB`].
    pub(crate) fn connect(&mut self) -> Result<FlowId, NoFlow> {
        self.connect_to(listener())
    }

    pub(crate) fn connect_to(&mut self, key: ListenerKey) -> Result<FlowId, NoFlow> {
        self.clients += 1;
        self.world.connect(key, self.clients)
    }

    /// Clients connect until so many of them are at the backend; the others
    /// leave again.
    pub(crate) fn connect_until(&mut self, id: &str, flows: usize) -> Vec<FlowId> {
        let index = self.index(id);
        let mut at = Vec::new();
        for _ in 0..1000 {
            let flow = self.connect().unwrap();
            if self.world.backend_of(flow) == Some(index) {
                at.push(flow);
            } else {
                self.world.end(flow);
            }
            if at.len() == flows {
                return at;
            }
        }
        panic!("{id} got {} of {flows} flows", at.len());
    }

    pub(crate) fn is_open(&self, flow: FlowId) -> bool {
        self.world.backend_of(flow).is_some()
    }

    /// The backend's index in the kernel.
    pub(crate) fn index(&self, id: &str) -> BackendIndex {
        let (_, backend) = self.control.state().backend(LB, id).unwrap();
        backend.index.unwrap()
    }

    pub(crate) fn create(&mut self, lb: NewLoadBalancer) -> Result<LoadBalancer, Error> {
        let handle = self.handle.clone();
        self.ask(handle.create_load_balancer(lb))
    }

    pub(crate) fn delete(&mut self, lb: &str, how: Deregister) -> Result<Deleted, Error> {
        let handle = self.handle.clone();
        self.ask(handle.delete_load_balancer(lb, how))
    }

    pub(crate) fn lb(&mut self, lb: &str) -> Result<LoadBalancer, Error> {
        let handle = self.handle.clone();
        self.ask(handle.load_balancer(lb))
    }

    pub(crate) fn backend(&mut self, id: &str) -> Backend {
        let handle = self.handle.clone();
        self.ask(handle.backend(LB, id)).unwrap()
    }

    pub(crate) fn register(&mut self, id: &str, address: &str) -> Result<Backend, Error> {
        let handle = self.handle.clone();
        self.ask(handle.register(LB, new_backend(id, address)))
    }

    pub(crate) fn deregister(&mut self, id: &str) -> Result<Backend, Error> {
        self.leave(id, Deregister::default())
    }

    pub(crate) fn deregister_within(&mut self, id: &str, timeout: u32) -> Result<Backend, Error> {
        self.leave(
            id,
            Deregister {
                timeout: Some(timeout),
                now: false,
            },
        )
    }

    pub(crate) fn deregister_now(&mut self, id: &str) -> Result<Backend, Error> {
        self.leave(id, now())
    }

    pub(crate) fn leave(&mut self, id: &str, how: Deregister) -> Result<Backend, Error> {
        let handle = self.handle.clone();
        self.ask(handle.deregister(LB, id, how))
    }

    pub(crate) fn health(&mut self, id: &str, health: HealthByHand) -> Result<Backend, Error> {
        let handle = self.handle.clone();
        self.ask(handle.set_health(LB, id, health))
    }

    pub(crate) fn draining(&mut self, enabled: bool, timeout: Option<u32>) -> Result<(), Error> {
        let patch = AttributesPatch {
            connection_draining: Some(ConnectionDrainingPatch {
                enabled: Some(enabled),
                timeout,
            }),
            ..AttributesPatch::default()
        };
        let handle = self.handle.clone();
        self.ask(handle.set_attributes(LB, patch)).map(drop)
    }

    /// What happened since the last time, to backends and load balancers.
    pub(crate) fn happened(&mut self) -> Vec<(Option<String>, What)> {
        let mut all = Vec::new();
        while let Ok(event) = self.events.try_recv() {
            all.push((event.backend.clone(), event.what.clone()));
        }
        all
    }
}

pub(crate) fn now() -> Deregister {
    Deregister {
        timeout: None,
        now: true,
    }
}
