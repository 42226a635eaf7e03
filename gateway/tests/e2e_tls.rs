//! TLS with clients: certificate selection, versions, resumption and ALPN, with rustls and `openssl s_client`.
//!
//! Not here: the certificates of Secrets (`e2e_reload`, `gateway/src/control/certificates.rs`).

#![allow(clippy::unwrap_used, reason = "tests fail by panicking")]

#[path = "support/missing.rs"]
mod missing;
mod support;

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex, mpsc};

use missing::is_missing;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{
    CryptoProvider, WebPkiSupportedAlgorithms, verify_tls12_signature, verify_tls13_signature,
};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{
    ClientConfig, ClientConnection, DigitallySignedStruct, HandshakeKind, ProtocolVersion, SignatureScheme,
    StreamOwned, SupportedProtocolVersion,
};
use support::fixtures::{Manifests, ingress, secret, service};
use support::{Certificate, DEADLINE, Follows, Origin, TestGateway, Then, TlsClient, Wire, tls_client};

/// A gateway with four hosts: ECDSA certificate, RSA certificate, wildcard certificate, no certificate.
struct Site {
    gateway: TestGateway,
    ecdsa: Certificate,
    rsa: Certificate,
    wildcard: Certificate,
    _origins: [Origin; 4],
}

impl Site {
    fn start() -> Self {
        let origins = ["ecdsa", "rsa", "wild", "bare"].map(Origin::named);
        let ecdsa = Certificate::new("ecdsa.example");
        let rsa_key = rcgen::KeyPair::generate_rsa_for(&rcgen::PKCS_RSA_SHA256, rcgen::RsaKeySize::_2048);
        let rsa = Certificate::with_key("rsa.example", &rsa_key.unwrap());
        let wildcard = Certificate::new("*.wild.example");
        struct Host<'a> {
            name: &'a str,
            host: &'a str,
            certificate: Option<&'a Certificate>,
        }
        let mut objects = Manifests::default();
        for (origin, Host { name, host, certificate }) in origins.iter().zip([
            Host { name: "ecdsa", host: "ecdsa.example", certificate: Some(&ecdsa) },
            Host { name: "rsa", host: "rsa.example", certificate: Some(&rsa) },
            Host { name: "wild", host: "*.wild.example", certificate: Some(&wildcard) },
            Host { name: "bare", host: "bare.example", certificate: None },
        ]) {
            let mut route = ingress(name).host(host).path("/", name);
            if let Some(certificate) = certificate {
                route = route.tls(host, name);
                objects += secret(name, certificate);
            }
            objects += route + service(name).endpoints(&[origin.address]);
        }
        let gateway = TestGateway::start(&objects);
        Self { gateway, ecdsa, rsa, wildcard, _origins: origins }
    }

    fn client(&self, host: &str) -> TlsClient {
        tls_client(self.gateway.gateway.https, host, &[&self.ecdsa, &self.rsa, &self.wildcard])
    }

    /// Connects with a server name and a client configuration.
    fn connect(&self, name: &str, config: &Arc<ClientConfig>) -> TlsClient {
        let name = ServerName::try_from(name.to_owned()).unwrap();
        let connection = ClientConnection::new(Arc::clone(config), name).unwrap();
        let stream = TcpStream::connect(self.gateway.gateway.https).unwrap();
        stream.set_read_timeout(Some(DEADLINE)).unwrap();
        Wire::new(StreamOwned::new(connection, stream))
    }
}

/// Accepts any certificate, but verifies signatures.
#[derive(Debug)]
struct AnyCertificate(WebPkiSupportedAlgorithms);

impl ServerCertVerifier for AnyCertificate {
    fn verify_server_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, certificate, signature, &self.0)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, certificate, signature, &self.0)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.supported_schemes()
    }
}

