//! `gateway explain`: the explanation of a request, by a folder and by a running gateway.

#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "tests fail by panicking")]

mod support;
#[path = "support/terminal.rs"]
mod terminal;

use std::io::Read as _;
use std::path::Path;
use std::process::{Command, Output};

use gateway::cli::explain::request::RequestSpec;
use gateway::cli::explain::{ExplainContext, explain};
use gateway::control::certificates;
use gateway::control::reload::Problems;
use gateway::live::Live;
use routing::object::{
    Ingress, IngressBackend, IngressClass, IngressPath, IngressRule, Name, Object, PortRef,
};
use routing::{Compiler, Config};
use serde_json::Value;
use support::{Certificate, Origin, TestGateway, ingress, service, tls};
use tempfile::TempDir;

fn run(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_gateway")).arg("explain").args(arguments).output().unwrap()
}

fn text(arguments: &[&str]) -> String {
    let output = run(arguments);
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout).unwrap()
}
/// Returns the JSON explanation by a folder with this file.
fn json(yaml: &str, arguments: &[&str]) -> Value {
    let folder = folder(yaml);
    let mut all = vec!["--output", "json", "--files", folder.path().to_str().unwrap()];
    all.extend(arguments);
    serde_json::from_str(&text(&all)).unwrap()
}

fn folder(yaml: &str) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("all.yaml"), yaml).unwrap();
    folder
}

fn outcome(explanation: &Value) -> (Option<u64>, Option<&str>) {
    (explanation["outcome"]["status"].as_u64(), explanation["outcome"]["reason"].as_str())
}

