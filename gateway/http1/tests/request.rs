//! Every rule for request heads and their framing, one row a case, each delivered in every way.

#![allow(clippy::expect_used, clippy::indexing_slicing, clippy::panic, reason = "tests fail by panicking")]

use bytes::BytesMut;
use http1::parse::request;
use http1::{BodyLength, FramingError, HeadError, HeadScanner, Limits};

use BodyLength::{Chunked, Empty, Exact};
use HeadError::{
    BareLf, Connect, HostMismatch, Malformed, NoHost, SeveralHosts, TargetTooLong, TooLong, TooManyFields,
};
use support::requests::Expected::{self, Framing, Refused, Taken, Waits};
use support::requests::{REST, check_within, feed};

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

fn check(name: &str, head: &[u8], expected: Expected) {
    check_within(&Limits::default(), name, head, expected);
}

/// Checks rows of (name, field lines without the last CRLF, expected) in an otherwise blameless POST.
fn check_fields(start: &str, rows: &[(&str, &str, Expected)]) {
    for (name, fields, expected) in rows {
        check(name, format!("{start}\r\n{fields}\r\n\r\n").as_bytes(), *expected);
    }
}

const POST: &str = "POST / HTTP/1.1\r\nHost: a.example";

/// The head of a request whose first line is `line`.
fn with_line(line: &str) -> Vec<u8> {
    format!("{line}\r\nHost: a.example\r\n\r\n").into_bytes()
}

#[test]
fn content_length_is_one_plain_decimal_number() {
    let malformed = Framing(FramingError::MalformedLength);
    let several = Framing(FramingError::SeveralLengths);
    check_fields(
        POST,
        &[
            ("none", "Accept: */*", Taken(Empty)),
            ("zero", "Content-Length: 0", Taken(Exact(0))),
            ("plain", "Content-Length: 5", Taken(Exact(5))),
            ("any case, no space", "cOnTeNt-LeNgTh:5", Taken(Exact(5))),
            ("white space around", "Content-Length: \t 5 \t", Taken(Exact(5))),
            ("leading zeros are decimal", "Content-Length: 010", Taken(Exact(10))),
            ("18 digits", "Content-Length: 999999999999999999", Taken(Exact(999_999_999_999_999_999))),
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
            ("twice, equal", "Content-Length: 5\r\nContent-Length: 5", several),
            ("twice, differing", "Content-Length: 5\r\nContent-Length: 6", several),
            ("twice, apart, other case", "Content-Length: 5\r\nA: b\r\ncontent-length: 0", several),
            ("twice, the second empty", "Content-Length: 5\r\nContent-Length:", several),
            ("underscore in the name is another field", "Content_Length: 5", Taken(Empty)),
        ],
    );
}

#[test]
fn transfer_encoding_is_one_chunked_alone() {
    let unknown = Framing(FramingError::UnknownEncoding);
    let both = Framing(FramingError::LengthAndEncoding);
    check_fields(
        POST,
        &[
            ("chunked", "Transfer-Encoding: chunked", Taken(Chunked)),
            ("any case", "TRANSFER-ENCODING: CHUNKED", Taken(Chunked)),
            ("white space around", "Transfer-Encoding: \t chunked\t ", Taken(Chunked)),
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
            ("vertical tab", "Transfer-Encoding: \u{b}chunked", Refused(VALUE)),
            ("NUL behind", "Transfer-Encoding: chunked\0", Refused(VALUE)),
            ("twice", "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked", unknown),
            ("twice, differing", "Transfer-Encoding: chunked\r\nTransfer-Encoding: identity", unknown),
            ("twice, apart", "Transfer-Encoding: identity\r\nA: b\r\ntransfer-encoding: chunked", unknown),
            ("with a length", "Content-Length: 5\r\nTransfer-Encoding: chunked", both),
            ("with a length behind", "Transfer-Encoding: chunked\r\nContent-Length: 5", both),
            ("with a length of zero", "Transfer-Encoding: chunked\r\nContent-Length: 0", both),
            ("with an empty length", "Transfer-Encoding: chunked\r\nContent-Length:", both),
            ("identity with a length", "Content-Length: 5\r\nTransfer-Encoding: identity", both),
            ("empty with a length", "Content-Length: 5\r\nTransfer-Encoding:", both),
            ("underscore in the name is another field", "Transfer_Encoding: chunked", Taken(Empty)),
        ],
    );
}

