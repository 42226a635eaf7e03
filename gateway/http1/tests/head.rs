//! What a request head shows, and how large it may be.

#![allow(clippy::expect_used, clippy::indexing_slicing, reason = "tests fail by panicking")]

use http1::{BodyLength, Head, HeadBuilder, HeadError, Known, Limits, Version};

use HeadError::{TargetTooLong, TooLong, TooManyFields};
use support::requests::Expected::{Refused, Taken};
use support::requests::{check_within, feed};

mod support {
    pub(crate) mod deliveries;
    pub(crate) mod requests;
}

const EMPTY: BodyLength = BodyLength::Empty;

fn parsed(bytes: &[u8]) -> Head {
    feed(&[bytes], &Limits::default()).0.expect("valid").expect("complete")
}

/// A head of exactly `length` bytes, of few fields.
fn head_of(length: usize) -> Vec<u8> {
    let (start, end) = ("GET / HTTP/1.1\r\nHost: a\r\nA: ", "\r\n\r\n");
    format!("{start}{}{end}", "v".repeat(length - start.len() - end.len())).into_bytes()
}

fn head_with_fields(count: usize) -> Vec<u8> {
    format!("GET / HTTP/1.1\r\nHost: a\r\n{}\r\n", "A: b\r\n".repeat(count - 1)).into_bytes()
}

fn head_with_target(length: usize) -> Vec<u8> {
    format!("GET /{} HTTP/1.1\r\nHost: a\r\n\r\n", "a".repeat(length - 1)).into_bytes()
}

#[test]
fn limits_are_met_to_the_byte() {
    let small = Limits { head: 400, fields: 10, target: 50 };
    for limits in [small, Limits::default()] {
        let Limits { head, fields, target } = limits;
        for (name, bytes, expected) in [
            ("head", head_of(head), Taken(EMPTY)),
            ("longer head", head_of(head + 1), Refused(TooLong)),
            (
                "head that never ends",
                b"GET / HTTP/1.1\r\nA: ".iter().chain(&vec![b'v'; head]).copied().collect(),
                Refused(TooLong),
            ),
            ("method that never ends", vec![b'M'; head], Refused(TooLong)),
            ("fields", head_with_fields(fields), Taken(EMPTY)),
            ("more fields", head_with_fields(fields + 1), Refused(TooManyFields)),
            ("target", head_with_target(target), Taken(EMPTY)),
            ("longer target", head_with_target(target + 1), Refused(TargetTooLong)),
            ("target that never ends", [b"GET /", &*vec![b'a'; head]].concat(), Refused(TargetTooLong)),
            ("target longer than a head", head_with_target(head), Refused(TargetTooLong)),
            (
                "longer head with a target that just fits",
                [b"GET /", &*vec![b'a'; target - 1], b" HTTP/1.1\r\nA: ", &vec![b'v'; head]].concat(),
                Refused(TooLong),
            ),
            ("bare LF beyond the limit", [&vec![b'M'; head], &b"\n"[..]].concat(), Refused(TooLong)),
        ] {
            check_within(&limits, name, &bytes, expected);
        }
    }
}

#[test]
fn a_limit_of_fields_beyond_the_table_means_the_table() {
    let limits = Limits { fields: 1000, ..Limits::default() };
    check_within(&limits, "128", &head_with_fields(Limits::MOST_FIELDS), Taken(EMPTY));
    check_within(&limits, "129", &head_with_fields(Limits::MOST_FIELDS + 1), Refused(TooManyFields));
}

#[test]
fn a_head_shows_what_was_sent() {
    let head = parsed(
        b"PUT /a/b?c=/d?e HTTP/1.1\r\nhOST:  a.example \r\nX-One: 1\r\nVia: a, b\r\nx-one:\r\nVIA: c\r\n\r\n",
    );
    assert_eq!(head.method(), b"PUT");
    assert_eq!(head.target(), b"/a/b?c=/d?e");
    assert_eq!(head.path(), b"/a/b");
    assert_eq!(head.version(), Version::Http11);
    assert_eq!((head.status(), head.reason()), (0, &b""[..]));
    assert_eq!(head.get(Known::Host), Some(&b"a.example"[..]));
    assert_eq!(head.get(Known::Date), None);
    let fields: Vec<_> = head.fields().collect();
    let expected: [(Option<Known>, &[u8], &[u8]); 5] = [
        (Some(Known::Host), b"hOST", b"a.example"),
        (None, b"X-One", b"1"),
        (None, b"Via", b"a, b"),
        (None, b"x-one", b""),
        (None, b"VIA", b"c"),
    ];
    assert_eq!(fields, expected);
}

