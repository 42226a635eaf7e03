//! Secrets: whether what Ingresses name is there and can hold a certificate.
//!
//! Not here: the bytes, and whether they are a certificate (`gateway::reload`).

use std::collections::BTreeMap;
use std::collections::BTreeSet;

use super::backend::User;
use super::ledger::Ledger;
use crate::object::Name;
use crate::object::Secret;
use crate::problem::Problem;
use crate::problem::Reason;

/// A field that names a Secret.
#[derive(Clone, Debug)]
pub(super) struct SecretUse {
    pub(super) user: User,
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
    users: BTreeSet<User>,
}

impl Secrets {
    pub(super) fn update(&mut self, changes: BTreeMap<Name, Option<Secret>>, ledger: &mut Ledger) {
        for (name, secret) in changes {
            let entry = self.entries.entry(name.clone()).or_default();
            if entry.known != secret {
                ledger.remove(entry.users.iter().filter_map(|user| entry.problem(&name, user)));
                entry.known = secret;
                ledger.add(entry.users.iter().filter_map(|user| entry.problem(&name, user)));
            }
            self.loose.insert(name);
        }
    }

    pub(super) fn claim(&mut self, from: &SecretUse, ledger: &mut Ledger) {
        let entry = self.entries.entry(from.secret.clone()).or_default();
        entry.users.insert(from.user.clone());
        ledger.add(entry.problem(&from.secret, &from.user));
    }

    pub(super) fn release(&mut self, from: &SecretUse, ledger: &mut Ledger) {
        let Some(entry) = self.entries.get_mut(&from.secret) else { return };
        ledger.remove(entry.problem(&from.secret, &from.user));
        entry.users.remove(&from.user);
        self.loose.insert(from.secret.clone());
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
    fn problem(&self, secret: &Name, user: &User) -> Option<Problem> {
        match &self.known {
            Some(known) if known.has_certificate => None,
            Some(_) => Some(
                user.problem(Reason::SecretMalformed, &format!("Secret {secret} lacks tls.crt or tls.key")),
            ),
            None => Some(user.problem(Reason::SecretNotFound, &format!("there is no Secret {secret}"))),
        }
    }
}
