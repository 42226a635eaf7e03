//! What is counted. Each worker counts in plain cells; the admin page gathers them when it is asked.

pub mod counters;
pub mod metrics;
