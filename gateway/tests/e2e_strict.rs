//! Malformed and ambiguous HTTP/1.1 requests, cut at every byte: each is rejected and reaches no endpoint.
//!
//! Valid requests that look similar pass.

#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "tests fail by panicking")]

mod support;

use std::io::Write;
use std::sync::{Mutex, mpsc};

use gateway::settings::{ReasonHeader, UnderscoreNames};
use support::fixtures::{ingress, service};
use support::{Client, DEADLINE, Follows, Origin, TestGateway, Then, settings, single_route};

// ===== cases: statuses, and whether the connection stays open =====

/// The state of the connection after the last response.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum After {
    Open,
    Closed,
}

/// A client's bytes and the expected outcome.
struct Case {
    raw: Vec<u8>,
    statuses: &'static [u16],
    /// The number of complete requests that the endpoint receives.
    forwarded: usize,
    after: After,
}

fn case(raw: impl AsRef<[u8]>, statuses: &'static [u16], forwarded: usize, after: After) -> Case {
    Case { raw: raw.as_ref().to_owned(), statuses, forwarded, after }
}

fn served(raw: &str) -> Case {
    case(raw, &[200], 1, After::Open)
}

/// A request that is rejected. The endpoint receives no complete request.
fn rejected(raw: impl AsRef<[u8]>, statuses: &'static [u16]) -> Case {
    case(raw, statuses, 0, After::Closed)
}

/// A rejected GET with these field lines behind `Host`.
fn rejected_fields(lines: &str) -> Case {
    rejected(format!("GET / HTTP/1.1\r\nHost: a.example\r\n{lines}\r\n\r\n"), &[400])
}

/// A rejected chunked POST with this body. The endpoint never receives its end.
fn rejected_chunks(body: &str) -> Case {
    rejected(
        format!("POST / HTTP/1.1\r\nHost: a.example\r\nTransfer-Encoding: chunked\r\n\r\n{body}"),
        &[400],
    )
}

/// Returns the offsets at which a case is cut in two: all, or those around line ends if it exceeds 256 bytes.
///
/// Only cases that test a limit are longer, and the bytes of their padding are equal. Each cut costs milliseconds;
/// all cuts of the case with 100 fields cost 10 s.
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
    /// A second connection to the same worker. Its response proves that the worker read all bytes sent before.
    witness: Client,
}

impl Table {
    fn new() -> Self {
        let origin = Origin::named("a");
        // The tests open thousands of connections. A slow connect on a busy machine must not fail a case.
        let settings = settings(|all| {
            all.timeouts.connect = DEADLINE;
            all.timeouts.connect_total = DEADLINE;
        });
        let gateway = TestGateway::with(&single_route(&origin), settings);
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
        let context = case.raw.escape_ascii().to_string();
        let context = format!("{:.400} cut at {cut}", context);
        let before = self.origin.count();
        let mut client = self.gateway.client();
        client.send(&case.raw[..cut]);
        if cut < case.raw.len() {
            assert_eq!(self.witness.get("unknown.example", "/").status(), 404);
            // The gateway may reject the first part and close, so this write may fail.
            let _ = client.stream.write_all(&case.raw[cut..]);
        }
        for status in case.statuses {
            let response = client.message(Follows::Response);
            let response = response.unwrap_or_else(|error| panic!("{error}: {context}"));
            assert_eq!(response.map(|response| response.status()), Some(*status), "{context}");
        }
        assert_eq!(
            self.origin.count() - before,
            case.forwarded,
            "complete requests at the endpoint: {context}"
        );
        match case.after {
            After::Closed => assert_eq!(client.rest(), b"", "{context}"),
            After::Open => {
                assert_eq!(client.get("a.example", "/next").status(), 200, "{context}");
                assert_eq!(self.origin.last().target(), "/next", "{context}");
            }
        }
    }
}

/// Checks each case at every cut.
fn check(cases: impl IntoIterator<Item = Case>) {
    let mut table = Table::new();
    cases.into_iter().for_each(|case| table.check(&case));
}

/// Checks cases that are rejected by their head alone, so that no endpoint is dialled.
fn check_local(cases: impl IntoIterator<Item = Case>) {
    let mut table = Table::new();
    cases.into_iter().for_each(|case| table.check(&case));
    assert_eq!(table.origin.connections(), 0, "no endpoint is dialled");
}

