//! `gateway translate`: the ledger and the objects of a folder with a class handler; `check` and `plugin test` beside it.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests fail by panicking")]
#![allow(clippy::panic, reason = "tests fail by panicking")]

#[path = "support/missing.rs"]
mod missing;
#[path = "../plugin-host/guests/modules.rs"]
mod modules;
#[path = "support/plugins.rs"]
mod plugins;
mod support;

use std::path::Path;
use std::process::Command;

use plugins::module;
use serde_json::Value;
use support::fixtures::{ingress, ingress_class, ingress_class_config, service};
use tempfile::TempDir;

/// Returns a folder with the handler and four Ingresses; `None`, and notes it, without the target of modules.
fn folder(test: &str) -> Option<TempDir> {
    let module = module("handler", test)?;
    let folder = tempfile::tempdir().unwrap();
    std::fs::copy(module, folder.path().join("handler.wasm")).unwrap();
    let web = |name: &str| ingress(name).class("dialect").host(&format!("{name}.example")).path("/", "web");
    let yaml = ingress_class("dialect").config("dialect")
        + ingress_class_config("dialect")
            .spec("handler: {url: \"file://handler.wasm\", dialect: [test.example/]}")
        + service("web").endpoints(&["127.0.0.1:9".parse().unwrap()])
        + web("small").annotation("test.example/body-size", "4Ki")
        + web("slow").annotation("test.example/differs", "slower")
        + web("closed").annotation("test.example/closed", "yes")
        + web("broken").annotation("test.example/behave", "trap");
    std::fs::write(folder.path().join("all.yaml"), yaml.to_string()).unwrap();
    Some(folder)
}

fn gateway(arguments: &[&str]) -> (Option<i32>, String, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_gateway"));
    let output = command.args(arguments).env_remove("GATEWAY_LOG").output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (output.status.code(), text(output.stdout), text(output.stderr))
}

#[test]
fn ledger_has_each_verdict_and_failure() {
    let Some(folder) = folder("translate") else { return };
    let (code, text, errors) = gateway(&["translate", folder.path().to_str().unwrap()]);
    assert_eq!(code, Some(1), "{errors}");
    for expected in [
        "Ingress default/small on small.example\n  exact    test.example/body-size\n",
        "  differs  test.example/differs: slower\n",
        "  refused  test.example/closed: logins are not supported (its paths get a 503)\n",
        "Ingress default/broken on broken.example\n  failed: it trapped",
        "4 Ingress hosts: 1 annotations exact, 1 with differences, 0 ignored, 1 refused\n",
    ] {
        assert!(text.contains(expected), "{expected}\n{text}");
    }
}

#[test]
fn objects_are_valid_and_closed_rules_have_no_backend() {
    let Some(folder) = folder("translate to objects") else { return };
    let arguments =
        ["translate", folder.path().to_str().unwrap(), "--output", "yaml", "--gateway", "infra/edge"];
    let (_, yaml, errors) = gateway(&arguments);
    let objects: Vec<Value> = serde_saphyr::from_multiple(&yaml).unwrap();
    let find = |kind: &str, name: &str| {
        let is_wanted = |object: &&Value| object["kind"] == kind && object["metadata"]["name"] == name;
        objects.iter().find(is_wanted).unwrap_or_else(|| panic!("no {kind} {name}\n{yaml}{errors}"))
    };
    let route = find("HTTPRoute", "small-small-example");
    assert_eq!(route["apiVersion"], "gateway.networking.k8s.io/v1");
    assert_eq!(route["spec"]["hostnames"][0], "small.example");
    assert_eq!(route["spec"]["parentRefs"][0]["namespace"], "infra");
    assert_eq!(route["spec"]["rules"][0]["backendRefs"][0]["port"], 80);
    assert_eq!(route["spec"]["rules"][0]["name"], Value::Null, "the standard channel has no names");
    let policy = find("RoutePolicy", "small-small-example");
    assert_eq!(policy["spec"]["targetRefs"][0]["host"], "small.example");
    let closed = find("HTTPRoute", "closed-closed-example");
    assert_eq!(closed["spec"]["rules"][0]["backendRefs"].as_array().map(Vec::len), Some(0));
    assert!(!yaml.contains("broken"), "a failed handler has no routes");
}

#[test]
fn programs_get_json_and_sarif() {
    let Some(folder) = folder("translate to JSON") else { return };
    let path = folder.path().to_str().unwrap();
    let (_, text, _) = gateway(&["translate", path, "--output", "json"]);
    let (_, again, _) = gateway(&["translate", path, "--output", "json"]);
    assert_eq!(text, again, "another process has the same answers");
    let report: Value = serde_json::from_str(&text).unwrap();
    assert_eq!(report["ledger"].as_array().unwrap().len(), 4);
    assert_eq!(report["items"].as_array().unwrap().len(), 4);
    let (_, text, _) = gateway(&["translate", path, "--output", "sarif"]);
    let log: Value = serde_json::from_str(&text).unwrap();
    let results = log["runs"][0]["results"].as_array().unwrap();
    let rules: Vec<_> = results.iter().map(|result| result["ruleId"].as_str().unwrap()).collect();
    for rule in ["AnnotationDiffers", "AnnotationNotHonoured", "HandlerFailed"] {
        assert!(rules.contains(&rule), "{rules:?}");
    }
    let location = &results[0]["locations"][0]["physicalLocation"]["artifactLocation"];
    assert_eq!(location["uri"], format!("file://{path}/all.yaml"));
}

#[test]
fn check_asks_handlers_too() {
    let Some(folder) = folder("check of handlers") else { return };
    let (code, text, _) = gateway(&["check", folder.path().to_str().unwrap()]);
    assert_eq!(code, Some(1));
    assert!(
        text.contains("Ingress default/broken: HandlerFailed") && text.contains("AnnotationDiffers"),
        "{text}"
    );
    std::fs::write(folder.path().join("handler.wasm"), "garbage").unwrap();
    let (_, text, _) = gateway(&["check", folder.path().to_str().unwrap()]);
    assert!(text.contains("IngressClassConfig dialect spec.handler: HandlerRefused"), "{text}");
}

#[test]
fn folder_without_a_handler_is_an_error() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("all.yaml"), ingress("a").host("a.example").to_string()).unwrap();
    let (code, _, errors) = gateway(&["translate", folder.path().to_str().unwrap()]);
    assert_eq!(code, Some(2));
    assert!(errors.contains("has a handler: add an IngressClassConfig with spec.handler"), "{errors}");
}

#[test]
fn shipped_handler_passes_its_cases_in_the_real_host() {
    if module("handler", "class-example").is_none() {
        return;
    }
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_gateway"));
    command.args(["plugin", "test", "plugins/class-example"]).current_dir(root).env_remove("GATEWAY_LOG");
    let output = command.env("CARGO_TARGET_DIR", modules::artifacts("plugins").unwrap()).output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success() && text.contains("5 passed, 0 failed"), "{text}");
}
