//! Secrets: whether a referenced Secret exists and holds a certificate for the right hosts.
//!
//! Not here: certificates and keys (`gateway::reload`), and the choice of a client's certificate (`table`).

use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::sync::Arc;

use k8s_openapi::jiff::Timestamp;

use super::problem_delta::ProblemDeltaBuilder;
use super::referrer::Referrer;
use super::translation::TlsHost;
use crate::host::HostName;
use crate::object::FallbackCertificate;
use crate::object::Name;
use crate::object::Secret;
use crate::object::SecretContent;
use crate::object::Validity;
use crate::problem::Problem;
use crate::problem::Reason;

/// Maximum number of a certificate's DNS names in a Problem. A certificate may have thousands.
const MAX_LISTED_HOSTS: usize = 3;

/// A reference to a Secret.
#[derive(Clone, Debug)]
pub(super) struct SecretReference {
    pub(super) referrer: Referrer,
    pub(super) secret: Name,
    /// The hosts that the certificate must cover.
    pub(super) hosts: Arc<[TlsHost]>,
}

/// The known Secrets, and the references to them.
#[derive(Debug, Default)]
pub(super) struct SecretRegistry {
    entries: BTreeMap<Name, SecretEntry>,
    /// Secrets that may have lost the last reason to have an entry.
    sweep_candidates: BTreeSet<Name>,
}

#[derive(Debug, Default)]
struct SecretEntry {
    known: Option<Secret>,
    referrers: BTreeMap<Referrer, Arc<[TlsHost]>>,
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

    pub(super) fn acquire(&mut self, reference: &SecretReference, problem_delta: &mut ProblemDeltaBuilder) {
        let entry = self.entries.entry(reference.secret.clone()).or_default();
        entry.referrers.insert(reference.referrer.clone(), Arc::clone(&reference.hosts));
        problem_delta.add(entry.problems_for(&reference.secret, &reference.referrer, &reference.hosts));
    }

    pub(super) fn release(&mut self, reference: &SecretReference, problem_delta: &mut ProblemDeltaBuilder) {
        let Some(entry) = self.entries.get_mut(&reference.secret) else { return };
        problem_delta.remove(entry.problems_for(&reference.secret, &reference.referrer, &reference.hosts));
        entry.referrers.remove(&reference.referrer);
        self.sweep_candidates.insert(reference.secret.clone());
    }

    /// Removes entries of Secrets that neither exist nor have a reference.
    pub(super) fn sweep(&mut self) {
        for name in std::mem::take(&mut self.sweep_candidates) {
            let is_unused = |entry: &SecretEntry| entry.known.is_none() && entry.referrers.is_empty();
            if self.entries.get(&name).is_some_and(is_unused) {
                self.entries.remove(&name);
            }
        }
    }
}

impl SecretEntry {
    fn problems(&self, secret: &Name) -> Vec<Problem> {
        let problems =
            |(referrer, hosts): (&Referrer, &Arc<[TlsHost]>)| self.problems_for(secret, referrer, hosts);
        self.referrers.iter().flat_map(problems).collect()
    }

    /// Returns the Problems of one referrer.
    fn problems_for(&self, secret: &Name, referrer: &Referrer, hosts: &[TlsHost]) -> Vec<Problem> {
        let Some(known) = &self.known else {
            let message = format!("Secret {secret} does not exist");
            return vec![referrer.problem(Reason::SecretNotFound, &message)];
        };
        match &known.content {
            SecretContent::Missing => {
                let message = format!("Secret {secret} lacks tls.crt or tls.key");
                vec![referrer.problem(Reason::SecretMalformed, &message)]
            }
            SecretContent::Unchecked => Vec::new(),
            SecretContent::Unread => {
                let message = format!(
                    "Secret {secret} was not read yet; until then another certificate is served in its place"
                );
                vec![referrer.problem(Reason::SecretNotRead, &message)]
            }
            SecretContent::Forbidden => {
                let message = format!(
                    "the gateway may not read Secret {secret}; grant it \"get\" of Secrets in the namespace"
                );
                vec![referrer.problem(Reason::NotPermitted, &message)]
            }
            SecretContent::Malformed { fault, fallback } => {
                let fallback = match fallback {
                    FallbackCertificate::LastGood => "its last good certificate",
                    FallbackCertificate::Default => "the default certificate",
                };
                let message = format!("Secret {secret}: {fault}; {fallback} is served instead");
                vec![referrer.problem(Reason::SecretMalformed, &message)]
            }
            SecretContent::Certificate { hosts: covered, validity } => {
                let date = date_problem(secret, referrer, *validity);
                let is_wrong = |wanted: &&TlsHost| !covered.iter().any(|name| name.covers(&wanted.host));
                let wrong = hosts.iter().filter(is_wrong);
                let wrong = wrong.map(|wanted| wrong_host(secret, covered, referrer, wanted));
                date.into_iter().chain(wrong).collect()
            }
        }
    }
}

fn date_problem(secret: &Name, referrer: &Referrer, validity: Validity) -> Option<Problem> {
    let (reason, message) = match validity {
        Validity::Valid => return None,
        Validity::Expired { at } => {
            let at = format_time(at);
            let message = format!(
                "the certificate in Secret {secret} expired at {at}; it serves only hosts without a valid one, renew it"
            );
            (Reason::CertificateExpired, message)
        }
        Validity::NotYet { from } => {
            let from = format_time(from);
            let message = format!(
                "the certificate in Secret {secret} is served although it is not valid before {from}"
            );
            (Reason::CertificateNotYetValid, message)
        }
    };
    Some(referrer.problem(reason, &message))
}

/// Formats a time as RFC 3339. A certificate may hold times that the calendar cannot express.
fn format_time(seconds: i64) -> String {
    match Timestamp::from_second(seconds) {
        Ok(time) => time.to_string(),
        Err(_) => format!("second {seconds} of the Unix epoch"),
    }
}

/// Names are those of subjectAltName: clients ignore the common name.
fn wrong_host(secret: &Name, covered: &[HostName], referrer: &Referrer, wanted: &TlsHost) -> Problem {
    let mut message = format!("the certificate in Secret {secret} ");
    let listed: Vec<_> = covered.iter().take(MAX_LISTED_HOSTS).map(ToString::to_string).collect();
    if listed.is_empty() {
        message += "covers no DNS name (subjectAltName)";
    } else {
        let _ = write!(message, "covers {}", listed.join(", "));
    }
    if covered.len() > MAX_LISTED_HOSTS {
        let _ = write!(message, " and {} more", covered.len() - MAX_LISTED_HOSTS);
    }
    let _ = write!(message, ", not {}; the default certificate is served instead", wanted.host);
    let problem = referrer.problem(Reason::CertificateWrongHost, &message);
    Problem { field: wanted.field.to_string(), ..problem }
}
