//! Counts of a plugin.

use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};

use serde::Serialize;

/// Counts of one plugin over all its versions, one part for each worker.
#[derive(Debug)]
pub struct PluginStats {
    workers: Box<[WorkerStats]>,
}

/// The counts of one worker, on cache lines of their own.
#[derive(Debug, Default)]
#[repr(align(128))]
pub(super) struct WorkerStats {
    pub(super) streams: AtomicU64,
    pub(super) calls: AtomicU64,
    pub(super) traps: AtomicU64,
    pub(super) deadlines: AtomicU64,
    pub(super) failed_streams: AtomicU64,
    pub(super) replies: AtomicU64,
    pub(super) callouts: AtomicU64,
    pub(super) callout_failures: AtomicU64,
    pub(super) instances: AtomicI64,
    pub(super) memory: AtomicI64,
}

/// The sums over all workers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct PluginCounts {
    /// Streams that the plugin has seen.
    pub streams: u64,
    /// Calls of the guest.
    pub calls: u64,
    /// Calls that ended an instance, those at their deadline included.
    pub traps: u64,
    /// Calls that were stopped at their deadline.
    pub deadlines: u64,
    /// Requests to which the failure strategy applied.
    pub failed_requests: u64,
    /// Replies of the guest.
    pub replies: u64,
    /// Callouts that began.
    pub callouts: u64,
    /// Callouts that failed.
    pub callout_failures: u64,
    /// Instances on workers.
    pub instances: u64,
    /// Bytes of their linear memories.
    pub memory: u64,
}

impl PluginStats {
    /// Creates counts of 0.
    pub fn new(workers: usize) -> Self {
        Self { workers: std::iter::repeat_with(WorkerStats::default).take(workers.max(1)).collect() }
    }

    /// Returns the sums over all workers.
    pub fn counts(&self) -> PluginCounts {
        let sum = |count: fn(&WorkerStats) -> &AtomicU64| {
            self.workers.iter().map(|worker| count(worker).load(Ordering::Relaxed)).sum()
        };
        let level = |count: fn(&WorkerStats) -> &AtomicI64| {
            let sum: i64 = self.workers.iter().map(|worker| count(worker).load(Ordering::Relaxed)).sum();
            u64::try_from(sum).unwrap_or(0)
        };
        PluginCounts {
            streams: sum(|worker| &worker.streams),
            calls: sum(|worker| &worker.calls),
            traps: sum(|worker| &worker.traps),
            deadlines: sum(|worker| &worker.deadlines),
            failed_requests: sum(|worker| &worker.failed_streams),
            replies: sum(|worker| &worker.replies),
            callouts: sum(|worker| &worker.callouts),
            callout_failures: sum(|worker| &worker.callout_failures),
            instances: level(|worker| &worker.instances),
            memory: level(|worker| &worker.memory),
        }
    }

    /// Returns the counts of a worker.
    pub(super) fn of_worker(&self, index: usize) -> Option<&WorkerStats> {
        self.workers.get(index).or(self.workers.first())
    }
}

/// Adds one. Only the worker's thread writes its counts, so this needs no locked instruction.
pub(super) fn increment(count: Option<&AtomicU64>) {
    if let Some(count) = count {
        count.store(count.load(Ordering::Relaxed).wrapping_add(1), Ordering::Relaxed);
    }
}
