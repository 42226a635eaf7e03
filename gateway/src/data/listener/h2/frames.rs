//! What the `h2` crate says to a client by itself, seen in the bytes that it writes.
//!
//! It refuses requests without handing them over: malformed header blocks and streams beyond the limit by RST_STREAM,
//! header lists that are too long by an answer of its own. They are to be told of as all others are, and `h2` has no
//! other way to learn of them. Only frame headers are looked at; payloads are skipped by their length. Not here: what
//! is done about it (`h2`).

use h2::Reason;

/// Frame types (RFC 9113 §6.2 and §6.4).
const HEADERS: u128 = 1;
const RST_STREAM: u128 = 3;

/// Bytes of a frame's header, and of one with the error code of a RST_STREAM behind it.
const HEADER: u8 = 9;
const RESET: u8 = HEADER + 4;

/// The end of a stream that the server alone has brought about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// By an answer: 431, `h2` has no other one.
    Answered,
    /// By a reset.
    Reset(Reason),
}

/// Follows what a server writes, and finds the streams that ended without having been handed over.
#[derive(Debug, Default)]
pub(super) struct Frames {
    walker: Walker,
    known: Known,
    /// Found, but perhaps only waiting to be handed over; usually empty, which takes no memory.
    found: Vec<(u32, Verdict)>,
}

impl Frames {
    /// The server has written these bytes.
    pub(super) fn written(&mut self, bytes: &[u8]) {
        let Self { walker, known, found } = self;
        walker.walk(bytes, |stream, verdict| {
            if !known.has(stream) {
                found.push((stream, verdict));
            }
        });
    }

    /// This stream has been handed over.
    pub(super) fn accepted(&mut self, stream: u32) {
        self.known.add(stream);
    }

    /// All that were to be handed over have been: gives each stream that never will be, once.
    pub(super) fn settle(&mut self, mut each: impl FnMut(Verdict)) {
        for (stream, verdict) in self.found.drain(..) {
            if !self.known.has(stream) {
                self.known.add(stream);
                each(verdict);
            }
        }
    }
}

/// Which of a client's streams have been handed over or told of: their numbers are odd and only grow.
///
/// It looks back on 128 streams from the last one: more than may be open, so a refusal that a client does not read
/// while more than so many others are handed over is not told.
#[derive(Debug, Default)]
struct Known {
    /// The how manieth stream the last one is, from 1.
    last: u32,
    /// Bit n: the n-th one before the last one.
    past: u128,
}

impl Known {
    fn add(&mut self, stream: u32) {
        let place = place(stream);
        if place > self.last {
            self.past = self.past.checked_shl(place - self.last).unwrap_or(0) | 1;
            self.last = place;
        } else {
            self.past |= 1u128.checked_shl(self.last - place).unwrap_or(0);
        }
    }

    fn has(&self, stream: u32) -> bool {
        // Those of the server, and 0, which is the connection.
        if stream.is_multiple_of(2) {
            return true;
        }
        match self.last.checked_sub(place(stream)) {
            Some(before) => self.past.checked_shr(before).is_none_or(|past| past & 1 == 1),
            None => false,
        }
    }
}

fn place(stream: u32) -> u32 {
    stream / 2 + 1
}

/// Finds frames in a stream of bytes, however it is cut.
#[derive(Debug, Default)]
struct Walker {
    /// The beginning of a frame, as far as it has come; the last byte is the lowest.
    begun: u128,
    /// How many bytes that is.
    length: u8,
    /// How much of a frame is still to be skipped, bytes.
    left: u32,
}

impl Walker {
    /// Calls `found` with HEADERS and RST_STREAM frames and their streams.
    fn walk(&mut self, mut bytes: &[u8], mut found: impl FnMut(u32, Verdict)) {
        loop {
            let skipped = bytes.len().min(self.left as usize);
            self.left -= low(skipped as u128);
            let Some((byte, rest)) = bytes.get(skipped..).and_then(<[u8]>::split_first) else { return };
            bytes = rest;
            self.begun = self.begun << 8 | u128::from(*byte);
            self.length += 1;
            if self.length >= HEADER {
                self.header(&mut found);
            }
        }
    }

