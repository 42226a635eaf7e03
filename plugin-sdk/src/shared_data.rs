//! Data that all instances of the plugin share: byte strings by key.
//!
//! The gateway runs a plugin in one instance per worker. Values live in the host until no instance is left. Each has a number
//! that changes with each write, so that a writer notices that another one was faster.
//!
//! ```no_run
//! use plugin_sdk::prelude::*;
//!
//! /// Counts requests over all instances.
//! fn count() -> Result<u64, Error> {
//!     let mut count = 0;
//!     shared_data::update("requests", |value| {
//!         let before = value.and_then(|value| value.first_chunk::<8>()).map_or(0, |bytes| u64::from_le_bytes(*bytes));
//!         count = before + 1;
//!         count.to_le_bytes().to_vec()
//!     })?;
//!     Ok(count)
//! }
//! ```

use crate::current_host::host;
use crate::host::HostError;
use crate::host::HostResult;
use crate::host::Status;
use crate::host::optional;

/// Attempts of [`update`]. Another one fails only if another instance wrote in between.
pub const MAX_ATTEMPTS: u32 = 16;

/// Version of a value.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Cas(u32);

impl Cas {
    /// The version of a value that does not exist. Hosts compare it with existing values only.
    pub const ABSENT: Self = Self(u32::MAX);
}

/// Returns a value with its version. Returns `None` if there is none.
///
/// # Errors
/// The host failed.
pub fn get(key: &str) -> HostResult<Option<(Vec<u8>, Cas)>> {
    let found = optional(host().shared_data(key))?;
    Ok(found.map(|(value, cas)| (value, Cas(cas))))
}

/// Writes a value, whatever is there.
///
/// # Errors
/// The host failed.
pub fn set(key: &str, value: impl AsRef<[u8]>) -> HostResult<()> {
    host().set_shared_data(key, value.as_ref(), 0)
}

/// Writes a value if the version is still that of [`get`]. Returns whether it did.
///
/// # Errors
/// The host failed.
pub fn compare_and_set(key: &str, value: impl AsRef<[u8]>, version: Cas) -> HostResult<bool> {
    match host().set_shared_data(key, value.as_ref(), version.0) {
        Ok(()) => Ok(true),
        Err(error) if error.status() == Status::CasMismatch => Ok(false),
        Err(error) => Err(error),
    }
}

/// Changes a value. The function receives the present value, and again each time that another instance was faster.
///
/// # Errors
/// The host failed, or other instances were faster [`MAX_ATTEMPTS`] times.
pub fn update(key: &str, mut change: impl FnMut(Option<&[u8]>) -> Vec<u8>) -> HostResult<()> {
    for _ in 0..MAX_ATTEMPTS {
        let found = get(key)?;
        let version = found.as_ref().map_or(Cas::ABSENT, |(_, version)| *version);
        let value = change(found.as_ref().map(|(value, _)| value.as_slice()));
        if compare_and_set(key, value, version)? {
            return Ok(());
        }
    }
    Err(HostError::new("set_shared_data", Status::CasMismatch))
}
