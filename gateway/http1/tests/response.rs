//! Rules for response heads and their framing, one row a case, each with every kind of delivery.

#![allow(clippy::expect_used, clippy::indexing_slicing, reason = "tests fail by panicking")]

use bytes::BytesMut;
use http1::parse::response;
use http1::{BodyLength, FramingError, Head, HeadError, HeadLimits, HeadScanner, KnownName, Version};

use BodyLength::{Chunked, Empty, Exact, UntilClose};
use HeadError::{BareLf, FoldedField, Malformed, TooLong, TooManyFields};
use ParseOutcome::{Accepted, BadFraming, Incomplete, Rejected};
use support::deliveries::deliveries;

mod support {
    pub(crate) mod deliveries;
}

/// The outcome of parsing a response to GET.
#[derive(Clone, Copy, Debug, PartialEq)]
enum ParseOutcome {
    Accepted(BodyLength),
    Rejected(HeadError),
    BadFraming(FramingError),
    Incomplete,
}

/// The bytes behind the head, which must stay in the buffer.
const NEXT_REQUEST: &[u8] = b"HTTP/1.1 299 Rest\r\nContent-Length: 0\r\n\r\n";

const NAME: HeadError = Malformed("field name");
const VALUE: HeadError = Malformed("field value");
const STATUS: HeadError = Malformed("status");
const LINE_END: HeadError = Malformed("line end");

fn parse_pieces(pieces: &[&[u8]], limits: &HeadLimits) -> (Result<Option<Head>, HeadError>, BytesMut) {
    let (mut buffer, mut scanner) = (BytesMut::new(), HeadScanner::default());
    let mut pieces = pieces.iter();
    for piece in pieces.by_ref() {
        buffer.extend_from_slice(piece);
        let found = response(&mut buffer, &mut scanner, limits);
        if !matches!(found, Ok(None)) {
            pieces.for_each(|piece| buffer.extend_from_slice(piece));
            return (found, buffer);
        }
    }
    (Ok(None), buffer)
}

fn check_with_limits(limits: &HeadLimits, name: &str, head: &[u8], expected: ParseOutcome) {
    let is_accepted = matches!(expected, Accepted(_) | BadFraming(_));
    let bytes = if is_accepted { [head, NEXT_REQUEST].concat() } else { head.to_vec() };
    let mut first = None;
    for pieces in deliveries(&bytes) {
        let cut = pieces.first().map_or(0, |piece| piece.len());
        let (found, left) = parse_pieces(&pieces, limits);
        let outcome = match &found {
            Err(error) => Rejected(*error),
            Ok(None) => Incomplete,
            Ok(Some(head)) => BodyLength::from_response(head, b"GET").map_or_else(BadFraming, Accepted),
        };
        assert_eq!(outcome, expected, "{name}, first piece {cut} bytes");
        let Ok(Some(head)) = found else { continue };
        assert_eq!(left, NEXT_REQUEST, "{name}, first piece {cut} bytes: what follows the head");
        let fields: Vec<_> = head.fields().collect();
        let shape = format!("{} {:?} {:?} {fields:?}", head.status(), head.reason(), head.version());
        assert_eq!(*first.get_or_insert_with(|| shape.clone()), shape, "{name}, first piece {cut} bytes");
    }
}

fn check(name: &str, head: &[u8], expected: ParseOutcome) {
    check_with_limits(&HeadLimits::default(), name, head, expected);
}

fn parsed(bytes: &[u8]) -> Head {
    parse_pieces(&[bytes], &HeadLimits::default()).0.expect("valid").expect("complete")
}