    fn header(&mut self, found: &mut impl FnMut(u32, Verdict)) {
        let header = self.begun >> (8 * u32::from(self.length - HEADER));
        let (left, kind, stream) = (low(header >> 48), header >> 40 & 0xff, low(header) & (u32::MAX >> 1));
        match (kind, self.length) {
            (RST_STREAM, HEADER..RESET) if left == 4 => return,
            (RST_STREAM, RESET) => found(stream, Verdict::Reset(low(self.begun).into())),
            (HEADERS, _) => found(stream, Verdict::Answered),
            _ => {}
        }
        *self = Self { left: left - u32::from(self.length - HEADER), ..Self::default() };
    }
}

/// The lowest 32 bits.
fn low(number: u128) -> u32 {
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

    fn refused(frames: &mut Frames) -> Vec<Verdict> {
        let mut refused = Vec::new();
        frames.settle(|verdict| refused.push(verdict));
        refused
    }

    proptest! {
        #[test]
        fn frames_are_found_however_they_are_cut(
            frames in prop::collection::vec(
                (0u8..12, any::<u32>(), prop::collection::vec(any::<u8>(), 0..40)),
                0..12,
            ),
            cuts in prop::collection::vec(0usize..700, 0..20),
        ) {
            let mut expected = Vec::new();
            let mut bytes = Vec::new();
            for (kind, stream, payload) in &frames {
                // A reset has four bytes; the crate writes no other one.
                let payload = if *kind == 3 { &[1, 2, 3, 4][..] } else { payload };
                let id = stream & 0x7fff_ffff;
                match kind {
                    1 => expected.push((id, Verdict::Answered)),
                    3 => expected.push((id, Verdict::Reset(Reason::from(0x0102_0304)))),
                    _ => {}
                }
                bytes.extend(frame(*kind, *stream, payload));
            }
            let mut cuts: Vec<_> = cuts.into_iter().map(|cut| cut.min(bytes.len())).collect();
            cuts.push(bytes.len());
            cuts.sort_unstable();
            let (mut walker, mut found, mut from) = (Walker::default(), Vec::new(), 0);
            for cut in cuts {
                walker.walk(&bytes[from..cut], |stream, verdict| found.push((stream, verdict)));
                from = cut;
            }
            prop_assert_eq!(found, expected);
        }

        #[test]
        fn any_bytes_are_walked(pieces in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..60), 0..20)) {
            let mut frames = Frames::default();
            for piece in pieces {
                frames.written(&piece);
            }
        }
    }

    #[test]
    fn a_stream_that_is_never_handed_over_is_told_once() {
        let mut frames = Frames::default();
        frames.accepted(1);
        frames.written(&[frame(1, 1, b"head"), frame(0, 1, &[0; 300]), frame(3, 1, &[0, 0, 0, 8])].concat());
        assert_eq!(refused(&mut frames), [], "it was handed over");
        frames
            .written(&[frame(3, 3, &[0, 0, 0, 1]), frame(1, 5, b"431"), frame(3, 5, &[0, 0, 0, 1])].concat());
        frames.accepted(7);
        assert_eq!(refused(&mut frames), [Verdict::Reset(Reason::PROTOCOL_ERROR), Verdict::Answered]);
        frames.written(&[frame(3, 3, &[0, 0, 0, 5]), frame(3, 7, &[0, 0, 0, 1])].concat());
        assert_eq!(refused(&mut frames), []);
        // What comes before it is handed over is its own affair.
        frames.written(&frame(3, 9, &[0, 0, 0, 3]));
        frames.accepted(9);
        assert_eq!(refused(&mut frames), []);
        frames.written(&[frame(3, 0, &[0; 4]), frame(3, 2, &[0; 4])].concat());
        assert_eq!(refused(&mut frames), []);
    }

    #[test]
    fn streams_are_known_in_any_order_of_refusals_and_long_ago_all_are() {
        let mut known = Known::default();
        assert!(!known.has(1) && !known.has(u32::MAX));
        known.add(5);
        assert!(known.has(5) && !known.has(1) && !known.has(3) && !known.has(7));
        known.add(1);
        assert!(known.has(1) && !known.has(3));
        known.add(255 + 4);
        assert!(known.has(5) && !known.has(7) && known.has(3), "of 127 before it is known what they were");
        known.add(u32::MAX);
        assert!(known.has(259) && known.has(u32::MAX) && !known.has(u32::MAX - 2));
    }
}
