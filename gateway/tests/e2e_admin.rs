//! The admin pages, as operators and Prometheus read them.

#![allow(clippy::unwrap_used, clippy::panic, reason = "tests fail by panicking")]

mod support;

use std::process::{Command, Output};
use std::time::{Duration, Instant};

use gateway::settings::Settings;
use support::{Origin, Refusing, TestGateway, Then, ingress, service, until};

/// The value of one line of the metrics page.
fn metric(page: &str, name: &str) -> u64 {
    let line = page.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    line.unwrap_or_else(|| panic!("no {name} in:\n{page}")).parse().unwrap()
}

#[test]
fn it_is_alive_at_once_and_ready_with_the_first_table() {
    let origin = Origin::named("a");
    // Enough to read that the first table takes a moment.
    let many: String =
        (0..500).map(|n| ingress(&format!("i{n}"), &format!("h{n}.example"), &[("/", "a")])).collect();
    let started = TestGateway::unready(&(many + &service("a", &[origin.address])), Settings::default());
    assert_eq!(started.admin("/livez"), (200, "alive\n".to_owned()));
    until("ready", || match started.admin("/readyz") {
        (503, reason) => {
            assert_eq!(reason, "not ready: no routing table yet\n");
            false
        }
        (status, text) => {
            assert_eq!((status, text.as_str()), (200, "ready: generation 1\n"));
            true
        }
    });
    assert_eq!(started.get("h499.example", "/").status(), 200, "ready means that all of the table is live");
    assert_eq!(started.admin("/nothing").0, 404);
}

#[test]
fn counters_add_up_after_known_requests() {
    let origin = Origin::start(|call| {
        let status = if call.request.target() == "/500" { "500 Oh" } else { "200 OK" };
        call.answer(format!("HTTP/1.1 {status}\r\nContent-Length: 0\r\n\r\n")).map(|()| Then::Keep)
    });
    let refusing = Refusing::new();
    let yaml = ingress("one", "a.example", &[("/", "a"), ("/gone", "gone")])
        + &ingress("two", "b.example", &[("/", "a")])
        + &service("a", &[origin.address])
        + &service("gone", &[refusing.address]);
    let started = TestGateway::start(&yaml);
    let mut client = started.client();
    for (host, target, times) in [
        ("a.example", "/", 5),
        ("a.example", "/500", 2),
        ("a.example", "/gone", 3),
        ("b.example", "/", 4),
        ("c", "/", 6),
    ] {
        for _ in 0..times {
            client.get(host, target);
        }
    }
    client.send("GET / HTTP/1.1\r\n\r\n");
    assert_eq!(client.response().status(), 400);
    assert_eq!(client.rest(), b"");
    drop(client);
    let answers = |ingress: &str, code: &str| {
        let namespace = if ingress.is_empty() { "" } else { "default" };
        format!("gateway_requests_total{{namespace=\"{namespace}\",ingress=\"{ingress}\",code=\"{code}\"}}")
    };
    let mut page = String::new();
    until("the connection's end is counted", || {
        page = started.admin("/metrics").1;
        metric(&page, "gateway_client_connections_open") == 0
    });
    for (name, value) in [
        (answers("one", "2xx"), 5),
        (answers("one", "5xx"), 5),
        (answers("two", "2xx"), 4),
        (answers("", "4xx"), 7),
        (by_reason("local_replies", "no_rule"), 6),
        (by_reason("local_replies", "no_host"), 1),
        (by_reason("local_replies", "upstream_refused"), 3),
        ("gateway_client_connections_accepted_total".to_owned(), 1),
        ("gateway_upstream_connects_total".to_owned(), 1),
        ("gateway_upstream_connect_failures_total".to_owned(), 3),
        ("gateway_upstream_connection_reuses_total".to_owned(), 10),
        ("gateway_requests_in_flight".to_owned(), 0),
        ("gateway_panics_total".to_owned(), 0),
        ("gateway_problems".to_owned(), 0),
        ("gateway_generation".to_owned(), 1),
    ] {
        assert_eq!(metric(&page, &name), value, "{name}");
    }
    assert!(page.ends_with("# EOF\n"), "OpenMetrics has an end");
}

