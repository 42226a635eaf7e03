//! Objects of a case as they are applied: with namespace, class and placeholders filled in.

use std::collections::BTreeSet;

use serde_json::Map;
use serde_json::Value;
use serde_json::json;

use super::backends::CaseBackends;
use super::backends::PortUse;
use super::backends::SETTLE_APP;
use super::case::AppPort;
use super::case::AppSpec;
use super::case::EndpointSpec;
use super::case::SliceSpec;
use super::case::TestCase;

/// The annotation that names a class, deprecated since Kubernetes 1.18.
const CLASS_ANNOTATION: &str = "kubernetes.io/ingress.class";

/// Kinds without a namespace.
const CLUSTER_SCOPED: [&str; 2] = ["IngressClass", "Namespace"];

/// Names that a case has in one run.
#[derive(Clone, Debug)]
pub struct CaseScope {
    /// The namespace of the case.
    pub namespace: String,
    /// The IngressClass under test.
    pub class: String,
    /// Its controller.
    pub controller: String,
}

impl CaseScope {
    /// Returns the namespace that a case calls `name`.
    pub fn namespace(&self, name: Option<&str>) -> String {
        name.map_or_else(|| self.namespace.clone(), |name| format!("{}-{name}", self.namespace))
    }

    /// Returns all namespaces of a case.
    pub fn namespaces(&self, case: &TestCase) -> BTreeSet<String> {
        let mut names = BTreeSet::from([self.namespace.clone()]);
        for step in case.all_steps() {
            names.extend(step.apps.iter().map(|app| self.namespace(app.namespace.as_deref())));
            let given =
                step.apply.iter().filter_map(|object| object.pointer("/metadata/namespace")?.as_str());
            names.extend(given.map(|name| self.namespace(Some(name))));
        }
        names
    }

    /// Fills in namespace, class, `$CLASS`, `$CONTROLLER` and `$NAMESPACE`. An Ingress with `ingressClassName: null` keeps none.
    pub fn complete(&self, object: &Value) -> Value {
        let mut object = self.replace_placeholders(object);
        let kind = object.get("kind").and_then(Value::as_str).unwrap_or_default().to_owned();
        if !CLUSTER_SCOPED.contains(&kind.as_str()) {
            let given = object.pointer("/metadata/namespace").and_then(Value::as_str);
            let namespace = self.namespace(given);
            if let Some(metadata) = entry(&mut object, "metadata") {
                metadata.insert("namespace".to_owned(), namespace.into());
            }
        }
        if kind == "Ingress" {
            let annotations = object.pointer("/metadata/annotations").and_then(Value::as_object);
            let has_annotation = annotations.is_some_and(|fields| fields.contains_key(CLASS_ANNOTATION));
            let Some(spec) = entry(&mut object, "spec") else { return object };
            if spec.get("ingressClassName").is_some_and(Value::is_null) {
                spec.remove("ingressClassName");
            } else if !has_annotation && !spec.contains_key("ingressClassName") {
                spec.insert("ingressClassName".to_owned(), self.class.as_str().into());
            }
        }
        object
    }

    fn replace_placeholders(&self, value: &Value) -> Value {
        match value {
            Value::String(text) => {
                let text = text.replace("$CLASS", &self.class).replace("$CONTROLLER", &self.controller);
                text.replace("$NAMESPACE", &self.namespace).into()
            }
            Value::Array(items) => items.iter().map(|item| self.replace_placeholders(item)).collect(),
            Value::Object(fields) => fields
                .iter()
                .map(|(name, value)| (name.clone(), self.replace_placeholders(value)))
                .collect::<Map<_, _>>()
                .into(),
            Value::Null | Value::Bool(_) | Value::Number(_) => value.clone(),
        }
    }

    /// Returns the Service and the EndpointSlices of an app.
    pub fn app_objects(&self, app: &AppSpec, backends: &CaseBackends) -> Vec<Value> {
        let namespace = self.namespace(app.namespace.as_deref());
        let ports: Vec<Value> = app.ports.iter().map(service_port).collect();
        let service = json!({
            "apiVersion": "v1", "kind": "Service",
            "metadata": { "name": app.name, "namespace": namespace },
            "spec": { "ports": ports },
        });
        let ready = |replica| EndpointSpec { replica, ready: Some(true), serving: None, terminating: None };
        let default_slice =
            || vec![SliceSpec { endpoints: (0..app.replicas).map(ready).collect(), other_port: false }];
        let slices = app.slices.clone().unwrap_or_else(default_slice);
        let slices = slices.iter().enumerate().map(|(number, slice)| {
            json!({
                "apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice",
                "metadata": {
                    "name": format!("{}-{number}", app.name), "namespace": namespace,
                    "labels": {
                        "kubernetes.io/service-name": app.name,
                        "endpointslice.kubernetes.io/managed-by": "ingress-conformance",
                    },
                },
                "addressType": "IPv4",
                "ports": slice_ports(app, slice, backends),
                "endpoints": slice.endpoints.iter().filter_map(|spec| endpoint(*spec, backends)).collect::<Vec<_>>(),
            })
        });
        std::iter::once(service).chain(slices).collect()
    }

