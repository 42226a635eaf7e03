//! Who names which Secrets, and whose names count: those of Ingresses whose class is ours, and of the parameters of
//! such classes. The keys of other controllers' Secrets are none of the gateway's business. Pure.
//!
//! Not here: reading Secrets, and what else a class means (`routing`).

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use routing::Config;
use routing::object::{IngressClass, Kind, Name, Object, ObjectRef};

/// All that is known of it.
pub(super) struct SecretRefs {
    routing: Config,
    /// The IngressClasses: whether each is ours, and the IngressClassConfig that it names.
    classes: BTreeMap<Arc<str>, KnownClass>,
    referrers: BTreeMap<ObjectRef, Referrer>,
}

#[derive(Default, PartialEq)]
struct KnownClass {
    is_ours: bool,
    config: Option<Arc<str>>,
}

/// Who names Secrets.
struct Referrer {
    owner: Owner,
    secrets: BTreeSet<Name>,
    /// Whether that counts.
    is_ours: bool,
}

/// What has to be ours for a Namer to count.
#[derive(PartialEq)]
enum Owner {
    /// The class of this name.
    Class(Arc<str>),
    /// A class with these parameters.
    Config(Arc<str>),
}

/// Names that begin and names that cease to count, each as often as it does.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct RefDelta {
    pub(super) added: Vec<Name>,
    pub(super) removed: Vec<Name>,
}

impl SecretRefs {
    /// Nobody names anything yet. `routing` tells which classes are ours.
    pub(super) fn new(routing: Config) -> Self {
        Self { routing, classes: BTreeMap::new(), referrers: BTreeMap::new() }
    }

    /// An object is there, in this form.
    pub(super) fn apply(&mut self, object: &Object) -> RefDelta {
        let (owner, secrets) = match object {
            Object::IngressClass(class) => {
                let known = KnownClass {
                    is_ours: self.routing.serves(&class.name.name, Some(&class.controller)),
                    config: config_of(class),
                };
                return self.set_class(class.name.name.clone(), Some(known));
            }
            Object::Ingress(ingress) => {
                let Some(class) = ingress.class_name() else {
                    return self.remove_referrer(&object.reference());
                };
                let named = ingress.tls.iter().filter_map(|tls| tls.secret.as_ref());
                let in_namespace = |secret: &Arc<str>| Name {
                    namespace: ingress.name.namespace.clone(),
                    name: secret.clone(),
                };
                (Owner::Class(class.clone()), named.map(in_namespace).collect())
            }
            Object::IngressClassConfig(config) => {
                let name = |secret: &api::ClassSecret| {
                    Name::new(secret.namespace.as_deref().unwrap_or(&self.routing.namespace), &secret.name)
                };
                let certificate = config.spec.default_certificate.iter();
                (Owner::Config(config.name.name.clone()), certificate.map(name).collect())
            }
            _ => return RefDelta::default(),
        };
        self.set(object.reference(), owner, secrets)
    }

    /// An object is gone.
    pub(super) fn remove(&mut self, referrer: &ObjectRef) -> RefDelta {
        if referrer.kind == Kind::IngressClass {
            return self.set_class(referrer.name.name.clone(), None);
        }
        self.remove_referrer(referrer)
    }

    /// The Secrets that an object names, if that counts.
    pub(super) fn refs_from(&self, referrer: &ObjectRef) -> impl Iterator<Item = &Name> {
        self.referrers
            .get(referrer)
            .filter(|referrer| referrer.is_ours)
            .into_iter()
            .flat_map(|referrer| &referrer.secrets)
    }

    fn set(&mut self, referrer: ObjectRef, owner: Owner, secrets: BTreeSet<Name>) -> RefDelta {
        let mut delta = self.remove_referrer(&referrer);
        if secrets.is_empty() {
            return delta;
        }
        let is_ours = self.is_ours(&owner);
        if is_ours {
            delta.added.extend(secrets.iter().cloned());
        }
        self.referrers.insert(referrer, Referrer { owner, secrets, is_ours });
        delta
    }

    fn remove_referrer(&mut self, referrer: &ObjectRef) -> RefDelta {
        let gone = self.referrers.remove(referrer).filter(|referrer| referrer.is_ours);
        RefDelta {
            added: Vec::new(),
            removed: gone.into_iter().flat_map(|referrer| referrer.secrets).collect(),
        }
    }

    fn set_class(&mut self, name: Arc<str>, class: Option<KnownClass>) -> RefDelta {
        if self.classes.get(&name) == class.as_ref() {
            return RefDelta::default();
        }
        match class {
            Some(class) => self.classes.insert(name, class),
            None => self.classes.remove(&name),
        };
        // Classes are few and change seldom.
        let mut delta = RefDelta::default();
        let mut referrers = std::mem::take(&mut self.referrers);
        for referrer in referrers.values_mut() {
            let is_ours = self.is_ours(&referrer.owner);
            if is_ours != referrer.is_ours {
                referrer.is_ours = is_ours;
                let side = if is_ours { &mut delta.added } else { &mut delta.removed };
                side.extend(referrer.secrets.iter().cloned());
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
