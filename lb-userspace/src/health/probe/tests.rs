//! Probes against real servers on the loopback: good, bad, slow and hostile.

use std::{
    net::{Ipv4Addr, Ipv6Addr},
    sync::Arc,
};

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair, SanType};
use rustls::{RootCertStore, ServerConfig, pki_types::PrivateKeyDer};
use tokio::{
    io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _},
    net::{TcpListener, TcpSocket},
    sync::oneshot,
};
use tokio_rustls::TlsAcceptor;

use super::*;
use crate::wire;

const HERE: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

fn check(target: &str) -> HealthCheck {
    HealthCheck::try_from(wire::HealthCheck {
        interval: 2,
        ..wire::HealthCheck::new(target.to_owned())
    })
    .unwrap()
}

async fn probe(target: &str) -> Result<(), String> {
    probe_with(&Prober::default(), HERE, &check(target)).await
}

async fn probe_with(prober: &Prober, address: IpAddr, check: &HealthCheck) -> Result<(), String> {
    let begun = Instant::now();
    let result = prober.probe(address, check).await;
    // The timeout, and patience with a busy machine.
    let limit = check.timeout() + Duration::from_secs(10);
    assert!(begun.elapsed() < limit, "took {:?}", begun.elapsed());
    result.map_err(|failure| {
        assert!(!failure.is_ours(), "{failure}");
        failure.to_string()
    })
}

/// A server on a port of its own, each connection handled by `handle`.
async fn server<F>(handle: impl Fn(TcpStream) -> F + Send + 'static) -> u16
where
    F: Future<Output = ()> + Send + 'static,
{
    server_at(HERE, handle).await
}

async fn server_at<F>(address: IpAddr, handle: impl Fn(TcpStream) -> F + Send + 'static) -> u16
where
    F: Future<Output = ()> + Send + 'static,
{
    let listener = TcpListener::bind((address, 0)).await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(handle(stream));
        }
    });
    port
}

/// Reads a request's head.
async fn head(stream: &mut (impl AsyncRead + Unpin)) -> String {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        match stream.read_u8().await {
            Ok(byte) => head.push(byte),
            Err(_) => break,
        }
    }
    String::from_utf8(head).unwrap()
}

/// Answers one request with `answer`, then ends the connection.
async fn answer(mut stream: impl AsyncRead + AsyncWrite + Unpin, answer: &[u8]) {
    head(&mut stream).await;
    // The prober may have seen enough.
    drop(stream.write_all(answer).await);
    drop(stream.shutdown().await);
}

async fn answering(text: &'static str) -> u16 {
    server(move |stream| answer(stream, text.as_bytes())).await
}

/// Sends the same again and again, as fast as it is taken.
async fn flood(mut stream: TcpStream, first: &'static [u8], again: &'static [u8]) {
    head(&mut stream).await;
    if stream.write_all(first).await.is_ok() {
        while stream.write_all(again).await.is_ok() {}
    }
}

/// Takes a connection and says nothing, ever.
async fn silent(mut stream: TcpStream) {
    let mut ignored = [0; 1024];
    while stream.read(&mut ignored).await.is_ok_and(|read| read > 0) {}
    std::future::pending::<()>().await;
}

#[tokio::test]
async fn tcp_passes_where_a_server_listens() {
    let port = server(async |stream| drop(stream)).await;
    assert_eq!(probe(&format!("TCP:{port}")).await, Ok(()));
    let port = server(silent).await;
    assert_eq!(probe(&format!("TCP:{port}")).await, Ok(()));
}

#[tokio::test]
async fn a_port_on_which_nobody_listens_refuses() {
    let port = {
        let listener = TcpListener::bind((HERE, 0)).await.unwrap();
        listener.local_addr().unwrap().port()
    };
    for target in ["TCP:{}", "SSL:{}", "HTTP:{}/", "HTTPS:{}/"] {
        let error = probe(&target.replace("{}", &port.to_string())).await;
        let error = error.unwrap_err();
        assert!(
            error.starts_with("cannot connect: Connection refused"),
            "{error}"
        );
    }
}

