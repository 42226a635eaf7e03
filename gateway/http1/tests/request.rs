//! Rules for request heads and their framing, one row a case, each with every kind of delivery.

#![allow(clippy::expect_used, clippy::indexing_slicing, clippy::panic, reason = "tests fail by panicking")]

use bytes::BytesMut;
use http1::parse::request;
use http1::{BodyLength, FramingError, HeadError, HeadLimits, HeadScanner};

use BodyLength::{Chunked, Empty, Exact};
use HeadError::{
    BareLf, Connect, FoldedField, HostMismatch, Malformed, NoHost, SeveralHosts, TargetTooLong, TooLong,
    TooManyFields,
};
use support::requests::ParseOutcome::{self, Accepted, BadFraming, Incomplete, Rejected};
use support::requests::{NEXT_REQUEST, check_with_limits, parse_pieces};

mod support {
    pub(crate) mod deliveries;
    pub(crate) mod requests;
}

const NAME: HeadError = Malformed("field name");
const VALUE: HeadError = Malformed("field value");
const LINE: HeadError = Malformed("request line");
const LINE_END: HeadError = Malformed("line end");
const TARGET: HeadError = Malformed("request target");
const HOST: HeadError = Malformed("host");

fn check(name: &str, head: &[u8], expected: ParseOutcome) {
    check_with_limits(&HeadLimits::default(), name, head, expected);
}

/// Checks rows of name, field lines without the last CRLF, and outcome. The rest of the request is valid.
fn check_fields(start: &str, rows: &[(&str, &str, ParseOutcome)]) {
    for (name, fields, expected) in rows {
        check(name, format!("{start}\r\n{fields}\r\n\r\n").as_bytes(), *expected);
    }
}

const POST: &str = "POST / HTTP/1.1\r\nHost: a.example";

/// Returns a request head whose first line is `line`.
fn with_line(line: &str) -> Vec<u8> {
    format!("{line}\r\nHost: a.example\r\n\r\n").into_bytes()
}

#[test]
fn content_length_other_than_one_decimal_is_rejected() {
    let malformed = BadFraming(FramingError::MalformedLength);
    let several = BadFraming(FramingError::SeveralLengths);
    check_fields(
        POST,
        &[
            ("none", "Accept: */*", Accepted(Empty)),
            ("zero", "Content-Length: 0", Accepted(Exact(0))),
            ("plain", "Content-Length: 5", Accepted(Exact(5))),
            ("any case, no space", "cOnTeNt-LeNgTh:5", Accepted(Exact(5))),
            ("white space around", "Content-Length: \t 5 \t", Accepted(Exact(5))),
            ("leading zeros are decimal", "Content-Length: 010", Accepted(Exact(10))),
            ("18 digits", "Content-Length: 999999999999999999", Accepted(Exact(999_999_999_999_999_999))),
            ("19 digits", "Content-Length: 1000000000000000000", malformed),
            ("beyond 64 bits", "Content-Length: 18446744073709551621", malformed),
            ("plus", "Content-Length: +5", malformed),
            ("minus", "Content-Length: -5", malformed),
            ("minus zero", "Content-Length: -0", malformed),
            ("hexadecimal", "Content-Length: 0x5", malformed),
            ("hexadecimal digit", "Content-Length: a", malformed),
            ("octal", "Content-Length: 0o5", malformed),
            ("underscore", "Content-Length: 1_0", malformed),
            ("inner space", "Content-Length: 1 0", malformed),
            ("inner tab", "Content-Length: 1\t0", malformed),
            ("empty", "Content-Length:", malformed),
            ("only white space", "Content-Length: \t ", malformed),
            ("fraction", "Content-Length: 5.0", malformed),
            ("exponent", "Content-Length: 1e1", malformed),
            ("quoted", "Content-Length: \"5\"", malformed),
            ("full-width digit", "Content-Length: \u{ff15}", malformed),
            ("list of equals", "Content-Length: 5, 5", malformed),
            ("list of differing", "Content-Length: 5, 6", malformed),
            ("trailing comma", "Content-Length: 5,", malformed),
            ("leading comma", "Content-Length: ,5", malformed),
            (
                "twice, equal",
                "Content-Length: 5\r\nContent-Length: 5",
                BadFraming(FramingError::RepeatedLength),
            ),
            ("twice, differing", "Content-Length: 5\r\nContent-Length: 6", several),
            ("twice, apart, other case", "Content-Length: 5\r\nA: b\r\ncontent-length: 0", several),
            ("twice, the second empty", "Content-Length: 5\r\nContent-Length:", several),
            ("underscore in the name is another field", "Content_Length: 5", Accepted(Empty)),
        ],
    );
}

