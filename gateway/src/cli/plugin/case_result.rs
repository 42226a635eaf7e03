//! The line of `gateway plugin test` about one case.

use std::time::Duration;

use crate::cli::output::print;
use crate::cli::style::{Palette, paint};

/// Prints the result of a case. The reason of a failure ends with a line break.
///
/// # Errors
/// Standard output cannot be written.
pub(super) fn print_result(
    palette: &Palette,
    name: &str,
    duration: Duration,
    failure: Option<&str>,
) -> anyhow::Result<()> {
    let result = if failure.is_none() { paint(palette.good, "ok") } else { paint(palette.bad, "failed") };
    print(&format!("{name}: {result} ({} ms)\n{}", duration.as_millis(), failure.unwrap_or_default()))
}
