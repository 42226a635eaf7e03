//! Which certificate a client gets, and the Problems of unusable certificates.

#![allow(clippy::unwrap_used, clippy::panic, reason = "tests fail by panicking")]

mod support;

use support::{Certificate, DEADLINE, Origin, TestGateway};
use support::{ingress, service, shown, tls, tls_client};

/// Class `gateway` with Secret `gateway-system/default` as its default certificate.
const CLASS: &str = "---
apiVersion: networking.k8s.io/v1
kind: IngressClass
metadata: {name: gateway, annotations: {ingressclass.kubernetes.io/is-default-class: 'true'}}
spec:
  controller: wasm-gateway.dev/ingress-controller
  parameters: {apiGroup: wasm-gateway.dev, kind: IngressClassConfig, name: gateway}
---
apiVersion: wasm-gateway.dev/v1alpha1
kind: IngressClassConfig
metadata: {name: gateway}
spec: {defaultCertificate: {name: default}}
";

fn default_secret(certificate: &Certificate) -> String {
    certificate.secret("default").replace("{name: default}", "{namespace: gateway-system, name: default}")
}

fn at(host: &str) -> String {
    ingress(host.split('.').next().unwrap(), host, &[("/", "a")])
}

fn problems(gateway: &TestGateway) -> Vec<String> {
    gateway.gateway.problems().all().iter().map(ToString::to_string).collect()
}

#[track_caller]
fn assert_problem(gateway: &TestGateway, parts: &[&str]) {
    let problems = problems(gateway);
    let is_it = |problem: &&String| parts.iter().all(|part| problem.contains(part));
    assert!(problems.iter().any(|problem| is_it(&problem)), "not reported: {parts:?}\n{problems:#?}");
}

#[test]
fn class_default_serves_hosts_without_a_certificate() {
    let origin = Origin::named("a");
    let (default, own) = (Certificate::of(&["*.example", "plain.example"]), Certificate::new("own.example"));
    let yaml = CLASS.to_owned()
        + &at("own.example")
        + &tls("own.example", "own")
        + &at("plain.example")
        + &at("nosecret.example")
        + "  tls:\n  - hosts: [nosecret.example]\n"
        + &at("nohosts.example")
        + "  tls:\n  - {}\n"
        + &at("missing.example")
        + &tls("missing.example", "missing")
        + &service("a", &[origin.address])
        + &own.secret("own")
        + &default_secret(&default);
    let gateway = TestGateway::start(&yaml);
    let https = gateway.gateway.https;
    assert_eq!(shown(https, Some("own.example")), own.der);
    for host in ["plain.example", "nosecret.example", "nohosts.example", "missing.example", "unknown.example"]
    {
        assert_eq!(shown(https, Some(host)), default.der, "{host}");
    }
    assert_eq!(shown(https, None), default.der, "without SNI");
    // A client that verifies the name completes a request.
    assert_eq!(tls_client(https, "plain.example", &[&default]).get("plain.example", "/").text(), "a");
    assert_problem(&gateway, &["Ingress default/missing", "spec.tls[0].secretName", "SecretNotFound"]);
    let explained = gateway.admin("/explain?url=https://missing.example/").1;
    assert!(
        explained.contains(
            "the default certificate of Secret gateway-system/default: that of Secret default/missing"
        ),
        "{explained}"
    );

    // Its own Secret is created and deleted.
    let missing = Certificate::new("missing.example");
    gateway.replace("secret.yaml", &missing.secret("missing"));
    assert_eq!(shown(https, Some("missing.example")), missing.der);
    assert_eq!(problems(&gateway), [""; 0]);
    std::fs::remove_file(gateway.path("secret.yaml")).unwrap();
    let gone = || shown(https, Some("missing.example")) == default.der;
    support::until("a deleted Secret falls back to the default certificate", gone);
}

#[test]
fn without_class_default_the_gateway_certificate_serves() {
    let origin = Origin::named("a");
    let yaml = at("a.example") + &tls("a.example", "gone") + &service("a", &[origin.address]);
    let gateway = TestGateway::start(&yaml);
    let own = shown(gateway.gateway.https, Some("a.example"));
    assert_eq!(own, shown(gateway.gateway.https, None));
    let text = String::from_utf8_lossy(&own).into_owned();
    assert!(text.contains("gateway.invalid"), "{text}");
}