#[test]
fn transfer_encoding_other_than_one_chunked_is_rejected() {
    let unknown = BadFraming(FramingError::UnknownEncoding);
    let both = BadFraming(FramingError::LengthAndEncoding);
    check_fields(
        POST,
        &[
            ("chunked", "Transfer-Encoding: chunked", Accepted(Chunked)),
            ("any case", "TRANSFER-ENCODING: CHUNKED", Accepted(Chunked)),
            ("white space around", "Transfer-Encoding: \t chunked\t ", Accepted(Chunked)),
            ("a longer word", "Transfer-Encoding: xchunked", unknown),
            ("a longer word still", "Transfer-Encoding: chunkedx", unknown),
            ("cut short", "Transfer-Encoding: chunke", unknown),
            ("identity", "Transfer-Encoding: identity", unknown),
            ("empty", "Transfer-Encoding:", unknown),
            ("only white space", "Transfer-Encoding:  \t", unknown),
            ("gzip", "Transfer-Encoding: gzip", unknown),
            ("gzip, chunked", "Transfer-Encoding: gzip, chunked", unknown),
            ("chunked not final", "Transfer-Encoding: chunked, gzip", unknown),
            ("chunked, chunked", "Transfer-Encoding: chunked, chunked", unknown),
            ("chunked, identity", "Transfer-Encoding: chunked, identity", unknown),
            ("trailing comma", "Transfer-Encoding: chunked,", unknown),
            ("leading comma", "Transfer-Encoding: ,chunked", unknown),
            ("parameter", "Transfer-Encoding: chunked;q=1", unknown),
            ("quoted", "Transfer-Encoding: \"chunked\"", unknown),
            ("inner space", "Transfer-Encoding: chun ked", unknown),
            ("no-break space", "Transfer-Encoding: \u{a0}chunked", unknown),
            ("vertical tab", "Transfer-Encoding: \u{b}chunked", Rejected(VALUE)),
            ("NUL behind", "Transfer-Encoding: chunked\0", Rejected(VALUE)),
            ("twice", "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked", unknown),
            ("twice, differing", "Transfer-Encoding: chunked\r\nTransfer-Encoding: identity", unknown),
            ("twice, apart", "Transfer-Encoding: identity\r\nA: b\r\ntransfer-encoding: chunked", unknown),
            ("with a length", "Content-Length: 5\r\nTransfer-Encoding: chunked", both),
            ("with a length behind", "Transfer-Encoding: chunked\r\nContent-Length: 5", both),
            ("with a length of zero", "Transfer-Encoding: chunked\r\nContent-Length: 0", both),
            ("with an empty length", "Transfer-Encoding: chunked\r\nContent-Length:", both),
            ("identity with a length", "Content-Length: 5\r\nTransfer-Encoding: identity", both),
            ("empty with a length", "Content-Length: 5\r\nTransfer-Encoding:", both),
            ("underscore in the name is another field", "Transfer_Encoding: chunked", Accepted(Empty)),
        ],
    );
}