/// Returns a client configuration that accepts any certificate.
fn trusting(versions: &[&'static SupportedProtocolVersion], alpn: &[&str]) -> ClientConfig {
    let provider: CryptoProvider = rustls::crypto::aws_lc_rs::default_provider();
    let algorithms = provider.signature_verification_algorithms;
    let mut config = ClientConfig::builder_with_provider(Arc::new(provider))
        .with_protocol_versions(versions)
        .unwrap()
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(AnyCertificate(algorithms)))
        .with_no_client_auth();
    config.alpn_protocols = alpn.iter().map(|name| name.as_bytes().to_vec()).collect();
    config
}

const BOTH: [&SupportedProtocolVersion; 2] = [&rustls::version::TLS12, &rustls::version::TLS13];

#[test]
fn sni_selects_the_certificate_of_the_host() {
    let site = Site::start();
    struct Case<'a> {
        host: &'a str,
        certificate: &'a Certificate,
        origin: &'a str,
    }
    for Case { host, certificate, origin } in [
        Case { host: "ecdsa.example", certificate: &site.ecdsa, origin: "ecdsa" },
        Case { host: "ECDSA.Example", certificate: &site.ecdsa, origin: "ecdsa" },
        Case { host: "rsa.example", certificate: &site.rsa, origin: "rsa" },
        Case { host: "a.wild.example", certificate: &site.wildcard, origin: "wild" },
        Case { host: "b.wild.example", certificate: &site.wildcard, origin: "wild" },
    ] {
        let mut client = site.client(host);
        assert_eq!(client.get(host, "/").text(), origin, "{host}");
        assert_eq!(client.certificate(), certificate.der, "{host}");
    }
}

#[test]
fn missing_sni_or_secret_selects_the_default_certificate() {
    let site = Site::start();
    let config = Arc::new(trusting(&BOTH, &["http/1.1"]));
    let of_hosts = [&site.ecdsa.der, &site.rsa.der, &site.wildcard.der];
    // A client sends no SNI for an IP address. A wildcard matches exactly one label.
    let mut received = Vec::new();
    for name in ["127.0.0.1", "bare.example", "unknown.example", "a.b.wild.example", "wild.example"] {
        let mut client = site.connect(name, &config);
        assert_eq!(client.get("bare.example", "/").text(), "bare", "{name}");
        assert_eq!(client.get("rsa.example", "/").text(), "rsa", "{name}");
        let certificate = client.certificate();
        assert!(!of_hosts.contains(&&certificate), "{name} got the certificate of a host");
        received.push(certificate);
    }
    received.dedup();
    assert_eq!(received.len(), 1, "there is one default certificate");
}

#[test]
fn host_that_differs_from_sni_is_routed_by_host() {
    let site = Site::start();
    let mut client = site.client("ecdsa.example");
    for (host, origin) in [("rsa.example", "rsa"), ("x.wild.example", "wild"), ("bare.example", "bare")] {
        let response = client.get(host, "/");
        assert_eq!((response.status(), response.text()), (200, origin));
    }
    assert_eq!(client.get("unknown.example", "/").status(), 404);
}

#[test]
fn http2_connection_for_one_host_serves_every_host() {
    let site = Site::start();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let stream = tokio::net::TcpStream::connect(site.gateway.gateway.https).await.unwrap();
        let connector = tokio_rustls::TlsConnector::from(Arc::new(trusting(&BOTH, &["h2"])));
        let name = ServerName::try_from("ecdsa.example").unwrap();
        let stream = connector.connect(name, stream).await.unwrap();
        assert_eq!(stream.get_ref().1.alpn_protocol(), Some(&b"h2"[..]));
        let (send, connection) = h2::client::handshake(stream).await.unwrap();
        tokio::spawn(connection);
        for (host, origin) in [("ecdsa.example", "ecdsa"), ("rsa.example", "rsa"), ("bare.example", "bare")] {
            let request = http::Request::get(format!("https://{host}/")).body(()).unwrap();
            let (response, _) = send.clone().ready().await.unwrap().send_request(request, true).unwrap();
            let response = response.await.unwrap();
            assert_eq!(response.status(), 200, "{host}");
            assert_eq!(response.into_body().data().await.unwrap().unwrap(), origin);
        }
    });
}

