//! `gateway check`: the Problems of a folder, and the requests that it routes differently than another folder.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests fail by panicking")]

mod support;

use std::process::Command;

use serde_json::Value;
use support::{Certificate, ingress, service, tls};
use tempfile::TempDir;

/// Returns exit code and output.
fn run(arguments: &[&str]) -> (Option<i32>, String) {
    let output = Command::new(env!("CARGO_BIN_EXE_gateway")).arg("check").args(arguments).output().unwrap();
    (output.status.code(), String::from_utf8(output.stdout).unwrap())
}

fn folder(files: &[(&str, &str)]) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    for (name, yaml) in files {
        std::fs::write(folder.path().join(name), yaml).unwrap();
    }
    folder
}

fn path(folder: &TempDir) -> &str {
    folder.path().to_str().unwrap()
}

/// Returns the last part of a path in JSON.
fn file_name(file: &Value) -> Option<&str> {
    file.as_str()?.rsplit('/').next()
}

fn endpoint() -> String {
    service("a", &["127.0.0.1:9001".parse().unwrap()])
}

const COLOURED: &str =
    "apiVersion: v1\nkind: Service\nmetadata: {name: b}\nspec:\n  colour: red\n  ports: [{port: 80}]\n";

#[test]
fn folder_without_problems_exits_with_0() {
    let good = folder(&[("all.yaml", &(ingress("i", "a.example", &[("/", "a")]) + &endpoint()))]);
    assert_eq!(run(&[path(&good)]), (Some(0), "no problems; 1 Ingress served\n".to_owned()));
}

#[test]
fn missing_endpoints_are_a_note_and_exit_with_0() {
    let service = "---\napiVersion: v1\nkind: Service\nmetadata: {name: a}\nspec: {ports: [{port: 80}]}\n";
    let manifests = folder(&[("all.yaml", &(ingress("i", "a.example", &[("/", "a")]) + service))]);
    let (code, text) = run(&[path(&manifests)]);
    assert!(
        text.contains("NoEndpoints") && text.ends_with("no problems and 1 note; 1 Ingress served\n"),
        "{text}"
    );
    assert_eq!(code, Some(0));
    let (_, sarif) = run(&[path(&manifests), "--output", "sarif"]);
    let sarif: Value = serde_json::from_str(&sarif).unwrap();
    assert_eq!(sarif["runs"][0]["results"][0]["level"], "note");
}

#[test]
fn folder_in_which_nothing_is_served_exits_with_1() {
    let foreign =
        ingress("i", "a.example", &[("/", "a")]).replace("spec:", "spec:\n  ingressClassName: nginx");
    let class = "---\napiVersion: networking.k8s.io/v1\nkind: IngressClass\nmetadata: {name: nginx}\n\
        spec: {controller: k8s.io/ingress-nginx}\n";
    let manifests = folder(&[("all.yaml", &(foreign + class + &endpoint()))]);
    let text = "no problems; 0 Ingresses served, 1 of other classes (nginx 1); nothing is served: name a class that this \
                gateway should serve, such as --class nginx\n";
    assert_eq!(run(&[path(&manifests)]), (Some(1), text.to_owned()));
    assert_eq!(run(&[path(&manifests), "--class", "nginx"]).0, Some(0));
    let (_, json) = run(&[path(&manifests), "--output", "json"]);
    let json: Value = serde_json::from_str(&json).unwrap();
    assert_eq!(
        (&json["ingresses"]["served"], &json["ingresses"]["otherClasses"]["nginx"]),
        (&0.into(), &1.into())
    );
}

#[test]
fn unknown_kind_of_our_group_is_named_with_the_nearest_one() {
    let unknown =
        "---\napiVersion: wasm-gateway.dev/v1alpha1\nkind: RoutePolcy\nmetadata: {name: p}\nspec: {}\n";
    let manifests = folder(&[("a.yaml", unknown)]);
    let (code, text) = run(&[path(&manifests)]);
    let line = "/a.yaml:3: Unreadable: RoutePolcy p: kind: group wasm-gateway.dev has no kind \"RoutePolcy\"; did you mean \
                RoutePolicy?";
    assert!(text.lines().any(|found| found.ends_with(line)), "{text}");
    assert_eq!(code, Some(1));
}

