//! The schema of the values: closed everywhere, complete, and generated from the gateway where the gateway decides.

use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;

use serde_json::{Map, Value, json};

use crate::helm::{helm, text, tools};
use crate::{chart, expect, missing, read};

/// Settings that the chart derives from other values.
const OWN_SETTINGS: [&str; 7] =
    ["listeners", "classes", "controller", "namespaces", "pluginDir", "drain", "status"];

/// Definitions that have no fixed keys.
const OPEN_DEFINITIONS: [&str; 1] = ["kubernetes"];

#[test]
fn generated_definitions_match_the_gateway() {
    let mut schema: Value = serde_json::from_str(&read("values.schema.json")).unwrap();
    schema["definitions"]["classConfig"] = spec_schema("ingressclassconfigs");
    schema["definitions"]["pluginSpec"] = spec_schema("wasmplugins");
    let gateway = Path::new(env!("CARGO_BIN_EXE_conformance")).with_file_name("gateway");
    if gateway.is_file() {
        schema["definitions"]["config"] = config_schema(&gateway);
    } else {
        missing::skipped("generated_definitions_match_the_gateway: the gateway is not built");
    }
    expect("values.schema.json", &format!("{schema:#}\n"));
}

/// Returns the schema of a kind's spec. A class's config may be empty, so nothing is required at its top.
fn spec_schema(plural: &str) -> Value {
    let definition: Value = serde_saphyr::from_str(&read(&format!("crds/{plural}.yaml"))).unwrap();
    let spec = &definition["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"];
    closed(spec)
}

/// Converts a schema of a CustomResourceDefinition: objects with properties accept no others.
fn closed(schema: &Value) -> Value {
    const KEPT: [&str; 9] = [
        "description",
        "enum",
        "type",
        "pattern",
        "minLength",
        "maxLength",
        "required",
        "minimum",
        "maximum",
    ];
    let Value::Object(fields) = schema else { return schema.clone() };
    let mut result: Map<String, Value> = Map::new();
    for (name, value) in fields.iter().filter(|(name, _)| KEPT.contains(&name.as_str())) {
        result.insert(name.clone(), value.clone());
    }
    if fields.get("x-kubernetes-int-or-string").is_some() {
        result.insert("type".to_owned(), json!(["integer", "string"]));
    }
    for inner in ["items", "additionalProperties"] {
        if let Some(value) = fields.get(inner) {
            result.insert(inner.to_owned(), closed(value));
        }
    }
    if let Some(Value::Object(properties)) = fields.get("properties") {
        let properties: Map<_, _> =
            properties.iter().map(|(name, value)| (name.clone(), closed(value))).collect();
        result.insert("properties".to_owned(), properties.into());
        result.insert("additionalProperties".to_owned(), false.into());
    } else if fields.get("x-kubernetes-preserve-unknown-fields") == Some(&true.into()) {
        result.insert("additionalProperties".to_owned(), json!({}));
    }
    result.into()
}

/// Returns the schema of the settings that `gateway config` prints. The gateway itself checks the values.
fn config_schema(gateway: &Path) -> Value {
    let output = Command::new(gateway).arg("config").env_clear().output().unwrap();
    assert!(output.status.success(), "{}", text(&output));
    let printed = String::from_utf8(output.stdout).unwrap();
    let mut properties: Map<String, Value> = Map::new();
    let (mut section, mut about) = (String::new(), String::new());
    for line in printed.lines() {
        let (indent, line) = (line.starts_with(' '), line.trim());
        if let Some(comment) = line.strip_prefix("# ") {
            comment.clone_into(&mut about);
            continue;
        }
        let (key, value) = line.split_once(':').unwrap();
        if !indent && value.is_empty() {
            key.clone_into(&mut section);
            let empty = json!({ "type": "object", "additionalProperties": false, "properties": {} });
            properties.insert(section.clone(), empty);
            continue;
        }
        let scalar = json!({
            "description": about,
            "type": ["string", "number", "boolean", "array"],
            "items": { "type": ["string", "number"] },
        });
        if indent {
            properties[&section]["properties"][key] = scalar;
        } else {
            properties.insert(key.to_owned(), scalar);
        }
    }
    properties.retain(|key, _| !OWN_SETTINGS.contains(&key.as_str()));
    json!({ "type": "object", "additionalProperties": false, "properties": properties })
}

