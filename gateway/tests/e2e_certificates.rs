//! Which certificate a client gets, and the Problems of unusable certificates.

#![allow(clippy::unwrap_used, clippy::panic, reason = "tests fail by panicking")]

mod support;

use support::fixtures::{Ingress, Manifests, ingress, ingress_class, ingress_class_config, secret, service};
use support::{Certificate, DEADLINE, Origin, TestGateway, shown, tls_client, until};

/// Returns the default class, whose default certificate is this one, in Secret `gateway-system/default`.
fn class_with_default(certificate: &Certificate) -> Manifests {
    ingress_class("gateway").default_class().config("gateway")
        + ingress_class_config("gateway").spec("defaultCertificate: {name: default}")
        + secret("default", certificate).namespace("gateway-system")
}

/// Returns an Ingress for this host, named after its first label.
fn host(host: &str) -> Ingress {
    ingress(host.split('.').next().unwrap()).host(host).path("/", "a")
}

/// Returns the Problems as text.
fn problems(gateway: &TestGateway) -> Vec<String> {
    gateway.gateway.problems().all().iter().map(ToString::to_string).collect()
}

/// Checks that one Problem contains all parts.
#[track_caller]
fn assert_problem(gateway: &TestGateway, parts: &[&str]) {
    let problems = problems(gateway);
    let has_parts = |problem: &String| parts.iter().all(|part| problem.contains(part));
    assert!(problems.iter().any(has_parts), "no Problem with {parts:?} in {problems:#?}");
}

#[test]
fn class_default_serves_hosts_without_a_certificate() {
    let origin = Origin::named("a");
    let (default, own) = (Certificate::of(&["*.example", "plain.example"]), Certificate::new("own.example"));
    let yaml = class_with_default(&default)
        + host("own.example").tls("own.example", "own")
        + host("plain.example")
        + host("nosecret.example").tls_entry(&["nosecret.example"], None)
        + host("nohosts.example").tls_entry(&[], None)
        + host("missing.example").tls("missing.example", "missing")
        + service("a").endpoints(&[origin.address])
        + secret("own", &own);
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

    // The missing Secret is created, then deleted.
    let missing = Certificate::new("missing.example");
    gateway.replace("secret.yaml", &secret("missing", &missing));
    assert_eq!(shown(https, Some("missing.example")), missing.der);
    assert_eq!(problems(&gateway), [""; 0]);
    std::fs::remove_file(gateway.path("secret.yaml")).unwrap();
    let shows_default = || shown(https, Some("missing.example")) == default.der;
    until("the default certificate replaces the deleted one", shows_default);
}

#[test]
fn without_class_default_the_gateway_certificate_serves() {
    let origin = Origin::named("a");
    let yaml = host("a.example").tls("a.example", "missing") + service("a").endpoints(&[origin.address]);
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
    let hosts = ["a.example", "x.wild.example", "*.wild.example"];
    let manifests = |certificate: &Certificate| {
        class_with_default(&default)
            + host("a.example").tls_entry(&hosts, Some("cert"))
            + service("a").endpoints(&[origin.address])
            + secret("cert", certificate)
    };
    let gateway = TestGateway::start(&manifests(&wrong));
    let https = gateway.gateway.https;
    assert_eq!(shown(https, Some("a.example")), default.der);
    for covered in ["x.wild.example", "y.wild.example"] {
        assert_eq!(shown(https, Some(covered)), wrong.der, "{covered}");
    }
    assert_eq!(shown(https, Some("x.y.wild.example")), default.der, "a wildcard matches one label");
    let problem = ["Ingress default/a spec.tls[0].hosts[0]", "CertificateWrongHost", ", not a.example; "];
    assert_problem(&gateway, &problem);
    assert_eq!(problems(&gateway).len(), 1, "{:?}", problems(&gateway));

    let right = Certificate::of(&["a.example", "*.wild.example"]);
    gateway.replace("all.yaml", &manifests(&right));
    assert_eq!((shown(https, Some("a.example")), problems(&gateway)), (right.der, Vec::new()));
}

#[test]
fn secret_without_hosts_serves_hosts_of_its_ingress_only() {
    let origin = Origin::named("a");
    let (default, both) = (Certificate::of(&["*.example"]), Certificate::of(&["a.example", "b.example"]));
    let yaml = class_with_default(&default)
        + host("a.example").tls_entry(&[], Some("both"))
        + host("b.example")
        + service("a").endpoints(&[origin.address])
        + secret("both", &both);
    let gateway = TestGateway::start(&yaml);
    let https = gateway.gateway.https;
    assert_eq!(shown(https, Some("a.example")), both.der);
    assert_eq!(shown(https, Some("b.example")), default.der, "b.example belongs to another Ingress");
    assert_eq!(shown(https, None), default.der);
    assert_eq!(problems(&gateway), [""; 0]);
}

#[test]
fn opaque_secret_with_both_keys_holds_a_certificate() {
    let origin = Origin::named("a");
    let certificate = Certificate::new("a.example");
    let yaml = host("a.example").tls("a.example", "cert")
        + service("a").endpoints(&[origin.address])
        + secret("cert", &certificate).opaque();
    let gateway = TestGateway::start(&yaml);
    assert_eq!(shown(gateway.gateway.https, Some("a.example")), certificate.der);
    assert_eq!(problems(&gateway), [""; 0]);
}

#[test]
fn expired_certificate_serves_and_is_a_problem() {
    let origin = Origin::named("a");
    let certificate = Certificate::until("a.example", -3600);
    let yaml = host("a.example").tls("a.example", "cert")
        + service("a").endpoints(&[origin.address])
        + secret("cert", &certificate);
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
    let yaml = host("a.example").tls("a.example", "cert")
        + service("a").endpoints(&[origin.address])
        + secret("cert", &certificate);
    let gateway = TestGateway::start(&yaml);
    if problems(&gateway).is_empty() {
        gateway.gateway.wait(2, DEADLINE).unwrap();
    }
    assert_problem(&gateway, &["CertificateExpired"]);
    assert_eq!(shown(gateway.gateway.https, Some("a.example")), certificate.der);
}
