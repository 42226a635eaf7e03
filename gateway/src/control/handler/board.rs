//! The state of each handler, for the admin pages and the metrics.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde::Serialize;

use crate::observe::handler_metrics::HandlerSample;

/// How far the module of a handler is.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase", tag = "state", content = "reason")]
pub enum HandlerState {
    /// The module is not loaded yet.
    #[default]
    Pending,
    /// The newest module answers.
    Ready,
    /// The newest module cannot run, with the reason. An earlier one may answer.
    Refused(String),
}

impl fmt::Display for HandlerState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Pending => f.write_str("pending"),
            Self::Ready => f.write_str("ready"),
            Self::Refused(reason) => write!(f, "refused: {reason}"),
        }
    }
}

/// A handler as the admin page shows it.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct HandlerStatus {
    /// The IngressClass.
    pub class: String,
    /// Where the module is.
    pub url: String,
    /// State of the newest module.
    #[serde(flatten)]
    pub state: HandlerState,
    /// SHA-256 of the module that answers, in hexadecimal digits.
    pub digest: Option<String>,
    /// Calls since the start of the gateway.
    pub calls: u64,
    /// Calls that failed.
    pub failures: u64,
    /// Hosts whose input was the same as in the last call, so that no call was made.
    pub cached: u64,
    /// Time of all calls.
    #[serde(rename = "seconds", serialize_with = "seconds")]
    pub time: Duration,
    /// Maximum bytes of memory of a call.
    pub memory: usize,
}

fn seconds<S: serde::Serializer>(time: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_f64(time.as_secs_f64())
}

impl fmt::Display for HandlerStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let version = self.digest.as_deref().and_then(|digest| digest.get(..12)).unwrap_or("-");
        writeln!(f, "class {} {version} {}", self.class, self.state)?;
        writeln!(f, "  from {}", self.url)?;
        writeln!(
            f,
            "  calls {} failed {} cached {} time {:.3} s memory {} KiB",
            self.calls,
            self.failures,
            self.cached,
            self.time.as_secs_f64(),
            self.memory / 1024
        )
    }
}

/// The states of all handlers, by class.
#[derive(Debug, Default)]
pub struct HandlerBoard(Mutex<BTreeMap<String, HandlerStatus>>);

impl HandlerBoard {
    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, HandlerStatus>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Changes the entry of a class. Adds it if it does not exist.
    pub(super) fn update(&self, class: &str, change: impl FnOnce(&mut HandlerStatus)) {
        let mut entries = self.lock();
        let entry = entries
            .entry(class.to_owned())
            .or_insert_with(|| HandlerStatus { class: class.to_owned(), ..HandlerStatus::default() });
        change(entry);
    }

    /// Keeps the entries of these classes only.
    pub(super) fn retain(&self, is_kept: impl Fn(&str) -> bool) {
        self.lock().retain(|class, _| is_kept(class));
    }

    /// Returns the counts of all handlers for a scrape.
    pub fn samples(&self) -> Vec<HandlerSample> {
        let sample = |status: &HandlerStatus| HandlerSample {
            class: status.class.clone(),
            calls: status.calls,
            failures: status.failures,
            cached: status.cached,
            time: status.time,
            is_ready: status.state == HandlerState::Ready,
        };
        self.lock().values().map(sample).collect()
    }

    /// Returns all handlers, sorted by class.
    pub fn statuses(&self) -> Vec<HandlerStatus> {
        self.lock().values().cloned().collect()
    }
}