#[test]
fn certificate_of_another_host_is_skipped_with_a_problem() {
    let origin = Origin::named("a");
    let (default, wrong) =
        (Certificate::new("default.example"), Certificate::of(&["other.example", "*.wild.example"]));
    let yaml = CLASS.to_owned()
        + &at("a.example")
        + "  tls:\n  - {hosts: [a.example, 'x.wild.example', '*.wild.example'], secretName: cert}\n"
        + &service("a", &[origin.address])
        + &wrong.secret("cert")
        + &default_secret(&default);
    let gateway = TestGateway::start(&yaml);
    let https = gateway.gateway.https;
    assert_eq!(shown(https, Some("a.example")), default.der);
    for covered in ["x.wild.example", "y.wild.example"] {
        assert_eq!(shown(https, Some(covered)), wrong.der, "{covered}");
    }
    assert_eq!(shown(https, Some("x.y.wild.example")), default.der, "a wildcard is one label");
    let problem = ["Ingress default/a spec.tls[0].hosts[0]", "CertificateWrongHost", ", not a.example; "];
    assert_problem(&gateway, &problem);
    assert_eq!(problems(&gateway).len(), 1, "and nothing else: {:?}", problems(&gateway));

    let right = Certificate::of(&["a.example", "*.wild.example"]);
    gateway.replace("all.yaml", &yaml.replace(&wrong.secret("cert"), &right.secret("cert")));
    assert_eq!((shown(https, Some("a.example")), problems(&gateway)), (right.der, Vec::new()));
}

#[test]
fn secret_without_hosts_serves_hosts_of_its_ingress_only() {
    let origin = Origin::named("a");
    let (default, both) = (Certificate::of(&["*.example"]), Certificate::of(&["a.example", "b.example"]));
    let yaml = CLASS.to_owned()
        + &at("a.example")
        + "  tls:\n  - {secretName: both}\n"
        + &at("b.example")
        + &service("a", &[origin.address])
        + &both.secret("both")
        + &default_secret(&default);
    let gateway = TestGateway::start(&yaml);
    let https = gateway.gateway.https;
    assert_eq!(shown(https, Some("a.example")), both.der);
    assert_eq!(shown(https, Some("b.example")), default.der, "b is another Ingress's");
    assert_eq!(shown(https, None), default.der);
    assert_eq!(problems(&gateway), [""; 0]);
}

#[test]
fn opaque_secret_with_both_keys_holds_a_certificate() {
    let origin = Origin::named("a");
    let certificate = Certificate::new("a.example");
    let opaque = certificate.secret("cert").replace("kubernetes.io/tls", "Opaque");
    let yaml = at("a.example") + &tls("a.example", "cert") + &service("a", &[origin.address]) + &opaque;
    let gateway = TestGateway::start(&yaml);
    assert_eq!(shown(gateway.gateway.https, Some("a.example")), certificate.der);
    assert_eq!(problems(&gateway), [""; 0]);
}

#[test]
fn expired_certificate_serves_and_is_a_problem() {
    let origin = Origin::named("a");
    let certificate = Certificate::until("a.example", -3600);
    let yaml = at("a.example")
        + &tls("a.example", "cert")
        + &service("a", &[origin.address])
        + &certificate.secret("cert");
    let gateway = TestGateway::start(&yaml);
    assert_eq!(shown(gateway.gateway.https, Some("a.example")), certificate.der);
    assert_problem(
        &gateway,
        &["Ingress default/a spec.tls[0].secretName: CertificateExpired", "default/cert expired at"],
    );
}

#[test]
fn expiry_is_reported_without_an_object_change() {
    let origin = Origin::named("a");
    // Two seconds are enough to observe the valid certificate first. On a stalled machine the rest of the test holds too.
    let certificate = Certificate::until("a.example", 2);
    let yaml = at("a.example")
        + &tls("a.example", "cert")
        + &service("a", &[origin.address])
        + &certificate.secret("cert");
    let gateway = TestGateway::start(&yaml);
    if problems(&gateway).is_empty() {
        gateway.gateway.wait(2, DEADLINE).unwrap();
    }
    assert_problem(&gateway, &["CertificateExpired"]);
    assert_eq!(shown(gateway.gateway.https, Some("a.example")), certificate.der);
}
