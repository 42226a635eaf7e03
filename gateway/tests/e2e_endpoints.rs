//! Endpoints seen as they are: ejections, broken rules, limits, other protocols, zones, and ports of slices.

#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "tests fail by panicking")]

#[path = "support/program.rs"]
mod program;
mod support;

use std::io::Write as _;
use std::time::{Duration, Instant};

use program::Program;
use support::fixtures::{endpoint_slice, ingress, service};
use support::{
    Message, Origin, Refusing, TestGateway, Then, Wire, ok, settings, single_route, single_route_to, until,
};

/// Maximum time for what needs no timeout of the gateway.
const PROMPT: Duration = Duration::from_secs(5);

/// Returns status and reason of a local reply.
fn status_and_reason(response: &Message) -> (u16, Option<&str>) {
    (response.status(), response.field("gateway-reason"))
}

/// Returns the lines of a program's log that contain a text.
fn lines(program: &Program, text: &str) -> Vec<String> {
    program.log().lines().filter(|line| line.contains(text)).map(str::to_owned).collect()
}

/// Sends a GET for `a.example` to a program.
fn get(program: &Program, target: &str) -> Message {
    Wire::connect(program.http).get("a.example", target)
}

/// Returns an admin page of a program.
fn page(program: &Program, target: &str) -> String {
    Wire::connect(program.admin).get("admin", target).text().to_owned()
}

#[test]
fn unreachable_endpoint_shows_on_all_pages() {
    let (good, refusing) = (Origin::named("good"), Refusing::new());
    let program = Program::start(&single_route_to(&[good.address, refusing.address]), &[]);
    for _ in 0..20 {
        assert_eq!(get(&program, "/").text(), "good");
    }
    let address = refusing.address;
    let routes = page(&program, "/routes");
    assert!(routes.contains(&format!("{address}  (ejected: upstream_refused, probed ")), "{routes}");
    let json = page(&program, "/routes?output=json");
    assert_eq!(json.matches("\"ejected\":\"upstream_refused, probed ").count(), 1, "{json}");
    let explanation = page(&program, "/explain?url=http://a.example/");
    assert!(explanation.contains(&format!("sends to {}\n", good.address)), "{explanation}");
    assert!(explanation.contains(&format!("ejected: {address}: upstream_refused, probed ")), "{explanation}");
    let metrics = page(&program, "/metrics");
    let labels = "namespace=\"default\",service=\"a\"";
    assert!(metrics.contains(&format!("gateway_endpoints_ejected{{{labels}}} 1\n")), "{metrics}");
    let total = format!("gateway_endpoint_ejections_total{{{labels},cause=\"upstream_refused\"}} ");
    assert!(metrics.contains(&total), "{metrics}");
    let ejections = lines(&program, "endpoint ejected");
    let [ejection] = ejections.as_slice() else { panic!("one line: {ejections:?}") };
    assert!(ejection.contains("WARN") && ejection.contains("service=default/a"), "{ejection}");
    assert!(ejection.contains(&format!("endpoint={address} cause=\"upstream_refused\"")), "{ejection}");
}

#[test]
fn ejection_of_a_failing_endpoint_begins_and_ends_in_the_log() {
    let origin = Origin::start(|call| match call.request.target() {
        "/bad" => call.read_body().map(|()| Then::Close),
        _ => call.respond(ok("a")).map(|()| Then::Keep),
    });
    let program = Program::start(&single_route(&origin), &["retries.attempts=0"]);
    for _ in 0..6 {
        assert_eq!(status_and_reason(&get(&program, "/bad")), (502, Some("upstream_closed")));
    }
    assert_eq!(lines(&program, "endpoint ejected").len(), 1, "{}", program.log());
    assert!(lines(&program, "endpoint ejected")[0].contains("cause=\"upstream_closed\""));
    // The only endpoint gets requests also while it is ejected.
    assert_eq!(get(&program, "/").text(), "a");
    until("the end of the ejection is logged", || lines(&program, "endpoint readmitted").len() == 1);
    assert!(
        page(&program, "/metrics")
            .contains("gateway_endpoints_ejected{namespace=\"default\",service=\"a\"} 0\n")
    );
}

