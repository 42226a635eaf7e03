//! Blocks of pairs: the form in which header fields pass between plugin and host.
//!
//! A block is the count, then the two lengths of each pair, then each name and value with a NUL behind it. Numbers are u32
//! in little endian.

use std::borrow::Cow;
use std::fmt;

/// Fields that the host returned: names in lower case and values, in order.
///
/// ```
/// # let fields = plugin_sdk::Fields::default();
/// for (name, value) in fields.iter() {
///     plugin_sdk::log::info!("{}: {}", name.escape_ascii(), value.escape_ascii());
/// }
/// ```
#[derive(Clone, Default, Eq, PartialEq)]
pub struct Fields(Vec<u8>);

/// Encodes pairs.
#[derive(Clone, Debug, Default)]
pub(crate) struct PairsBuilder {
    count: u32,
    lengths: Vec<u8>,
    content: Vec<u8>,
}

// ===== impl Fields =====

impl Fields {
    /// Returns the fields of a block. A malformed block has the fields before the fault.
    pub(crate) fn from_block(block: Vec<u8>) -> Self {
        Self(block)
    }

    /// Returns the first value of a name. Bytes that are not UTF-8 become U+FFFD.
    pub fn get(&self, name: &str) -> Option<Cow<'_, str>> {
        self.get_bytes(name).map(String::from_utf8_lossy)
    }

    /// Returns the first value of a name.
    pub fn get_bytes(&self, name: &str) -> Option<&[u8]> {
        let mut fields = self.all();
        fields.find(|(known, _)| known.eq_ignore_ascii_case(name.as_bytes())).map(|(_, value)| value)
    }

    /// Returns all values of a name. Bytes that are not UTF-8 become U+FFFD.
    pub fn get_all<'a>(&'a self, name: &'a str) -> impl Iterator<Item = Cow<'a, str>> {
        self.get_all_bytes(name).map(String::from_utf8_lossy)
    }

    /// Returns all values of a name.
    pub fn get_all_bytes<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a [u8]> {
        self.all().filter(|(known, _)| known.eq_ignore_ascii_case(name.as_bytes())).map(|(_, value)| value)
    }

    /// Returns the names and values in order, without pseudo-headers.
    pub fn iter(&self) -> impl Iterator<Item = (&[u8], &[u8])> {
        self.all().filter(|(name, _)| !name.starts_with(b":"))
    }

    /// Returns the names and values in order.
    pub(crate) fn all(&self) -> impl Iterator<Item = (&[u8], &[u8])> {
        let count = read_u32(&self.0, 0).unwrap_or_default();
        let mut content = 4_usize.saturating_add(count.saturating_mul(8));
        (0..count).map_while(move |index| {
            let lengths = 4 + index * 8;
            let name = self.part(&mut content, lengths)?;
            let value = self.part(&mut content, lengths + 4)?;
            Some((name, value))
        })
    }

    /// Returns the bytes at `content`, whose length is at `length`, and moves `content` behind them.
    fn part(&self, content: &mut usize, length: usize) -> Option<&[u8]> {
        let end = content.checked_add(read_u32(&self.0, length)?)?;
        let part = self.0.get(*content..end)?;
        *content = end + 1;
        Some(part)
    }
}

impl fmt::Debug for Fields {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = |(name, value)| (String::from_utf8_lossy(name), String::from_utf8_lossy(value));
        f.debug_map().entries(self.all().map(text)).finish()
    }
}

fn read_u32(block: &[u8], at: usize) -> Option<usize> {
    let bytes = block.get(at..)?.first_chunk::<4>()?;
    usize::try_from(u32::from_le_bytes(*bytes)).ok()
}

// ===== impl PairsBuilder =====

impl PairsBuilder {
    /// Adds a pair.
    pub(crate) fn push(&mut self, name: &[u8], value: &[u8]) {
        self.count += 1;
        for part in [name, value] {
            self.lengths.extend_from_slice(&u32::try_from(part.len()).unwrap_or(u32::MAX).to_le_bytes());
            self.content.extend_from_slice(part);
            self.content.push(0);
        }
    }

    /// Returns the block of the pairs before those that were pushed, and then these. No pairs: an empty block.
    pub(crate) fn build(&self, first: &[(&[u8], &[u8])]) -> Vec<u8> {
        let mut before = Self::default();
        for (name, value) in first {
            before.push(name, value);
        }
        let count = before.count + self.count;
        if count == 0 {
            return Vec::new();
        }
        let parts: [&[u8]; 5] =
            [&count.to_le_bytes(), &before.lengths, &self.lengths, &before.content, &self.content];
        parts.concat()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fields(pairs: &[(&str, &str)]) -> Fields {
        let mut builder = PairsBuilder::default();
        for (name, value) in pairs {
            builder.push(name.as_bytes(), value.as_bytes());
        }
        Fields::from_block(builder.build(&[]))
    }

    #[test]
    fn block_has_lengths_before_contents() {
        let block = fields(&[("a", "xy"), ("b", "")]).0;
        let expected = [
            &2_u32.to_le_bytes()[..],
            &1_u32.to_le_bytes(),
            &2_u32.to_le_bytes(),
            &1_u32.to_le_bytes(),
            &0_u32.to_le_bytes(),
            b"a\0xy\0b\0\0",
        ];
        assert_eq!(block, expected.concat());
        assert_eq!(fields(&[]).0, b"");
    }

    #[test]
    fn first_pairs_come_before_the_pushed_ones() {
        let mut builder = PairsBuilder::default();
        builder.push(b"x", b"1");
        let fields = Fields::from_block(builder.build(&[(b":path", b"/")]));
        assert_eq!(fields.all().collect::<Vec<_>>(), [(&b":path"[..], &b"/"[..]), (b"x", b"1")]);
        assert_eq!(fields.iter().count(), 1, "a pseudo-header is no field");
    }

    #[test]
    fn values_are_found_by_name_in_any_case() {
        let fields = fields(&[("a", "1"), ("b", "2"), ("a", "3")]);
        assert_eq!(fields.get("A").as_deref(), Some("1"));
        assert_eq!(fields.get_all("a").collect::<Vec<_>>(), ["1", "3"]);
        assert_eq!(fields.get_bytes("c"), None);
    }

    #[test]
    fn malformed_blocks_end_at_the_fault() {
        let whole = fields(&[("a", "1"), ("b", "2")]).0;
        for cut in 0..whole.len() {
            let fields = Fields::from_block(whole[..cut].to_vec());
            assert!(fields.all().count() <= 2, "{cut}");
        }
        let mut huge = u32::MAX.to_le_bytes().to_vec();
        huge.extend([0xff; 8]);
        assert_eq!(Fields::from_block(huge).all().count(), 0);
    }
}
