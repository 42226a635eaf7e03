//! The referenced Secrets: which versions are known, and which Secrets must be read next. Pure.
//!
//! Not here: who refers to a Secret (`secret_refs`), and the reads (`secret_reader`).

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use routing::object::Name;

use super::secret_refs::RefDelta;
use crate::control::source::kube::secret_reader::ReadTiming;

/// All Secrets with at least one reference.
pub(super) struct SecretTracker {
    secrets: BTreeMap<Name, TrackedSecret>,
    /// The namespaces whose Secrets are watched; `None` for all. Other Secrets are polled.
    watched_namespaces: Option<BTreeSet<Arc<str>>>,
}

/// A Secret with at least one reference.
#[derive(Default)]
struct TrackedSecret {
    ref_count: usize,
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
        Self { secrets: BTreeMap::new(), watched_namespaces }
    }

    /// Counts added and removed references. Returns the Secrets without any remaining reference.
    pub(super) fn apply_delta(&mut self, RefDelta { added, removed }: RefDelta) -> Vec<Name> {
        for name in added {
            self.secrets.entry(name).or_default().ref_count += 1;
        }
        let mut orphans = Vec::new();
        for name in removed {
            let Some(secret) = self.secrets.get_mut(&name) else { continue };
            secret.ref_count -= 1;
            if secret.ref_count == 0 {
                self.secrets.remove(&name);
                orphans.push(name);
            }
        }
        orphans
    }

    /// Returns true if the Secret has a reference.
    pub(super) fn is_tracked(&self, name: &Name) -> bool {
        self.secrets.contains_key(name)
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
        let due = self.secrets.iter_mut().filter(|(_, secret)| secret.read_state == ReadState::Due);
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

    /// Handles a forbidden read, which is repeated. Returns true if the Secret is still tracked.
    pub(super) fn on_forbidden(&mut self, name: &Name) -> bool {
        let Some(secret) = self.secrets.get_mut(name) else { return false };
        (secret.read_state, secret.resolution) = (ReadState::Due, Resolution::Forbidden);
        true
    }

    /// Handles a completed read; `version` is `None` if the Secret is missing. Returns true if the result is new.
    ///
    /// It is not new if the Secret is no longer tracked, or if a poll returned the known version. Resource versions
    /// have no order that a client may rely on. If the watch reported another version meanwhile, the Secret is read
    /// again.
    pub(super) fn on_read(&mut self, name: &Name, version: Option<String>) -> bool {
        let Some(secret) = self.secrets.get_mut(name) else { return false };
        let ReadState::InFlight { is_superseded } = secret.read_state else {
            // The Secret lost all references and got new ones, so two reads were in flight. Their order is unknown.
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

    /// Returns true while a Secret waits for its first read or for the read of a new version.
    pub(super) fn has_pending_reads(&self) -> bool {
        let watched = self.watched_namespaces.as_ref();
        self.secrets.iter().any(|(name, secret)| {
            let counts = match secret.resolution {
                Resolution::Unresolved => true,
                Resolution::Resolved => is_watched(watched, name),
                Resolution::Forbidden => false,
            };
            counts && secret.read_state != ReadState::UpToDate
        })
    }
}

fn is_watched(namespaces: Option<&BTreeSet<Arc<str>>>, name: &Name) -> bool {
    namespaces.is_none_or(|namespaces| namespaces.contains(&name.namespace))
}
