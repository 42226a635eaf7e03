//! Reports to the API: the status of Ingresses, Events, and the conditions of our kinds.
//!
//! `reload` says what changed after it was published, and never waits for a report. Only the leader writes, at a limited
//! rate. Not here: leader election (`leader`), and what is compiled (`routing`).

mod addresses;
mod conditions;
mod desired;
mod events;
mod nodes;
mod rate;
mod requests;
mod state;
mod writer;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use routing::object::Name;
use tokio::sync::{mpsc, watch};

use crate::control::plugin::PluginContext;
use crate::control::reload::{Published, ReportProblems};
use crate::observe::metrics::ReportCounts;

pub use writer::run;

/// What is written, and under which name.
#[derive(Clone, Debug)]
pub struct ReportSettings {
    /// Addresses of the gateway. They take precedence over those of `service`.
    pub addresses: Vec<String>,
    /// The Service that exposes the gateway.
    pub service: Option<Name>,
    /// Unique name of this replica.
    pub instance: String,
    /// Field manager of conditions. All replicas of one gateway share it.
    pub manager: String,
}

/// What the task works with.
#[derive(Debug)]
pub struct ReportInputs {
    /// What changed.
    pub published: mpsc::UnboundedReceiver<Published>,
    /// The Problems of writing.
    pub problems: mpsc::Sender<ReportProblems>,
    /// Whether this replica is the leader.
    pub leader: watch::Receiver<bool>,
    /// The states of plugins.
    pub plugins: Arc<PluginContext>,
    /// The counts for the metrics.
    pub stats: Arc<ReportStats>,
}

/// Counts of reports.
#[derive(Debug, Default)]
pub struct ReportStats {
    /// Whether this replica is the leader.
    pub is_leader: AtomicBool,
    /// Statuses of Ingresses that were written.
    pub statuses: AtomicU64,
    /// Writes of Events.
    pub events: AtomicU64,
    /// Conditions of our kinds that were read and, if needed, written.
    pub conditions: AtomicU64,
    /// Requests that failed or were refused.
    pub failures: AtomicU64,
}

impl ReportStats {
    /// Copies the counts.
    pub fn counts(&self) -> ReportCounts {
        let load = |count: &AtomicU64| count.load(Ordering::Relaxed);
        ReportCounts {
            is_leader: self.is_leader.load(Ordering::Relaxed),
            statuses: load(&self.statuses),
            events: load(&self.events),
            conditions: load(&self.conditions),
            failures: load(&self.failures),
        }
    }
}
