//! Plugins: definitions keep their identity, configurations in use are counted, and changes reach the right Routes.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests fail by panicking")]

use std::sync::Arc;

use routing::Compiler;
use routing::Config;
use routing::PluginDefinition;
use routing::PluginSource;
use routing::ProblemDelta;
use routing::Reason;
use routing::RoutingTable;
use routing::object::Change;
use routing::object::Kind;
use routing::object::Name;
use routing::object::ObjectRef;

#[path = "support/objects.rs"]
mod objects;

use objects::CLASS;
use objects::class;
use objects::config_map;
use objects::ingress;
use objects::plugin;
use objects::policy;
use objects::service;
use objects::slice;

const HOST: &str = "a.example";

/// Creates a Compiler with Ingresses shop/web and bank/web.
fn compiler() -> Compiler {
    let mut compiler = Compiler::new(Config::default());
    compiler.apply(vec![
        class(CLASS).change(),
        ingress("shop/web").host(HOST).path("/").change(),
        ingress("bank/web").host("b.example").path("/").change(),
    ]);
    compiler
}

fn delete(kind: Kind, name: &str) -> Change {
    Change::Delete(ObjectRef { kind, name: Name::new("shop", name) })
}

fn definition(compiler: &Compiler) -> Arc<PluginDefinition> {
    Arc::clone(compiler.plugins().find(|plugin| &*plugin.name.name == "key").unwrap())
}

/// Returns the configurations of shop/key.
fn configs(compiler: &Compiler) -> Vec<String> {
    let configs = compiler.plugin_configs(&Name::new("shop", "key"));
    configs.iter().map(ToString::to_string).collect()
}

/// Returns the plugins of a host's Route with their configurations.
fn plugins(table: &RoutingTable, host: &str) -> Vec<String> {
    let policy = &table.find(host, "/").unwrap().policy;
    policy.plugins.iter().map(|plugin| format!("{} {}", plugin.plugin, plugin.config)).collect()
}

fn bytes(definition: &PluginDefinition) -> Option<&[u8]> {
    let PluginSource::ConfigMap { bytes, .. } = &definition.source else { return None };
    bytes.as_deref()
}

#[test]
fn unchanged_plugin_keeps_its_definition() {
    let mut compiler = compiler();
    compiler.apply(vec![plugin("shop/key").calls("authz:80").change()]);
    let first = definition(&compiler);
    for change in [
        plugin("shop/key").calls("authz:80").change(),
        plugin("shop/key").calls("authz:80").only_named().change(),
        service("shop/authz").change(),
        plugin("shop/other").change(),
        config_map("shop/modules", "a", "x"),
    ] {
        compiler.apply(vec![change]);
        assert!(Arc::ptr_eq(&first, &definition(&compiler)));
    }
    compiler.apply(vec![plugin("shop/key").calls("authz:80").config("x").change()]);
    let second = definition(&compiler);
    assert!(!Arc::ptr_eq(&first, &second));
    assert!(Arc::ptr_eq(&first.upstreams[0].backend, &second.upstreams[0].backend), "the cell stays");
    compiler.apply(vec![delete(Kind::WasmPlugin, "key"), delete(Kind::WasmPlugin, "other")]);
    assert_eq!(compiler.plugins().count(), 0);
}

#[test]
fn config_map_that_comes_later_gives_the_bytes() {
    let mut compiler = compiler();
    let (_, missing) = compiler.apply(vec![plugin("shop/key").url("configmap://modules/a").change()]);
    assert_eq!(missing.added[0].reason, Reason::ConfigMapNotFound);
    assert_eq!(bytes(&definition(&compiler)), None);
    let (_, found) = compiler.apply(vec![config_map("shop/modules", "a", "one")]);
    assert_eq!((found.added, found.removed), (Vec::new(), missing.added));
    let first = definition(&compiler);
    assert_eq!(bytes(&first), Some(&b"one"[..]));
    compiler.apply(vec![config_map("shop/modules", "a", "one"), config_map("bank/modules", "a", "two")]);
    assert!(Arc::ptr_eq(&first, &definition(&compiler)));
    compiler.apply(vec![config_map("shop/modules", "a", "two")]);
    assert_eq!(bytes(&definition(&compiler)), Some(&b"two"[..]));
    let (_, lost) = compiler.apply(vec![config_map("shop/modules", "b", "two")]);
    assert_eq!(lost.added[0].message, "ConfigMap shop/modules has no key a");
    let (_, gone) = compiler.apply(vec![delete(Kind::ConfigMap, "modules")]);
    assert_eq!(gone.added[0].message, "ConfigMap shop/modules does not exist");
    assert_eq!(bytes(&definition(&compiler)), None);
}