#[test]
fn problems_of_all_origins_have_file_and_line() {
    let certificate = Certificate::new("a.example").secret("cert").replace("stringData", "data");
    let bad = folder(&[
        ("a.yaml", &(ingress("i", "a.example", &[("/", "gone")]) + &tls("a.example", "cert"))),
        ("b.yaml", COLOURED),
        ("c.yaml", "a: ["),
        ("d.yaml", COLOURED),
        ("e.yaml", &certificate.replace("-----BEGIN", "LS0t").replace('-', "A").replace("AAA\n", "\n")),
    ]);
    let (code, text) = run(&[path(&bad)]);
    assert_eq!(code, Some(1));
    for line in [
        "{}/a.yaml:10: Ingress default/i spec.rules[0].http.paths[0].backend.service: ServiceNotFound: Service default/gone does not exist",
        "{}/b.yaml:5: Service default/b spec.colour: UnknownField: there is no such field; it has no effect",
        "{}/c.yaml:1: Unreadable: not YAML: unclosed bracket '['",
        "{}/d.yaml:1: Service default/b: DuplicateObject: defined in b.yaml:1 and again in d.yaml:1; the first definition is used",
    ] {
        let line = line.replace("{}", path(&bad));
        assert!(text.lines().any(|found| found == line), "no {line} in:\n{text}");
    }
    let (code, json) = run(&[path(&bad), "--output", "json"]);
    let json: Value = serde_json::from_str(&json).unwrap();
    let problems = json["problems"].as_array().unwrap();
    assert_eq!((code, text.lines().count()), (Some(1), problems.len() + 1));
    let unknown = problems.iter().find(|problem| problem["reason"] == "UnknownField").unwrap();
    assert_eq!((file_name(&unknown["file"]), unknown["line"].as_u64()), (Some("b.yaml"), Some(5)));
    assert_eq!((unknown["kind"].as_str(), unknown["field"].as_str()), (Some("Service"), Some("spec.colour")));
    assert_eq!(json["changes"], Value::Null);
    let missing = problems.iter().find(|problem| problem["reason"] == "SecretNotFound").unwrap();
    let place = (file_name(&missing["file"]), missing["line"].as_u64(), missing["field"].as_str());
    assert_eq!(place, (Some("a.yaml"), Some(13), Some("spec.tls[0].secretName")));
    let (_, sarif) = run(&[path(&bad), "--output", "sarif"]);
    let sarif: Value = serde_json::from_str(&sarif).unwrap();
    let results = sarif["runs"][0]["results"].as_array().unwrap();
    let missing = results.iter().find(|result| result["ruleId"] == "SecretNotFound").unwrap();
    let place = &missing["locations"][0]["physicalLocation"];
    let place = (file_name(&place["artifactLocation"]["uri"]), place["region"]["startLine"].as_u64());
    assert_eq!(place, (Some("a.yaml"), Some(13)));
}

#[test]
fn certificate_without_its_key_is_a_problem() {
    let (one, other) = (Certificate::new("a.example"), Certificate::new("a.example"));
    // The certificate of one and the key of the other.
    let (one, other) = (one.secret("cert"), other.secret("cert"));
    let (pair, own_key) = one.split_once("  tls.key").unwrap();
    let (_, key) = other.split_once("  tls.key").unwrap();
    let rules = ingress("i", "a.example", &[("/", "a")]) + &tls("a.example", "cert") + &endpoint();
    let whole = folder(&[("all.yaml", &format!("{rules}{pair}  tls.key{own_key}"))]);
    assert_eq!(run(&[path(&whole)]), (Some(0), "no problems; 1 Ingress served\n".to_owned()));
    let mixed = folder(&[("all.yaml", &format!("{rules}{pair}  tls.key{key}"))]);
    let (code, text) = run(&[path(&mixed)]);
    assert_eq!(code, Some(1));
    assert!(
        text.starts_with(&format!("{}/all.yaml:", path(&mixed)))
            && text.contains(
                ": Ingress default/i spec.tls[0].secretName: SecretMalformed: Secret default/cert: "
            ),
        "{text}"
    );
}