#[tokio::test]
async fn a_server_whose_backlog_is_full_times_out() {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind((HERE, 0).into()).unwrap();
    let listener = socket.listen(1).unwrap();
    let to = listener.local_addr().unwrap();
    // Nobody accepts: soon handshakes are no longer answered.
    let mut waiting = Vec::new();
    let full = Duration::from_millis(200);
    while let Ok(stream) = tokio::time::timeout(full, TcpStream::connect(to)).await {
        waiting.push(stream.unwrap());
        assert!(waiting.len() < 100, "the backlog is never full");
    }
    let error = probe(&format!("TCP:{}", to.port())).await;
    assert_eq!(error.unwrap_err(), "connecting took longer than 1 s");
}

#[tokio::test]
async fn http_passes_with_200_and_nothing_else() {
    for line in [
        "HTTP/1.1 200 OK",
        "HTTP/1.0 200 OK",
        "HTTP/1.1 200 Whatever",
    ] {
        let text = format!("{line}\r\nContent-Length: 2\r\n\r\nok");
        let port = server(move |stream| {
            let text = text.clone();
            async move { answer(stream, text.as_bytes()).await }
        })
        .await;
        let result = probe(&format!("HTTP:{port}/")).await;
        assert_eq!(result, Ok(()), "{line}");
    }
    for status in [201, 204, 206, 301, 304, 401, 404, 500, 503, 599] {
        let text = format!("HTTP/1.1 {status} X\r\nContent-Length: 0\r\n\r\n");
        let port = server(move |stream| {
            let text = text.clone();
            async move { answer(stream, text.as_bytes()).await }
        })
        .await;
        let error = probe(&format!("HTTP:{port}/")).await;
        assert_eq!(
            error.unwrap_err(),
            format!("the answer was {status}; only 200 passes")
        );
    }
}

#[tokio::test]
async fn http_asks_for_the_path_and_says_who_asks() {
    let (send, sent) = oneshot::channel();
    let send = Arc::new(std::sync::Mutex::new(Some(send)));
    let port = server_at(Ipv6Addr::LOCALHOST.into(), move |mut stream| {
        let send = Arc::clone(&send);
        async move {
            let head = head(&mut stream).await;
            if let Some(send) = send.lock().unwrap().take() {
                send.send(head).unwrap();
            }
            drop(
                stream
                    .write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
                    .await,
            );
        }
    })
    .await;
    let check = check(&format!("HTTP:{port}/ping/ü?deep=1"));
    let result = probe_with(&Prober::default(), Ipv6Addr::LOCALHOST.into(), &check).await;
    assert_eq!(result, Ok(()));
    let head = sent.await.unwrap().to_lowercase();
    assert!(
        head.starts_with("get /ping/%c3%bc?deep=1 http/1.1\r\n"),
        "{head}"
    );
    for field in [
        format!("host: [::1]:{port}\r\n"),
        format!("user-agent: ebb-health/{}\r\n", env!("CARGO_PKG_VERSION")),
        "connection: close\r\n".to_owned(),
    ] {
        assert!(head.contains(&field), "{field:?} in {head:?}");
    }
}

#[tokio::test]
async fn an_answer_that_ends_too_early_does_not_pass() {
    for text in [
        "",
        "HTTP/1.1 200 OK\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhal",
    ] {
        let port = answering(text).await;
        let error = probe(&format!("HTTP:{port}/")).await;
        assert_eq!(
            error.unwrap_err(),
            "the connection ended before the answer was complete",
            "{text:?}"
        );
    }
}

#[tokio::test]
async fn a_server_that_resets_the_connection_does_not_pass() {
    let port = server(async |mut stream| {
        head(&mut stream).await;
        stream.set_zero_linger().unwrap();
    })
    .await;
    let error = probe(&format!("HTTP:{port}/")).await;
    assert_eq!(
        error.unwrap_err(),
        "the connection ended before the answer was complete"
    );
}

#[tokio::test]
async fn an_answer_in_another_language_does_not_pass() {
    for text in [
        "SSH-2.0-OpenSSH_9.2\r\n",
        "220 mail ESMTP\r\n",
        "HTTP/9.9 200 OK\r\n\r\n",
        "HTTP/1.1 2OO OK\r\n\r\n",
        "HTTP/1.1 200 OK\r\nbroken header\r\n\r\n",
    ] {
        let port = answering(text).await;
        let error = probe(&format!("HTTP:{port}/")).await.unwrap_err();
        assert!(error.contains("is not HTTP"), "{text:?}: {error}");
    }
}

