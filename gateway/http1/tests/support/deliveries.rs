//! Deliveries: the ways in which a test splits input for a parser. The result must be the same for all of them.

/// Inputs up to this length are split at every byte.
const CUT_EVERYWHERE: usize = 4096;

/// Returns the input whole, byte by byte, and in two pieces for each split position.
///
/// A longer input is split at each of its first and last 64 bytes and at every 509th byte between. 509 is prime,
/// so the splits hit different offsets of each line. Tests of limits therefore also run with small limits.
pub(crate) fn deliveries(bytes: &[u8]) -> impl Iterator<Item = Vec<&[u8]>> {
    let end = bytes.len();
    let is_cut =
        move |at: &usize| end <= CUT_EVERYWHERE || *at < 64 || end - *at < 64 || at.is_multiple_of(509);
    let in_two = (1..end).filter(is_cut).map(|at| vec![&bytes[..at], &bytes[at..]]);
    [vec![bytes], bytes.chunks(1).collect()].into_iter().chain(in_two)
}
