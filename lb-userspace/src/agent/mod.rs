//! `ebb agent`: puts everything together, and keeps it until a signal ends it.
//!
//! configuration → lock → sockets → data plane → control → APIs → signals.
//! The order matters: nothing of the host is touched before the configuration
//! holds and no other agent is there; the APIs answer only when everything
//! is in force. SIGHUP reads the file again; SIGTERM and SIGINT end the agent
//! and leave the kernel program forwarding.

mod error;
mod file;
mod lasting;
mod memory;

use std::{io, num::NonZeroUsize, path::Path, sync::Arc, thread};

use tokio::{
    signal::unix::{Signal, SignalKind, signal},
    sync::{broadcast, watch},
    task::JoinSet,
};

pub use self::error::AgentError;
use self::file::ConfigFile;
use crate::{
    api::{
        Operators,
        admin::{Admin, Socket},
        console, elb, metrics,
    },
    clock::{Clock as _, HostClock, boot_id},
    config::{Places, Settings},
    control::{
        self, Control, Handle, Parts,
        handle::Declare,
        merge::Reading,
        vip::{NetlinkKeeper, VipKeeper},
    },
    dataplane::{
        Dataplane, EventSink,
        bpf::{self, Kernel},
    },
    health::{self, Prober},
    hooks,
    lock::Lock,
    model::CHECKS_AT_ONCE,
    notify, object,
    store::{Store as _, disk::DiskStore},
    wire::Event,
};

/// Runs the agent until a signal ends it; on `interfaces`, if there are any,
/// instead of those that the configuration names.
///
/// # Errors
/// When it cannot start, or cannot go on.
pub fn run(config: &Path, interfaces: &[String]) -> Result<(), AgentError> {
    memory::give_back_large_blocks();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(AgentError::Threads)?;
    let agent = runtime.block_on(async {
        Agent::start(ConfigFile {
            path: config.to_owned(),
            interfaces: interfaces.to_owned(),
        })
    })?;
    runtime.block_on(agent.serve())
}

/// Everything, started.
struct Agent {
    file: ConfigFile,
    settings: Settings,
    handle: Handle,
    admin: Admin,
    socket: Socket,
    elb: Option<elb::Endpoint>,
    metrics: Option<metrics::Endpoint>,
    /// What happens from the very start, for hooks.
    happens: broadcast::Receiver<Arc<Event>>,
    console: Option<console::Endpoint>,
    signals: Signals,
    control: thread::JoinHandle<()>,
    control_gone: watch::Receiver<bool>,
    _locks: [Lock; 2],
}

struct Signals {
    hangup: Signal,
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    fn listen() -> io::Result<Self> {
        Ok(Self {
            hangup: signal(SignalKind::hangup())?,
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
        })
    }
}

impl Agent {
    fn start(file: ConfigFile) -> Result<Self, AgentError> {
        // A thousand health checks at once are a thousand descriptors.
        raise_descriptor_limit();
        // From here on a signal is a wish, not a death.
        let signals = Signals::listen().map_err(AgentError::Threads)?;
        let (settings, document) = file.read()?;
        if !object::is_embedded() {
            return Err(AgentError::NoProgram);
        }
        let locks = [
            Lock::within(&settings.state_dir)?,
            Lock::of(&settings.bpffs_dir)?,
        ];
        let socket = Socket::bind(&settings.socket)?;
        let operators = Operators::of(&settings.socket);
        let elb = settings
            .elb_api
            .clone()
            .map(|api| elb::Endpoint::bind(api, operators.clone()));
        let elb = elb.transpose()?;
        let metrics = settings.metrics.map(metrics::Endpoint::bind).transpose()?;
        let console = settings
            .console
            .as_ref()
            .map(|entrance| console::Endpoint::bind(entrance, operators));
        let console = console.transpose()?;
        let boot = boot_id().map_err(AgentError::Host)?;
        let mut store = DiskStore::open(&settings.state_dir, &boot)?;
        // Control loads it again. One that is damaged is found before anything
        // of the host is touched.
        store.load(HostClock.now())?;

        let fresh = !bpf::is_loaded(&settings.bpffs_dir);
        let (handle, inbox) = control::channel();
        let admin = Admin::new(handle.clone());
        let happens = handle.subscribe();
        let vips: Option<Box<dyn VipKeeper>> = if settings.manage_vips {
            Some(Box::new(NetlinkKeeper::open(settings.interfaces.clone())?))
        } else {
            None
        };
        let declare = Declare {
            source: file.source(),
            document,
            reading: Reading::Reload,
            dry_run: false,
        };
        let control = dataplane(&settings, handle.dataplane_events()).and_then(|dataplane| {
            let parts = Parts {
                clock: Box::new(HostClock),
                store: Box::new(store),
                dataplane,
                vips,
            };
            Ok(Control::start(inbox, parts, Some(declare))?)
        });
        let control = control.inspect_err(|_| {
            // A first start that failed leaves no program behind that nobody
            // looks after. One that was there goes on with its flows.
            if fresh && let Err(error) = bpf::unload(&settings.bpffs_dir) {
                tracing::warn!("the kernel program is still there: {error}");
            }
        })?;
        let (gone, control_gone) = watch::channel(false);
        let control = thread::Builder::new()
            .name("control".to_owned())
            .spawn(move || {
                control.run();
                // The agent may have ended before; nobody left to hear it is fine.
                let _ = gone.send(true);
            })
            .map_err(AgentError::Threads)?;
        Ok(Self {
            file,
            settings,
            handle,
            admin,
            socket,
            elb,
            metrics,
            happens,
            console,
            signals,
            control,
            control_gone,
            _locks: locks,
        })
    }

