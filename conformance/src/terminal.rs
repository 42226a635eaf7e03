//! Messages for the person at the terminal. Results go to standard output, messages to standard error.

use std::io::Write as _;

/// Prints a line to standard output.
pub(crate) fn print_result(text: &str) {
    // A closed standard output has no reader.
    let _ = writeln!(std::io::stdout(), "{text}");
}

/// Prints a line to standard error.
pub(crate) fn print_message(text: &str) {
    // A closed standard error leaves nowhere to report the failure.
    let _ = writeln!(std::io::stderr(), "{text}");
}
