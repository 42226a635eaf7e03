//! The CustomResourceDefinitions of our kinds, made from the types that read them.
//!
//! `gateway crds` prints them; the files in `charts/gateway/crds` are that print, and a test holds them to it.
//! Not here: the kinds themselves (`api`).

use api::{IngressClassConfigSpec, RoutePolicySpec};
use kube_core::schema::StructuralSchemaRewriter;
use schemars::JsonSchema;
use schemars::generate::SchemaSettings;
use serde_json::{Map, Value, json};

/// A CustomResourceDefinition, before it is written.
#[derive(Clone, Debug)]
pub struct Definition {
    /// The plural in lower case; files are called after it.
    pub plural: &'static str,
    value: Value,
}

/// How a kind appears in the API.
struct Naming {
    kind: &'static str,
    singular: &'static str,
    plural: &'static str,
    scope: &'static str,
    /// What `kubectl get` shows beside the name: title and path.
    columns: &'static [(&'static str, &'static str)],
}

/// All of our kinds.
pub fn all() -> [Definition; 2] {
    let class_config = Naming {
        kind: "IngressClassConfig",
        singular: "ingressclassconfig",
        plural: "ingressclassconfigs",
        scope: "Cluster",
        columns: &[("ExternalNames", ".spec.externalNames")],
    };
    let policy = Naming {
        kind: "RoutePolicy",
        singular: "routepolicy",
        plural: "routepolicies",
        scope: "Namespaced",
        columns: &[("Target", ".spec.targetRefs[0].name")],
    };
    [
        definition::<IngressClassConfigSpec>(&class_config, &[]),
        definition::<RoutePolicySpec>(&policy, &POLICY_RULES),
    ]
}

/// What a schema cannot say of a RoutePolicy's spec, in CEL, with what the API server then answers.
const POLICY_RULES: [(&str, &str); 1] = [(
    "self.targetRefs.all(t, t.kind == 'Ingress' || (!has(t.host) && !has(t.path)))",
    "only a target of kind Ingress has a host or path",
)];

fn definition<Spec: JsonSchema>(naming: &Naming, rules: &[(&str, &str)]) -> Definition {
    let mut settings = SchemaSettings::openapi3();
    settings.inline_subschemas = true;
    settings.meta_schema = None;
    let generator = settings.with_transform(StructuralSchemaRewriter).into_generator();
    let mut spec = generator.into_root_schema_for::<Spec>().to_value();
    tidy(&mut spec);
    if let Some(spec) = spec.as_object_mut() {
        spec.remove("title");
        if !rules.is_empty() {
            let rules = rules.iter().map(|(rule, message)| json!({ "rule": rule, "message": message }));
            spec.insert("x-kubernetes-validations".to_owned(), rules.collect());
        }
    }
    let columns =
        naming.columns.iter().map(|(name, path)| json!({ "name": name, "type": "string", "jsonPath": path }));
    let value = json!({
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": { "name": format!("{}.{}", naming.plural, api::GROUP) },
        "spec": {
            "group": api::GROUP,
            "names": {
                "kind": naming.kind,
                "listKind": format!("{}List", naming.kind),
                "plural": naming.plural,
                "singular": naming.singular,
                "categories": ["wasm-gateway"],
            },
            "scope": naming.scope,
            "versions": [{
                "name": api::VERSION,
                "served": true,
                "storage": true,
                "additionalPrinterColumns": columns.collect::<Value>(),
                "schema": { "openAPIV3Schema": {
                    "type": "object",
                    "required": ["spec"],
                    "properties": {
                        "apiVersion": { "type": "string" },
                        "kind": { "type": "string" },
                        "metadata": { "type": "object" },
                        "spec": spec,
                    },
                } },
            }],
        },
    });
    Definition { plural: naming.plural, value }
}

/// Says in the API server's words what schemars says in others: that a field may be left out is said by `required`
/// alone, and formats of unsigned numbers are not known there.
fn tidy(schema: &mut Value) {
    match schema {
        Value::Object(fields) => {
            fields.remove("nullable");
            if fields.get("format").and_then(Value::as_str).is_some_and(|format| format.starts_with("uint")) {
                fields.remove("format");
            }
            if let Some(inner) = alone_beside_null(fields) {
                fields.remove("anyOf");
                for (name, value) in inner {
                    fields.entry(name).or_insert(value);
                }
            }
            fields.values_mut().for_each(tidy);
        }
        Value::Array(items) => items.iter_mut().for_each(tidy),
        _ => {}
    }
}

/// The other one of two alternatives of which one is that there is nothing.
fn alone_beside_null(fields: &Map<String, Value>) -> Option<Map<String, Value>> {
    let is_null = |schema: &Value| schema.get("enum") == Some(&json!([null]));
    match fields.get("anyOf")?.as_array()?.as_slice() {
        [inner, null] | [null, inner] if is_null(null) => inner.as_object().cloned(),
        _ => None,
    }
}

impl Definition {
    /// The definition as YAML, as `kubectl apply` takes it.
    ///
    /// # Errors
    /// Never in practice: the value is made of maps, lists and texts.
    pub fn to_yaml(&self) -> anyhow::Result<String> {
        Ok(serde_saphyr::to_string(&self.value)?)
    }
}