    async fn serve(self) -> Result<(), AgentError> {
        let Self {
            file,
            settings,
            handle,
            admin,
            socket,
            elb,
            metrics,
            happens,
            console,
            mut signals,
            control,
            mut control_gone,
            _locks,
        } = self;
        let (stop, stopped) = watch::channel(false);
        let until_stopped = || {
            let mut stopped = stopped.clone();
            // An agent that is gone stops it as well.
            async move { drop(stopped.wait_for(|stop| *stop).await) }
        };
        let mut doors = JoinSet::new();
        doors.spawn(admin.serve(socket, until_stopped()));
        if let Some(endpoint) = elb {
            tracing::info!(address = %endpoint.address(), "serving the ELB API");
            doors.spawn(elb::serve(endpoint, handle.clone(), until_stopped()));
        }
        if let Some(endpoint) = metrics {
            tracing::info!(address = %endpoint.address(), "serving metrics at /metrics");
            doors.spawn(metrics::serve(endpoint, handle.clone(), until_stopped()));
        }
        if !settings.hooks.is_empty() {
            let hooks = hooks::run(settings.hooks.clone(), happens, handle.hook_tallies());
            doors.spawn(until(until_stopped(), hooks));
        }
        let checks = health::scheduler::run(
            handle.roster(),
            handle.by("health check"),
            handle.board(),
            Prober::default(),
            checks_at_once(),
        );
        doors.spawn(until(until_stopped(), checks));
        if let Some(endpoint) = console {
            tracing::info!(address = %endpoint.address(), "serving the console");
            doors.spawn(console::serve(endpoint, handle.clone(), until_stopped()));
        }
        tracing::info!(
            version = env!("CARGO_PKG_VERSION"),
            socket = %settings.socket.display(),
            "the agent answers"
        );
        notify::ready();

        let outcome = loop {
            tokio::select! {
                _ = signals.hangup.recv() => reload(&file, &settings, &handle).await,
                _ = signals.terminate.recv() => break Ok("SIGTERM"),
                _ = signals.interrupt.recv() => break Ok("SIGINT"),
                _ = control_gone.changed() => break Err(AgentError::ControlGone),
            }
        };
        if let Ok(signal) = &outcome {
            tracing::info!(signal, "stopping; the kernel program keeps forwarding");
        }
        notify::stopping();
        stop.send_replace(true);
        // What was asked before the signal is answered first.
        while doors.join_next().await.is_some() {}
        handle.stop();
        drop(tokio::task::spawn_blocking(move || control.join()).await);
        outcome.map(drop)
    }
}

/// Work that knows no end of its own, as far as it gets.
async fn until(stopped: impl Future<Output = ()>, work: impl Future<Output = ()>) {
    tokio::select! {
        () = work => {}
        () = stopped => {}
    }
}

