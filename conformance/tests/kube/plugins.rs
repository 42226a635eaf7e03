//! Plugins whose modules are in ConfigMaps.

use k8s_openapi::ByteString;
use serde_json::{Value, json};

use crate::cluster::{cluster, wait_until};
use crate::gateway_process::Gateway;
use crate::objects::TestNamespace;
use crate::version_module::version_module;

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

    cluster().apply(&config_map(&space.name, &version_module(1, "")));
    wait_until("the plugin is live", || version().as_deref() == Some("1"));
    cluster().apply(&config_map(&space.name, &version_module(2, "")));
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

/// Returns a ConfigMap `module` with the module `version.wasm`.
pub(crate) fn config_map(namespace: &str, module: &[u8]) -> Value {
    json!({
        "apiVersion": "v1", "kind": "ConfigMap", "metadata": { "name": "module", "namespace": namespace },
        "binaryData": { "version.wasm": ByteString(module.to_vec()) },
    })
}
