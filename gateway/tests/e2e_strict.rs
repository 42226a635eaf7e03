//! Requests of HTTP/1.1 clients that are malformed or doubtful, byte by byte: what is refused, and that no endpoint
//! hears of it; beside them, what looks alike and passes.

#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "tests fail by panicking")]

mod support;

use std::io::Write;

use support::{Client, Follows, Origin, TestGateway, one};

// ===== one table: status, and whether the connection lives on =====

/// What becomes of the connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum After {
    Open,
    Closed,
}

/// Bytes of a client, the statuses it gets, and how many requests the endpoint sees whole.
struct Case {
    raw: Vec<u8>,
    statuses: &'static [u16],
    whole: usize,
    after: After,
}

fn case(raw: impl AsRef<[u8]>, statuses: &'static [u16], whole: usize, after: After) -> Case {
    Case { raw: raw.as_ref().to_owned(), statuses, whole, after }
}

fn served(raw: &str) -> Case {
    case(raw, &[200], 1, After::Open)
}

/// A head that is refused before anything is sent to an endpoint.
fn refused(raw: impl AsRef<[u8]>, statuses: &'static [u16]) -> Case {
    case(raw, statuses, 0, After::Closed)
}

/// A GET whose fields are these lines, `Host` not included.
fn bad_fields(lines: &str) -> Case {
    refused(format!("GET / HTTP/1.1\r\nHost: a.example\r\n{lines}\r\n\r\n"), &[400])
}

/// A chunked POST whose body is this; the endpoint never sees its end.
fn bad_chunks(body: &str) -> Case {
    refused(format!("POST / HTTP/1.1\r\nHost: a.example\r\nTransfer-Encoding: chunked\r\n\r\n{body}"), &[400])
}

fn valid() -> Vec<Case> {
    let chunked = "POST / HTTP/1.1\r\nHost: a.example\r\nTransfer-Encoding: chunked\r\n\r\n";
    vec![
        served("GET / HTTP/1.1\r\nHost: a.example\r\n\r\n"),
        served("\r\nGET / HTTP/1.1\r\nHost: a.example\r\n\r\n"),
        served("GET /x?y=z HTTP/1.1\r\nHOST:  A.Example:8080 \t\r\nA: \r\n\r\n"),
        served("GET / HTTP/1.1\r\nHost: a.example.\r\n\r\n"),
        served("GET http://a.example/x HTTP/1.1\r\nHost: a.example\r\n\r\n"),
        served("POST / HTTP/1.1\r\nHost: a.example\r\nContent-Length: 5\r\n\r\nhello"),
        served("PUT / HTTP/1.1\r\nHost: a.example\r\nContent-Length: 0\r\n\r\n"),
        served(&format!("{chunked}5\r\nhello\r\n0\r\n\r\n")),
        served(&format!("{chunked}5;a=b;c=\"d;e\"\r\nhello\r\n00\r\nX-T: 1\r\n\r\n")),
        served("GET / HTTP/1.0\r\nHost: a.example\r\nConnection: keep-alive\r\n\r\n"),
        case("GET / HTTP/1.0\r\nHost: a.example\r\n\r\n", &[200], 1, After::Closed),
        case("GET / HTTP/1.1\r\nHost: a.example\r\nConnection: x, Close\r\n\r\n", &[200], 1, After::Closed),
        // Two at once, the first with a body that looks like a third.
        case(
            "POST /1 HTTP/1.1\r\nHost: a.example\r\nContent-Length: 18\r\n\r\nGET / HTTP/1.1\r\n\r\nGET /2 HTTP/1.1\r\nHost: a.example\r\n\r\n",
            &[200, 200],
            2,
            After::Open,
        ),
        // Nobody serves it, its body is not taken for a request, and the connection lives on.
        case(
            "POST / HTTP/1.1\r\nHost: b.example\r\nContent-Length: 5\r\n\r\nhelloGET / HTTP/1.1\r\nHost: a.example\r\n\r\n",
            &[404, 200],
            1,
            After::Open,
        ),
        case("GET /%00 HTTP/1.1\r\nHost: a.example\r\n\r\n", &[400], 0, After::Open),
        case("GET /%zz HTTP/1.1\r\nHost: a.example\r\n\r\n", &[400], 0, After::Open),
        case("GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n", &[404], 0, After::Open),
    ]
}

