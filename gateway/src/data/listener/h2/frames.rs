//! Finds requests that the `h2` crate rejects itself, in the bytes that it writes.
//!
//! `h2` does not hand such requests over: it rejects malformed header blocks and excess streams by RST_STREAM, and
//! header lists that are too long by a 431. They must be reported like all other requests, and `h2` has no other way to
//! observe them. Only frame headers are parsed; payloads are skipped by their length. Not here: the report (`io`).

use h2::Reason;

/// Frame types (RFC 9113 §6.2 and §6.4).
const HEADERS: u128 = 1;
const RST_STREAM: u128 = 3;

/// Bytes of a frame header.
const FRAME_HEADER_BYTES: u8 = 9;
/// Bytes of a RST_STREAM frame: its header and its error code.
const RESET_FRAME_BYTES: u8 = FRAME_HEADER_BYTES + 4;

/// How `h2` rejected a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Rejection {
    /// By a response. Its status is 431, since `h2` generates no other response.
    Response,
    /// By RST_STREAM with this error code.
    Reset(Reason),
}

/// Scans the bytes that `h2` writes for the end of streams that it did not hand over.
#[derive(Debug, Default)]
pub(super) struct RejectionScanner {
    scanner: FrameScanner,
    handled: HandledStreams,
    /// Streams that have ended, but may still be handed over. Usually empty, which takes no memory.
    found: Vec<(u32, Rejection)>,
}

impl RejectionScanner {
    /// Scans bytes that `h2` has written.
    pub(super) fn on_write(&mut self, bytes: &[u8]) {
        let Self { scanner, handled, found } = self;
        scanner.scan(bytes, |stream, rejection| {
            if !handled.contains(stream) {
                found.push((stream, rejection));
            }
        });
    }

    /// Records that `h2` has handed over this stream.
    pub(super) fn on_accept(&mut self, stream: u32) {
        self.handled.insert(stream);
    }

    /// Passes each rejection to `each`, once. Called when `h2` has handed over all streams that it will hand over.
    pub(super) fn drain_rejected(&mut self, mut each: impl FnMut(Rejection)) {
        for (stream, rejection) in self.found.drain(..) {
            if !self.handled.contains(stream) {
                self.handled.insert(stream);
                each(rejection);
            }
        }
    }
}

/// The client's streams that were handed over or reported. Their numbers are odd and increase.
///
/// The window holds the latest 128 streams, which is more than may be open. Older streams count as handled. A rejection
/// that the client leaves unread while 128 later streams are handed over is therefore not reported.
#[derive(Debug, Default)]
struct HandledStreams {
    /// The ordinal of the latest stream, from 1.
    last: u32,
    /// Bit n is set if the n-th stream before the latest one was handled.
    window: u128,
}

impl HandledStreams {
    fn insert(&mut self, stream: u32) {
        let ordinal = ordinal(stream);
        if ordinal > self.last {
            self.window = self.window.checked_shl(ordinal - self.last).unwrap_or(0) | 1;
            self.last = ordinal;
        } else {
            self.window |= 1u128.checked_shl(self.last - ordinal).unwrap_or(0);
        }
    }

    fn contains(&self, stream: u32) -> bool {
        // Even numbers are streams of the server, 0 is the connection.
        if stream.is_multiple_of(2) {
            return true;
        }
        match self.last.checked_sub(ordinal(stream)) {
            Some(before) => self.window.checked_shr(before).is_none_or(|window| window & 1 == 1),
            None => false,
        }
    }
}

/// Returns the ordinal of a client's stream, from 1.
fn ordinal(stream: u32) -> u32 {
    stream / 2 + 1
}

/// Finds frames in a byte stream that arrives in arbitrary parts.
#[derive(Debug, Default)]
struct FrameScanner {
    /// The first bytes of an incomplete frame, the latest byte in the lowest bits.
    partial: u128,
    /// The number of bytes in `partial`.
    length: u8,
    /// Bytes of the frame's payload to skip.
    to_skip: u32,
}

impl FrameScanner {
    /// Calls `found` with the stream of each HEADERS and RST_STREAM frame.
    fn scan(&mut self, mut bytes: &[u8], mut found: impl FnMut(u32, Rejection)) {
        loop {
            let skipped = bytes.len().min(self.to_skip as usize);
            self.to_skip -= low_u32(skipped as u128);
            let Some((byte, rest)) = bytes.get(skipped..).and_then(<[u8]>::split_first) else { return };
            bytes = rest;
            self.partial = self.partial << 8 | u128::from(*byte);
            self.length += 1;
            if self.length >= FRAME_HEADER_BYTES {
                self.on_header(&mut found);
            }
        }
    }

