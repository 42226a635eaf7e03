//! Chunked bodies: the delivery of the bytes changes nothing, and a body that was accepted gives the same data
//! and trailers when it is written anew and read again.
//!
//! The first byte of the input chooses the size of the pieces, the rest is what the connection delivers.

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
    // The framing of nothing at all is 5 bytes long.
    if let Ok(Some(taken)) = whole.end {
        assert!(taken >= whole.data.len() + 5);
        check_again(&whole);
    }
});

struct Body {
    data: Vec<u8>,
    trailers: Option<Head>,
    /// How many bytes the whole body took, if it ended.
    end: Result<Option<usize>, BodyError>,
}

fn decode(bytes: &[u8], size: usize) -> Body {
    let mut decoder = BodyDecoder::new(BodyLength::Chunked);
    // The first call says what type the buffer has: this workspace has no use for `bytes` otherwise.
    let mut buffer = Default::default();
    assert!(matches!(decoder.decode(&mut buffer, &HeadLimits::default()), Ok(Decoded::Incomplete)));
    let mut body = Body { data: Vec::new(), trailers: None, end: Ok(None) };
    let mut given = 0;
    for piece in bytes.chunks(size.max(1)) {
        buffer.extend_from_slice(piece);
        given += piece.len();
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
                    body.end = Ok(Some(given - buffer.len()));
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

fn check_again(body: &Body) {
    let (mut out, mut encoder) = (Default::default(), BodyEncoder::new(BodyLength::Chunked));
    if !body.data.is_empty() {
        assert!(encoder.begin_data(body.data.len(), &mut out));
        out.extend_from_slice(&body.data);
        encoder.end_data(&mut out);
    }
    assert!(encoder.finish(body.trailers.as_ref(), &mut out));
    let again = decode(&out, 7);
    assert_eq!(again.data, body.data);
    // Trailers written anew may be longer by a space each, and so beyond the limit.
    if out.len() < body.data.len() + HeadLimits::default().head_bytes {
        assert_eq!(again.end, Ok(Some(out.len())));
        let sent =
            body.trailers.iter().flat_map(Head::fields).filter(|field| is_trailer_allowed(field.0, field.1));
        assert!(sent.map(|field| (field.1, field.2)).eq(fields(again.trailers.as_ref())));
    }
}
