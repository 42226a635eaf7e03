//! What requests are called, so that the lines of several logs can be put together.
//!
//! Not here: where the name is sent and logged.

use std::cell::Cell;
use std::hash::{BuildHasher, RandomState};

use http1::{Head, KnownName};

use super::client::Client;

/// Bytes of a name that is made here: 128 bits in hexadecimal.
const LENGTH: usize = 32;

/// A name of more bytes is not taken over.
const LONGEST: usize = 128;

/// What a request is called.
#[derive(Clone, Copy, Debug)]
pub enum RequestId<'a> {
    /// A trusted proxy said so.
    Given(&'a [u8]),
    /// Made here, in hexadecimal.
    Made([u8; LENGTH]),
}

impl RequestId<'_> {
    /// The name: letters, digits and some punctuation, nothing that would have to be escaped anywhere.
    pub fn as_bytes(&self) -> &[u8] {
        match self {
            Self::Given(id) => id,
            Self::Made(id) => id,
        }
    }
}

/// One worker's names. A name is a keyed hash (SipHash, the key from the system's randomness) of a number that
/// counts up: no system call, no allocation, no lock, and who has seen some names cannot tell the next.
#[derive(Debug, Default)]
pub struct RequestIds {
    key: RandomState,
    made: Cell<u64>,
}

impl RequestIds {
    /// What this request is called: `X-Request-ID` of a trusted proxy if there is one that is valid, or a new name.
    pub fn of<'a>(&self, client: &Client, head: &'a Head) -> RequestId<'a> {
        if client.is_trusted() {
            let mut given = head.get_all(KnownName::XRequestId);
            if let (Some(id), None) = (given.next(), given.next())
                && is_valid(id)
            {
                return RequestId::Given(id);
            }
        }
        self.make()
    }

    /// A name for a request that has no head.
    pub fn make(&self) -> RequestId<'static> {
        let number = self.made.get();
        self.made.set(number.wrapping_add(1));
        let halves = [0u8, 1].map(|half| self.key.hash_one((number, half)));
        let mut id = [0; LENGTH];
        let digits = halves.iter().flat_map(|half| (0..16).rev().map(move |digit| half >> (4 * digit) & 15));
        for (slot, digit) in id.iter_mut().zip(digits) {
            *slot = HEX.get(digit as usize).copied().unwrap_or(b'0');
        }
        RequestId::Made(id)
    }
}

const HEX: &[u8; 16] = b"0123456789abcdef";

fn is_valid(id: &[u8]) -> bool {
    let is_fine = |byte: &u8| byte.is_ascii_alphanumeric() || b"-_.:+/=@~".contains(byte);
    (1..=LONGEST).contains(&id.len()) && id.iter().all(is_fine)
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn names_are_32_hexadecimal_digits_and_never_the_same_on_two_workers() {
        let workers = [RequestIds::default(), RequestIds::default()];
        let mut seen = HashSet::new();
        for _ in 0..1000 {
            for worker in &workers {
                let id = worker.make();
                let text = str::from_utf8(id.as_bytes()).unwrap().to_owned();
                assert!(text.len() == 32 && text.bytes().all(|byte| HEX.contains(&byte)), "{text}");
                assert!(seen.insert(text));
            }
        }
    }

    #[test]
    fn a_name_from_outside_is_short_and_harmless() {
        for id in ["a", "0189-ab_c.d:e+f/g=h@i~", &"x".repeat(128)] {
            assert!(is_valid(id.as_bytes()), "{id}");
        }
        for id in ["", "a b", "a\"b", "a,b", "a\\b", "a;b", "\u{e4}", "a\tb", &"x".repeat(129)] {
            assert!(!is_valid(id.as_bytes()), "{id}");
        }
    }
}