    /// Returns the probe Ingress of a settling, and the host that it serves.
    pub fn settle_ingress(&self, number: usize) -> (Value, String) {
        let host = format!("settle-{number}.{}.example", self.namespace);
        let backend = json!({ "service": { "name": SETTLE_APP, "port": { "number": 8080 } } });
        let ingress = json!({
            "apiVersion": "networking.k8s.io/v1", "kind": "Ingress",
            "metadata": { "name": format!("settle-{number}"), "namespace": self.namespace },
            "spec": { "ingressClassName": self.class, "rules": [{
                "host": host,
                "http": { "paths": [{ "path": "/", "pathType": "Prefix", "backend": backend }] },
            }] },
        });
        (ingress, host)
    }

    /// Returns the objects of the app behind [`Self::settle_ingress`].
    pub fn settle_app(&self, backends: &CaseBackends) -> Vec<Value> {
        let port = AppPort { name: Some("http".to_owned()), port: 8080, app_protocol: None };
        let app = AppSpec {
            name: SETTLE_APP.to_owned(),
            namespace: None,
            ports: vec![port],
            replicas: 1,
            slices: None,
        };
        self.app_objects(&app, backends)
    }
}

/// Returns a field of an object as a map, after creating it if it is absent. Returns `None` if it is another type.
fn entry<'a>(object: &'a mut Value, field: &str) -> Option<&'a mut Map<String, Value>> {
    object.as_object_mut()?.entry(field).or_insert_with(|| json!({})).as_object_mut()
}

fn service_port(port: &AppPort) -> Value {
    let mut fields = Map::from_iter([("port".to_owned(), port.port.into())]);
    fields.extend(port.name.iter().map(|name| ("name".to_owned(), name.as_str().into())));
    fields.extend(port.app_protocol.iter().map(|name| ("appProtocol".to_owned(), name.as_str().into())));
    fields.into()
}

fn slice_ports(app: &AppSpec, slice: &SliceSpec, backends: &CaseBackends) -> Vec<Value> {
    let uses =
        if slice.other_port { [PortUse::Other, PortUse::Second] } else { [PortUse::First, PortUse::Second] };
    let ports = app.ports.iter().zip(uses).map(|(port, port_use)| {
        let mut fields = Map::from_iter([
            ("port".to_owned(), backends.port(&app.name, port_use).into()),
            ("protocol".to_owned(), "TCP".into()),
            ("name".to_owned(), port.name.clone().unwrap_or_default().into()),
        ]);
        fields.extend(port.app_protocol.iter().map(|name| ("appProtocol".to_owned(), name.as_str().into())));
        Value::from(fields)
    });
    ports.collect()
}

fn endpoint(spec: EndpointSpec, backends: &CaseBackends) -> Option<Value> {
    let mut conditions = Map::new();
    for (name, value) in [("ready", spec.ready), ("serving", spec.serving), ("terminating", spec.terminating)]
    {
        if let Some(value) = value {
            conditions.insert(name.to_owned(), value.into());
        }
    }
    Some(json!({ "addresses": [backends.address(spec.replica)?], "conditions": conditions }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ingress_gets_the_class_under_test_unless_it_names_one() {
        struct Row {
            spec: Value,
            annotations: Value,
            class: Option<&'static str>,
        }
        let rows = [
            Row { spec: json!({}), annotations: json!({}), class: Some("c") },
            Row {
                spec: json!({ "ingressClassName": "x-$CLASS" }),
                annotations: json!({}),
                class: Some("x-c"),
            },
            Row { spec: json!({ "ingressClassName": null }), annotations: json!({}), class: None },
            Row { spec: json!({}), annotations: json!({ CLASS_ANNOTATION: "$CLASS" }), class: None },
        ];
        let scope =
            CaseScope { namespace: "ns".to_owned(), class: "c".to_owned(), controller: "o".to_owned() };
        for row in rows {
            let object = json!({
                "kind": "Ingress", "metadata": { "name": "a", "annotations": row.annotations }, "spec": row.spec,
            });
            let object = scope.complete(&object);
            let class = object.pointer("/spec/ingressClassName").and_then(Value::as_str);
            assert_eq!(class, row.class, "{object}");
            assert_eq!(object["metadata"]["namespace"], "ns");
        }
    }

    #[test]
    fn only_namespaced_kinds_get_a_namespace() {
        let scope =
            CaseScope { namespace: "ns".to_owned(), class: "c".to_owned(), controller: "o".to_owned() };
        let class = scope.complete(&json!({ "kind": "IngressClass", "metadata": { "name": "$NAMESPACE" } }));
        assert_eq!(class["metadata"], json!({ "name": "ns" }));
        let other = scope.complete(&json!({ "kind": "Service", "metadata": { "namespace": "b" } }));
        assert_eq!(other["metadata"]["namespace"], "ns-b");
    }
}