#[tokio::test]
async fn a_silent_server_times_out() {
    let port = server(silent).await;
    for (target, error) in [
        ("HTTP:{}/", "the answer took longer than 1 s"),
        ("SSL:{}", "the TLS handshake took longer than 1 s"),
        ("HTTPS:{}/", "the TLS handshake took longer than 1 s"),
    ] {
        let result = probe(&target.replace("{}", &port.to_string())).await;
        assert_eq!(result.unwrap_err(), error, "{target}");
    }
}

#[tokio::test]
async fn a_server_that_dribbles_times_out() {
    let dribble = |text: &'static [u8]| {
        server(move |mut stream| async move {
            head(&mut stream).await;
            for byte in text.iter().cycle() {
                tokio::time::sleep(Duration::from_millis(50)).await;
                if stream.write_u8(*byte).await.is_err() {
                    break;
                }
            }
        })
    };
    let in_the_head = dribble(b"HTTP/1.1 200 OK\r\nX-Slow: yes it is\r\n").await;
    let in_the_body = server(async |mut stream| {
        head(&mut stream).await;
        let text = b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n";
        drop(stream.write_all(text).await);
        silent(stream).await;
    })
    .await;
    for port in [in_the_head, in_the_body] {
        let error = probe(&format!("HTTP:{port}/")).await;
        assert_eq!(error.unwrap_err(), "the answer took longer than 1 s");
    }
}

#[tokio::test]
async fn a_server_that_floods_is_not_listened_to_for_long() {
    // An endless body: the status is known, and more than enough was read.
    let body = server(|stream| flood(stream, b"HTTP/1.1 200 OK\r\n\r\n", &[b'x'; 8192])).await;
    assert_eq!(probe(&format!("HTTP:{body}/")).await, Ok(()));

    let wrong = server(|stream| {
        flood(
            stream,
            b"HTTP/1.1 500 No\r\nContent-Length: 99999999999\r\n\r\n",
            &[b'x'; 8192],
        )
    })
    .await;
    let error = probe(&format!("HTTP:{wrong}/")).await;
    assert_eq!(error.unwrap_err(), "the answer was 500; only 200 passes");

    // Endless heads of all kinds.
    let line: &[u8] = &[b'x'; 8192];
    for (first, again) in [
        (&b"HTTP/1.1 200 OK\r\n"[..], &b"X-More: and more\r\n"[..]),
        (b"HTTP/1.1 200 OK\r\nX-Long: ", line),
        (b"", line),
        (b"HTTP/1.1 200 ", line),
    ] {
        let port = server(move |stream| flood(stream, first, again)).await;
        let error = probe(&format!("HTTP:{port}/")).await.unwrap_err();
        assert!(error.contains("is not HTTP"), "{error}");
    }

    // "Wait", for ever.
    let port = server(|stream| flood(stream, b"", b"HTTP/1.1 100 Continue\r\n\r\n")).await;
    let error = probe(&format!("HTTP:{port}/")).await;
    assert_eq!(error.unwrap_err(), "the answer took longer than 1 s");

    // TLS that is none.
    let port =
        server(move |mut stream| async move { while stream.write_all(line).await.is_ok() {} })
            .await;
    let error = probe(&format!("SSL:{port}")).await.unwrap_err();
    assert!(error.starts_with("the TLS handshake failed: "), "{error}");
}

/// A certificate authority, and certificates by it.
struct Authority(CertifiedIssuer<'static, KeyPair>);

impl Authority {
    fn new() -> Self {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().unwrap();
        Self(CertifiedIssuer::self_signed(params, key).unwrap())
    }

    fn prober(&self) -> Prober {
        let mut roots = RootCertStore::empty();
        roots.add(self.0.der().clone()).unwrap();
        Prober {
            tls: Tls::trusting(roots),
        }
    }

    fn acceptor(&self, names: Vec<SanType>) -> TlsAcceptor {
        let mut params = CertificateParams::default();
        params.subject_alt_names = names;
        let key = KeyPair::generate().unwrap();
        let certificate = params.signed_by(&key, &self.0).unwrap();
        acceptor(certificate.der().clone(), &key)
    }
}

fn acceptor(certificate: rustls::pki_types::CertificateDer<'static>, key: &KeyPair) -> TlsAcceptor {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(
            vec![certificate],
            PrivateKeyDer::try_from(key.serialize_der()).unwrap(),
        )
        .unwrap();
    TlsAcceptor::from(Arc::new(config))
}

