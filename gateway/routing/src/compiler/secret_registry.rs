//! Secrets: whether what objects name is there, holds a certificate, and holds the right one.
//!
//! Not here: the bytes, and what they come to (`gateway::reload`); which certificate a client gets (`table`).

use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::sync::Arc;

use k8s_openapi::jiff::Timestamp;

use super::backend_registry::Referrer;
use super::problem_delta::ProblemDeltaBuilder;
use crate::host::HostName;
use crate::object::FallbackCertificate;
use crate::object::Name;
use crate::object::Secret;
use crate::object::SecretContent;
use crate::object::Validity;
use crate::problem::Problem;
use crate::problem::Reason;
use crate::table::FieldPath;

/// Names of a certificate that a Problem lists; a certificate may have thousands.
const LISTED_HOSTS: usize = 3;

/// A field that names a Secret.
#[derive(Clone, Debug)]
pub(super) struct SecretReference {
    pub(super) user: Referrer,
    pub(super) secret: Name,
    /// The hosts that its certificate is wanted for, each with the field that says so.
    pub(super) hosts: Arc<[(HostName, FieldPath)]>,
}

/// The known Secrets, and who names them.
#[derive(Debug, Default)]
pub(super) struct SecretRegistry {
    entries: BTreeMap<Name, SecretEntry>,
    /// Entries that may have lost their last reason to exist.
    sweep_candidates: BTreeSet<Name>,
}

#[derive(Debug, Default)]
struct SecretEntry {
    known: Option<Secret>,
    users: BTreeMap<Referrer, Arc<[(HostName, FieldPath)]>>,
}

impl SecretRegistry {
    pub(super) fn update(
        &mut self,
        changes: BTreeMap<Name, Option<Secret>>,
        problem_delta: &mut ProblemDeltaBuilder,
    ) {
        for (name, secret) in changes {
            let entry = self.entries.entry(name.clone()).or_default();
            if entry.known != secret {
                problem_delta.remove(entry.problems(&name));
                entry.known = secret;
                problem_delta.add(entry.problems(&name));
            }
            self.sweep_candidates.insert(name);
        }
    }

    pub(super) fn acquire(&mut self, from: &SecretReference, problem_delta: &mut ProblemDeltaBuilder) {
        let entry = self.entries.entry(from.secret.clone()).or_default();
        entry.users.insert(from.user.clone(), Arc::clone(&from.hosts));
        problem_delta.add(entry.problems_for(&from.secret, (&from.user, &from.hosts)));
    }

    pub(super) fn release(&mut self, from: &SecretReference, problem_delta: &mut ProblemDeltaBuilder) {
        let Some(entry) = self.entries.get_mut(&from.secret) else { return };
        problem_delta.remove(entry.problems_for(&from.secret, (&from.user, &from.hosts)));
        entry.users.remove(&from.user);
        self.sweep_candidates.insert(from.secret.clone());
    }

    /// Forgets what neither exists nor is named.
    pub(super) fn sweep(&mut self) {
        for name in std::mem::take(&mut self.sweep_candidates) {
            if self.entries.get(&name).is_some_and(|entry| entry.known.is_none() && entry.users.is_empty()) {
                self.entries.remove(&name);
            }
        }
    }
}

impl SecretEntry {
    fn problems(&self, secret: &Name) -> Vec<Problem> {
        self.users.iter().flat_map(|(user, hosts)| self.problems_for(secret, (user, hosts))).collect()
    }

    /// What one user has to be told.
    fn problems_for(
        &self,
        secret: &Name,
        (user, wanted): (&Referrer, &[(HostName, FieldPath)]),
    ) -> Vec<Problem> {
        let Some(known) = &self.known else {
            return vec![user.problem(Reason::SecretNotFound, &format!("there is no Secret {secret}"))];
        };
        match &known.content {
            SecretContent::Missing => {
                let message = format!("Secret {secret} lacks tls.crt or tls.key");
                vec![user.problem(Reason::SecretMalformed, &message)]
            }
            SecretContent::Unchecked => Vec::new(),
            SecretContent::Malformed { fault, fallback } => {
                let fallback = match fallback {
                    FallbackCertificate::LastGood => "its last good certificate",
                    FallbackCertificate::Default => "the default certificate",
                };
                let message = format!("Secret {secret}: {fault}; {fallback} is served instead");
                vec![user.problem(Reason::SecretMalformed, &message)]
            }
            SecretContent::Certificate { hosts, validity } => {
                let date = date_problem(secret, user, *validity);
                let is_wrong =
                    |(host, _): &&(HostName, FieldPath)| !hosts.iter().any(|held| held.covers(host));
                let wrong = wanted.iter().filter(is_wrong);
                let wrong = wrong.map(|(host, field)| wrong_host(secret, hosts, (user, host, *field)));
                date.into_iter().chain(wrong).collect()
            }
        }
    }
}

fn date_problem(secret: &Name, user: &Referrer, validity: Validity) -> Option<Problem> {
    let (reason, message) = match validity {
        Validity::Valid => return None,
        Validity::Expired { at } => (
            Reason::CertificateExpired,
            format!("the certificate in Secret {secret} expired at {}", moment(at)),
        ),
        Validity::NotYet { from } => (
            Reason::CertificateNotYetValid,
            format!("the certificate in Secret {secret} is not valid before {}", moment(from)),
        ),
    };
    Some(user.problem(reason, &format!("{message}; it is served all the same")))
}

/// As RFC 3339 has it; certificates may hold dates that no calendar does.
fn moment(seconds: i64) -> String {
    match Timestamp::from_second(seconds) {
        Ok(time) => time.to_string(),
        Err(_) => format!("second {seconds} of the Unix epoch"),
    }
}

fn wrong_host(
    secret: &Name,
    held: &[HostName],
    (user, host, field): (&Referrer, &HostName, FieldPath),
) -> Problem {
    let mut message = format!("the certificate in Secret {secret} is ");
    // Clients have not looked at the common name for years, so it does not count here either.
    let mut listed = held.iter().take(LISTED_HOSTS).map(ToString::to_string);
    match listed.next() {
        None => message += "for no DNS name (subjectAltName)",
        Some(first) => {
            let _ = write!(message, "for {first}");
            listed.for_each(|name| message += &format!(", {name}"));
        }
    }
    if held.len() > LISTED_HOSTS {
        let _ = write!(message, " and {} more", held.len() - LISTED_HOSTS);
    }
    let _ = write!(message, ", not for {host}: the default certificate is served instead");
    Problem { field: field.to_string(), ..user.problem(Reason::CertificateWrongHost, &message) }
}
