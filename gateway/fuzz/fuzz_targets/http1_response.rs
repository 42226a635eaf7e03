//! Fuzzes response heads. The result must not depend on delivery, and a response with ambiguous framing is
//! rejected for every request method.
//!
//! The first byte of the input selects the size of the pieces. The rest is the received data.

#![no_main]

use http1::parse::response;
use http1::{BodyLength, Head, HeadError, HeadLimits, HeadScanner};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| {
    let Some((size, bytes)) = input.split_first() else { return };
    let whole = parse_pieces(bytes, bytes.len());
    let pieces = parse_pieces(bytes, usize::from(*size));
    match (whole, pieces) {
        (Ok(None), Ok(None)) => {}
        (Err(whole), Err(pieces)) => assert_eq!(whole, pieces),
        (Ok(Some((head, consumed))), Ok(Some((other, other_consumed)))) => {
            assert_eq!(consumed, other_consumed);
            assert_eq!((head.status(), head.reason()), (other.status(), other.reason()));
            assert_eq!(head.version(), other.version());
            assert!(head.fields().eq(other.fields()));
            check(&head, &bytes[..consumed]);
        }
        (whole, pieces) => panic!("{whole:?} at once, {pieces:?} in pieces of {size}"),
    }
});

fn parse_pieces(bytes: &[u8], size: usize) -> Result<Option<(Head, usize)>, HeadError> {
    // The first call infers the buffer type, so this workspace does not depend on `bytes`.
    let (mut buffer, mut scanner, mut received) = (Default::default(), HeadScanner::default(), 0);
    assert!(matches!(response(&mut buffer, &mut scanner, &HeadLimits::default()), Ok(None)));
    for piece in bytes.chunks(size.max(1)) {
        buffer.extend_from_slice(piece);
        received += piece.len();
        if let Some(head) = response(&mut buffer, &mut scanner, &HeadLimits::default())? {
            return Ok(Some((head, received - buffer.len())));
        }
    }
    Ok(None)
}

fn check(head: &Head, bytes: &[u8]) {
    assert!((100..=599).contains(&head.status()));
    let lines = bytes.windows(2).filter(|pair| pair == b"\r\n").count();
    assert_eq!(head.fields().count() + 2, lines);
    let ends = bytes.iter().filter(|byte| matches!(byte, b'\r' | b'\n')).count();
    assert_eq!(ends, 2 * lines, "bare CR or LF");
    assert!(!bytes.contains(&0), "NUL");

    let named =
        |name: &str| head.fields().filter(|field| field.1.eq_ignore_ascii_case(name.as_bytes())).count();
    let (lengths, encodings) = (named("content-length"), named("transfer-encoding"));
    let to_get = BodyLength::from_response(head, b"GET");
    let to_head = BodyLength::from_response(head, b"HEAD");
    assert_eq!(to_get.err(), to_head.err());
    assert!(matches!(to_head, Ok(BodyLength::Empty) | Err(_)));
    match to_get {
        Ok(BodyLength::Empty) => assert!(matches!(head.status(), 100..=199 | 204 | 304)),
        Ok(BodyLength::Exact(_)) => assert_eq!((lengths, encodings), (1, 0)),
        Ok(BodyLength::Chunked) => assert_eq!((lengths, encodings), (0, 1)),
        Ok(BodyLength::UntilClose) => assert_eq!((lengths, encodings), (0, 0)),
        Err(_) => assert!(lengths + encodings > 0),
    }
}
