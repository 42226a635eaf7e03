//! Counters, metrics and the access log. Each worker writes to its own memory; the metrics page and the thread of the
//! access log collect from there.

pub mod access_log;
pub mod counters;
mod encode;
pub mod metrics;
pub mod plugin_metrics;
