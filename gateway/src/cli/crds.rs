//! The CustomResourceDefinitions of the gateway's kinds, generated from the types that parse them.
//!
//! `gateway crds` prints them. The files in `charts/gateway/crds` are that output; a test compares them. Not here: the
//! kinds themselves (`api`).

use api::{IngressClassConfigSpec, RoutePolicySpec, WasmPluginSpec};
use kube_core::schema::StructuralSchemaRewriter;
use schemars::JsonSchema;
use schemars::generate::SchemaSettings;
use serde_json::{Map, Value, json};

/// A CustomResourceDefinition.
#[derive(Clone, Debug)]
pub struct Definition {
    /// The plural in lower case. Names the file in the chart.
    pub plural: &'static str,
    value: Value,
}

/// The names of a kind in the API.
struct KindNames {
    kind: &'static str,
    singular: &'static str,
    plural: &'static str,
    scope: &'static str,
    /// Columns of `kubectl get` beside the name: title and path.
    columns: &'static [(&'static str, &'static str)],
}

/// The column of condition Ready.
const READY: (&str, &str) = ("Ready", ".status.conditions[?(@.type==\"Ready\")].status");

/// Returns the definitions of all kinds.
pub fn all() -> [Definition; 3] {
    let class_config = KindNames {
        kind: "IngressClassConfig",
        singular: "ingressclassconfig",
        plural: "ingressclassconfigs",
        scope: "Cluster",
        columns: &[("ExternalNames", ".spec.externalNames"), READY],
    };
    let policy = KindNames {
        kind: "RoutePolicy",
        singular: "routepolicy",
        plural: "routepolicies",
        scope: "Namespaced",
        columns: &[("Target", ".spec.targetRefs[0].name"), READY],
    };
    let plugin = KindNames {
        kind: "WasmPlugin",
        singular: "wasmplugin",
        plural: "wasmplugins",
        scope: "Namespaced",
        columns: &[("URL", ".spec.url"), ("Phase", ".spec.phase"), READY],
    };
    [
        definition::<IngressClassConfigSpec>(&class_config, &[]),
        definition::<RoutePolicySpec>(&policy, &POLICY_RULES),
        definition::<WasmPluginSpec>(&plugin, &PLUGIN_RULES),
    ]
}

/// Returns the YAML of all definitions, as `gateway crds` prints it.
///
/// # Errors
/// None in practice, as for [`Definition::to_yaml`].
pub fn to_yaml() -> anyhow::Result<String> {
    all().iter().map(|definition| Ok(format!("---\n{}", definition.to_yaml()?))).collect()
}

/// Rules for the spec of a RoutePolicy that a schema cannot express: in CEL, with the error message.
const POLICY_RULES: [(&str, &str); 1] = [(
    "self.targetRefs.all(t, t.kind == 'Ingress' || (!has(t.host) && !has(t.path)))",
    "only a target of kind Ingress has a host or path",
)];

/// The same for WasmPlugins.
const PLUGIN_RULES: [(&str, &str); 1] = [(
    "!has(self.targetRefs) || self.targetRefs.all(t, t.kind == 'Ingress' || (!has(t.host) && !has(t.path)))",
    "only a target of kind Ingress has a host or path",
)];

fn definition<Spec: JsonSchema>(names: &KindNames, rules: &[(&str, &str)]) -> Definition {
    let mut settings = SchemaSettings::openapi3();
    settings.inline_subschemas = true;
    settings.meta_schema = None;
    let generator = settings.with_transform(StructuralSchemaRewriter).into_generator();
    let mut spec = generator.into_root_schema_for::<Spec>().to_value();
    make_structural(&mut spec);
    if let Some(spec) = spec.as_object_mut() {
        spec.remove("title");
        if !rules.is_empty() {
            let rules = rules.iter().map(|(rule, message)| json!({ "rule": rule, "message": message }));
            spec.insert("x-kubernetes-validations".to_owned(), rules.collect());
        }
    }
    let columns =
        names.columns.iter().map(|(name, path)| json!({ "name": name, "type": "string", "jsonPath": path }));
    let value = json!({
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": { "name": format!("{}.{}", names.plural, api::GROUP) },
        "spec": {
            "group": api::GROUP,
            "names": {
                "kind": names.kind,
                "listKind": format!("{}List", names.kind),
                "plural": names.plural,
                "singular": names.singular,
                "categories": ["wasm-gateway"],
            },
            "scope": names.scope,
            "versions": [{
                "name": api::VERSION,
                "served": true,
                "storage": true,
                "subresources": { "status": {} },
                "additionalPrinterColumns": columns.collect::<Value>(),
                "schema": { "openAPIV3Schema": {
                    "type": "object",
                    "required": ["spec"],
                    "properties": {
                        "apiVersion": { "type": "string" },
                        "kind": { "type": "string" },
                        "metadata": { "type": "object" },
                        "spec": spec,
                        "status": status_schema(),
                    },
                } },
            }],
        },
    });
    Definition { plural: names.plural, value }
}

/// Returns the schema of `status`: the conditions, as `metav1.Condition` defines them.
fn status_schema() -> Value {
    let text = |max: u32| json!({ "type": "string", "maxLength": max });
    json!({
        "type": "object",
        "description": "Written by the gateway.",
        "properties": { "conditions": {
            "type": "array",
            "description": "Accepted: the spec is valid. Ready: it has its effect.",
            "x-kubernetes-list-type": "map",
            "x-kubernetes-list-map-keys": ["type"],
            "items": {
                "type": "object",
                "required": ["type", "status", "reason", "message", "lastTransitionTime"],
                "properties": {
                    "type": text(316),
                    "status": { "type": "string", "enum": ["True", "False", "Unknown"] },
                    "reason": text(1024),
                    "message": text(32768),
                    "observedGeneration": { "type": "integer", "format": "int64", "minimum": 0 },
                    "lastTransitionTime": { "type": "string", "format": "date-time" },
                },
            },
        } },
    })
}

/// Converts a schema of schemars to a structural schema of Kubernetes, where only `required` makes a field optional and
/// formats of unsigned numbers do not exist.
fn make_structural(schema: &mut Value) {
    match schema {
        Value::Object(fields) => {
            fields.remove("nullable");
            if fields.get("format").and_then(Value::as_str).is_some_and(|format| format.starts_with("uint")) {
                fields.remove("format");
            }
            if let Some(inner) = non_null_alternative(fields) {
                fields.remove("anyOf");
                for (name, value) in inner {
                    fields.entry(name).or_insert(value);
                }
            }
            fields.values_mut().for_each(make_structural);
        }
        Value::Array(items) => items.iter_mut().for_each(make_structural),
        _ => {}
    }
}

/// Returns the other one of two alternatives if one of them is null.
fn non_null_alternative(fields: &Map<String, Value>) -> Option<Map<String, Value>> {
    let is_null = |schema: &Value| schema.get("enum") == Some(&json!([null]));
    match fields.get("anyOf")?.as_array()?.as_slice() {
        [inner, null] | [null, inner] if is_null(null) => inner.as_object().cloned(),
        _ => None,
    }
}

impl Definition {
    /// Returns the definition as YAML for `kubectl apply`.
    ///
    /// # Errors
    /// None in practice: the value consists of maps, lists and strings.
    pub fn to_yaml(&self) -> anyhow::Result<String> {
        Ok(serde_saphyr::to_string(&self.value)?)
    }
}
