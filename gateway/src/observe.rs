//! Counters, metrics and the access log. Each worker writes to its own memory; the metrics page and the thread of the
//! access log collect from there.

pub mod access_log;
pub mod control_metrics;
pub mod counters;
pub mod ejection_metrics;
mod encode;
pub mod handler_metrics;
pub mod histogram;
pub mod metrics;
pub mod plugin_metrics;
pub mod process_metrics;
mod request_metrics;
pub mod text_format;
