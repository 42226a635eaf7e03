//! Rules for chunked bodies, one row a case, each with every kind of delivery. Then the other framings.

#![allow(clippy::expect_used, clippy::indexing_slicing, clippy::panic, reason = "tests fail by panicking")]

use bytes::BytesMut;
use http1::{
    BodyDecoder, BodyEncoder, BodyError, BodyLength, Decoded, EncodeError, Head, HeadBuilder, HeadError,
    HeadLimits,
};

use BodyError::{ChunkEnd, ChunkExtension, ChunkSize, Trailers, Truncated};
use support::deliveries::deliveries;

mod support {
    pub(crate) mod deliveries;
}

/// The bytes behind the body, which must stay in the buffer.
const NEXT_REQUEST: &[u8] = b"GET /rest HTTP/1.1\r\nHost: rest.example\r\n\r\n";

const NAME: BodyError = Trailers(HeadError::Malformed("field name"));
const VALUE: BodyError = Trailers(HeadError::Malformed("field value"));

/// The result of decoding: data, trailers, and the remaining input or the error.
#[derive(Debug, PartialEq)]
struct Body {
    data: Vec<u8>,
    trailers: Vec<(Vec<u8>, Vec<u8>)>,
    end: Result<Vec<u8>, BodyError>,
}

fn decode(length: BodyLength, pieces: &[&[u8]], limits: &HeadLimits) -> Body {
    let (mut decoder, mut buffer) = (BodyDecoder::new(length), BytesMut::new());
    let mut body = Body { data: Vec::new(), trailers: Vec::new(), end: Ok(Vec::new()) };
    let fields =
        |head: &Head| head.fields().map(|(_, name, value)| (name.to_vec(), value.to_vec())).collect();
    for piece in pieces {
        buffer.extend_from_slice(piece);
        loop {
            match decoder.decode(&mut buffer, limits) {
                Ok(Decoded::Data(data)) => {
                    assert!(!data.is_empty(), "empty piece");
                    body.data.extend_from_slice(&data);
                }
                Ok(Decoded::Trailers(head)) => body.trailers = fields(&head),
                Ok(Decoded::Incomplete | Decoded::End) => break,
                Err(error) => {
                    body.end = Err(error);
                    assert_error_is_final(decoder, buffer, error);
                    return body;
                }
            }
        }
    }
    let is_ended = decoder.is_ended();
    body.end = decoder.finish().map(|()| buffer.to_vec());
    assert_eq!(is_ended, body.end.is_ok() && length != BodyLength::UntilClose);
    if let Err(error) = body.end {
        assert_error_is_final(decoder, buffer, error);
    }
    body
}

/// Asserts that a rejected body returns the same error for any further input and leaves it unchanged.
fn assert_error_is_final(mut decoder: BodyDecoder, mut buffer: BytesMut, error: BodyError) {
    for more in [&b""[..], b"\r\n", b"0\r\n\r\n", NEXT_REQUEST] {
        buffer.extend_from_slice(more);
        let before = buffer.clone();
        let again = decoder.decode(&mut buffer, &HeadLimits::default());
        assert_eq!(again.err(), Some(error), "after {more:?}");
        assert_eq!(buffer, before);
        assert!(!decoder.is_ended());
        assert_eq!(decoder.finish(), Err(error), "at the end");
    }
}

/// Decodes a chunked body with every kind of delivery and asserts that all results are equal.
fn decode_all(name: &str, bytes: &[u8], limits: &HeadLimits) -> Body {
    let whole = decode(BodyLength::Chunked, &[bytes], limits);
    for pieces in deliveries(bytes) {
        let cut = pieces.first().map_or(0, |piece| piece.len());
        let body = decode(BodyLength::Chunked, &pieces, limits);
        assert_eq!(body, whole, "{name}, first piece {cut} bytes");
    }
    whole
}

/// Asserts the data and trailers of a valid body that is followed by another request.
fn check_good(name: &str, bytes: &str, data: &str, trailers: &[(&str, &str)]) {
    let body = decode_all(name, &[bytes.as_bytes(), NEXT_REQUEST].concat(), &HeadLimits::default());
    let trailers = trailers.iter().map(|(name, value)| (name.as_bytes().to_vec(), value.as_bytes().to_vec()));
    let expected = Body { data: data.into(), trailers: trailers.collect(), end: Ok(NEXT_REQUEST.to_vec()) };
    assert_eq!(body, expected, "{name}");
}

