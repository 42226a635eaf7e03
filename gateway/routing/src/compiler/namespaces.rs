//! Namespaces: which of them are being deleted.

use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::sync::Arc;

use super::precedence::Lifecycle;
use crate::object::Name;
use crate::object::Namespace;

/// The namespaces that are being deleted. All others are active, unknown ones included.
#[derive(Debug, Default)]
pub(super) struct Namespaces {
    terminating: BTreeSet<Arc<str>>,
}

impl Namespaces {
    /// Applies changes. Returns the namespaces whose lifecycle changed.
    pub(super) fn update(&mut self, changes: BTreeMap<Name, Option<Namespace>>) -> Vec<Arc<str>> {
        let mut changed = Vec::new();
        for (Name { name, .. }, namespace) in changes {
            let is_terminating = namespace.is_some_and(|namespace| namespace.terminating);
            let has_changed = match is_terminating {
                true => self.terminating.insert(name.clone()),
                false => self.terminating.remove(&name),
            };
            if has_changed {
                changed.push(name);
            }
        }
        changed
    }

    pub(super) fn lifecycle(&self, namespace: &str) -> Lifecycle {
        if self.terminating.contains(namespace) { Lifecycle::Terminating } else { Lifecycle::Active }
    }
}
