//! What is done with many load balancers, and how long it takes.

use std::{
    fmt::Write as _,
    future::Future,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result};
use lb_userspace::wire::{Apply, Deregister, NewBackend, NewBackends};

use crate::{
    host::{Host, Neighbours},
    report::{Row, Unit},
};

/// How much there is of everything.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Size {
    pub(crate) load_balancers: u16,
    /// Of each.
    pub(crate) backends: u16,
    /// How many times each command is given.
    pub(crate) rounds: usize,
}

/// How often the agent is restarted.
const RESTARTS: usize = 5;
/// How long it is watched while nothing happens.
const IDLE: Duration = Duration::from_secs(20);
/// What a start leaves to do must be over before that.
const CALM: Duration = Duration::from_secs(10);
/// At most so much of a core in the second before it counts as calm.
const CALM_SHARE: f64 = 0.05;

impl Size {
    fn all_backends(&self) -> u32 {
        u32::from(self.load_balancers) * u32::from(self.backends)
    }

    fn address(&self, lb: u16, backend: u16) -> String {
        let n = u32::from(lb) * u32::from(self.backends) + u32::from(backend);
        // 250 to a network, none of which ends in 0 or 255.
        format!("10.{}.{}.{}", 64 + n / 62_500, n / 250 % 250, n % 250 + 1)
    }

    /// The load balancers, as a file declares them.
    fn document(&self) -> String {
        let mut text = String::new();
        for lb in 0..self.load_balancers {
            let vip = format!("10.1.{}.{}", lb / 250, lb % 250 + 1);
            let _ = writeln!(
                text,
                "[[load_balancer]]\nname = \"lb-{lb}\"\nmode = \"nat\"\n\
                 listeners = [{{ protocol = \"tcp\", address = \"{vip}\", port = 80 }}]\n\
                 backends = ["
            );
            for backend in 0..self.backends {
                let address = self.address(lb, backend);
                let _ = writeln!(
                    text,
                    "    {{ id = \"web-{backend}\", address = \"{address}\" }},"
                );
            }
            text.push_str("]\n");
        }
        text
    }
}

/// Everything there is to measure.
pub(crate) fn with(neighbours: Neighbours, size: Size) -> Result<Vec<Row>> {
    run(async {
        let mut host = Host::new(neighbours)?;
        let mut rows = vec![apply(&mut host, size).await?];
        let (deregister, register) = come_and_go(&host, size).await?;
        rows.extend([deregister, register, status(&host, size).await?]);
        rows.push(restart(&mut host, size).await?);
        rows.push(idle("idle", &host).await?);
        rows.push(Row::once(
            "resident memory",
            Unit::Bytes,
            whole(host.resident()?),
        ));
        rows.push(Row::once(
            "state on disk",
            Unit::Bytes,
            whole(host.state_size()?),
        ));
        Ok(rows)
    })
}

/// Only what it costs to have them.
pub(crate) fn idle_with(neighbours: Neighbours, size: Size) -> Result<Vec<Row>> {
    run(async {
        let mut host = Host::new(neighbours)?;
        apply(&mut host, size).await?;
        Ok(vec![
            idle("idle, no neighbour answers", &host).await?,
            status(&host, size)
                .await?
                .named("`status`, no neighbour answers"),
        ])
    })
}

fn run<T>(work: impl Future<Output = Result<T>>) -> Result<T> {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?
        .block_on(work)
}

async fn apply(host: &mut Host, size: Size) -> Result<Row> {
    host.write_settings(size.all_backends().next_power_of_two().clamp(1024, 65_535))?;
    host.start().await?;
    let document = Apply {
        document: size.document(),
        source: None,
        dry_run: false,
    };
    let began = Instant::now();
    host.client.apply(&document).await?;
    let took = began.elapsed();
    host.wait("all of them to be there", |status| {
        let tally = status.backends;
        tally.in_service + tally.out_of_service == u64::from(size.all_backends())
    })
    .await?;
    calm_down(host).await?;
    Ok(Row::once(
        "`apply` of all",
        Unit::Seconds,
        took.as_secs_f64(),
    ))
}

/// A backend of one load balancer after the other leaves and comes back.
async fn come_and_go(host: &Host, size: Size) -> Result<(Row, Row)> {
    let (mut leaving, mut coming) = (Vec::new(), Vec::new());
    for round in 0..size.rounds {
        let lb = u16::try_from(round)? % size.load_balancers;
        let name = format!("lb-{lb}");
        let began = Instant::now();
        host.client
            .deregister(&name, "web-0", &Deregister::default())
            .await?;
        leaving.push(began.elapsed().as_secs_f64());
        let back = NewBackends {
            backends: vec![NewBackend {
                id: Some("web-0".to_owned()),
                address: size.address(lb, 0).parse()?,
                weight: 1,
            }],
        };
        let began = Instant::now();
        host.client.register(&name, &back).await?;
        coming.push(began.elapsed().as_secs_f64());
    }
    Ok((
        Row::of("`backend deregister`", Unit::Seconds, &leaving).at_most(0.010),
        Row::of("`backend register`", Unit::Seconds, &coming),
    ))
}

async fn status(host: &Host, size: Size) -> Result<Row> {
    let mut times = Vec::new();
    for _ in 0..size.rounds {
        let began = Instant::now();
        host.client.status().await?;
        times.push(began.elapsed().as_secs_f64());
    }
    Ok(Row::of("`status`", Unit::Seconds, &times).at_most(0.050))
}

async fn restart(host: &mut Host, size: Size) -> Result<Row> {
    let mut times = Vec::new();
    for _ in 0..RESTARTS.min(size.rounds) {
        host.stop()?;
        times.push(host.start().await?.as_secs_f64());
    }
    Ok(Row::of("restart to the first answer", Unit::Seconds, &times).at_most(3.0))
}

async fn idle(name: &'static str, host: &Host) -> Result<Row> {
    calm_down(host).await?;
    let share = share(host, IDLE).await?;
    Ok(Row::once(name, Unit::Core, share).at_most(0.02))
}

/// Waits until what a change has left to do is done.
async fn calm_down(host: &Host) -> Result<()> {
    const TRIES: u32 = 300;
    tokio::time::sleep(CALM).await;
    for _ in 0..TRIES {
        if share(host, Duration::from_secs(1)).await? < CALM_SHARE {
            return Ok(());
        }
    }
    // What never comes to rest is measured as it is.
    Ok(())
}

/// The share of a core that the agent takes.
async fn share(host: &Host, time: Duration) -> Result<f64> {
    let (began, before) = (Instant::now(), host.cpu()?);
    tokio::time::sleep(time).await;
    let used = host.cpu()?.checked_sub(before).context("time went back")?;
    Ok(used.as_secs_f64() / began.elapsed().as_secs_f64())
}

#[expect(
    clippy::cast_precision_loss,
    reason = "sizes are shown to three digits"
)]
fn whole(n: u64) -> f64 {
    n as f64
}
