//! Requests of HTTP/1.1 clients that are malformed or doubtful, byte by byte: what is refused, and that no endpoint
//! hears of it; beside them, what looks alike and passes.

#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "tests fail by panicking")]

mod support;

use std::io::Write;
use std::sync::{Mutex, mpsc};

use gateway::settings::{ReasonHeader, UnderscoreNames};
use support::{Client, DEADLINE, Follows, Origin, TestGateway, Then, ingress, one, service, settings};

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

/// Where a case is cut in two: everywhere, or around the line ends if it is long. Only what tests a limit is, and one byte
/// of its filling is like the next: each cut costs milliseconds, those of 100 fields alone 10 s.
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
        // Thousands of connections on a busy machine: one that takes a while is no case of this file.
        let settings = settings(|all| {
            all.timeouts.connect = DEADLINE;
            all.timeouts.connect_total = DEADLINE;
        });
        let gateway = TestGateway::with(&one(&origin), settings);
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

/// Checks each case, in every cut.
fn check(cases: impl IntoIterator<Item = Case>) {
    let mut table = Table::new();
    cases.into_iter().for_each(|case| table.check(&case));
}

/// The same for what is refused by its head alone: no endpoint hears of it.
fn check_unheard(cases: impl IntoIterator<Item = Case>) {
    let mut table = Table::new();
    cases.into_iter().for_each(|case| table.check(&case));
    assert_eq!(table.origin.connections(), 0, "no endpoint hears of any");
}

/// A request line in front of a valid rest.
fn line(line: &str, statuses: &'static [u16]) -> Case {
    refused(format!("{line}\r\nHost: a.example\r\n\r\n"), statuses)
}

const CHUNKED: &str = "POST / HTTP/1.1\r\nHost: a.example\r\nTransfer-Encoding: chunked\r\n\r\n";

#[test]
fn valid_requests_pass_at_every_cut() {
    check(valid());
}

