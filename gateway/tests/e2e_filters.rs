//! The filters of RoutePolicies (header edits, redirects, CORS) over HTTP/1.1 and HTTP/2, and filters that wait.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests fail by panicking")]

mod support;

use std::net::{Shutdown, SocketAddr};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use gateway::filter::{Filter, FilterContext, Phases, Resumed, Slot, Stage, Step};
use gateway::message::{FieldName, FieldValue, LocalReply, Patch, RequestHead, ResponseHead};
use http::{HeaderMap, Request};
use support::{
    Certificate, DEADLINE, Origin, TestGateway, Then, Wire, ingress, service, single_route, tls, tls_client,
    until,
};
use tokio::net::TcpStream;
use tokio::sync::oneshot;

/// A RoutePolicy about Ingress `a`, with these lines of its spec.
fn policy(spec: &str) -> String {
    format!(
        "---\napiVersion: wasm-gateway.dev/v1alpha1\nkind: RoutePolicy\nmetadata: {{name: p}}\nspec:\n  targetRefs:\n  \
         - {{group: networking.k8s.io, kind: Ingress, name: a}}\n{spec}"
    )
}

/// An origin that responds with fields of its own.
fn origin() -> Origin {
    Origin::start(|call| {
        call.respond(
            "HTTP/1.1 200 OK\r\nServer: origin\r\nX-Powered-By: php\r\nX-Kept: 1\r\nVary: Accept\r\n\
             Access-Control-Allow-Origin: https://endpoint.example\r\nContent-Length: 2\r\n\r\nok",
        )?;
        Ok(Then::Keep)
    })
}

/// A response's status and fields, whatever the protocol.
#[derive(Debug)]
struct Received {
    status: u16,
    fields: HeaderMap,
}

impl Received {
    fn field(&self, name: &str) -> Option<&str> {
        let mut values = self.fields.get_all(name).iter();
        let value = values.next();
        assert!(values.next().is_none(), "several {name}: {self:?}");
        value.map(|value| value.to_str().unwrap())
    }
}

/// A request without a body.
#[derive(Clone, Copy)]
struct Asked<'a> {
    method: &'a str,
    target: &'a str,
    fields: &'a [(&'a str, &'a str)],
}

/// Sends the request over HTTP/1.1 and over HTTP/2, and returns both responses.
fn both(address: SocketAddr, asked: Asked<'_>) -> [Received; 2] {
    let Asked { method, target, fields } = asked;
    let mut client = Wire::connect(address);
    let lines: String = fields.iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect();
    client.send(format!("{method} {target} HTTP/1.1\r\nHost: a.example\r\n{lines}\r\n"));
    let message = client.response();
    let mut map = HeaderMap::new();
    for (name, value) in &message.fields {
        map.append(http::HeaderName::try_from(name).unwrap(), http::HeaderValue::try_from(value).unwrap());
    }
    let first = Received { status: message.status(), fields: map };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let second = runtime.block_on(async {
        let stream = TcpStream::connect(address).await.unwrap();
        let (mut send, connection) = h2::client::handshake(stream).await.unwrap();
        let connection = tokio::spawn(connection);
        let mut request = Request::builder().method(method).uri(format!("http://a.example{target}"));
        for (name, value) in fields {
            request = request.header(*name, *value);
        }
        let (response, _) = send.send_request(request.body(()).unwrap(), true).unwrap();
        let (parts, _) = tokio::time::timeout(DEADLINE, response).await.unwrap().unwrap().into_parts();
        drop(send);
        connection.abort();
        Received { status: parts.status.as_u16(), fields: parts.headers }
    });
    [first, second]
}

fn get(target: &str) -> Asked<'_> {
    Asked { method: "GET", target, fields: &[] }
}

