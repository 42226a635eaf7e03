//! Log lines of the plugin, in the log of the host.
//!
//! ```
//! use plugin_sdk::prelude::*;
//!
//! let user = "ann";
//! log::info!("{user} logged in");
//! ```

use std::fmt;

pub use crate::__critical as critical;
pub use crate::__debug as debug;
pub use crate::__error as error;
pub use crate::__info as info;
pub use crate::__trace as trace;
pub use crate::__warn as warn;
use crate::current_host::host;
pub use crate::host::Level;

/// Returns whether the host logs lines of a level now.
pub fn is_enabled(level: Level) -> bool {
    host().log_level().map_or(true, |enabled| level >= enabled)
}

/// Writes a line. The macros of this module call it if the level is enabled.
pub fn write(level: Level, message: fmt::Arguments<'_>) {
    // A line that the host refuses is lost: there is no other place for it.
    let _ = match message.as_str() {
        Some(message) => host().log(level, message),
        None => host().log(level, &message.to_string()),
    };
}

/// Writes a line at any level, if the level is enabled.
#[doc(hidden)]
#[macro_export]
macro_rules! __log {
    ($level:ident, $($message:tt)+) => {
        if $crate::log::is_enabled($crate::log::Level::$level) {
            $crate::log::write($crate::log::Level::$level, ::core::format_args!($($message)+));
        }
    };
}

/// Logs every step.
#[doc(hidden)]
#[macro_export]
macro_rules! __trace {
    ($($message:tt)+) => { $crate::__log!(Trace, $($message)+) };
}

/// Logs for debugging.
#[doc(hidden)]
#[macro_export]
macro_rules! __debug {
    ($($message:tt)+) => { $crate::__log!(Debug, $($message)+) };
}

/// Logs normal events.
#[doc(hidden)]
#[macro_export]
macro_rules! __info {
    ($($message:tt)+) => { $crate::__log!(Info, $($message)+) };
}

/// Logs something unexpected that has no effect on the stream.
#[doc(hidden)]
#[macro_export]
macro_rules! __warn {
    ($($message:tt)+) => { $crate::__log!(Warn, $($message)+) };
}

/// Logs a failure.
#[doc(hidden)]
#[macro_export]
macro_rules! __error {
    ($($message:tt)+) => { $crate::__log!(Error, $($message)+) };
}

/// Logs a failure of the whole plugin.
#[doc(hidden)]
#[macro_export]
macro_rules! __critical {
    ($($message:tt)+) => { $crate::__log!(Critical, $($message)+) };
}
