//! Secrets that come late and change, seen in real handshakes.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use rcgen::{CertifiedKey, KeyPair};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};
use serde_json::json;

use crate::objects::{Space, class_with, with_tls};
use crate::origin;
use crate::program::Gateway;
use crate::wire::Wire;
use crate::world::{until, world};

/// How often a host changes its Secret.
const CHANGES: usize = 30;

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
    let mut kept = open(gateway.https, "tls.example", &[&first]).unwrap();

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

/// An Ingress names another Secret, again and again: a client that trusts both certificates never sees a third.
pub(crate) fn other_secret() {
    let space = Space::new("changes");
    let host = "changes.example";
    let gateway = Gateway::start(&world().documented(), &[]);
    let pairs = [certificate(host), certificate(host)];
    let names = ["one", "two"];
    for (name, pair) in names.iter().zip(&pairs) {
        world().apply(&space.secret(name, pair));
    }
    space.app("app", origin::start("app"));
    let name = |name| world().apply(&with_tls(space.ingress("app", host), host, name));
    name(names[0]);
    until("the first is used", || is_trusted(gateway.https, host, &pairs[0]));
    let (is_over, address) = (AtomicBool::new(false), gateway.https);
    let both = [&pairs[0], &pairs[1]];
    std::thread::scope(|scope| {
        let client = scope.spawn(|| {
            let mut handshakes = 0;
            while !is_over.load(Ordering::Relaxed) {
                open(address, host, &both).unwrap_or_else(|error| panic!("handshake {handshakes}: {error}"));
                handshakes += 1;
            }
            handshakes
        });
        for turn in 1..=CHANGES {
            name(names[turn % 2]);
            until("the other is used", || {
                client.is_finished() || is_trusted(address, host, &pairs[turn % 2])
            });
        }
        is_over.store(true, Ordering::Relaxed);
        let handshakes = client.join().unwrap();
        assert!(handshakes > CHANGES, "{handshakes} handshakes");
    });
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
    let answer = open(address, host, &[certificate]).and_then(|mut wire| wire.get(host, "/"));
    answer.is_ok_and(|answer| answer.status == 200)
}

type Tls = Wire<StreamOwned<ClientConnection, std::net::TcpStream>>;

fn open(address: SocketAddr, host: &str, trusted: &[&CertifiedKey<KeyPair>]) -> std::io::Result<Tls> {
    let mut roots = RootCertStore::empty();
    for trusted in trusted {
        roots.add(trusted.cert.der().clone()).unwrap();
    }
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