/// A rejected request line before valid fields.
fn rejected_line(line: &str, statuses: &'static [u16]) -> Case {
    rejected(format!("{line}\r\nHost: a.example\r\n\r\n"), statuses)
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
        // Two pipelined requests. The body of the first looks like a third.
        case(
            "POST /1 HTTP/1.1\r\nHost: a.example\r\nContent-Length: 18\r\n\r\nGET / HTTP/1.1\r\n\r\nGET /2 HTTP/1.1\r\nHost: a.example\r\n\r\n",
            &[200, 200],
            2,
            After::Open,
        ),
        // No rule matches the first request. Its body is skipped, and the connection stays open.
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
    let cases = hosts.map(|host| rejected(format!("GET / HTTP/1.1\r\nHost: {host}\r\n\r\n"), &[400]));
    check_local(cases.into_iter().chain([
        rejected("GET / HTTP/1.1\r\n\r\n", &[400]),
        rejected_fields("Host: a.example"),
        rejected_fields("Host: b.example"),
        rejected("GET / HTTP/1.0\r\nHost: a.example\r\nHost: a.example\r\n\r\n", &[400]),
    ]));
}

#[test]
fn authority_of_an_absolute_form_counts_instead_of_host() {
    let targets = ["http:///", "http://u@a.example/", "http://a.example\\@b.example/"];
    check_local(targets.map(|target| rejected_line(&format!("GET {target} HTTP/1.1"), &[400])));
    for host in ["a.example", "b.example", "a.example:80"] {
        check([served(&format!("GET HTTP://A.example:80/x HTTP/1.1\r\nHost: {host}\r\n\r\n"))]);
    }
}

#[test]
fn obs_fold_is_400() {
    check_local(["A: b\r\n c", "A: b\r\n\tc", " A: b", "A: b\r\n \r\nC: d"].map(rejected_fields));
}

#[test]
fn bare_cr_or_lf_is_400() {
    check_local(["A: b\rc", "A: b\r\r", "\rA: b", "A: b\nC: d", "A: b\n"].map(rejected_fields));
    check_local([
        rejected("GET / HTTP/1.1\nHost: a.example\n\n", &[400]),
        rejected("GET / HTTP/1.1\r\nHost: a.example\n\r\n", &[400]),
        rejected("GET / HTTP/1.1\r\nHost: a.example\r\n\n", &[400]),
        rejected("GET / HTTP/1.1\rHost: a.example\r\n\r\n", &[400]),
        rejected("\nGET / HTTP/1.1\r\nHost: a.example\r\n\r\n", &[400]),
    ]);
}

#[test]
fn space_before_the_colon_is_400() {
    check_local(
        ["A : b", "A\t: b", "Content-Length : 5", "Transfer-Encoding : chunked"].map(rejected_fields),
    );
}

#[test]
fn invalid_methods_are_400() {
    let methods = ["", " ", "G ET", "GET\t", "G(T", "GET,", "G\u{e4}T", "\"GET\"", "GET\u{7f}"];
    check_local(methods.map(|method| rejected_line(&format!("{method} / HTTP/1.1"), &[400])));
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
    check_local(targets.map(|target| rejected_line(&format!("GET {target} HTTP/1.1"), &[400])));
    let lines =
        ["GET /", "GET  / HTTP/1.1", "GET / HTTP/1.1 ", " GET / HTTP/1.1", "GET / http/1.1", "GET / HTTP/1"];
    check_local(lines.map(|line| rejected_line(line, &[400])));
    check_local(
        ["HTTP/1.2", "HTTP/2.0", "HTTP/0.9"]
            .map(|version| rejected_line(&format!("GET / {version}"), &[505])),
    );
}

#[test]
fn invalid_field_bytes_are_400() {
    let fields = ["A", ": b", "A(: b", "A\u{e4}: b", "\"A\": b", "A: b\u{7f}", "A: b\u{1}", "A: \u{b}"];
    check_local(fields.map(rejected_fields));
}

