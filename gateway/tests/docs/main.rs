//! The documents against the code: generated tables, names that a document uses, and the commands of README.
//!
//! `UPDATE_EXPECT=1 cargo test -p gateway --test docs` rewrites the tables.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "tests fail by panicking"
)]

#[path = "../support/missing.rs"]
mod missing;

mod command;
mod enums;
mod markdown;
mod names;
mod pages;
mod readme;
mod schema;
mod tables;
