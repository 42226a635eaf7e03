//! What a guest asks for in a call, until the caller takes it.

use crate::action::Fields;
use crate::action::GuestAction;

/// Bytes that an action counts beside its content.
const ACTION_BYTES: usize = 256;

/// Bytes that a field counts beside its content.
const FIELD_BYTES: usize = 64;

/// The actions of one call. The bytes that a guest can pin are bounded.
pub(crate) struct ActionQueue {
    actions: Vec<GuestAction>,
    bytes: usize,
    max_bytes: usize,
}

impl ActionQueue {
    pub(crate) fn new(max_bytes: usize) -> Self {
        Self { actions: Vec::new(), bytes: 0, max_bytes }
    }

    /// Adds an action with this much content. Returns false if the queue would exceed its bytes; nothing is added then.
    pub(crate) fn push(&mut self, action: GuestAction, content: usize) -> bool {
        let bytes = self.bytes.saturating_add(ACTION_BYTES).saturating_add(content);
        if bytes > self.max_bytes {
            return false;
        }
        self.bytes = bytes;
        self.actions.push(action);
        true
    }

    /// Returns the actions, and forgets them.
    pub(crate) fn take(&mut self) -> Vec<GuestAction> {
        self.bytes = 0;
        std::mem::take(&mut self.actions)
    }

    /// Returns the number of actions, as a mark for [`Self::split_off`].
    pub(crate) fn len(&self) -> usize {
        self.actions.len()
    }

    /// Removes the actions behind a mark.
    pub(crate) fn split_off(&mut self, len: usize) -> Vec<GuestAction> {
        self.actions.split_off(len)
    }
}

/// Returns the bytes that fields pin.
pub(crate) fn fields_bytes(fields: &Fields) -> usize {
    fields.iter().map(|(name, value)| name.len() + value.len() + FIELD_BYTES).sum()
}
