//! The bytes of a body that a plugin holds.

use std::cell::OnceCell;

use bytes::Bytes;

use crate::filter::BodyEnd;

/// Bytes that the guest has not let go, and the end if it has come.
///
/// Pieces are shared with their source, and one piece costs no allocation.
#[derive(Debug, Default)]
pub(super) struct HeldBody {
    first: Bytes,
    more: Vec<Bytes>,
    /// All pieces in one, once several were read. Only reads and edits cost a copy.
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
        if self.more.is_empty() { &self.first } else { self.joined.get_or_init(|| self.join()) }
    }

    pub(super) fn len(&self) -> usize {
        self.len
    }

    /// Adds a piece behind the held bytes.
    pub(super) fn push(&mut self, piece: Bytes) {
        if let Some(joined) = self.joined.take() {
            self.first = joined;
            self.more.clear();
        }
        self.len += piece.len();
        if self.first.is_empty() {
            self.first = piece;
        } else if !piece.is_empty() {
            self.more.push(piece);
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

    /// Drops all held bytes.
    pub(super) fn clear(&mut self) {
        self.first = Bytes::new();
        self.more.clear();
        self.joined.take();
        self.len = 0;
    }

    /// Takes all held bytes.
    pub(super) fn take(&mut self) -> Bytes {
        let whole = match self.joined.take() {
            Some(joined) => joined,
            None if self.more.is_empty() => std::mem::take(&mut self.first),
            None => self.join(),
        };
        self.clear();
        whole
    }

    /// Copies the held bytes from `start` on. Returns false if there are fewer than `target` takes.
    pub(super) fn copy(&self, start: usize, target: &mut [u8]) -> bool {
        let pieces = std::iter::once(&self.first).chain(&self.more);
        let (mut skipped, mut target) = (start, target);
        for piece in pieces {
            let part = piece.get(skipped..).unwrap_or_default();
            skipped = skipped.saturating_sub(piece.len());
            let len = part.len().min(target.len());
            let (filled, rest) = target.split_at_mut(len);
            filled.copy_from_slice(part.get(..len).unwrap_or_default());
            target = rest;
        }
        target.is_empty()
    }

    fn join(&self) -> Bytes {
        let mut joined = Vec::with_capacity(self.len);
        joined.extend_from_slice(&self.first);
        self.more.iter().for_each(|piece| joined.extend_from_slice(piece));
        joined.into()
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

        #[test]
        fn copies_equal_ranges_of_all_pieces(
            pieces in prop::collection::vec(prop::collection::vec(any::<u8>(), 1..9), 0..4),
            (start, len) in (0..40_usize, 0..40_usize),
        ) {
            let mut held = HeldBody::default();
            let model = pieces.concat();
            pieces.into_iter().for_each(|piece| held.push(piece.into()));
            let mut target = vec![0; len];
            let expected = model.get(start..).and_then(|rest| rest.get(..len));
            prop_assert_eq!(held.copy(start, &mut target), expected.is_some() || len == 0);
            if let Some(expected) = expected {
                prop_assert_eq!(&target[..], expected);
            }
        }
    }
}
