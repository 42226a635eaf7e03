//! The admin pages, and `gateway wait`, which reads them.

#![allow(clippy::unwrap_used, clippy::panic, reason = "tests fail by panicking")]

mod support;

use std::process::{Command, Output};
use std::time::{Duration, Instant};

use gateway::settings::Settings;
use support::fixtures::{Manifests, ingress, ingress_class, service};
use support::{Follows, Origin, Refusing, TestGateway, Then, single_route, until};

/// Returns the value of one sample of the metrics page.
fn metric(page: &str, name: &str) -> u64 {
    let line = page.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    line.unwrap_or_else(|| panic!("no {name} in:\n{page}")).parse().unwrap()
}

#[test]
fn gateway_is_alive_at_once_and_ready_with_the_first_table() {
    let origin = Origin::named("a");
    // 500 objects delay the first table, so that the test can observe the gateway before it is ready.
    let ingresses: Manifests =
        (0..500).map(|n| ingress(&format!("i{n}")).host(&format!("h{n}.example")).path("/", "a")).collect();
    let yaml = ingresses + service("a").endpoints(&[origin.address]);
    let started = TestGateway::unready(&yaml, Settings::default());
    assert_eq!(started.admin("/livez"), (200, "alive\n".to_owned()));
    until("the gateway is ready", || match started.admin("/readyz") {
        (503, reason) => {
            assert_eq!(reason, "not ready: no routing table yet\n");
            false
        }
        (status, text) => {
            assert_eq!((status, text.as_str()), (200, "ready: generation 1\n"));
            true
        }
    });
    assert_eq!(started.get("h499.example", "/").status(), 200, "the whole table is live");
    assert_eq!(started.admin("/nothing").0, 404);
}

#[test]
fn admin_root_lists_pages_that_exist() {
    let origin = Origin::named("a");
    let started = TestGateway::start(&single_route(&origin));
    let (status, text) = started.admin("/");
    assert_eq!(status, 200);
    let pages: Vec<_> = text.lines().filter(|line| line.starts_with('/')).collect();
    assert!(pages.len() >= 8, "{text}");
    for page in pages {
        let path = page.split_whitespace().next().unwrap();
        assert_ne!(started.admin(path).0, 404, "{path}");
    }
}

#[test]
fn counters_match_the_requests_sent() {
    let origin = Origin::start(|call| {
        let status = if call.request.target() == "/500" { "500 Oh" } else { "200 OK" };
        call.respond(format!("HTTP/1.1 {status}\r\nContent-Length: 0\r\n\r\n")).map(|()| Then::Keep)
    });
    let refusing = Refusing::new();
    let yaml = ingress("one").host("a.example").path("/", "a").path("/gone", "gone")
        + ingress("two").host("b.example").path("/", "a")
        + service("a").endpoints(&[origin.address])
        + service("gone").endpoints(&[refusing.address]);
    let started = TestGateway::start(&yaml);
    let mut client = started.client();
    struct Requests {
        host: &'static str,
        target: &'static str,
        count: usize,
    }
    for Requests { host, target, count } in [
        Requests { host: "a.example", target: "/", count: 5 },
        Requests { host: "a.example", target: "/500", count: 2 },
        Requests { host: "a.example", target: "/gone", count: 3 },
        Requests { host: "b.example", target: "/", count: 4 },
        Requests { host: "c", target: "/", count: 6 },
    ] {
        for _ in 0..count {
            client.get(host, target);
        }
    }
    client.send("GET / HTTP/1.1\r\n\r\n");
    assert_eq!(client.response().status(), 400);
    assert_eq!(client.rest(), b"");
    drop(client);
    let responses = |ingress: &str, code: &str| {
        let namespace = if ingress.is_empty() { "" } else { "default" };
        format!("gateway_requests_total{{namespace=\"{namespace}\",ingress=\"{ingress}\",code=\"{code}\"}}")
    };
    let mut page = String::new();
    until("the end of the connection is counted", || {
        page = started.admin("/metrics").1;
        metric(&page, "gateway_client_connections_open") == 0
    });
    for (name, value) in [
        (responses("one", "2xx"), 5),
        (responses("one", "5xx"), 5),
        (responses("two", "2xx"), 4),
        (responses("", "4xx"), 7),
        (by_reason("local_replies", "no_rule"), 6),
        (by_reason("local_replies", "no_host"), 1),
        (by_reason("local_replies", "upstream_refused"), 3),
        ("gateway_client_connections_accepted_total".to_owned(), 1),
        ("gateway_upstream_connects_total".to_owned(), 1),
        ("gateway_upstream_connect_failures_total".to_owned(), 3),
        ("gateway_upstream_connection_reuses_total".to_owned(), 10),
        ("gateway_requests_in_flight".to_owned(), 0),
        ("gateway_panics_total".to_owned(), 0),
        ("gateway_generation".to_owned(), 1),
    ] {
        assert_eq!(metric(&page, &name), value, "{name}");
    }
}