#[test]
fn broken_rule_is_logged_with_service_and_request_id() {
    struct Case {
        target: &'static str,
        raw: &'static str,
        rule: &'static str,
    }
    const CASES: [Case; 6] = [
        Case {
            target: "/both",
            raw: "HTTP/1.1 200 OK\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n",
            rule: "malformed framing: both content-length and transfer-encoding",
        },
        Case {
            target: "/lengths",
            raw: "HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 1\r\n\r\n1",
            rule: "malformed framing: repeated content-length field",
        },
        Case { target: "/status", raw: "HTTP/1.1 999 No\r\n\r\n", rule: "malformed head: malformed status" },
        Case {
            target: "/blank",
            raw: "HTTP/1.1 200 OK\r\nA : b\r\n\r\n",
            rule: "malformed head: malformed field name: a blank before the colon",
        },
        Case { target: "/lf", raw: "HTTP/1.1 200 OK\nA: b\n\n", rule: "malformed head: bare LF" },
        Case {
            target: "/name",
            raw: "HTTP/1.1 200 OK\r\nA(: b\r\n\r\n",
            rule: "malformed head: malformed field name",
        },
    ];
    let origin = Origin::start(|call| {
        let case = CASES.iter().find(|case| case.target == call.request.target()).unwrap();
        call.respond(case.raw).map(|()| Then::Close)
    });
    let program = Program::start(&single_route(&origin), &[]);
    for Case { target, rule, .. } in CASES {
        let response = get(&program, target);
        assert_eq!(status_and_reason(&response), (502, Some("upstream_malformed")), "{target}");
        let id = response.field("x-request-id").unwrap().to_owned();
        until("the broken rule is logged", || !lines(&program, &id).is_empty());
        let line = lines(&program, &id).pop().unwrap();
        assert!(line.contains("WARN") && line.contains("service=\"default/a\""), "{line}");
        assert!(line.contains(&format!("rule=\"{rule}\"")), "{line}");
        assert!(line.contains(&format!("endpoint={}", origin.address)), "{line}");
    }
}

#[test]
fn malformed_chunk_is_logged_with_its_rule() {
    let origin = Origin::start(|call| {
        call.respond("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nhel\r\n!\r\n")
            .map(|()| Then::Close)
    });
    let program = Program::start(&single_route(&origin), &[]);
    let mut client = Wire::connect(program.http);
    client.send("GET / HTTP/1.1\r\nHost: a.example\r\n\r\n");
    assert_eq!(client.head().unwrap().unwrap().status(), 200);
    until("the broken rule is logged", || lines(&program, "rule=\"malformed body: ").len() == 1);
}

#[test]
fn response_beyond_a_limit_has_a_reason_and_the_limit_can_be_raised() {
    let origin = Origin::start(|call| {
        let (count, length) = match call.request.target() {
            "/fields" => (110, 5),
            "/many" => (900, 5),
            _ => (10, 4000),
        };
        let fields: String =
            (0..count).map(|n| format!("Custom-Header-{n}: {}\r\n", "h".repeat(length))).collect();
        call.respond(format!("HTTP/1.1 200 OK\r\n{fields}Content-Length: 0\r\n\r\n")).map(|()| Then::Keep)
    });
    let gateway = TestGateway::start(&single_route(&origin));
    for target in ["/fields", "/many", "/bytes"] {
        for _ in 0..6 {
            let response = gateway.get("a.example", target);
            assert_eq!(status_and_reason(&response), (502, Some("upstream_head_too_large")), "{target}");
        }
    }
    assert!(!gateway.admin("/routes").1.contains("ejected"), "the endpoint did nothing wrong");
    let raised = settings(|all| {
        all.limits.head.fields = 1000;
        all.limits.head.head_bytes = 64 << 10;
    });
    let gateway = TestGateway::with(&single_route(&origin), raised);
    for (target, fields) in [("/fields", 110), ("/many", 900), ("/bytes", 10)] {
        let response = gateway.get("a.example", target);
        assert_eq!(response.status(), 200, "{target}");
        let custom = response.fields.iter().filter(|(name, _)| name.starts_with("custom-header-"));
        assert_eq!(custom.count(), fields, "{target}");
    }
}

#[test]
fn endpoint_of_another_protocol_is_refused_at_its_first_bytes() {
    // The greetings of SSH and SMTP, the error of Redis, and the alert of a TLS server.
    for greeting in
        [&b"SSH-2.0-OpenSSH_9.2\r\n"[..], b"220 mail ESMTP\r\n", b"-ERR\r\n", b"\x15\x03\x03\x00\x02\x02\x50"]
    {
        let origin = Origin::start(move |call| call.respond(greeting).map(|()| Then::Hang));
        let gateway = TestGateway::start(&single_route(&origin));
        let began = Instant::now();
        let response = gateway.get("a.example", "/");
        let shown = greeting.escape_ascii();
        assert_eq!(status_and_reason(&response), (502, Some("upstream_not_http")), "{shown}");
        assert!(began.elapsed() < PROMPT, "{shown}: {:?}", began.elapsed());
    }
}

