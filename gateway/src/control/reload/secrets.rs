//! Secrets: parses their certificates, checks the validity periods, and reports the results to the compiler.
//!
//! This is the only place that compares the dates of a certificate with a clock. The clock is an input. Not here: which
//! host needs which Secret, and the Problems (`routing`).

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use routing::object::{Change, Delta, FallbackCertificate, Name, Object, Secret, SecretContent, Validity};
use rustls::crypto::CryptoProvider;

use crate::control::certificates;
use crate::control::source::SecretChange;
use crate::live::certificates::{Certificate, Certificates};

/// All Secrets with a certificate and a key.
pub(super) struct SecretStore {
    provider: Arc<CryptoProvider>,
    certificates: Certificates,
    contents: BTreeMap<Name, SecretContent>,
    /// When the certificate of each Secret becomes valid or expires, in seconds since 1970.
    checks: BTreeSet<(i64, Name)>,
}

impl SecretStore {
    /// Creates an empty store with a generated default certificate.
    ///
    /// # Errors
    /// Returns an error if the default certificate cannot be generated.
    pub(super) fn new(provider: Arc<CryptoProvider>) -> anyhow::Result<Self> {
        let certificates = certificates::generate(&provider)?;
        Ok(Self { provider, certificates, contents: BTreeMap::new(), checks: BTreeSet::new() })
    }

    /// Removes all Secrets. The default certificate stays.
    pub(super) fn clear(&mut self) {
        let removed = std::mem::take(&mut self.contents).into_keys().map(|name| (name, None)).collect();
        self.certificates = self.certificates.with(removed);
        self.checks.clear();
    }

    /// Returns all usable certificates.
    pub(super) fn certificates(&self) -> &Certificates {
        &self.certificates
    }

    /// Parses the Secrets that changed, and writes their contents into `objects`. A Secret that became malformed keeps
    /// its last good certificate.
    pub(super) fn apply(&mut self, changes: Vec<SecretChange>, objects: &mut Delta, now: SystemTime) {
        let now = unix_seconds(now);
        let mut loaded = Vec::new();
        let mut changed = Vec::new();
        for SecretChange { name, pair } in changes {
            self.remove_checks(&name);
            self.contents.remove(&name);
            let Some(pair) = pair else {
                loaded.push((name, None));
                continue;
            };
            let content = match certificates::load(&pair, &self.provider) {
                Ok(mut certificate) => {
                    let content = self.check(&name, &certificate, now);
                    certificate.is_current = is_current(&content);
                    loaded.push((name.clone(), Some(certificate)));
                    content
                }
                Err(error) => {
                    let fallback = match self.certificates.get(&name) {
                        Some(_) => FallbackCertificate::LastGood,
                        None => FallbackCertificate::Default,
                    };
                    SecretContent::Malformed { fault: error.to_string().into(), fallback }
                }
            };
            self.contents.insert(name.clone(), content);
            changed.push(name);
        }
        if !loaded.is_empty() {
            self.certificates = self.certificates.with(loaded);
        }
        for change in objects.iter_mut() {
            if let Change::Apply(Object::Secret(Secret { name, content })) = change
                && *content == SecretContent::Unchecked
                && let Some(known) = self.contents.get(name)
            {
                content.clone_from(known);
            }
        }
        // A source reports no change of the object if only its bytes changed.
        objects.extend(changed.into_iter().filter_map(|name| self.change(name)));
    }

    /// Returns the Secrets whose certificate became valid or expired since the last check.
    pub(super) fn check_dates(&mut self, now: SystemTime) -> Delta {
        let now = unix_seconds(now);
        let mut delta = Delta::default();
        while self.checks.first().is_some_and(|(date, _)| *date <= now) {
            let Some((_, name)) = self.checks.pop_first() else { break };
            // A malformed Secret is a Problem already; the dates of its last good certificate are not checked.
            if !matches!(self.contents.get(&name), Some(SecretContent::Certificate { .. })) {
                continue;
            }
            let Some(mut certificate) = self.certificates.get(&name).cloned() else { continue };
            let content = self.check(&name, &certificate, now);
            certificate.is_current = is_current(&content);
            self.certificates = self.certificates.with(vec![(name.clone(), Some(certificate))]);
            self.contents.insert(name.clone(), content);
            delta.extend(self.change(name));
        }
        delta
    }

    /// Returns the end of validity of each usable certificate, in seconds since 1970.
    pub(super) fn expiries(&self) -> impl Iterator<Item = (&Name, i64)> {
        let expiry = |name| self.certificates.get(name).map(|certificate| (name, certificate.not_after));
        self.contents.keys().filter_map(expiry)
    }

    /// Returns when the next check is due.
    pub(super) fn next_check(&self) -> Option<SystemTime> {
        let (date, _) = self.checks.first()?;
        let date = u64::try_from(*date).unwrap_or_default();
        SystemTime::UNIX_EPOCH.checked_add(Duration::from_secs(date))
    }

    /// Returns the content of a Secret at `now`, and schedules the check at which it changes.
    fn check(&mut self, name: &Name, certificate: &Certificate, now: i64) -> SecretContent {
        let Certificate { not_before, not_after, .. } = *certificate;
        // The last second is part of the validity period (RFC 5280 §4.1.2.5).
        let (validity, next_check) = if now > not_after {
            (Validity::Expired { at: not_after }, None)
        } else if now < not_before {
            (Validity::NotYet { from: not_before }, Some(not_before))
        } else {
            (Validity::Valid, not_after.checked_add(1))
        };
        self.checks.extend(next_check.map(|date| (date, name.clone())));
        SecretContent::Certificate { hosts: Arc::clone(&certificate.hosts), validity }
    }

    fn remove_checks(&mut self, name: &Name) {
        if let Some(certificate) = self.certificates.get(name) {
            let dates = [Some(certificate.not_before), certificate.not_after.checked_add(1)];
            for date in dates.into_iter().flatten() {
                self.checks.remove(&(date, name.clone()));
            }
        }
    }

    fn change(&self, name: Name) -> Option<Change> {
        let content = self.contents.get(&name)?.clone();
        Some(Change::Apply(Object::Secret(Secret { name, content })))
    }
}

fn is_current(content: &SecretContent) -> bool {
    matches!(content, SecretContent::Certificate { validity: Validity::Valid, .. })
}

/// Returns the seconds since 1970, or 0 for earlier moments.
fn unix_seconds(moment: SystemTime) -> i64 {
    let since = moment.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_secs()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests;