fn check_bad(name: &str, bytes: &str, data: &str, error: BodyError) {
    let body = decode_all(name, bytes.as_bytes(), &HeadLimits::default());
    assert_eq!(body, Body { data: data.into(), trailers: Vec::new(), end: Err(error) }, "{name}");
}

#[test]
fn valid_chunks_are_decoded() {
    let zeros = "0".repeat(14);
    for (name, bytes, data) in [
        ("nothing", "0\r\n\r\n", ""),
        ("one chunk", "5\r\nhello\r\n0\r\n\r\n", "hello"),
        ("two chunks", "5\r\nhello\r\n1\r\n!\r\n0\r\n\r\n", "hello!"),
        ("lower case", "a\r\n0123456789\r\n0\r\n\r\n", "0123456789"),
        ("upper case", "A\r\n0123456789\r\n0\r\n\r\n", "0123456789"),
        ("leading zeros", "0005\r\nhello\r\n000\r\n\r\n", "hello"),
        ("15 digits", &format!("{zeros}5\r\nhello\r\n{zeros}0\r\n\r\n"), "hello"),
        ("two digits", "10\r\n0123456789abcdef\r\n0\r\n\r\n", "0123456789abcdef"),
        ("data like framing", "5\r\n0\r\n\r\n\r\n0\r\n\r\n", "0\r\n\r\n"),
        ("data like a bare LF", "2\r\n\n\n\r\n0\r\n\r\n", "\n\n"),
        ("extension", "5;a\r\nhello\r\n0\r\n\r\n", "hello"),
        ("extension with a value", "5;a=b\r\nhello\r\n0\r\n\r\n", "hello"),
        ("extension with a string", "5;a=\"b; \\\" \t\u{e4}\"\r\nhello\r\n0\r\n\r\n", "hello"),
        ("several extensions", "5;a;b=c;d=\"\"\r\nhello\r\n0\r\n\r\n", "hello"),
        ("extension of the last chunk", "0;a=b\r\n\r\n", ""),
    ] {
        check_good(name, bytes, data, &[]);
    }
}

#[test]
fn chunk_size_other_than_hex_digits_is_rejected() {
    for (name, bytes) in [
        ("empty line", "\r\n5\r\nhello\r\n0\r\n\r\n"),
        ("leading space", " 5\r\nhello\r\n0\r\n\r\n"),
        ("leading tab", "\t5\r\nhello\r\n0\r\n\r\n"),
        ("plus", "+5\r\nhello\r\n0\r\n\r\n"),
        ("minus", "-5\r\nhello\r\n0\r\n\r\n"),
        ("minus zero", "-0\r\n\r\n"),
        ("no digit", "g\r\n"),
        ("NUL", "\0\r\n"),
        ("quoted", "\"5\"\r\nhello\r\n0\r\n\r\n"),
        ("only an extension", ";a=b\r\nhello\r\n0\r\n\r\n"),
        ("16 digits", "0000000000000005\r\nhello\r\n0\r\n\r\n"),
        ("just beyond 64 bits", "10000000000000005\r\nhello\r\n0\r\n\r\n"),
        ("minus one in 64 bits", "ffffffffffffffff\r\nhello\r\n0\r\n\r\n"),
        ("minus one in 32 bits, twice", "fffffffffffffffffffffffe\r\n"),
        ("digits without end", &"0".repeat(300)),
        ("bare LF", "5\nhello\r\n0\r\n\r\n"),
        ("bare LF behind an extension", "5;a\nhello\r\n0\r\n\r\n"),
        ("full-width digit", "\u{ff15}\r\nhello\r\n0\r\n\r\n"),
    ] {
        check_bad(name, bytes, "", ChunkSize);
        let second = format!("1\r\nx\r\n{bytes}");
        check_bad(name, &second, "x", ChunkSize);
    }
    check_bad("a first byte that is no digit, at once", "G", "", ChunkSize);
    check_bad("bare LF ends the body", "1\r\nx\r\n0\n\n", "x", ChunkSize);
    check_bad("bare LF behind the last chunk", "0\n\r\n", "", ChunkSize);
}

