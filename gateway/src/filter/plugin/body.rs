//! The bytes of a body that a plugin holds.

use bytes::{Bytes, BytesMut};

use crate::filter::BodyEnd;

/// Bytes that the guest has not let go, and the end if it has come.
#[derive(Debug, Default)]
pub(super) struct HeldBody {
    bytes: Held,
    pub(super) end: Option<BodyEnd>,
    /// The message ended with its head: the guest has no callback for its body.
    pub(super) is_absent: bool,
}

/// One piece is shared with its source. Only several, or an edit, cost a copy.
#[derive(Debug)]
enum Held {
    Piece(Bytes),
    Copy(BytesMut),
}

impl Default for Held {
    fn default() -> Self {
        Self::Piece(Bytes::new())
    }
}

impl HeldBody {
    pub(super) fn as_bytes(&self) -> &[u8] {
        match &self.bytes {
            Held::Piece(piece) => piece,
            Held::Copy(copy) => copy,
        }
    }

    pub(super) fn len(&self) -> usize {
        self.as_bytes().len()
    }

    /// Adds a piece behind the held bytes.
    pub(super) fn push(&mut self, piece: Bytes) {
        if self.len() == 0 {
            self.bytes = Held::Piece(piece);
        } else {
            let mut copy = self.take_copy();
            copy.extend_from_slice(&piece);
            self.bytes = Held::Copy(copy);
        }
    }

    /// Replaces `size` bytes from `start` on. Both are clamped to what is held.
    pub(super) fn edit(&mut self, start: usize, size: usize, data: &[u8]) {
        let len = self.len();
        let start = start.min(len);
        let end = start.saturating_add(size).min(len);
        if start == 0 && end == len {
            self.bytes = Held::Copy(BytesMut::from(data));
            return;
        }
        let mut copy = self.take_copy();
        let tail = copy.split_off(end);
        copy.truncate(start);
        copy.extend_from_slice(data);
        copy.extend_from_slice(&tail);
        self.bytes = Held::Copy(copy);
    }

    pub(super) fn clear(&mut self) {
        self.bytes = Held::default();
    }

    /// Takes all held bytes.
    pub(super) fn take(&mut self) -> Bytes {
        match std::mem::take(&mut self.bytes) {
            Held::Piece(piece) => piece,
            Held::Copy(copy) => copy.freeze(),
        }
    }

    fn take_copy(&mut self) -> BytesMut {
        match std::mem::take(&mut self.bytes) {
            Held::Piece(piece) => BytesMut::from(&piece[..]),
            Held::Copy(copy) => copy,
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn edits_equal_those_of_a_vector(
            pieces in prop::collection::vec(prop::collection::vec(any::<u8>(), 1..9), 0..4),
            edits in prop::collection::vec((0..40_usize, 0..40_usize, prop::collection::vec(any::<u8>(), 0..9)), 0..5),
        ) {
            let (mut held, mut model) = (HeldBody::default(), Vec::new());
            for piece in pieces {
                model.extend_from_slice(&piece);
                held.push(piece.into());
            }
            for (start, size, data) in edits {
                let start_at = start.min(model.len());
                let end = (start + size).min(model.len()).max(start_at);
                model.splice(start_at..end, data.iter().copied());
                held.edit(start, size, &data);
                prop_assert_eq!(held.as_bytes(), &model[..]);
            }
            prop_assert_eq!(held.take(), model);
            prop_assert_eq!(held.len(), 0);
        }
    }
}