#[test]
fn both_tls_versions_work_with_both_key_types() {
    let site = Site::start();
    for (version, negotiated) in BOTH.into_iter().zip([ProtocolVersion::TLSv1_2, ProtocolVersion::TLSv1_3]) {
        let config = Arc::new(trusting(&[version], &[]));
        for host in ["ecdsa.example", "rsa.example"] {
            let mut client = site.connect(host, &config);
            assert_eq!(client.get(host, "/").status(), 200, "{host} {negotiated:?}");
            assert_eq!(client.stream.conn.protocol_version(), Some(negotiated));
        }
    }
}

#[test]
fn alpn_selects_the_protocol_and_defaults_to_http1() {
    let site = Site::start();
    struct Case {
        offered: &'static [&'static str],
        selected: Option<&'static str>,
    }
    for Case { offered, selected } in [
        Case { offered: &["h2", "http/1.1"], selected: Some("h2") },
        Case { offered: &["http/1.1", "h2"], selected: Some("h2") },
        Case { offered: &["http/1.1"], selected: Some("http/1.1") },
        Case { offered: &["http/1.0", "http/1.1"], selected: Some("http/1.1") },
        Case { offered: &[], selected: None },
    ] {
        let mut client = site.connect("rsa.example", &Arc::new(trusting(&BOTH, offered)));
        client.stream.conn.complete_io(&mut client.stream.sock).unwrap();
        let alpn = client.stream.conn.alpn_protocol().map(|name| std::str::from_utf8(name).unwrap());
        assert_eq!(alpn, selected, "{offered:?}");
        if selected != Some("h2") {
            assert_eq!(client.get("rsa.example", "/").text(), "rsa", "{offered:?}");
        }
    }
    let mut client = site.connect("rsa.example", &Arc::new(trusting(&BOTH, &["smtp"])));
    let error = client.stream.conn.complete_io(&mut client.stream.sock).unwrap_err();
    assert!(error.to_string().contains("NoApplicationProtocol"), "{error}");
}

#[test]
fn sessions_resume_for_their_host_only_also_after_a_reload() {
    let site = Site::start();
    for version in BOTH {
        let config = Arc::new(trusting(&[version], &["http/1.1"]));
        let visit = |host: &str| {
            let mut client = site.connect(host, &config);
            // A TLS 1.3 ticket arrives with the response.
            assert_eq!(client.get(host, "/").status(), 200);
            client.stream.conn.handshake_kind().unwrap()
        };
        assert_eq!(visit("ecdsa.example"), HandshakeKind::Full, "{version:?}");
        assert_eq!(visit("ecdsa.example"), HandshakeKind::Resumed, "{version:?}");
        assert_eq!(visit("rsa.example"), HandshakeKind::Full, "{version:?}");
        let host = format!("{version:?}.example").to_lowercase();
        site.gateway.replace("more.yaml", &ingress("m").host(&host).path("/", "bare"));
        assert_eq!(visit("ecdsa.example"), HandshakeKind::Resumed, "{version:?} after an unrelated change");
    }
}

#[test]
fn certificate_is_replaced_during_a_response() {
    let (release, gate) = mpsc::channel::<()>();
    let gate = Mutex::new(gate);
    let origin = Origin::start(move |call| {
        call.read_body()?;
        call.wire.stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nab")?;
        let _ = gate.lock().unwrap().recv_timeout(DEADLINE);
        call.wire.stream.write_all(b"cd").map(|()| Then::Keep)
    });
    let certificates: Vec<_> = (0..4).map(|_| Certificate::new("a.example")).collect();
    let trusted: Vec<_> = certificates.iter().collect();
    let objects = |certificate: &Certificate| {
        ingress("a").host("a.example").path("/", "a").tls("a.example", "s")
            + service("a").endpoints(&[origin.address])
            + secret("s", certificate)
    };
    let gateway = TestGateway::start(&objects(&certificates[0]));
    let https = gateway.gateway.https;
    let mut client = tls_client(https, "a.example", &trusted);
    client.send("GET / HTTP/1.1\r\nHost: a.example\r\n\r\n");
    let mut response = client.head().unwrap().unwrap();
    for certificate in &certificates[1..] {
        gateway.replace("all.yaml", &objects(certificate));
        assert_eq!(tls_client(https, "a.example", &trusted).certificate(), certificate.der);
    }
    release.send(()).unwrap();
    client.body(&mut response, Follows::Response).unwrap();
    assert_eq!(response.text(), "abcd");
    release.send(()).unwrap();
    assert_eq!(client.get("a.example", "/").text(), "abcd", "the connection stays open");
    assert_eq!(client.certificate(), certificates[0].der);
}