#[test]
fn malformed_chunk_extension_is_rejected() {
    for (name, line) in [
        ("0x", "0x5"),
        ("x alone", "5x"),
        ("underscore", "1_0"),
        ("trailing space", "5 "),
        ("trailing tab", "5\t"),
        ("inner space", "5 5"),
        ("fraction", "5.0"),
        ("comma", "5,5"),
        ("h", "5h"),
        ("NUL", "5\0"),
        ("bare CR", "5\r5"),
        ("bare CR before CRLF", "5\r"),
        ("bare semicolon", "5;"),
        ("two semicolons", "5;;a"),
        ("semicolon behind", "5;a;"),
        ("space before the semicolon", "5 ;a"),
        ("space behind the semicolon", "5; a"),
        ("space before the equals sign", "5;a =b"),
        ("space behind the equals sign", "5;a= b"),
        ("no name", "5;=b"),
        ("no value", "5;a="),
        ("two values", "5;a=b=c"),
        ("space in the name", "5;a b"),
        ("NUL in the name", "5;a\0"),
        ("control byte in the name", "5;a\u{1}"),
        ("non-ASCII name", "5;\u{e4}"),
        ("bare CR in the name", "5;a\rb"),
        ("bare CR before CRLF of an extension", "5;a\r"),
        ("string not closed", "5;a=\"b"),
        ("string closed by an escape", "5;a=\"b\\\""),
        ("string ends in a backslash", "5;a=\"\\"),
        ("more behind the string", "5;a=\"b\"c"),
        ("string for a name", "5;\"a\""),
        ("control byte in the string", "5;a=\"\u{1}\""),
        ("DEL in the string", "5;a=\"\u{7f}\""),
        ("bare CR in the string", "5;a=\"\r\""),
        ("escaped CR in the string", "5;a=\"\\\r\""),
    ] {
        check_bad(name, &format!("{line}\r\nhello\r\n0\r\n\r\n"), "", ChunkExtension);
        check_bad(name, &format!("1\r\nx\r\n{line}\r\nhello\r\n0\r\n\r\n"), "x", ChunkExtension);
    }
    for line in ["0;", "0 ", "0x0"] {
        check_bad(line, &format!("{line}\r\n\r\n"), "", ChunkExtension);
    }
}

#[test]
fn chunk_line_above_256_bytes_is_rejected() {
    let body = |line: usize| format!("5;{}\r\nhello\r\n0\r\n\r\n", "a".repeat(line - 4));
    check_good("longest", &body(256), "hello", &[]);
    check_bad("longer", &body(257), "", ChunkExtension);
    check_bad("without end", &body(100_000)[..3000], "", ChunkExtension);
}

#[test]
fn chunk_data_without_crlf_is_rejected() {
    for (name, bytes) in [
        ("missing", "5\r\nhello0\r\n\r\n"),
        ("longer data than said", "5\r\nhello!\r\n0\r\n\r\n"),
        ("bare LF", "5\r\nhello\n0\r\n\r\n"),
        ("bare CR", "5\r\nhello\r0\r\n\r\n"),
        ("CR twice", "5\r\nhello\r\r\n0\r\n\r\n"),
        ("space before", "5\r\nhello \r\n0\r\n\r\n"),
        ("LF and CR", "5\r\nhello\n\r0\r\n\r\n"),
    ] {
        check_bad(name, bytes, "hello", ChunkEnd);
    }
    check_bad("shorter data than said", "6\r\nhello\r\n0\r\n\r\n", "hello\r", ChunkEnd);
    check_bad("empty line behind a chunk", "5\r\nhello\r\n\r\n0\r\n\r\n", "hello", ChunkSize);
}

