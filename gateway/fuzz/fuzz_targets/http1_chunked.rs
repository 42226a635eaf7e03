//! Fuzzes chunked bodies. The result must not depend on delivery, and an accepted body that is encoded again
//! must decode to the same data and trailers.
//!
//! The first byte of the input selects the size of the pieces. The rest is the received data.

#![no_main]

use http1::body::is_trailer_allowed;
use http1::{BodyDecoder, BodyEncoder, BodyError, BodyLength, Decoded, Head, HeadLimits};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| {
    let Some((size, bytes)) = input.split_first() else { return };
    let whole = decode(bytes, bytes.len());
    let pieces = decode(bytes, usize::from(*size));
    assert_eq!(whole.data, pieces.data);
    assert_eq!(whole.end, pieces.end);
    assert_eq!(fields(whole.trailers.as_ref()), fields(pieces.trailers.as_ref()));
    // The framing of an empty body is 5 bytes long.
    if let Ok(Some(consumed)) = whole.end {
        assert!(consumed >= whole.data.len() + 5);
        check_roundtrip(&whole);
    }
});

struct Body {
    data: Vec<u8>,
    trailers: Option<Head>,
    /// Number of bytes of the whole body, or `None` if it is incomplete.
    end: Result<Option<usize>, BodyError>,
}

fn decode(bytes: &[u8], size: usize) -> Body {
    let mut decoder = BodyDecoder::new(BodyLength::Chunked);
    // The first call infers the buffer type, so this workspace does not depend on `bytes`.
    let mut buffer = Default::default();
    assert!(matches!(decoder.decode(&mut buffer, &HeadLimits::default()), Ok(Decoded::Incomplete)));
    let mut body = Body { data: Vec::new(), trailers: None, end: Ok(None) };
    let mut received = 0;
    for piece in bytes.chunks(size.max(1)) {
        buffer.extend_from_slice(piece);
        received += piece.len();
        loop {
            match decoder.decode(&mut buffer, &HeadLimits::default()) {
                Ok(Decoded::Data(data)) => {
                    assert!(!data.is_empty());
                    body.data.extend_from_slice(&data);
                }
                Ok(Decoded::Trailers(head)) => body.trailers = Some(head),
                Ok(Decoded::Incomplete) => break,
                Ok(Decoded::End) => {
                    assert!(decoder.is_ended());
                    body.end = Ok(Some(received - buffer.len()));
                    return body;
                }
                Err(error) => {
                    body.end = Err(error);
                    return body;
                }
            }
        }
    }
    assert!(!decoder.is_ended());
    assert_eq!(decoder.finish(), Err(BodyError::Truncated));
    body
}

fn fields(head: Option<&Head>) -> Vec<(&[u8], &[u8])> {
    head.into_iter().flat_map(Head::fields).map(|(_, name, value)| (name, value)).collect()
}

fn check_roundtrip(body: &Body) {
    let (mut out, mut encoder) = (Default::default(), BodyEncoder::new(BodyLength::Chunked));
    if !body.data.is_empty() {
        assert_eq!(encoder.begin_data(body.data.len(), &mut out), Ok(()));
        out.extend_from_slice(&body.data);
        encoder.end_data(&mut out);
    }
    assert_eq!(encoder.finish(body.trailers.as_ref(), &mut out), Ok(()));
    let again = decode(&out, 7);
    assert_eq!(again.data, body.data);
    // Encoding may add one space to each trailer and thereby exceed the limit.
    if out.len() < body.data.len() + HeadLimits::default().head_bytes {
        assert_eq!(again.end, Ok(Some(out.len())));
        let sent =
            body.trailers.iter().flat_map(Head::fields).filter(|field| is_trailer_allowed(field.0, field.1));
        assert!(sent.map(|field| (field.1, field.2)).eq(fields(again.trailers.as_ref())));
    }
}