#[test]
fn http_1_0_transfer_encoding_is_rejected() {
    let encoding = BadFraming(FramingError::EncodingInHttp10);
    check_fields(
        "POST / HTTP/1.0",
        &[
            ("no Host", "Accept: */*", Accepted(Empty)),
            ("Host", "Host: a.example", Accepted(Empty)),
            ("two Hosts", "Host: a.example\r\nHost: a.example", Rejected(SeveralHosts)),
            ("bad Host", "Host: a@b", Rejected(HOST)),
            ("length", "Content-Length: 5", Accepted(Exact(5))),
            ("chunked", "Transfer-Encoding: chunked", encoding),
            ("identity", "Transfer-Encoding: identity", encoding),
            (
                "both",
                "Content-Length: 5\r\nTransfer-Encoding: x",
                BadFraming(FramingError::LengthAndEncoding),
            ),
        ],
    );
}

#[test]
fn host_other_than_one_authority_is_rejected() {
    let cases = [
        ("name", "Host: a.example", Accepted(Empty)),
        ("name and port", "Host: a.example:8080", Accepted(Empty)),
        ("port left empty", "Host: a.example:", Accepted(Empty)),
        ("greatest port", "Host: a.example:65535", Accepted(Empty)),
        ("trailing dot", "Host: a.example.", Accepted(Empty)),
        ("upper case, underscore, hyphen", "Host: A_b-c.Example", Accepted(Empty)),
        ("IPv4", "Host: 127.0.0.1:80", Accepted(Empty)),
        ("IPv6", "Host: [::1]", Accepted(Empty)),
        ("IPv6 and port", "Host: [2001:db8::1]:8443", Accepted(Empty)),
        ("missing", "Accept: */*", Rejected(NoHost)),
        ("underscore makes another field", "Ho_st: a.example", Rejected(NoHost)),
        ("twice, equal", "Host: a.example\r\nHost: a.example", Rejected(SeveralHosts)),
        ("twice, differing", "Host: a.example\r\nA: b\r\nhost: b.example", Rejected(SeveralHosts)),
        ("twice, one empty", "Host:\r\nHost: a.example", Rejected(SeveralHosts)),
        ("empty", "Host:", Rejected(HOST)),
        ("only white space", "Host: \t ", Rejected(HOST)),
        ("userinfo", "Host: user@a.example", Rejected(HOST)),
        ("userinfo with password", "Host: user:1@a.example", Rejected(HOST)),
        ("path", "Host: a.example/b", Rejected(HOST)),
        ("query", "Host: a.example?b", Rejected(HOST)),
        ("fragment", "Host: a.example#b", Rejected(HOST)),
        ("comma", "Host: a.example,b.example", Rejected(HOST)),
        ("comma and space", "Host: a.example, b.example", Rejected(HOST)),
        ("inner space", "Host: a.example b.example", Rejected(HOST)),
        ("scheme", "Host: http://a.example", Rejected(HOST)),
        ("backslash", "Host: a.example\\b", Rejected(HOST)),
        ("percent", "Host: a%2eexample", Rejected(HOST)),
        ("non-ASCII", "Host: \u{e4}.example", Rejected(HOST)),
        ("port only", "Host: :80", Rejected(HOST)),
        ("port beyond 65535", "Host: a.example:65536", Rejected(HOST)),
        ("port beyond 32 bits", "Host: a.example:4294967376", Rejected(HOST)),
        ("port with plus", "Host: a.example:+80", Rejected(HOST)),
        ("port with letters", "Host: a.example:80a", Rejected(HOST)),
        ("two ports", "Host: a.example:80:81", Rejected(HOST)),
        ("IPv6 without brackets", "Host: ::1", Rejected(HOST)),
        ("IPv6 not closed", "Host: [::1", Rejected(HOST)),
        ("IPv6 that is none", "Host: [a.example]", Rejected(HOST)),
        ("IPv6 with nothing in it", "Host: []", Rejected(HOST)),
        ("IPv6 with more behind", "Host: [::1]a:80", Rejected(HOST)),
    ];
    check_fields("GET / HTTP/1.1", &cases);
}