#[test]
fn http_1_0_knows_lengths_but_no_encodings() {
    let encoding = Framing(FramingError::EncodingInHttp10);
    check_fields(
        "POST / HTTP/1.0",
        &[
            ("no Host", "Accept: */*", Taken(Empty)),
            ("Host", "Host: a.example", Taken(Empty)),
            ("two Hosts", "Host: a.example\r\nHost: a.example", Refused(SeveralHosts)),
            ("bad Host", "Host: a@b", Refused(HOST)),
            ("length", "Content-Length: 5", Taken(Exact(5))),
            ("chunked", "Transfer-Encoding: chunked", encoding),
            ("identity", "Transfer-Encoding: identity", encoding),
            ("both", "Content-Length: 5\r\nTransfer-Encoding: x", Framing(FramingError::LengthAndEncoding)),
        ],
    );
}

#[test]
fn host_is_there_once_and_is_an_authority() {
    let cases = [
        ("name", "Host: a.example", Taken(Empty)),
        ("name and port", "Host: a.example:8080", Taken(Empty)),
        ("port left empty", "Host: a.example:", Taken(Empty)),
        ("greatest port", "Host: a.example:65535", Taken(Empty)),
        ("trailing dot", "Host: a.example.", Taken(Empty)),
        ("upper case, underscore, hyphen", "Host: A_b-c.Example", Taken(Empty)),
        ("IPv4", "Host: 127.0.0.1:80", Taken(Empty)),
        ("IPv6", "Host: [::1]", Taken(Empty)),
        ("IPv6 and port", "Host: [2001:db8::1]:8443", Taken(Empty)),
        ("missing", "Accept: */*", Refused(NoHost)),
        ("underscore makes another field", "Ho_st: a.example", Refused(NoHost)),
        ("twice, equal", "Host: a.example\r\nHost: a.example", Refused(SeveralHosts)),
        ("twice, differing", "Host: a.example\r\nA: b\r\nhost: b.example", Refused(SeveralHosts)),
        ("twice, one empty", "Host:\r\nHost: a.example", Refused(SeveralHosts)),
        ("empty", "Host:", Refused(HOST)),
        ("only white space", "Host: \t ", Refused(HOST)),
        ("userinfo", "Host: user@a.example", Refused(HOST)),
        ("userinfo with password", "Host: user:1@a.example", Refused(HOST)),
        ("path", "Host: a.example/b", Refused(HOST)),
        ("query", "Host: a.example?b", Refused(HOST)),
        ("fragment", "Host: a.example#b", Refused(HOST)),
        ("comma", "Host: a.example,b.example", Refused(HOST)),
        ("comma and space", "Host: a.example, b.example", Refused(HOST)),
        ("inner space", "Host: a.example b.example", Refused(HOST)),
        ("scheme", "Host: http://a.example", Refused(HOST)),
        ("backslash", "Host: a.example\\b", Refused(HOST)),
        ("percent", "Host: a%2eexample", Refused(HOST)),
        ("non-ASCII", "Host: \u{e4}.example", Refused(HOST)),
        ("port only", "Host: :80", Refused(HOST)),
        ("port beyond 65535", "Host: a.example:65536", Refused(HOST)),
        ("port beyond 32 bits", "Host: a.example:4294967376", Refused(HOST)),
        ("port with plus", "Host: a.example:+80", Refused(HOST)),
        ("port with letters", "Host: a.example:80a", Refused(HOST)),
        ("two ports", "Host: a.example:80:81", Refused(HOST)),
        ("IPv6 without brackets", "Host: ::1", Refused(HOST)),
        ("IPv6 not closed", "Host: [::1", Refused(HOST)),
        ("IPv6 that is none", "Host: [a.example]", Refused(HOST)),
        ("IPv6 with nothing in it", "Host: []", Refused(HOST)),
        ("IPv6 with more behind", "Host: [::1]a:80", Refused(HOST)),
    ];
    check_fields("GET / HTTP/1.1", &cases);
}

