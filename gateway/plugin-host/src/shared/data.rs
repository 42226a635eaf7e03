//! Shared data: values by key, each with a version for compare-and-swap.

use bytes::Bytes;
use hashbrown::HashMap;

/// Maximum bytes of the data of a namespace and VM ID, keys included. Setting more fails.
pub(crate) const MAX_DATA_BYTES: usize = 16 << 20;

/// Bytes that an entry counts beside key and value.
const ENTRY_BYTES: usize = 128;

/// Why a value cannot be set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum SetError {
    /// The value has another version.
    Changed,
    /// The data has too many bytes.
    Full,
}

/// Values by key.
#[derive(Default)]
pub(super) struct SharedData {
    entries: HashMap<Box<[u8]>, (Bytes, u32)>,
    bytes: usize,
}

impl SharedData {
    pub(super) fn get(&self, key: &[u8]) -> Option<(Bytes, u32)> {
        self.entries.get(key).cloned()
    }

    /// Checks whether a value can be set. `version` 0 fits any value. A missing value fits any version.
    pub(super) fn check(&self, key: &[u8], value: &[u8], version: u32) -> Result<(), SetError> {
        let current = self.entries.get(key);
        if version != 0 && current.is_some_and(|(_, current)| *current != version) {
            return Err(SetError::Changed);
        }
        let freed = current.map_or(0, |(value, _)| entry_bytes(key, value));
        let bytes = (self.bytes - freed).saturating_add(entry_bytes(key, value));
        if bytes > MAX_DATA_BYTES { Err(SetError::Full) } else { Ok(()) }
    }

    pub(super) fn set(&mut self, key: &[u8], value: &[u8], version: u32) {
        let value = Bytes::copy_from_slice(value);
        self.bytes += entry_bytes(key, &value);
        if let Some((old, _)) = self.entries.insert(key.into(), (value, version)) {
            self.bytes -= entry_bytes(key, &old);
        }
    }
}

fn entry_bytes(key: &[u8], value: &[u8]) -> usize {
    ENTRY_BYTES + key.len() + value.len()
}