#[test]
fn absolute_form_needs_a_valid_authority() {
    let absolute = |target: &str, host: &str| format!("GET {target} HTTP/1.1\r\nHost: {host}\r\n\r\n");
    for (name, target, host, expected) in [
        ("same", "http://a.example/b?c", "a.example", Accepted(Empty)),
        ("other case", "HTTP://A.Example/b", "a.eXample", Accepted(Empty)),
        ("https", "https://a.example/", "a.example", Accepted(Empty)),
        ("same port", "http://a.example:81/", "a.example:81", Accepted(Empty)),
        ("no path", "http://a.example", "a.example", Accepted(Empty)),
        ("another name", "http://b.example/", "a.example", Accepted(Empty)),
        ("a longer name", "http://a.example.b/", "a.example", Accepted(Empty)),
        ("a trailing dot", "http://a.example./", "a.example", Accepted(Empty)),
        ("another port", "http://a.example:81/", "a.example:80", Accepted(Empty)),
        ("a default port on one side", "http://a.example:80/", "a.example", Accepted(Empty)),
        ("userinfo on one side", "http://u@a.example/", "a.example", Rejected(HOST)),
        ("userinfo on both sides", "http://u@a.example/", "u@a.example", Rejected(HOST)),
        ("backslash hides a name", "http://a.example\\@b.example/", "a.example", Rejected(HOST)),
        ("no authority", "http:///b", "a.example", Rejected(HOST)),
        ("no authority, empty Host", "http:///b", "", Rejected(HOST)),
        ("query without path", "http://a.example?b", "a.example", Rejected(TARGET)),
        ("fragment", "http://a.example/#b", "a.example", Rejected(TARGET)),
        ("one slash", "http:/a.example/", "a.example", Rejected(TARGET)),
        ("another scheme", "ftp://a.example/", "a.example", Rejected(TARGET)),
        ("scheme alone", "http://", "a.example", Rejected(HOST)),
    ] {
        check(name, absolute(target, host).as_bytes(), expected);
    }
    check("two Hosts", b"GET http://a/ HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", Rejected(SeveralHosts));
    check("1.1 without Host", b"GET http://a/ HTTP/1.1\r\n\r\n", Rejected(NoHost));
    // A head stores the authority in Host only, so HTTP/1.0 cannot name it in the target alone.
    check("1.0 without Host", b"GET http://a/ HTTP/1.0\r\n\r\n", Rejected(HostMismatch));
    check("1.0 with Host", b"GET http://a/ HTTP/1.0\r\nHost: a\r\n\r\n", Accepted(Empty));
}

