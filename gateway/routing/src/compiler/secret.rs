//! Secrets: whether what Ingresses name is there and can hold a certificate.
//!
//! Not here: the bytes, and whether they are a certificate (`gateway::reload`).

use std::collections::BTreeMap;
use std::collections::BTreeSet;

use super::ledger::Ledger;
use crate::object::Kind;
use crate::object::Name;
use crate::object::ObjectRef;
use crate::object::Secret;
use crate::problem::Problem;
use crate::problem::Reason;

/// A field of an Ingress that names a Secret.
#[derive(Clone, Debug)]
pub(super) struct SecretUse {
    pub(super) field: String,
    pub(super) secret: Name,
}

/// The known Secrets, and who names them.
#[derive(Debug, Default)]
pub(super) struct Secrets {
    entries: BTreeMap<Name, SecretEntry>,
    /// Entries that may have lost their last reason to exist.
    loose: BTreeSet<Name>,
}

#[derive(Debug, Default)]
struct SecretEntry {
    known: Option<Secret>,
    users: BTreeSet<(Name, String)>,
}

impl Secrets {
    pub(super) fn update(&mut self, changes: BTreeMap<Name, Option<Secret>>, ledger: &mut Ledger) {
        for (name, secret) in changes {
            let entry = self.entries.entry(name.clone()).or_default();
            if entry.known != secret {
                ledger.remove(
                    entry.users.iter().filter_map(|(owner, field)| entry.problem(&name, owner, field)),
                );
                entry.known = secret;
                ledger
                    .add(entry.users.iter().filter_map(|(owner, field)| entry.problem(&name, owner, field)));
            }
            self.loose.insert(name);
        }
    }

    pub(super) fn claim(&mut self, owner: &Name, user: &SecretUse, ledger: &mut Ledger) {
        let entry = self.entries.entry(user.secret.clone()).or_default();
        entry.users.insert((owner.clone(), user.field.clone()));
        ledger.add(entry.problem(&user.secret, owner, &user.field));
    }

    pub(super) fn release(&mut self, owner: &Name, user: &SecretUse, ledger: &mut Ledger) {
        let Some(entry) = self.entries.get_mut(&user.secret) else { return };
        ledger.remove(entry.problem(&user.secret, owner, &user.field));
        entry.users.remove(&(owner.clone(), user.field.clone()));
        self.loose.insert(user.secret.clone());
    }

    /// Forgets what neither exists nor is named.
    pub(super) fn sweep(&mut self) {
        for name in std::mem::take(&mut self.loose) {
            if self.entries.get(&name).is_some_and(|entry| entry.known.is_none() && entry.users.is_empty()) {
                self.entries.remove(&name);
            }
        }
    }
}

impl SecretEntry {
    fn problem(&self, secret: &Name, owner: &Name, field: &str) -> Option<Problem> {
        let (reason, message) = match &self.known {
            Some(known) if known.has_certificate => return None,
            Some(_) => (Reason::SecretMalformed, format!("Secret {secret} lacks tls.crt or tls.key")),
            None => (Reason::SecretNotFound, format!("there is no Secret {secret}")),
        };
        let object = ObjectRef { kind: Kind::Ingress, name: owner.clone() };
        Some(Problem { object, field: field.to_owned(), reason, message })
    }
}
