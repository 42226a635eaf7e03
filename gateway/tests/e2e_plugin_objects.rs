//! WasmPlugin objects without a usable module: closed routes, and what check and explain say of plugins.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests fail by panicking")]
#![allow(clippy::panic, reason = "tests fail by panicking")]

#[path = "support/missing.rs"]
mod missing;
#[path = "../plugin-host/guests/modules.rs"]
mod modules;
#[path = "support/plugins.rs"]
mod plugins;
mod support;
#[path = "support/version_module.rs"]
mod version_module;

use std::process::Command;

use plugins::{rename_module, wasm_plugin};
use serde_json::Value;
use support::fixtures::route_policy;
use support::{Origin, TestGateway, single_route, until};
use tempfile::TempDir;
use version_module::version_module;

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

/// Returns a module that traps at each request.
fn trapping_module() -> Vec<u8> {
    let text = r#"(module
        (memory (export "memory") 1)
        (func (export "proxy_abi_version_0_2_1"))
        (func (export "proxy_on_memory_allocate") (param i32) (result i32) (i32.const 1024))
        (func (export "proxy_on_request_headers") (param i32 i32 i32) (result i32) unreachable))"#;
    wat::parse_str(text).unwrap()
}

/// Returns the text of an explanation of the route.
fn explanation(gateway: &TestGateway) -> String {
    gateway.admin("/explain?url=http://a.example/").1
}

#[test]
fn explain_shows_version_state_and_failures_of_plugins() {
    let origin = Origin::named("a");
    let plugin = wasm_plugin("key", "key.wasm").spec("phase: AUTHN\npriority: 1");
    let next = wasm_plugin("none", "none.wasm").spec("failStrategy: FAIL_OPEN");
    let gateway = TestGateway::start(&(single_route(&origin) + plugin + next));
    let line = "plugin    default/key, phase AUTHN, configuration by WasmPlugin default/key spec, ";
    until("the file is missed", || explanation(&gateway).contains("key.wasm does not exist"));
    assert!(explanation(&gateway).contains(&format!("{line}no version, refused: the file ")));
    rename_module(gateway.folder.path(), "key.wasm", &version_module(1, ""));
    until("the plugin is ready", || explanation(&gateway).contains(", ready\n"));
    let text = explanation(&gateway);
    let (_, version) = text.split_once(&format!("{line}version ")).unwrap();
    let version = version[..12].to_owned();
    assert!(text.contains("result    forwarded to Service default/a:80\n"), "{text}");
    let second = text.split_once(&version).unwrap().1;
    assert!(second.contains("\nplugin    default/none, phase "), "in the order of requests: {text}");
    rename_module(gateway.folder.path(), "key.wasm", b"nothing");
    until("the new version is refused", || explanation(&gateway).contains("refused: not a valid"));
    assert!(
        explanation(&gateway).contains(&format!("{line}version {version}, refused: ")),
        "the old one serves"
    );
    let json: Value =
        serde_json::from_str(&gateway.admin("/explain?url=http://a.example/&output=json").1).unwrap();
    let state = &json["plugins"][0];
    assert_eq!((&state["name"], &state["state"]), (&"default/key".into(), &"refused".into()));
    assert!(
        state["digest"].as_str().unwrap().starts_with(&version) && state["reason"].is_string(),
        "{state}"
    );
    assert_eq!(json["matchReport"]["chosen"]["plugins"][0]["configField"], "spec");
    rename_module(gateway.folder.path(), "key.wasm", &trapping_module());
    until("the breaker is open", || {
        gateway.get("a.example", "/");
        explanation(&gateway).contains("ready, breaker open: the plugin is not called, ")
    });
    assert!(explanation(&gateway).contains(" failed requests\n"));
}

#[test]
fn explanation_of_a_folder_assumes_that_plugins_let_requests_pass() {
    let origin = Origin::named("a");
    let folder = tempfile::tempdir().unwrap();
    let yaml = single_route(&origin) + wasm_plugin("key", "key.wasm");
    std::fs::write(folder.path().join("a.yaml"), yaml.to_yaml()).unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_gateway"));
    let output =
        command.args(["explain", "http://a.example/", "--files"]).arg(folder.path()).output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(text.contains("result    forwarded to Service default/a:80\n"), "{text}");
    let line =
        "plugin    default/key, phase UNSPECIFIED_PHASE, configuration by WasmPlugin default/key spec\n";
    assert!(text.contains(line), "{text}");
}

#[test]
fn configuration_beside_the_schema_does_not_serve() {
    let schema = r#"{"type": "object", "properties": {"header": {"type": "string"}}}"#;
    let guest = wat::parse_str(format!(
        r#"(module (@custom "wasm-gateway.config-schema" {schema:?}) (memory (export "memory") 1)
            (func (export "proxy_abi_version_0_2_1"))
            (func (export "proxy_on_memory_allocate") (param i32) (result i32) (i32.const 1024)))"#
    ));
    let origin = Origin::named("a");
    let gateway = TestGateway::start(&single_route(&origin));
    rename_module(&gateway.path(""), "guest.wasm", &guest.unwrap());
    let configured = |config: &str| {
        single_route(&origin) + wasm_plugin("key", "guest.wasm").spec(&format!("pluginConfig: {config}"))
    };
    let is_reported =
        || gateway.admin("/problems").1.contains("WasmPlugin default/key spec.pluginConfig.header");

    gateway.replace("all.yaml", &configured("{header: 5}"));
    until("the first configuration is refused", is_reported);
    assert_eq!(reason(&gateway), (503, Some("plugin_unavailable".to_owned())));
    let message = "header of the configuration: found an integer, expected a string";
    let (_, plugins) = gateway.admin("/plugins");
    assert!(plugins.contains(&format!("default/key - refused: {message}\n")), "{plugins}");

    gateway.replace("all.yaml", &configured("{header: x}"));
    until("the second configuration serves", || reason(&gateway).0 == 200);
    assert!(!is_reported());

    gateway.replace("all.yaml", &configured("{header: [x]}"));
    until("the third configuration is refused", is_reported);
    assert_eq!(reason(&gateway).0, 200, "the configuration before serves");
}
