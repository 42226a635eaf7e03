//! The referenced Secrets: which versions are known, and which Secrets must be read next. Pure.
//!
//! Not here: who refers to a Secret (`secret_refs`), and the reads (`secret_reader`).

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use routing::object::Name;
use tokio::time::Instant;

use super::secret_refs::RefDelta;
use crate::control::source::kube::secret_reader::ReadTiming;

/// How long a Secret without references keeps its content. A host that moves to another Ingress, or an Ingress that is
/// created again, then has its certificate at once.
pub(super) const ORPHAN_TTL: Duration = Duration::from_secs(60);

/// All Secrets with at least one reference, and those that lost the last one a short time ago.
pub(super) struct SecretTracker {
    secrets: BTreeMap<Name, TrackedSecret>,
    /// When each Secret without references loses its content.
    orphans: BTreeSet<(Instant, Name)>,
    /// Secrets that were never read, and that no update has named yet.
    unannounced: BTreeSet<Name>,
    /// The namespaces whose Secrets are watched; `None` for all. Other Secrets are polled.
    watched_namespaces: Option<BTreeSet<Arc<str>>>,
}

#[derive(Default)]
struct TrackedSecret {
    ref_count: usize,
    /// When its content is removed, if it has no references.
    orphaned_until: Option<Instant>,
    /// The version that the watch reported last.
    watched_version: Option<String>,
    /// The version that was read last.
    read_version: Option<String>,
    read_state: ReadState,
    resolution: Resolution,
}

#[derive(Clone, Copy, Default, PartialEq, Eq)]
enum ReadState {
    /// A read must start.
    #[default]
    Due,
    /// A read is in flight.
    InFlight {
        /// Whether the watch reported a change since the read started.
        is_superseded: bool,
    },
    /// The watched version was read.
    UpToDate,
}

/// The latest knowledge about a Secret.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
enum Resolution {
    /// No read has completed.
    #[default]
    Unresolved,
    /// It was read, or is known to be missing.
    Resolved,
    /// The API server forbade the last read.
    Forbidden,
}

/// How many Secrets still wait for their first read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct UnresolvedSecrets {
    pub(super) unresolved: usize,
    pub(super) all: usize,
}

impl TrackedSecret {
    /// Marks a read in flight as superseded: its result may predate a change.
    fn supersede_read(&mut self) {
        if let ReadState::InFlight { is_superseded } = &mut self.read_state {
            *is_superseded = true;
        }
    }
}

impl SecretTracker {
    /// Returns a tracker without Secrets. A watch covers `watched_namespaces`; `None` means all.
    pub(super) fn new(watched_namespaces: Option<BTreeSet<Arc<str>>>) -> Self {
        Self {
            secrets: BTreeMap::new(),
            orphans: BTreeSet::new(),
            unannounced: BTreeSet::new(),
            watched_namespaces,
        }
    }

    /// Counts added and removed references. Returns the Secrets that have no reference any more.
    pub(super) fn apply_delta(&mut self, RefDelta { added, removed }: RefDelta, now: Instant) -> Vec<Name> {
        for name in added {
            let secret = self.secrets.entry(name.clone()).or_default();
            secret.ref_count += 1;
            if let Some(until) = secret.orphaned_until.take() {
                self.orphans.remove(&(until, name.clone()));
            }
            if secret.ref_count == 1 && secret.resolution == Resolution::Unresolved {
                self.unannounced.insert(name);
            }
        }
        let mut orphans = Vec::new();
        for name in removed {
            let Some(secret) = self.secrets.get_mut(&name) else { continue };
            secret.ref_count -= 1;
            if secret.ref_count == 0 {
                let until = now + ORPHAN_TTL;
                secret.orphaned_until = Some(until);
                self.orphans.insert((until, name.clone()));
                self.unannounced.remove(&name);
                orphans.push(name);
            }
        }
        orphans
    }

    /// Removes the Secrets that had no reference for [`ORPHAN_TTL`], and returns them.
    pub(super) fn expire_orphans(&mut self, now: Instant) -> Vec<Name> {
        let mut expired = Vec::new();
        while self.orphans.first().is_some_and(|(until, _)| *until <= now) {
            let Some((_, name)) = self.orphans.pop_first() else { break };
            self.secrets.remove(&name);
            expired.push(name);
        }
        expired
    }

    /// Returns when the next orphan expires.
    pub(super) fn next_expiry(&self) -> Option<Instant> {
        self.orphans.first().map(|(until, _)| *until)
    }

    /// Returns the Secrets that were never read and that no earlier call returned.
    pub(super) fn take_unannounced(&mut self) -> BTreeSet<Name> {
        std::mem::take(&mut self.unannounced)
    }