#[test]
fn status_line_outside_the_grammar_is_rejected() {
    for (line, expected) in [
        ("HTTP/1.1 200 OK", Accepted(UntilClose)),
        ("HTTP/1.0 200 OK", Accepted(UntilClose)),
        ("HTTP/1.1 200 ", Accepted(UntilClose)),
        ("HTTP/1.1 200", Accepted(UntilClose)),
        ("HTTP/1.1 200 Not so \t OK", Accepted(UntilClose)),
        ("HTTP/1.1 200 \u{e4}", Accepted(UntilClose)),
        ("HTTP/1.1 599 x", Accepted(UntilClose)),
        ("HTTP/1.1 100 Continue", Accepted(Empty)),
        ("HTTP/1.1 000 x", Rejected(STATUS)),
        ("HTTP/1.1 099 x", Rejected(STATUS)),
        ("HTTP/1.1 600 x", Rejected(STATUS)),
        ("HTTP/1.1 999 x", Rejected(STATUS)),
        ("HTTP/1.1 20 OK", Rejected(STATUS)),
        ("HTTP/1.1 2000 OK", Rejected(STATUS)),
        ("HTTP/1.1 +20 OK", Rejected(STATUS)),
        ("HTTP/1.1 2x0 OK", Rejected(STATUS)),
        ("HTTP/1.1  200 OK", Rejected(STATUS)),
        ("HTTP/1.1 200\tOK", Rejected(STATUS)),
        ("HTTP/1.1 OK", Rejected(STATUS)),
        ("HTTP/1.1 200 a\0b", Rejected(STATUS)),
        ("HTTP/1.1 200 a\u{7f}b", Rejected(STATUS)),
        ("HTTP/1.1 200 a\rb", Rejected(STATUS)),
        ("HTTP/1.1\t200 OK", Rejected(HeadError::Version)),
        ("HTTP/2.0 200 OK", Rejected(HeadError::Version)),
        ("HTTP/0.9 200 OK", Rejected(HeadError::Version)),
        ("HTTP/1.2 200 OK", Rejected(HeadError::Version)),
        ("HTTP/1.10 200 OK", Rejected(HeadError::Version)),
        ("http/1.1 200 OK", Rejected(HeadError::Version)),
        ("ICY 200 OK", Rejected(HeadError::Version)),
        (" HTTP/1.1 200 OK", Rejected(HeadError::Version)),
        ("garbage", Rejected(HeadError::Version)),
        ("HTTP/1.1", Rejected(HeadError::Version)),
    ] {
        check(line, format!("{line}\r\nA: b\r\n\r\n").as_bytes(), expected);
    }
    check("no fields", b"HTTP/1.1 200 OK\r\n\r\n", Accepted(UntilClose));
    check("empty line first", b"\r\nHTTP/1.1 200 OK\r\n\r\n", Rejected(Malformed("head")));
    check("bare LF ends the line", b"HTTP/1.1 200 OK\nA: b\r\n\r\n", Rejected(BareLf));
    check("bare CR ends the line", b"HTTP/1.1 200 OK\rA: b\r\n\r\n", Rejected(STATUS));
}

#[test]
fn response_fields_are_as_strict_as_request_fields() {
    for (name, fields, expected) in [
        ("plain", "A:b\r\n", Accepted(UntilClose)),
        ("space before the colon", "A : b\r\n", Rejected(NAME)),
        ("space before the colon of a length", "Content-Length : 5\r\n", Rejected(NAME)),
        ("no colon", "A\r\n", Rejected(NAME)),
        ("no name", ": b\r\n", Rejected(NAME)),
        ("obs-fold", "A: b\r\n c\r\n", Rejected(FoldedField)),
        ("obs-fold before the first field", " A: b\r\n", Rejected(FoldedField)),
        ("bare LF", "A: b\nC: d\r\n", Rejected(BareLf)),
        ("bare CR", "A: b\rC: d\r\n", Rejected(VALUE)),
        ("bare CR before CRLF", "A: b\r\r\n", Rejected(VALUE)),
        ("bare CR starts a line", "\rA: b\r\n", Rejected(LINE_END)),
        ("NUL", "A: b\0\r\n", Rejected(VALUE)),
        ("DEL", "A: \u{7f}\r\n", Rejected(VALUE)),
        ("NUL in the name", "A\0: b\r\n", Rejected(NAME)),
    ] {
        check(name, format!("HTTP/1.1 200 OK\r\n{fields}\r\n").as_bytes(), expected);
    }
}

