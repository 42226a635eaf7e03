//! WasmPlugins and the ConfigMaps that they load modules from.

use api::WasmPluginSpec;
use routing::object::{ConfigMap, PluginSpec, WasmPlugin};

use super::*;

/// The index of the feed of WasmPlugins.
const PLUGINS: usize = 5;

fn state() -> ClusterState {
    let mut specs = specs();
    specs.push(spec(Kind::WasmPlugin, Requirement::IfInstalled));
    let count = specs.len();
    let mut cluster = ClusterState::new(specs, ours());
    for feed in 0..count {
        list(&mut cluster, feed, Vec::new());
    }
    cluster.take_update();
    cluster
}

fn plugin(text: &str, url: &str) -> TrimmedObject {
    let spec = WasmPluginSpec { url: url.to_owned(), ..WasmPluginSpec::default() };
    let spec = PluginSpec::Valid(Box::new(spec));
    trimmed(Object::WasmPlugin(WasmPlugin { name: name(text), folder: None, spec }))
}

fn malformed(text: &str) -> TrimmedObject {
    let spec = PluginSpec::Malformed { target_refs: None };
    TrimmedObject::InvalidPlugin {
        reference: reference(Kind::WasmPlugin, text),
        message: "no such field".to_owned(),
        closed: Box::new(WasmPlugin { name: name(text), folder: None, spec }),
        identity: Identity::default(),
    }
}

fn apply(cluster: &mut ClusterState, object: TrimmedObject) {
    handle(cluster, PLUGINS, WatchEvent::Applied(object));
}

/// Reports a ConfigMap, or its absence, as its watch does at the start.
fn read(cluster: &mut ClusterState, text: &str, exists: bool) {
    let now = Instant::now();
    cluster.handle_config_map(name(text), WatchEvent::ListStarted, now);
    if exists {
        let map = ConfigMap { name: name(text), ..ConfigMap::default() };
        cluster.handle_config_map(name(text), WatchEvent::Listed(trimmed(Object::ConfigMap(map))), now);
    }
    cluster.handle_config_map(name(text), WatchEvent::ListCompleted, now);
}

fn watched(cluster: &ClusterState) -> Vec<String> {
    cluster.config_maps().into_iter().map(ToString::to_string).collect()
}

fn update(cluster: &mut ClusterState) -> Vec<(bool, String)> {
    changes(&cluster.take_update())
}

fn applied(text: &str) -> (bool, String) {
    (true, text.to_owned())
}

#[tokio::test(start_paused = true)]
async fn plugin_is_held_until_its_config_map_was_read() {
    for exists in [true, false] {
        let mut cluster = state();
        apply(&mut cluster, plugin("p", "configmap://m/a"));
        assert!(cluster.take_config_maps_changed());
        assert_eq!(watched(&cluster), ["shop/m"]);
        assert!(!cluster.has_update());
        read(&mut cluster, "m", exists);
        let map = (exists, "ConfigMap shop/m".to_owned());
        assert_eq!(update(&mut cluster), [map, applied("WasmPlugin shop/p")]);
    }
}

#[tokio::test(start_paused = true)]
async fn hold_of_a_plugin_ends_by_itself() {
    let mut cluster = state();
    apply(&mut cluster, plugin("p", "configmap://m/a"));
    tokio::time::advance(HOLD_TIMEOUT).await;
    cluster.release_ready(Instant::now());
    assert_eq!(update(&mut cluster), [applied("WasmPlugin shop/p")]);
}

#[test]
fn other_urls_need_no_config_map() {
    for url in
        ["file://a.wasm", "configmap://", "configmap://m", "configmap:///a", "configmap://n/m/a", "oci://m/a"]
    {
        let mut cluster = state();
        apply(&mut cluster, plugin("p", url));
        assert_eq!((watched(&cluster), update(&mut cluster)), (vec![], vec![applied("WasmPlugin shop/p")]));
    }
}

#[test]
fn config_map_is_dropped_with_its_last_plugin() {
    let mut cluster = state();
    for text in ["p", "q"] {
        apply(&mut cluster, plugin(text, "configmap://m/a"));
    }
    read(&mut cluster, "m", true);
    cluster.take_update();
    handle(&mut cluster, PLUGINS, WatchEvent::Deleted(name("p")));
    assert_eq!(
        (watched(&cluster), update(&mut cluster)),
        (vec!["shop/m".to_owned()], vec![deleted("WasmPlugin shop/p")])
    );
    // The old module stays until the new one is known.
    apply(&mut cluster, plugin("q", "configmap://n/a"));
    assert_eq!((watched(&cluster), cluster.has_update()), (vec!["shop/n".to_owned()], false));
    read(&mut cluster, "n", true);
    assert_eq!(
        update(&mut cluster),
        [deleted("ConfigMap shop/m"), applied("ConfigMap shop/n"), applied("WasmPlugin shop/q")]
    );
}