#[test]
fn header_edits_reach_endpoint_and_client() {
    let origin = origin();
    let edits = "  requestHeaders:\n    set: [{name: X-Team, value: shop}]\n    add: [{name: X-Trace, value: edge}]\n    \
                 remove: [X-Debug]\n  responseHeaders:\n    set: [{name: X-Frame-Options, value: DENY}]\n    \
                 remove: [X-Powered-By, Server]\n";
    let gateway = TestGateway::start(&(single_route(&origin) + &policy(edits)));
    let fields = [("x-team", "forged"), ("x-debug", "1"), ("x-trace", "client"), ("x-kept", "2")];
    for received in both(gateway.gateway.http, Asked { method: "GET", target: "/", fields: &fields }) {
        assert_eq!(received.status, 200);
        assert_eq!(received.field("x-frame-options"), Some("DENY"));
        assert_eq!((received.field("x-powered-by"), received.field("server")), (None, None));
        assert_eq!(received.field("x-kept"), Some("1"));
    }
    for seen in origin.requests() {
        assert_eq!((seen.field("x-team"), seen.field("x-debug")), (Some("shop"), None));
        assert_eq!(seen.field("x-kept"), Some("2"));
        let traces =
            seen.fields.iter().filter(|(name, _)| name == "x-trace").map(|(_, value)| value.as_str());
        assert_eq!(traces.collect::<Vec<_>>(), ["client", "edge"]);
    }
    assert_eq!(origin.count(), 2);
}

#[test]
fn response_edits_apply_to_local_replies_of_the_route() {
    let yaml = ingress("a", "a.example", &[("/", "a")])
        + &service("a", &[])
        + &policy("  responseHeaders: {set: [{name: X-Frame-Options, value: DENY}]}\n");
    let gateway = TestGateway::start(&yaml);
    for received in both(gateway.gateway.http, get("/")) {
        assert_eq!((received.status, received.field("gateway-reason")), (503, Some("no_ready_endpoint")));
        assert_eq!(received.field("x-frame-options"), Some("DENY"));
    }
    assert_eq!(gateway.get("other.example", "/").field("x-frame-options"), None);
}

#[test]
fn https_redirect_spares_acme_challenges_and_tls() {
    let (origin, certificate) = (origin(), Certificate::new("a.example"));
    let yaml = ingress("a", "a.example", &[("/", "a")])
        + &tls("a.example", "cert")
        + &service("a", &[origin.address])
        + &certificate.secret("cert")
        + &policy("  redirect: {https: TlsHosts}\n");
    let gateway = TestGateway::start(&yaml);
    for received in both(gateway.gateway.http, get("/cart?id=1")) {
        assert_eq!((received.status, received.field("gateway-reason")), (308, Some("redirect")));
        assert_eq!(received.field("location"), Some("https://a.example/cart?id=1"));
    }
    for received in both(gateway.gateway.http, get("/.well-known/acme-challenge/token")) {
        assert_eq!(received.status, 200);
    }
    let mut client = tls_client(gateway.gateway.https, "a.example", &[&certificate]);
    assert_eq!(client.get("a.example", "/cart").status(), 200);
    let all = yaml.replace("{https: TlsHosts}", "{https: Always, acmeChallenges: Redirect, status: 301}");
    gateway.replace("all.yaml", &all);
    for received in both(gateway.gateway.http, get("/.well-known/acme-challenge/token")) {
        assert_eq!(received.status, 301);
    }
}

#[test]
fn tls_hosts_alone_are_redirected_by_a_class_default() {
    let (origin, certificate) = (origin(), Certificate::new("a.example"));
    let class = "---\napiVersion: networking.k8s.io/v1\nkind: IngressClass\nmetadata:\n  name: gateway\n  annotations: \
                 {ingressclass.kubernetes.io/is-default-class: \"true\"}\nspec: {controller: \
                 wasm-gateway.dev/ingress-controller}\n---\napiVersion: wasm-gateway.dev/v1alpha1\nkind: RoutePolicy\n\
                 metadata: {name: class, namespace: gateway-system}\nspec:\n  targetRefs:\n  - {group: \
                 networking.k8s.io, kind: IngressClass, name: gateway}\n  redirect: {https: TlsHosts}\n";
    let yaml = ingress("a", "a.example", &[("/", "a")])
        + &tls("a.example", "cert")
        + &ingress("b", "b.example", &[("/", "a")])
        + &service("a", &[origin.address])
        + &certificate.secret("cert")
        + class;
    let gateway = TestGateway::start(&yaml);
    assert_eq!(gateway.get("a.example", "/").status(), 308);
    assert_eq!(gateway.get("b.example", "/").status(), 200);
}

