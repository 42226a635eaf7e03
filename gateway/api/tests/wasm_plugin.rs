//! WasmPlugin: names of Istio and Higress, defaults, and what is refused.
#![allow(clippy::unwrap_used, reason = "tests fail by panicking")]

use api::Isolation;
use api::PluginConfig;
use api::PluginFailStrategy;
use api::PluginPhase;
use api::WasmPluginSpec;
use serde_json::Value;
use serde_json::json;

fn parse(spec: Value) -> Result<WasmPluginSpec, String> {
    serde_json::from_value(spec).map_err(|error| error.to_string())
}

#[test]
fn minimal_spec_has_safe_defaults() {
    let spec = parse(json!({ "url": "file://a.wasm" })).unwrap();
    assert_eq!((spec.phase, spec.priority), (PluginPhase::Unspecified, 0));
    assert_eq!((spec.fail_strategy, spec.isolation), (PluginFailStrategy::FailClose, Isolation::Shared));
    assert_eq!(spec.target_refs, None);
    assert_eq!(parse(json!({ "url": "", "targetRefs": [] })).unwrap().target_refs, Some(Vec::new()));
}

#[test]
fn words_are_those_of_the_yaml() {
    for (word, phase) in [
        ("AUTHN", PluginPhase::Authn),
        ("AUTHZ", PluginPhase::Authz),
        ("UNSPECIFIED_PHASE", PluginPhase::Unspecified),
        ("STATS", PluginPhase::Stats),
    ] {
        assert_eq!(parse(json!({ "url": "", "phase": word })).unwrap().phase, phase);
        assert_eq!(phase.as_str(), word);
    }
    for word in ["FAIL_CLOSE", "FAIL_OPEN", "FAIL_RELOAD"] {
        let spec = parse(json!({ "url": "", "failStrategy": word })).unwrap();
        assert_eq!(serde_json::to_value(spec.fail_strategy).unwrap(), word);
    }
}

#[test]
fn unknown_fields_and_values_are_refused() {
    for (spec, expected) in [
        (json!({}), "missing field `url`"),
        (json!({ "url": "", "selector": {} }), "unknown field `selector`"),
        (json!({ "url": "", "phase": "FIRST" }), "unknown variant `FIRST`"),
        (json!({ "url": "", "limits": { "cpu": 1 } }), "unknown field `cpu`"),
        (json!({ "url": "", "matchRules": [{ "routeType": "HTTP" }] }), "unknown field `routeType`"),
        (json!({ "url": "", "env": [{ "name": "A", "valueFrom": {} }] }), "unknown field `valueFrom`"),
        (json!({ "url": "", "limits": { "memory": "1.5Mi" } }), "invalid value"),
    ] {
        let error = parse(spec.clone()).unwrap_err();
        assert!(error.contains(expected), "{spec}: {error}");
    }
}

#[test]
fn configuration_is_compact_json_or_the_string_itself() {
    for (config, expected) in [
        (json!("a string\n"), "a string\n"),
        (json!({ "b": [1, 2.5, null], "a": "x" }), r#"{"a":"x","b":[1,2.5,null]}"#),
        (json!(7), "7"),
        (json!(""), ""),
    ] {
        assert_eq!(PluginConfig(config).text(), expected);
    }
    let spec = parse(json!({ "url": "", "pluginConfig": null })).unwrap();
    assert_eq!(spec.plugin_config, None);
}