#[test]
fn the_absolute_form_must_agree_with_host() {
    let absolute = |target: &str, host: &str| format!("GET {target} HTTP/1.1\r\nHost: {host}\r\n\r\n");
    for (name, target, host, expected) in [
        ("same", "http://a.example/b?c", "a.example", Taken(Empty)),
        ("other case", "HTTP://A.Example/b", "a.eXample", Taken(Empty)),
        ("https", "https://a.example/", "a.example", Taken(Empty)),
        ("same port", "http://a.example:81/", "a.example:81", Taken(Empty)),
        ("no path", "http://a.example", "a.example", Taken(Empty)),
        ("another name", "http://b.example/", "a.example", Refused(HostMismatch)),
        ("a longer name", "http://a.example.b/", "a.example", Refused(HostMismatch)),
        ("a trailing dot", "http://a.example./", "a.example", Refused(HostMismatch)),
        ("another port", "http://a.example:81/", "a.example:80", Refused(HostMismatch)),
        ("a default port on one side", "http://a.example:80/", "a.example", Refused(HostMismatch)),
        ("userinfo on one side", "http://u@a.example/", "a.example", Refused(HostMismatch)),
        ("userinfo on both sides", "http://u@a.example/", "u@a.example", Refused(HOST)),
        ("backslash hides a name", "http://a.example\\@b.example/", "a.example", Refused(HostMismatch)),
        ("no authority", "http:///b", "a.example", Refused(HostMismatch)),
        ("no authority, empty Host", "http:///b", "", Refused(HOST)),
        ("query without path", "http://a.example?b", "a.example", Refused(TARGET)),
        ("fragment", "http://a.example/#b", "a.example", Refused(TARGET)),
        ("one slash", "http:/a.example/", "a.example", Refused(TARGET)),
        ("another scheme", "ftp://a.example/", "a.example", Refused(TARGET)),
        ("scheme alone", "http://", "a.example", Refused(HostMismatch)),
    ] {
        check(name, absolute(target, host).as_bytes(), expected);
    }
    check("two Hosts", b"GET http://a/ HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", Refused(SeveralHosts));
    check("1.1 without Host", b"GET http://a/ HTTP/1.1\r\n\r\n", Refused(NoHost));
    // The head has no other place for the authority than Host, so HTTP/1.0 cannot name it in the target alone.
    check("1.0 without Host", b"GET http://a/ HTTP/1.0\r\n\r\n", Refused(HostMismatch));
    check("1.0 with Host", b"GET http://a/ HTTP/1.0\r\nHost: a\r\n\r\n", Taken(Empty));
}

#[test]
fn the_request_line_has_three_words_and_two_spaces() {
    for (line, expected) in [
        ("GET / HTTP/1.1", Taken(Empty)),
        ("get / HTTP/1.1", Taken(Empty)),
        ("M-SEARCH!#$%&'*+.^_`|~9 / HTTP/1.1", Taken(Empty)),
        ("OPTIONS * HTTP/1.1", Taken(Empty)),
        ("GET /?a=b?c HTTP/1.1", Taken(Empty)),
        ("GET //b HTTP/1.1", Taken(Empty)),
        ("GET * HTTP/1.1", Refused(TARGET)),
        ("options * HTTP/1.1", Refused(TARGET)),
        ("OPTIONS ** HTTP/1.1", Refused(TARGET)),
        ("OPTIONS *?a HTTP/1.1", Refused(TARGET)),
        ("GET a HTTP/1.1", Refused(TARGET)),
        ("GET ?a HTTP/1.1", Refused(TARGET)),
        ("GET a.example:80 HTTP/1.1", Refused(TARGET)),
        ("GET /#a HTTP/1.1", Refused(TARGET)),
        ("GET /a?b#c HTTP/1.1", Refused(TARGET)),
        ("GET /\u{e4} HTTP/1.1", Refused(TARGET)),
        ("CONNECT a.example:443 HTTP/1.1", Refused(Connect)),
        ("CONNECT / HTTP/1.1", Refused(Connect)),
        ("GET / HTTP/0.9", Refused(HeadError::Version)),
        ("GET / HTTP/1.2", Refused(HeadError::Version)),
        ("GET / HTTP/2.0", Refused(HeadError::Version)),
        ("PRI * HTTP/2.0", Refused(HeadError::Version)),
        ("GET / HTTP/1.10", Refused(LINE_END)),
        ("GET / HTTP/1.1 ", Refused(LINE_END)),
        ("GET / HTTP/1.1 x", Refused(LINE_END)),
        ("GET / HTTP/1.", Refused(LINE)),
        ("GET / HTTP/1", Refused(LINE)),
        ("GET / HTTP/2", Refused(LINE)),
        ("GET / HTTP/01.1", Refused(LINE)),
        ("GET / http/1.1", Refused(LINE)),
        ("GET / HTTP/x.1", Refused(LINE)),
        ("GET / ", Refused(LINE)),
        ("GET /", Refused(LINE)),
        ("GET ", Refused(LINE)),
        ("GET", Refused(LINE)),
        ("GET  / HTTP/1.1", Refused(LINE)),
        ("GET /  HTTP/1.1", Refused(LINE)),
        ("GET\t/ HTTP/1.1", Refused(LINE)),
        ("GET /\tHTTP/1.1", Refused(LINE)),
        ("GET /a b HTTP/1.1", Refused(LINE)),
        ("GET /a HTTP/2.0 HTTP/1.1", Refused(LINE)),
        (" GET / HTTP/1.1", Refused(LINE)),
        ("\tGET / HTTP/1.1", Refused(LINE)),
        ("G(T / HTTP/1.1", Refused(LINE)),
        ("G\0T / HTTP/1.1", Refused(LINE)),
        ("G\u{e4}T / HTTP/1.1", Refused(LINE)),
        ("GET: / HTTP/1.1", Refused(LINE)),
        ("GET /\0 HTTP/1.1", Refused(LINE)),
        ("GET /\u{7f} HTTP/1.1", Refused(LINE)),
        ("Host: a.example", Refused(LINE)),
    ] {
        check(line, &with_line(line), expected);
    }
    check("not UTF-8", b"GET /\xff HTTP/1.1\r\nHost: a\r\n\r\n", Refused(LINE));
}