fn malformed_heads() -> Vec<Case> {
    let mut cases = Vec::new();
    for line in ["GET /", "GET  / HTTP/1.1", "GET / HTTP/1.1 ", " GET / HTTP/1.1", "GET / http/1.1", "GET /"]
    {
        cases.push(refused(format!("{line}\r\nHost: a.example\r\n\r\n"), &[400]));
    }
    for target in ["*", "a.example/", "/#f", "/a b", "/\u{e4}", "ftp://a.example/", "http://b.example/"] {
        cases.push(refused(format!("GET {target} HTTP/1.1\r\nHost: a.example\r\n\r\n"), &[400]));
    }
    for host in ["", "u@a.example", "a.example/x", "a.example,b", "a.example:x", "a.example:99999", "a b"] {
        cases.push(refused(format!("GET / HTTP/1.1\r\nHost: {host}\r\n\r\n"), &[400]));
    }
    for version in ["HTTP/1.2", "HTTP/2.0", "HTTP/0.9"] {
        cases.push(refused(format!("GET / {version}\r\nHost: a.example\r\n\r\n"), &[505]));
    }
    cases.push(refused("GET / HTTP/1.1\r\n\r\n", &[400]));
    cases.push(refused("CONNECT a.example:80 HTTP/1.1\r\nHost: a.example\r\n\r\n", &[405]));
    cases.push(refused("GET / HTTP/1.1\nHost: a.example\n\n", &[400]));
    cases.push(refused("GET / HTTP/1.1\r\nHost: a.example\n\r\n", &[400]));
    cases.push(refused(b"GET / HTTP/1.1\r\nHost: a.example\r\nA: \0\r\n\r\n", &[400]));
    cases.push(refused(format!("GET /{} HTTP/1.1\r\nHost: a.example\r\n\r\n", "x".repeat(17 << 10)), &[414]));
    let long = format!("A: {}\r\n", "x".repeat(33 << 10));
    cases.push(refused(format!("GET / HTTP/1.1\r\nHost: a.example\r\n{long}\r\n"), &[431]));
    let many = "A: b\r\n".repeat(100);
    cases.push(refused(format!("GET / HTTP/1.1\r\nHost: a.example\r\n{many}\r\n"), &[431]));
    for lines in [
        "Host: a.example",
        "Host: b.example",
        "A : b",
        " A: b",
        "A: b\r\n c",
        "A: b\rc",
        "A",
        ": b",
        "A(: b",
        "A: b\u{7f}",
    ] {
        cases.push(bad_fields(lines));
    }
    cases
}

