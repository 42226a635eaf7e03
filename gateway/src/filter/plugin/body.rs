//! The bytes of a body that a plugin holds.

use std::cell::OnceCell;

use bytes::Bytes;

use crate::filter::BodyEnd;

/// Bytes that the guest has not let go, and the end if it has come.
#[derive(Debug, Default)]
pub(super) struct HeldBody {
    /// Shared with their source.
    pieces: Vec<Bytes>,
    /// All pieces in one, once someone looked at several. Only edits and looks cost a copy.
    joined: OnceCell<Bytes>,
    len: usize,
    /// Whether the head has ended the message: the guest gets no callback for a body.
    pub(super) is_absent: bool,
    pub(super) end: Option<BodyEnd>,
    /// Maximum bytes that an edit may make of it. More is allowed only if it held that much before.
    pub(super) max_edited: usize,
}

impl HeldBody {
    pub(super) fn as_bytes(&self) -> &[u8] {
        match &self.pieces[..] {
            [] => &[],
            [only] => only,
            pieces => self.joined.get_or_init(|| pieces.concat().into()),
        }
    }

    pub(super) fn len(&self) -> usize {
        self.len
    }

    /// Adds a piece behind the held bytes.
    pub(super) fn push(&mut self, piece: Bytes) {
        if let Some(joined) = self.joined.take() {
            self.pieces = vec![joined];
        }
        self.len += piece.len();
        if !piece.is_empty() {
            self.pieces.push(piece);
        }
    }

    /// Replaces `size` bytes from `start` on. Both are clamped to what is held. Returns false, and edits nothing, if the
    /// body would become too large.
    pub(super) fn edit(&mut self, start: usize, size: usize, data: &[u8]) -> bool {
        let start = start.min(self.len);
        let end = start.saturating_add(size).min(self.len);
        if self.len - (end - start) + data.len() > self.max_edited.max(self.len) {
            return false;
        }
        let edited = if start == 0 && end == self.len {
            Bytes::copy_from_slice(data)
        } else {
            let held = self.as_bytes();
            let (head, tail) = (held.get(..start), held.get(end..));
            [head.unwrap_or_default(), data, tail.unwrap_or_default()].concat().into()
        };
        self.clear();
        self.push(edited);
        true
    }

    pub(super) fn clear(&mut self) {
        self.take();
    }

    /// Takes all held bytes.
    pub(super) fn take(&mut self) -> Bytes {
        self.len = 0;
        let joined = self.joined.take();
        let mut pieces = std::mem::take(&mut self.pieces);
        match (joined, pieces.len()) {
            (Some(joined), _) => joined,
            (None, 0 | 1) => pieces.pop().unwrap_or_default(),
            (None, _) => pieces.concat().into(),
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
            let (mut held, mut model) = (HeldBody { max_edited: 60, ..HeldBody::default() }, Vec::new());
            for piece in pieces {
                model.extend_from_slice(&piece);
                held.push(piece.into());
            }
            for (start, size, data) in edits {
                let start_at = start.min(model.len());
                let end = (start + size).min(model.len()).max(start_at);
                let before = model.clone();
                model.splice(start_at..end, data.iter().copied());
                let is_allowed = model.len() <= before.len().max(60);
                prop_assert_eq!(held.edit(start, size, &data), is_allowed);
                if !is_allowed {
                    model = before;
                }
                prop_assert_eq!(held.as_bytes(), &model[..]);
                prop_assert_eq!(held.len(), model.len());
            }
            prop_assert_eq!(held.take(), model);
            prop_assert_eq!(held.len(), 0);
        }
    }
}
