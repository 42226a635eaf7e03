//! The Secrets that are to be read: which versions the watch told of, which were read, and what is to be read next. Pure.
//!
//! Not here: who names them (`naming`), and the reading itself (`secrets`).

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use routing::object::Name;

use super::naming::Turnover;
use crate::control::source::kube::secrets::When;

/// All Secrets that somebody names.
pub(super) struct Secrets {
    wanted: BTreeMap<Name, Wanted>,
    /// The namespaces whose Secrets a watch tells of; nothing: all.
    watched: Option<BTreeSet<Arc<str>>>,
}

/// A Secret that somebody names.
#[derive(Default)]
struct Wanted {
    users: usize,
    /// The version that the watch told of last.
    seen: Option<String>,
    /// The version that was read last.
    read: Option<String>,
    reading: Reading,
    /// Whether it was ever read, or found to be missing.
    is_known: bool,
    /// Whether the API server forbade the last read.
    was_refused: bool,
    /// Whether the watch told of a version while it was being read.
    was_overtaken: bool,
}

#[derive(Clone, Copy, Default, PartialEq, Eq)]
enum Reading {
    /// It is to be read.
    #[default]
    Due,
    /// It is being read.
    Now,
    /// It was read in the version that was seen.
    Done,
}

impl Secrets {
    /// Nobody names any. A watch tells of those in these namespaces; nothing: in all.
    pub(super) fn new(watched: Option<BTreeSet<Arc<str>>>) -> Self {
        Self { wanted: BTreeMap::new(), watched }
    }

    /// Takes in which names began and ceased to count. Gives the Secrets that nobody names any more.
    pub(super) fn turn(&mut self, Turnover { more, fewer }: Turnover) -> Vec<Name> {
        for name in more {
            self.wanted.entry(name).or_default().users += 1;
        }
        let mut orphans = Vec::new();
        for name in fewer {
            let Some(wanted) = self.wanted.get_mut(&name) else { continue };
            wanted.users -= 1;
            if wanted.users == 0 {
                self.wanted.remove(&name);
                orphans.push(name);
            }
        }
        orphans
    }

    /// Whether somebody names it.
    pub(super) fn is_wanted(&self, name: &Name) -> bool {
        self.wanted.contains_key(name)
    }

    /// The watch tells of a version.
    pub(super) fn see(&mut self, name: &Name, version: String) {
        let Some(wanted) = self.wanted.get_mut(name) else { return };
        if wanted.reading == Reading::Done && wanted.read.as_ref() != Some(&version) {
            wanted.reading = Reading::Due;
        }
        wanted.was_overtaken |= wanted.reading == Reading::Now;
        wanted.seen = Some(version);
    }

    /// The watch tells that it is gone. Says whether anybody names it.
    pub(super) fn lose(&mut self, name: &Name) -> bool {
        let Some(wanted) = self.wanted.get_mut(name) else { return false };
        (wanted.seen, wanted.read, wanted.is_known) = (None, None, true);
        if wanted.reading == Reading::Due {
            wanted.reading = Reading::Done;
        }
        // What is being read may be what it was before.
        wanted.was_overtaken |= wanted.reading == Reading::Now;
        true
    }

    /// What is to be read, and when: each is handed out once per version, and again after it was refused.
    pub(super) fn start_reading(&mut self) -> Vec<(Name, When)> {
        let due = self.wanted.iter_mut().filter(|(_, wanted)| wanted.reading == Reading::Due);
        let watched = &self.watched;
        due.map(|(name, wanted)| {
            wanted.reading = Reading::Now;
            let is_again = wanted.was_refused || (wanted.is_known && !is_watched(watched.as_ref(), name));
            (name.clone(), if is_again { When::Later } else { When::Now })
        })
        .collect()
    }

    /// It may not be read, and will be tried again. Says whether anybody still names it.
    pub(super) fn was_refused(&mut self, name: &Name) -> bool {
        let Some(wanted) = self.wanted.get_mut(name) else { return false };
        (wanted.reading, wanted.was_refused, wanted.was_overtaken) = (Reading::Due, true, false);
        true
    }

    /// It was read in this version, or is not there. Says whether that is news: somebody still names it, it is the
    /// read that was asked for last, and not what is known already.
    ///
    /// Versions have no order that may be relied on: what the watch told of meanwhile may be older or newer than
    /// what was read, so it is read once more.
    pub(super) fn was_read(&mut self, name: &Name, version: Option<String>) -> bool {
        let Some(wanted) = self.wanted.get_mut(name) else { return false };
        if wanted.reading != Reading::Now {
            // It was named, forgotten and named again, so that two reads ran. Which is newer cannot be told.
            if wanted.read != version {
                wanted.reading = Reading::Due;
            }
            return false;
        }
        let is_newest = !std::mem::take(&mut wanted.was_overtaken) || wanted.seen == version;
        // Where nothing tells of changes it is asked for again and again.
        let is_watched = is_watched(self.watched.as_ref(), name);
        let is_done = is_newest && is_watched;
        wanted.reading = if is_done { Reading::Done } else { Reading::Due };
        let was_known = wanted.is_known && !wanted.was_refused;
        (wanted.is_known, wanted.was_refused) = (true, false);
        let before = std::mem::replace(&mut wanted.read, version);
        !was_known || is_watched || before != wanted.read
    }

    /// Whether this one was never heard of, and will be soon.
    pub(super) fn is_awaited(&self, name: &Name) -> bool {
        // One that is refused keeps nobody waiting.
        self.wanted.get(name).is_some_and(|wanted| !wanted.is_known && !wanted.was_refused)
    }

    /// Whether any is being read for the first time, or in a new version.
    pub(super) fn is_reading(&self) -> bool {
        let watched = self.watched.as_ref();
        self.wanted.iter().any(|(name, wanted)| {
            wanted.reading != Reading::Done
                && !wanted.was_refused
                && (!wanted.is_known || is_watched(watched, name))
        })
    }
}

fn is_watched(watched: Option<&BTreeSet<Arc<str>>>, name: &Name) -> bool {
    watched.is_none_or(|watched| watched.contains(&name.namespace))
}
