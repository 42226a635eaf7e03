//! A delta by kind and name. The last change of each object counts, so the order of the others does not matter.

use std::collections::BTreeMap;

use crate::object::Change;
use crate::object::ConfigMap;
use crate::object::Delta;
use crate::object::EndpointSlice;
use crate::object::Ingress;
use crate::object::IngressClass;
use crate::object::IngressClassConfig;
use crate::object::Kind;
use crate::object::Name;
use crate::object::Namespace;
use crate::object::Object;
use crate::object::RoutePolicy;
use crate::object::Secret;
use crate::object::Service;
use crate::object::WasmPlugin;

/// The change of an Ingress.
#[derive(Debug)]
pub(super) enum IngressChange {
    /// The Ingress is the same, but an object that it depends on changed.
    Recompile,
    /// The Ingress was created or updated.
    Apply(Ingress),
    /// The Ingress was deleted.
    Delete,
}

/// Changes by kind. `None` is a deletion.
#[derive(Debug, Default)]
pub(super) struct ChangeSet {
    pub(super) classes: BTreeMap<Name, Option<IngressClass>>,
    pub(super) class_configs: BTreeMap<Name, Option<IngressClassConfig>>,
    pub(super) config_maps: BTreeMap<Name, Option<ConfigMap>>,
    pub(super) ingresses: BTreeMap<Name, IngressChange>,
    pub(super) namespaces: BTreeMap<Name, Option<Namespace>>,
    pub(super) plugins: BTreeMap<Name, Option<WasmPlugin>>,
    pub(super) policies: BTreeMap<Name, Option<RoutePolicy>>,
    pub(super) secrets: BTreeMap<Name, Option<Secret>>,
    pub(super) services: BTreeMap<Name, Option<Service>>,
    pub(super) slices: BTreeMap<Name, Option<EndpointSlice>>,
}

impl ChangeSet {
    pub(super) fn new(delta: Delta) -> Self {
        let mut changes = Self::default();
        for change in delta {
            match change {
                Change::Apply(object) => changes.apply(object),
                Change::Delete(reference) => changes.delete(reference.kind, reference.name),
            }
        }
        changes
    }

    fn apply(&mut self, object: Object) {
        match object {
            Object::ConfigMap(map) => {
                self.config_maps.insert(map.name.clone(), Some(map));
            }
            Object::EndpointSlice(slice) => {
                self.slices.insert(slice.name.clone(), Some(slice));
            }
            Object::Ingress(ingress) => {
                self.ingresses.insert(ingress.name.clone(), IngressChange::Apply(ingress));
            }
            Object::IngressClass(class) => {
                self.classes.insert(class.name.clone(), Some(class));
            }
            Object::IngressClassConfig(config) => {
                self.class_configs.insert(config.name.clone(), Some(config));
            }
            Object::Namespace(namespace) => {
                self.namespaces.insert(namespace.name.clone(), Some(namespace));
            }
            Object::RoutePolicy(policy) => {
                self.policies.insert(policy.name.clone(), Some(policy));
            }
            Object::Secret(secret) => {
                self.secrets.insert(secret.name.clone(), Some(secret));
            }
            Object::Service(service) => {
                self.services.insert(service.name.clone(), Some(service));
            }
            Object::WasmPlugin(plugin) => {
                self.plugins.insert(plugin.name.clone(), Some(plugin));
            }
        }
    }

    fn delete(&mut self, kind: Kind, name: Name) {
        match kind {
            Kind::ConfigMap => {
                self.config_maps.insert(name, None);
            }
            Kind::EndpointSlice => {
                self.slices.insert(name, None);
            }
            Kind::Ingress => {
                self.ingresses.insert(name, IngressChange::Delete);
            }
            Kind::IngressClass => {
                self.classes.insert(name, None);
            }
            Kind::IngressClassConfig => {
                self.class_configs.insert(name, None);
            }
            Kind::Namespace => {
                self.namespaces.insert(name, None);
            }
            Kind::RoutePolicy => {
                self.policies.insert(name, None);
            }
            Kind::Secret => {
                self.secrets.insert(name, None);
            }
            Kind::Service => {
                self.services.insert(name, None);
            }
            Kind::WasmPlugin => {
                self.plugins.insert(name, None);
            }
            // Only Problems name files and nodes.
            Kind::File | Kind::Node => {}
        }
    }
}
