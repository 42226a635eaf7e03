//! Secrets that come late and change, seen in real handshakes.

use std::net::SocketAddr;
use std::sync::Arc;

use rcgen::{CertifiedKey, KeyPair};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};
use serde_json::json;

use crate::objects::{Space, class_with, with_tls};
use crate::program::Gateway;
use crate::wire::Wire;
use crate::world::{until, world};

/// The Ingress is there before its Secret; the Secret is replaced, and removed.
pub(crate) fn late_and_rotated() {
    let space = Space::new("tls");
    let gateway = Gateway::start(&world().documented(), &[]);
    space.serve("app", "tls.example");
    world().apply(&with_tls(space.ingress("app", "tls.example"), "tls.example", "pair"));
    gateway.until_served_by("tls.example", "app");
    until("the missing Secret is a Problem", || gateway.page("/problems").body.contains("pair"));

    let (first, second) = (certificate("tls.example"), certificate("tls.example"));
    assert!(!is_trusted(gateway.https, "tls.example", &first));
    world().apply(&space.secret("pair", &first));
    until("the Secret is used", || is_trusted(gateway.https, "tls.example", &first));
    let mut kept = open(gateway.https, "tls.example", &first).unwrap();

    world().apply(&space.secret("pair", &second));
    until("the new one is used", || is_trusted(gateway.https, "tls.example", &second));
    assert!(!is_trusted(gateway.https, "tls.example", &first));
    assert!(kept.get("tls.example", "/").unwrap().is(200, "app"), "a connection outlives its certificate");

    world().delete(&space.secret("pair", &second));
    until("it is gone", || !is_trusted(gateway.https, "tls.example", &second));
    assert!(gateway.get("tls.example").is(200, "app"), "plaintext goes on");
    world().apply(&space.secret("pair", &first));
    until("it is back", || is_trusted(gateway.https, "tls.example", &first));
    gateway.end();
}

/// An IngressClassConfig names a Secret of the gateway's own namespace.
pub(crate) fn of_a_class() {
    let space = Space::without_class("class-tls");
    let gateway = Gateway::start(&world().documented(), &["--class", "class-tls"]);
    let mut class = class_with("class-tls", "class-tls");
    class["spec"]["controller"] = "example.com/somebody".into();
    world().apply(&class);
    world().apply(&json!({
        "apiVersion": "wasm-gateway.dev/v1alpha1", "kind": "IngressClassConfig",
        "metadata": { "name": "class-tls" },
        "spec": { "defaultCertificate": { "name": "class-tls" } },
    }));
    space.serve("app", "class-tls.example");
    gateway.until_served_by("class-tls.example", "app");
    let certificate = certificate("class-tls.example");
    let mut secret = space.secret("class-tls", &certificate);
    secret["metadata"]["namespace"] = crate::world::SYSTEM.into();
    world().apply(&secret);
    until("it is used", || is_trusted(gateway.https, "class-tls.example", &certificate));
    gateway.end();
}

pub(crate) fn certificate(host: &str) -> CertifiedKey<KeyPair> {
    rcgen::generate_simple_self_signed([host.to_owned()]).unwrap()
}

/// Whether a client that trusts this certificate alone gets an answer.
pub(crate) fn is_trusted(address: SocketAddr, host: &str, certificate: &CertifiedKey<KeyPair>) -> bool {
    let answer = open(address, host, certificate).and_then(|mut wire| wire.get(host, "/"));
    answer.is_ok_and(|answer| answer.status == 200)
}

type Tls = Wire<StreamOwned<ClientConnection, std::net::TcpStream>>;

fn open(address: SocketAddr, host: &str, trusted: &CertifiedKey<KeyPair>) -> std::io::Result<Tls> {
    let mut roots = RootCertStore::empty();
    roots.add(trusted.cert.der().clone()).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    let name = host.to_owned().try_into().unwrap();
    let mut connection = ClientConnection::new(Arc::new(config), name).unwrap();
    let mut stream = Wire::connect(address)?.stream;
    connection.complete_io(&mut stream)?;
    Ok(Wire::new(StreamOwned::new(connection, stream)))
}