    fn on_header(&mut self, found: &mut impl FnMut(u32, Rejection)) {
        let header = self.partial >> (8 * u32::from(self.length - FRAME_HEADER_BYTES));
        let (to_skip, kind, stream) =
            (low_u32(header >> 48), header >> 40 & 0xff, low_u32(header) & (u32::MAX >> 1));
        match (kind, self.length) {
            (RST_STREAM, FRAME_HEADER_BYTES..RESET_FRAME_BYTES) if to_skip == 4 => return,
            (RST_STREAM, RESET_FRAME_BYTES) => found(stream, Rejection::Reset(low_u32(self.partial).into())),
            (HEADERS, _) => found(stream, Rejection::Response),
            _ => {}
        }
        *self = Self { to_skip: to_skip - u32::from(self.length - FRAME_HEADER_BYTES), ..Self::default() };
    }
}

/// Returns the lowest 32 bits.
fn low_u32(number: u128) -> u32 {
    u32::try_from(number & u128::from(u32::MAX)).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn frame(kind: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
        let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
        [&length[1..], &[kind, 0xff], &stream.to_be_bytes(), payload].concat()
    }

    fn rejected(frames: &mut RejectionScanner) -> Vec<Rejection> {
        let mut rejected = Vec::new();
        frames.drain_rejected(|rejection| rejected.push(rejection));
        rejected
    }

    proptest! {
        #[test]
        fn frames_cut_anywhere_are_found(
            frames in prop::collection::vec(
                (0u8..12, any::<u32>(), prop::collection::vec(any::<u8>(), 0..40)),
                0..12,
            ),
            cuts in prop::collection::vec(0usize..700, 0..20),
        ) {
            let mut expected = Vec::new();
            let mut bytes = Vec::new();
            for (kind, stream, payload) in &frames {
                // The payload of RST_STREAM has four bytes.
                let payload = if *kind == 3 { &[1, 2, 3, 4][..] } else { payload };
                let id = stream & 0x7fff_ffff;
                match kind {
                    1 => expected.push((id, Rejection::Response)),
                    3 => expected.push((id, Rejection::Reset(Reason::from(0x0102_0304)))),
                    _ => {}
                }
                bytes.extend(frame(*kind, *stream, payload));
            }
            let mut cuts: Vec<_> = cuts.into_iter().map(|cut| cut.min(bytes.len())).collect();
            cuts.push(bytes.len());
            cuts.sort_unstable();
            let (mut scanner, mut found, mut from) = (FrameScanner::default(), Vec::new(), 0);
            for cut in cuts {
                scanner.scan(&bytes[from..cut], |stream, rejection| found.push((stream, rejection)));
                from = cut;
            }
            prop_assert_eq!(found, expected);
        }

        #[test]
        fn arbitrary_bytes_are_scanned(pieces in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..60), 0..20)) {
            let mut frames = RejectionScanner::default();
            for piece in pieces {
                frames.on_write(&piece);
            }
        }
    }

    #[test]
    fn rejected_stream_is_reported_once() {
        let mut frames = RejectionScanner::default();
        frames.on_accept(1);
        frames.on_write(&[frame(1, 1, b"head"), frame(0, 1, &[0; 300]), frame(3, 1, &[0, 0, 0, 8])].concat());
        assert_eq!(rejected(&mut frames), [], "it was handed over");
        frames.on_write(
            &[frame(3, 3, &[0, 0, 0, 1]), frame(1, 5, b"431"), frame(3, 5, &[0, 0, 0, 1])].concat(),
        );
        frames.on_accept(7);
        assert_eq!(rejected(&mut frames), [Rejection::Reset(Reason::PROTOCOL_ERROR), Rejection::Response]);
        frames.on_write(&[frame(3, 3, &[0, 0, 0, 5]), frame(3, 7, &[0, 0, 0, 1])].concat());
        assert_eq!(rejected(&mut frames), []);
        // A stream that is handed over after its end is not rejected.
        frames.on_write(&frame(3, 9, &[0, 0, 0, 3]));
        frames.on_accept(9);
        assert_eq!(rejected(&mut frames), []);
        frames.on_write(&[frame(3, 0, &[0; 4]), frame(3, 2, &[0; 4])].concat());
        assert_eq!(rejected(&mut frames), []);
    }

    #[test]
    fn handled_streams_are_known_in_any_order() {
        let mut handled = HandledStreams::default();
        assert!(!handled.contains(1) && !handled.contains(u32::MAX));
        handled.insert(5);
        assert!(handled.contains(5) && !handled.contains(1) && !handled.contains(3) && !handled.contains(7));
        handled.insert(1);
        assert!(handled.contains(1) && !handled.contains(3));
        handled.insert(255 + 4);
        assert!(
            handled.contains(5) && !handled.contains(7) && handled.contains(3),
            "the 127 streams before the latest one are distinguished"
        );
        handled.insert(u32::MAX);
        assert!(handled.contains(259) && handled.contains(u32::MAX) && !handled.contains(u32::MAX - 2));
    }
}
