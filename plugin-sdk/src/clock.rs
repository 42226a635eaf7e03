//! The clock of the host.

use std::time::Duration;

use crate::current_host::host;
use crate::host::HostResult;

/// Returns the time since the Unix epoch. A test sets it.
///
/// ```no_run
/// use plugin_sdk::prelude::*;
///
/// fn is_expired(seconds: u64) -> Result<bool, Error> {
///     Ok(clock::now()?.as_secs() >= seconds)
/// }
/// ```
///
/// # Errors
/// The host failed.
pub fn now() -> HostResult<Duration> {
    host().current_time_nanoseconds().map(Duration::from_nanos)
}
