//! Plugins whose modules are in ConfigMaps.

use k8s_openapi::ByteString;
use serde_json::{Value, json};

use crate::cluster::{cluster, wait_until};
use crate::gateway_process::Gateway;
use crate::objects::TestNamespace;

/// The ConfigMap comes after the plugin, changes, becomes invalid, and is deleted.
pub(crate) fn module_in_config_map() {
    let space = TestNamespace::new("plugins");
    let host = "plugins.example";
    let gateway = Gateway::start(&cluster().gateway_kubeconfig(), &[]);
    space.serve("app", host);
    gateway.wait_until_served_by(host, "app");
    cluster().apply(&json!({
        "apiVersion": "wasm-gateway.dev/v1alpha1", "kind": "WasmPlugin",
        "metadata": { "name": "version", "namespace": &space.name },
        "spec": { "url": "configmap://module/version.wasm" },
    }));
    wait_until("the plugin closes its route", || gateway.get(host).status == 503);
    let version = || gateway.get(host).field("x-version").map(str::to_owned);

    cluster().apply(&config_map(&space.name, &module("1")));
    wait_until("the plugin is live", || version().as_deref() == Some("1"));
    cluster().apply(&config_map(&space.name, &module("2")));
    wait_until("the changed module is live", || version().as_deref() == Some("2"));

    cluster().apply(&config_map(&space.name, b"no module"));
    wait_until("the module is a Problem", || gateway.page("/problems").body.contains("PluginRefused"));
    assert_eq!(version().as_deref(), Some("2"), "the version before serves");
    cluster().delete(&config_map(&space.name, b""));
    wait_until("the ConfigMap is a Problem", || gateway.page("/problems").body.contains("module"));
    assert_eq!(version().as_deref(), Some("2"), "the version before serves");
    let plugins = gateway.page("/plugins").body;
    assert!(plugins.contains("version"), "{plugins}");
    gateway.stop();
}

fn config_map(namespace: &str, module: &[u8]) -> Value {
    json!({
        "apiVersion": "v1", "kind": "ConfigMap", "metadata": { "name": "module", "namespace": namespace },
        "binaryData": { "version.wasm": ByteString(module.to_vec()) },
    })
}

/// Returns a module that sets the field `x-version` of responses to a digit.
fn module(version: &str) -> Vec<u8> {
    let text = format!(
        r#"(module
            (import "env" "proxy_replace_header_map_value" (func $set
                (param i32 i32 i32 i32 i32) (result i32)))
            (memory (export "memory") 1)
            (data (i32.const 0) "x-version{version}")
            (func (export "proxy_abi_version_0_2_1"))
            (func (export "proxy_on_memory_allocate") (param i32) (result i32) (i32.const 1024))
            (func (export "proxy_on_context_create") (param i32 i32))
            (func (export "proxy_on_response_headers") (param i32 i32 i32) (result i32)
                (call $set (i32.const 2) (i32.const 0) (i32.const 9) (i32.const 9) (i32.const 1))))"#
    );
    wat::parse_str(text).unwrap()
}