/// Returns the sample name of a counter by reason.
fn by_reason(family: &str, reason: &str) -> String {
    format!("gateway_{family}_total{{reason=\"{reason}\"}}")
}

#[test]
fn aborted_request_is_counted_by_reason_and_sent_status() {
    let origin = Origin::start(|call| match call.request.target() {
        "/cut" => call.respond("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhel").map(|()| Then::Close),
        "/garbage" => call
            .respond("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nnonsense\r\n")
            .map(|()| Then::Close),
        _ => call.read_body().map(|()| Then::Hang),
    });
    let started = TestGateway::start(&single_route(&origin));
    for target in ["/cut", "/garbage"] {
        let mut client = started.client();
        client.send(format!("GET {target} HTTP/1.1\r\nHost: a.example\r\n\r\n"));
        assert!(client.message(Follows::Response).is_err(), "{target}: the response looks complete");
    }
    // A reset in the request body: the gateway cannot respond.
    let mut client = started.client();
    socket2::SockRef::from(&client.stream).set_linger(Some(Duration::ZERO)).unwrap();
    client.send("POST /gone HTTP/1.1\r\nHost: a.example\r\nContent-Length: 5\r\n\r\nhel");
    origin.wait_heads(3);
    drop(client);
    let mut page = String::new();
    until("all requests have ended", || {
        page = started.admin("/metrics").1;
        metric(&page, "gateway_client_connections_open") == 0
    });
    for (name, value) in [
        (by_reason("aborts", "upstream_cut"), 1),
        (by_reason("aborts", "upstream_malformed"), 1),
        (by_reason("aborts", "client_closed"), 1),
        ("gateway_requests_total{namespace=\"default\",ingress=\"a\",code=\"2xx\"}".to_owned(), 2),
    ] {
        assert_eq!(metric(&page, &name), value, "{name}");
    }
    assert!(!page.contains("code=\"1xx\""), "{page}");
}

#[test]
fn request_in_flight_is_counted_until_its_end() {
    let origin = Origin::start(|call| call.read_body().map(|()| Then::Hang));
    let started = TestGateway::start(&single_route(&origin));
    let mut client = started.client();
    client.send("GET / HTTP/1.1\r\nHost: a.example\r\n\r\n");
    origin.wait_heads(1);
    let page = started.admin("/metrics").1;
    assert_eq!(
        (metric(&page, "gateway_requests_in_flight"), metric(&page, "gateway_client_connections_open")),
        (1, 1)
    );
}

#[test]
fn routes_and_problems_pages_name_the_source_of_each_entry() {
    let origin = Origin::named("a");
    let service = service("a").endpoints(&[origin.address]);
    let yaml = ingress("shop").host("a.example").path("/api", "a").path("/lost", "missing")
        + ingress("younger").host("a.example").path("/api", "missing")
        + &service;
    let started = TestGateway::start(&yaml);
    let (status, text) = started.admin("/routes");
    assert_eq!(status, 200);
    let endpoint = origin.address.to_string();
    for part in [
        "generation 1",
        "a.example",
        "/api",
        "default/shop",
        "spec.rules[0].http.paths[0]",
        "Service default/a:80",
        &endpoint,
    ] {
        assert!(text.contains(part), "no {part} in:\n{text}");
    }
    let (status, json) = started.admin("/routes?output=json");
    let routes: serde_json::Value = serde_json::from_str(&json).unwrap();
    let route = routes.pointer("/hosts/0/routes/0").unwrap();
    let texts =
        ["path", "ingress", "field"].map(|name| route.get(name).and_then(|text| text.as_str()).unwrap());
    assert_eq!((status, texts), (200, ["/api", "default/shop", "spec.rules[0].http.paths[0]"]));
    let (status, text) = started.admin("/problems");
    assert_eq!(status, 200);
    assert!(text.lines().count() >= 2 && text.contains("missing") && text.contains("younger"), "{text}");
    let (status, json) = started.admin("/problems?output=json");
    let problems: Vec<serde_json::Value> = serde_json::from_str(&json).unwrap();
    // The last line counts the Ingresses.
    assert_eq!((status, problems.len() + 1), (200, text.lines().count()));
    assert!(text.ends_with("2 Ingresses served\n"), "{text}");
    let conflict = problems.iter().find(|problem| {
        problem["name"] == "younger" && problem["field"].as_str().unwrap().ends_with("paths[0]")
    });
    let conflict = conflict.unwrap_or_else(|| panic!("{json}"));
    assert_eq!(
        (conflict["kind"].as_str(), conflict["namespace"].as_str()),
        (Some("Ingress"), Some("default"))
    );
    let corrected = ingress("shop").host("a.example").path("/api", "a") + service;
    started.replace("all.yaml", &corrected);
    assert_eq!(started.admin("/problems"), (200, "1 Ingress served\n".to_owned()));
    assert_eq!(started.admin("/problems?output=xml").0, 400);
}

