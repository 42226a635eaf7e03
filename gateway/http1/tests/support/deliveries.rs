//! The ways in which a test hands bytes to a parser. What comes out must be the same for all of them.

/// Inputs up to this length are cut at every byte.
const CUT_EVERYWHERE: usize = 4096;

/// At once, in two pieces cut at each place, and byte by byte.
///
/// A longer input is cut at each of its first and last 64 bytes and at every 509th between (a prime, so that
/// the cuts fall differently into each line); the tests of limits therefore also run with small limits.
pub(crate) fn deliveries(bytes: &[u8]) -> impl Iterator<Item = Vec<&[u8]>> {
    let end = bytes.len();
    let is_cut =
        move |at: &usize| end <= CUT_EVERYWHERE || *at < 64 || end - *at < 64 || at.is_multiple_of(509);
    let in_two = (1..end).filter(is_cut).map(|at| vec![&bytes[..at], &bytes[at..]]);
    [vec![bytes], bytes.chunks(1).collect()].into_iter().chain(in_two)
}