fn self_signed() -> TlsAcceptor {
    let key = KeyPair::generate().unwrap();
    let params = CertificateParams::new(vec!["whoever.invalid".to_owned()]).unwrap();
    let certificate = params.self_signed(&key).unwrap();
    acceptor(certificate.der().clone(), &key)
}

async fn tls_server(acceptor: TlsAcceptor, text: &'static str) -> u16 {
    server(move |stream| {
        let acceptor = acceptor.clone();
        async move {
            if let Ok(stream) = acceptor.accept(stream).await {
                answer(stream, text.as_bytes()).await;
            }
        }
    })
    .await
}

const OK: &str = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";
const BUSY: &str = "HTTP/1.1 503 Busy\r\nContent-Length: 0\r\n\r\n";

#[tokio::test]
async fn tls_passes_with_any_certificate_when_none_is_verified() {
    let port = tls_server(self_signed(), OK).await;
    assert_eq!(probe(&format!("SSL:{port}")).await, Ok(()));
    assert_eq!(probe(&format!("HTTPS:{port}/")).await, Ok(()));
    let port = tls_server(self_signed(), BUSY).await;
    assert_eq!(probe(&format!("SSL:{port}")).await, Ok(()));
    let error = probe(&format!("HTTPS:{port}/")).await;
    assert_eq!(error.unwrap_err(), "the answer was 503; only 200 passes");
}

#[tokio::test]
async fn a_server_without_tls_fails_the_handshake() {
    let port = answering(OK).await;
    for target in [format!("SSL:{port}"), format!("HTTPS:{port}/")] {
        // Half a request is what it waits for; the prober's greeting is no
        // request at all.
        let error = probe(&target).await.unwrap_err();
        assert!(error.contains("the TLS handshake"), "{error}");
    }
    let port = server(async |stream| drop(stream)).await;
    let error = probe(&format!("SSL:{port}")).await.unwrap_err();
    assert!(error.starts_with("the TLS handshake failed: "), "{error}");
}

fn verified(target: &str, server_name: Option<&str>) -> HealthCheck {
    HealthCheck::try_from(wire::HealthCheck {
        interval: 2,
        verify_certificate: true,
        server_name: server_name.map(str::to_owned),
        ..wire::HealthCheck::new(target.to_owned())
    })
    .unwrap()
}

#[tokio::test]
async fn a_verified_certificate_is_for_the_address_or_the_server_name() {
    let authority = Authority::new();
    let prober = authority.prober();
    let by_address = authority.acceptor(vec![SanType::IpAddress(HERE)]);
    let port = tls_server(by_address, OK).await;
    let by_name = authority.acceptor(vec![SanType::DnsName(
        "www.example.com".try_into().unwrap(),
    )]);
    let named_port = tls_server(by_name, OK).await;

    let probe = async |port: u16, name: Option<&str>| {
        let check = verified(&format!("HTTPS:{port}/"), name);
        probe_with(&prober, HERE, &check).await
    };
    assert_eq!(probe(port, None).await, Ok(()));
    assert_eq!(probe(named_port, Some("www.example.com")).await, Ok(()));
    for (port, name) in [
        (port, Some("www.example.com")),
        (named_port, None),
        (named_port, Some("example.com")),
    ] {
        let error = probe(port, name).await.unwrap_err();
        assert!(error.contains("certificate not valid for name"), "{error}");
    }
}

#[tokio::test]
async fn a_certificate_of_an_unknown_authority_does_not_pass_when_verified() {
    let prober = Authority::new().prober();
    for acceptor in [
        Authority::new().acceptor(vec![SanType::IpAddress(HERE)]),
        self_signed(),
    ] {
        let port = tls_server(acceptor, OK).await;
        let check = verified(&format!("SSL:{port}"), None);
        let error = probe_with(&prober, HERE, &check).await.unwrap_err();
        assert!(
            error.starts_with("the TLS handshake failed: invalid peer certificate"),
            "{error}"
        );
    }
}
