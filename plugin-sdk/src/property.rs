//! Properties: what the host knows of the request, the connection and the route.
//!
//! A path has one or more segments. `None`: the host does not know the property, or it has no value now.
//!
//! ```no_run
//! use plugin_sdk::prelude::*;
//!
//! # fn example() -> Result<(), Error> {
//! let route = property::string(["route_name"])?;
//! let client = property::string(["source", "address"])?;
//! let bytes = property::integer(["request", "size"])?;
//! property::set(["my_plugin", "user"], "ann")?;
//! # Ok(())
//! # }
//! ```

use crate::current_host::host;
use crate::headers::into_text;
use crate::host::HostError;
use crate::host::HostResult;
use crate::host::Status;
use crate::host::optional;

/// Returns a property as it is.
///
/// # Errors
/// The host failed.
pub fn bytes<'a>(path: impl IntoIterator<Item = &'a str>) -> HostResult<Option<Vec<u8>>> {
    optional(host().property(&joined(path)))
}

/// Returns a property as text. Bytes that are not UTF-8 become U+FFFD.
///
/// # Errors
/// The host failed.
pub fn string<'a>(path: impl IntoIterator<Item = &'a str>) -> HostResult<Option<String>> {
    Ok(bytes(path)?.map(into_text))
}

/// Returns a property that is a number, a duration or a time. Durations and times are nanoseconds.
///
/// # Errors
/// The host failed, or the property is of another type.
pub fn integer<'a>(path: impl IntoIterator<Item = &'a str>) -> HostResult<Option<i64>> {
    typed(bytes(path)?, |value| Some(i64::from_le_bytes(*value.first_chunk::<8>()?)), 8)
}

/// Returns a property that is true or false.
///
/// # Errors
/// The host failed, or the property is of another type.
pub fn boolean<'a>(path: impl IntoIterator<Item = &'a str>) -> HostResult<Option<bool>> {
    typed(bytes(path)?, |value| value.first().map(|byte| *byte != 0), 1)
}

/// Sets a property of the stream, which plugins behind this one can read.
///
/// # Errors
/// The host failed, or it does not let plugins set the property.
pub fn set<'a>(path: impl IntoIterator<Item = &'a str>, value: impl AsRef<[u8]>) -> HostResult<()> {
    host().set_property(&joined(path), value.as_ref())
}

/// Returns the path as the ABI has it.
fn joined<'a>(path: impl IntoIterator<Item = &'a str>) -> Vec<u8> {
    let mut joined = Vec::new();
    for (index, segment) in path.into_iter().enumerate() {
        if index > 0 {
            joined.push(0);
        }
        joined.extend_from_slice(segment.as_bytes());
    }
    joined
}

/// Decodes a value of a fixed length.
fn typed<T>(value: Option<Vec<u8>>, decode: fn(&[u8]) -> Option<T>, len: usize) -> HostResult<Option<T>> {
    let Some(value) = value else { return Ok(None) };
    let decoded = decode(&value).filter(|_| value.len() == len);
    decoded.map(Some).ok_or(HostError::new("get_property", Status::ParseFailure))
}
