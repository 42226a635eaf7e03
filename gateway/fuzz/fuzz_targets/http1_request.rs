//! Fuzzes request heads. The result must not depend on delivery, an accepted head contains only its own bytes,
//! and a head that is written again parses to the same message with the same framing.
//!
//! The first byte of the input selects the size of the pieces. The rest is the received data.

#![no_main]

use http1::parse::request;
use http1::{BodyLength, Head, HeadError, HeadLimits, HeadScanner, KnownName, Version, write};
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
            assert_eq!(parts(&head), parts(&other));
            check(&head, &bytes[..consumed]);
        }
        (whole, pieces) => panic!("{whole:?} at once, {pieces:?} in pieces of {size}"),
    }
});

/// A head and the number of its bytes.
type ParseResult = Result<Option<(Head, usize)>, HeadError>;

fn parse_pieces(bytes: &[u8], size: usize) -> ParseResult {
    // The first call infers the buffer type, so this workspace does not depend on `bytes`.
    let (mut buffer, mut scanner, mut received) = (Default::default(), HeadScanner::default(), 0);
    assert!(matches!(request(&mut buffer, &mut scanner, &HeadLimits::default()), Ok(None)));
    for piece in bytes.chunks(size.max(1)) {
        buffer.extend_from_slice(piece);
        received += piece.len();
        if let Some(head) = request(&mut buffer, &mut scanner, &HeadLimits::default())? {
            return Ok(Some((head, received - buffer.len())));
        }
    }
    Ok(None)
}

type HeadParts<'a> = (&'a [u8], &'a [u8], Version, Vec<(Option<KnownName>, &'a [u8], &'a [u8])>);

fn parts(head: &Head) -> HeadParts<'_> {
    (head.method(), head.target(), head.version(), head.fields().collect())
}

fn check(head: &Head, bytes: &[u8]) {
    // Every line is a field, except the first, the last, and an empty line before the first.
    let before = usize::from(bytes.starts_with(b"\r\n"));
    let is_crlf = |pair: &&[u8]| *pair == b"\r\n";
    let lines = bytes.windows(2).filter(is_crlf).count() - before;
    assert_eq!(head.fields().count() + 2, lines);
    let count = |set: &[u8]| bytes.iter().filter(|byte| set.contains(byte)).count();
    assert_eq!(count(b"\r\n"), 2 * (lines + before), "bare CR or LF");
    assert_eq!(count(b"\0"), 0, "NUL");

    let named =
        |name: &str| head.fields().filter(|field| field.1.eq_ignore_ascii_case(name.as_bytes())).count();
    assert!(named("host") == 1 || (named("host") == 0 && head.version() == Version::Http10));
    let (lengths, encodings) = (named("content-length"), named("transfer-encoding"));
    let framing = BodyLength::from_request(head);
    match framing {
        Ok(BodyLength::Empty) => assert_eq!((lengths, encodings), (0, 0)),
        Ok(BodyLength::Exact(_)) => assert_eq!((lengths, encodings), (1, 0)),
        Ok(BodyLength::Chunked) => assert_eq!((lengths, encodings), (0, 1)),
        Ok(BodyLength::UntilClose) => panic!("a request that ends with the connection"),
        Err(_) => assert!(lengths + encodings > 0),
    }
    if head.version() == Version::Http11 {
        assert_eq!(framing.is_ok(), is_framing_valid_after_rewrite(head));
    }
}

/// Writes the head as the gateway does, parses it again, and returns whether its framing is valid.
fn is_framing_valid_after_rewrite(head: &Head) -> bool {
    let mut out = Default::default();
    write::request_line(&mut out, head.method(), head.target());
    head.fields().for_each(|(_, name, value)| write::field(&mut out, name, value));
    write::end(&mut out);
    // Writing may add one space to each field and a slash to the target.
    let limits = HeadLimits { head_bytes: 2 * HeadLimits::default().head_bytes, ..HeadLimits::default() };
    let again = request(&mut out, &mut HeadScanner::default(), &limits);
    let Ok(Some(again)) = again else { panic!("what was read is not what was written: {again:?}") };
    assert!(out.is_empty());
    assert_eq!(parts(head), parts(&again));
    assert_eq!(BodyLength::from_request(head), BodyLength::from_request(&again));
    BodyLength::from_request(&again).is_ok()
}