fn by_reason(family: &str, reason: &str) -> String {
    format!("gateway_{family}_total{{reason=\"{reason}\"}}")
}

#[test]
fn requests_without_a_whole_answer_are_counted_by_reason_and_in_no_status_class_unless_one_was_sent() {
    let origin = Origin::start(|call| match call.request.target() {
        "/cut" => call.answer("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhel").map(|()| Then::Close),
        "/garbage" => call
            .answer("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nnonsense\r\n")
            .map(|()| Then::Close),
        _ => call.read_body().map(|()| Then::Hang),
    });
    let started = TestGateway::start(&support::one(&origin));
    for target in ["/cut", "/garbage"] {
        let mut client = started.client();
        client.send(format!("GET {target} HTTP/1.1\r\nHost: a.example\r\n\r\n"));
        assert!(client.message(support::Follows::Response).is_err(), "{target}: a clean end");
    }
    // Its body ends before it should, and nothing is left to answer.
    let client = started.client();
    socket2::SockRef::from(&client.stream).set_linger(Some(std::time::Duration::ZERO)).unwrap();
    let mut client = client;
    client.send("POST /gone HTTP/1.1\r\nHost: a.example\r\nContent-Length: 5\r\n\r\nhel");
    origin.wait_heads(3);
    drop(client);
    let mut page = String::new();
    until("all have ended", || {
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
fn a_request_in_flight_is_counted_while_it_lasts() {
    let origin = Origin::start(|call| call.read_body().map(|()| Then::Hang));
    let started = TestGateway::start(&support::one(&origin));
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
fn routes_and_problems_are_told_in_text_and_json_with_provenance() {
    let origin = Origin::named("a");
    let yaml = ingress("shop", "a.example", &[("/api", "a"), ("/lost", "missing")])
        + &ingress("younger", "a.example", &[("/api", "missing")])
        + &service("a", &[origin.address]);
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
    assert_eq!((status, problems.len()), (200, text.lines().count()));
    let conflict = problems.iter().find(|problem| {
        problem["name"] == "younger" && problem["field"].as_str().unwrap().ends_with("paths[0]")
    });
    let conflict = conflict.unwrap_or_else(|| panic!("{json}"));
    assert_eq!(
        (conflict["kind"].as_str(), conflict["namespace"].as_str()),
        (Some("Ingress"), Some("default"))
    );
    // What is mended is no Problem any more.
    let mended = ingress("shop", "a.example", &[("/api", "a")]) + &service("a", &[origin.address]);
    started.replace("all.yaml", &mended);
    assert_eq!(started.admin("/problems"), (200, String::new()));
    assert_eq!(started.admin("/problems?output=xml").0, 400);
}

/// Runs `gateway wait` for an Ingress of namespace `default`: its code, and what it printed.
fn wait(started: &TestGateway, name: &str, further: &[&str]) -> (i32, String) {
    let (target, admin) = (format!("ingress/default/{name}"), started.gateway.admin.to_string());
    let output = wait_with(&[&["--admin", &admin, &target], further].concat());
    let text = [output.stdout, output.stderr].concat();
    (output.status.code().unwrap(), String::from_utf8(text).unwrap())
}

fn wait_with(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_gateway")).arg("wait").args(arguments).output().unwrap()
}

/// An Ingress of host a.example in this version.
fn versioned(version: &str) -> String {
    let yaml = ingress("a", "a.example", &[("/", "a")]);
    yaml.replace("{name: a}", &format!("{{name: a, resourceVersion: \"{version}\"}}"))
}

#[test]
fn wait_ends_at_once_for_an_ingress_that_is_live() {
    let origin = Origin::named("a");
    let service = service("a", &[origin.address]);
    let started = TestGateway::start(&(versioned("98") + &service));
    let live = (0, "Ingress default/a is live\n".to_owned());
    assert_eq!(wait(&started, "a", &[]), live);
    for version in ["9", "98"] {
        assert_eq!(wait(&started, "a", &["--resource-version", version]), live, "{version}");
    }
    let (code, text) = wait(&started, "a", &["--resource-version", "100", "--timeout", "0s"]);
    assert_eq!((code, text.ends_with("the gateway still has version 98\n")), (2, true), "{text}");
    started.replace("all.yaml", &(versioned("100") + &service));
    assert_eq!(wait(&started, "a", &["--resource-version", "100"]), live, "only the version has changed");
    let (status, text) = started.admin("/ingress?namespace=default&name=a&resourceVersion=99");
    assert_eq!((status, text.as_str()), (200, "live  version 100, generation 2\n"));
    assert_eq!(started.admin("/ingress?namespace=default&name=a&resourceVersion=a1").0, 400);
    assert_eq!(started.admin("/ingress?namespace=default").0, 400);
}

#[test]
fn wait_sees_an_ingress_that_comes_later() {
    let origin = Origin::named("a");
    let started = TestGateway::start(&service("a", &[origin.address]));
    let admin = started.gateway.admin.to_string();
    let waiting = std::thread::spawn(move || wait_with(&["ingress/default/a", "--admin", &admin]));
    // Whether it has asked before does not matter: it ends with the table that holds the Ingress.
    started.replace("new.yaml", &ingress("a", "a.example", &[("/", "a")]));
    assert_eq!(waiting.join().unwrap().status.code(), Some(0));
}

#[test]
fn wait_prints_the_problems_of_an_ingress_that_is_refused_once_they_have_settled() {
    let origin = Origin::named("a");
    let yaml = ingress("a", "a.example", &[("/", "a"), ("/lost", "missing")])
        + &ingress("other", "b.example", &[("/", "missing")])
        + &service("a", &[origin.address]);
    let started = TestGateway::start(&yaml);
    let began = Instant::now();
    let (code, text) = wait(&started, "a", &[]);
    assert_eq!((code, text.lines().count()), (1, 1), "its own Problems alone: {text}");
    assert!(
        text.contains("Ingress default/a spec.rules[0].http.paths[1]") && text.contains("missing"),
        "{text}"
    );
    assert!(began.elapsed() >= Duration::from_secs(1), "what is missing may be on its way");
    let (code, at_once) = wait(&started, "a", &["--timeout", "0s"]);
    assert_eq!((code, at_once), (1, text), "what is refused when time is over is refused");
}

#[test]
fn wait_does_not_wait_for_endpoints() {
    let service = "---\napiVersion: v1\nkind: Service\nmetadata: {name: a}\nspec: {ports: [{port: 80}]}\n";
    let started = TestGateway::start(&(ingress("a", "a.example", &[("/", "a")]) + service));
    assert_eq!(wait(&started, "a", &[]).0, 0);
    let page = started.admin("/ingress?namespace=default&name=a").1;
    assert!(page.starts_with("live") && page.contains("NoEndpoints"), "{page}");
}

#[test]
fn wait_says_whose_an_ingress_is_that_is_not_served_here() {
    let class = "---\napiVersion: networking.k8s.io/v1\nkind: IngressClass\nmetadata: {name: other}\nspec: {controller: example.com/other}\n";
    let yaml =
        ingress("a", "a.example", &[("/", "a")]).replace("spec:\n", "spec:\n  ingressClassName: other\n");
    let started = TestGateway::start(&(class.to_owned() + &yaml));
    let (code, text) = wait(&started, "a", &[]);
    assert_eq!((code, text.lines().count()), (1, 1), "{text}");
    assert!(text.contains("other"), "{text}");
}

#[test]
fn wait_times_out_on_what_nobody_knows_and_when_nobody_answers() {
    let started = TestGateway::start("");
    let (code, text) = wait(&started, "a", &["--timeout", "200ms"]);
    assert_eq!(
        (code, text.as_str()),
        (2, "gateway wait: not live after 200ms: the gateway knows no Ingress default/a\n")
    );
    let nobody = Refusing::new();
    let output =
        wait_with(&["ingress/default/a", "--timeout", "200ms", "--admin", &nobody.address.to_string()]);
    assert_eq!(output.status.code(), Some(2));
    assert!(String::from_utf8(output.stderr).unwrap().contains("no gateway answers at"));
    for wrong in
        [["service/default/a", "--timeout=1s"], ["ingress/a", "--timeout=1s"], ["ingress/a/b", "--timeout=1"]]
    {
        assert_eq!(wait_with(&wrong).status.code(), Some(2), "{wrong:?}");
    }
}
