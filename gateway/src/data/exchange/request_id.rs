//! Request IDs, by which records of one request are found in the logs of several programs.
//!
//! Not here: where the ID is sent and logged.

use std::cell::Cell;
use std::hash::{BuildHasher, RandomState};

use http1::{Head, KnownName};

use super::client::Client;

/// Bytes of a generated ID: 128 bits in hexadecimal.
const GENERATED_BYTES: usize = 32;

/// Maximum bytes of an ID that a trusted proxy sends. A longer one is replaced.
const MAX_BYTES: usize = 128;

/// The ID of a request.
#[derive(Clone, Copy, Debug)]
pub enum RequestId<'a> {
    /// Sent by a trusted proxy.
    Received(&'a [u8]),
    /// Generated here, in hexadecimal.
    Generated([u8; GENERATED_BYTES]),
}

impl RequestId<'_> {
    /// Returns the ID. It consists of letters, digits and punctuation that needs no escape in any log format.
    pub fn as_bytes(&self) -> &[u8] {
        match self {
            Self::Received(id) => id,
            Self::Generated(id) => id,
        }
    }
}

/// Generates the request IDs of one worker.
///
/// An ID is a keyed hash (SipHash, its key from the operating system's randomness) of a counter. It costs no system
/// call, allocation or lock, and later IDs cannot be predicted from earlier ones.
#[derive(Debug, Default)]
pub struct RequestIds {
    key: RandomState,
    count: Cell<u64>,
}

impl RequestIds {
    /// Returns the valid `X-Request-ID` of a trusted proxy, or else a generated ID.
    pub fn for_request<'a>(&self, client: &Client, head: &'a Head) -> RequestId<'a> {
        if client.is_trusted() {
            let mut received = head.get_all(KnownName::XRequestId);
            if let (Some(id), None) = (received.next(), received.next())
                && is_valid(id)
            {
                return RequestId::Received(id);
            }
        }
        self.generate()
    }

    /// Generates an ID.
    pub fn generate(&self) -> RequestId<'static> {
        let number = self.count.get();
        self.count.set(number.wrapping_add(1));
        let halves = [0u8, 1].map(|half| self.key.hash_one((number, half)));
        let mut id = [0; GENERATED_BYTES];
        let digits = halves.iter().flat_map(|half| (0..16).rev().map(move |digit| half >> (4 * digit) & 15));
        for (slot, digit) in id.iter_mut().zip(digits) {
            *slot = HEX.get(digit as usize).copied().unwrap_or(b'0');
        }
        RequestId::Generated(id)
    }
}

const HEX: &[u8; 16] = b"0123456789abcdef";

fn is_valid(id: &[u8]) -> bool {
    let is_allowed = |byte: &u8| byte.is_ascii_alphanumeric() || b"-_.:+/=@~".contains(byte);
    (1..=MAX_BYTES).contains(&id.len()) && id.iter().all(is_allowed)
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn generated_ids_are_hexadecimal_and_unique_across_workers() {
        let workers = [RequestIds::default(), RequestIds::default()];
        let mut ids = HashSet::new();
        for _ in 0..1000 {
            for worker in &workers {
                let id = worker.generate();
                let text = str::from_utf8(id.as_bytes()).unwrap().to_owned();
                assert!(text.len() == 32 && text.bytes().all(|byte| HEX.contains(&byte)), "{text}");
                assert!(ids.insert(text));
            }
        }
    }

    #[test]
    fn received_id_is_valid_if_short_and_without_escapes() {
        for id in ["a", "0189-ab_c.d:e+f/g=h@i~", &"x".repeat(128)] {
            assert!(is_valid(id.as_bytes()), "{id}");
        }
        for id in ["", "a b", "a\"b", "a,b", "a\\b", "a;b", "\u{e4}", "a\tb", &"x".repeat(129)] {
            assert!(!is_valid(id.as_bytes()), "{id}");
        }
    }
}