#[test]
fn response_framing_is_as_strict_as_request_framing() {
    let malformed = BadFraming(FramingError::MalformedLength);
    let several = BadFraming(FramingError::SeveralLengths);
    let repeated = BadFraming(FramingError::RepeatedLength);
    let unknown = BadFraming(FramingError::UnknownEncoding);
    let both = BadFraming(FramingError::LengthAndEncoding);
    for (name, fields, expected) in [
        ("nothing said", "A: b", Accepted(UntilClose)),
        ("length", "Content-Length: 5", Accepted(Exact(5))),
        ("length of zero", "Content-Length: 0", Accepted(Exact(0))),
        ("chunked", "Transfer-Encoding: Chunked", Accepted(Chunked)),
        ("plus", "Content-Length: +5", malformed),
        ("minus", "Content-Length: -5", malformed),
        ("empty", "Content-Length:", malformed),
        ("list of equals", "Content-Length: 5, 5", malformed),
        ("19 digits", "Content-Length: 1000000000000000000", malformed),
        ("twice, equal", "Content-Length: 5\r\nContent-Length: 5", repeated),
        ("twice, differing", "Content-Length: 5\r\nContent-Length: 6", several),
        ("with an encoding", "Content-Length: 5\r\nTransfer-Encoding: chunked", both),
        ("with an empty encoding", "Content-Length: 5\r\nTransfer-Encoding:", both),
        ("identity", "Transfer-Encoding: identity", unknown),
        ("gzip alone", "Transfer-Encoding: gzip", unknown),
        ("gzip, chunked", "Transfer-Encoding: gzip, chunked", unknown),
        ("chunked, chunked", "Transfer-Encoding: chunked, chunked", unknown),
        ("xchunked", "Transfer-Encoding: xchunked", unknown),
        ("empty encoding", "Transfer-Encoding:", unknown),
        ("encoding twice", "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked", unknown),
    ] {
        check(name, format!("HTTP/1.1 200 OK\r\n{fields}\r\n\r\n").as_bytes(), expected);
    }
    let old = b"HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n";
    check("chunked in 1.0", old, BadFraming(FramingError::EncodingInHttp10));
    check("length in 1.0", b"HTTP/1.0 200 OK\r\nContent-Length: 5\r\n\r\n", Accepted(Exact(5)));
}

#[test]
fn responses_without_body_ignore_framing_fields() {
    let both = Err(FramingError::LengthAndEncoding);
    for (method, status, fields, expected) in [
        ("HEAD", 200, "", Ok(Empty)),
        ("HEAD", 200, "Content-Length: 5\r\n", Ok(Empty)),
        ("HEAD", 200, "Transfer-Encoding: chunked\r\n", Ok(Empty)),
        ("HEAD", 200, "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n", both),
        ("HEAD", 200, "Content-Length: x\r\n", Err(FramingError::MalformedLength)),
        ("head", 200, "Content-Length: 5\r\n", Ok(Exact(5))),
        ("GET", 100, "Content-Length: 5\r\n", Ok(Empty)),
        ("GET", 101, "", Ok(Empty)),
        ("GET", 103, "", Ok(Empty)),
        ("GET", 199, "", Ok(Empty)),
        ("GET", 204, "", Ok(Empty)),
        ("GET", 204, "Content-Length: 0\r\n", Ok(Empty)),
        ("GET", 204, "Transfer-Encoding: chunked\r\n", Ok(Empty)),
        ("GET", 304, "Content-Length: 5\r\n", Ok(Empty)),
        ("GET", 304, "Content-Length: 5\r\nContent-Length: 5\r\n", Err(FramingError::RepeatedLength)),
        ("GET", 200, "", Ok(UntilClose)),
        ("GET", 205, "", Ok(UntilClose)),
        ("POST", 500, "Content-Length: 0\r\n", Ok(Exact(0))),
    ] {
        let head = parsed(format!("HTTP/1.1 {status} x\r\n{fields}\r\n").as_bytes());
        let length = BodyLength::from_response(&head, method.as_bytes());
        assert_eq!(length, expected, "{status} to {method} with {fields:?}");
    }
}

