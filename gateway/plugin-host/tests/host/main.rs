//! The host as its caller and its guests see it. Most guests are WebAssembly text; one binary, since each links the compiler.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "tests fail by panicking"
)]

mod buffers;
#[path = "../../guests/modules.rs"]
mod build;
mod callouts;
mod command;
mod faults;
mod guests;
mod lifecycle;
mod logs;
mod maps;
mod metrics;
#[path = "../../../tests/support/missing.rs"]
mod missing;
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
