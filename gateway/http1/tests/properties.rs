//! Properties of heads and bodies: written messages are parsed back, results do not depend on delivery, and no
//! input makes a parser panic or consume more bytes than it received.

#![allow(clippy::expect_used, clippy::indexing_slicing, reason = "tests fail by panicking")]

use bytes::{Buf, Bytes, BytesMut};
use http1::parse::{request, response};
use http1::{
    BodyDecoder, BodyEncoder, BodyError, BodyLength, Decoded, Head, HeadBuilder, HeadError, HeadLimits,
    HeadScanner, write,
};
use proptest::collection::vec;
use proptest::prelude::{Just, Strategy, any, prop_oneof};
use proptest::sample::{Index, select};
use proptest::{prop_assert, prop_assert_eq, proptest};

type Fields = Vec<(String, Vec<u8>)>;
type Parse = fn(&mut BytesMut, &mut HeadScanner, &HeadLimits) -> Result<Option<Head>, HeadError>;

const TOKEN: &str = "[!#$%&'*+.^_`|~0-9A-Za-z-]{1,20}";

/// Generates field values of RFC 9110 §5.5: no white space at the ends, obs-text anywhere.
fn value() -> impl Strategy<Value = Vec<u8>> {
    vec(prop_oneof![9 => 0x21..=0x7eu8, 1 => Just(b' '), 1 => Just(b'\t'), 1 => 0x80..=0xffu8], 0..80)
        .prop_map(|bytes| bytes.trim_ascii().to_vec())
}

/// Generates fields, some with a known name, but no Host.
fn fields() -> impl Strategy<Value = Fields> {
    let known =
        select(vec!["Connection", "CONTENT-LENGTH", "te", "Transfer-Encoding", "X-Forwarded-For", "date"]);
    let name = prop_oneof![3 => TOKEN.prop_map(String::from), 1 => known.prop_map(String::from)];
    let is_other = |name: &String| !name.eq_ignore_ascii_case("host");
    vec((name.prop_filter("Host comes on its own", is_other), value()), 0..30)
}

/// Cuts `bytes` at these positions.
fn cut<'a>(bytes: &'a [u8], places: &[Index]) -> Vec<&'a [u8]> {
    let mut places: Vec<_> = places.iter().map(|place| place.index(bytes.len() + 1)).collect();
    places.extend([0, bytes.len()]);
    places.sort_unstable();
    places.windows(2).map(|ends| &bytes[ends[0]..ends[1]]).collect()
}

/// Returns the parts of the parsed head and the number of consumed bytes.
fn parse(parse: Parse, pieces: &[&[u8]]) -> Result<Option<(String, usize)>, HeadError> {
    let (mut buffer, mut scanner) = (BytesMut::new(), HeadScanner::default());
    let mut received = 0;
    for piece in pieces {
        buffer.extend_from_slice(piece);
        received += piece.len();
        let found = parse(&mut buffer, &mut scanner, &HeadLimits::default())?;
        assert!(buffer.len() <= received, "more bytes than received");
        let Some(head) = found else { continue };
        let fields: Vec<_> = head.fields().collect();
        let lengths = (BodyLength::from_request(&head), BodyLength::from_response(&head, b"GET"));
        let start = (head.method(), head.target(), head.status(), head.reason(), head.version());
        return Ok(Some((format!("{start:?} {fields:?} {lengths:?}"), received - buffer.len())));
    }
    Ok(None)
}

/// Returns the decoded data, the trailers, and the number of consumed bytes or the error.
fn decode(length: BodyLength, pieces: &[&[u8]]) -> (Vec<u8>, String, Result<Option<usize>, BodyError>) {
    let (mut decoder, mut buffer) = (BodyDecoder::new(length), BytesMut::new());
    let (mut data, mut trailers, mut received) = (Vec::new(), String::new(), 0);
    for piece in pieces {
        buffer.extend_from_slice(piece);
        received += piece.len();
        loop {
            let before = buffer.len();
            let found = decoder.decode(&mut buffer, &HeadLimits::default());
            assert!(buffer.len() <= before, "more bytes than received");
            match found {
                Ok(Decoded::Data(piece)) => data.extend_from_slice(&piece),
                Ok(Decoded::Trailers(head)) => trailers = format!("{:?}", head.fields().collect::<Vec<_>>()),
                Ok(Decoded::Incomplete | Decoded::End) => break,
                Err(error) => {
                    // Further input must not change the error.
                    buffer.extend_from_slice(b"\r\n0\r\n\r\n");
                    let again = decoder.decode(&mut buffer, &HeadLimits::default());
                    assert_eq!((again.err(), decoder.is_ended()), (Some(error), false));
                    return (data, trailers, Err(error));
                }
            }
        }
    }
    let end = decoder.is_ended().then(|| received - buffer.len());
    (data, trailers, Ok(end))
}

