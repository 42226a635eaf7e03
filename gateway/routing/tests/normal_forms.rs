//! The normal forms of paths and hosts, by example.
#![allow(clippy::unwrap_used, reason = "tests fail by panicking")]

use std::borrow::Cow;

use routing::HostName;
use routing::host;
use routing::host::HostError;
use routing::path;
use routing::path::PathError;

#[test]
fn canonical_path_is_borrowed() {
    let long = format!("/{}", "a".repeat(10_000));
    let paths = [
        "/",
        "/a",
        "/a/",
        "/a.b/..c/d../.e",
        "/.../x",
        "/%2F%5C%20%C3%A4",
        "/a;b=c,d:@!$&'()*+~_-",
        "/%7Bx%7D%7C%5E\\",
        long.as_str(),
    ];
    for raw in paths {
        assert!(matches!(path::canonical(raw.as_bytes()), Ok(Cow::Borrowed(path)) if path == raw), "{raw}");
    }
}

#[test]
fn other_spelling_becomes_canonical() {
    let rows = [
        ("//", "/"),
        ("/.", "/"),
        ("/..", "/"),
        ("/../..", "/"),
        ("/../a", "/a"),
        ("/a/.", "/a/"),
        ("/a/..", "/"),
        ("/a/../", "/"),
        ("/a/b/..", "/a/"),
        ("/a/./b", "/a/b"),
        ("/a//b///c", "/a/b/c"),
        ("/a//../b", "/b"),
        ("/a//", "/a/"),
        ("/%2e/a", "/a"),
        ("/a/%2E%2e/b", "/b"),
        ("/a/.%2e", "/"),
        ("/%41%7e%2d%5F%30", "/A~-_0"),
        ("/%2f%5c%3f%23%25", "/%2F%5C%3F%23%25"),
        ("/%c3%A4", "/%C3%A4"),
        ("/%7B%7b", "/%7B%7B"),
        ("/a%2e", "/a."),
        ("/%252e%252e", "/%252e%252e"),
    ];
    for (raw, expected) in rows {
        assert_eq!(path::canonical(raw.as_bytes()).unwrap(), expected, "{raw}");
    }
}

#[test]
fn path_without_canonical_form_is_an_error() {
    let rows: [(&[u8], PathError); 16] = [
        (b"", PathError::NotAbsolute),
        (b"*", PathError::NotAbsolute),
        (b"a/b", PathError::NotAbsolute),
        (b"/%00", PathError::Nul),
        (b"/a/%00/../b", PathError::Nul),
        (b"/%", PathError::PercentEncoding),
        (b"/%4", PathError::PercentEncoding),
        (b"/%zz", PathError::PercentEncoding),
        (b"/%4/1", PathError::PercentEncoding),
        (b"/%+1", PathError::PercentEncoding),
        (b"/a?b", PathError::NotOnlyPath),
        (b"/a#b", PathError::NotOnlyPath),
        (b"/a b", PathError::ForbiddenByte(b' ')),
        (b"/a\r\n", PathError::ForbiddenByte(b'\r')),
        (b"/\x7f", PathError::ForbiddenByte(0x7f)),
        (b"/\xc3\xa4", PathError::ForbiddenByte(0xc3)),
    ];
    for (raw, expected) in rows {
        assert_eq!(path::canonical(raw), Err(expected), "{}", raw.escape_ascii());
    }
}

#[test]
fn rule_path_beyond_ascii_is_encoded() {
    assert_eq!(path::rule_path("/ü/%c3%bc").unwrap(), "/%C3%BC/%C3%BC");
    assert_eq!(path::rule_path("/ü/../a").unwrap(), "/a");
    assert_eq!(path::rule_path("/ü?"), Err(PathError::NotOnlyPath));
    assert_eq!(path::rule_path("ü"), Err(PathError::NotAbsolute));
}

#[test]
fn spellings_of_one_path_have_one_canonical_form() {
    for (spellings, expected) in [
        (["/v1/x:reset", "/v1/x%3Areset", "/v1/x%3areset"], "/v1/x:reset"),
        (["/@user", "/%40user", "/%40%75ser"], "/@user"),
        (
            ["/a!$&'()*+,;=b", "/a%21%24%26%27%28%29%2A%2B%2C%3B%3Db", "/a!%24&%27()%2a+,;%3db"],
            "/a!$&'()*+,;=b",
        ),
        (["/{id}", "/%7Bid%7D", "/%7bid}"], "/%7Bid%7D"),
        (
            ["/a|b\"<>^`[]", "/a%7Cb%22%3C%3E%5E%60%5B%5D", "/a%7cb\"%3c%3e^%60[%5d"],
            "/a%7Cb%22%3C%3E%5E%60%5B%5D",
        ),
    ] {
        for spelling in spellings {
            assert_eq!(path::canonical(spelling.as_bytes()).as_deref(), Ok(expected), "{spelling}");
            assert_eq!(path::rule_path(spelling).as_deref(), Ok(expected), "{spelling}");
        }
    }
}