#[test]
fn nul_outside_of_chunk_data_is_400() {
    let head = "POST /x?y HTTP/1.1\r\nHost: a.example\r\nA: b\r\nTransfer-Encoding: chunked\r\n\r\n";
    // Chunk data may contain NUL.
    let (before, body, after) = ("3;e=f\r\n", "abc", "\r\n0\r\nT: u\r\n\r\n");
    let whole = [head, before, body, after].concat();
    let data = head.len() + before.len()..head.len() + before.len() + body.len();
    let mut table = Table::new();
    for at in 0..whole.len() {
        let mut raw = whole.clone().into_bytes();
        raw[at] = 0;
        // A NUL in a line end leaves the message unfinished. These bytes finish it.
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
    check_local(
        ["GET", "HEAD", "POST", "options"]
            .map(|method| rejected_line(&format!("{method} * HTTP/1.1"), &[400])),
    );
    check_local([
        rejected_line("OPTIONS ** HTTP/1.1", &[400]),
        rejected_line("OPTIONS *?a HTTP/1.1", &[400]),
    ]);
    let gateway = TestGateway::start("");
    let mut client = gateway.client();
    client.send("OPTIONS * HTTP/1.1\r\nHost: unknown.example\r\n\r\n");
    let response = client.response();
    assert!(response.field("allow").unwrap().contains("OPTIONS"));
    assert_eq!(
        (response.field("content-length"), response.field("gateway-reason")),
        (None, Some("server_options"))
    );
}

#[test]
fn connect_is_405_and_closes() {
    check_local(
        ["a.example:80", "a.example", "/", "*", "http://a.example/"]
            .map(|target| rejected_line(&format!("CONNECT {target} HTTP/1.1"), &[405])),
    );
    let settings = settings(|all| all.responses.reason_header = ReasonHeader::Hidden);
    let gateway = TestGateway::with("", settings);
    let mut client = gateway.client();
    client.send("CONNECT a.example:80 HTTP/1.1\r\nHost: a.example\r\n\r\n");
    let response = client.response();
    // RFC 9110 §15.5.6 requires Allow, also with hidden reasons.
    assert_eq!((response.field("allow").is_some(), response.field("gateway-reason")), (true, None));
}

#[test]
fn target_over_16_kib_is_414() {
    let target = |length: usize| format!("/{}", "x".repeat(length - 1));
    check_local([rejected_line(&format!("GET {} HTTP/1.1", target((16 << 10) + 1)), &[414])]);
    check([served(&format!("GET {} HTTP/1.1\r\nHost: a.example\r\n\r\n", target(16 << 10)))]);
}

#[test]
fn head_over_32_kib_or_100_fields_is_431() {
    let start = "GET / HTTP/1.1\r\nHost: a.example\r\n";
    let long = |length: usize| format!("{start}A: {}\r\n\r\n", "x".repeat(length - start.len() - 7));
    let many = |count: usize| format!("{start}{}\r\n", "A: b\r\n".repeat(count - 1));
    check_local([rejected(long((32 << 10) + 1), &[431]), rejected(many(101), &[431])]);
    check([served(&long(32 << 10)), served(&many(100))]);
}

// ===== framing =====

#[test]
fn content_length_beside_transfer_encoding_is_400() {
    check_local(
        [
            "Content-Length: 5\r\nTransfer-Encoding: chunked",
            "Transfer-Encoding: chunked\r\nContent-Length: 5",
            "Content-Length: 0\r\nTransfer-Encoding:",
        ]
        .map(rejected_fields),
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
    check_local(lengths.map(|length| rejected_fields(&format!("Content-Length: {length}"))));
    check_local(
        ["Content-Length: 5\r\nContent-Length: 5", "Content-Length: 5\r\nA: b\r\ncontent-length: 6"]
            .map(rejected_fields),
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
    check_local(encodings.map(|encoding| rejected_fields(&format!("Transfer-Encoding: {encoding}"))));
    check_local([rejected_fields("Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked")]);
}

#[test]
fn transfer_encoding_on_http10_is_400() {
    check_local([rejected(CHUNKED.replace("HTTP/1.1", "HTTP/1.0") + "0\r\n\r\n", &[400])]);
}

#[test]
fn malformed_chunk_sizes_are_400() {
    let sizes = [" 5", "0x5", "-5", "+5", "5_", "5 ", "5\t", "1000000000000005", "", "g"];
    check(sizes.map(|size| rejected_chunks(&format!("{size}\r\nhello\r\n0\r\n\r\n"))));
    let ends =
        ["5\nhello", "5\r\nhello0", "5\r\nhello\n0", "5\r\nhelloo", "5\r\nhello\r0", "5\rhello", "\r\nhello"];
    check(ends.map(|chunk| rejected_chunks(&format!("{chunk}\r\n0\r\n\r\n"))));
}

#[test]
fn malformed_chunk_extensions_are_400() {
    let extensions =
        [";", ";a=", "; a", ";a =b", ";a= b", " ;a", ";a;", ";=b", ";a=\"b", ";a\n", ";a\r", ";\u{1}", ",a"];
    check(extensions.map(|extension| rejected_chunks(&format!("5{extension}\r\nhello\r\n0\r\n\r\n"))));
    check([rejected_chunks(&format!("5;{}\r\nhello\r\n0\r\n\r\n", "x".repeat(256)))]);
}

#[test]
fn malformed_trailers_are_400() {
    let trailers = ["T", "T : u", " T: u", "T: u\r\n v", "T: u\n", "T: u\rv", ": u", "T(: u"];
    check(trailers.map(|trailer| rejected_chunks(&format!("5\r\nhello\r\n0\r\n{trailer}\r\n\r\n"))));
    check([rejected_chunks("5\r\nhello\r\n0\n\n"), rejected_chunks("5\r\nhello\r\n0\r\n\n")]);
}

/// The response head is already sent, so there is no 400. The bytes behind the trailers are not served as a request.
#[test]
fn malformed_trailers_after_early_response_close_connection() {
    let (release, gate) = mpsc::channel::<()>();
    let gate = Mutex::new(gate);
    let origin = Origin::start(move |call| {
        call.wire.stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n1")?;
        let _ = gate.lock().unwrap().recv_timeout(DEADLINE);
        call.wire.stream.write_all(b"2").map(|()| Then::Keep)
    });
    let gateway = TestGateway::start(&single_route(&origin));
    let mut witness = gateway.client();
    for trailers in ["T : u\r\n\r\n\r\n", "T: u\n\r\n\r\n", "T: u\0\r\n\r\n\r\n"] {
        let before = origin.heads();
        let mut client = gateway.client();
        client.send(CHUNKED);
        let mut response = client.head().unwrap().unwrap();
        assert_eq!(client.take(1).unwrap(), b"1");
        client.send(format!("0\r\n{trailers}GET /next HTTP/1.1\r\nHost: a.example\r\n\r\n"));
        assert_eq!(witness.get("unknown.example", "/").status(), 404);
        release.send(()).unwrap();
        response.body = client.take(1).unwrap();
        assert_eq!((response.status(), response.text()), (200, "2"));
        assert_eq!(client.rest(), b"", "{trailers:?}");
        assert_eq!(origin.heads() - before, 1, "{trailers:?}");
    }
}

// ===== fields that are not forwarded =====

#[test]
fn framing_and_routing_fields_in_trailers_are_dropped() {
    let trailers = "X-Sum: 1\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\nHost: b.example\r\n\
                    Authorization: x\r\nCOOKIE: x\r\nX-Forwarded-User: x\r\nX-Forwarded-For: x\r\n\
                    Connection: close\r\nUpgrade: x\r\nTrailer: x\r\nContent-Type: x\r\nSet-Cookie: x\r\n\
                    Expect: 100-continue\r\nGrpc-Status: 0\r\nContent-Digest: x\r\n\r\n";
    let origin = Origin::start(move |call| {
        let head = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nx\r\n0\r\n";
        call.respond(head.to_owned() + trailers).map(|()| Then::Keep)
    });
    let gateway = TestGateway::start(&single_route(&origin));
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
    struct Setting {
        names: UnderscoreNames,
        expected: Option<&'static str>,
    }
    for Setting { names, expected } in [
        Setting { names: UnderscoreNames::Dropped, expected: None },
        Setting { names: UnderscoreNames::Kept, expected: Some("1") },
    ] {
        let settings = settings(|all| all.requests.underscore_names = names);
        let gateway = TestGateway::with(&single_route(&origin), settings);
        let mut client = gateway.client();
        client.send(
            "POST / HTTP/1.1\r\nX_User: 1\r\nHost: a.example\r\n_: 1\r\nA_: 1\r\nContent_Length: 5\r\n\
             X-Kept: 2\r\nTransfer-Encoding: chunked\r\nX-Kept: 3\r\n\r\n0\r\nT_: 1\r\nT: 2\r\n\r\n",
        );
        assert_eq!(client.response().status(), 200);
        let forwarded = origin.last();
        for name in ["x_user", "_", "a_"] {
            assert_eq!(forwarded.field(name), expected, "{name}");
        }
        let kept: Vec<_> = forwarded.fields.iter().filter(|(name, _)| name == "x-kept").collect();
        assert_eq!((kept.len(), forwarded.field("host")), (2, Some("a.example")));
        let trailer = |name| {
            forwarded.trailers.iter().find(|(given, _)| given == name).map(|(_, value)| value.as_str())
        };
        assert_eq!((trailer("t_"), trailer("t")), (expected, Some("2")));
    }
}

#[test]
fn fields_named_by_connection_are_dropped() {
    let origin = Origin::named("a");
    let gateway = TestGateway::start(&single_route(&origin));
    let mut client = gateway.client();
    client.send(
        "GET / HTTP/1.1\r\nHost: a.example\r\nDate: x\r\nTrailer: x\r\nCookie: x\r\nX-Kept: 1\r\n\
         Connection: date, TRAILER\r\nConnection: , cookie ,host\r\n\r\n",
    );
    assert_eq!(client.response().status(), 200);
    let forwarded = origin.last();
    let named = |name| forwarded.field(name);
    assert_eq!((named("date"), named("trailer"), named("cookie")), (None, None, None));
    assert_eq!((named("host"), named("x-kept")), (Some("a.example"), Some("1")));
}

// ===== paths =====

#[test]
fn encoded_slash_is_400_where_it_could_change_the_route() {
    let (a, b) = (Origin::named("a"), Origin::named("b"));
    let objects = ingress("i").host("a.example").path("/", "a").path("/admin", "b").path("/public", "a")
        + ingress("p").host("p.example").path("/public", "a")
        + ingress("e").host("e.example").exact("/files/a%2Fb", "a").path("/files", "b")
        // A Problem: none of the decoded forms of its first path is routed by that path.
        + ingress("f").host("f.example").path("/files/a%2Fb", "a").path("/", "a")
        + service("a").endpoints(&[a.address])
        + service("b").endpoints(&[b.address]);
    let gateway = TestGateway::start(&objects);
    let mut client = gateway.client();
    struct Case {
        host: &'static str,
        target: &'static str,
        status: u16,
    }
    for Case { host, target, status } in [
        Case { host: "a.example", target: "/x%2Fy", status: 200 },
        Case { host: "a.example", target: "/x%2fy%5Cz", status: 200 },
        Case { host: "a.example", target: "/admin%2Fx", status: 400 },
        Case { host: "a.example", target: "/%2Fadmin", status: 400 },
        Case { host: "a.example", target: "/x%2F..%2Fadmin", status: 400 },
        Case { host: "a.example", target: "/x/..%2Fadmin", status: 400 },
        Case { host: "a.example", target: "/x%2F%2e%2e%2Fadmin", status: 400 },
        Case { host: "a.example", target: "/admin/..%2Fx", status: 400 },
        Case { host: "a.example", target: "/admin%5Cx", status: 400 },
        Case { host: "a.example", target: "/x%5c..%5cadmin", status: 400 },
        Case { host: "a.example", target: "/x\\..\\admin", status: 400 },
        Case { host: "a.example", target: "/admin\\x", status: 400 },
        Case { host: "a.example", target: "/public/%2F..%5C..%2Fadmin", status: 400 },
        Case { host: "a.example", target: "/admin/x%2Fy", status: 200 },
        Case { host: "a.example", target: "/x%252Fy", status: 200 },
        // Decoding could also leave every route.
        Case { host: "p.example", target: "/public/..%2Fsecret", status: 400 },
        Case { host: "p.example", target: "/public/a%2Fb", status: 200 },
        Case { host: "p.example", target: "/other%2Fa", status: 404 },
        // An Exact path of the rule has these encoded bytes.
        Case { host: "e.example", target: "/files/a%2fb", status: 200 },
        Case { host: "e.example", target: "/files/a%2Fc", status: 200 },
        Case { host: "f.example", target: "/files/a%2Fb", status: 400 },
        Case { host: "f.example", target: "/files/a%2Fb/c", status: 400 },
        Case { host: "f.example", target: "/files/a%2Fc", status: 200 },
    ] {
        let response = client.get(host, target);
        assert_eq!(response.status(), status, "{host}{target}");
        if status == 400 {
            assert_eq!(response.field("gateway-reason"), Some("encoded_slash"), "{host}{target}");
        }
    }
    assert_eq!(client.get("e.example", "/files/a%2Fb").text(), "a");
}