/// Encodes `body` in pieces cut at `places`.
fn encode(length: BodyLength, body: &[u8], places: &[Index], trailers: Option<&Head>) -> BytesMut {
    let (mut out, mut encoder) = (BytesMut::new(), BodyEncoder::new(length));
    for piece in cut(body, places).into_iter().filter(|piece| !piece.is_empty()) {
        assert_eq!(encoder.begin_data(piece.len(), &mut out), Ok(()));
        out.extend_from_slice(piece);
        encoder.end_data(&mut out);
    }
    assert_eq!(encoder.finish(trailers, &mut out), Ok(()));
    out
}

/// Generates near-messages: words of the grammar and of attacks, mixed with arbitrary bytes.
fn almost_message() -> impl Strategy<Value = Vec<u8>> {
    const WORDS: &[&str] = &[
        "GET / HTTP/1.1\r\n",
        "POST http://a/ HTTP/1.1\r\n",
        "HTTP/1.1 200 OK\r\n",
        "Host: a\r\n",
        "Host: b\r\n",
        "Content-Length: 5\r\n",
        "Content-Length:",
        "Transfer-Encoding: chunked\r\n",
        "Transfer-Encoding",
        "\r\n",
        "\r\n\r\n",
        "\r",
        "\n",
        " ",
        ":",
        "\0",
        "HTTP/1.",
    ];
    let word = select(WORDS).prop_map(|word| word.as_bytes().to_vec());
    vec(prop_oneof![6 => word, 1 => vec(any::<u8>(), 0..4)], 0..16).prop_map(|words| words.concat())
}

fn almost_chunks() -> impl Strategy<Value = Vec<u8>> {
    const WORDS: &[&str] = &[
        "0\r\n",
        "1\r\nx\r\n",
        "5\r\n",
        "hello",
        "\r\n",
        ";a",
        "=\"b\"",
        "0\r\n\r\n",
        "A: b\r\n",
        "\r",
        "\n",
        "f",
    ];
    let word = select(WORDS).prop_map(|word| word.as_bytes().to_vec());
    vec(prop_oneof![6 => word, 1 => vec(any::<u8>(), 0..4)], 0..16).prop_map(|words| words.concat())
}

fn places() -> impl Strategy<Value = Vec<Index>> {
    vec(any::<Index>(), 0..8)
}

