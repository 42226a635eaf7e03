//! Steps that change one field of a known object, as `kubectl edit` and controllers do. Independent objects of the same
//! name nearly always differ in all fields.

use std::collections::BTreeMap;

use proptest::prelude::Strategy;
use proptest::prelude::any;
use proptest::sample::Index;
use routing::object::Change;
use routing::object::EndpointSlice;
use routing::object::Ingress;
use routing::object::IngressClass;
use routing::object::Object;
use routing::object::SecretContent;
use routing::object::Service;

/// A change of one field of an object that a delta knows.
#[derive(Clone, Debug)]
pub(crate) struct FieldStep {
    /// The delta to which the change is added.
    delta: Index,
    /// The object among those that exist after the delta.
    object: Index,
    field: u8,
}

pub(crate) fn field_step() -> impl Strategy<Value = FieldStep> {
    (any::<Index>(), any::<Index>(), 0..8_u8).prop_map(|(delta, object, field)| FieldStep {
        delta,
        object,
        field,
    })
}

/// Adds the steps to a sequence of deltas.
pub(crate) fn with_field_steps(mut deltas: Vec<Vec<Change>>, steps: &[FieldStep]) -> Vec<Vec<Change>> {
    for step in steps {
        let at = step.delta.index(deltas.len());
        let mut known = BTreeMap::new();
        for change in deltas.iter().take(at + 1).flatten() {
            match change {
                Change::Apply(object) => known.insert(object.reference(), object.clone()),
                Change::Delete(reference) => known.remove(reference),
            };
        }
        let objects: Vec<_> = known.into_values().collect();
        if objects.is_empty() {
            continue;
        }
        let mut object = objects[step.object.index(objects.len())].clone();
        change_field(&mut object, step.field);
        deltas[at].push(Change::Apply(object));
    }
    deltas
}

fn change_field(object: &mut Object, field: u8) {
    match object {
        Object::Ingress(ingress) => change_ingress(ingress, field),
        Object::IngressClass(class) => change_class(class, field),
        Object::Service(service) => change_service(service, field),
        Object::EndpointSlice(slice) => change_slice(slice, field),
        Object::Secret(secret) => {
            secret.content = match secret.content {
                SecretContent::Missing => SecretContent::Unchecked,
                _ => SecretContent::Missing,
            };
        }
        Object::Namespace(namespace) => namespace.terminating = !namespace.terminating,
        Object::RoutePolicy(policy) if field < 4 => policy.created = toggled_age(policy.created),
        Object::RoutePolicy(policy) => drop(policy.spec.target_refs.pop()),
        Object::IngressClassConfig(config) if field < 4 => config.spec.default_backend = None,
        Object::IngressClassConfig(config) => drop(config.spec.host_ownership.pop()),
        Object::ConfigMap(map) => drop(map.data.pop_first()),
        Object::WasmPlugin(_) => {}
    }
}

fn toggled_age(created: Option<i64>) -> Option<i64> {
    match created {
        None => Some(0),
        Some(seconds) if seconds < 2 => Some(seconds + 1),
        Some(_) => None,
    }
}

fn change_ingress(ingress: &mut Ingress, field: u8) {
    let mut rules = ingress.rules.to_vec();
    match field {
        0 => ingress.created = toggled_age(ingress.created),
        1 => ingress.deleting = !ingress.deleting,
        2 => ingress.class = if ingress.class.is_some() { None } else { Some("ours".into()) },
        3 => ingress.class_annotation = Some("second".into()),
        4 => ingress.default_backend = None,
        5 => ingress.tls = ingress.tls.iter().skip(1).cloned().collect(),
        6 => drop(rules.pop()),
        _ => {
            if let Some(path) = rules.first_mut().and_then(|rule| rule.paths.first_mut()) {
                path.path_type =
                    Some(if path.path_type.as_deref() == Some("Exact") { "Prefix" } else { "Exact" }.into());
            }
        }
    }
    ingress.rules = rules.into();
}

fn change_class(class: &mut IngressClass, field: u8) {
    match field {
        0 | 1 => class.created = toggled_age(class.created),
        2 | 3 => class.parameters = None,
        4 => class.is_default = !class.is_default,
        _ => class.controller = if &*class.controller == "other" { api::CONTROLLER } else { "other" }.into(),
    }
}

fn change_service(service: &mut Service, field: u8) {
    match field {
        0 | 1 => drop(service.ports.pop()),
        2 => service.fixed_endpoints = None,
        3 => service.external_name = None,
        4 | 5 => {
            let is_external = &*service.service_type == "ExternalName";
            service.service_type = if is_external { "ClusterIP" } else { "ExternalName" }.into();
        }
        _ => {
            if let Some(port) = service.ports.first_mut() {
                port.name = if &*port.name == "http" { "" } else { "http" }.into();
            }
        }
    }
}

fn change_slice(slice: &mut EndpointSlice, field: u8) {
    let endpoint = slice.endpoints.first_mut();
    match (field, endpoint) {
        (0 | 1, Some(endpoint)) => endpoint.ready = !endpoint.ready,
        (2, Some(endpoint)) => endpoint.terminating = !endpoint.terminating,
        (3, Some(endpoint)) => endpoint.serving = !endpoint.serving,
        (4, Some(endpoint)) => drop(endpoint.zones.pop()),
        (5, _) => slice.service = Some("svc0".into()),
        (6, _) => drop(slice.ports.pop()),
        (_, _) => drop(slice.endpoints.pop()),
    }
}
