//! The state of each plugin, for the admin pages, `gateway explain` and the metrics.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use routing::table::PluginName;
use serde::Serialize;
use tokio::sync::watch;

use crate::filter::plugin::{BreakerState, Breakers, PluginCounts, PluginStats};

/// How far the newest version of a plugin is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase", tag = "state", content = "reason")]
pub enum PluginState {
    /// The module is not there yet.
    Pending,
    /// The module is read.
    Fetched,
    /// The module is compiled.
    Compiled,
    /// An instance took the configuration.
    Configured,
    /// Instances are on all workers, and requests use them.
    Ready,
    /// It cannot run, with the reason. An earlier version may serve.
    Refused(String),
}

impl fmt::Display for PluginState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Pending => "pending",
            Self::Fetched => "fetched",
            Self::Compiled => "compiled",
            Self::Configured => "configured",
            Self::Ready => "ready",
            Self::Refused(reason) => return write!(f, "refused: {reason}"),
        })
    }
}

/// The entry of a plugin.
#[derive(Clone, Debug)]
struct BoardEntry {
    url: String,
    state: PluginState,
    serving: Option<String>,
    stats: Arc<PluginStats>,
    breakers: Arc<Breakers>,
}

/// The states of all plugins.
#[derive(Debug, Default)]
pub struct PluginBoard {
    entries: Mutex<BTreeMap<PluginName, BoardEntry>>,
    /// Counts the changes of states.
    changes: watch::Sender<u64>,
}

/// A plugin as the admin page shows it.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct PluginStatus {
    /// Namespace and name.
    pub name: String,
    /// Where the module is.
    pub url: String,
    /// State of the newest version.
    #[serde(flatten)]
    pub state: PluginState,
    /// SHA-256 of the module that serves, in hexadecimal digits.
    pub digest: Option<String>,
    /// `closed` or `open`.
    pub breaker: &'static str,
    /// Counts of all versions.
    #[serde(flatten)]
    pub counts: PluginCounts,
}

impl PluginStatus {
    /// Returns the short name of the version that serves.
    pub fn version(&self) -> Option<&str> {
        self.digest.as_deref()?.get(..12)
    }
}

impl fmt::Display for PluginStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let counts = &self.counts;
        writeln!(f, "{} {} {}", self.name, self.version().unwrap_or("-"), self.state)?;
        writeln!(f, "  from {}", self.url)?;
        writeln!(
            f,
            "  instances {} memory {} KiB breaker {}",
            counts.instances,
            counts.memory / 1024,
            self.breaker
        )?;
        writeln!(
            f,
            "  requests {} failed {} calls {} traps {} deadlines {} replies {} callouts {} failed {}",
            counts.streams,
            counts.failed_requests,
            counts.calls,
            counts.traps,
            counts.deadlines,
            counts.replies,
            counts.callouts,
            counts.callout_failures
        )
    }
}

impl PluginBoard {
    fn entries(&self) -> MutexGuard<'_, BTreeMap<PluginName, BoardEntry>> {
        self.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds a plugin, or replaces its place.
    pub(super) fn define(
        &self,
        name: &PluginName,
        url: String,
        stats: &Arc<PluginStats>,
        breakers: &Arc<Breakers>,
    ) {
        let (stats, breakers) = (Arc::clone(stats), Arc::clone(breakers));
        let mut entries = self.entries();
        let serving = entries.get(name).and_then(|entry| entry.serving.clone());
        entries
            .insert(name.clone(), BoardEntry { url, state: PluginState::Pending, serving, stats, breakers });
    }

    /// Sets the state of the newest version.
    pub fn set_state(&self, name: &PluginName, state: PluginState) {
        if let Some(entry) = self.entries().get_mut(name) {
            entry.state = state;
        }
        self.changes.send_modify(|count| *count = count.wrapping_add(1));
    }

    /// Returns a channel whose value changes with each state.
    pub fn changes(&self) -> watch::Receiver<u64> {
        self.changes.subscribe()
    }

    /// Sets the digest of the version that serves.
    pub(super) fn set_serving(&self, name: &PluginName, digest: String) {
        if let Some(entry) = self.entries().get_mut(name) {
            entry.serving = Some(digest);
        }
    }

    /// Drops a plugin.
    pub(super) fn remove(&self, name: &PluginName) {
        self.entries().remove(name);
    }

    /// Returns the status of a plugin.
    pub fn status(&self, name: &PluginName) -> Option<PluginStatus> {
        self.entries().get(name).map(|entry| entry.status(name))
    }

    /// Returns all plugins, sorted by name.
    pub fn statuses(&self) -> Vec<PluginStatus> {
        self.entries().iter().map(|(name, entry)| entry.status(name)).collect()
    }
}

impl BoardEntry {
    fn status(&self, name: &PluginName) -> PluginStatus {
        PluginStatus {
            name: name.to_string(),
            url: self.url.clone(),
            state: self.state.clone(),
            digest: self.serving.clone(),
            breaker: match self.breakers.requests.state() {
                BreakerState::Closed => "closed",
                BreakerState::Open => "open",
            },
            counts: self.stats.counts(),
        }
    }
}