#[test]
fn watch_reports_changes_and_deletion() {
    let mut cluster = state();
    apply(&mut cluster, plugin("p", "configmap://m/a"));
    read(&mut cluster, "m", true);
    cluster.take_update();
    let event =
        |cluster: &mut ClusterState, event| cluster.handle_config_map(name("m"), event, Instant::now());
    let map = trimmed(Object::ConfigMap(ConfigMap { name: name("m"), ..ConfigMap::default() }));
    event(&mut cluster, WatchEvent::Applied(map));
    assert_eq!(update(&mut cluster), [applied("ConfigMap shop/m")]);
    event(&mut cluster, failed(500));
    assert!(!cluster.has_update(), "the last content is kept");
    event(&mut cluster, WatchEvent::Deleted(name("m")));
    assert_eq!(update(&mut cluster), [deleted("ConfigMap shop/m")]);
    handle(&mut cluster, PLUGINS, WatchEvent::Deleted(name("p")));
    cluster.take_update();
    event(&mut cluster, failed(403));
    assert!(!cluster.has_update(), "the watch has ended");
}

#[test]
fn forbidden_config_map_is_a_problem_and_holds_nothing() {
    let mut cluster = state();
    apply(&mut cluster, plugin("p", "configmap://m/a"));
    cluster.handle_config_map(name("m"), failed(403), Instant::now());
    let forbidden = cluster.take_update();
    assert_eq!(changes(&forbidden), [applied("WasmPlugin shop/p")]);
    assert_eq!(problems(forbidden), ["ConfigMap shop/m"]);
    read(&mut cluster, "m", true);
    assert_eq!(problems(cluster.take_update()), [""; 0]);
}

#[test]
fn malformed_plugin_closes_routes_only_without_a_valid_version() {
    let mut cluster = state();
    apply(&mut cluster, malformed("p"));
    let closed = cluster.take_update();
    assert_eq!(changes(&closed), [applied("WasmPlugin shop/p")]);
    assert_eq!(problems(closed), ["WasmPlugin shop/p"]);
    apply(&mut cluster, plugin("p", "file://a.wasm"));
    let valid = cluster.take_update();
    assert_eq!((changes(&valid), problems(valid)), (vec![applied("WasmPlugin shop/p")], vec![]));
    apply(&mut cluster, malformed("p"));
    let kept = cluster.take_update();
    assert_eq!((changes(&kept), problems(kept)), (vec![], vec!["WasmPlugin shop/p".to_owned()]));
    handle(&mut cluster, PLUGINS, WatchEvent::Deleted(name("p")));
    apply(&mut cluster, malformed("p"));
    assert_eq!(update(&mut cluster), [applied("WasmPlugin shop/p")]);
}

#[test]
fn handler_loads_from_the_namespace_of_the_gateway() {
    let mut specs = specs();
    specs.push(spec(Kind::IngressClassConfig, Requirement::IfInstalled));
    let configs = specs.len() - 1;
    let mut cluster = ClusterState::new(specs, ours());
    for feed in 0..=configs {
        list(&mut cluster, feed, Vec::new());
    }
    cluster.take_update();
    let config = |url: &str| {
        let handler = api::ClassHandler { url: url.to_owned(), ..api::ClassHandler::default() };
        let spec = api::IngressClassConfigSpec { handler: Some(Box::new(handler)), ..<_>::default() };
        let name = routing::object::Name::new("", "c");
        let config = routing::object::IngressClassConfig { name, spec, ..<_>::default() };
        trimmed(Object::IngressClassConfig(config))
    };
    handle(&mut cluster, configs, WatchEvent::Applied(config("configmap://m/a")));
    assert!(cluster.take_config_maps_changed());
    assert_eq!(watched(&cluster), ["gateway-system/m"]);
    assert!(!cluster.has_update(), "it waits for its module");
    handle(&mut cluster, configs, WatchEvent::Applied(config("file://a")));
    assert!(watched(&cluster).is_empty());
    let changes = update(&mut cluster);
    assert!(changes.contains(&applied("IngressClassConfig c")), "{changes:?}");
}
