//! The encoding of header maps in guest memory.
//!
//! A block is the number of pairs, then the lengths of each name and value, then the names and values, each followed by
//! a zero byte. Numbers are 32 bits, little-endian. A map without pairs is an empty block or a block of one zero number.

use std::ops::Range;

use bytes::Bytes;

use crate::action::Fields;

/// Maximum pairs of a block that a guest gives. More are malformed: no message has them.
pub const MAX_PAIRS: usize = 1024;

/// Maximum bytes of a block that a guest gives. More are malformed.
pub const MAX_BLOCK_BYTES: usize = 1 << 20;

/// Bytes of one number.
const NUMBER_BYTES: usize = 4;

/// A block of a guest breaks the encoding or exceeds its limits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("malformed header pairs")]
pub struct MalformedPairs;

/// A name and its value.
pub type Pair<'a> = (&'a [u8], &'a [u8]);

/// Where the name and the value of a pair are within a block.
type PairRange = (Range<usize>, Range<usize>);

/// Returns the pairs of a block.
///
/// # Errors
/// [`MalformedPairs`].
pub fn decode(block: &[u8]) -> Result<Vec<Pair<'_>>, MalformedPairs> {
    let ranges = ranges(block).ok_or(MalformedPairs)?;
    let pairs = ranges.into_iter().map(|(name, value)| Some((block.get(name)?, block.get(value)?)));
    pairs.collect::<Option<_>>().ok_or(MalformedPairs)
}

/// Returns the pairs of a block as fields. They share one copy of the block.
///
/// # Errors
/// [`MalformedPairs`].
pub fn decode_fields(block: &[u8]) -> Result<Fields, MalformedPairs> {
    let ranges = ranges(block).ok_or(MalformedPairs)?;
    let copy = Bytes::copy_from_slice(block);
    Ok(ranges.into_iter().map(|(name, value)| (copy.slice(name), copy.slice(value))).collect())
}

/// Replaces `block` with the encoding of the pairs that `for_each` gives. It is called twice and must give the same
/// pairs both times. Without pairs, the block is empty.
pub fn encode(block: &mut Vec<u8>, for_each: impl Fn(&mut dyn FnMut(&[u8], &[u8]))) {
    block.clear();
    block.extend_from_slice(&[0; NUMBER_BYTES]);
    let mut count = 0;
    for_each(&mut |name, value| {
        count += 1;
        block.extend_from_slice(&number(name.len()));
        block.extend_from_slice(&number(value.len()));
    });
    if count == 0 {
        block.clear();
        return;
    }
    if let Some(first) = block.first_chunk_mut() {
        *first = number(count);
    }
    for_each(&mut |name, value| {
        for part in [name, value] {
            block.extend_from_slice(part);
            block.push(0);
        }
    });
}

fn number(value: usize) -> [u8; NUMBER_BYTES] {
    u32::try_from(value).unwrap_or(u32::MAX).to_le_bytes()
}

/// Returns the ranges of a block's pairs. Returns `None` if it is malformed.
fn ranges(block: &[u8]) -> Option<Vec<PairRange>> {
    if block.is_empty() {
        return Some(Vec::new());
    }
    if block.len() > MAX_BLOCK_BYTES {
        return None;
    }
    let (count, rest) = block.split_first_chunk::<NUMBER_BYTES>()?;
    let count = usize::try_from(u32::from_le_bytes(*count)).ok()?;
    if count > MAX_PAIRS {
        return None;
    }
    let lengths = rest.get(..count * 2 * NUMBER_BYTES)?;
    let mut at = NUMBER_BYTES + lengths.len();
    let mut ranges = Vec::with_capacity(count);
    for pair in lengths.chunks_exact(2 * NUMBER_BYTES) {
        let (name, value) = pair.split_first_chunk::<NUMBER_BYTES>()?;
        let name = next_range(block, &mut at, *name)?;
        let value = next_range(block, &mut at, *value.first_chunk()?)?;
        ranges.push((name, value));
    }
    (at == block.len()).then_some(ranges)
}

/// Returns the range of a part that begins at `at`, and moves `at` behind its zero byte.
fn next_range(block: &[u8], at: &mut usize, len: [u8; NUMBER_BYTES]) -> Option<Range<usize>> {
    let len = usize::try_from(u32::from_le_bytes(len)).ok()?;
    let end = at.checked_add(len)?;
    if block.get(end) != Some(&0) {
        return None;
    }
    let range = *at..end;
    *at = end + 1;
    Some(range)
}
