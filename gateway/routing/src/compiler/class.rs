//! IngressClasses: which Ingresses are ours.
//!
//! Not here: the default class. Whoever admits objects writes it into them (the API server, or the file source).

use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::sync::Arc;

use crate::object::Ingress;
use crate::object::IngressClass;
use crate::object::Kind;
use crate::object::Name;
use crate::object::ObjectRef;
use crate::problem::Problem;
use crate::problem::Reason;

/// Whether we serve an Ingress.
#[derive(Debug)]
pub(super) enum Admission {
    /// Somebody else's, or nobody's.
    NotOurs,
    /// Ours.
    Ours,
    /// Nobody's by mistake: its class does not exist.
    Refused(Box<Problem>),
}

/// The known classes, and who names them.
#[derive(Debug)]
pub(super) struct Classes {
    controller: Arc<str>,
    controllers: BTreeMap<Arc<str>, Arc<str>>,
    users: BTreeMap<Arc<str>, BTreeSet<Name>>,
}

impl Classes {
    pub(super) fn new(controller: Arc<str>) -> Self {
        Self { controller, controllers: BTreeMap::new(), users: BTreeMap::new() }
    }

    /// Takes changes in and tells the names of the classes that mean something else now.
    pub(super) fn update(&mut self, changes: BTreeMap<Name, Option<IngressClass>>) -> Vec<Arc<str>> {
        let mut changed = Vec::new();
        for (Name { name, .. }, class) in changes {
            let before = self.controllers.get(&name).cloned();
            let after = class.map(|class| class.controller);
            if before == after {
                continue;
            }
            match after {
                Some(controller) => self.controllers.insert(name.clone(), controller),
                None => self.controllers.remove(&name),
            };
            changed.push(name);
        }
        changed
    }

    /// The Ingresses that name a class.
    pub(super) fn users(&self, class: &str) -> Vec<Name> {
        self.users.get(class).into_iter().flatten().cloned().collect()
    }

    pub(super) fn join(&mut self, ingress: &Ingress) {
        if let Some(class) = &ingress.class {
            self.users.entry(class.clone()).or_default().insert(ingress.name.clone());
        }
    }

    pub(super) fn leave(&mut self, ingress: &Ingress) {
        let Some(class) = &ingress.class else { return };
        let Some(users) = self.users.get_mut(class) else { return };
        users.remove(&ingress.name);
        if users.is_empty() {
            self.users.remove(class);
        }
    }

    pub(super) fn admission(&self, ingress: &Ingress) -> Admission {
        let Some(class) = &ingress.class else { return Admission::NotOurs };
        match self.controllers.get(class) {
            Some(controller) if *controller == self.controller => Admission::Ours,
            Some(_) => Admission::NotOurs,
            None => Admission::Refused(Box::new(Problem {
                object: ObjectRef { kind: Kind::Ingress, name: ingress.name.clone() },
                field: "spec.ingressClassName".to_owned(),
                reason: Reason::ClassNotFound,
                message: format!(
                    "there is no IngressClass {}, so no controller serves this",
                    class.escape_debug()
                ),
            })),
        }
    }
}
