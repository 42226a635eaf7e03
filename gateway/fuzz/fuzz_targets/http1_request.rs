//! Request heads: the delivery of the bytes changes nothing, an accepted head says only what its bytes say, and
//! written again it is the same message with the same framing.
//!
//! The first byte of the input chooses the size of the pieces, the rest is what the connection delivers.

#![no_main]

use http1::parse::request;
use http1::{BodyLength, Head, HeadError, HeadLimits, HeadScanner, KnownName, Version, write};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| {
    let Some((size, bytes)) = input.split_first() else { return };
    let whole = feed(bytes, bytes.len());
    let pieces = feed(bytes, usize::from(*size));
    match (whole, pieces) {
        (Ok(None), Ok(None)) => {}
        (Err(whole), Err(pieces)) => assert_eq!(whole, pieces),
        (Ok(Some((head, taken))), Ok(Some((other, other_taken)))) => {
            assert_eq!(taken, other_taken);
            assert_eq!(shape(&head), shape(&other));
            check(&head, &bytes[..taken]);
        }
        (whole, pieces) => panic!("{whole:?} at once, {pieces:?} in pieces of {size}"),
    }
});

/// The head, and how many bytes it took.
type Fed = Result<Option<(Head, usize)>, HeadError>;

fn feed(bytes: &[u8], size: usize) -> Fed {
    // The first call says what type the buffer has: this workspace has no use for `bytes` otherwise.
    let (mut buffer, mut scanner, mut given) = (Default::default(), HeadScanner::default(), 0);
    assert!(matches!(request(&mut buffer, &mut scanner, &HeadLimits::default()), Ok(None)));
    for piece in bytes.chunks(size.max(1)) {
        buffer.extend_from_slice(piece);
        given += piece.len();
        if let Some(head) = request(&mut buffer, &mut scanner, &HeadLimits::default())? {
            return Ok(Some((head, given - buffer.len())));
        }
    }
    Ok(None)
}

type Shape<'a> = (&'a [u8], &'a [u8], Version, Vec<(Option<KnownName>, &'a [u8], &'a [u8])>);

fn shape(head: &Head) -> Shape<'_> {
    (head.method(), head.target(), head.version(), head.fields().collect())
}

fn check(head: &Head, bytes: &[u8]) {
    // Every line is a field, aside from the first and the last (and an empty one before the first).
    let before = usize::from(bytes.starts_with(b"\r\n"));
    let is_crlf = |pair: &&[u8]| *pair == b"\r\n";
    let lines = bytes.windows(2).filter(is_crlf).count() - before;
    assert_eq!(head.fields().count() + 2, lines);
    let of = |wanted: &[u8]| bytes.iter().filter(|byte| wanted.contains(byte)).count();
    assert_eq!(of(b"\r\n"), 2 * (lines + before), "bare CR or LF");
    assert_eq!(of(b"\0"), 0, "NUL");

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
        assert_eq!(framing.is_ok(), rewritten(head));
    }
}

/// Writes the head as the gateway would and reads it again; says whether its framing is sound.
fn rewritten(head: &Head) -> bool {
    let mut out = Default::default();
    write::request_line(&mut out, head.method(), head.target());
    head.fields().for_each(|(_, name, value)| write::field(&mut out, name, value));
    write::end(&mut out);
    // Written anew, a head may be longer by a space for each field and a slash for the target.
    let limits = HeadLimits { head_bytes: 2 * HeadLimits::default().head_bytes, ..HeadLimits::default() };
    let again = request(&mut out, &mut HeadScanner::default(), &limits);
    let Ok(Some(again)) = again else { panic!("what was read is not what was written: {again:?}") };
    assert!(out.is_empty());
    assert_eq!(shape(head), shape(&again));
    assert_eq!(BodyLength::from_request(head), BodyLength::from_request(&again));
    BodyLength::from_request(&again).is_ok()
}