/// Runs `gateway wait` for an Ingress of namespace `default`. Returns its exit code and output.
fn wait(started: &TestGateway, name: &str, arguments: &[&str]) -> (i32, String) {
    let (target, admin) = (format!("ingress/default/{name}"), started.gateway.admin.to_string());
    let output = wait_with(&[&["--admin", &admin, &target], arguments].concat());
    let text = [output.stdout, output.stderr].concat();
    (output.status.code().unwrap(), String::from_utf8(text).unwrap())
}

/// Runs `gateway wait`.
fn wait_with(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_gateway")).arg("wait").args(arguments).output().unwrap()
}

#[test]
fn wait_for_a_live_ingress_ends_at_once() {
    let origin = Origin::named("a");
    let manifests = |version: &str| {
        ingress("a").resource_version(version).host("a.example").path("/", "a")
            + service("a").endpoints(&[origin.address])
    };
    let started = TestGateway::start(&manifests("98"));
    let live = (0, "Ingress default/a is live\n".to_owned());
    assert_eq!(wait(&started, "a", &[]), live);
    for version in ["9", "98"] {
        assert_eq!(wait(&started, "a", &["--resource-version", version]), live, "{version}");
    }
    let (code, text) = wait(&started, "a", &["--resource-version", "100", "--timeout", "0s"]);
    assert_eq!((code, text.ends_with("the gateway still has version 98\n")), (2, true), "{text}");
    started.replace("all.yaml", &manifests("100"));
    assert_eq!(wait(&started, "a", &["--resource-version", "100"]), live, "only the version differs");
    let (status, text) = started.admin("/ingress?namespace=default&name=a&resourceVersion=99");
    assert_eq!((status, text.as_str()), (200, "live  version 100, generation 2\n"));
    assert_eq!(started.admin("/ingress?namespace=default&name=a&resourceVersion=a1").0, 400);
    assert_eq!(started.admin("/ingress?namespace=default").0, 400);
}

#[test]
fn wait_ends_when_the_ingress_becomes_live() {
    let origin = Origin::named("a");
    let started = TestGateway::start(&service("a").endpoints(&[origin.address]));
    let admin = started.gateway.admin.to_string();
    let waiting = std::thread::spawn(move || wait_with(&["ingress/default/a", "--admin", &admin]));
    // `wait` may query before or after the change: either way it ends with the table that has the Ingress.
    started.replace("new.yaml", &ingress("a").host("a.example").path("/", "a"));
    assert_eq!(waiting.join().unwrap().status.code(), Some(0));
}

#[test]
fn wait_prints_the_problems_after_they_have_settled() {
    let origin = Origin::named("a");
    let yaml = ingress("a").host("a.example").path("/", "a").path("/lost", "missing")
        + ingress("other").host("b.example").path("/", "missing")
        + service("a").endpoints(&[origin.address]);
    let started = TestGateway::start(&yaml);
    let began = Instant::now();
    let (code, text) = wait(&started, "a", &[]);
    assert_eq!((code, text.lines().count()), (1, 1), "the Problems of Ingress a only: {text}");
    assert!(
        text.contains("Ingress default/a spec.rules[0].http.paths[1]") && text.contains("missing"),
        "{text}"
    );
    assert!(began.elapsed() >= Duration::from_secs(1), "the missing Service may still arrive");
    let (code, at_once) = wait(&started, "a", &["--timeout", "0s"]);
    assert_eq!((code, at_once), (1, text), "the timeout ends the wait for the Service");
}

#[test]
fn wait_ends_without_endpoints() {
    let started = TestGateway::start(&(ingress("a").host("a.example").path("/", "a") + service("a")));
    assert_eq!(wait(&started, "a", &[]).0, 0);
    let page = started.admin("/ingress?namespace=default&name=a").1;
    assert!(page.starts_with("live") && page.contains("NoEndpoints"), "{page}");
}

#[test]
fn wait_names_the_foreign_class_of_an_ingress() {
    let yaml = ingress_class("other").controller("example.com/other")
        + ingress("a").class("other").host("a.example").path("/", "a");
    let started = TestGateway::start(&yaml);
    let (code, text) = wait(&started, "a", &[]);
    assert_eq!((code, text.lines().count()), (1, 1), "{text}");
    assert!(text.contains("other"), "{text}");
}

#[test]
fn wait_times_out_for_an_unknown_ingress_or_gateway() {
    let started = TestGateway::start("");
    let (code, text) = wait(&started, "a", &["--timeout", "200ms"]);
    assert_eq!(
        (code, text.as_str()),
        (2, "gateway wait: not live after 200ms: the gateway knows no Ingress default/a\n")
    );
    let refusing = Refusing::new();
    let output =
        wait_with(&["ingress/default/a", "--timeout", "200ms", "--admin", &refusing.address.to_string()]);
    assert_eq!(output.status.code(), Some(2));
    assert!(String::from_utf8(output.stderr).unwrap().contains("no gateway answers at"));
    for wrong in
        [["service/default/a", "--timeout=1s"], ["ingress/a", "--timeout=1s"], ["ingress/a/b", "--timeout=1"]]
    {
        assert_eq!(wait_with(&wrong).status.code(), Some(2), "{wrong:?}");
    }
}