#[test]
fn unreadable_folder_exits_with_2() {
    let good = folder(&[]);
    let missing = good.path().join("missing");
    assert_eq!(run(&[missing.to_str().unwrap()]).0, Some(2));
    assert_eq!(run(&[path(&good), "--against", missing.to_str().unwrap()]).0, Some(2));
    assert_eq!(run(&[]).0, Some(2));
}

#[test]
fn sarif_has_the_fields_of_code_scanning() {
    let bad = folder(&[("b c.yaml", COLOURED)]);
    let (code, text) = run(&[path(&bad), "--output", "sarif"]);
    let log: Value = serde_json::from_str(&text).unwrap();
    assert_eq!((code, log["version"].as_str()), (Some(1), Some("2.1.0")));
    let run = &log["runs"][0];
    assert_eq!(run["tool"]["driver"]["rules"][0]["id"], run["results"][0]["ruleId"]);
    let result = &run["results"][0];
    assert_eq!((result["level"].as_str(), result["ruleId"].as_str()), (Some("error"), Some("UnknownField")));
    let place = &result["locations"][0]["physicalLocation"];
    assert_eq!(file_name(&place["artifactLocation"]["uri"]), Some("b%20c.yaml"));
    assert_eq!(place["region"]["startLine"], 5);
}

#[test]
fn changed_routes_are_listed_with_sample_requests() {
    let both = endpoint() + &service("b", &["127.0.0.1:9002".parse().unwrap()]);
    let before = ingress("i", "a.example", &[("/", "a"), ("/api", "a"), ("/old", "a")])
        + &ingress("w", "\"*.example\"", &[("/", "a")])
        + &both;
    let now = ingress("i", "a.example", &[("/", "a"), ("/api", "b")])
        + &ingress("renamed", "\"*.example\"", &[("/", "a"), ("/gone", "gone")])
        + &ingress("new", "new.example", &[("/", "a"), ("/n", "b")])
        + &both;
    let (before, now) = (folder(&[("all.yaml", &before)]), folder(&[("all.yaml", &now)]));
    let (code, text) = run(&[path(&now), "--against", path(&before)]);
    let expected = "\
http://a.example/api
  before: forwarded by Ingress default/i spec.rules[0].http.paths[1] → Service default/a:80
  now:    forwarded by Ingress default/i spec.rules[0].http.paths[1] → Service default/b:80
http://new.example/n
  before: forwarded by Ingress default/w spec.rules[0].http.paths[0] → Service default/a:80
  now:    forwarded by Ingress default/new spec.rules[0].http.paths[1] → Service default/b:80
http://sample.example/gone
  before: forwarded by Ingress default/w spec.rules[0].http.paths[0] → Service default/a:80
  now:    503 service_missing by Ingress default/renamed spec.rules[0].http.paths[1] → Service default/gone:80
requests of 3 rules are routed differently
";
    assert_eq!(code, Some(1), "the missing Service is a Problem");
    assert_eq!(
        text.split_once("1 problem; 3 Ingresses served\n").map(|(_, changes)| changes),
        Some(expected),
        "{text}"
    );
    let (_, json) = run(&[path(&before), "--against", path(&now), "--output", "json"]);
    let json: Value = serde_json::from_str(&json).unwrap();
    assert_eq!(json["changes"].as_array().unwrap().len(), 3);
    assert_eq!(json["changes"][0]["before"]["backends"][0]["service"], "default/b:80");
    let same = run(&[path(&before), "--against", path(&before)]);
    assert_eq!(
        same,
        (Some(0), "no problems; 2 Ingresses served\nno request is routed differently\n".to_owned())
    );
}

