//! Namespaces: which of them are being deleted.

use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::sync::Arc;

use super::seniority::Presence;
use crate::object::Name;
use crate::object::Namespace;

/// The namespaces that are being deleted; all others, known or not, are live.
#[derive(Debug, Default)]
pub(super) struct Namespaces {
    leaving: BTreeSet<Arc<str>>,
}

impl Namespaces {
    /// Takes changes in and tells which namespaces turned live or leaving.
    pub(super) fn update(&mut self, changes: BTreeMap<Name, Option<Namespace>>) -> Vec<Arc<str>> {
        let mut changed = Vec::new();
        for (Name { name, .. }, namespace) in changes {
            let has_changed = match namespace {
                Some(Namespace { terminating: true, .. }) => self.leaving.insert(name.clone()),
                _ => self.leaving.remove(&name),
            };
            if has_changed {
                changed.push(name);
            }
        }
        changed
    }

    pub(super) fn presence(&self, namespace: &str) -> Presence {
        if self.leaving.contains(namespace) { Presence::Leaving } else { Presence::Live }
    }
}
