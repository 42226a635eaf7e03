//! What is counted and what is logged of requests. Each worker counts in plain cells and writes into memory of its
//! own; the admin page and the access log's thread gather that.

pub mod access_log;
pub mod counters;
pub mod metrics;