#[test]
fn request_line_outside_the_grammar_is_rejected() {
    for (line, expected) in [
        ("GET / HTTP/1.1", Accepted(Empty)),
        ("get / HTTP/1.1", Accepted(Empty)),
        ("M-SEARCH!#$%&'*+.^_`|~9 / HTTP/1.1", Accepted(Empty)),
        ("OPTIONS * HTTP/1.1", Accepted(Empty)),
        ("GET /?a=b?c HTTP/1.1", Accepted(Empty)),
        ("GET //b HTTP/1.1", Accepted(Empty)),
        ("GET * HTTP/1.1", Rejected(TARGET)),
        ("options * HTTP/1.1", Rejected(TARGET)),
        ("OPTIONS ** HTTP/1.1", Rejected(TARGET)),
        ("OPTIONS *?a HTTP/1.1", Rejected(TARGET)),
        ("GET a HTTP/1.1", Rejected(TARGET)),
        ("GET ?a HTTP/1.1", Rejected(TARGET)),
        ("GET a.example:80 HTTP/1.1", Rejected(TARGET)),
        ("GET /#a HTTP/1.1", Rejected(TARGET)),
        ("GET /a?b#c HTTP/1.1", Rejected(TARGET)),
        ("GET /\u{e4} HTTP/1.1", Rejected(TARGET)),
        ("CONNECT a.example:443 HTTP/1.1", Rejected(Connect)),
        ("CONNECT / HTTP/1.1", Rejected(Connect)),
        ("GET / HTTP/0.9", Rejected(HeadError::Version)),
        ("GET / HTTP/1.2", Rejected(HeadError::Version)),
        ("GET / HTTP/2.0", Rejected(HeadError::Version)),
        ("PRI * HTTP/2.0", Rejected(HeadError::Version)),
        ("GET / HTTP/1.10", Rejected(LINE_END)),
        ("GET / HTTP/1.1 ", Rejected(LINE_END)),
        ("GET / HTTP/1.1 x", Rejected(LINE_END)),
        ("GET / HTTP/1.", Rejected(LINE)),
        ("GET / HTTP/1", Rejected(LINE)),
        ("GET / HTTP/2", Rejected(LINE)),
        ("GET / HTTP/01.1", Rejected(LINE)),
        ("GET / http/1.1", Rejected(LINE)),
        ("GET / HTTP/x.1", Rejected(LINE)),
        ("GET / ", Rejected(LINE)),
        ("GET /", Rejected(LINE)),
        ("GET ", Rejected(LINE)),
        ("GET", Rejected(LINE)),
        ("GET  / HTTP/1.1", Rejected(LINE)),
        ("GET /  HTTP/1.1", Rejected(LINE)),
        ("GET\t/ HTTP/1.1", Rejected(LINE)),
        ("GET /\tHTTP/1.1", Rejected(LINE)),
        ("GET /a b HTTP/1.1", Rejected(LINE)),
        ("GET /a HTTP/2.0 HTTP/1.1", Rejected(LINE)),
        (" GET / HTTP/1.1", Rejected(LINE)),
        ("\tGET / HTTP/1.1", Rejected(LINE)),
        ("G(T / HTTP/1.1", Rejected(LINE)),
        ("G\0T / HTTP/1.1", Rejected(LINE)),
        ("G\u{e4}T / HTTP/1.1", Rejected(LINE)),
        ("GET: / HTTP/1.1", Rejected(LINE)),
        ("GET /\0 HTTP/1.1", Rejected(LINE)),
        ("GET /\u{7f} HTTP/1.1", Rejected(LINE)),
        ("Host: a.example", Rejected(LINE)),
    ] {
        check(line, &with_line(line), expected);
    }
    check("not UTF-8", b"GET /\xff HTTP/1.1\r\nHost: a\r\n\r\n", Rejected(LINE));
}

#[test]
fn method_and_target_bytes_are_all_checked() {
    for byte in 0..=u8::MAX {
        let is_token = byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
        let is_visible = byte.is_ascii_graphic() && byte != b'#';
        // Covers each width at which the tokenizer compares, and each position in it.
        for place in 0..70 {
            for (long, is_allowed) in [("M", is_token), ("/", is_visible)] {
                let mut word = long.as_bytes().repeat(70);
                word[place] = byte;
                let (method, target) = if long == "M" { (&*word, &b"/"[..]) } else { (&b"GET"[..], &*word) };
                // An origin-form target starts with a slash.
                let is_allowed = is_allowed && (long == "M" || place > 0 || byte == b'/');
                let bytes = [method, b" ", target, b" HTTP/1.1\r\nHost: a\r\n\r\n"].concat();
                let (found, _) = parse_pieces(&[&bytes], &HeadLimits::default());
                assert_eq!(
                    matches!(found, Ok(Some(_))),
                    is_allowed,
                    "byte {byte:#04x} at {place} of {long}: {found:?}"
                );
                assert_eq!(found.err().map(HeadError::status), (!is_allowed).then_some(400));
            }
        }
    }
}

