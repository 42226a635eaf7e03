//! Functions of the host beyond the ABI, by name.

use crate::current_host::host;
use crate::host::HostResult;

/// Calls a function of the host. Hosts know different ones.
///
/// # Errors
/// The host does not know the function, or it failed.
pub fn call(name: &str, arguments: impl AsRef<[u8]>) -> HostResult<Vec<u8>> {
    host().call_foreign_function(name, arguments.as_ref())
}