/// Runs `openssl s_client` with one request and returns its output.
fn s_client(site: &Site, host: &str, arguments: &[&str]) -> String {
    let address = site.gateway.gateway.https.to_string();
    let mut command = Command::new("openssl");
    command.args(["s_client", "-connect", &address, "-ign_eof"]).args(arguments);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    let request = format!("GET / HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n");
    child.stdin.as_mut().unwrap().write_all(request.as_bytes()).unwrap();
    let mut output = Vec::new();
    child.stdout.take().unwrap().read_to_end(&mut output).unwrap();
    child.stderr.take().unwrap().read_to_end(&mut output).unwrap();
    child.wait().unwrap();
    // HTTP/2 frames are not UTF-8.
    String::from_utf8_lossy(&output).into_owned()
}

#[test]
fn openssl_client_connects_verifies_and_resumes() {
    if is_missing("openssl", "openssl s_client") {
        return;
    }
    struct Case<'a> {
        host: &'a str,
        origin: &'a str,
        certificate: &'a Certificate,
    }
    let site = Site::start();
    let file = |name: &str| site.gateway.path(name).display().to_string();
    let (ca, session) = (file(".ca.pem"), file(".session"));
    for (flag, version) in [("-tls1_2", "TLSv1.2"), ("-tls1_3", "TLSv1.3")] {
        for Case { host, origin, certificate } in [
            Case { host: "ecdsa.example", origin: "ecdsa", certificate: &site.ecdsa },
            Case { host: "rsa.example", origin: "rsa", certificate: &site.rsa },
            Case { host: "x.wild.example", origin: "wild", certificate: &site.wildcard },
        ] {
            // One CA certificate at a time: all share a subject, and openssl takes the first match.
            std::fs::write(&ca, &certificate.pem).unwrap();
            let verified =
                ["-servername", host, "-verify_hostname", host, "-CAfile", &ca, "-verify_return_error", flag];
            let output = s_client(&site, host, &[&verified[..], &["-sess_out", &session]].concat());
            for expected in [
                "Verify return code: 0 (ok)",
                &format!("New, {version}"),
                "HTTP/1.1 200",
                &format!("\r\n\r\n{origin}"),
            ] {
                assert!(output.contains(expected), "{version} {host}: no {expected:?} in\n{output}");
            }
            let output = s_client(&site, host, &[&verified[..], &["-sess_in", &session]].concat());
            assert!(
                output.contains(&format!("Reused, {version}")) && output.contains("HTTP/1.1 200"),
                "{output}"
            );
        }
    }
    let output = s_client(&site, "rsa.example", &["-noservername", "-alpn", "http/1.1"]);
    assert!(output.contains("ALPN protocol: http/1.1") && output.contains("\r\n\r\nrsa"), "{output}");
    let output = s_client(&site, "rsa.example", &["-servername", "rsa.example", "-alpn", "h2,http/1.1"]);
    assert!(output.contains("ALPN protocol: h2"), "{output}");
    for old in ["-tls1", "-tls1_1"] {
        let output = s_client(&site, "rsa.example", &["-cipher", "ALL:@SECLEVEL=0", old]);
        assert!(!output.contains("HTTP/1.1 200") && output.contains("Cipher is (NONE)"), "{old}: {output}");
    }
}