#[test]
fn every_byte_of_a_method_and_a_target_is_checked() {
    for byte in 0..=u8::MAX {
        let is_token = byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
        let is_visible = byte.is_ascii_graphic() && byte != b'#';
        // Long enough for each width at which the tokenizer compares, and at each place in it.
        for place in 0..70 {
            for (long, is_allowed) in [("M", is_token), ("/", is_visible)] {
                let mut word = long.as_bytes().repeat(70);
                word[place] = byte;
                let (method, target) = if long == "M" { (&*word, &b"/"[..]) } else { (&b"GET"[..], &*word) };
                // A first byte that is no slash is no origin form.
                let is_allowed = is_allowed && (long == "M" || place > 0 || byte == b'/');
                let bytes = [method, b" ", target, b" HTTP/1.1\r\nHost: a\r\n\r\n"].concat();
                let (found, _) = feed(&[&bytes], &Limits::default());
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
fn every_byte_of_a_field_is_checked() {
    for byte in 0..=u8::MAX {
        let is_token = byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
        let is_value = matches!(byte, b'\t' | b' '..=0x7e | 0x80..);
        for place in 0..70 {
            for (in_name, is_allowed) in [(true, is_token), (false, is_value)] {
                let mut word = b"n".repeat(70);
                word[place] = byte;
                let (field, value) = if in_name { (&*word, &b"v"[..]) } else { (&b"n"[..], &*word) };
                // A colon ends a name; there is none before the first byte.
                let is_allowed = is_allowed || (in_name && byte == b':' && place > 0);
                let bytes = [b"GET / HTTP/1.1\r\nHost: a\r\n", field, b":", value, b"\r\n\r\n"].concat();
                let (found, _) = feed(&[&bytes], &Limits::default());
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
fn lines_and_fields_are_exactly_as_the_grammar_writes_them() {
    for (name, fields, expected) in [
        ("no white space", "A:b\r\n", Taken(Empty)),
        ("empty value", "A:\r\n", Taken(Empty)),
        ("value of white space", "A: \t \r\n", Taken(Empty)),
        ("colons in the value", "A: b:c:\r\n", Taken(Empty)),
        ("obs-text in the value", "A: \u{e4}\r\n", Taken(Empty)),
        ("space before the colon", "A : b\r\n", Refused(NAME)),
        ("tab before the colon", "A\t: b\r\n", Refused(NAME)),
        ("space before the colon of a length", "Content-Length : 5\r\n", Refused(NAME)),
        ("space in the name", "A b: c\r\n", Refused(NAME)),
        ("no name", ": b\r\n", Refused(NAME)),
        ("no colon", "A\r\n", Refused(NAME)),
        ("non-ASCII name", "\u{e4}: b\r\n", Refused(NAME)),
        ("NUL in the name", "A\0: b\r\n", Refused(NAME)),
        ("NUL in the value", "A: b\0c\r\n", Refused(VALUE)),
        ("DEL in the value", "A: b\u{7f}\r\n", Refused(VALUE)),
        ("escape in the value", "A: b\u{1b}[0m\r\n", Refused(VALUE)),
        ("obs-fold with space", "A: b\r\n c\r\n", Refused(NAME)),
        ("obs-fold with tab", "A: b\r\n\tc\r\n", Refused(NAME)),
        ("obs-fold of nothing", "A: b\r\n \r\n", Refused(NAME)),
        ("obs-fold hides an encoding", "A: b\r\n Transfer-Encoding: chunked\r\n", Refused(NAME)),
        ("obs-fold splits an encoding", "Transfer-Encoding:\r\n chunked\r\n", Refused(NAME)),
        ("bare LF behind a value", "A: b\nC: d\r\n", Refused(BareLf)),
        ("bare LF behind a name", "A\n: b\r\n", Refused(BareLf)),
        ("bare LF hides an encoding", "A: b\nTransfer-Encoding: chunked\r\n", Refused(BareLf)),
        ("empty line by a bare LF", "A: b\r\n\nC: d\r\n", Refused(BareLf)),
        ("bare CR behind a value", "A: b\rC: d\r\n", Refused(VALUE)),
        ("bare CR before CRLF", "A: b\r\r\n", Refused(VALUE)),
        ("bare CR before a value", "A:\rb\r\n", Refused(VALUE)),
        ("bare CR in a name", "A\rB: c\r\n", Refused(NAME)),
        ("bare CR starts a line", "\rA: b\r\n", Refused(LINE_END)),
        ("bare CR alone on a line", "\r\r\nA: b\r\n", Refused(LINE_END)),
        ("bare CR hides an encoding", "A: b\rTransfer-Encoding: chunked\r\n", Refused(VALUE)),
    ] {
        check(name, format!("GET / HTTP/1.1\r\nHost: a\r\n{fields}\r\n").as_bytes(), expected);
    }
    check("space before the first field", b"GET / HTTP/1.1\r\n Host: a\r\n\r\n", Refused(NAME));
    check("bare LF ends the request line", b"GET / HTTP/1.1\nHost: a\r\n\r\n", Refused(BareLf));
    check("bare CR ends the request line", b"GET / HTTP/1.1\rHost: a\r\n\r\n", Refused(LINE_END));
    check("bare LF in the request line", b"GET /\n HTTP/1.1\r\nHost: a\r\n\r\n", Refused(BareLf));
    check("only bare LFs", b"GET / HTTP/1.1\nHost: a\n\n", Refused(BareLf));
    check("last line by a bare LF", b"GET / HTTP/1.1\r\nHost: a\r\n\n", Refused(BareLf));
    check("last line by a bare CR", b"GET / HTTP/1.1\r\nHost: a\r\n\rx\r\n\r\n", Refused(LINE_END));
}

#[test]
fn one_empty_line_may_come_first() {
    let get = "GET / HTTP/1.1\r\nHost: a\r\n\r\n";
    for (name, before, expected) in [
        ("CRLF", "\r\n", Taken(Empty)),
        ("two CRLF", "\r\n\r\n", Refused(Malformed("head"))),
        ("LF", "\n", Refused(BareLf)),
        ("CRLF and LF", "\r\n\n", Refused(BareLf)),
        ("CR", "\r", Refused(LINE_END)),
        ("two CR and LF", "\r\r\n", Refused(LINE_END)),
        ("space", " ", Refused(LINE)),
        ("space on a line", " \r\n", Refused(LINE)),
        ("NUL", "\0", Refused(LINE)),
        ("byte order mark", "\u{feff}", Refused(LINE)),
    ] {
        check(name, format!("{before}{get}").as_bytes(), expected);
    }
    for (name, bytes) in [("nothing", ""), ("CR", "\r"), ("CRLF", "\r\n"), ("CRLF CR", "\r\n\r")] {
        check(name, bytes.as_bytes(), Waits);
    }
}

#[test]
fn an_empty_line_may_come_before_each_request_of_a_connection() {
    let (mut scanner, limits) = (HeadScanner::default(), Limits::default());
    let mut buffer = BytesMut::from(&[REST, b"\r\n", REST, REST].concat()[..]);
    for _ in 0..3 {
        let head = request(&mut buffer, &mut scanner, &limits).expect("valid").expect("complete");
        assert_eq!(head.target(), b"/rest");
    }
    assert!(buffer.is_empty());
}

#[test]
fn a_head_is_not_taken_before_it_ends() {
    let whole = b"GET / HTTP/1.1\r\nHost: a.example\r\nAccept: */*\r\n\r\n";
    for end in 0..whole.len() {
        check("cut short", &whole[..end], Waits);
    }
    check("whole", whole, Taken(Empty));
}

#[test]
fn refusals_have_the_status_that_clients_expect() {
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
