//! The state of each plugin, for the admin pages, `gateway explain` and the metrics.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use routing::table::PluginName;
use serde::Serialize;

use crate::filter::plugin::{Breaker, BreakerState, PluginStats};

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
    /// Instances are on all workers.
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
    breaker: Arc<Breaker>,
}

/// The states of all plugins.
#[derive(Debug, Default)]
pub struct PluginBoard(Mutex<BTreeMap<PluginName, BoardEntry>>);

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
    /// Streams that the plugin has seen.
    pub streams: u64,
    /// Calls of the guest.
    pub calls: u64,
    /// Calls that ended an instance.
    pub traps: u64,
    /// Those at their deadline.
    pub deadlines: u64,
    /// Requests to which the failure strategy applied.
    pub failed_requests: u64,
    /// Replies of the guest.
    pub replies: u64,
    /// Callouts.
    pub callouts: u64,
    /// Callouts that failed.
    pub callout_failures: u64,
    /// Instances on workers.
    pub instances: u64,
    /// Bytes of their memories.
    pub memory: u64,
}

impl PluginStatus {
    /// Returns the short name of the version that serves.
    pub fn version(&self) -> Option<&str> {
        self.digest.as_deref()?.get(..12)
    }
}

impl fmt::Display for PluginStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{} {} {}", self.name, self.version().unwrap_or("-"), self.state)?;
        writeln!(f, "  from {}", self.url)?;
        writeln!(
            f,
            "  instances {} memory {} KiB breaker {}",
            self.instances,
            self.memory / 1024,
            self.breaker
        )?;
        writeln!(
            f,
            "  requests {} failed {} calls {} traps {} deadlines {} replies {} callouts {} failed {}",
            self.streams,
            self.failed_requests,
            self.calls,
            self.traps,
            self.deadlines,
            self.replies,
            self.callouts,
            self.callout_failures
        )
    }
}

impl PluginBoard {
    fn entries(&self) -> MutexGuard<'_, BTreeMap<PluginName, BoardEntry>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds a plugin, or replaces its place.
    pub(super) fn define(
        &self,
        name: &PluginName,
        url: String,
        stats: &Arc<PluginStats>,
        breaker: &Arc<Breaker>,
    ) {
        let (stats, breaker) = (Arc::clone(stats), Arc::clone(breaker));
        let mut entries = self.entries();
        let serving = entries.get(name).and_then(|entry| entry.serving.clone());
        entries
            .insert(name.clone(), BoardEntry { url, state: PluginState::Pending, serving, stats, breaker });
    }

    /// Sets the state of the newest version.
    pub(super) fn set_state(&self, name: &PluginName, state: PluginState) {
        if let Some(entry) = self.entries().get_mut(name) {
            entry.state = state;
        }
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
        let counts = self.stats.counts();
        PluginStatus {
            name: name.to_string(),
            url: self.url.clone(),
            state: self.state.clone(),
            digest: self.serving.clone(),
            breaker: match self.breaker.state() {
                BreakerState::Closed => "closed",
                BreakerState::Open => "open",
            },
            streams: counts.streams,
            calls: counts.calls,
            traps: counts.traps,
            deadlines: counts.deadlines,
            failed_requests: counts.failed_streams,
            replies: counts.replies,
            callouts: counts.callouts,
            callout_failures: counts.callout_failures,
            instances: counts.instances,
            memory: counts.memory,
        }
    }
}