fn valid() -> Vec<Case> {
    vec![
        served("GET / HTTP/1.1\r\nHost: a.example\r\n\r\n"),
        served("\r\nGET / HTTP/1.1\r\nHost: a.example\r\n\r\n"),
        served("GET /x?y=z HTTP/1.1\r\nHOST:  A.Example:8080 \t\r\nA: \r\n\r\n"),
        served("GET / HTTP/1.1\r\nHost: a.example.\r\n\r\n"),
        served("GET http://a.example/x HTTP/1.1\r\nHost: a.example\r\n\r\n"),
        served("POST / HTTP/1.1\r\nHost: a.example\r\nContent-Length: 5\r\n\r\nhello"),
        served("PUT / HTTP/1.1\r\nHost: a.example\r\nContent-Length: 0\r\n\r\n"),
        served(&format!("{CHUNKED}5\r\nhello\r\n0\r\n\r\n")),
        served(&format!("{CHUNKED}5;a=b;c=\"d;e\"\r\nhello\r\n00\r\nX-T: 1\r\n\r\n")),
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

// ===== heads =====

#[test]
fn http11_without_one_valid_host_is_400() {
    let hosts = [
        "",
        "u@a.example",
        "a.example/x",
        "a.example,b",
        "a.example:x",
        "a.example:99999",
        "a b",
        "[::1",
        "a%2e",
    ];
    let cases = hosts.map(|host| refused(format!("GET / HTTP/1.1\r\nHost: {host}\r\n\r\n"), &[400]));
    check_unheard(cases.into_iter().chain([
        refused("GET / HTTP/1.1\r\n\r\n", &[400]),
        bad_fields("Host: a.example"),
        bad_fields("Host: b.example"),
        refused("GET / HTTP/1.0\r\nHost: a.example\r\nHost: a.example\r\n\r\n", &[400]),
    ]));
}

#[test]
fn absolute_form_that_differs_from_host_is_400() {
    let targets =
        ["http://b.example/", "http://a.example:81/", "https://b.example", "http:///", "http://u@a.example/"];
    check_unheard(targets.map(|target| line(&format!("GET {target} HTTP/1.1"), &[400])));
    check([served("GET HTTP://A.example/x HTTP/1.1\r\nHost: a.example\r\n\r\n")]);
}

#[test]
fn obs_fold_is_400() {
    check_unheard(["A: b\r\n c", "A: b\r\n\tc", " A: b", "A: b\r\n \r\nC: d"].map(bad_fields));
}

#[test]
fn bare_cr_or_lf_is_400() {
    check_unheard(["A: b\rc", "A: b\r\r", "\rA: b", "A: b\nC: d", "A: b\n"].map(bad_fields));
    check_unheard([
        refused("GET / HTTP/1.1\nHost: a.example\n\n", &[400]),
        refused("GET / HTTP/1.1\r\nHost: a.example\n\r\n", &[400]),
        refused("GET / HTTP/1.1\r\nHost: a.example\r\n\n", &[400]),
        refused("GET / HTTP/1.1\rHost: a.example\r\n\r\n", &[400]),
        refused("\nGET / HTTP/1.1\r\nHost: a.example\r\n\r\n", &[400]),
    ]);
}

#[test]
fn space_before_the_colon_is_400() {
    check_unheard(["A : b", "A\t: b", "Content-Length : 5", "Transfer-Encoding : chunked"].map(bad_fields));
}

#[test]
fn invalid_methods_are_400() {
    let methods = ["", " ", "G ET", "GET\t", "G(T", "GET,", "G\u{e4}T", "\"GET\"", "GET\u{7f}"];
    check_unheard(methods.map(|method| line(&format!("{method} / HTTP/1.1"), &[400])));
}

#[test]
fn invalid_request_lines_are_400_or_505() {
    let targets = [
        "",
        "a.example/",
        "/#f",
        "/a b",
        "/\u{e4}",
        "/\u{7f}",
        "/\t",
        "ftp://a.example/",
        "?a",
        "%2F",
        "http://a.example?x",
    ];
    check_unheard(targets.map(|target| line(&format!("GET {target} HTTP/1.1"), &[400])));
    let lines =
        ["GET /", "GET  / HTTP/1.1", "GET / HTTP/1.1 ", " GET / HTTP/1.1", "GET / http/1.1", "GET / HTTP/1"];
    check_unheard(lines.map(|given| line(given, &[400])));
    check_unheard(
        ["HTTP/1.2", "HTTP/2.0", "HTTP/0.9"].map(|version| line(&format!("GET / {version}"), &[505])),
    );
}

#[test]
fn invalid_field_bytes_are_400() {
    let fields = ["A", ": b", "A(: b", "A\u{e4}: b", "\"A\": b", "A: b\u{7f}", "A: b\u{1}", "A: \u{b}"];
    check_unheard(fields.map(bad_fields));
}

#[test]
fn nul_outside_of_chunk_data_is_400() {
    let head = "POST /x?y HTTP/1.1\r\nHost: a.example\r\nA: b\r\nTransfer-Encoding: chunked\r\n\r\n";
    // In the body proper it is a byte like any other.
    let (before, body, after) = ("3;e=f\r\n", "abc", "\r\n0\r\nT: u\r\n\r\n");
    let whole = [head, before, body, after].concat();
    let data = head.len() + before.len()..head.len() + before.len() + body.len();
    let mut table = Table::new();
    for at in 0..whole.len() {
        let mut raw = whole.clone().into_bytes();
        raw[at] = 0;
        // A line end that is none any more leaves the message open.
        if !data.contains(&at) {
            raw.extend(b"\r\n\r\n");
        }
        if data.contains(&at) {
            table.attempt(&case(raw, &[200], 1, After::Open), at);
        } else {
            let cut = if at == 0 { raw.len() } else { at };
            table.attempt(&case(raw, &[400], 0, After::Closed), cut);
        }
    }
    check([case("GET /%00 HTTP/1.1\r\nHost: a.example\r\n\r\n", &[400], 0, After::Open)]);
}

#[test]
fn asterisk_form_is_204_for_options_and_400_otherwise() {
    let asterisk = |line: &str| case(format!("{line}\r\nHost: a.example\r\n\r\n"), &[204], 0, After::Open);
    check([asterisk("OPTIONS * HTTP/1.1"), asterisk("OPTIONS http://a.example HTTP/1.1")]);
    check_unheard(
        ["GET", "HEAD", "POST", "options"].map(|method| line(&format!("{method} * HTTP/1.1"), &[400])),
    );
    check_unheard([line("OPTIONS ** HTTP/1.1", &[400]), line("OPTIONS *?a HTTP/1.1", &[400])]);
    let gateway = TestGateway::start("");
    let mut client = gateway.client();
    client.send("OPTIONS * HTTP/1.1\r\nHost: nobody.example\r\n\r\n");
    let answer = client.response();
    assert!(answer.field("allow").unwrap().contains("OPTIONS"));
    assert_eq!(
        (answer.field("content-length"), answer.field("gateway-reason")),
        (None, Some("server_options"))
    );
}

#[test]
fn connect_is_405_and_closes() {
    check_unheard(
        ["a.example:80", "a.example", "/", "*", "http://a.example/"]
            .map(|target| line(&format!("CONNECT {target} HTTP/1.1"), &[405])),
    );
    let settings = settings(|all| all.responses.reason_header = ReasonHeader::Hidden);
    let gateway = TestGateway::with("", settings);
    let mut client = gateway.client();
    client.send("CONNECT a.example:80 HTTP/1.1\r\nHost: a.example\r\n\r\n");
    let answer = client.response();
    // RFC 9110 §15.5.6 wants it whatever else is hidden.
    assert_eq!((answer.field("allow").is_some(), answer.field("gateway-reason")), (true, None));
}

#[test]
fn target_over_16_kib_is_414() {
    let of = |length: usize| format!("/{}", "x".repeat(length - 1));
    check_unheard([line(&format!("GET {} HTTP/1.1", of((16 << 10) + 1)), &[414])]);
    check([served(&format!("GET {} HTTP/1.1\r\nHost: a.example\r\n\r\n", of(16 << 10)))]);
}

#[test]
fn head_over_32_kib_or_100_fields_is_431() {
    let start = "GET / HTTP/1.1\r\nHost: a.example\r\n";
    let long = |length: usize| format!("{start}A: {}\r\n\r\n", "x".repeat(length - start.len() - 7));
    let many = |count: usize| format!("{start}{}\r\n", "A: b\r\n".repeat(count - 1));
    check_unheard([refused(long((32 << 10) + 1), &[431]), refused(many(101), &[431])]);
    check([served(&long(32 << 10)), served(&many(100))]);
}

// ===== framing =====

#[test]
fn content_length_beside_transfer_encoding_is_400() {
    check_unheard(
        [
            "Content-Length: 5\r\nTransfer-Encoding: chunked",
            "Transfer-Encoding: chunked\r\nContent-Length: 5",
            "Content-Length: 0\r\nTransfer-Encoding:",
        ]
        .map(bad_fields),
    );
}

#[test]
fn repeated_or_malformed_content_length_is_400() {
    let lengths = [
        "",
        "x",
        "+5",
        "-5",
        "0x5",
        "5_0",
        "5 5",
        "5,5",
        "5, 6",
        "5;",
        "5.0",
        "\u{b2}",
        "99999999999999999999",
    ];
    check_unheard(lengths.map(|length| bad_fields(&format!("Content-Length: {length}"))));
    check_unheard(
        ["Content-Length: 5\r\nContent-Length: 5", "Content-Length: 5\r\nA: b\r\ncontent-length: 6"]
            .map(bad_fields),
    );
}

#[test]
fn transfer_encoding_other_than_one_chunked_is_400() {
    let encodings = [
        "",
        "identity",
        "xchunked",
        "chunked, chunked",
        "chunked, gzip",
        "gzip, chunked",
        "chunked;a",
        "\"chunked\"",
        "chunked,",
        ", chunked",
    ];
    check_unheard(encodings.map(|encoding| bad_fields(&format!("Transfer-Encoding: {encoding}"))));
    check_unheard([bad_fields("Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked")]);
}

#[test]
fn transfer_encoding_on_http10_is_400() {
    check_unheard([refused(CHUNKED.replace("HTTP/1.1", "HTTP/1.0") + "0\r\n\r\n", &[400])]);
}

#[test]
fn malformed_chunk_sizes_are_400() {
    let sizes = [" 5", "0x5", "-5", "+5", "5_", "5 ", "5\t", "1000000000000005", "", "g"];
    check(sizes.map(|size| bad_chunks(&format!("{size}\r\nhello\r\n0\r\n\r\n"))));
    let ends =
        ["5\nhello", "5\r\nhello0", "5\r\nhello\n0", "5\r\nhelloo", "5\r\nhello\r0", "5\rhello", "\r\nhello"];
    check(ends.map(|chunk| bad_chunks(&format!("{chunk}\r\n0\r\n\r\n"))));
}

#[test]
fn malformed_chunk_extensions_are_400() {
    let extensions =
        [";", ";a=", "; a", ";a =b", ";a= b", " ;a", ";a;", ";=b", ";a=\"b", ";a\n", ";a\r", ";\u{1}", ",a"];
    check(extensions.map(|extension| bad_chunks(&format!("5{extension}\r\nhello\r\n0\r\n\r\n"))));
    check([bad_chunks(&format!("5;{}\r\nhello\r\n0\r\n\r\n", "x".repeat(256)))]);
}

#[test]
fn malformed_trailers_are_400() {
    let trailers = ["T", "T : u", " T: u", "T: u\r\n v", "T: u\n", "T: u\rv", ": u", "T(: u"];
    check(trailers.map(|trailer| bad_chunks(&format!("5\r\nhello\r\n0\r\n{trailer}\r\n\r\n"))));
    check([bad_chunks("5\r\nhello\r\n0\n\n"), bad_chunks("5\r\nhello\r\n0\r\n\n")]);
}

/// The answer is on its way when the trailers come, so it is no 400: but what stands behind them is no request either.
#[test]
fn malformed_trailers_after_early_response_close_connection() {
    let (release, gate) = mpsc::channel::<()>();
    let gate = Mutex::new(gate);
    let origin = Origin::start(move |call| {
        call.wire.stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n1")?;
        let _ = gate.lock().unwrap().recv_timeout(DEADLINE);
        call.wire.stream.write_all(b"2").map(|()| Then::Keep)
    });
    let gateway = TestGateway::start(&one(&origin));
    let mut witness = gateway.client();
    for trailers in ["T : u\r\n\r\n\r\n", "T: u\n\r\n\r\n", "T: u\0\r\n\r\n\r\n"] {
        let before = origin.heads();
        let mut client = gateway.client();
        client.send(CHUNKED);
        let mut answer = client.head().unwrap().unwrap();
        assert_eq!(client.take(1).unwrap(), b"1");
        client.send(format!("0\r\n{trailers}GET /next HTTP/1.1\r\nHost: a.example\r\n\r\n"));
        assert_eq!(witness.get("nobody.example", "/").status(), 404);
        release.send(()).unwrap();
        answer.body = client.take(1).unwrap();
        assert_eq!((answer.status(), answer.text()), (200, "2"));
        assert_eq!(client.rest(), b"", "{trailers:?}");
        assert_eq!(origin.heads() - before, 1, "{trailers:?}");
    }
}

// ===== what is not passed on =====

#[test]
fn framing_and_routing_fields_in_trailers_are_dropped() {
    let trailers = "X-Sum: 1\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\nHost: b.example\r\n\
                    Authorization: x\r\nCOOKIE: x\r\nX-Forwarded-User: x\r\nX-Forwarded-For: x\r\n\
                    Connection: close\r\nUpgrade: x\r\nTrailer: x\r\nContent-Type: x\r\nSet-Cookie: x\r\n\
                    Expect: 100-continue\r\nGrpc-Status: 0\r\nContent-Digest: x\r\n\r\n";
    let origin = Origin::start(move |call| {
        let head = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nx\r\n0\r\n";
        call.answer(head.to_owned() + trailers).map(|()| Then::Keep)
    });
    let gateway = TestGateway::start(&one(&origin));
    let mut client = gateway.client();
    client.send(format!("{CHUNKED}0\r\n{trailers}"));
    let expected = [("x-sum", "1"), ("grpc-status", "0"), ("content-digest", "x")]
        .map(|(name, value)| (name.to_owned(), value.to_owned()));
    assert_eq!(client.response().trailers, expected);
    assert_eq!(origin.last().trailers, expected);
}

#[test]
fn field_names_with_underscores_are_dropped_by_default() {
    let origin = Origin::named("a");
    for (underscore_names, expected) in [(UnderscoreNames::Dropped, None), (UnderscoreNames::Kept, Some("1"))]
    {
        let settings = settings(|all| all.requests.underscore_names = underscore_names);
        let gateway = TestGateway::with(&one(&origin), settings);
        let mut client = gateway.client();
        client.send(
            "POST / HTTP/1.1\r\nX_User: 1\r\nHost: a.example\r\n_: 1\r\nA_: 1\r\nContent_Length: 5\r\n\
             X-Kept: 2\r\nTransfer-Encoding: chunked\r\nX-Kept: 3\r\n\r\n0\r\nT_: 1\r\nT: 2\r\n\r\n",
        );
        assert_eq!(client.response().status(), 200);
        let seen = origin.last();
        for name in ["x_user", "_", "a_"] {
            assert_eq!(seen.field(name), expected, "{name}");
        }
        let kept: Vec<_> = seen.fields.iter().filter(|(name, _)| name == "x-kept").collect();
        assert_eq!((kept.len(), seen.field("host")), (2, Some("a.example")));
        let trailer =
            |name| seen.trailers.iter().find(|(given, _)| given == name).map(|(_, value)| value.as_str());
        assert_eq!((trailer("t_"), trailer("t")), (expected, Some("2")));
    }
}

#[test]
fn fields_named_by_connection_are_dropped() {
    let origin = Origin::named("a");
    let gateway = TestGateway::start(&one(&origin));
    let mut client = gateway.client();
    client.send(
        "GET / HTTP/1.1\r\nHost: a.example\r\nDate: x\r\nTrailer: x\r\nCookie: x\r\nX-Kept: 1\r\n\
         Connection: date, TRAILER\r\nConnection: , cookie ,host\r\n\r\n",
    );
    assert_eq!(client.response().status(), 200);
    let seen = origin.last();
    let named = |name| seen.field(name);
    assert_eq!((named("date"), named("trailer"), named("cookie")), (None, None, None));
    assert_eq!((named("host"), named("x-kept")), (Some("a.example"), Some("1")));
}

// ===== paths =====

#[test]
fn encoded_slash_is_400_where_it_could_change_the_route() {
    let (a, b) = (Origin::named("a"), Origin::named("b"));
    let yaml = ingress("i", "a.example", &[("/", "a"), ("/admin", "b"), ("/public", "a")])
        + &ingress("p", "p.example", &[("/public", "a")])
        + &ingress("e", "e.example", &[("/files/a%2Fb", "a"), ("/files", "b")])
            .replacen("Prefix", "Exact", 1)
        // A Problem: none of its other readings is its own.
        + &ingress("f", "f.example", &[("/files/a%2Fb", "a"), ("/", "a")])
        + &service("a", &[a.address])
        + &service("b", &[b.address]);
    let gateway = TestGateway::start(&yaml);
    let mut client = gateway.client();
    for (host, target, expected) in [
        ("a.example", "/x%2Fy", 200),
        ("a.example", "/x%2fy%5Cz", 200),
        ("a.example", "/admin%2Fx", 400),
        ("a.example", "/%2Fadmin", 400),
        ("a.example", "/x%2F..%2Fadmin", 400),
        ("a.example", "/x/..%2Fadmin", 400),
        ("a.example", "/x%2F%2e%2e%2Fadmin", 400),
        ("a.example", "/admin/..%2Fx", 400),
        ("a.example", "/admin%5Cx", 400),
        ("a.example", "/x%5c..%5cadmin", 400),
        ("a.example", "/x\\..\\admin", 400),
        ("a.example", "/admin\\x", 400),
        ("a.example", "/public/%2F..%5C..%2Fadmin", 400),
        ("a.example", "/admin/x%2Fy", 200),
        ("a.example", "/x%252Fy", 200),
        // Out of all that is routed is elsewhere, too.
        ("p.example", "/public/..%2Fsecret", 400),
        ("p.example", "/public/a%2Fb", 200),
        ("p.example", "/other%2Fa", 404),
        // The rule's author has named just this path.
        ("e.example", "/files/a%2fb", 200),
        ("e.example", "/files/a%2Fc", 200),
        ("f.example", "/files/a%2Fb", 400),
        ("f.example", "/files/a%2Fb/c", 400),
        ("f.example", "/files/a%2Fc", 200),
    ] {
        let answer = client.get(host, target);
        assert_eq!(answer.status(), expected, "{host}{target}");
        if expected == 400 {
            assert_eq!(answer.field("gateway-reason"), Some("encoded_slash"), "{host}{target}");
        }
    }
    assert_eq!(client.get("e.example", "/files/a%2Fb").text(), "a");
}
