//! Hashes of keys.

use plugin_sdk::prelude::*;
use sha2::{Digest as _, Sha256};

/// SHA-256 of a key.
#[derive(Clone, Copy, Deserialize, Config, Eq, PartialEq)]
#[serde(try_from = "String")]
pub(crate) struct KeyHash([u8; 32]);

impl KeyHash {
    /// Hashes a key.
    pub(crate) fn of(key: &[u8]) -> Self {
        Self(Sha256::digest(key).into())
    }

    /// Compares two hashes in a time that does not depend on them.
    pub(crate) fn equals(&self, other: &Self) -> bool {
        let difference = self.0.iter().zip(&other.0).fold(0, |found, (own, other)| found | (own ^ other));
        std::hint::black_box(difference) == 0
    }
}

impl TryFrom<String> for KeyHash {
    type Error = &'static str;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        const EXPECTED: &str = "expected the 64 hexadecimal digits of a SHA-256";
        let mut hash = [0; 32];
        if text.len() != 64 || !text.bytes().all(|digit| digit.is_ascii_hexdigit()) {
            return Err(EXPECTED);
        }
        for (index, byte) in hash.iter_mut().enumerate() {
            let digits = text.get(index * 2..index * 2 + 2).ok_or(EXPECTED)?;
            *byte = u8::from_str_radix(digits, 16).map_err(|_| EXPECTED)?;
        }
        Ok(Self(hash))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hash_of_a_key_equals_its_hexadecimal_digits() {
        // The example of FIPS 180-2, appendix B.1.
        let text = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        let parsed = KeyHash::try_from(text.to_owned()).unwrap();
        assert!(parsed.equals(&KeyHash::of(b"abc")) && !parsed.equals(&KeyHash::of(b"abd")));
        for wrong in
            ["", "ba78", &text[1..], &text.replace('b', "g"), &format!("{text}0"), &text.replace("ba", "+a")]
        {
            assert!(KeyHash::try_from(wrong.to_owned()).is_err(), "{wrong}");
        }
    }
}
