//! Secrets: from their bytes to certificates, and to what the compiler may know of them.
//!
//! Purpose: the one place where a certificate's date meets a clock, which is an input. Not here: which host wants
//! which Secret, and telling of what is wrong (`routing`).

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use routing::object::{Change, Delta, FallbackCertificate, Name, Object, Secret, SecretContent, Validity};
use rustls::crypto::CryptoProvider;

use crate::control::certificates;
use crate::control::source::SecretChange;
use crate::live::certificates::{Certificate, Certificates};

/// All Secrets with both files of a certificate.
pub(super) struct Secrets {
    provider: Arc<CryptoProvider>,
    certificates: Certificates,
    contents: BTreeMap<Name, SecretContent>,
    /// When which Secret is to be judged anew, in seconds since 1970.
    dates: BTreeSet<(i64, Name)>,
}

impl Secrets {
    pub(super) fn new(provider: Arc<CryptoProvider>) -> anyhow::Result<Self> {
        let certificates = certificates::generate(&provider)?;
        Ok(Self { provider, certificates, contents: BTreeMap::new(), dates: BTreeSet::new() })
    }

    /// Forgets all Secrets; the default certificate stays the same.
    pub(super) fn forget(&mut self) {
        let gone = std::mem::take(&mut self.contents).into_keys().map(|name| (name, None)).collect();
        self.certificates = self.certificates.with(gone);
        self.dates.clear();
    }

    /// What can be served.
    pub(super) fn certificates(&self) -> &Certificates {
        &self.certificates
    }

    /// Reads the Secrets that changed, and writes into the objects what they hold. One that turned malformed keeps
    /// its last good certificate.
    pub(super) fn take(&mut self, changes: Vec<SecretChange>, objects: &mut Delta, now: SystemTime) {
        let now = seconds(now);
        let mut loaded = Vec::new();
        let mut read = Vec::new();
        for SecretChange { name, pair } in changes {
            self.forget_date(&name);
            self.contents.remove(&name);
            let Some(pair) = pair else {
                loaded.push((name, None));
                continue;
            };
            let content = match certificates::load(&pair, &self.provider) {
                Ok(certificate) => {
                    let content = self.judge(&name, &certificate, now);
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
            read.push(name);
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
        // New bytes alone are no change of the object to its source.
        objects.extend(read.into_iter().filter_map(|name| self.object(name)));
    }

    /// The Secrets whose certificates have another standing at this moment than when they were judged last.
    pub(super) fn pass(&mut self, now: SystemTime) -> Delta {
        let now = seconds(now);
        let mut delta = Delta::default();
        while self.dates.first().is_some_and(|(date, _)| *date <= now) {
            let Some((_, name)) = self.dates.pop_first() else { break };
            // A last good certificate goes on without being judged: that it is not replaced is told already.
            if !matches!(self.contents.get(&name), Some(SecretContent::Certificate { .. })) {
                continue;
            }
            let Some(certificate) = self.certificates.get(&name).cloned() else { continue };
            let content = self.judge(&name, &certificate, now);
            self.contents.insert(name.clone(), content);
            delta.extend(self.object(name));
        }
        delta
    }

    /// When to ask next.
    pub(super) fn due(&self) -> Option<SystemTime> {
        let (date, _) = self.dates.first()?;
        let date = u64::try_from(*date).unwrap_or_default();
        SystemTime::UNIX_EPOCH.checked_add(Duration::from_secs(date))
    }

    /// What a certificate is at a moment; notes when that changes.
    fn judge(&mut self, name: &Name, certificate: &Certificate, now: i64) -> SecretContent {
        let (first, last) = (certificate.not_before, certificate.not_after);
        // The last second is part of the validity period (RFC 5280 §4.1.2.5).
        let (validity, changes) = match now {
            _ if now > last => (Validity::Expired { at: last }, None),
            _ if now < first => (Validity::NotYet { from: first }, Some(first)),
            _ => (Validity::Valid, last.checked_add(1)),
        };
        self.dates.extend(changes.map(|date| (date, name.clone())));
        SecretContent::Certificate { hosts: Arc::clone(&certificate.hosts), validity }
    }

    fn forget_date(&mut self, name: &Name) {
        if let Some(certificate) = self.certificates.get(name) {
            for date in
                [Some(certificate.not_before), certificate.not_after.checked_add(1)].into_iter().flatten()
            {
                self.dates.remove(&(date, name.clone()));
            }
        }
    }

    fn object(&self, name: Name) -> Option<Change> {
        let content = self.contents.get(&name)?.clone();
        Some(Change::Apply(Object::Secret(Secret { name, content })))
    }
}

/// Seconds since 1970. A clock before that year is wrong, and so is whatever is judged by it.
fn seconds(moment: SystemTime) -> i64 {
    let since = moment.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_secs()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests;