#[test]
fn redirect_targets_are_built_from_request_and_policy() {
    let origin = origin();
    for (redirect, target, expected) in [
        ("{host: b.example}", "/x?q", Some((302, "http://b.example/x?q"))),
        (
            "{host: b.example, port: 8443, scheme: https, status: 307}",
            "/",
            Some((307, "https://b.example:8443/")),
        ),
        ("{path: /new, status: 303}", "/old?q=1", Some((303, "http://a.example/new?q=1"))),
        ("{path: /new}", "/new", None),
        ("{scheme: https}", "/x", Some((302, "https://a.example/x"))),
        ("{scheme: https}", "/.well-known/acme-challenge/t", None),
        ("{https: Always, port: 8443}", "/x", Some((308, "https://a.example:8443/x"))),
        ("{https: Always, port: 8443}", "/.well-known/acme-challenge/t", None),
        ("{https: TlsHosts, port: 8443}", "/x", None),
        ("{https: TlsHosts, host: b.example}", "/.well-known/acme-challenge/t", None),
        ("{https: Never, host: B.example}", "/x", Some((302, "http://b.example/x"))),
        ("{host: A.example}", "/x", None),
    ] {
        let gateway =
            TestGateway::start(&(single_route(&origin) + &policy(&format!("  redirect: {redirect}\n"))));
        for received in both(gateway.gateway.http, get(target)) {
            let location = received.field("location").map(|location| (received.status, location));
            assert_eq!(location, expected, "{redirect} {target}");
            assert_eq!(location.is_none(), received.status == 200, "{redirect} {target}");
        }
    }
}

const CORS: &str = "  cors:\n    allowOrigins: [\"https://shop.example\", \"https://*.shop.example\"]\n    \
                    allowMethods: [PUT]\n    allowHeaders: [X-Team]\n    exposeHeaders: [X-Kept]\n    \
                    allowCredentials: true\n    maxAge: 10m\n";

#[test]
fn preflight_is_answered_for_allowed_origins_only() {
    let origin = origin();
    let gateway = TestGateway::start(&(single_route(&origin) + &policy(CORS)));
    for (from, allowed) in [
        ("https://shop.example", true),
        ("https://eu.shop.example", true),
        ("https://a.b.shop.example", false),
        ("https://evilshop.example", false),
        ("http://shop.example", false),
        ("null", false),
    ] {
        let fields = [("origin", from), ("access-control-request-method", "PUT")];
        for received in both(gateway.gateway.http, Asked { method: "OPTIONS", target: "/", fields: &fields })
        {
            assert_eq!(
                (received.status, received.field("gateway-reason")),
                (204, Some("cors_preflight")),
                "{from}"
            );
            assert_eq!(received.field("vary"), Some("Origin"), "{from}");
            let expected = allowed.then_some((from, "true", "PUT", "X-Team", "600"));
            let found = received.field("access-control-allow-origin").map(|origin| {
                let field = |name| received.field(name).unwrap();
                (
                    origin,
                    field("access-control-allow-credentials"),
                    field("access-control-allow-methods"),
                    field("access-control-allow-headers"),
                    field("access-control-max-age"),
                )
            });
            assert_eq!(found, expected, "{from}");
        }
    }
    assert_eq!(origin.count(), 0, "no preflight request reaches the endpoint");
}

#[test]
fn cors_fields_replace_the_endpoints_and_mark_local_replies() {
    let origin = origin();
    let yaml = ingress("a", "a.example", &[("/", "a"), ("/none", "none")])
        + &service("a", &[origin.address])
        + &service("none", &[])
        + &policy(&format!("{CORS}  bodySize: 1Ki\n"));
    let gateway = TestGateway::start(&yaml);
    let fields = [("origin", "https://shop.example")];
    for (target, status) in [("/", 200), ("/none", 503)] {
        for received in both(gateway.gateway.http, Asked { method: "GET", target, fields: &fields }) {
            assert_eq!(received.status, status);
            assert_eq!(received.field("access-control-allow-origin"), Some("https://shop.example"));
            assert_eq!(received.field("access-control-expose-headers"), Some("X-Kept"));
            let vary: Vec<_> =
                received.fields.get_all("vary").iter().map(|value| value.to_str().unwrap()).collect();
            assert!(vary.contains(&"Origin"), "{vary:?}");
        }
        for received in both(gateway.gateway.http, get(target)) {
            assert_eq!(received.field("access-control-allow-origin"), None, "no Origin was sent");
        }
    }
    let mut client = gateway.client();
    client.send(
        "POST / HTTP/1.1\r\nHost: a.example\r\nOrigin: https://shop.example\r\nContent-Length: 2000\r\n\r\n",
    );
    let refused = client.response();
    assert_eq!(
        (refused.status(), refused.field("access-control-allow-origin")),
        (413, Some("https://shop.example"))
    );
}