#[test]
fn endpoints_of_other_zones_serve_while_those_of_this_zone_are_ejected() {
    let (far, near) = (Origin::named("far"), Origin::named("near"));
    let refusing = Refusing::new();
    let zone = |zone: &str| {
        let zone = zone.to_owned();
        settings(|all| all.routing.zone = Some(zone))
    };
    let objects = |here| {
        ingress("a").host("a.example").path("/", "a")
            + service("a")
            + endpoint_slice("a-here", "a", here).for_zone("here")
            + endpoint_slice("a-there", "a", far.address).for_zone("there")
    };
    let gateway = TestGateway::with(&objects(near.address), zone("here"));
    for _ in 0..10 {
        assert_eq!(gateway.get("a.example", "/").text(), "near", "the hints are followed");
    }
    let routes = gateway.admin("/routes").1;
    assert!(routes.contains(&format!("{}  (for other zones)", far.address)), "{routes}");
    let gateway = TestGateway::with(&objects(refusing.address), zone("here"));
    for _ in 0..10 {
        assert_eq!(gateway.get("a.example", "/").text(), "far");
    }
    let explanation = gateway.admin("/explain?url=http://a.example/").1;
    assert!(explanation.contains(&format!("sends to {}\n", far.address)), "{explanation}");
}

#[test]
fn slice_without_the_port_of_the_service_has_a_reason_of_its_own() {
    let origin = Origin::named("a");
    // The port of the slice has the empty name.
    let objects = ingress("a").host("a.example").path("/", "a")
        + service("a").named_port("web", 80)
        + endpoint_slice("a-1", "a", origin.address);
    let gateway = TestGateway::start(&objects);
    let response = gateway.get("a.example", "/");
    assert_eq!(status_and_reason(&response), (503, Some("endpoint_port_missing")));
    let problems = gateway.admin("/problems").1;
    assert!(
        problems.contains("no EndpointSlice of Service default/a has a port named \"web\""),
        "{problems}"
    );
    let explanation = gateway.admin("/explain?url=http://a.example/").1;
    let reason = "not used: its slice has no port of the Service port's name";
    assert!(explanation.contains(reason), "{explanation}");
    gateway.replace(
        "all.yaml",
        &(ingress("a").host("a.example").path("/", "a")
            + service("a")
            + endpoint_slice("a-1", "a", origin.address)),
    );
    assert_eq!(gateway.get("a.example", "/").text(), "a");
}

#[test]
fn lost_get_on_a_new_connection_is_retried_once() {
    let origin = Origin::start(|call| call.read_body().map(|()| Then::Close));
    let gateway = TestGateway::start(&single_route(&origin));
    let mut client = gateway.client();
    assert_eq!(status_and_reason(&client.get("a.example", "/")), (502, Some("upstream_closed")));
    assert_eq!(origin.count(), 2, "an idempotent request is sent twice");
    client.send("POST / HTTP/1.1\r\nHost: a.example\r\nContent-Length: 0\r\n\r\n");
    assert_eq!(client.response().status(), 502);
    assert_eq!(origin.count(), 3, "another one is sent once");
    let other = Origin::named("other");
    let gateway = TestGateway::start(&single_route_to(&[origin.address, other.address]));
    for _ in 0..4 {
        assert_eq!(gateway.get("a.example", "/").text(), "other");
    }
}

#[test]
fn retries_of_a_policy_are_counted_down() {
    let origin = Origin::start(|call| call.read_body().map(|()| Then::Close));
    for (attempts, sent) in [(0, 1), (1, 2), (2, 3), (5, 6)] {
        let spec = format!("retries: {{attempts: {attempts}, on: [Reset]}}");
        let policy = support::fixtures::route_policy("p").target_ingress("a").spec(&spec);
        let gateway = TestGateway::start(&(single_route(&origin) + policy));
        let before = origin.count();
        assert_eq!(gateway.get("a.example", "/").status(), 502);
        assert_eq!(origin.count() - before, sent, "{attempts} retries");
    }
}

