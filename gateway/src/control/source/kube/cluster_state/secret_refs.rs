//! Which Secrets our objects refer to. Pure.
//!
//! Only references of Ingresses whose class is ours count, and those of our classes' IngressClassConfigs. Keys of other
//! controllers' Secrets are never read. Not here: reading Secrets, and what else a class means (`routing`).

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use routing::Config;
use routing::object::{IngressClass, Kind, Name, Object, ObjectRef};

/// All references to Secrets, and the classes that decide which of them count.
pub(super) struct SecretRefs {
    routing: Config,
    classes: BTreeMap<Arc<str>, KnownClass>,
    referrers: BTreeMap<ObjectRef, Referrer>,
}

/// An IngressClass.
#[derive(PartialEq)]
struct KnownClass {
    is_ours: bool,
    /// The IngressClassConfig that its `parameters` name.
    config: Option<Arc<str>>,
}

/// An object that refers to Secrets.
struct Referrer {
    owner: Owner,
    secrets: BTreeSet<Name>,
    /// Whether its references count.
    is_ours: bool,
}

/// The class or config that decides whether a referrer is ours.
#[derive(PartialEq)]
enum Owner {
    /// The IngressClass of this name.
    Class(Arc<str>),
    /// Any IngressClass of ours with this IngressClassConfig.
    Config(Arc<str>),
}

/// A change of the counted references. A Secret appears once per reference.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct RefDelta {
    pub(super) added: Vec<Name>,
    pub(super) removed: Vec<Name>,
}

impl SecretRefs {
    /// Returns a set without references. `routing` decides which classes are ours.
    pub(super) fn new(routing: Config) -> Self {
        Self { routing, classes: BTreeMap::new(), referrers: BTreeMap::new() }
    }

    /// Records the present version of an object.
    pub(super) fn apply(&mut self, object: &Object) -> RefDelta {
        let reference = object.reference();
        match object {
            Object::IngressClass(class) => {
                let is_ours = self.routing.serves(&class.name.name, Some(&class.controller));
                let known = KnownClass { is_ours, config: config_of(class) };
                self.set_class(class.name.name.clone(), Some(known))
            }
            Object::Ingress(ingress) => {
                let Some(class) = ingress.class_name() else { return self.remove_referrer(&reference) };
                let in_namespace = |secret: &Arc<str>| Name {
                    namespace: ingress.name.namespace.clone(),
                    name: secret.clone(),
                };
                let secrets = ingress.tls.iter().filter_map(|tls| tls.secret.as_ref()).map(in_namespace);
                self.set_referrer(reference, Owner::Class(class.clone()), secrets.collect())
            }
            Object::IngressClassConfig(config) => {
                let name = |secret: &api::ClassSecret| {
                    Name::new(secret.namespace.as_deref().unwrap_or(&self.routing.namespace), &secret.name)
                };
                let secrets = config.spec.default_certificate.iter().map(name).collect();
                self.set_referrer(reference, Owner::Config(config.name.name.clone()), secrets)
            }
            Object::ConfigMap(_)
            | Object::EndpointSlice(_)
            | Object::Namespace(_)
            | Object::RoutePolicy(_)
            | Object::Secret(_)
            | Object::Service(_)
            | Object::WasmPlugin(_) => RefDelta::default(),
        }
    }

    /// Records that an object was deleted.
    pub(super) fn remove(&mut self, reference: &ObjectRef) -> RefDelta {
        if reference.kind == Kind::IngressClass {
            return self.set_class(reference.name.name.clone(), None);
        }
        self.remove_referrer(reference)
    }

    /// Returns the counted references of an object.
    pub(super) fn refs_from(&self, reference: &ObjectRef) -> impl Iterator<Item = &Name> {
        let referrer = self.referrers.get(reference).filter(|referrer| referrer.is_ours);
        referrer.into_iter().flat_map(|referrer| &referrer.secrets)
    }

    fn set_referrer(&mut self, reference: ObjectRef, owner: Owner, secrets: BTreeSet<Name>) -> RefDelta {
        let mut delta = self.remove_referrer(&reference);
        if secrets.is_empty() {
            return delta;
        }
        let is_ours = self.is_ours(&owner);
        if is_ours {
            delta.added.extend(secrets.iter().cloned());
        }
        self.referrers.insert(reference, Referrer { owner, secrets, is_ours });
        delta
    }

    fn remove_referrer(&mut self, reference: &ObjectRef) -> RefDelta {
        let previous = self.referrers.remove(reference).filter(|referrer| referrer.is_ours);
        let removed = previous.into_iter().flat_map(|referrer| referrer.secrets).collect();
        RefDelta { added: Vec::new(), removed }
    }

    fn set_class(&mut self, name: Arc<str>, class: Option<KnownClass>) -> RefDelta {
        if self.classes.get(&name) == class.as_ref() {
            return RefDelta::default();
        }
        match class {
            Some(class) => self.classes.insert(name, class),
            None => self.classes.remove(&name),
        };
        // A visit of all referrers is cheap enough: a cluster has few classes, and they change rarely.
        let mut delta = RefDelta::default();
        let mut referrers = std::mem::take(&mut self.referrers);
        for referrer in referrers.values_mut() {
            let is_ours = self.is_ours(&referrer.owner);
            if is_ours != referrer.is_ours {
                referrer.is_ours = is_ours;
                let changed = if is_ours { &mut delta.added } else { &mut delta.removed };
                changed.extend(referrer.secrets.iter().cloned());
            }
        }
        self.referrers = referrers;
        delta
    }

    fn is_ours(&self, owner: &Owner) -> bool {
        match owner {
            Owner::Class(name) => {
                let known = self.classes.get(name).map(|class| class.is_ours);
                known.unwrap_or_else(|| self.routing.serves(name, None))
            }
            Owner::Config(name) => {
                self.classes.values().any(|class| class.is_ours && class.config.as_ref() == Some(name))
            }
        }
    }
}

fn config_of(class: &IngressClass) -> Option<Arc<str>> {
    class.parameters.as_ref().map(|parameters| parameters.name.clone())
}
