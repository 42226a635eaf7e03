//! Fuzzes blocks of header pairs. What is accepted encodes to the same bytes again, and both decoders agree.

#![no_main]

use libfuzzer_sys::fuzz_target;
use plugin_host::pairs;

fuzz_target!(|block: &[u8]| {
    let (decoded, fields) = (pairs::decode(block), pairs::decode_fields(block));
    let (Ok(decoded), Ok(fields)) = (&decoded, &fields) else {
        assert!(decoded.is_err() && fields.is_err());
        return;
    };
    let borrowed = fields.iter().map(|(name, value)| (&**name, &**value));
    assert!(borrowed.eq(decoded.iter().copied()));
    let mut encoded = Vec::new();
    pairs::encode(&mut encoded, |on_pair| decoded.iter().for_each(|(name, value)| on_pair(name, value)));
    if decoded.is_empty() {
        assert!(encoded.is_empty() && (block.is_empty() || block == [0; 4]));
    } else {
        assert_eq!(encoded, block);
    }
});