#[test]
fn rule_path_with_a_space_is_encoded() {
    assert_eq!(path::rule_path("/my docs").unwrap(), "/my%20docs");
    assert_eq!(path::rule_path("/my%20docs/ü b").unwrap(), "/my%20docs/%C3%BC%20b");
    assert_eq!(path::rule_path("/a\tb"), Err(PathError::ForbiddenByte(b'\t')));
}

#[test]
fn request_host_loses_port_case_and_final_dot() {
    let rows: [(&str, Option<&str>); 31] = [
        ("a.example", Some("a.example")),
        ("A.Example", Some("a.example")),
        ("a.example.", Some("a.example")),
        ("a.example:8080", Some("a.example")),
        ("A.example.:80", Some("a.example")),
        ("a.example:", Some("a.example")),
        ("a.example:65535", Some("a.example")),
        ("a.example:65536", None),
        ("a.example:+80", None),
        ("a.example:80:80", None),
        ("a.example:x", None),
        ("my_host", Some("my_host")),
        ("localhost", Some("localhost")),
        ("127.0.0.1:80", Some("127.0.0.1")),
        ("[::1]", Some("[::1]")),
        ("[2001:DB8::1]:443", Some("[2001:db8::1]")),
        ("[::1]:", Some("[::1]")),
        ("[::1]x", None),
        ("[::1", None),
        ("[a.example]", None),
        ("::1", None),
        ("", None),
        (".", None),
        (":80", None),
        ("a..b", None),
        (".a", None),
        ("a..", None),
        ("user@a.example", None),
        ("a.example/x", None),
        ("a b", None),
        ("bücher.example", None),
    ];
    for (raw, expected) in rows {
        assert_eq!(host::normalise(raw.as_bytes()).as_deref(), expected, "{raw}");
    }
    assert!(host::normalise(b"\xff").is_none());
    assert!(host::normalise("a".repeat(64).as_bytes()).is_none(), "a label has at most 63 characters");
    assert!(host::normalise(format!("{}a", "a.".repeat(127)).as_bytes()).is_none(), "255 characters");
}

#[test]
fn normal_request_host_is_borrowed() {
    for raw in ["a.example", "a.example:8080", "a.example.", "[::1]:80", "10.0.0.1:80"] {
        assert!(matches!(host::normalise(raw.as_bytes()), Some(Cow::Borrowed(_))), "{raw}");
    }
}

#[test]
fn rule_host_is_a_dns_name_or_a_wildcard_before_one() {
    assert_eq!(HostName::parse("*.A.Example."), Ok(HostName::Wildcard("a.example".into())));
    assert_eq!(HostName::parse("*.a").unwrap().to_string(), "*.a");
    assert_eq!(HostName::parse("A.Example.").unwrap().to_string(), "a.example");
    let rows = [
        ("", HostError::Empty),
        (".", HostError::Empty),
        ("10.0.0.1", HostError::IpAddress),
        ("::1", HostError::IpAddress),
        ("[::1]", HostError::IpAddress),
        ("a:80", HostError::Port),
        ("*", HostError::Wildcard),
        ("*a.b", HostError::Wildcard),
        ("a.*.b", HostError::Wildcard),
        ("*.", HostError::Empty),
        ("*.*.a", HostError::Wildcard),
        ("*.10.0.0.1", HostError::IpAddress),
        ("bücher.example", HostError::Label),
        ("a-", HostError::Label),
        ("a_b", HostError::Label),
    ];
    for (text, expected) in rows {
        assert_eq!(HostName::parse(text), Err(expected), "{text}");
    }
}

#[test]
fn alternative_readings_are_listed_in_canonical_form() {
    let readings = |path: &str| path::alternative_readings(path).collect::<Vec<_>>();
    for plain in ["/", "/a", "/a%20b", "/%252F", "/a%2E%41"] {
        assert_eq!(readings(plain), [""; 0], "{plain}");
    }
    assert!(readings("/a%2F..%2Fb").contains(&"/b".to_owned()));
    assert!(readings("/a%2F%2Fb").contains(&"/a/b".to_owned()));
    assert_eq!(readings("/a\\..\\b"), ["/b", "/b"]);
    let both = readings("/a%2Fb%5Cc");
    for read in ["/a/b%5Cc", "/a/b\\c", "/a/b/c", "/a%2Fb\\c", "/a%2Fb/c"] {
        assert!(both.contains(&read.to_owned()), "{read} in {both:?}");
    }
    for read in both {
        assert_eq!(path::canonical(read.as_bytes()).unwrap(), read);
    }
}
