//! TLS towards others, whose certificates are verified or not.

use std::{fmt, io, sync::Arc, time::Duration};

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

pub type Stream = TlsStream<TcpStream>;

/// How long a polite end of a connection may take.
const GOODBYE: Duration = Duration::from_millis(100);

/// Why no handshake can be made at all.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    #[error("the host's certificate authorities cannot be read: {0}")]
    Authorities(#[source] rustls_native_certs::Error),
    #[error("the host has no certificate authorities; install ca-certificates")]
    NoAuthorities,
    #[error("TLS cannot be set up: {0}")]
    Setup(#[from] rustls::Error),
    #[error("the agent is stopping")]
    Stopping,
}

/// Makes handshakes. What it needs for them is made when it is needed first.
pub struct Tls {
    provider: Arc<CryptoProvider>,
    unverified: OnceCell<TlsConnector>,
    verified: OnceCell<TlsConnector>,
}

impl fmt::Debug for Tls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tls").finish_non_exhaustive()
    }
}

impl Default for Tls {
    fn default() -> Self {
        Self {
            provider: Arc::new(rustls::crypto::ring::default_provider()),
            unverified: OnceCell::new(),
            verified: OnceCell::new(),
        }
    }
}

impl Tls {
    /// With these authorities instead of the host's.
    #[cfg(test)]
    pub(crate) fn trusting(roots: RootCertStore) -> Self {
        let tls = Self::default();
        let connector = verifying(Arc::clone(&tls.provider), roots).unwrap();
        Self {
            verified: OnceCell::new_with(Some(connector)),
            ..tls
        }
    }

    /// Makes handshakes with whoever answers, whatever certificate it shows.
    ///
    /// # Errors
    /// When TLS cannot be set up.
    pub async fn unverified(&self) -> Result<&TlsConnector, TlsError> {
        self.unverified
            .get_or_try_init(async || {
                let provider = Arc::clone(&self.provider);
                let schemes = provider
                    .signature_verification_algorithms
                    .supported_schemes();
                let config = ClientConfig::builder_with_provider(provider)
                    .with_safe_default_protocol_versions()?
                    .dangerous()
                    .with_custom_certificate_verifier(Arc::new(Unverified(schemes)))
                    .with_no_client_auth();
                Ok(connector(config))
            })
            .await
    }

    /// Makes handshakes only with those that an authority of the host's vouches for.
    ///
    /// # Errors
    /// When the host has no authorities.
    pub async fn verified(&self) -> Result<&TlsConnector, TlsError> {
        self.verified
            .get_or_try_init(async || {
                let provider = Arc::clone(&self.provider);
                let make = || verifying(provider, host_authorities()?);
                // Reads some hundred files, once.
                tokio::task::spawn_blocking(make)
                    .await
                    .map_err(|_| TlsError::Stopping)?
            })
            .await
    }
}

fn host_authorities() -> Result<RootCertStore, TlsError> {
    let found = rustls_native_certs::load_native_certs();
    let mut roots = RootCertStore::empty();
    let (good, _) = roots.add_parsable_certificates(found.certs);
    match found.errors.into_iter().next() {
        _ if good > 0 => Ok(roots),
        Some(error) => Err(TlsError::Authorities(error)),
        None => Err(TlsError::NoAuthorities),
    }
}

fn verifying(
    provider: Arc<CryptoProvider>,
    roots: RootCertStore,
) -> Result<TlsConnector, TlsError> {
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots)
        .with_no_client_auth();
    Ok(connector(config))
}

fn connector(mut config: ClientConfig) -> TlsConnector {
    // Whoever is greeted once in a while is a stranger again.
    config.resumption = Resumption::disabled();
    TlsConnector::from(Arc::new(config))
}

/// Ends a connection so that the server does not take it for an attack.
pub async fn goodbye(stream: &mut Stream) {
    // What was to be said is said; how it ends changes nothing.
    let _: Result<io::Result<()>, _> = tokio::time::timeout(GOODBYE, stream.shutdown()).await;
}

/// Takes every certificate, the oldest and the strangest too. With nobody to
/// vouch for it, its signature would prove nothing, and is not looked at.
#[derive(Debug)]
struct Unverified(Vec<SignatureScheme>);

impl ServerCertVerifier for Unverified {
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
