//! The Helm chart without a cluster: lint, golden renders, schema, generated README, rights and monitoring.
//!
//! `UPDATE_EXPECT=1 cargo test -p conformance --test chart` rewrites what is generated. Needs Go 1.26 or a cached helm. Not
//! here: installs of the chart (`tests/helm.rs`).

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "tests fail by panicking"
)]

mod monitoring;
mod readme;
mod renders;
mod rights;
mod schema;

#[path = "../support/helm.rs"]
mod helm;
#[path = "../../../gateway/tests/support/missing.rs"]
mod missing;

use std::fs;
use std::path::{Path, PathBuf};

/// Returns the root folder of the repository.
fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap()
}

/// Returns the folder of the chart.
fn chart() -> PathBuf {
    root().join("charts/gateway")
}

/// Reads a file of the chart.
fn read(path: &str) -> String {
    fs::read_to_string(chart().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// Compares a generated file of the chart with its text, or writes it with `UPDATE_EXPECT`.
fn expect(path: &str, text: &str) {
    let place = chart().join(path);
    if std::env::var_os("UPDATE_EXPECT").is_some() {
        fs::create_dir_all(place.parent().unwrap()).unwrap();
        fs::write(place, text).unwrap();
        return;
    }
    let found = fs::read_to_string(&place).unwrap_or_default();
    let first = found.lines().zip(text.lines()).find(|(found, new)| found != new);
    assert!(
        found == text,
        "charts/gateway/{path} is stale: UPDATE_EXPECT=1 cargo test -p conformance --test chart\nfirst difference: {first:?}"
    );
}
