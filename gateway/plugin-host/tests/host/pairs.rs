//! The encoding of header maps against a naive model.

use plugin_host::pairs;
use plugin_host::pairs::MAX_BLOCK_BYTES;
use plugin_host::pairs::MAX_PAIRS;
use plugin_host::pairs::MalformedPairs;
use proptest::collection::vec;
use proptest::prelude::any;
use proptest::proptest;

type Model = Vec<(Vec<u8>, Vec<u8>)>;

/// Encodes field by field.
fn model_encode(pairs: &Model) -> Vec<u8> {
    let number = |value: usize| u32::try_from(value).unwrap().to_le_bytes();
    let mut block = number(pairs.len()).to_vec();
    for (name, value) in pairs {
        block.extend(number(name.len()));
        block.extend(number(value.len()));
    }
    for (name, value) in pairs {
        block.extend(name.iter().chain(&[0]).chain(value).chain(&[0]));
    }
    block
}

/// Decodes with one cursor, and accepts only what encodes to the same bytes.
fn model_decode(block: &[u8]) -> Option<Model> {
    if block.is_empty() {
        return Some(Vec::new());
    }
    let number =
        |at: usize| Some(u32::from_le_bytes(block.get(at..at.checked_add(4)?)?.try_into().ok()?) as usize);
    let count = number(0)?;
    if count > MAX_PAIRS || block.len() > MAX_BLOCK_BYTES {
        return None;
    }
    let mut at = 4 + count * 8;
    let mut pairs = Vec::new();
    for index in 0..count {
        let name = block.get(at..at.checked_add(number(4 + index * 8)?)?)?;
        at += name.len() + 1;
        let value = block.get(at..at.checked_add(number(8 + index * 8)?)?)?;
        at += value.len() + 1;
        pairs.push((name.to_vec(), value.to_vec()));
    }
    (model_encode(&pairs) == block).then_some(pairs)
}

fn decode(block: &[u8]) -> Option<Model> {
    let pairs = pairs::decode(block).ok()?;
    Some(pairs.into_iter().map(|(name, value)| (name.to_vec(), value.to_vec())).collect())
}

proptest! {
    #[test]
    fn encoding_is_that_of_the_model(pairs in vec((vec(any::<u8>(), 0..9), vec(any::<u8>(), 0..9)), 1..9)) {
        let mut block = b"old".to_vec();
        pairs::encode(&mut block, |on_pair| pairs.iter().for_each(|(name, value)| on_pair(name, value)));
        assert_eq!(block, model_encode(&pairs));
        assert_eq!(decode(&block), Some(pairs));
    }

    #[test]
    fn damaged_blocks_decode_as_in_the_model(
        pairs in vec((vec(any::<u8>(), 0..4), vec(any::<u8>(), 0..4)), 0..4),
        damage in vec((any::<usize>(), any::<u8>()), 0..3),
        len in 0..80_usize,
    ) {
        let mut block = model_encode(&pairs);
        for (at, byte) in damage {
            let at = at % block.len();
            block[at] = byte;
        }
        block.truncate(len);
        assert_eq!(decode(&block), model_decode(&block));
        assert_eq!(pairs::decode_fields(&block).is_ok(), model_decode(&block).is_some());
    }

    #[test]
    fn random_blocks_decode_as_in_the_model(block in vec(any::<u8>(), 0..64)) {
        assert_eq!(decode(&block), model_decode(&block));
    }
}

#[test]
fn limits_are_exact() {
    let many = |count| model_encode(&vec![(Vec::new(), Vec::new()); count]);
    assert_eq!(pairs::decode(&many(MAX_PAIRS)).map(|pairs| pairs.len()), Ok(MAX_PAIRS));
    assert_eq!(pairs::decode(&many(MAX_PAIRS + 1)), Err(MalformedPairs));
    let long = |len: usize| model_encode(&vec![(vec![b'n'; len - 14], Vec::new())]);
    assert_eq!(long(MAX_BLOCK_BYTES).len(), MAX_BLOCK_BYTES);
    assert!(pairs::decode(&long(MAX_BLOCK_BYTES)).is_ok());
    assert_eq!(pairs::decode(&long(MAX_BLOCK_BYTES + 1)), Err(MalformedPairs));
}

#[test]
fn empty_maps_are_empty_blocks() {
    assert_eq!(pairs::decode(b""), Ok(Vec::new()));
    assert_eq!(pairs::decode(&[0; 4]), Ok(Vec::new()));
    assert_eq!(pairs::decode(&[0; 5]), Err(MalformedPairs));
    let mut block = b"old".to_vec();
    pairs::encode(&mut block, |_| ());
    assert!(block.is_empty());
}