#[test]
fn upstream_goes_live_with_its_service() {
    let mut compiler = compiler();
    let (_, problems) = compiler.apply(vec![plugin("shop/key").calls("authz:80").change()]);
    assert_eq!(problems, ProblemDelta::default(), "a Service may come later");
    let plugin = definition(&compiler);
    let ready = || plugin.upstreams[0].backend.endpoints.load().ready().len();
    assert_eq!(ready(), 0);
    let (_, unready) = compiler.apply(vec![service("shop/authz").change()]);
    assert_eq!(unready.added[0].reason, Reason::NoEndpoints);
    let (_, solved) = compiler.apply(vec![slice("shop/authz").endpoint("10.0.0.9").change()]);
    assert_eq!((ready(), solved.removed), (1, unready.added));
    assert!(Arc::ptr_eq(&plugin, &definition(&compiler)));
}

#[test]
fn plugin_reaches_the_routes_of_its_namespace() {
    let mut compiler = compiler();
    let (before, _) = compiler.apply(Vec::new());
    let (with, _) = compiler.apply(vec![plugin("shop/key").config("x").change()]);
    assert_eq!(plugins(&with, HOST), ["shop/key x"]);
    assert_eq!(plugins(&with, "b.example"), [""; 0]);
    let bank = |table: &RoutingTable| Arc::clone(table.serving_host("b.example").unwrap());
    assert!(Arc::ptr_eq(&bank(&before), &bank(&with)), "other namespaces are not compiled again");
    let (changed, _) = compiler.apply(vec![plugin("shop/key").config("y").change()]);
    assert_eq!(
        (plugins(&changed, HOST), configs(&compiler)),
        (vec!["shop/key y".to_owned()], vec!["y".to_owned()])
    );
    let url = plugin("shop/key").config("y").url("file://b.wasm").change();
    let (same, _) = compiler.apply(vec![url]);
    let shop = |table: &RoutingTable| Arc::clone(table.serving_host(HOST).unwrap());
    assert!(Arc::ptr_eq(&shop(&changed), &shop(&same)), "another module is no other route");
    let (new, _) = compiler.apply(vec![ingress("shop/new").host("new.example").path("/").change()]);
    assert_eq!(plugins(&new, "new.example"), ["shop/key y"]);
    let (without, _) = compiler.apply(vec![delete(Kind::WasmPlugin, "key")]);
    assert_eq!((plugins(&without, HOST), configs(&compiler)), (vec![], vec![]));
    assert!(
        without.find(HOST, "/").unwrap().policy.id.index() == 0,
        "routes without plugins share one policy"
    );
}

#[test]
fn configurations_are_counted_over_all_routes() {
    let mut compiler = compiler();
    compiler.apply(vec![
        plugin("shop/key").config("own").change(),
        ingress("shop/second").host("c.example").path("/").change(),
        policy("shop/p").for_ingress("second").plugin("key", Some("policy")).change(),
    ]);
    assert_eq!(configs(&compiler), ["own", "policy"]);
    compiler.apply(vec![policy("shop/p").for_ingress("second").plugin("key", None).change()]);
    assert_eq!(configs(&compiler), ["own"]);
    compiler.apply(vec![delete(Kind::Ingress, "web")]);
    assert_eq!(configs(&compiler), ["own"]);
    compiler.apply(vec![delete(Kind::Ingress, "second")]);
    assert_eq!(configs(&compiler), [""; 0]);
}

#[test]
fn route_is_closed_until_the_named_plugin_comes() {
    let mut compiler = compiler();
    let names = policy("shop/p").for_ingress("web").plugin("key", None).change();
    let (closed, missing) = compiler.apply(vec![names]);
    let missing_plugin = |table: &RoutingTable| table.find(HOST, "/").unwrap().policy.missing_plugin.clone();
    assert_eq!(missing_plugin(&closed), Some(Name::new("shop", "key")));
    assert_eq!(missing.added[0].reason, Reason::PluginNotFound);
    let (open, found) = compiler.apply(vec![plugin("shop/key").only_named().config("x").change()]);
    assert_eq!((missing_plugin(&open), plugins(&open, HOST)), (None, vec!["shop/key x".to_owned()]));
    assert_eq!(found.removed, missing.added);
    let (closed, _) = compiler.apply(vec![plugin("shop/key").malformed()]);
    assert_eq!(missing_plugin(&closed), Some(Name::new("shop", "key")));
    assert_eq!(compiler.plugins().count(), 0);
    let (_, gone) = compiler.apply(vec![delete(Kind::WasmPlugin, "key")]);
    assert_eq!(gone.added, missing.added);
}
