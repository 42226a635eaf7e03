//! What the gateway does not honour is refused, and reported on the admin pages: annotations of other controllers,
//! protocols, backends, and fields with an underscore.

#![allow(clippy::unwrap_used, clippy::panic, reason = "tests fail by panicking")]

mod support;

use support::fixtures::{ingress, ingress_class, ingress_class_config, service};
use support::{Origin, TestGateway};

/// Returns the status and the reason of a response.
fn reply(gateway: &TestGateway, host: &str, path: &str) -> (u16, String) {
    let response = gateway.get(host, path);
    (response.status(), response.field("gateway-reason").unwrap_or_default().to_owned())
}

#[test]
fn annotation_that_restricts_access_closes_its_paths() {
    let origin = Origin::named("a");
    let rule = |name: &str| ingress(name).host(&format!("{name}.example")).path("/", "a");
    let all = rule("closed").annotation("nginx.ingress.kubernetes.io/auth-type", "basic")
        + rule("noted").annotation("nginx.ingress.kubernetes.io/rewrite-target", "/")
        + rule("canary").annotation("nginx.ingress.kubernetes.io/canary", "true")
        + service("a").endpoints(&[origin.address]);
    let gateway = TestGateway::start(&all);
    assert_eq!(reply(&gateway, "closed.example", "/"), (503, "annotation_not_honoured".to_owned()));
    assert_eq!(reply(&gateway, "noted.example", "/"), (200, String::new()));
    assert_eq!(reply(&gateway, "canary.example", "/"), (404, "no_rule".to_owned()));
    let (_, problems) = gateway.admin("/problems");
    assert!(
        problems
            .contains("Ingress default/closed metadata.annotations[nginx.ingress.kubernetes.io/auth-type]")
    );
    assert!(problems.ends_with("\n2 Ingresses served, 1 refused\n"), "{problems}");
    let (_, metrics) = gateway.admin("/metrics");
    for line in ["gateway_ingresses{state=\"served\"} 2", "gateway_ingresses{state=\"refused\"} 1"] {
        assert!(metrics.lines().any(|found| found == line), "no {line} in:\n{metrics}");
    }
    let (_, explanation) = gateway.admin("/explain?url=http://closed.example/");
    assert!(explanation.contains("503 annotation_not_honoured"), "{explanation}");
    assert!(explanation.contains("nginx.ingress.kubernetes.io/auth-type"), "{explanation}");
}

#[test]
fn class_may_serve_in_spite_of_annotations() {
    let origin = Origin::named("a");
    let rule = ingress("i").class("gateway").host("a.example").path("/", "a");
    let rule = rule.annotation("haproxy.org/allow-list", "10.0.0.0/8");
    let config = |spec| ingress_class("gateway").config("c") + ingress_class_config("c").spec(spec);
    let service = service("a").endpoints(&[origin.address]);
    let gateway = TestGateway::start(&format!("{rule}{}{service}", config("{foreignAnnotations: Warn}")));
    assert_eq!(gateway.get("a.example", "/").status(), 200);
    let (_, problems) = gateway.admin("/problems");
    assert!(
        problems.contains("AnnotationIgnored: it has no effect here: only some client addresses"),
        "{problems}"
    );
    gateway.replace("all.yaml", &format!("{rule}{}{service}", config("{foreignAnnotations: Close}")));
    assert_eq!(reply(&gateway, "a.example", "/"), (503, "annotation_not_honoured".to_owned()));
}

#[test]
fn protocols_and_backends_that_are_not_supported_get_503() {
    let origin = Origin::named("a");
    let tls = service("tls").endpoints(&[origin.address]).to_string();
    let tls = tls.replace("  - port: 80", "  - {port: 80, appProtocol: https}");
    assert!(tls.contains("appProtocol"), "{tls}");
    let bucket = "---\napiVersion: networking.k8s.io/v1\nkind: Ingress\nmetadata: {name: bucket}\nspec:\n  \
        defaultBackend: {resource: {apiGroup: x.example, kind: Bucket, name: b}}\n";
    let yaml = format!("{}{tls}{bucket}", ingress("i").host("a.example").path("/", "tls"));
    let gateway = TestGateway::start(&yaml);
    assert_eq!(reply(&gateway, "a.example", "/"), (503, "protocol_unsupported".to_owned()));
    assert_eq!(reply(&gateway, "b.example", "/"), (503, "no_backend".to_owned()));
    assert_eq!(origin.connections(), 0, "no plaintext goes to a TLS port");
}

#[test]
fn dropped_request_fields_are_counted() {
    let origin = Origin::named("a");
    let gateway = TestGateway::start(&support::single_route(&origin));
    let mut client = gateway.client();
    client.send("GET / HTTP/1.1\r\nHost: a.example\r\nX_User: 1\r\nX-Kept: 1\r\nX_Other: 2\r\n\r\n");
    assert_eq!(client.response().status(), 200);
    let (_, metrics) = gateway.admin("/metrics");
    assert!(metrics.contains("\ngateway_request_fields_dropped_total 2\n"), "{metrics}");
}
