//! One question to one backend, and its answer: over TCP, TLS or HTTP.
//! Every step has the check's timeout as its deadline, and every byte of an
//! answer is a stranger's.

mod http;

use std::{
    net::{IpAddr, SocketAddr},
    time::Duration,
};

use rustls::pki_types::ServerName;
use tokio::{
    net::TcpStream,
    time::{Instant, timeout_at},
};

use super::failure::{Failure, Stage};
use crate::{
    model::{Ask, HealthCheck},
    outbound::tls::{self, Tls, TlsError},
};

/// Something that can check backends; tests bring their own.
pub trait Probe: Send + Sync + 'static {
    /// Asks once. Ends within the check's timeout.
    ///
    /// # Errors
    /// Why the backend did not pass.
    fn probe(
        &self,
        address: IpAddr,
        check: &HealthCheck,
    ) -> impl Future<Output = Result<(), Failure>> + Send;
}

/// Asks over the network. Certificates that are verified must be good by the
/// host's authorities.
#[derive(Debug, Default)]
pub struct Prober {
    tls: Tls,
}

impl Probe for Prober {
    async fn probe(&self, address: IpAddr, check: &HealthCheck) -> Result<(), Failure> {
        let target = check.target();
        let to = SocketAddr::new(address, target.port.get());
        let deadline = Deadline::after(check.timeout());

        let stream = deadline
            .hold(Stage::Connect, TcpStream::connect(to))
            .await?;
        let stream = stream.map_err(Failure::connect)?;
        match &target.ask {
            Ask::Tcp => Ok(()),
            Ask::Http(path) => {
                let get = http::get(stream, path, http::host(to, check));
                deadline.hold(Stage::Answer, get).await?
            }
            Ask::Ssl => {
                let mut stream = self.handshake(stream, address, check, deadline).await?;
                tls::goodbye(&mut stream).await;
                Ok(())
            }
            Ask::Https(path) => {
                let stream = self.handshake(stream, address, check, deadline).await?;
                let get = http::get(stream, path, http::host(to, check));
                deadline.hold(Stage::Answer, get).await?
            }
        }
    }
}

impl Prober {
    async fn handshake(
        &self,
        stream: TcpStream,
        address: IpAddr,
        check: &HealthCheck,
        deadline: Deadline,
    ) -> Result<tls::Stream, Failure> {
        let ours = |error: TlsError| Failure::Ours {
            why: error.to_string(),
        };
        let connector = if check.verify_certificate() {
            self.tls.verified().await.map_err(ours)?
        } else {
            self.tls.unverified().await.map_err(ours)?
        };
        let name = match check.server_name() {
            Some(name) => ServerName::DnsName(name.clone()),
            None => ServerName::from(address),
        };
        deadline
            .hold(Stage::Handshake, connector.connect(name, stream))
            .await?
            .map_err(|error| Failure::tls(&error))
    }
}

/// When a check must be over.
#[derive(Debug, Clone, Copy)]
struct Deadline {
    at: Instant,
    limit: Duration,
}

impl Deadline {
    fn after(limit: Duration) -> Self {
        let at = Instant::now() + limit;
        Self { at, limit }
    }

    /// Waits for `step` until the deadline.
    async fn hold<T>(self, stage: Stage, step: impl Future<Output = T>) -> Result<T, Failure> {
        let limit = self.limit;
        timeout_at(self.at, step)
            .await
            .map_err(|_| Failure::Timeout { stage, limit })
    }
}

#[cfg(test)]
mod tests;