#[test]
fn all_values_of_a_known_name_are_found_and_lists_are_searched() {
    let head = parsed(
        b"GET / HTTP/1.1\r\nHost: a\r\nConnection: keep-alive, x-a\r\nA: b\r\nconnection:,\tUpgrade ,\r\n\r\n",
    );
    let values: Vec<_> = head.all(Known::Connection).collect();
    assert_eq!(values, [&b"keep-alive, x-a"[..], b",\tUpgrade ,"]);
    for token in [&b"keep-alive"[..], b"X-A", b"upgrade", b"UPGRADE"] {
        assert!(head.lists(Known::Connection, token), "{}", token.escape_ascii());
    }
    for token in [&b"close"[..], b"keep", b"x-a, upgrade", b" x-a"] {
        assert!(!head.lists(Known::Connection, token), "{}", token.escape_ascii());
    }
    assert!(!head.lists(Known::Te, b"trailers"));
}

#[test]
fn the_absolute_form_becomes_path_and_query() {
    for (target, path) in
        [("http://a/b?c", &b"/b?c"[..]), ("http://a", b"/"), ("http://a/", b"/"), ("HTTPS://a/?b", b"/?b")]
    {
        let head = parsed(format!("GET {target} HTTP/1.1\r\nHost: a\r\n\r\n").as_bytes());
        assert_eq!(head.target(), path, "{target}");
    }
}

#[test]
fn a_built_head_shows_its_parts() {
    let mut builder = HeadBuilder::request(b"GET", b"/a?b", 2);
    builder.field(b"host", b"a.example");
    builder.field(b"x-a", b"");
    let head = builder.build();
    assert_eq!((head.method(), head.target(), head.path()), (&b"GET"[..], &b"/a?b"[..], &b"/a"[..]));
    assert_eq!((head.version(), head.get(Known::Host)), (Version::Http11, Some(&b"a.example"[..])));
    let fields: Vec<_> = head.fields().map(|(_, name, value)| (name, value)).collect();
    assert_eq!(fields, [(&b"host"[..], &b"a.example"[..]), (b"x-a", b"")]);

    let head = HeadBuilder::response(204, 0).build();
    assert_eq!(
        (head.status(), head.reason(), head.method(), head.target()),
        (204, &b""[..], &b""[..], &b""[..])
    );
    assert_eq!(head.fields().count(), 0);
}

#[test]
fn known_names_are_found_however_far_back_they_stand() {
    // The index holds places in a byte each; only a built head can have more fields than that.
    for before in [0, 1, 253, 254, 255, 256, 1000] {
        let mut builder = HeadBuilder::request(b"GET", b"/", before + 2);
        (0..before).for_each(|_| builder.field(b"cookie", b"a=b"));
        builder.field(b"content-length", b"5");
        builder.field(b"content-length", b"6");
        let head = builder.build();
        assert_eq!(head.get(Known::ContentLength), Some(&b"5"[..]), "after {before}");
        assert_eq!(head.all(Known::ContentLength).count(), 2, "after {before}");
        assert_eq!(head.get(Known::TransferEncoding), None, "after {before}");
        assert!(BodyLength::of_request(&head).is_err(), "after {before}");
    }
}

#[test]
fn forgotten_fields_leave_the_index_in_step() {
    let text = b"GET / HTTP/1.1\r\nA_: 1\r\nHost: a\r\nX_Y: 2\r\nServer: s\r\nServer: t\r\n\r\n";
    let mut head = parsed(text);
    head.retain(|_| true);
    assert_eq!(head.fields().count(), 5);
    head.retain(|name| !name.contains(&b'_'));
    let names: Vec<_> = head.fields().map(|(_, name, _)| name).collect();
    assert_eq!(names, [&b"Host"[..], b"Server", b"Server"]);
    assert_eq!((head.get(Known::Host), head.all(Known::Server).count()), (Some(&b"a"[..]), 2));
    head.retain(|name| name != b"Host");
    assert_eq!((head.get(Known::Host), head.get(Known::Server)), (None, Some(&b"s"[..])));
}
