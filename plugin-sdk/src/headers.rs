//! Header fields and trailer fields of a message that the host holds.

use crate::current_host::host;
use crate::host::Edit;
use crate::host::HostResult;
use crate::host::MapKind;
use crate::host::optional;
use crate::pairs::Fields;

/// Fields of a message. Names are case-insensitive; the host writes them in lower case.
///
/// Each call is one call into the host, so nothing is copied that the plugin does not use.
///
/// ```
/// use plugin_sdk::prelude::*;
///
/// fn forward_user(request: &mut Request) -> Result<(), Error> {
///     if let Some(user) = request.get("x-authenticated-user")? {
///         request.set("x-user", &user)?;
///     }
///     request.append("via", "1.1 my-plugin")?;
///     request.remove("x-api-key")?;
///     Ok(())
/// }
/// ```
pub trait Headers {
    /// Returns the map of the fields.
    #[doc(hidden)]
    fn map(&self) -> MapKind;

    /// Returns the first value of a field. Bytes that are not UTF-8 become U+FFFD.
    ///
    /// A client can send a field several times. Use [`Headers::get_all`] if the decision depends on it.
    ///
    /// # Errors
    /// The host failed.
    fn get(&self, name: &str) -> HostResult<Option<String>> {
        Ok(self.get_bytes(name)?.map(into_text))
    }

    /// Returns the first value of a field.
    ///
    /// # Errors
    /// The host failed.
    fn get_bytes(&self, name: &str) -> HostResult<Option<Vec<u8>>> {
        optional(host().header_value(self.map(), name.as_bytes()))
    }

    /// Returns all values of a field. Bytes that are not UTF-8 become U+FFFD.
    ///
    /// # Errors
    /// The host failed.
    fn get_all(&self, name: &str) -> HostResult<Vec<String>> {
        Ok(self.fields()?.get_all(name).map(|value| value.into_owned()).collect())
    }

    /// Returns whether there is a field of a name.
    ///
    /// # Errors
    /// The host failed.
    fn contains(&self, name: &str) -> HostResult<bool> {
        Ok(self.get_bytes(name)?.is_some())
    }

    /// Returns a copy of all fields.
    ///
    /// # Errors
    /// The host failed.
    fn fields(&self) -> HostResult<Fields> {
        Ok(Fields::from_block(optional(host().header_pairs(self.map()))?.unwrap_or_default()))
    }

    /// Replaces all values of a field by one.
    ///
    /// # Errors
    /// The host failed, or the message has been sent already.
    fn set(&mut self, name: &str, value: impl AsRef<[u8]>) -> HostResult<()> {
        host().edit_headers(self.map(), Edit::Set(name.as_bytes(), value.as_ref()))
    }

    /// Adds a value behind the others of a field.
    ///
    /// # Errors
    /// The host failed, or the message has been sent already.
    fn append(&mut self, name: &str, value: impl AsRef<[u8]>) -> HostResult<()> {
        host().edit_headers(self.map(), Edit::Append(name.as_bytes(), value.as_ref()))
    }

    /// Removes all values of a field. No effect if there are none.
    ///
    /// # Errors
    /// The host failed, or the message has been sent already.
    fn remove(&mut self, name: &str) -> HostResult<()> {
        host().edit_headers(self.map(), Edit::Remove(name.as_bytes()))
    }
}

/// Converts bytes to text. Bytes that are not UTF-8 become U+FFFD.
pub(crate) fn into_text(bytes: Vec<u8>) -> String {
    String::from_utf8(bytes).unwrap_or_else(|error| String::from_utf8_lossy(error.as_bytes()).into_owned())
}