#[test]
fn limits_are_exact_to_the_byte() {
    let limits = HeadLimits { head_bytes: 300, fields: 10, target_bytes: 50 };
    let long =
        |length: usize| format!("HTTP/1.1 200 OK\r\nA: {}\r\n\r\n", "v".repeat(length - 24)).into_bytes();
    let many = |count| format!("HTTP/1.1 200 OK\r\n{}\r\n", "A: b\r\n".repeat(count)).into_bytes();
    check_with_limits(&limits, "head", &long(300), Accepted(UntilClose));
    check_with_limits(&limits, "longer head", &long(301), Rejected(TooLong));
    check_with_limits(&limits, "never ends", &long(400)[..396], Rejected(TooLong));
    check_with_limits(&limits, "fields", &many(10), Accepted(UntilClose));
    check_with_limits(&limits, "more fields", &many(11), Rejected(TooManyFields));
    let limits = HeadLimits::default();
    check_with_limits(&limits, "head", &long(32 << 10), Accepted(UntilClose));
    check_with_limits(&limits, "longer head", &long((32 << 10) + 1), Rejected(TooLong));
    check_with_limits(&limits, "fields", &many(100), Accepted(UntilClose));
    check_with_limits(&limits, "more fields", &many(101), Rejected(TooManyFields));
}

#[test]
fn incomplete_head_is_not_parsed() {
    let whole = b"HTTP/1.1 200 OK\r\nServer: a\r\nContent-Length: 5\r\n\r\n";
    for end in 0..whole.len() {
        check("cut short", &whole[..end], Incomplete);
    }
    check("whole", whole, Accepted(Exact(5)));
}

#[test]
fn informational_and_final_heads_are_parsed_in_turn() {
    let (mut scanner, limits) = (HeadScanner::default(), HeadLimits::default());
    let bytes =
        b"HTTP/1.1 103 Early Hints\r\nLink: a\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nbody";
    let mut buffer = BytesMut::from(&bytes[..]);
    for status in [103, 200] {
        let head = response(&mut buffer, &mut scanner, &limits).expect("valid").expect("complete");
        assert_eq!(head.status(), status);
    }
    assert_eq!(buffer, &b"body"[..]);
}

#[test]
fn head_returns_what_was_sent() {
    let head = parsed(b"HTTP/1.0 404 Not  Found\r\nsErver: \tx \r\nSet-Cookie: a\r\nSet-Cookie: b\r\n\r\n");
    assert_eq!((head.status(), head.reason()), (404, &b"Not  Found"[..]));
    assert_eq!(head.version(), Version::Http10);
    assert_eq!((head.method(), head.target(), head.path()), (&b""[..], &b""[..], &b""[..]));
    assert_eq!(head.get(KnownName::Server), Some(&b"x"[..]));
    let fields: Vec<_> = head.fields().map(|(_, name, value)| (name, value)).collect();
    assert_eq!(fields, [(&b"sErver"[..], &b"x"[..]), (b"Set-Cookie", b"a"), (b"Set-Cookie", b"b")]);
    assert_eq!(parsed(b"HTTP/1.1 200\r\n\r\n").reason(), b"");
    // The tokenizer drops a reason phrase that is not ASCII.
    assert_eq!(parsed(b"HTTP/1.1 200 \xe4\r\n\r\n").reason(), b"");
}