#[test]
fn removed_host_and_default_backend_are_changes() {
    let default = "---\napiVersion: networking.k8s.io/v1\nkind: Ingress\nmetadata: {name: rest}\n\
        spec: {defaultBackend: {service: {name: a, port: {number: 80}}}}\n";
    let before = folder(&[("all.yaml", &(ingress("i", "a.example", &[("/", "a")]) + default + &endpoint()))]);
    let now = folder(&[("all.yaml", &endpoint())]);
    let (code, text) = run(&[path(&now), "--against", path(&before)]);
    let expected = "\
no problems; 0 Ingresses served; nothing is served
http://a.example/
  before: forwarded by Ingress default/i spec.rules[0].http.paths[0] → Service default/a:80
  now:    404 no_rule
http://sample.invalid/
  before: forwarded by Ingress default/rest spec.defaultBackend → Service default/a:80
  now:    404 no_rule
requests of 2 rules are routed differently
";
    assert_eq!((code, text.as_str()), (Some(1), expected));
}

#[test]
fn host_with_a_new_owner_is_a_change() {
    let class = "---
apiVersion: networking.k8s.io/v1
kind: IngressClass
metadata: {name: gateway, annotations: {ingressclass.kubernetes.io/is-default-class: \"true\"}}
spec:
  controller: wasm-gateway.dev/ingress-controller
  parameters: {apiGroup: wasm-gateway.dev, kind: IngressClassConfig, name: owners}
---
apiVersion: wasm-gateway.dev/v1alpha1
kind: IngressClassConfig
metadata: {name: owners}
spec: {hostOwnership: [OWNED]}
";
    let rules = ingress("i", "\"*.example\"", &[("/", "a")]) + &endpoint();
    let before = folder(&[("all.yaml", &(rules.clone() + &class.replace("OWNED", "")))]);
    let owned = class.replace("OWNED", "{host: pay.example, namespaces: [bank]}");
    let now = folder(&[("all.yaml", &(rules + &owned))]);
    let (_, text) = run(&[path(&now), "--against", path(&before)]);
    assert!(text.contains("http://pay.example/\n"), "{text}");
    assert!(!text.contains("sample.example"), "{text}");
}

/// A RoutePolicy for Ingress `i`.
fn policy(spec: &str) -> String {
    let target = "{group: networking.k8s.io, kind: Ingress, name: i}";
    format!(
        "---\napiVersion: wasm-gateway.dev/v1alpha1\nkind: RoutePolicy\nmetadata: {{name: p}}\n\
         spec: {{targetRefs: [{target}], {spec}}}\n"
    )
}

fn weights(a: u32, b: u32) -> String {
    policy(&format!(
        "backends: [{{service: a, port: 80, weight: {a}}}, {{service: b, port: 80, weight: {b}}}]"
    ))
}

fn default_backend(service: &str) -> String {
    format!(
        "---\napiVersion: networking.k8s.io/v1\nkind: Ingress\nmetadata: {{name: rest}}\n\
         spec: {{defaultBackend: {{service: {{name: {service}, port: {{number: 80}}}}}}}}\n"
    )
}

/// A difference: name, YAML before and now, and the sample requests that it changes.
type Difference = (&'static str, String, String, &'static [&'static str]);

/// One difference of each kind.
fn differences() -> Vec<Difference> {
    let one = |paths: &[(&str, &str)]| ingress("i", "a.example", paths);
    let root = one(&[("/", "a")]);
    let exact = root.replace("Prefix", "Exact");
    vec![
        ("nothing", root.clone(), root.clone(), &[]),
        ("another name of the Ingress", root.clone(), ingress("j", "a.example", &[("/", "a")]), &[]),
        ("a path more", root.clone(), one(&[("/", "a"), ("/p", "b")]), &["http://a.example/p"]),
        (
            "another path",
            one(&[("/p", "a")]),
            one(&[("/q", "a")]),
            &["http://a.example/p", "http://a.example/q"],
        ),
        ("another path type", root.clone(), exact, &["http://a.example/x"]),
        (
            "a prefix inside another",
            one(&[("/p", "a"), ("/p/x", "b")]),
            one(&[("/p", "b"), ("/p/x", "b")]),
            &["http://a.example/p"],
        ),
        (
            "a host more",
            root.clone(),
            root.clone() + &ingress("h", "b.example", &[("/", "a")]),
            &["http://b.example/"],
        ),
        (
            "a wildcard more",
            root.clone(),
            root.clone() + &ingress("w", "\"*.example\"", &[("/", "b")]),
            &["http://sample.example/"],
        ),
        ("another backend", root.clone(), one(&[("/", "b")]), &["http://a.example/"]),
        ("another default backend", default_backend("a"), default_backend("b"), &["http://sample.invalid/"]),
        (
            "a default backend more",
            root.clone(),
            root.clone() + &default_backend("b"),
            &["http://sample.invalid/"],
        ),
        ("weights", root.clone() + &weights(9, 1), root.clone() + &weights(1, 9), &["http://a.example/"]),
        ("the same weights", root.clone() + &weights(1, 1), root.clone() + &weights(50, 50), &[]),
        ("a weight of nothing", root.clone(), root.clone() + &weights(1, 0), &[]),
        ("body size", root.clone(), root.clone() + &policy("bodySize: 1Ki"), &["http://a.example/"]),
        (
            "a host-less rule",
            root.clone(),
            root.clone() + &ingress("any", "", &[("/p", "b")]),
            &["http://sample.invalid/p"],
        ),
    ]
}

#[test]
fn exactly_the_noticeable_differences_are_found() {
    let both = endpoint() + &service("b", &["127.0.0.1:9002".parse().unwrap()]);
    for (what, before, now, expected) in differences() {
        let folders = [before, now].map(|yaml| folder(&[("all.yaml", &(yaml + &both))]));
        let [before, now] = [&folders[0], &folders[1]].map(path);
        for (from, to) in [(before, now), (now, before)] {
            let (code, json) = run(&[to, "--against", from, "--output", "json"]);
            let json: Value = serde_json::from_str(&json).unwrap();
            let changes = json["changes"].as_array().unwrap().iter();
            let urls: Vec<_> = changes.map(|change| change["url"].as_str().unwrap()).collect();
            assert_eq!((code, urls.as_slice()), (Some(0), expected), "{what}: {json}");
        }
    }
}

#[test]
fn rule_with_many_sample_paths_is_one_change() {
    let paths = [("/p", "a"), ("/q", "a")];
    let exact = |service: &str| {
        ingress("i", "a.example", &paths).replace("Prefix", "Exact") + &default_backend(service)
    };
    let both = endpoint() + &service("b", &["127.0.0.1:9002".parse().unwrap()]);
    let [before, now] = ["a", "b"].map(|service| folder(&[("all.yaml", &(exact(service) + &both))]));
    let (_, text) = run(&[path(&now), "--against", path(&before)]);
    assert!(text.ends_with("requests of 2 rules are routed differently\n"), "{text}");
}

#[test]
fn help_lists_exit_codes_and_errors_are_one_line() {
    let (code, help) = run(&["--help"]);
    assert_eq!(code, Some(0));
    assert!(help.contains("0: no Problem. 1: at least one Problem, or no Ingress"), "{help}");
    let output = Command::new(env!("CARGO_BIN_EXE_gateway")).args(["check", "/no/such"]).output().unwrap();
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert_eq!(
        stderr,
        "gateway check: folder /no/such cannot be read: No such file or directory (os error 2)\n"
    );
}
