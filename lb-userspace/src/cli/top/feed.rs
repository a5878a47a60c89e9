//! A thread that asks the agent again and again.

use std::{sync::mpsc, thread, time::Duration};

use tokio::{
    runtime::{Builder, Runtime},
    signal::unix::{SignalKind, signal},
};

use crate::{
    api::client::{Client, ClientError},
    cli::error::CliError,
    wire::{LoadBalancer, Status},
};

pub(super) type Sample = (Status, Vec<LoadBalancer>);

#[derive(Debug)]
pub(super) enum News {
    Sample(Box<Sample>),
    /// The agent did not answer; it is asked again.
    Silence(ClientError),
    /// The process is asked to end.
    Stop,
}

#[derive(Debug)]
pub(super) struct Feed {
    news: mpsc::Receiver<News>,
}

impl Feed {
    pub(super) fn start(client: Client, interval: Duration) -> Result<Self, CliError> {
        let runtime = Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(CliError::Runtime)?;
        let (sender, news) = mpsc::channel();
        // It ends with the process, or when nobody takes its news any more.
        thread::Builder::new()
            .name("feed".to_owned())
            .spawn(move || ask(&runtime, &client, interval, &sender))
            .map_err(CliError::Runtime)?;
        Ok(Self { news })
    }

    /// Waits for the first answer; without one there is nothing to show.
    pub(super) fn first(&self) -> Result<Sample, CliError> {
        match self.news.recv() {
            Ok(News::Sample(sample)) => Ok(*sample),
            Ok(News::Silence(error)) => Err(error.into()),
            Ok(News::Stop) | Err(_) => Err(CliError::Stopped),
        }
    }

    pub(super) fn news(&self) -> impl Iterator<Item = News> {
        self.news.try_iter()
    }
}

fn ask(runtime: &Runtime, client: &Client, interval: Duration, news: &mpsc::Sender<News>) {
    runtime.block_on(async {
        // Left to the default, they would leave the terminal as it is now.
        let stop = async {
            let terminate = signal(SignalKind::terminate());
            let hang_up = signal(SignalKind::hangup());
            if let (Ok(mut terminate), Ok(mut hang_up)) = (terminate, hang_up) {
                tokio::select! {
                    _ = terminate.recv() => {}
                    _ = hang_up.recv() => {}
                }
            } else {
                std::future::pending::<()>().await;
            }
        };
        let samples = async {
            let mut clock = tokio::time::interval(interval);
            clock.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
            loop {
                clock.tick().await;
                let told = match sample(client).await {
                    Ok(sample) => news.send(News::Sample(Box::new(sample))),
                    Err(error) => news.send(News::Silence(error)),
                };
                if told.is_err() {
                    return;
                }
            }
        };
        tokio::select! {
            () = stop => drop(news.send(News::Stop)),
            () = samples => {}
        }
    });
}

async fn sample(client: &Client) -> Result<Sample, ClientError> {
    let status = client.status().await?;
    let load_balancers = client.load_balancers().await?.load_balancers;
    Ok((status, load_balancers))
}