fn malformed_framing() -> Vec<Case> {
    let mut cases = Vec::new();
    for length in ["", "x", "+5", "-5", "0x5", "5_0", "5 5", "5,5", "5, 6", "5;", "99999999999999999999"] {
        cases.push(bad_fields(&format!("Content-Length: {length}")));
    }
    for encoding in
        ["", "identity", "xchunked", "chunked, chunked", "chunked, gzip", "gzip, chunked", "chunked;a"]
    {
        cases.push(bad_fields(&format!("Transfer-Encoding: {encoding}")));
    }
    cases.push(bad_fields("Content-Length: 5\r\nContent-Length: 5"));
    cases.push(bad_fields("Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked"));
    cases.push(bad_fields("Content-Length: 5\r\nTransfer-Encoding: chunked"));
    cases.push(refused(
        "POST / HTTP/1.0\r\nHost: a.example\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        &[400],
    ));
    for body in [
        " 5\r\nhello\r\n0\r\n\r\n",
        "0x5\r\nhello\r\n0\r\n\r\n",
        "-5\r\nhello\r\n0\r\n\r\n",
        "5_\r\nhello\r\n0\r\n\r\n",
        "5 \r\nhello\r\n0\r\n\r\n",
        "5;\r\nhello\r\n0\r\n\r\n",
        "5;a\n\r\nhello\r\n0\r\n\r\n",
        "5\nhello\r\n0\r\n\r\n",
        "5\r\nhello0\r\n\r\n",
        "5\r\nhello\n0\r\n\r\n",
        "5\r\nhelloo\r\n0\r\n\r\n",
        "5\r\nhello\r\n0\r\nX-T\r\n\r\n",
        "1000000000000005\r\nhello\r\n0\r\n\r\n",
        "\r\nhello",
    ] {
        cases.push(bad_chunks(body));
    }
    cases
}

/// Where a case is cut in two: everywhere, or around the line ends if it is long.
fn cuts(raw: &[u8]) -> Vec<usize> {
    if raw.len() <= 256 {
        return (1..raw.len()).collect();
    }
    let ends: Vec<_> = (1..raw.len()).filter(|at| raw[*at] == b'\n' || raw[at - 1] == b'\n').collect();
    ends.iter().take(4).chain(ends.iter().rev().take(4)).copied().chain([raw.len() / 2]).collect()
}

struct Table {
    gateway: TestGateway,
    origin: Origin,
    /// A second connection of the same worker: its answer shows that the worker has read all sent before.
    witness: Client,
}

impl Table {
    fn new() -> Self {
        let origin = Origin::named("a");
        let gateway = TestGateway::start(&one(&origin));
        let witness = gateway.client();
        Self { gateway, origin, witness }
    }

    fn check(&mut self, case: &Case) {
        self.attempt(case, case.raw.len());
        for cut in cuts(&case.raw) {
            self.attempt(case, cut);
        }
    }

    fn attempt(&mut self, case: &Case, cut: usize) {
        let shown = case.raw.escape_ascii().to_string();
        let shown = format!("{:.400} cut at {cut}", shown);
        let before = self.origin.count();
        let mut client = self.gateway.client();
        client.send(&case.raw[..cut]);
        if cut < case.raw.len() {
            assert_eq!(self.witness.get("nobody.example", "/").status(), 404);
            // Once the beginning is refused, the rest may meet a closed door.
            let _ = client.stream.write_all(&case.raw[cut..]);
        }
        for status in case.statuses {
            let answer = client.message(Follows::Response);
            let answer = answer.unwrap_or_else(|error| panic!("{error}: {shown}"));
            assert_eq!(answer.map(|answer| answer.status()), Some(*status), "{shown}");
        }
        assert_eq!(self.origin.count() - before, case.whole, "seen by the endpoint: {shown}");
        match case.after {
            After::Closed => assert_eq!(client.rest(), b"", "{shown}"),
            After::Open => {
                assert_eq!(client.get("a.example", "/next").status(), 200, "{shown}");
                assert_eq!(self.origin.last().target(), "/next", "{shown}");
            }
        }
    }
}

#[test]
fn valid_requests_pass_however_they_are_cut() {
    let mut table = Table::new();
    valid().iter().for_each(|case| table.check(case));
}

#[test]
fn malformed_heads_are_refused_however_they_are_cut() {
    let mut table = Table::new();
    malformed_heads().iter().for_each(|case| table.check(case));
    assert_eq!(table.origin.connections(), 0, "no endpoint hears of any");
}

#[test]
fn malformed_framing_is_refused_however_it_is_cut() {
    let mut table = Table::new();
    malformed_framing().iter().for_each(|case| table.check(case));
    assert_eq!(table.origin.count(), 0, "no endpoint sees the end of any");
}
