//! TLS handshakes with backends, whose certificates are verified or not.

use std::{io, net::IpAddr, sync::Arc, time::Duration};

use rustls::{
    ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme,
    client::{
        Resumption,
        danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    },
    crypto::CryptoProvider,
    pki_types::{CertificateDer, ServerName, UnixTime},
};
use tokio::{io::AsyncWriteExt as _, net::TcpStream, sync::OnceCell};
use tokio_rustls::{TlsConnector, client::TlsStream};

use crate::health::{check::HealthCheck, failure::Failure};

pub(super) type Stream = TlsStream<TcpStream>;

/// How long a polite end of a connection may take.
const GOODBYE: Duration = Duration::from_millis(100);

/// Makes handshakes.
pub(super) struct Tls {
    provider: Arc<CryptoProvider>,
    anybody: OnceCell<TlsConnector>,
    /// With the authorities, which are read when they are needed first.
    verified: OnceCell<TlsConnector>,
}

impl std::fmt::Debug for Tls {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Tls").finish_non_exhaustive()
    }
}

impl Tls {
    pub(super) fn new() -> Self {
        Self {
            provider: Arc::new(rustls::crypto::ring::default_provider()),
            anybody: OnceCell::new(),
            verified: OnceCell::new(),
        }
    }

    /// With these authorities instead of the host's.
    #[cfg(test)]
    pub(super) fn trusting(roots: RootCertStore) -> Self {
        let tls = Self::new();
        let connector = verifying(Arc::clone(&tls.provider), roots).unwrap();
        Self {
            verified: OnceCell::new_with(Some(connector)),
            ..tls
        }
    }

    pub(super) async fn handshake(
        &self,
        stream: TcpStream,
        address: IpAddr,
        check: &HealthCheck,
    ) -> Result<Stream, Failure> {
        let connector = if check.verify_certificate() {
            self.verified().await?
        } else {
            self.anybody().await?
        };
        let name = match check.server_name() {
            Some(name) => ServerName::DnsName(name.clone()),
            None => ServerName::from(address),
        };
        connector
            .connect(name, stream)
            .await
            .map_err(|error| Failure::tls(&error))
    }

    async fn anybody(&self) -> Result<&TlsConnector, Failure> {
        self.anybody
            .get_or_try_init(async || {
                let provider = Arc::clone(&self.provider);
                let verifier = Anybody(
                    provider
                        .signature_verification_algorithms
                        .supported_schemes(),
                );
                let config = ClientConfig::builder_with_provider(provider)
                    .with_safe_default_protocol_versions()
                    .map_err(ours)?
                    .dangerous()
                    .with_custom_certificate_verifier(Arc::new(verifier))
                    .with_no_client_auth();
                Ok(connector(config))
            })
            .await
    }

    async fn verified(&self) -> Result<&TlsConnector, Failure> {
        self.verified
            .get_or_try_init(async || {
                let provider = Arc::clone(&self.provider);
                tokio::task::spawn_blocking(|| verifying(provider, host_authorities()?))
                    .await
                    .map_err(ours)?
            })
            .await
    }
}

/// The authorities that the host trusts.
fn host_authorities() -> Result<RootCertStore, Failure> {
    let found = rustls_native_certs::load_native_certs();
    let mut roots = RootCertStore::empty();
    let (good, _) = roots.add_parsable_certificates(found.certs);
    if good > 0 {
        return Ok(roots);
    }
    let why = match found.errors.first() {
        Some(error) => format!("the certificate authorities cannot be read: {error}"),
        None => "the host has no certificate authorities; install ca-certificates, or set \
                 `verify_certificate = false`"
            .to_owned(),
    };
    Err(Failure::Ours { why })
}

fn verifying(provider: Arc<CryptoProvider>, roots: RootCertStore) -> Result<TlsConnector, Failure> {
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(ours)?
        .with_root_certificates(roots)
        .with_no_client_auth();
    Ok(connector(config))
}

fn connector(mut config: ClientConfig) -> TlsConnector {
    // What is checked is that a stranger can be greeted.
    config.resumption = Resumption::disabled();
    TlsConnector::from(Arc::new(config))
}

fn ours(error: impl std::error::Error) -> Failure {
    Failure::Ours {
        why: error.to_string(),
    }
}

/// Ends a connection so that the server does not take it for an attack. It
/// passed already; what happens now changes nothing.
pub(super) async fn goodbye(stream: &mut Stream) {
    let _: Result<io::Result<()>, _> = tokio::time::timeout(GOODBYE, stream.shutdown()).await;
}

/// Takes every certificate, the oldest and the strangest too. With nobody to
/// vouch for it, its signature would prove nothing, and is not looked at.
#[derive(Debug)]
struct Anybody(Vec<SignatureScheme>);

impl ServerCertVerifier for Anybody {
    fn verify_server_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _cert: &CertificateDer<'_>,
        _signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _message: &[u8],
        _cert: &CertificateDer<'_>,
        _signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.clone()
    }
}