proptest! {
    #[test]
    fn written_request_is_parsed_back(
        method in TOKEN.prop_filter("never served", |method| method != "CONNECT"),
        target in "/[!-\"$-~]{0,60}",
        host in "[A-Za-z0-9._~-]{1,20}(:[0-9]{1,4})?",
        fields in fields(),
        places in places(),
        rest in vec(any::<u8>(), 0..20),
    ) {
        let mut out = BytesMut::new();
        write::request_line(&mut out, method.as_bytes(), target.as_bytes());
        write::field(&mut out, b"Host", host.as_bytes());
        fields.iter().for_each(|(name, value)| write::field(&mut out, name.as_bytes(), value));
        write::end(&mut out);
        let length = out.len();
        out.extend_from_slice(&rest);

        let mut buffer = out.clone();
        let found = request(&mut buffer, &mut HeadScanner::default(), &HeadLimits::default());
        let head = found.expect("valid").expect("complete");
        prop_assert_eq!(&buffer[..], &rest[..]);
        prop_assert_eq!((head.method(), head.target()), (method.as_bytes(), target.as_bytes()));

        // The parsed head and a head built from the same parts must be equal.
        let mut builder = HeadBuilder::request(method.as_bytes(), target.as_bytes(), 0);
        builder.field(b"Host", host.as_bytes());
        fields.iter().for_each(|(name, value)| builder.field(name.as_bytes(), value));
        let built = builder.build();
        prop_assert!(head.fields().eq(built.fields()));
        for (known, ..) in built.fields() {
            let Some(known) = known else { continue };
            prop_assert!(head.get_all(known).eq(built.get_all(known)));
            prop_assert_eq!(head.get(known), built.get(known));
        }
        prop_assert_eq!(BodyLength::from_request(&head), BodyLength::from_request(&built));

        let whole = parse(request, &[&out]);
        prop_assert_eq!(whole.as_ref().map(|found| found.as_ref().map(|(_, consumed)| *consumed)), Ok(Some(length)));
        prop_assert_eq!(parse(request, &cut(&out, &places)), whole);
    }

    #[test]
    fn written_response_is_parsed_back(
        status in 100..=599u16,
        reason in "[ -~]{0,30}",
        fields in fields(),
        places in places(),
    ) {
        let mut out = BytesMut::new();
        write::status_line(&mut out, status, reason.as_bytes());
        fields.iter().for_each(|(name, value)| write::field(&mut out, name.as_bytes(), value));
        write::end(&mut out);
        let mut buffer = out.clone();
        let found = response(&mut buffer, &mut HeadScanner::default(), &HeadLimits::default());
        let head = found.expect("valid").expect("complete");
        prop_assert!(buffer.is_empty());
        prop_assert_eq!((head.status(), head.reason()), (status, reason.as_bytes()));
        let sent = fields.iter().map(|(name, value)| (name.as_bytes(), &value[..]));
        prop_assert!(head.fields().map(|(_, name, value)| (name, value)).eq(sent));
        prop_assert_eq!(parse(response, &cut(&out, &places)), parse(response, &[&out]));
    }

    #[test]
    fn written_framing_is_parsed_back(length in prop_oneof![
        (0..1_000_000_000_000_000_000u64).prop_map(BodyLength::Exact),
        (0..100u64).prop_map(BodyLength::Exact),
        Just(BodyLength::Chunked),
        Just(BodyLength::Empty),
    ]) {
        let mut out = BytesMut::from(&b"POST / HTTP/1.1\r\nHost: a\r\n"[..]);
        write::framing(&mut out, length);
        write::end(&mut out);
        let found = request(&mut out, &mut HeadScanner::default(), &HeadLimits::default());
        prop_assert_eq!(BodyLength::from_request(&found.expect("valid").expect("complete")), Ok(length));
    }

    #[test]
    fn encoded_body_is_decoded_back(
        body in vec(any::<u8>(), 0..600),
        chunks in places(),
        deliveries in places(),
        rest in vec(any::<u8>(), 0..20),
        trailers in proptest::option::of(("x-[a-z]{1,9}", value())),
    ) {
        let trailers = trailers.map(|(name, value)| {
            let mut builder = HeadBuilder::response(200, 1);
            builder.field(name.as_bytes(), &value);
            builder.build()
        });
        for length in [BodyLength::Chunked, BodyLength::Exact(body.len() as u64)] {
            let trailers = trailers.as_ref().filter(|_| length == BodyLength::Chunked);
            let mut wire = encode(length, &body, &chunks, trailers);
            let end = wire.len();
            wire.extend_from_slice(&rest);
            let sent = trailers.map(|head| format!("{:?}", head.fields().collect::<Vec<_>>()));
            let expected = (body.clone(), sent.unwrap_or_default(), Ok(Some(end)));
            prop_assert_eq!(&decode(length, &[&wire]), &expected);
            prop_assert_eq!(&decode(length, &cut(&wire, &deliveries)), &expected);
            prop_assert_eq!(&decode(length, &wire.chunks(1).collect::<Vec<_>>()), &expected);
            // A truncated body is never complete.
            let (data, _, cut_off) = decode(length, &[&wire[..end.saturating_sub(1)]]);
            prop_assert!(body.starts_with(&data));
            prop_assert_eq!(cut_off, if end == 0 { Ok(Some(0)) } else { Ok(None) });
        }
    }

    #[test]
    fn head_result_is_independent_of_delivery(bytes in almost_message(), places in places()) {
        for parser in [request as Parse, response as Parse] {
            let whole = parse(parser, &[&bytes]);
            prop_assert_eq!(&parse(parser, &cut(&bytes, &places)), &whole);
            prop_assert_eq!(&parse(parser, &bytes.chunks(1).collect::<Vec<_>>()), &whole);
        }
    }

    #[test]
    fn body_result_is_independent_of_delivery(bytes in almost_chunks(), exact in 0..40u64, places in places()) {
        for length in [BodyLength::Chunked, BodyLength::Exact(exact), BodyLength::UntilClose, BodyLength::Empty] {
            let whole = decode(length, &[&bytes]);
            prop_assert_eq!(&decode(length, &cut(&bytes, &places)), &whole);
            prop_assert_eq!(&decode(length, &bytes.chunks(1).collect::<Vec<_>>()), &whole);
        }
    }

    /// Decoded data is a subsequence of the input: no byte is invented or repeated.
    #[test]
    fn decoded_data_is_a_subsequence_of_the_input(bytes in almost_chunks()) {
        let (data, ..) = decode(BodyLength::Chunked, &[&bytes]);
        let mut input = Bytes::from(bytes);
        for byte in data {
            let place = input.iter().position(|candidate| *candidate == byte);
            prop_assert!(place.is_some(), "{byte:#04x} was not there");
            input.advance(place.map_or(0, |place| place + 1));
        }
    }
}