#[test]
fn field_name_and_value_bytes_are_all_checked() {
    for byte in 0..=u8::MAX {
        let is_token = byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
        let is_value = matches!(byte, b'\t' | b' '..=0x7e | 0x80..);
        for place in 0..70 {
            for (in_name, is_allowed) in [(true, is_token), (false, is_value)] {
                let mut word = b"n".repeat(70);
                word[place] = byte;
                let (field, value) = if in_name { (&*word, &b"v"[..]) } else { (&b"n"[..], &*word) };
                // A colon ends the name, except at its first byte.
                let is_allowed = is_allowed || (in_name && byte == b':' && place > 0);
                let bytes = [b"GET / HTTP/1.1\r\nHost: a\r\n", field, b":", value, b"\r\n\r\n"].concat();
                let (found, _) = parse_pieces(&[&bytes], &HeadLimits::default());
                assert_eq!(
                    matches!(found, Ok(Some(_))),
                    is_allowed,
                    "byte {byte:#04x} at {place}, in the name: {in_name}"
                );
                assert_eq!(found.err().map(HeadError::status), (!is_allowed).then_some(400));
            }
        }
    }
}

#[test]
fn field_lines_outside_the_grammar_are_rejected() {
    for (name, fields, expected) in [
        ("no white space", "A:b\r\n", Accepted(Empty)),
        ("empty value", "A:\r\n", Accepted(Empty)),
        ("value of white space", "A: \t \r\n", Accepted(Empty)),
        ("colons in the value", "A: b:c:\r\n", Accepted(Empty)),
        ("obs-text in the value", "A: \u{e4}\r\n", Accepted(Empty)),
        ("space before the colon", "A : b\r\n", Rejected(NAME)),
        ("tab before the colon", "A\t: b\r\n", Rejected(NAME)),
        ("space before the colon of a length", "Content-Length : 5\r\n", Rejected(NAME)),
        ("space in the name", "A b: c\r\n", Rejected(NAME)),
        ("no name", ": b\r\n", Rejected(NAME)),
        ("no colon", "A\r\n", Rejected(NAME)),
        ("non-ASCII name", "\u{e4}: b\r\n", Rejected(NAME)),
        ("NUL in the name", "A\0: b\r\n", Rejected(NAME)),
        ("NUL in the value", "A: b\0c\r\n", Rejected(VALUE)),
        ("DEL in the value", "A: b\u{7f}\r\n", Rejected(VALUE)),
        ("escape in the value", "A: b\u{1b}[0m\r\n", Rejected(VALUE)),
        ("obs-fold with space", "A: b\r\n c\r\n", Rejected(FoldedField)),
        ("obs-fold with tab", "A: b\r\n\tc\r\n", Rejected(FoldedField)),
        ("obs-fold of nothing", "A: b\r\n \r\n", Rejected(FoldedField)),
        ("obs-fold hides an encoding", "A: b\r\n Transfer-Encoding: chunked\r\n", Rejected(FoldedField)),
        ("obs-fold splits an encoding", "Transfer-Encoding:\r\n chunked\r\n", Rejected(FoldedField)),
        ("bare LF behind a value", "A: b\nC: d\r\n", Rejected(BareLf)),
        ("bare LF behind a name", "A\n: b\r\n", Rejected(BareLf)),
        ("bare LF hides an encoding", "A: b\nTransfer-Encoding: chunked\r\n", Rejected(BareLf)),
        ("empty line by a bare LF", "A: b\r\n\nC: d\r\n", Rejected(BareLf)),
        ("bare CR behind a value", "A: b\rC: d\r\n", Rejected(VALUE)),
        ("bare CR before CRLF", "A: b\r\r\n", Rejected(VALUE)),
        ("bare CR before a value", "A:\rb\r\n", Rejected(VALUE)),
        ("bare CR in a name", "A\rB: c\r\n", Rejected(NAME)),
        ("bare CR starts a line", "\rA: b\r\n", Rejected(LINE_END)),
        ("bare CR alone on a line", "\r\r\nA: b\r\n", Rejected(LINE_END)),
        ("bare CR hides an encoding", "A: b\rTransfer-Encoding: chunked\r\n", Rejected(VALUE)),
    ] {
        check(name, format!("GET / HTTP/1.1\r\nHost: a\r\n{fields}\r\n").as_bytes(), expected);
    }
    check("space before the first field", b"GET / HTTP/1.1\r\n Host: a\r\n\r\n", Rejected(FoldedField));
    check("bare LF ends the request line", b"GET / HTTP/1.1\nHost: a\r\n\r\n", Rejected(BareLf));
    check("bare CR ends the request line", b"GET / HTTP/1.1\rHost: a\r\n\r\n", Rejected(LINE_END));
    check("bare LF in the request line", b"GET /\n HTTP/1.1\r\nHost: a\r\n\r\n", Rejected(BareLf));
    check("only bare LFs", b"GET / HTTP/1.1\nHost: a\n\n", Rejected(BareLf));
    check("last line by a bare LF", b"GET / HTTP/1.1\r\nHost: a\r\n\n", Rejected(BareLf));
    check("last line by a bare CR", b"GET / HTTP/1.1\r\nHost: a\r\n\rx\r\n\r\n", Rejected(LINE_END));
}

