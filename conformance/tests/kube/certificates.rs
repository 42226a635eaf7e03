//! Secrets that are created late and change, as TLS handshakes show them.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use conformance::http::HttpClient;
use rcgen::{CertifiedKey, KeyPair};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};
use serde_json::json;

use crate::cluster::{cluster, wait_until};
use crate::endpoint;
use crate::gateway_process::Gateway;
use crate::http_client;
use crate::objects::{TestNamespace, class_with_config, of_another_controller, with_tls};

/// Number of times that a host refers to another Secret.
const SECRET_CHANGES: usize = 30;

/// The Ingress is created before its Secret. Then the Secret is replaced, deleted and created again.
pub(crate) fn created_late_and_rotated() {
    let space = TestNamespace::new("tls");
    let gateway = Gateway::start(&cluster().gateway_kubeconfig(), &[]);
    space.serve("app", "tls.example");
    cluster().apply(&with_tls(space.ingress("app", "tls.example"), "tls.example", "pair"));
    gateway.wait_until_served_by("tls.example", "app");
    wait_until("the missing Secret is a Problem", || gateway.page("/problems").body.contains("pair"));

    let (first, second) = (certificate("tls.example"), certificate("tls.example"));
    assert!(!is_trusted(gateway.https, "tls.example", &first));
    cluster().apply(&space.secret("pair", &first));
    wait_until("the Secret is used", || is_trusted(gateway.https, "tls.example", &first));
    let mut idle_client = open(gateway.https, "tls.example", &[&first]).unwrap();

    cluster().apply(&space.secret("pair", &second));
    wait_until("the new Secret is used", || is_trusted(gateway.https, "tls.example", &second));
    assert!(!is_trusted(gateway.https, "tls.example", &first));
    assert!(
        idle_client.get("tls.example", "/").unwrap().is(200, "app"),
        "a connection outlives its certificate"
    );

    cluster().delete(&space.secret("pair", &second));
    wait_until("the deleted Secret is not used", || !is_trusted(gateway.https, "tls.example", &second));
    assert!(gateway.get("tls.example").is(200, "app"), "plaintext requests are served");
    cluster().apply(&space.secret("pair", &first));
    wait_until("the Secret is used again", || is_trusted(gateway.https, "tls.example", &first));
    gateway.stop();
}

/// An Ingress alternates between two Secrets. A client that trusts both certificates never receives a third one.
pub(crate) fn secret_reference_changed() {
    let space = TestNamespace::new("changes");
    let host = "changes.example";
    let gateway = Gateway::start(&cluster().gateway_kubeconfig(), &[]);
    let pairs = [certificate(host), certificate(host)];
    let names = ["one", "two"];
    for (name, pair) in names.iter().zip(&pairs) {
        cluster().apply(&space.secret(name, pair));
    }
    space.app("app", endpoint::start("app"));
    let name = |name| cluster().apply(&with_tls(space.ingress("app", host), host, name));
    name(names[0]);
    wait_until("the first Secret is used", || is_trusted(gateway.https, host, &pairs[0]));
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
        for turn in 1..=SECRET_CHANGES {
            name(names[turn % 2]);
            wait_until("the other Secret is used", || {
                client.is_finished() || is_trusted(address, host, &pairs[turn % 2])
            });
        }
        is_over.store(true, Ordering::Relaxed);
        let handshakes = client.join().unwrap();
        assert!(handshakes > SECRET_CHANGES, "{handshakes} handshakes");
    });
    gateway.stop();
}

/// An IngressClassConfig refers to a Secret in the gateway's own namespace.
pub(crate) fn class_default_certificate() {
    let space = TestNamespace::without_class("class-tls");
    let gateway = Gateway::start(&cluster().gateway_kubeconfig(), &["--class", "class-tls"]);
    cluster().apply(&of_another_controller(class_with_config("class-tls", "class-tls")));
    cluster().apply(&json!({
        "apiVersion": "wasm-gateway.dev/v1alpha1", "kind": "IngressClassConfig",
        "metadata": { "name": "class-tls" },
        "spec": { "defaultCertificate": { "name": "class-tls" } },
    }));
    space.serve("app", "class-tls.example");
    gateway.wait_until_served_by("class-tls.example", "app");
    let certificate = certificate("class-tls.example");
    let mut secret = space.secret("class-tls", &certificate);
    secret["metadata"]["namespace"] = crate::cluster::GATEWAY_NAMESPACE.into();
    cluster().apply(&secret);
    wait_until("the default certificate is used", || {
        is_trusted(gateway.https, "class-tls.example", &certificate)
    });
    gateway.stop();
}

pub(crate) fn certificate(host: &str) -> CertifiedKey<KeyPair> {
    rcgen::generate_simple_self_signed([host.to_owned()]).unwrap()
}

/// Returns true if a client that trusts only this certificate gets a 200 response.
pub(crate) fn is_trusted(address: SocketAddr, host: &str, certificate: &CertifiedKey<KeyPair>) -> bool {
    let response = open(address, host, &[certificate]).and_then(|mut client| client.get(host, "/"));
    response.is_ok_and(|response| response.status == 200)
}

type Tls = HttpClient<StreamOwned<ClientConnection, std::net::TcpStream>>;

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
    let mut stream = http_client::connect(address)?.stream;
    connection.complete_io(&mut stream)?;
    Ok(HttpClient::new(StreamOwned::new(connection, stream)))
}
