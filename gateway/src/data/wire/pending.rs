//! Body bytes that wait until they can be sent or are wanted: one large piece without a copy, and small ones in one buffer.

use bytes::{Buf, Bytes, BytesMut};

/// Maximum size of a piece that is copied rather than kept as a part of the memory into which it was received. A small
/// piece can be part of much more memory: a peer can put chunk extensions beside each byte. Up to this size, a copy is also
/// cheaper than another slice in a write.
pub const MAX_COPIED_BYTES: usize = 4 << 10;

/// Bytes of a body in their order.
#[derive(Debug, Default)]
pub struct PendingData {
    /// Is before `tail`.
    front: Bytes,
    /// Pieces that arrived while `front` was pending, copied.
    tail: BytesMut,
}

impl PendingData {
    /// Returns the number of bytes.
    pub fn len(&self) -> usize {
        self.front.len() + self.tail.len()
    }

    /// Returns true if there are no bytes.
    pub fn is_empty(&self) -> bool {
        self.front.is_empty() && self.tail.is_empty()
    }

    /// Appends a piece. Copies it if other pieces are pending.
    pub fn push(&mut self, data: Bytes) {
        if self.is_empty() {
            self.front = data;
            return;
        }
        if self.front.len() <= MAX_COPIED_BYTES && self.tail.is_empty() {
            self.tail.extend_from_slice(&self.front);
            self.front = Bytes::new();
        }
        self.tail.extend_from_slice(&data);
    }

    /// Removes up to `max` bytes from the front, without a copy.
    pub fn take(&mut self, max: usize) -> Bytes {
        if self.front.is_empty() {
            let length = max.min(self.tail.len());
            return self.tail.split_to(length).freeze();
        }
        let length = max.min(self.front.len());
        let taken = self.front.slice(..length);
        self.front.advance(length);
        taken
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_keep_their_order_whatever_the_piece_sizes() {
        for sizes in [&[1, 1, 1][..], &[5000, 1, 5000], &[1, 5000, 1], &[5000], &[4096, 4096, 4097]] {
            for step in [1, 700, 5000, 20_000] {
                let (mut pending, mut expected, mut taken) = (PendingData::default(), vec![], vec![]);
                for (index, size) in sizes.iter().enumerate() {
                    let piece = vec![u8::try_from(index).unwrap(); *size];
                    expected.extend_from_slice(&piece);
                    pending.push(piece.into());
                    if index == 1 {
                        taken.extend_from_slice(&pending.take(step));
                    }
                    assert_eq!(pending.len(), expected.len() - taken.len());
                }
                while !pending.is_empty() {
                    taken.extend_from_slice(&pending.take(step));
                }
                assert!(taken == expected, "{sizes:?} by {step}");
            }
        }
    }

    #[test]
    fn small_pieces_are_copied_into_one_buffer() {
        let received = Bytes::from(vec![b'x'; 1 << 20]);
        let mut pending = PendingData::default();
        for at in 0..100 {
            pending.push(received.slice(at * 1000..at * 1000 + 1));
        }
        drop(received.clone());
        assert!(received.is_unique(), "no piece shares the received memory");
        assert_eq!(pending.take(usize::MAX).len(), 100);
    }
}