/// Each `testdata/explain/<case>.in.yaml` is a folder with one file, and its first line the command line. `UPDATE_EXPECT=1`
/// rewrites the outputs, `<case>.out.txt`.
#[test]
fn golden_files_match_the_output() {
    let cases = Path::new(env!("CARGO_MANIFEST_DIR")).join("testdata/explain");
    let mut inputs: Vec<_> = std::fs::read_dir(&cases).unwrap().map(|entry| entry.unwrap().path()).collect();
    inputs.retain(|path| path.to_string_lossy().ends_with(".in.yaml"));
    inputs.sort();
    assert!(inputs.len() >= 10, "the cases are not found: {inputs:?}");
    let mut wrong = Vec::new();
    for input in inputs {
        let yaml = std::fs::read_to_string(&input).unwrap();
        let line = yaml.lines().next().unwrap().strip_prefix("# explain ").unwrap();
        let folder = folder(&yaml);
        let mut arguments: Vec<_> = line.split_whitespace().collect();
        arguments.extend(["--files", folder.path().to_str().unwrap()]);
        let explanation = text(&arguments);
        let output = input.to_str().unwrap().replace(".in.yaml", ".out.txt");
        if std::env::var_os("UPDATE_EXPECT").is_some() {
            std::fs::write(&output, &explanation).unwrap();
        } else if std::fs::read_to_string(&output).unwrap_or_default() != explanation {
            wrong.push(format!("{output}:\n{explanation}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// A Service with two endpoints in an EndpointSlice. The second one is not ready.
const SLICED: &str = "---
apiVersion: v1
kind: Service
metadata: {name: sliced}
spec: {ports: [{name: http, port: 80}]}
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {name: sliced-1, labels: {kubernetes.io/service-name: sliced}}
addressType: IPv4
ports: [{name: http, port: 8080}]
endpoints:
- {addresses: [10.0.0.1], targetRef: {kind: Pod, name: one}}
- {addresses: [10.0.0.2], conditions: {ready: false}}
";

#[test]
fn text_has_the_chosen_rule_first_and_losers_by_reason() {
    let yaml =
        ingress("shop", "a.example", &[("/", "sliced"), ("/api", "sliced"), ("/apis", "sliced")]) + SLICED;
    let folder = folder(&yaml);
    let expected = "\
GET https://A.example:8443/api/x?q=1
result    forwarded to Service default/sliced:80
rule      Prefix /api of Ingress default/shop spec.rules[0].http.paths[1] on host a.example
class     gateway, by spec.ingressClassName
service   default/sliced:80, type ClusterIP, ports http 80
            EndpointSlice default/sliced-1, ports http 8080
              10.0.0.1: ready serving, Pod one
              10.0.0.2: not ready, not used: it is not ready
            sends to 10.0.0.1:8080
listener  https, the default certificate: no spec.tls names this host

not chosen (2)
  1  matches, but the longest path wins
       Prefix / of Ingress default/shop spec.rules[0].http.paths[0]
  1  the path does not match
       Prefix /apis of Ingress default/shop spec.rules[0].http.paths[2]
";
    let url = "https://A.example:8443/api/x?q=1#part";
    let explanation = text(&[url, "--files", folder.path().to_str().unwrap()]);
    let (first, rest) = explanation.split_once('\n').unwrap();
    assert_eq!(first, format!("GET {url}"));
    assert_eq!(rest, expected.split_once('\n').unwrap().1);
    assert!(explanation.lines().all(|line| line.chars().count() <= 100), "{explanation}");
}

#[test]
fn terminal_gets_colours_and_pipes_get_none() {
    struct Case {
        variable: (&'static str, &'static str),
        has_colours: bool,
    }
    let started =
        TestGateway::start(&(ingress("shop", "a.example", &[("/", "sliced"), ("/b", "sliced")]) + SLICED));
    let admin = started.gateway.admin.to_string();
    for source in [["--files", started.folder.path().to_str().unwrap()], ["--admin", &admin]] {
        let plain = text(&[&["http://a.example/"], &source[..]].concat());
        assert!(!plain.contains('\u{1b}'), "{plain}");
        for Case { variable, has_colours } in [
            Case { variable: ("TERM", "xterm"), has_colours: true },
            Case { variable: ("TERM", "dumb"), has_colours: false },
            Case { variable: ("NO_COLOR", "1"), has_colours: false },
        ] {
            let printed = in_terminal(&[&["http://a.example/"], &source[..]].concat(), variable);
            assert_eq!(printed.contains('\u{1b}'), has_colours, "{variable:?}: {printed}");
            assert_eq!(terminal::without_colours(&printed), plain, "{variable:?}");
        }
    }
    assert!(!started.admin("/explain?url=http://a.example/").1.contains('\u{1b}'));
}

/// Returns what `gateway explain` prints in a terminal.
fn in_terminal(arguments: &[&str], (name, value): (&str, &str)) -> String {
    let mut command = Command::new(env!("CARGO_BIN_EXE_gateway"));
    let mut terminal = terminal::attach(&mut command, 100);
    let mut child = command.arg("explain").args(arguments).env(name, value).spawn().unwrap();
    // The command holds the other end open; without it, the terminal ends with the program.
    drop(command);
    let (mut printed, mut buffer) = (Vec::new(), [0; 4096]);
    // Linux reports the end as EIO.
    while let Ok(length @ 1..) = terminal.read(&mut buffer) {
        printed.extend_from_slice(&buffer[..length]);
    }
    assert!(child.wait().unwrap().success());
    String::from_utf8(printed).unwrap().replace("\r\n", "\n")
}

#[test]
fn json_has_the_same_facts() {
    let yaml = ingress("shop", "a.example", &[("/", "sliced"), ("/api", "sliced")]) + SLICED;
    let explanation = json(&yaml, &["http://a.example/api", "--method", "POST"]);
    assert_eq!(outcome(&explanation), (None, None));
    assert_eq!(explanation["request"]["method"], "POST");
    assert_eq!(explanation["matchReport"]["chosen"]["path"], "/api");
    assert_eq!(explanation["matchReport"]["routes"][1]["verdict"], "lostToLonger");
    assert_eq!(explanation["services"][0]["slices"][0]["endpoints"][0]["used"], true);
    assert_eq!(explanation["services"][0]["readyEndpoints"][0], "10.0.0.1:8080");
}

#[test]
fn unknown_host_is_404_unless_a_default_backend_serves_it() {
    let rules = ingress("shop", "a.example", &[("/", "sliced")]) + SLICED;
    let explanation = json(&rules, &["http://b.example/"]);
    assert_eq!(outcome(&explanation), (Some(404), Some("no_rule")));
    let default = "---\napiVersion: networking.k8s.io/v1\nkind: Ingress\nmetadata: {name: rest}\n\
        spec: {defaultBackend: {service: {name: sliced, port: {name: http}}}}\n";
    let explanation = json(&(rules + default), &["http://b.example/"]);
    assert_eq!(outcome(&explanation), (None, None));
    assert_eq!(explanation["outcome"]["object"], "Ingress default/rest");
    assert_eq!(explanation["matchReport"]["defaults"][0]["verdict"], "chosen");
    assert_eq!(explanation["ingresses"][0]["ingress"], "default/rest");
}

#[test]
fn ingress_of_another_class_is_listed_as_not_served() {
    let foreign = "---\napiVersion: networking.k8s.io/v1\nkind: Ingress\nmetadata: {name: theirs}\n\
        spec: {ingressClassName: other, rules: [{host: a.example}]}\n";
    let explanation = json(foreign, &["http://a.example/"]);
    assert_eq!(outcome(&explanation), (Some(404), Some("no_rule")));
    let view = &explanation["ingresses"][0];
    assert_eq!((view["class"].as_str(), view["served"].as_bool()), (Some("other"), Some(false)));
    assert_eq!(explanation["problems"][0]["reason"], "ClassNotFound");
}

#[test]
fn missing_service_is_named() {
    let explanation = json(&ingress("shop", "a.example", &[("/", "gone")]), &["http://a.example/"]);
    assert_eq!(outcome(&explanation), (Some(503), Some("service_missing")));
    assert_eq!(explanation["services"][0]["type"], Value::Null);
    assert_eq!(explanation["problems"][0]["reason"], "ServiceNotFound");
}

#[test]
fn status_service_shows_the_exposure() {
    let yaml = SLICED.to_owned() + &service("front", &["127.0.0.1:8080".parse().unwrap()]);
    let explanation = json(&yaml, &["http://a/", "--status-service", "default/front"]);
    assert_eq!(explanation["exposure"]["type"], "ClusterIP");
    assert_eq!(explanation["exposure"]["ports"], serde_json::json!([{"name": "", "port": 80}]));
    assert_eq!(explanation["exposure"]["loadBalancer"], serde_json::json!([]));
    assert_eq!(json(&yaml, &["http://a/", "--status-service", "x/y"])["exposure"]["type"], Value::Null);
    assert_eq!(run(&["http://a/", "--status-service", "nonsense"]).status.code(), Some(2));
}

#[test]
fn certificate_is_chosen_by_the_host_of_the_url() {
    let yaml = ingress("shop", "a.example", &[("/", "sliced")])
        + &tls("a.example", "cert")
        + SLICED
        + &Certificate::new("a.example").secret("cert");
    for (url, header, secret, certificate) in [
        ("https://a.example/", "x: y", Some("default/cert"), Some("default/cert")),
        ("https://A.EXAMPLE.:8443/", "Host: b.example", Some("default/cert"), Some("default/cert")),
        ("https://b.example/", "Host: a.example", None, None),
        ("http://a.example/", "x: y", None, None),
    ] {
        let listener = &json(&yaml, &[url, "--header", header])["listener"];
        let explanation = (listener["secrets"][0].as_str(), listener["certificate"].as_str());
        assert_eq!(explanation, (secret, certificate), "{url}");
    }
}

#[test]
fn long_group_of_losers_is_cut_in_text() {
    let paths: Vec<_> = (0..30).map(|number| format!("/p{number}")).collect();
    let paths: Vec<_> = paths.iter().map(|path| (path.as_str(), "sliced")).collect();
    let folder = folder(&(ingress("shop", "a.example", &paths) + SLICED));
    let files = folder.path().to_str().unwrap();
    let explanation = text(&["http://a.example/p29", "--files", files]);
    assert_eq!(explanation.matches("\n       Prefix /p").count(), 20, "{explanation}");
    assert!(explanation.contains("\n 29  the path does not match\n"), "{explanation}");
    assert!(
        explanation
            .contains("\nrule      Prefix /p29 of Ingress default/shop spec.rules[0].http.paths[29] on"),
        "{explanation}"
    );
    assert!(explanation.contains("\n       and 9 more; --output json lists them\n"), "{explanation}");
}

#[test]
fn invalid_request_exits_with_1() {
    let folder = folder("");
    let files = ["--files", folder.path().to_str().unwrap()];
    for question in [&["ftp://a/"][..], &["http://a/", "--header", "x"], &["http://a/", "--method", "G\r\nX"]]
    {
        let output = run(&[question, &files[..]].concat());
        assert_eq!((output.status.code(), output.stdout.len()), (Some(1), 0), "{question:?}");
    }
    let explanation = |output: Output| String::from_utf8(output.stderr).unwrap();
    assert_eq!(
        explanation(run(&["a.example/x", files[0], files[1]])),
        "gateway explain: a URL starts with http:// or https://\n"
    );
    let missing = folder.path().join("missing");
    let missing = explanation(run(&["http://a/", "--files", missing.to_str().unwrap()]));
    assert!(missing.starts_with("gateway explain: folder /") && missing.lines().count() == 1, "{missing}");
    // A port without a listener.
    let unused = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string();
    let unreached = explanation(run(&["http://a/", "--admin", &unused]));
    let expected = format!("gateway explain: no gateway responds at {unused} (--admin ADDR asks elsewhere, ");
    assert!(unreached.starts_with(&expected) && unreached.lines().count() == 1, "{unreached}");
}

const LIMITED: &str = "---
apiVersion: wasm-gateway.dev/v1alpha1
kind: RoutePolicy
metadata: {name: limits}
spec: {targetRefs: [{group: networking.k8s.io, kind: Ingress, name: shop}], bodySize: 1Ki}
";

#[test]
fn policy_is_shown_with_its_origin_and_applied() {
    let yaml = ingress("shop", "a.example", &[("/", "sliced")]) + SLICED + LIMITED;
    let explanation = json(&yaml, &["http://a.example/", "--header", "Content-Length: 1024"]);
    assert_eq!(
        (outcome(&explanation), explanation["outcome"]["bodySize"].as_u64()),
        ((None, None), Some(1024)),
        "{explanation}"
    );
    let policy = &explanation["matchReport"]["chosen"]["policy"][0];
    let origin = ["field", "policy", "source", "target"].map(|name| policy[name].as_str().unwrap());
    assert_eq!(origin, ["bodySize", "default/limits", "spec.bodySize", "spec.targetRefs[0]"]);
    let explanation = json(&yaml, &["http://a.example/", "--header", "Content-Length: 1025"]);
    assert_eq!(outcome(&explanation).0, Some(413));
}

/// Compares responses with explanations.
#[test]
fn running_gateway_responds_as_explained() {
    let origins = [Origin::named("a"), Origin::named("b")];
    let yaml = ingress("one", "a.example", &[("/", "a"), ("/b", "b"), ("/gone", "gone"), ("/idle", "idle")])
        + &service("a", &[origins[0].address])
        + &service("b", &[origins[1].address])
        + &service("idle", &[]).replace(" annotations: {wasm-gateway.dev/endpoints: \"\"}", " labels: {}");
    let started = TestGateway::start(&yaml);
    let admin = started.gateway.admin.to_string();
    for (host, target) in [
        ("a.example", "/"),
        ("A.EXAMPLE.:80", "/b/../b/%2e/x?y"),
        ("a.example", "//b"),
        ("a.example", "/bb"),
        ("a.example", "/gone/x"),
        ("a.example", "/idle"),
        ("c.example", "/"),
        ("a.example", "/%zz"),
        ("a.example", "/%00"),
        ("a..example", "/"),
        ("a.example", "/\"\u{e4}"),
        ("user@a.example", "/"),
        ("a,b", "/"),
        ("a.example:99999", "/"),
        ("[::1]:80", "/"),
    ] {
        let explanation = text(&[&format!("http://{host}{target}"), "--admin", &admin, "--output", "json"]);
        let explanation: Value = serde_json::from_str(&explanation).unwrap();
        let response = started.get(host, target);
        match outcome(&explanation) {
            (None, None) => {
                let served = explanation["services"][0]["service"].as_str().unwrap();
                assert_eq!(
                    (response.status(), served),
                    (200, format!("default/{}", response.text()).as_str()),
                    "{host}{target}"
                );
            }
            (status, reason) => {
                let reasons = (Some(u64::from(response.status())), response.field("gateway-reason"));
                assert_eq!(reasons, (status, reason), "{host}{target}");
            }
        }
    }
}

/// Returns random YAML: Ingresses with exact, wildcard and no hosts, default backends, and perhaps a policy.
fn some_folder(state: &mut u64) -> String {
    let mut yaml = String::new();
    for number in 0..1 + next(state, 3) {
        let host = ["a.example", "b.example", "\"*.example\"", ""][next(state, 4)];
        let paths: Vec<_> = (0..next(state, 3)).map(|_| (some_path(state), next(state, 4))).collect();
        let service = |number: usize| ["a", "b", "idle", "gone"][number];
        let paths: Vec<_> = paths.iter().map(|(path, to)| (path.as_str(), service(*to))).collect();
        let mut one = ingress(&format!("i{number}"), host, &paths);
        if next(state, 2) == 0 {
            one = one.replace("Prefix", "Exact");
        }
        if next(state, 3) == 0 {
            let default = format!("{{service: {{name: {}, port: {{number: 80}}}}}}", service(next(state, 4)));
            one = one.replace("spec:\n", &format!("spec:\n  defaultBackend: {default}\n"));
        }
        yaml += &one;
    }
    if next(state, 2) == 0 {
        yaml += &LIMITED.replace("shop", "i0").replace("1Ki", "4");
    }
    yaml
}

/// Each response agrees with the explanation of the admin page, for Services and for local replies.
#[test]
fn explanation_agrees_with_responses_on_random_folders() {
    let origins = [Origin::named("a"), Origin::named("b")];
    let services = service("a", &[origins[0].address])
        + &service("b", &[origins[1].address])
        + &service("idle", &[]).replace(" annotations: {wasm-gateway.dev/endpoints: \"\"}", " labels: {}");
    let started = TestGateway::start(&services);
    let mut state = 0x2545_f491_4f6c_dd1d;
    let mut seen = std::collections::BTreeSet::new();
    for table in 0..25 {
        // Each folder differs from the last one, so that there is a generation to wait for.
        started.replace("all.yaml", &format!("{}{services}{}", some_folder(&mut state), marker(table)));
        for _ in 0..12 {
            let host =
                ["a.example", "B.example.:80", "c.example", "x.c.example", "example"][next(&mut state, 5)];
            let target = format!("{}{}", some_path(&mut state), ["", "?q=1", "/../%61"][next(&mut state, 3)]);
            let body = ["", "body!"][next(&mut state, 2)];
            let length = body.len();
            let page = format!(
                "/explain?output=json&method=POST&url=http://{host}{}&header=Content-Length:{length}",
                target.replace('%', "%25").replace('?', "%3F").replace('=', "%3D")
            );
            let explanation: Value = serde_json::from_str(&started.admin(&page).1).unwrap();
            let mut client = started.client();
            client.send(format!(
                "POST {target} HTTP/1.1\r\nHost: {host}\r\nContent-Length: {length}\r\n\r\n{body}"
            ));
            let response = client.response();
            match outcome(&explanation) {
                (None, None) => {
                    let served = explanation["services"][0]["service"].as_str().unwrap();
                    let by = format!("default/{}", response.text());
                    assert_eq!(
                        (response.status(), by.as_str()),
                        (200, served),
                        "{host}{target}\n{explanation:#}"
                    );
                    seen.insert("forwarded".to_owned());
                }
                (status, reason) => {
                    let reasons = (Some(u64::from(response.status())), response.field("gateway-reason"));
                    assert_eq!(reasons, (status, reason), "{host}{target}\n{explanation:#}");
                    seen.insert(reason.unwrap().to_owned());
                }
            }
        }
    }
    let all = ["body_too_large", "forwarded", "no_ready_endpoint", "no_rule", "service_missing"];
    assert_eq!(seen.iter().map(String::as_str).collect::<Vec<_>>(), all, "the folders say too little");
}

/// Returns an object that makes a folder different from all others.
fn marker(number: usize) -> String {
    format!("---\napiVersion: v1\nkind: Namespace\nmetadata: {{name: n{number}}}\n")
}

#[test]
fn folder_and_running_gateway_explain_alike() {
    let started = TestGateway::start(&(ingress("shop", "a.example", &[("/", "sliced")]) + SLICED));
    let admin = started.gateway.admin.to_string();
    let files: &Path = started.folder.path();
    for url in ["http://a.example/?a=b&c=%20#d", "https://b.example", "http:///", "http://a.example/ä"] {
        let by_folder = text(&[url, "--header", "x: y&z", "--files", files.to_str().unwrap()]);
        let by_gateway = text(&[url, "--header", "x: y&z", "--admin", &admin]);
        assert_eq!(by_folder, by_gateway);
    }
    assert_eq!(started.admin("/explain"), (400, "?url= is missing\n".to_owned()));
    assert_eq!(started.admin("/explain?url=x").0, 400);
    assert_eq!(started.admin("/explain?url=http%3A%2F%2Fa&more=1").0, 400);
}

/// Returns the next number below `below` of a fixed sequence (xorshift64).
fn next(state: &mut u64, below: usize) -> usize {
    *state ^= *state << 13;
    *state ^= *state >> 7;
    *state ^= *state << 17;
    usize::try_from(*state % below as u64).unwrap()
}

/// Returns a path of up to three elements. There are few elements, so that rules overlap.
fn some_path(state: &mut u64) -> String {
    let elements = next(state, 4);
    let path: String = (0..elements).map(|_| ["/a", "/b", "/ab", "/"][next(state, 4)]).collect();
    if path.is_empty() { "/".to_owned() } else { path }
}

const HOSTS: [&str; 4] = ["a.example", "b.example", "*.example", ""];

fn some_ingress(name: usize, state: &mut u64) -> Object {
    let backend = |state: &mut u64| IngressBackend::Service {
        name: format!("s{}", next(state, 3)).into(),
        port: PortRef::Number(80.try_into().unwrap()),
    };
    let rules = (0..next(state, 3)).map(|_| IngressRule {
        host: Some(HOSTS[next(state, 4)].into()).filter(|host: &std::sync::Arc<str>| !host.is_empty()),
        paths: (0..next(state, 4))
            .map(|_| IngressPath {
                path: some_path(state).into(),
                path_type: Some(["Exact", "Prefix"][next(state, 2)].into()),
                backend: backend(state),
            })
            .collect(),
    });
    let rules = rules.collect();
    let default_backend = (next(state, 3) == 0).then(|| backend(state));
    let name = Name::new("default", &format!("i{name}"));
    Object::Ingress(Ingress {
        name,
        class: Some("ours".into()),
        rules,
        default_backend,
        ..Ingress::default()
    })
}

#[test]
fn explanation_agrees_with_random_tables() {
    let mut state = 0x9e37_79b9_7f4a_7c15;
    let (mut served, mut refused) = (0, 0);
    let certificates = certificates::generate(&rustls::crypto::aws_lc_rs::default_provider()).unwrap();
    for _ in 0..300 {
        let class = IngressClass {
            name: Name::new("", "ours"),
            controller: Config::default().controller.as_str().into(),
            ..IngressClass::default()
        };
        let ingresses = (0..1 + next(&mut state, 3)).map(|number| some_ingress(number, &mut state));
        let objects = ingresses.chain([Object::IngressClass(class)]);
        let mut compiler = Compiler::new(Config::default());
        let changes = objects.map(routing::object::Change::Apply).collect();
        let (table, _) = compiler.apply(changes);
        let plans = gateway::plan::Planner::default().empty();
        let (certificates, ingresses) = (certificates.clone(), Default::default());
        let live = Live { table: table.clone(), plans, certificates, ingresses, generation: 1 };
        let problems = Problems::default();
        let context = ExplainContext {
            compiler: &compiler,
            live: &live,
            problems: &problems,
            plugins: None,
            ejected: &[],
            status_service: None,
        };
        for _ in 0..20 {
            let host = ["a.example", "b.example", "c.example", "x.c.example", "example"][next(&mut state, 5)];
            let path = some_path(&mut state);
            let request = RequestSpec::new("GET", &format!("http://{host}{path}"), &[]).unwrap();
            let explanation = explain(&request, context);
            let canonical = routing::path::canonical(path.as_bytes()).unwrap();
            let found = table
                .find(host, &canonical)
                .map(|route| (route.origin.ingress.name.to_string(), route.origin.field.to_string()));
            let report = explanation.match_report.as_ref().unwrap();
            let chosen = report.chosen.as_ref();
            assert_eq!(
                found,
                chosen.map(|route| (route.ingress.clone(), route.field.clone())),
                "{host}{path}\n{table}"
            );
            assert_eq!(found.is_none(), explanation.outcome.reason == Some("no_rule"), "{explanation}");
            let by_rule =
                report.routes.iter().filter(|one| one.verdict == routing::table::RouteVerdict::Chosen);
            let by_default =
                report.defaults.iter().filter(|one| one.verdict == routing::table::DefaultVerdict::Chosen);
            let winners: Vec<_> =
                by_rule.map(|one| &one.route).chain(by_default.map(|one| &one.route)).collect();
            assert_eq!(winners, Vec::from_iter(chosen), "one winner, and it is explained once");
            *(if found.is_some() { &mut served } else { &mut refused }) += 1;
        }
    }
    assert!(served > 1000 && refused > 200, "the tables say too little: {served} {refused}");
}

#[test]
fn owned_host_names_its_owners_and_rejected_rules() {
    let owned = "---
apiVersion: networking.k8s.io/v1
kind: IngressClass
metadata: {name: gateway}
spec:
  controller: wasm-gateway.dev/ingress-controller
  parameters: {apiGroup: wasm-gateway.dev, kind: IngressClassConfig, name: owners}
---
apiVersion: wasm-gateway.dev/v1alpha1
kind: IngressClassConfig
metadata: {name: owners}
spec: {hostOwnership: [{host: pay.example, namespaces: [bank]}]}
";
    let catch_all = ingress("all", "\"*.example\"", &[("/", "a")]).replace(
        "spec:\n",
        "spec:\n  defaultBackend: {service: {name: a, port: {number: 80}}}\n  ingressClassName: gateway\n",
    );
    let without = catch_all + &service("a", &["127.0.0.1:9001".parse().unwrap()]) + owned;
    let own = ingress("own", "\"*.example\"", &[("/pay", "a")])
        .replace("{name: own}", "{name: own, namespace: bank}")
        .replace("spec:\n", "spec:\n  ingressClassName: gateway\n");
    let with = without.clone() + &own;
    let explained = |yaml: &str, url: &str| {
        let folder = folder(yaml);
        text(&[url, "--files", folder.path().to_str().unwrap()])
    };
    let text = explained(&with, "http://pay.example/pay");
    for line in [
        "rule      Prefix /pay of Ingress bank/own spec.rules[0].http.paths[0] on host *.example\n",
        "  2  this host belongs to other namespaces\n       Prefix / of Ingress default/all spec.rules[0].http.paths[0]\n",
    ] {
        assert!(text.contains(line), "{line} is not in\n{text}");
    }
    let text = explained(&without, "http://pay.example/");
    for line in [
        "result    404 no_rule",
        "owner     pay.example belongs to namespaces [bank] by IngressClassConfig owners\n",
        "  2  this host belongs to other namespaces\n       all rules of host *.example\n",
        "       default backend of Ingress default/all spec.defaultBackend (the oldest other Ingress)\n",
    ] {
        assert!(text.contains(line), "{line} is not in\n{text}");
    }
}
