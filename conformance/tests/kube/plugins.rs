//! Plugins whose modules are in ConfigMaps.

use k8s_openapi::ByteString;
use serde_json::{Value, json};

use crate::cluster::{cluster, manifest_objects, repository_root, run, wait_until};
use crate::gateway_process::{self, Gateway};
use crate::http_client;
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

/// The example of the shipped plugins, with modules that the command of plugin authors builds.
pub(crate) fn shipped_plugins() {
    let (root, space) = (repository_root(), TestNamespace::new("shipped"));
    let gateway = Gateway::start(&cluster().gateway_kubeconfig(), &[]);
    let program = gateway_process::path();
    for name in ["hello", "api-key", "header-rewrite", "ext-auth", "jwt"] {
        let folder = root.join("plugins").join(name);
        let built = run(program.to_str().unwrap(), &["plugin", "build", folder.to_str().unwrap()]);
        let module = built.lines().find(|line| line.ends_with(".wasm")).unwrap();
        let (map, file) = (format!("plugin-{name}"), format!("--from-file=plugin.wasm={module}"));
        run("kubectl", &["--namespace", &space.name, "create", "configmap", &map, &file]);
    }
    for (app, host) in [("blue", "blue.shipped.example"), ("green", "green.shipped.example")] {
        space.serve(app, host);
        gateway.wait_until_served_by(host, app);
    }
    for mut object in manifest_objects(&root.join("conformance/example/plugins.yaml")) {
        object["metadata"]["namespace"] = space.name.clone().into();
        cluster().apply(&object);
    }
    let get = |path: &str| http_client::fetch(gateway.http, "blue.shipped.example", path).unwrap();
    wait_until("all five plugins are live", || {
        let response = get("/?key=secret");
        response.status == 200 && response.field("x-greeting") == Some("good morning")
    });
    let response = get("/?key=secret");
    assert_eq!((response.status, response.field("x-code")), (200, Some("200")));
    assert_eq!((get("/").status, get("/?key=wrong").status), (401, 401));
    assert!(gateway.get("green.shipped.example").is(200, "green"), "the plugins are for blue alone");
    gateway.stop();
}

/// Returns a ConfigMap `module` with the module `version.wasm`.
pub(crate) fn config_map(namespace: &str, module: &[u8]) -> Value {
    json!({
        "apiVersion": "v1", "kind": "ConfigMap", "metadata": { "name": "module", "namespace": namespace },
        "binaryData": { "version.wasm": ByteString(module.to_vec()) },
    })
}
