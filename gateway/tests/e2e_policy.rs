//! What RoutePolicies say about routes, obeyed by the data plane.

#![allow(clippy::unwrap_used, reason = "tests fail by panicking")]

mod support;

use support::{Origin, TestGateway, ingress, one, service};

/// A RoutePolicy of the default namespace about Ingress `a`, with these further lines of its spec.
fn policy(spec: &str) -> String {
    format!(
        "---\napiVersion: wasm-gateway.dev/v1alpha1\nkind: RoutePolicy\nmetadata: {{name: p}}\nspec:\n  targetRefs:\n  - {{group: networking.k8s.io, kind: Ingress, name: a}}\n{spec}"
    )
}

#[test]
fn backends_of_a_policy_get_requests_by_their_weights() {
    let (a, b) = (Origin::named("a"), Origin::named("b"));
    let shares =
        "  backends:\n  - {service: a, port: 80, weight: 75}\n  - {service: b, port: 80, weight: 25}\n";
    let yaml = ingress("a", "a.example", &[("/", "a")])
        + &service("a", &[a.address])
        + &service("b", &[b.address])
        + &policy(shares);
    let gateway = TestGateway::start(&yaml);
    for _ in 0..200 {
        assert_eq!(gateway.get("a.example", "/").status(), 200);
    }
    assert!(a.count().abs_diff(150) <= 4, "{} and {}", a.count(), b.count());
    assert_eq!(a.count() + b.count(), 200);
}

#[test]
fn a_body_beyond_the_routes_limit_is_413_whether_its_length_is_said_or_not() {
    let origin = Origin::named("a");
    let gateway = TestGateway::start(&(one(&origin) + &policy("  bodySize: 1Ki\n")));
    let body = "x".repeat(1024);

    let mut client = gateway.client();
    client.send(format!("POST / HTTP/1.1\r\nHost: a.example\r\nContent-Length: 1024\r\n\r\n{body}"));
    assert_eq!(client.response().status(), 200);
    client.send(format!(
        "POST / HTTP/1.1\r\nHost: a.example\r\nTransfer-Encoding: chunked\r\n\r\n400\r\n{body}\r\n0\r\n\r\n"
    ));
    assert_eq!(client.response().status(), 200);

    client.send("POST / HTTP/1.1\r\nHost: a.example\r\nContent-Length: 1025\r\n\r\n");
    let refused = client.response();
    assert_eq!((refused.status(), refused.field("gateway-reason")), (413, Some("body_too_large")));
    assert_eq!(refused.field("connection"), Some("close"));
    assert_eq!(origin.count(), 2, "a length that says too much reaches nobody");

    let mut client = gateway.client();
    client.send(format!(
        "POST / HTTP/1.1\r\nHost: a.example\r\nTransfer-Encoding: chunked\r\n\r\n400\r\n{body}\r\n1\r\nx\r\n0\r\n\r\n"
    ));
    assert_eq!(client.response().status(), 413);
    assert_eq!(origin.count(), 2, "a body cut off at the limit is no whole request for the endpoint");
}

#[test]
fn a_request_without_host_gets_what_host_less_rules_say() {
    let (named, any) = (Origin::named("named"), Origin::named("any"));
    let host_less = ingress("b", "b.example", &[("/", "b")]).replace("host: b.example\n    http", "http");
    let yaml = one(&named) + &host_less + &service("b", &[any.address]);
    let gateway = TestGateway::start(&yaml);
    assert_eq!(gateway.get("a.example", "/").text(), "named");
    assert_eq!(gateway.get("elsewhere.example", "/").text(), "any");
    let mut client = gateway.client();
    client.send("GET / HTTP/1.0\r\n\r\n");
    assert_eq!(client.response().text(), "any");
}
