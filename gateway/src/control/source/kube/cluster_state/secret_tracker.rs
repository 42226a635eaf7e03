//! The Secrets that are to be read: which versions the watch told of, which were read, and what is to be read next. Pure.
//!
//! Not here: who names them (`naming`), and the reading itself (`secrets`).

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use routing::object::Name;

use super::secret_refs::RefDelta;
use crate::control::source::kube::secret_reader::ReadTiming;

/// All Secrets that somebody names.
pub(super) struct SecretTracker {
    secrets: BTreeMap<Name, TrackedSecret>,
    /// The namespaces whose Secrets a watch tells of; nothing: all.
    watched_namespaces: Option<BTreeSet<Arc<str>>>,
}

/// A Secret that somebody names.
#[derive(Default)]
struct TrackedSecret {
    ref_count: usize,
    /// The version that the watch told of last.
    watched_version: Option<String>,
    /// The version that was read last.
    read_version: Option<String>,
    state: ReadState,
    /// Whether it was ever read, or found to be missing.
    is_known: bool,
    /// Whether the API server forbade the last read.
    was_refused: bool,
    /// Whether the watch told of a version while it was being read.
    was_overtaken: bool,
}

#[derive(Clone, Copy, Default, PartialEq, Eq)]
enum ReadState {
    /// It is to be read.
    #[default]
    Due,
    /// It is being read.
    InFlight,
    /// It was read in the version that was seen.
    UpToDate,
}

impl SecretTracker {
    /// Nobody names any. A watch tells of those in these namespaces; nothing: in all.
    pub(super) fn new(watched_namespaces: Option<BTreeSet<Arc<str>>>) -> Self {
        Self { secrets: BTreeMap::new(), watched_namespaces }
    }

    /// Takes in which names began and ceased to count. Gives the Secrets that nobody names any more.
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

    /// Whether somebody names it.
    pub(super) fn is_tracked(&self, name: &Name) -> bool {
        self.secrets.contains_key(name)
    }

    /// The watch tells of a version.
    pub(super) fn on_version(&mut self, name: &Name, version: String) {
        let Some(secret) = self.secrets.get_mut(name) else { return };
        if secret.state == ReadState::UpToDate && secret.read_version.as_ref() != Some(&version) {
            secret.state = ReadState::Due;
        }
        secret.was_overtaken |= secret.state == ReadState::InFlight;
        secret.watched_version = Some(version);
    }

    /// The watch tells that it is gone. Says whether anybody names it.
    pub(super) fn on_deleted(&mut self, name: &Name) -> bool {
        let Some(secret) = self.secrets.get_mut(name) else { return false };
        (secret.watched_version, secret.read_version, secret.is_known) = (None, None, true);
        if secret.state == ReadState::Due {
            secret.state = ReadState::UpToDate;
        }
        // What is being read may be what it was before.
        secret.was_overtaken |= secret.state == ReadState::InFlight;
        true
    }

    /// What is to be read, and when: each is handed out once per version, and again after it was refused.
    pub(super) fn start_reading(&mut self) -> Vec<(Name, ReadTiming)> {
        let due = self.secrets.iter_mut().filter(|(_, secret)| secret.state == ReadState::Due);
        let watched = &self.watched_namespaces;
        due.map(|(name, secret)| {
            secret.state = ReadState::InFlight;
            let is_again = secret.was_refused || (secret.is_known && !is_watched(watched.as_ref(), name));
            (name.clone(), if is_again { ReadTiming::Delayed } else { ReadTiming::Immediate })
        })
        .collect()
    }

    /// It may not be read, and will be tried again. Says whether anybody still names it.
    pub(super) fn on_forbidden(&mut self, name: &Name) -> bool {
        let Some(secret) = self.secrets.get_mut(name) else { return false };
        (secret.state, secret.was_refused, secret.was_overtaken) = (ReadState::Due, true, false);
        true
    }

    /// It was read in this version, or is not there. Says whether that is news: somebody still names it, it is the
    /// read that was asked for last, and not what is known already.
    ///
    /// Versions have no order that may be relied on: what the watch told of meanwhile may be older or newer than
    /// what was read, so it is read once more.
    pub(super) fn on_read(&mut self, name: &Name, version: Option<String>) -> bool {
        let Some(secret) = self.secrets.get_mut(name) else { return false };
        if secret.state != ReadState::InFlight {
            // It was named, forgotten and named again, so that two reads ran. Which is newer cannot be told.
            if secret.read_version != version {
                secret.state = ReadState::Due;
            }
            return false;
        }
        let is_newest = !std::mem::take(&mut secret.was_overtaken) || secret.watched_version == version;
        // Where nothing tells of changes it is asked for again and again.
        let is_watched = is_watched(self.watched_namespaces.as_ref(), name);
        let is_done = is_newest && is_watched;
        secret.state = if is_done { ReadState::UpToDate } else { ReadState::Due };
        let was_known = secret.is_known && !secret.was_refused;
        (secret.is_known, secret.was_refused) = (true, false);
        let before = std::mem::replace(&mut secret.read_version, version);
        !was_known || is_watched || before != secret.read_version
    }

    /// Whether this one was never heard of, and will be soon.
    pub(super) fn is_unresolved(&self, name: &Name) -> bool {
        // One that is refused keeps nobody waiting.
        self.secrets.get(name).is_some_and(|secret| !secret.is_known && !secret.was_refused)
    }

    /// Whether any is being read for the first time, or in a new version.
    pub(super) fn has_pending_reads(&self) -> bool {
        let watched = self.watched_namespaces.as_ref();
        self.secrets.iter().any(|(name, secret)| {
            secret.state != ReadState::UpToDate
                && !secret.was_refused
                && (!secret.is_known || is_watched(watched, name))
        })
    }
}

fn is_watched(watched_namespaces: Option<&BTreeSet<Arc<str>>>, name: &Name) -> bool {
    watched_namespaces.is_none_or(|watched| watched.contains(&name.namespace))
}