#[test]
fn nothing_is_sent_again_after_a_part_of_the_response() {
    let origin = Origin::start(|call| {
        if call.turn == 1 {
            return call.respond(ok("a")).map(|()| Then::Keep);
        }
        call.respond("HTTP/1.1 200 OK\r\nContent-Le").map(|()| Then::Close)
    });
    let gateway = TestGateway::start(&single_route(&origin));
    let mut client = gateway.client();
    assert_eq!(client.get("a.example", "/").status(), 200);
    assert_eq!(status_and_reason(&client.get("a.example", "/")), (502, Some("upstream_closed")));
    assert_eq!((origin.connections(), origin.count()), (1, 2), "the reused connection, and no other");
}

#[test]
fn retry_takes_no_further_stale_connection() {
    // Each connection serves one request, and is closed upon the second.
    let together = std::sync::Barrier::new(2);
    let origin = Origin::start(move |call| {
        call.read_body()?;
        if call.turn == 2 {
            return Ok(Then::Close);
        }
        if call.request.target() == "/together" {
            together.wait();
        }
        call.wire.stream.write_all(ok("a").as_bytes()).map(|()| Then::Keep)
    });
    let gateway = TestGateway::with(
        &single_route(&origin),
        settings(|all| {
            all.retries.attempts = "1".parse().unwrap();
            all.retries.on = vec![api::RetryOn::StaleConnection];
        }),
    );
    let mut clients = [gateway.client(), gateway.client()];
    for client in &mut clients {
        client.send("GET /together HTTP/1.1\r\nHost: a.example\r\n\r\n");
    }
    for client in &mut clients {
        assert_eq!(client.response().status(), 200);
    }
    assert_eq!(origin.connections(), 2, "both are idle now");
    assert_eq!(gateway.get("a.example", "/").text(), "a", "the retry has a new connection");
    assert_eq!(origin.connections(), 3);
}

#[test]
fn port_by_name_and_by_number_is_one_pool() {
    let origin = Origin::named("a");
    let by_number = ingress("number").host("a.example").path("/number", "a").to_yaml();
    let by_name = ingress("name").host("a.example").path("/name", "a").to_yaml();
    let by_name = by_name.replace("{number: 80}", "{name: http}");
    assert!(by_name.contains("{name: http}"), "{by_name}");
    let objects = |name: &str| {
        let service = service("a").named_port(name, 80).endpoints(&[origin.address]);
        format!("{by_number}---\n{by_name}---\n{service}")
    };
    let gateway = TestGateway::start(&objects("http"));
    for _ in 0..3 {
        for target in ["/number", "/name"] {
            assert_eq!(gateway.get("a.example", target).text(), "a", "{target}");
        }
    }
    assert_eq!(origin.connections(), 1, "both rules use one connection");
    // The name now belongs to another port, so the rules share nothing.
    gateway.replace("all.yaml", &objects("web"));
    assert_eq!(status_and_reason(&gateway.get("a.example", "/name")), (503, Some("port_missing")));
    assert_eq!(gateway.get("a.example", "/number").text(), "a");
    gateway.replace("all.yaml", &objects("http"));
    let connections = origin.connections();
    for target in ["/number", "/name", "/number"] {
        assert_eq!(gateway.get("a.example", target).text(), "a", "{target}");
    }
    assert!(origin.connections() <= connections + 1, "both rules use one connection again");
}

#[test]
fn service_that_many_ingresses_name_logs_one_line_a_change() {
    let origin = Origin::named("a");
    let rules: String = (0..500)
        .map(|n| {
            format!(
                "{}---\n",
                ingress(&format!("i{n}")).host(&format!("h{n}.example")).path("/", "a").to_yaml()
            )
        })
        .collect();
    let with = |service: &str| format!("{rules}{service}");
    let present = service("a").endpoints(&[origin.address]).to_yaml();
    let program = Program::start(&with(&present), &[]);
    assert_eq!(Wire::connect(program.http).get("h7.example", "/").text(), "a");
    let before = program.log().lines().count();
    program.rename("all.yaml", &with(""));
    until("the Service is gone", || Wire::connect(program.http).get("h7.example", "/").status() == 503);
    until("the Problem is logged", || !lines(&program, "ServiceNotFound").is_empty());
    let found = lines(&program, "ServiceNotFound");
    assert_eq!(found.len(), 1, "{found:?}");
    assert!(found[0].contains("others=499"), "{found:?}");
    assert!(program.log().lines().count() <= before + 3, "{}", program.log());
}