    /// Handles a version that the watch reports.
    pub(super) fn on_version(&mut self, name: &Name, version: String) {
        let Some(secret) = self.secrets.get_mut(name) else { return };
        if secret.read_state == ReadState::UpToDate && secret.read_version.as_ref() != Some(&version) {
            secret.read_state = ReadState::Due;
        }
        secret.supersede_read();
        secret.watched_version = Some(version);
    }

    /// Handles a deletion that the watch reports. Returns true if the Secret is tracked.
    pub(super) fn on_deleted(&mut self, name: &Name) -> bool {
        let Some(secret) = self.secrets.get_mut(name) else { return false };
        (secret.watched_version, secret.read_version) = (None, None);
        self.unannounced.remove(name);
        if secret.resolution == Resolution::Unresolved {
            secret.resolution = Resolution::Resolved;
        }
        if secret.read_state == ReadState::Due {
            secret.read_state = ReadState::UpToDate;
        }
        // The read in flight may return the state before the deletion.
        secret.supersede_read();
        true
    }

    /// Returns the Secrets that must be read, and marks them as in flight.
    ///
    /// Each is returned once per version, and again with a delay while it is forbidden or not watched.
    pub(super) fn start_reads(&mut self) -> Vec<(Name, ReadTiming)> {
        let watched = self.watched_namespaces.as_ref();
        // An orphan is read once it has a reference again.
        let is_due = |secret: &TrackedSecret| secret.ref_count > 0 && secret.read_state == ReadState::Due;
        let due = self.secrets.iter_mut().filter(|(_, secret)| is_due(secret));
        due.map(|(name, secret)| {
            secret.read_state = ReadState::InFlight { is_superseded: false };
            let is_repeated = match secret.resolution {
                Resolution::Unresolved => false,
                Resolution::Resolved => !is_watched(watched, name),
                Resolution::Forbidden => true,
            };
            (name.clone(), if is_repeated { ReadTiming::Delayed } else { ReadTiming::Immediate })
        })
        .collect()
    }

    /// Handles a forbidden read, which is repeated. Returns false if the Secret has no reference.
    pub(super) fn on_forbidden(&mut self, name: &Name) -> bool {
        let Some(secret) = self.secrets.get_mut(name) else { return false };
        (secret.read_state, secret.resolution) = (ReadState::Due, Resolution::Forbidden);
        self.unannounced.remove(name);
        secret.ref_count > 0
    }

    /// Returns true if a read returned the Secret, and no later one reported that it is gone.
    pub(super) fn has_content(&self, name: &Name) -> bool {
        self.secrets.get(name).is_some_and(|secret| secret.read_version.is_some())
    }

    /// Handles a completed read; `version` is `None` if the Secret is missing. Returns true if the result is new.
    ///
    /// It is not new if the Secret is no longer tracked, or if a poll returned the known version. Resource versions
    /// have no order that a client may rely on. If the watch reported another version meanwhile, the Secret is read
    /// again.
    pub(super) fn on_read(&mut self, name: &Name, version: Option<String>) -> bool {
        let Some(secret) = self.secrets.get_mut(name) else { return false };
        self.unannounced.remove(name);
        let ReadState::InFlight { is_superseded } = secret.read_state else {
            // The Secret expired as an orphan and got a new reference, so two reads were in flight. Their order is unknown.
            if secret.read_version != version {
                secret.read_state = ReadState::Due;
            }
            return false;
        };
        let is_newest = !is_superseded || secret.watched_version == version;
        // A Secret that is not watched is polled.
        let is_watched = is_watched(self.watched_namespaces.as_ref(), name);
        secret.read_state = if is_newest && is_watched { ReadState::UpToDate } else { ReadState::Due };
        let previous_resolution = std::mem::replace(&mut secret.resolution, Resolution::Resolved);
        let previous_version = std::mem::replace(&mut secret.read_version, version);
        let was_resolved = previous_resolution == Resolution::Resolved;
        !was_resolved || is_watched || previous_version != secret.read_version
    }

    /// Returns true if the first read of a tracked Secret has not completed. A forbidden Secret counts as resolved, so
    /// that no Ingress waits for it.
    pub(super) fn is_unresolved(&self, name: &Name) -> bool {
        self.secrets.get(name).is_some_and(|secret| secret.resolution == Resolution::Unresolved)
    }

    /// Counts the Secrets that were neither read nor refused, and all Secrets with a reference.
    pub(super) fn count_unresolved(&self) -> UnresolvedSecrets {
        let mut count = UnresolvedSecrets::default();
        for secret in self.secrets.values().filter(|secret| secret.ref_count > 0) {
            count.all += 1;
            count.unresolved += usize::from(secret.resolution == Resolution::Unresolved);
        }
        count
    }
}

fn is_watched(namespaces: Option<&BTreeSet<Arc<str>>>, name: &Name) -> bool {
    namespaces.is_none_or(|namespaces| namespaces.contains(&name.namespace))
}