#[test]
fn trailers_outside_the_grammar_are_rejected() {
    check_good("one", "0\r\nA: b\r\n\r\n", "", &[("A", "b")]);
    check_good("behind data", "1\r\nx\r\n0\r\nA: b\r\nC:  d\t\r\n\r\n", "x", &[("A", "b"), ("C", "d")]);
    check_good("no value", "0\r\nA:\r\n\r\n", "", &[("A", "")]);
    check_good("behind an extension", "0;a\r\nA: b\r\n\r\n", "", &[("A", "b")]);
    for (name, trailers, error) in [
        ("space before the colon", "A : b\r\n", NAME),
        ("no colon", "A\r\n", NAME),
        ("no name", ": b\r\n", NAME),
        ("space before the first", " A: b\r\n", NAME),
        ("obs-fold", "A: b\r\n c\r\n", NAME),
        ("NUL in the name", "A\0: b\r\n", NAME),
        ("NUL in the value", "A: b\0\r\n", VALUE),
        ("control byte", "A: \u{1}\r\n", VALUE),
        ("bare CR", "A: b\rC: d\r\n", VALUE),
        ("bare CR before CRLF", "A: b\r\r\n", VALUE),
        ("bare LF", "A: b\nC: d\r\n", Trailers(HeadError::BareLf)),
        ("only a bare LF", "\n", Trailers(HeadError::BareLf)),
        ("bare CR starts a line", "\rA: b\r\n", Trailers(HeadError::Malformed("line end"))),
        ("the next request", "GET / HTTP/1.1\r\nHost: a\r\n", NAME),
    ] {
        check_bad(name, &format!("1\r\nx\r\n0\r\n{trailers}\r\n"), "x", error);
    }
}

#[test]
fn trailers_are_limited_like_heads() {
    let limits = HeadLimits { head_bytes: 300, fields: 10, target_bytes: 50 };
    let end = |bytes: String| decode_all("limits", bytes.as_bytes(), &limits).end;
    let long = |length: usize| format!("0\r\nA: {}\r\n\r\n", "v".repeat(length - 7));
    let many = |count| format!("0\r\n{}\r\n", "A: b\r\n".repeat(count));
    assert_eq!(end(long(300)), Ok(Vec::new()));
    assert_eq!(end(long(301)), Err(Trailers(HeadError::TooLong)));
    assert_eq!(end(format!("0\r\nA: {}", "v".repeat(500))), Err(Trailers(HeadError::TooLong)));
    assert_eq!(end(many(10)), Ok(Vec::new()));
    assert_eq!(end(many(11)), Err(Trailers(HeadError::TooManyFields)));
}

#[test]
fn truncated_body_is_an_error_at_every_length() {
    let whole = b"5;a=\"b\"\r\nhello\r\n1\r\n!\r\n0\r\nA: b\r\n\r\n";
    for end in 0..whole.len() {
        let body = decode_all("cut off", &whole[..end], &HeadLimits::default());
        assert_eq!(body.end, Err(Truncated), "after {end} bytes");
        assert!(b"hello!".starts_with(&body.data), "after {end} bytes");
    }
    assert_eq!(decode_all("whole", whole, &HeadLimits::default()).end, Ok(Vec::new()));
}

#[test]
fn decoder_after_the_end_returns_end_again() {
    let mut decoder = BodyDecoder::new(BodyLength::Chunked);
    let mut buffer = BytesMut::from(&[b"0\r\n\r\n", NEXT_REQUEST].concat()[..]);
    for _ in 0..3 {
        let found = decoder.decode(&mut buffer, &HeadLimits::default());
        assert!(matches!(found, Ok(Decoded::End)), "{found:?}");
        assert_eq!(buffer, NEXT_REQUEST);
    }
}

#[test]
fn exact_body_takes_only_its_bytes() {
    for length in [0, 1, 5, NEXT_REQUEST.len() as u64] {
        let bytes = [&NEXT_REQUEST[..usize::try_from(length).expect("small")], NEXT_REQUEST].concat();
        for pieces in deliveries(&bytes) {
            let body = decode(BodyLength::Exact(length), &pieces, &HeadLimits::default());
            assert_eq!(body.data.len() as u64, length);
            assert_eq!(body.end.as_deref(), Ok(NEXT_REQUEST), "length {length}");
        }
    }
    let body = decode(BodyLength::Exact(6), &[b"hello"], &HeadLimits::default());
    assert_eq!((body.data, body.end), (b"hello".to_vec(), Err(Truncated)));
    let body = decode(BodyLength::Exact(u64::MAX), &[b"hello"], &HeadLimits::default());
    assert_eq!((body.data, body.end), (b"hello".to_vec(), Err(Truncated)));
}

