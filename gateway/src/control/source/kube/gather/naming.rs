//! Who names which Secrets, and whose names count: those of Ingresses whose class is ours, and of the parameters of
//! such classes. The keys of other controllers' Secrets are none of the gateway's business. Pure.
//!
//! Not here: reading Secrets, and what else a class means (`routing`).

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use routing::Config;
use routing::object::{IngressClass, Kind, Name, Object, ObjectRef};

/// All that is known of it.
pub(super) struct Naming {
    routing: Config,
    /// The IngressClasses: whether each is ours, and the IngressClassConfig that it names.
    classes: BTreeMap<Arc<str>, Class>,
    namers: BTreeMap<ObjectRef, Namer>,
}

#[derive(Default, PartialEq)]
struct Class {
    is_ours: bool,
    config: Option<Arc<str>>,
}

/// Who names Secrets.
struct Namer {
    whose: Whose,
    names: BTreeSet<Name>,
    /// Whether that counts.
    counts: bool,
}

/// What has to be ours for a Namer to count.
#[derive(PartialEq)]
enum Whose {
    /// The class of this name.
    Class(Arc<str>),
    /// A class with these parameters.
    Config(Arc<str>),
}

/// Names that begin and names that cease to count, each as often as it does.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Turnover {
    pub(super) more: Vec<Name>,
    pub(super) fewer: Vec<Name>,
}

impl Naming {
    /// Nobody names anything yet. `routing` tells which classes are ours.
    pub(super) fn new(routing: Config) -> Self {
        Self { routing, classes: BTreeMap::new(), namers: BTreeMap::new() }
    }

    /// An object is there, in this form.
    pub(super) fn apply(&mut self, object: &Object) -> Turnover {
        let (whose, names) = match object {
            Object::IngressClass(class) => {
                let known = Class {
                    is_ours: self.routing.serves(&class.name.name, Some(&class.controller)),
                    config: config_of(class),
                };
                return self.set_class(class.name.name.clone(), Some(known));
            }
            Object::Ingress(ingress) => {
                let Some(class) = ingress.class_name() else { return self.remove(&object.reference()) };
                let secrets = ingress.tls.iter().filter_map(|tls| tls.secret.as_ref());
                let in_namespace = |secret: &Arc<str>| Name {
                    namespace: ingress.name.namespace.clone(),
                    name: secret.clone(),
                };
                (Whose::Class(class.clone()), secrets.map(in_namespace).collect())
            }
            Object::IngressClassConfig(config) => {
                let name = |secret: &api::ClassSecret| {
                    Name::new(secret.namespace.as_deref().unwrap_or(&self.routing.namespace), &secret.name)
                };
                let certificate = config.spec.default_certificate.iter();
                (Whose::Config(config.name.name.clone()), certificate.map(name).collect())
            }
            _ => return Turnover::default(),
        };
        self.set(object.reference(), whose, names)
    }

    /// An object is gone.
    pub(super) fn delete(&mut self, of: &ObjectRef) -> Turnover {
        if of.kind == Kind::IngressClass {
            return self.set_class(of.name.name.clone(), None);
        }
        self.remove(of)
    }

    /// The Secrets that an object names, if that counts.
    pub(super) fn names_of(&self, of: &ObjectRef) -> impl Iterator<Item = &Name> {
        self.namers.get(of).filter(|namer| namer.counts).into_iter().flat_map(|namer| &namer.names)
    }

    fn set(&mut self, of: ObjectRef, whose: Whose, names: BTreeSet<Name>) -> Turnover {
        let mut turnover = self.remove(&of);
        if names.is_empty() {
            return turnover;
        }
        let counts = self.counts(&whose);
        if counts {
            turnover.more.extend(names.iter().cloned());
        }
        self.namers.insert(of, Namer { whose, names, counts });
        turnover
    }

    fn remove(&mut self, of: &ObjectRef) -> Turnover {
        let gone = self.namers.remove(of).filter(|namer| namer.counts);
        Turnover { more: Vec::new(), fewer: gone.into_iter().flat_map(|namer| namer.names).collect() }
    }

    fn set_class(&mut self, name: Arc<str>, class: Option<Class>) -> Turnover {
        if self.classes.get(&name) == class.as_ref() {
            return Turnover::default();
        }
        match class {
            Some(class) => self.classes.insert(name, class),
            None => self.classes.remove(&name),
        };
        // Classes are few and change seldom.
        let mut turnover = Turnover::default();
        let mut namers = std::mem::take(&mut self.namers);
        for namer in namers.values_mut() {
            let counts = self.counts(&namer.whose);
            if counts != namer.counts {
                namer.counts = counts;
                let side = if counts { &mut turnover.more } else { &mut turnover.fewer };
                side.extend(namer.names.iter().cloned());
            }
        }
        self.namers = namers;
        turnover
    }

    fn counts(&self, whose: &Whose) -> bool {
        match whose {
            Whose::Class(name) => {
                let known = self.classes.get(name).map(|class| class.is_ours);
                known.unwrap_or_else(|| self.routing.serves(name, None))
            }
            Whose::Config(name) => {
                self.classes.values().any(|class| class.is_ours && class.config.as_ref() == Some(name))
            }
        }
    }
}

fn config_of(class: &IngressClass) -> Option<Arc<str>> {
    class.parameters.as_ref().map(|parameters| parameters.name.clone())
}
