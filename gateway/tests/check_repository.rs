//! `gateway check` in a repository: other tools' files, Secrets that are made elsewhere, standard input, certificates.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests fail by panicking")]

mod support;

use std::io::Write as _;
use std::process::{Command, Stdio};

use serde_json::Value;
use support::Certificate;
use support::fixtures::{ingress, secret, service};
use tempfile::TempDir;

/// Returns exit code and output of a check in a folder.
fn check(folder: &TempDir, arguments: &[&str], input: &str) -> (Option<i32>, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_gateway"));
    command.arg("check").args(arguments).current_dir(folder.path());
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    (output.status.code(), String::from_utf8(output.stdout).unwrap())
}

fn folder(files: &[(&str, &str)]) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    for (name, text) in files {
        let path = folder.path().join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    }
    folder
}

/// A rule with TLS, and its Service.
fn shop() -> String {
    let endpoint = "127.0.0.1:9001".parse().unwrap();
    (ingress("shop").host("a.example").path("/", "a").tls("a.example", "cert")
        + service("a").endpoints(&[endpoint]))
    .to_string()
}

#[test]
fn files_of_other_tools_are_one_line() {
    let folder = folder(&[
        ("apps/shop.yaml", &shop().replace("  tls:\n  - {hosts: [a.example], secretName: cert}\n", "")),
        ("apps/values.yaml", "image: web\n"),
        ("apps/compose.yml", "services: {web: {image: web}}\n"),
        ("ansible/playbook.yaml", "- hosts: all\n"),
        ("charts/templates/ingress.yaml", "kind: Ingress\nmetadata:\n  name: {{ .Values.name }}\n"),
    ]);
    let (code, text) = check(&folder, &["."], "");
    let line = "4 files with no Kubernetes object (ansible/playbook.yaml, apps/compose.yml, apps/values.yaml, \
                charts/templates/ingress.yaml); --exclude leaves them out\n";
    assert_eq!((code, text), (Some(0), format!("{line}no problems and 4 notes; 1 Ingress served\n")));
    assert_eq!(check(&folder, &[".", "--strict"], "").0, Some(1));
    let exclude = ["values.yaml", "compose.yml", "ansible", "charts/*/ingress.yaml"];
    let exclude: Vec<_> = exclude.iter().flat_map(|pattern| ["--exclude", pattern]).collect();
    let (code, text) = check(&folder, &[&["apps/..", "--strict"][..], &exclude].concat(), "");
    assert_eq!((code, text.as_str()), (Some(0), "no problems; 1 Ingress served\n"));
}

#[test]
fn secrets_that_are_made_elsewhere_are_notes() {
    let annotated = ingress("shop").host("a.example").path("/", "a").tls("a.example", "cert");
    let annotated = annotated.annotation("cert-manager.io/cluster-issuer", "le").to_string();
    let annotated = annotated + &service("a").endpoints(&["127.0.0.1:9001".parse().unwrap()]).to_string();
    let certificate = "---\napiVersion: cert-manager.io/v1\nkind: Certificate\nmetadata: {name: c}\n\
                       spec: {secretName: cert}\n";
    struct Row {
        yaml: String,
        flags: &'static [&'static str],
        code: i32,
        message: &'static str,
    }
    for Row { yaml, flags, code, message } in [
        Row { yaml: shop(), flags: &[], code: 1, message: "Secret default/cert does not exist\n" },
        Row { yaml: shop(), flags: &["--assume-secrets"], code: 0, message: "--assume-secrets says" },
        Row { yaml: annotated.clone(), flags: &[], code: 0, message: "cert-manager makes it" },
        Row { yaml: annotated, flags: &["--strict"], code: 1, message: "cert-manager makes it" },
        Row {
            yaml: shop() + certificate,
            flags: &[],
            code: 0,
            message: "another object in it makes the Secret",
        },
    ] {
        let folder = folder(&[("a.yaml", &yaml)]);
        let (found, text) = check(&folder, &[&["."], flags].concat(), "");
        assert_eq!(found, Some(code), "{text}");
        assert!(text.starts_with("a.yaml:") && text.contains(message), "{message} in {text}");
    }
}

#[test]
fn standard_input_may_be_a_list() {
    let list = "apiVersion: v1\nkind: List\nitems:\n\
        - apiVersion: networking.k8s.io/v1\n  kind: Ingress\n  metadata: {name: a, namespace: shop}\n  \
        spec: {rules: [{host: A.example, http: {paths: [{path: /, pathType: Prefix, backend: {service: {name: wbe, port: {number: 80}}}}]}}]}\n\
        - apiVersion: v1\n  kind: Service\n  metadata: {name: web, namespace: shop}\n  spec: {ports: [{port: 80}]}\n";
    let (code, text) = check(&folder(&[]), &["-"], list);
    assert_eq!(code, Some(1));
    for line in [
        "stdin:7: Ingress shop/a spec.rules[0].host: RefusedByApi: the API server refuses this: a host must be in lower case",
        "stdin:7: Ingress shop/a spec.rules[0].http.paths[0].backend.service: ServiceNotFound: Service shop/wbe does not \
         exist; did you mean web?",
    ] {
        assert!(text.lines().any(|found| found == line), "no {line} in:\n{text}");
    }
}

#[test]
fn several_mistakes_of_one_object_are_all_reported() {
    let yaml = shop().replace("host: a.example", "host: 5").replace("pathType: Prefix", "pathType: 7");
    let (code, text) = check(&folder(&[("a.yaml", &yaml)]), &["."], "");
    assert_eq!(code, Some(1));
    for field in ["spec.rules[0].host: invalid type", "spec.rules[0].http.paths[0].pathType: invalid type"] {
        assert!(text.contains(field), "no {field} in:\n{text}");
    }
}

#[test]
fn changed_certificates_are_listed() {
    let (one, other) = (Certificate::new("a.example"), Certificate::new("a.example"));
    let with = |yaml: String| folder(&[("a.yaml", &yaml)]);
    let old = with(shop() + &secret("cert", &one).to_string());
    let renewed = with(shop() + &secret("cert", &other).to_string());
    let gone = with(shop());
    let same = old.path().to_str().unwrap();
    let text = check(&renewed, &[".", "--against", same], "").1;
    let expected = "no request is routed differently\ncertificate of a.example\n  before: Secret default/cert\n  \
                    now:    Secret default/cert, with another certificate\n1 host has another certificate\n";
    assert!(text.ends_with(expected), "{text}");
    let text = check(&gone, &[".", "--against", same], "").1;
    assert!(
        text.contains("  now:    the gateway's own certificate\n1 host has another certificate\n"),
        "{text}"
    );
    let text = check(&old, &[".", "--against", same, "--output", "json"], "").1;
    let json: Value = serde_json::from_str(&text).unwrap();
    assert_eq!(json["certificates"], Value::Array(Vec::new()));
}

#[test]
fn sarif_names_the_working_directory() {
    let folder = folder(&[("a.yaml", &shop())]);
    let text = check(&folder, &[".", "--output", "sarif"], "").1;
    let run = &serde_json::from_str::<Value>(&text).unwrap()["runs"][0];
    let root = run["originalUriBaseIds"]["SRCROOT"]["uri"].as_str().unwrap();
    let canonical = folder.path().canonicalize().unwrap();
    assert_eq!(root, format!("file://{}/", canonical.to_str().unwrap()));
    let artifact = &run["results"][0]["locations"][0]["physicalLocation"]["artifactLocation"];
    assert_eq!((&artifact["uri"], &artifact["uriBaseId"]), (&"a.yaml".into(), &"SRCROOT".into()));
}