#[test]
fn public_cors_is_the_same_for_all_origins() {
    let origin = origin();
    let gateway = TestGateway::start(&(single_route(&origin) + &policy("  cors: {allowOrigins: [\"*\"]}\n")));
    for received in
        both(gateway.gateway.http, Asked { method: "GET", target: "/", fields: &[("origin", "https://x.y")] })
    {
        assert_eq!(received.field("access-control-allow-origin"), Some("*"));
        assert_eq!(received.field("vary"), Some("Accept"));
    }
    for received in both(gateway.gateway.http, get("/")) {
        assert_eq!(
            received.field("access-control-allow-origin"),
            Some("*"),
            "caches serve it to all origins"
        );
    }
}

#[test]
fn explain_reports_replies_of_filters() {
    let origin = origin();
    let spec = "  redirect: {https: Always}\n  cors: {allowOrigins: [\"https://b.example\"]}\n";
    let gateway = TestGateway::start(&(single_route(&origin) + &policy(spec)));
    let preflight =
        "&method=OPTIONS&header=Origin:%20https://b.example&header=Access-Control-Request-Method:%20PUT";
    for (query, expected) in [
        (
            "url=http://a.example/x".to_owned(),
            "308 redirect to https://a.example/x, a local reply of the gateway",
        ),
        (format!("url=https://a.example/x{preflight}"), "204 cors_preflight, a local reply of the gateway"),
        ("url=https://a.example/x".to_owned(), "forwarded to Service default/a:80"),
    ] {
        let (status, page) = gateway.admin(&format!("/explain?{query}"));
        assert_eq!(status, 200, "{page}");
        assert!(page.contains(&format!("result    {expected}\n")), "{page}");
    }
}

// ===== filters that wait =====

/// Pauses each request until the test sends what follows, and counts dropped waits.
#[derive(Debug, Default)]
struct Gate {
    waiting: Mutex<Vec<oneshot::Sender<Resumed>>>,
    dropped: Arc<AtomicUsize>,
    /// Responses whose response half this filter saw.
    responses: AtomicUsize,
}

/// Counts when it is dropped without a result.
struct CountDrop(Option<Arc<AtomicUsize>>);

impl Drop for CountDrop {
    fn drop(&mut self) {
        if let Some(count) = &self.0 {
            count.fetch_add(1, Ordering::Relaxed);
        }
    }
}

impl Filter for Gate {
    fn stage(&self) -> Stage {
        Stage::Custom
    }

    fn phases(&self) -> Phases {
        Phases { request: true, response: true, ..Phases::default() }
    }

    fn request(&self, _slot: &mut Slot, _head: &mut RequestHead<'_>, _cx: &FilterContext<'_>) -> Step {
        let (sender, receiver) = oneshot::channel();
        self.waiting.lock().unwrap().push(sender);
        let mut unfinished = CountDrop(Some(Arc::clone(&self.dropped)));
        Step::Wait(Box::pin(async move {
            let resumed = receiver.await.unwrap();
            unfinished.0.take();
            resumed
        }))
    }

    fn response(&self, _slot: &mut Slot, _head: &mut ResponseHead<'_>, _cx: &FilterContext<'_>) -> Step {
        self.responses.fetch_add(1, Ordering::Relaxed);
        Step::Continue
    }
}

impl Gate {
    /// Waits until a request is paused.
    fn next(&self) -> oneshot::Sender<Resumed> {
        until("a paused request", || !self.waiting.lock().unwrap().is_empty());
        self.waiting.lock().unwrap().pop().unwrap()
    }
}

fn gated(origin: &Origin, spec: &str) -> (TestGateway, Arc<Gate>) {
    let gate = Arc::new(Gate::default());
    let filter: Arc<dyn Filter> = Arc::clone(&gate) as _;
    let yaml = single_route(origin) + &policy(spec);
    let gateway = TestGateway::changed(&yaml, |options| options.filters.push(filter));
    gateway.gateway.wait(1, DEADLINE).unwrap();
    (gateway, gate)
}

