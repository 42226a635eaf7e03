//! The gateway as a library: `main.rs` only reads the command line.
//!
//! The modules stand in the order of the flow: objects come in, become a table, the table becomes live, and
//! requests find their way by it. A module knows only what stands before it; the worker's context
//! (`exchange::Worker`) is what ties a request's way together. ARCHITECTURE.md has the picture.

pub mod source;

pub mod names;

pub mod certificates;
pub mod live;
pub mod reload;

pub mod telemetry;

pub mod settings;

pub mod wire;

pub mod upstream;

pub mod exchange;

pub mod listener;

pub mod explain;

pub mod wait;

pub mod admin;

pub mod config;

pub mod process;

pub mod check;

pub mod cli;
pub mod crd;
pub mod demo;