#[test]
fn schema_has_no_open_object() {
    let schema: Value = serde_json::from_str(&read("values.schema.json")).unwrap();
    let mut open = Vec::new();
    collect_open(&schema, "", &mut open);
    let generated = |path: &String| {
        // Configurations of plugins are free.
        path.starts_with("/definitions/pluginSpec/") && path.to_lowercase().ends_with("config")
    };
    open.retain(|path| !generated(path));
    let allowed: Vec<String> = OPEN_DEFINITIONS
        .map(|name| format!("/definitions/{name}"))
        .into_iter()
        .chain(["/properties/global".to_owned()])
        .collect();
    assert_eq!(open, allowed);
}

/// Collects the paths of objects that accept unknown keys.
fn collect_open(schema: &Value, path: &str, open: &mut Vec<String>) {
    if let Value::Object(fields) = schema {
        let is_object = fields.get("type") == Some(&"object".into());
        let rest = fields.get("additionalProperties");
        if is_object && rest.is_none_or(|rest| *rest == true || *rest == json!({})) {
            open.push(path.to_owned());
        }
        for (name, inner) in fields {
            collect_open(inner, &format!("{path}/{name}"), open);
        }
    } else if let Value::Array(list) = schema {
        for (at, inner) in list.iter().enumerate() {
            collect_open(inner, &format!("{path}/{at}"), open);
        }
    }
}

#[test]
fn schema_and_values_have_the_same_keys() {
    let schema: Value = serde_json::from_str(&read("values.schema.json")).unwrap();
    let values: Value = serde_saphyr::from_str(&read("values.yaml")).unwrap();
    let (mut stated, mut known) = (BTreeSet::new(), BTreeSet::new());
    collect_values(&values, "", &mut stated);
    collect_properties(&schema, "", &mut known);
    known.remove(".global");
    stated.retain(|path| !path.starts_with(".metrics.dashboard.labels."));
    assert_eq!(stated, known);
}

fn collect_values(values: &Value, path: &str, found: &mut BTreeSet<String>) {
    for (key, value) in values.as_object().into_iter().flatten() {
        let path = format!("{path}.{key}");
        collect_values(value, &path, found);
        found.insert(path);
    }
}

/// Collects the properties that values.yaml spells out: those of objects without a definition.
fn collect_properties(schema: &Value, path: &str, found: &mut BTreeSet<String>) {
    for (key, value) in schema["properties"].as_object().into_iter().flatten() {
        let path = format!("{path}.{key}");
        if path != ".pod.affinity" {
            collect_properties(value, &path, found);
        }
        found.insert(path);
    }
}

#[test]
fn unknown_and_malformed_values_are_refused() {
    if let Err(reason) = tools() {
        return missing::skipped(&format!("unknown_and_malformed_values_are_refused: {reason}"));
    }
    assert!(chart().join("values.schema.json").is_file());
    for (values, message) in [
        ("replica=3", "replica"),
        ("service.httpsport=1", "httpsport"),
        ("service.type=ExternalName", "/service/type"),
        ("service.httpPort=70000", "/service/httpPort"),
        ("image.digest=sha256:12", "/image/digest"),
        ("config.timeouts.keepalive=1s", "keepalive"),
        ("config.listeners.http=x", "listeners"),
        ("ingressClass.config.allowedNamespace=a", "allowedNamespace"),
        ("ingressClass.controller=x", "/ingressClass/controller"),
        ("classes[0].nam=x", "nam"),
        ("plugins.volumes[0].name=a,plugins.volumes[0].hostPath.path=/a", "hostPath"),
        ("plugins.objects[0].name=a,plugins.objects[0].spec.urls=b", "urls"),
        ("resources.limits.gpu=1", "gpu"),
        ("resources.limits.memory=1GB", "/resources/limits/memory"),
        ("pod.affinity.nodeaffinity.a=1", "nodeaffinity"),
        ("networkPolicy.clients[0].cidr=10.0.0.0/8", "cidr"),
        ("scope.namespaces[0]=Shop", "/scope/namespaces/0"),
        ("drain.limitSeconds=25s", "/drain/limitSeconds"),
        ("podDisruptionBudget.maxUnavailable=half", "/podDisruptionBudget/maxUnavailable"),
    ] {
        let output = helm(&["template", "gateway", ".", "--set", values]);
        assert!(!output.status.success(), "{values}");
        let normal = text(&output).replace('.', "/");
        assert!(normal.contains(message), "{values}: {}", text(&output));
    }
}
