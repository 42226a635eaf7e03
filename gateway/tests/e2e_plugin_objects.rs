//! WasmPlugin objects without a usable module: closed routes, and what check and explain say of plugins.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests fail by panicking")]

mod support;

use std::process::Command;

use support::fixtures::route_policy;
use support::{Origin, TestGateway, single_route, until};
use tempfile::TempDir;

/// Returns a WasmPlugin with these lines of its spec.
fn plugin(name: &str, spec: &str) -> String {
    format!(
        "---\napiVersion: wasm-gateway.dev/v1alpha1\nkind: WasmPlugin\nmetadata: {{name: {name}}}\nspec: {spec}\n"
    )
}

fn reason(gateway: &TestGateway) -> (u16, Option<String>) {
    let response = gateway.get("a.example", "/");
    (response.status(), response.field("gateway-reason").map(str::to_owned))
}

#[test]
fn route_with_a_missing_plugin_is_closed_until_it_is_not_named() {
    let origin = Origin::named("a");
    let names = route_policy("p").target_ingress("a").spec("plugins: [{name: key}]");
    let gateway = TestGateway::start(&(single_route(&origin) + names));
    assert_eq!(reason(&gateway), (503, Some("plugin_missing".to_owned())));
    let (_, problems) = gateway.admin("/problems");
    assert!(problems.contains("PluginNotFound: WasmPlugin default/key does not exist"), "{problems}");
    let (_, explanation) = gateway.admin("/explain?url=http://a.example/");
    assert!(explanation.contains("plugin_missing"), "{explanation}");
    gateway.replace("all.yaml", &single_route(&origin));
    until("the route is open", || reason(&gateway).0 == 200);
    assert_eq!(origin.count(), 1, "no request passed while it was closed");
}

#[test]
fn malformed_plugin_closes_its_namespace_only() {
    let origin = Origin::named("a");
    for (spec, namespace, expected) in [
        ("{url: 5}", "default", 503),
        ("{url: 5}", "elsewhere", 200),
        ("{url: 5, targetRefs: []}", "default", 200),
        ("{url: 5, targetRefs: [{group: networking.k8s.io, kind: Ingress, name: b}]}", "default", 200),
    ] {
        let broken =
            plugin("key", spec).replace("{name: key}", &format!("{{name: key, namespace: {namespace}}}"));
        let gateway = TestGateway::start(&format!("{}{broken}", single_route(&origin)));
        assert_eq!(reason(&gateway).0, expected, "{spec} in {namespace}");
    }
}

fn check(arguments: &[&TempDir]) -> (Option<i32>, String) {
    let folders: Vec<_> = arguments.iter().map(|folder| folder.path().to_str().unwrap()).collect();
    let mut command = Command::new(env!("CARGO_BIN_EXE_gateway"));
    command.args(["check", folders[0]]);
    if let Some(other) = folders.get(1) {
        command.args(["--against", other]);
    }
    let output = command.output().unwrap();
    (output.status.code(), String::from_utf8(output.stdout).unwrap())
}

#[test]
fn check_reports_faults_and_compares_plugins() {
    let origin = Origin::named("a");
    let folder = |plugin: &str| {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("a.yaml"), format!("{}{plugin}", single_route(&origin))).unwrap();
        folder
    };
    let (without, with) = (folder(""), folder(&plugin("key", "{url: oci://a/b, pluginConfig: one}")));
    let (code, text) = check(&[&with]);
    assert!(
        text.contains("WasmPlugin default/key spec.url: Unsupported: \"oci://a/b\" is not supported yet"),
        "{text}"
    );
    assert_eq!(code, Some(1));
    let (_, text) = check(&[&with, &without]);
    assert!(text.contains("plugin default/key"), "{text}");
    let (_, text) = check(&[&with, &folder(&plugin("key", "{url: oci://a/b, pluginConfig: two}"))]);
    assert!(text.contains("plugin default/key"), "another configuration is another treatment: {text}");
    let (_, text) = check(&[&with, &with]);
    assert!(!text.contains("plugin default/key,") && !text.contains("→"), "{text}");
}
