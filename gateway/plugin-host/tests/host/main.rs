//! The host as its caller and its guests see it. Guests are WebAssembly text; one binary, since each links the compiler.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "tests fail by panicking"
)]

mod buffers;
mod callouts;
mod faults;
mod lifecycle;
mod logs;
mod maps;
mod metrics;
mod modules;
mod pairs;
mod properties;
mod shared;
mod streams;
mod support;
mod system;
mod upstreams;
mod verdicts;
mod wasi;
