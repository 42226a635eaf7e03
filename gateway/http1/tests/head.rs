//! Accessors of request heads, and head limits.

#![allow(clippy::expect_used, clippy::indexing_slicing, reason = "tests fail by panicking")]

use http1::{BodyLength, Head, HeadBuilder, HeadError, HeadLimits, KnownName, Version};

use HeadError::{TargetTooLong, TooLong, TooManyFields};
use support::requests::ParseOutcome::{Accepted, Rejected};
use support::requests::{check_with_limits, parse_pieces};

mod support {
    pub(crate) mod deliveries;
    pub(crate) mod requests;
}

const EMPTY: BodyLength = BodyLength::Empty;

fn parsed(bytes: &[u8]) -> Head {
    parse_pieces(&[bytes], &HeadLimits::default()).0.expect("valid").expect("complete")
}

/// Returns a head of exactly `length` bytes with few fields.
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
fn limits_are_exact_to_the_byte() {
    let small = HeadLimits { head_bytes: 400, fields: 10, target_bytes: 50 };
    for limits in [small, HeadLimits::default()] {
        let HeadLimits { head_bytes: head, fields, target_bytes: target } = limits;
        for (name, bytes, expected) in [
            ("head", head_of(head), Accepted(EMPTY)),
            ("longer head", head_of(head + 1), Rejected(TooLong)),
            (
                "head that never ends",
                b"GET / HTTP/1.1\r\nA: ".iter().chain(&vec![b'v'; head]).copied().collect(),
                Rejected(TooLong),
            ),
            ("method that never ends", vec![b'M'; head], Rejected(TooLong)),
            ("fields", head_with_fields(fields), Accepted(EMPTY)),
            ("more fields", head_with_fields(fields + 1), Rejected(TooManyFields)),
            ("target", head_with_target(target), Accepted(EMPTY)),
            ("longer target", head_with_target(target + 1), Rejected(TargetTooLong)),
            ("target that never ends", [b"GET /", &*vec![b'a'; head]].concat(), Rejected(TargetTooLong)),
            ("target longer than a head", head_with_target(head), Rejected(TargetTooLong)),
            (
                "longer head with a target that just fits",
                [b"GET /", &*vec![b'a'; target - 1], b" HTTP/1.1\r\nA: ", &vec![b'v'; head]].concat(),
                Rejected(TooLong),
            ),
            ("bare LF beyond the limit", [&vec![b'M'; head], &b"\n"[..]].concat(), Rejected(TooLong)),
        ] {
            check_with_limits(&limits, name, &bytes, expected);
        }
    }
}

#[test]
fn field_limit_above_max_fields_is_capped() {
    let limits = HeadLimits { fields: usize::MAX, head_bytes: 1 << 20, ..HeadLimits::default() };
    check_with_limits(&limits, "as many", &head_with_fields(HeadLimits::MAX_FIELDS), Accepted(EMPTY));
    check_with_limits(
        &limits,
        "one more",
        &head_with_fields(HeadLimits::MAX_FIELDS + 1),
        Rejected(TooManyFields),
    );
}

#[test]
fn head_returns_what_was_sent() {
    let head = parsed(
        b"PUT /a/b?c=/d?e HTTP/1.1\r\nhOST:  a.example \r\nX-One: 1\r\nVia: a, b\r\nx-one:\r\nVIA: c\r\n\r\n",
    );
    assert_eq!(head.method(), b"PUT");
    assert_eq!(head.target(), b"/a/b?c=/d?e");
    assert_eq!(head.path(), b"/a/b");
    assert_eq!(head.version(), Version::Http11);
    assert_eq!((head.status(), head.reason()), (0, &b""[..]));
    assert_eq!(head.get(KnownName::Host), Some(&b"a.example"[..]));
    assert_eq!(head.get(KnownName::Date), None);
    let fields: Vec<_> = head.fields().collect();
    let expected: [(Option<KnownName>, &[u8], &[u8]); 5] = [
        (Some(KnownName::Host), b"hOST", b"a.example"),
        (None, b"X-One", b"1"),
        (None, b"Via", b"a, b"),
        (None, b"x-one", b""),
        (None, b"VIA", b"c"),
    ];
    assert_eq!(fields, expected);
}