#[test]
fn empty_and_close_delimited_bodies_are_decoded() {
    for pieces in deliveries(NEXT_REQUEST) {
        let body = decode(BodyLength::Empty, &pieces, &HeadLimits::default());
        assert_eq!((body.data, body.end), (Vec::new(), Ok(NEXT_REQUEST.to_vec())));
        let body = decode(BodyLength::UntilClose, &pieces, &HeadLimits::default());
        assert_eq!((body.data, body.end), (NEXT_REQUEST.to_vec(), Ok(Vec::new())));
    }
}

#[test]
fn chunks_are_written_with_size_and_crlf() {
    let mut out = BytesMut::new();
    let mut encoder = BodyEncoder::new(BodyLength::Chunked);
    for length in [1, 15, 16, 255, 256, 0xabc_def0, usize::MAX] {
        out.clear();
        assert_eq!(encoder.begin_data(length, &mut out), Ok(()));
        assert_eq!(out, format!("{length:x}\r\n").as_bytes());
    }
    out.clear();
    encoder.end_data(&mut out);
    assert_eq!(out, &b"\r\n"[..]);
    out.clear();
    assert_eq!(encoder.finish(None, &mut out), Ok(()));
    assert_eq!(out, &b"0\r\n\r\n"[..]);
}

#[test]
fn empty_chunk_is_rejected_by_the_encoder() {
    let mut out = BytesMut::new();
    assert_eq!(BodyEncoder::new(BodyLength::Chunked).begin_data(0, &mut out), Err(EncodeError::EmptyChunk));
    assert!(out.is_empty());
}

#[test]
fn forbidden_trailers_are_not_written() {
    let mut builder = HeadBuilder::response(200, 9);
    for name in ["x-sum", "Content-Length", "transfer-encoding", "Host", "Connection", "Te", "Trailer"] {
        builder.field(name.as_bytes(), b"1");
    }
    builder.field(b"X-Forwarded-For", b"1");
    builder.field(b"grpc-status", b"0");
    let mut out = BytesMut::new();
    assert_eq!(BodyEncoder::new(BodyLength::Chunked).finish(Some(&builder.build()), &mut out), Ok(()));
    assert_eq!(out, &b"0\r\nx-sum: 1\r\ngrpc-status: 0\r\n\r\n"[..]);
}

#[test]
fn exact_encoder_enforces_its_length() {
    let mut out = BytesMut::new();
    let mut encoder = BodyEncoder::new(BodyLength::Exact(5));
    assert_eq!(encoder.finish(None, &mut out), Err(EncodeError::TooShort), "5 bytes are missing");
    assert_eq!(encoder.begin_data(3, &mut out), Ok(()));
    assert_eq!(encoder.begin_data(3, &mut out), Err(EncodeError::TooLong), "only 2 are left");
    assert_eq!(encoder.finish(None, &mut out), Err(EncodeError::TooShort), "2 bytes are missing");
    assert_eq!(encoder.begin_data(2, &mut out), Ok(()));
    assert_eq!(encoder.begin_data(1, &mut out), Err(EncodeError::TooLong), "none are left");
    encoder.end_data(&mut out);
    assert_eq!(encoder.finish(None, &mut out), Ok(()));
    assert!(out.is_empty(), "an exact body has no framing bytes");
}

#[test]
fn bodies_without_framing_are_written_unchanged() {
    let (mut out, mut none) = (BytesMut::new(), BodyEncoder::new(BodyLength::Empty));
    assert_eq!(none.begin_data(1, &mut out), Err(EncodeError::TooLong));
    assert_eq!(none.finish(None, &mut out), Ok(()));
    let mut encoder = BodyEncoder::new(BodyLength::UntilClose);
    assert_eq!(encoder.begin_data(usize::MAX, &mut out), Ok(()));
    encoder.end_data(&mut out);
    assert_eq!(encoder.finish(None, &mut out), Ok(()));
    assert!(out.is_empty());
}