#[test]
fn waiting_filter_holds_the_body_and_edits_the_head() {
    let origin = origin();
    let (gateway, gate) = gated(&origin, "  requestHeaders: {set: [{name: X-Last, value: policy}]}\n");
    let mut client = gateway.client();
    client.send("POST / HTTP/1.1\r\nHost: a.example\r\nContent-Length: 5\r\n\r\nhello");
    let resume = gate.next();
    assert_eq!(origin.heads(), 0, "nothing is sent while the filter waits");
    let mut edits = Patch::default();
    edits.set(FieldName::parse("X-User").unwrap(), FieldValue::parse("anna").unwrap());
    edits.set(FieldName::parse("X-Last").unwrap(), FieldValue::parse("gate").unwrap());
    resume.send(Resumed::Continue(edits)).unwrap();
    assert_eq!(client.response().status(), 200);
    let seen = origin.last();
    assert_eq!((seen.text(), seen.field("x-user")), ("hello", Some("anna")));
    assert_eq!(seen.field("x-last"), Some("policy"), "Headers come after the other filters");
    assert_eq!(gate.responses.load(Ordering::Relaxed), 1);
}

#[test]
fn waiting_filter_can_reply() {
    let origin = origin();
    let (gateway, gate) = gated(&origin, "  responseHeaders: {set: [{name: X-Late, value: \"1\"}]}\n");
    let mut client = gateway.client();
    client.send("GET / HTTP/1.1\r\nHost: a.example\r\n\r\n");
    gate.next().send(Resumed::Reply(Box::new(LocalReply::new(403, "denied")))).unwrap();
    let reply = client.response();
    assert_eq!((reply.status(), reply.field("gateway-reason")), (403, Some("denied")));
    assert_eq!(reply.field("x-late"), None, "the request did not reach the filter behind");
    assert_eq!((origin.heads(), gate.responses.load(Ordering::Relaxed)), (0, 1));
}

#[test]
fn wait_is_dropped_when_the_client_leaves() {
    let origin = origin();
    let (gateway, gate) = gated(&origin, "  bodySize: 1Mi\n");
    let client = gateway.client();
    let mut sending = Wire::new(client.stream.try_clone().unwrap());
    sending.send("POST / HTTP/1.1\r\nHost: a.example\r\nContent-Length: 5\r\n\r\nhe");
    let resume = gate.next();
    client.stream.shutdown(Shutdown::Both).unwrap();
    until("the wait to be dropped", || gate.dropped.load(Ordering::Relaxed) == 1);
    assert!(resume.is_closed());
    assert_eq!(origin.heads(), 0);
}

#[test]
fn wait_ends_with_the_requests_timeout() {
    let origin = origin();
    let (gateway, gate) = gated(&origin, "  timeouts: {request: 200ms}\n");
    let reply = gateway.get("a.example", "/");
    assert_eq!((reply.status(), reply.field("gateway-reason")), (504, Some("request_timeout")));
    assert_eq!(gate.dropped.load(Ordering::Relaxed), 1);
}

#[test]
fn http2_streams_wait_with_their_body_and_end_by_reset() {
    let origin = origin();
    let (gateway, gate) = gated(&origin, "  bodySize: 1Mi\n");
    // The connection is driven by another thread while this one waits for the filter.
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let mut send = runtime.block_on(async {
        let stream = TcpStream::connect(gateway.gateway.http).await.unwrap();
        let (send, connection) = h2::client::handshake(stream).await.unwrap();
        tokio::spawn(connection);
        send
    });
    let post = || Request::post("http://a.example/").body(()).unwrap();

    let (response, mut body) = send.send_request(post(), false).unwrap();
    body.send_data("hello".into(), true).unwrap();
    let resume = gate.next();
    assert_eq!(origin.heads(), 0, "nothing is sent while the filter waits");
    resume.send(Resumed::Continue(Patch::default())).unwrap();
    let response =
        runtime.block_on(async { tokio::time::timeout(DEADLINE, response).await.unwrap().unwrap() });
    assert_eq!((response.status().as_u16(), origin.last().text()), (200, "hello"));

    let (_response, mut body) = send.send_request(post(), false).unwrap();
    body.send_data("he".into(), false).unwrap();
    let resume = gate.next();
    body.send_reset(h2::Reason::CANCEL);
    until("the wait to be dropped", || gate.dropped.load(Ordering::Relaxed) == 1);
    assert!(resume.is_closed());
    assert_eq!(origin.heads(), 1);
}