/// As many health checks at once as ebb makes, or as there are descriptors for: half
/// of them are for everything else.
fn checks_at_once() -> NonZeroUsize {
    let limit = rustix::process::getrlimit(rustix::process::Resource::Nofile).current;
    let most = limit.map_or(u64::MAX, |limit| (limit / 2).max(1));
    let at_once = most.min(CHECKS_AT_ONCE.into());
    if at_once < CHECKS_AT_ONCE.into() {
        tracing::warn!(
            at_once,
            "the limit of open files leaves room for that many health checks at once, not {}",
            CHECKS_AT_ONCE
        );
    }
    NonZeroUsize::new(usize::try_from(at_once).unwrap_or(usize::MAX)).unwrap_or(NonZeroUsize::MIN)
}

/// As many descriptors as the host lets this process have.
fn raise_descriptor_limit() {
    use rustix::process::{Resource, getrlimit, setrlimit};

    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    if let Err(error) = setrlimit(Resource::Nofile, limit) {
        tracing::warn!("cannot raise the limit on open files: {error}");
    }
}

fn dataplane(settings: &Settings, events: EventSink) -> Result<Box<dyn Dataplane>, AgentError> {
    let config = bpf::Config {
        interfaces: settings.interfaces.clone(),
        hook: settings.hook,
        interface_hooks: settings.interface_hooks.clone(),
        local_clients: settings.local_clients,
        bpffs_dir: settings.bpffs_dir.clone(),
        tables: settings.tables,
        nat_pool: settings.nat.pool.clone(),
        nat_pools: settings.nat.pools.clone(),
        nat_ports: settings.nat.ports.map(|(first, last)| first..=last),
        tunnel_sources: settings.ipip.sources.clone(),
        udp: settings.udp,
        tunnel_dscp: settings.ipip.dscp,
        arrivals: settings.arrivals.clone(),
        log: settings.kernel_log,
    };
    Ok(Box::new(Kernel::start(object::OBJECT, &config, events)?))
}

/// Takes the kernel program off its interfaces, drops its flows, and takes
/// away the VIPs that ebb put on interfaces. What was configured stays on disk. A
/// configuration that is not valid any more, or is gone, is in nobody's way.
///
/// # Errors
/// When an agent is running, or the kernel refuses.
pub fn unload(config: &Path) -> Result<(), AgentError> {
    let Places {
        state_dir,
        bpffs_dir,
    } = file::places(config)?;
    if !state_dir.exists() {
        // No agent has run, and none runs.
        return Ok(bpf::unload(&bpffs_dir)?);
    }
    let _lock = Lock::within(&state_dir)?;
    bpf::unload(&bpffs_dir)?;
    let boot = boot_id().map_err(AgentError::Host)?;
    let state = DiskStore::open(&state_dir, &boot)?.load(HostClock.now())?;
    let vips = state.map(|state| state.node.vips).unwrap_or_default();
    if !vips.is_empty() {
        // Where each of them is, is known; no interface is to be chosen.
        let mut keeper = NetlinkKeeper::open(Vec::new())?;
        for (address, interface) in vips.iter() {
            keeper.remove(*address, interface)?;
        }
    }
    Ok(())
}

/// Puts in force what the file says anew. What cannot be leaves everything as
/// it is.
async fn reload(file: &ConfigFile, running: &Settings, handle: &Handle) {
    let path = file.path.display();
    let (settings, document) = match file.read() {
        Ok(read) => read,
        Err(AgentError::Config(faults)) => {
            tracing::error!("{path} is not valid and was not applied");
            for fault in &faults {
                tracing::error!("{fault}");
            }
            let first = faults
                .first()
                .map_or_else(String::new, |f| format!(": {f}"));
            return unreadable(handle, format!("{path} is not valid{first}")).await;
        }
        Err(error) => {
            tracing::error!("{error}; nothing was applied");
            return unreadable(handle, error.to_string()).await;
        }
    };
    if settings != *running {
        tracing::warn!(
            "the settings in {path} have changed since the agent started; they take effect at a restart, its load balancers at once"
        );
    }
    match handle.by("SIGHUP").reload(&file.source(), document).await {
        Ok(applied) if applied.steps.is_empty() => tracing::info!("{path} has no changes"),
        Ok(applied) => tracing::info!(steps = applied.steps.len(), "{path} was applied"),
        Err(error) => tracing::error!("{}; nothing was applied", error.message()),
    }
}

/// Has the status warn of it, for not everybody who reloads reads the log.
async fn unreadable(handle: &Handle, why: String) {
    if let Err(error) = handle.unreadable(why).await {
        // The agent is about to stop.
        tracing::debug!("nobody was told: {}", error.message());
    }
}
