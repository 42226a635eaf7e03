//! Every rule for response heads and their framing, one row a case, each delivered in every way.

#![allow(clippy::expect_used, clippy::indexing_slicing, reason = "tests fail by panicking")]

use bytes::BytesMut;
use http1::parse::response;
use http1::{BodyLength, FramingError, Head, HeadError, HeadScanner, Known, Limits, Version};

use BodyLength::{Chunked, Empty, Exact, UntilClose};
use Expected::{Framing, Refused, Taken, Waits};
use HeadError::{BareLf, Malformed, TooLong, TooManyFields};
use support::deliveries::deliveries;

mod support {
    pub(crate) mod deliveries;
}

/// What becomes of a response to GET.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Expected {
    Taken(BodyLength),
    Refused(HeadError),
    Framing(FramingError),
    Waits,
}

/// What follows the head in the buffer and must stay there.
const REST: &[u8] = b"HTTP/1.1 299 Rest\r\nContent-Length: 0\r\n\r\n";

const NAME: HeadError = Malformed("field name");
const VALUE: HeadError = Malformed("field value");
const STATUS: HeadError = Malformed("status");
const LINE_END: HeadError = Malformed("line end");

fn feed(pieces: &[&[u8]], limits: &Limits) -> (Result<Option<Head>, HeadError>, BytesMut) {
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

fn check_within(limits: &Limits, name: &str, head: &[u8], expected: Expected) {
    let takes = matches!(expected, Taken(_) | Framing(_));
    let bytes = if takes { [head, REST].concat() } else { head.to_vec() };
    let mut first = None;
    for pieces in deliveries(&bytes) {
        let cut = pieces.first().map_or(0, |piece| piece.len());
        let (found, left) = feed(&pieces, limits);
        let outcome = match &found {
            Err(error) => Refused(*error),
            Ok(None) => Waits,
            Ok(Some(head)) => BodyLength::of_response(head, b"GET").map_or_else(Framing, Taken),
        };
        assert_eq!(outcome, expected, "{name}, first piece {cut} bytes");
        let Ok(Some(head)) = found else { continue };
        assert_eq!(left, REST, "{name}, first piece {cut} bytes: what follows the head");
        let fields: Vec<_> = head.fields().collect();
        let shape = format!("{} {:?} {:?} {fields:?}", head.status(), head.reason(), head.version());
        assert_eq!(*first.get_or_insert_with(|| shape.clone()), shape, "{name}, first piece {cut} bytes");
    }
}

fn check(name: &str, head: &[u8], expected: Expected) {
    check_within(&Limits::default(), name, head, expected);
}

fn parsed(bytes: &[u8]) -> Head {
    feed(&[bytes], &Limits::default()).0.expect("valid").expect("complete")
}

#[test]
fn the_status_line_is_a_version_three_digits_and_a_reason() {
    for (line, expected) in [
        ("HTTP/1.1 200 OK", Taken(UntilClose)),
        ("HTTP/1.0 200 OK", Taken(UntilClose)),
        ("HTTP/1.1 200 ", Taken(UntilClose)),
        ("HTTP/1.1 200", Taken(UntilClose)),
        ("HTTP/1.1 200 Not so \t OK", Taken(UntilClose)),
        ("HTTP/1.1 200 \u{e4}", Taken(UntilClose)),
        ("HTTP/1.1 599 x", Taken(UntilClose)),
        ("HTTP/1.1 100 Continue", Taken(Empty)),
        ("HTTP/1.1 000 x", Refused(STATUS)),
        ("HTTP/1.1 099 x", Refused(STATUS)),
        ("HTTP/1.1 600 x", Refused(STATUS)),
        ("HTTP/1.1 999 x", Refused(STATUS)),
        ("HTTP/1.1 20 OK", Refused(STATUS)),
        ("HTTP/1.1 2000 OK", Refused(STATUS)),
        ("HTTP/1.1 +20 OK", Refused(STATUS)),
        ("HTTP/1.1 2x0 OK", Refused(STATUS)),
        ("HTTP/1.1  200 OK", Refused(STATUS)),
        ("HTTP/1.1 200\tOK", Refused(STATUS)),
        ("HTTP/1.1 OK", Refused(STATUS)),
        ("HTTP/1.1 200 a\0b", Refused(STATUS)),
        ("HTTP/1.1 200 a\u{7f}b", Refused(STATUS)),
        ("HTTP/1.1 200 a\rb", Refused(STATUS)),
        ("HTTP/1.1\t200 OK", Refused(HeadError::Version)),
        ("HTTP/2.0 200 OK", Refused(HeadError::Version)),
        ("HTTP/0.9 200 OK", Refused(HeadError::Version)),
        ("HTTP/1.2 200 OK", Refused(HeadError::Version)),
        ("HTTP/1.10 200 OK", Refused(HeadError::Version)),
        ("http/1.1 200 OK", Refused(HeadError::Version)),
        ("ICY 200 OK", Refused(HeadError::Version)),
        (" HTTP/1.1 200 OK", Refused(HeadError::Version)),
        ("garbage", Refused(HeadError::Version)),
        ("HTTP/1.1", Refused(HeadError::Version)),
    ] {
        check(line, format!("{line}\r\nA: b\r\n\r\n").as_bytes(), expected);
    }
    check("no fields", b"HTTP/1.1 200 OK\r\n\r\n", Taken(UntilClose));
    check("empty line first", b"\r\nHTTP/1.1 200 OK\r\n\r\n", Refused(Malformed("head")));
    check("bare LF ends the line", b"HTTP/1.1 200 OK\nA: b\r\n\r\n", Refused(BareLf));
    check("bare CR ends the line", b"HTTP/1.1 200 OK\rA: b\r\n\r\n", Refused(STATUS));
}

#[test]
fn fields_are_as_strict_as_in_requests() {
    for (name, fields, expected) in [
        ("plain", "A:b\r\n", Taken(UntilClose)),
        ("space before the colon", "A : b\r\n", Refused(NAME)),
        ("space before the colon of a length", "Content-Length : 5\r\n", Refused(NAME)),
        ("no colon", "A\r\n", Refused(NAME)),
        ("no name", ": b\r\n", Refused(NAME)),
        ("obs-fold", "A: b\r\n c\r\n", Refused(NAME)),
        ("obs-fold before the first field", " A: b\r\n", Refused(NAME)),
        ("bare LF", "A: b\nC: d\r\n", Refused(BareLf)),
        ("bare CR", "A: b\rC: d\r\n", Refused(VALUE)),
        ("bare CR before CRLF", "A: b\r\r\n", Refused(VALUE)),
        ("bare CR starts a line", "\rA: b\r\n", Refused(LINE_END)),
        ("NUL", "A: b\0\r\n", Refused(VALUE)),
        ("DEL", "A: \u{7f}\r\n", Refused(VALUE)),
        ("NUL in the name", "A\0: b\r\n", Refused(NAME)),
    ] {
        check(name, format!("HTTP/1.1 200 OK\r\n{fields}\r\n").as_bytes(), expected);
    }
}

#[test]
fn framing_is_as_strict_as_in_requests() {
    let malformed = Framing(FramingError::MalformedLength);
    let several = Framing(FramingError::SeveralLengths);
    let unknown = Framing(FramingError::UnknownEncoding);
    let both = Framing(FramingError::LengthAndEncoding);
    for (name, fields, expected) in [
        ("nothing said", "A: b", Taken(UntilClose)),
        ("length", "Content-Length: 5", Taken(Exact(5))),
        ("length of zero", "Content-Length: 0", Taken(Exact(0))),
        ("chunked", "Transfer-Encoding: Chunked", Taken(Chunked)),
        ("plus", "Content-Length: +5", malformed),
        ("minus", "Content-Length: -5", malformed),
        ("empty", "Content-Length:", malformed),
        ("list of equals", "Content-Length: 5, 5", malformed),
        ("19 digits", "Content-Length: 1000000000000000000", malformed),
        ("twice, equal", "Content-Length: 5\r\nContent-Length: 5", several),
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
    check("chunked in 1.0", old, Framing(FramingError::EncodingInHttp10));
    check("length in 1.0", b"HTTP/1.0 200 OK\r\nContent-Length: 5\r\n\r\n", Taken(Exact(5)));
}

#[test]
fn some_responses_have_no_body_whatever_they_say() {
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
        ("GET", 304, "Content-Length: 5\r\nContent-Length: 5\r\n", Err(FramingError::SeveralLengths)),
        ("GET", 200, "", Ok(UntilClose)),
        ("GET", 205, "", Ok(UntilClose)),
        ("POST", 500, "Content-Length: 0\r\n", Ok(Exact(0))),
    ] {
        let head = parsed(format!("HTTP/1.1 {status} x\r\n{fields}\r\n").as_bytes());
        let length = BodyLength::of_response(&head, method.as_bytes());
        assert_eq!(length, expected, "{status} to {method} with {fields:?}");
    }
}

#[test]
fn limits_are_met_to_the_byte() {
    let limits = Limits { head: 300, fields: 10, target: 50 };
    let long =
        |length: usize| format!("HTTP/1.1 200 OK\r\nA: {}\r\n\r\n", "v".repeat(length - 24)).into_bytes();
    let many = |count| format!("HTTP/1.1 200 OK\r\n{}\r\n", "A: b\r\n".repeat(count)).into_bytes();
    check_within(&limits, "head", &long(300), Taken(UntilClose));
    check_within(&limits, "longer head", &long(301), Refused(TooLong));
    check_within(&limits, "never ends", &long(400)[..396], Refused(TooLong));
    check_within(&limits, "fields", &many(10), Taken(UntilClose));
    check_within(&limits, "more fields", &many(11), Refused(TooManyFields));
    let limits = Limits::default();
    check_within(&limits, "head", &long(32 << 10), Taken(UntilClose));
    check_within(&limits, "longer head", &long((32 << 10) + 1), Refused(TooLong));
    check_within(&limits, "fields", &many(100), Taken(UntilClose));
    check_within(&limits, "more fields", &many(101), Refused(TooManyFields));
}

#[test]
fn a_head_is_not_taken_before_it_ends() {
    let whole = b"HTTP/1.1 200 OK\r\nServer: a\r\nContent-Length: 5\r\n\r\n";
    for end in 0..whole.len() {
        check("cut short", &whole[..end], Waits);
    }
    check("whole", whole, Taken(Exact(5)));
}

#[test]
fn interim_and_final_heads_are_taken_one_after_the_other() {
    let (mut scanner, limits) = (HeadScanner::default(), Limits::default());
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
fn a_head_shows_what_was_sent() {
    let head = parsed(b"HTTP/1.0 404 Not  Found\r\nsErver: \tx \r\nSet-Cookie: a\r\nSet-Cookie: b\r\n\r\n");
    assert_eq!((head.status(), head.reason()), (404, &b"Not  Found"[..]));
    assert_eq!(head.version(), Version::Http10);
    assert_eq!((head.method(), head.target(), head.path()), (&b""[..], &b""[..], &b""[..]));
    assert_eq!(head.get(Known::Server), Some(&b"x"[..]));
    let fields: Vec<_> = head.fields().map(|(_, name, value)| (name, value)).collect();
    assert_eq!(fields, [(&b"sErver"[..], &b"x"[..]), (b"Set-Cookie", b"a"), (b"Set-Cookie", b"b")]);
    assert_eq!(parsed(b"HTTP/1.1 200\r\n\r\n").reason(), b"");
    // The tokenizer drops a reason that is not ASCII; it means nothing to anybody.
    assert_eq!(parsed(b"HTTP/1.1 200 \xe4\r\n\r\n").reason(), b"");
}
