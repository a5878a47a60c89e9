//! What health checks cost: a thousand backends every 5 seconds take less than
//! 5 % of a core, the agent's side of control included.

use std::{
    io::{Read as _, Write as _},
    net::{IpAddr, Ipv4Addr, TcpListener},
    thread,
    time::{Duration, Instant},
};

use lb_userspace::{
    api::types::{HealthCheck, LoadBalancer},
    clock::HostClock,
    control::{self, Control, Parts},
    dataplane::memory::World,
    health::{HealthCheck as Check, Prober, failure::Failure, probe::Probe, scheduler},
    store::memory::MemoryStore,
};
use rustix::time::{ClockId, clock_gettime};
use tests::report;

use crate::rig::{LB, VIP, new_lb};

const BACKENDS: u16 = 1000;
const MEASURED: Duration = Duration::from_secs(10);
const MOST: f64 = 0.05;

/// Every address of 127.0.0.0/8 is a server here: each accepts, and answers
/// 200 to whatever it is asked.
fn servers() -> u16 {
    let listener = TcpListener::bind((Ipv4Addr::UNSPECIFIED, 0)).unwrap();
    let port = listener.local_addr().unwrap().port();
    thread::spawn(move || {
        for stream in listener.incoming() {
            let Ok(mut stream) = stream else { continue };
            // A client that goes away in between is none of the test's worries.
            let _ = stream.read(&mut [0; 512]);
            let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
        }
    });
    port
}

/// Sends every check to this host: 10.77.x.y is 127.77.x.y.
struct Local(Prober);

impl Probe for Local {
    async fn probe(&self, address: IpAddr, check: &Check) -> Result<(), Failure> {
        let IpAddr::V4(address) = address else {
            panic!("{address} is none of the test's");
        };
        let [_, b, c, d] = address.octets();
        self.0.probe([127, b, c, d].into(), check).await
    }
}

fn cpu_time(clock: ClockId) -> Duration {
    let time = clock_gettime(clock);
    Duration::new(
        time.tv_sec.try_into().unwrap(),
        time.tv_nsec.try_into().unwrap(),
    )
}

fn in_service(lb: &LoadBalancer) -> usize {
    lb.backends
        .iter()
        .filter(|backend| backend.health == "healthy")
        .count()
}

#[test]
fn a_thousand_backends_cost_little() {
    let port = servers();
    let (handle, inbox) = control::channel();
    let world = World::new(handle.dataplane_events());
    let parts = Parts {
        clock: Box::new(HostClock),
        store: Box::new(MemoryStore::default()),
        dataplane: Box::new(world.dataplane()),
        vips: None,
    };
    let control = Control::start(inbox, parts, None).unwrap();
    let control = thread::spawn(move || {
        control.run();
    });

    let backends: Vec<(String, String)> = (0..BACKENDS)
        .map(|n| {
            let address = format!("10.77.{}.{}", n / 250, n % 250 + 1);
            (format!("web-{n}"), address)
        })
        .collect();
    let backends: Vec<(&str, &str)> = backends
        .iter()
        .map(|(id, address)| (&**id, &**address))
        .collect();
    let mut lb = new_lb(LB, VIP, &backends);
    lb.health_check = Some(HealthCheck {
        interval: 5,
        ..HealthCheck::new(format!("HTTP:{port}/ping"))
    });

    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let used = runtime.block_on(async {
        handle.create_load_balancer(lb).await.unwrap();
        let local = Local(Prober::default());
        let checks = scheduler::run(
            handle.roster(),
            handle.clone(),
            handle.board(),
            local,
            scheduler::UNDER_WAY,
        );
        let checks = tokio::spawn(checks);
        let begun = Instant::now();
        loop {
            let lb = handle.load_balancer(LB).await.unwrap();
            if in_service(&lb) == usize::from(BACKENDS) {
                break;
            }
            assert!(
                begun.elapsed() < Duration::from_secs(20),
                "{} of {BACKENDS} in service",
                in_service(&lb)
            );
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
        let before = cpu_time(ClockId::ThreadCPUTime);
        tokio::time::sleep(MEASURED).await;
        let used = cpu_time(ClockId::ThreadCPUTime)
            .checked_sub(before)
            .unwrap();
        checks.abort();
        used
    });
    handle.stop();
    control.join().unwrap();
    let share = used.as_secs_f64() / MEASURED.as_secs_f64();
    report::line(&format!(
        "health checks: {BACKENDS} backends every 5 s take {:.1} % of a core",
        share * 100.0
    ));
    // Not optimised, everything takes several times as long.
    if !cfg!(debug_assertions) {
        assert!(share < MOST, "{share}");
    }
}