#[test]
fn get_all_and_has_token_search_every_field_of_a_name() {
    let head = parsed(
        b"GET / HTTP/1.1\r\nHost: a\r\nConnection: keep-alive, x-a\r\nA: b\r\nconnection:,\tUpgrade ,\r\n\r\n",
    );
    let values: Vec<_> = head.get_all(KnownName::Connection).collect();
    assert_eq!(values, [&b"keep-alive, x-a"[..], b",\tUpgrade ,"]);
    for token in [&b"keep-alive"[..], b"X-A", b"upgrade", b"UPGRADE"] {
        assert!(head.has_token(KnownName::Connection, token), "{}", token.escape_ascii());
    }
    for token in [&b"close"[..], b"keep", b"x-a, upgrade", b" x-a"] {
        assert!(!head.has_token(KnownName::Connection, token), "{}", token.escape_ascii());
    }
    assert!(!head.has_token(KnownName::Te, b"trailers"));
}

#[test]
fn absolute_form_becomes_path_and_query() {
    for (target, path) in
        [("http://a/b?c", &b"/b?c"[..]), ("http://a", b"/"), ("http://a/", b"/"), ("HTTPS://a/?b", b"/?b")]
    {
        let head = parsed(format!("GET {target} HTTP/1.1\r\nHost: a\r\n\r\n").as_bytes());
        assert_eq!(head.target(), path, "{target}");
    }
}

#[test]
fn built_head_returns_its_parts() {
    let mut builder = HeadBuilder::request(b"GET", b"/a?b", 2);
    builder.field(b"host", b"a.example");
    builder.field(b"x-a", b"");
    let head = builder.build();
    assert_eq!((head.method(), head.target(), head.path()), (&b"GET"[..], &b"/a?b"[..], &b"/a"[..]));
    assert_eq!((head.version(), head.get(KnownName::Host)), (Version::Http11, Some(&b"a.example"[..])));
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
fn known_names_are_found_at_any_position() {
    // The index stores positions in one byte. Only built heads can have more fields than that.
    for before in [0, 1, 253, 254, 255, 256, 1000] {
        let mut builder = HeadBuilder::request(b"GET", b"/", before + 2);
        (0..before).for_each(|_| builder.field(b"cookie", b"a=b"));
        builder.field(b"content-length", b"5");
        builder.field(b"content-length", b"6");
        let head = builder.build();
        assert_eq!(head.get(KnownName::ContentLength), Some(&b"5"[..]), "after {before}");
        assert_eq!(head.get_all(KnownName::ContentLength).count(), 2, "after {before}");
        assert_eq!(head.get(KnownName::TransferEncoding), None, "after {before}");
        assert!(BodyLength::from_request(&head).is_err(), "after {before}");
    }
}

#[test]
fn retain_rebuilds_the_index() {
    let text = b"GET / HTTP/1.1\r\nA_: 1\r\nHost: a\r\nX_Y: 2\r\nServer: s\r\nServer: t\r\n\r\n";
    let mut head = parsed(text);
    head.retain(|_| true);
    assert_eq!(head.fields().count(), 5);
    head.retain(|name| !name.contains(&b'_'));
    let names: Vec<_> = head.fields().map(|(_, name, _)| name).collect();
    assert_eq!(names, [&b"Host"[..], b"Server", b"Server"]);
    assert_eq!((head.get(KnownName::Host), head.get_all(KnownName::Server).count()), (Some(&b"a"[..]), 2));
    head.retain(|name| name != b"Host");
    assert_eq!((head.get(KnownName::Host), head.get(KnownName::Server)), (None, Some(&b"s"[..])));
}