#[test]
fn one_leading_empty_line_is_skipped() {
    let get = "GET / HTTP/1.1\r\nHost: a\r\n\r\n";
    for (name, before, expected) in [
        ("CRLF", "\r\n", Accepted(Empty)),
        ("two CRLF", "\r\n\r\n", Rejected(Malformed("head"))),
        ("LF", "\n", Rejected(BareLf)),
        ("CRLF and LF", "\r\n\n", Rejected(BareLf)),
        ("CR", "\r", Rejected(LINE_END)),
        ("two CR and LF", "\r\r\n", Rejected(LINE_END)),
        ("space", " ", Rejected(LINE)),
        ("space on a line", " \r\n", Rejected(LINE)),
        ("NUL", "\0", Rejected(LINE)),
        ("byte order mark", "\u{feff}", Rejected(LINE)),
    ] {
        check(name, format!("{before}{get}").as_bytes(), expected);
    }
    for (name, bytes) in [("nothing", ""), ("CR", "\r"), ("CRLF", "\r\n"), ("CRLF CR", "\r\n\r")] {
        check(name, bytes.as_bytes(), Incomplete);
    }
}

#[test]
fn empty_line_before_each_pipelined_request_is_skipped() {
    let (mut scanner, limits) = (HeadScanner::default(), HeadLimits::default());
    let mut buffer = BytesMut::from(&[NEXT_REQUEST, b"\r\n", NEXT_REQUEST, NEXT_REQUEST].concat()[..]);
    for _ in 0..3 {
        let head = request(&mut buffer, &mut scanner, &limits).expect("valid").expect("complete");
        assert_eq!(head.target(), b"/rest");
    }
    assert!(buffer.is_empty());
}

#[test]
fn incomplete_head_is_not_parsed() {
    let whole = b"GET / HTTP/1.1\r\nHost: a.example\r\nAccept: */*\r\n\r\n";
    for end in 0..whole.len() {
        check("cut short", &whole[..end], Incomplete);
    }
    check("whole", whole, Accepted(Empty));
}

#[test]
fn head_errors_map_to_statuses() {
    for (error, status) in [
        (BareLf, 400),
        (LINE, 400),
        (NoHost, 400),
        (SeveralHosts, 400),
        (HostMismatch, 400),
        (Connect, 405),
        (TargetTooLong, 414),
        (TooLong, 431),
        (TooManyFields, 431),
        (HeadError::Version, 505),
    ] {
        assert_eq!(error.status(), status, "{error}");
    }
}
