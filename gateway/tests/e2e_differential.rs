//! Differential fuzzing of the listener against a second HTTP/1.1 parser.
//!
//! A case generates requests, damages some of them at random, cuts the bytes into random pieces, and sends them on one
//! connection. The endpoint must receive no request that the second parser does not find in these bytes.
//! `DIFFERENTIAL_CASES` sets the number of connections. A failing case is shrunk and printed.

#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "tests fail by panicking")]

mod support;

use std::io::{Read, Write};
use std::time::Duration;

use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};

use support::{Follows, Message, Origin, TestGateway, Then, Wire, ok, settings, single_route};

/// The framing of a generated body.
#[derive(Clone, Copy, Debug)]
enum Framing {
    None,
    Length,
    Chunked,
}

/// A generated request.
#[derive(Clone, Debug)]
struct SentRequest {
    method: &'static str,
    framing: Framing,
    body: Vec<u8>,
    /// Additional field lines.
    fields: Vec<&'static str>,
}

/// A request as a parser read it: the endpoint's or the [`model`]'s.
#[derive(Clone, Debug, PartialEq, Eq)]
struct ParsedRequest {
    method: String,
    target: String,
    body: Vec<u8>,
}

impl ParsedRequest {
    fn from_message(message: &Message) -> Self {
        let mut words = message.line.split(' ').map(str::to_owned);
        let (method, target) = (words.next().unwrap(), words.next().unwrap());
        Self { method, target, body: message.body.clone() }
    }
}

/// A replacement of some bytes of a request.
#[derive(Clone, Debug)]
struct Damage {
    /// Offset in 1/65536 of the length.
    position: u16,
    removed: usize,
    inserted: &'static [u8],
}

/// One connection of a case.
#[derive(Clone, Debug)]
struct Connection {
    requests: Vec<(SentRequest, Option<Damage>)>,
    /// Offsets, in 1/65536 of the length, at which the bytes are cut.
    cuts: Vec<u16>,
}

/// Last request of each connection. It closes the connection, so that the case need not wait for a timeout.
const LAST: &[u8] = b"GET /last HTTP/1.1\r\nHost: a.example\r\nConnection: close\r\n\r\n";

/// A request that occurs only inside bodies and fields. The endpoint must not receive it from an undamaged request.
const HIDDEN: &[u8] = b"GET /hidden HTTP/1.1\r\nHost: a.example\r\n\r\n";

/// Inserted bytes on which parsers differ: line ends, white space, framing fields, chunk sizes, a hidden request.
const INSERTED: [&[u8]; 30] = [
    b"\r\n",
    b"\n",
    b"\r",
    b"\r\n\r\n",
    b"\n\n",
    b"\0",
    b" ",
    b"\t",
    b":",
    b",",
    b";",
    b"\x0b",
    b"\xff",
    b"0",
    b"0\r\n\r\n",
    b"\r\n0\r\n\r\n",
    b"5\r\nhello\r\n",
    b"+5",
    b"0x5",
    b"Content-Length: 5\r\n",
    b"Content-Length: 0\r\n",
    b"content-length : 3\r\n",
    b"Transfer-Encoding: chunked\r\n",
    b"Transfer-Encoding: identity\r\n",
    b"Transfer-Encoding:\x0bchunked\r\n",
    b"\r\n Transfer-Encoding: chunked",
    b"Connection: Content-Length, Transfer-Encoding, Host\r\n",
    b"HTTP/1.0\r\n",
    b"Expect: 100-continue\r\n",
    HIDDEN,
];

impl SentRequest {
    fn bytes(&self, number: usize) -> Vec<u8> {
        let mut raw = format!("{} /{number} HTTP/1.1\r\nHost: a.example\r\n", self.method).into_bytes();
        for line in &self.fields {
            raw.extend_from_slice(line.as_bytes());
            raw.extend_from_slice(b"\r\n");
        }
        match self.framing {
            Framing::None => raw.extend_from_slice(b"\r\n"),
            Framing::Length => {
                write!(raw, "Content-Length: {}\r\n\r\n", self.body.len()).unwrap();
                raw.extend_from_slice(&self.body);
            }
            Framing::Chunked => {
                raw.extend_from_slice(b"Transfer-Encoding: chunked\r\n\r\n");
                for chunk in self.body.chunks(7) {
                    write!(raw, "{:x}\r\n", chunk.len()).unwrap();
                    raw.extend_from_slice(chunk);
                    raw.extend_from_slice(b"\r\n");
                }
                raw.extend_from_slice(b"0\r\n\r\n");
            }
        }
        raw
    }

    fn expected_body(&self) -> &[u8] {
        if matches!(self.framing, Framing::None) { b"" } else { &self.body }
    }
}

impl Damage {
    fn apply(&self, raw: &mut Vec<u8>) {
        let start = raw.len() * usize::from(self.position) / 65_536;
        let end = raw.len().min(start + self.removed);
        raw.splice(start..end, self.inserted.iter().copied());
    }
}

fn sent_request() -> impl Strategy<Value = SentRequest> {
    let framing = prop_oneof![Just(Framing::None), Just(Framing::Length), Just(Framing::Chunked)];
    let body = prop_oneof![
        Just(HIDDEN.to_vec()),
        Just(b"0\r\n\r\nGET /hidden HTTP/1.1\r\nHost: a.example\r\n\r\n".to_vec()),
        proptest::collection::vec(any::<u8>(), 0..40),
    ];
    let field =
        prop::sample::select(vec!["X-A: 1", "Accept: */*", "X-Body: GET /hidden HTTP/1.1", "Cookie: a=b"]);
    let method = prop::sample::select(vec!["GET", "POST", "PUT", "DELETE", "HEAD"]);
    (method, framing, body, proptest::collection::vec(field, 0..3))
        .prop_map(|(method, framing, body, fields)| SentRequest { method, framing, body, fields })
}

fn damage() -> impl Strategy<Value = Damage> {
    let inserted = prop::sample::select(INSERTED.to_vec());
    (any::<u16>(), prop_oneof![Just(0), 1usize..4, Just(40)], inserted)
        .prop_map(|(position, removed, inserted)| Damage { position, removed, inserted })
}

fn connection() -> impl Strategy<Value = Connection> {
    let request = (sent_request(), proptest::option::weighted(0.4, damage()));
    (proptest::collection::vec(request, 1..5), proptest::collection::vec(any::<u16>(), 0..4))
        .prop_map(|(requests, cuts)| Connection { requests, cuts })
}

/// Sends `raw` in pieces, and returns the final statuses received until the gateway closes the connection.
///
/// Responses to HEAD have no body. The parsed requests show which these are, since damage changes the number of requests.
fn exchange(gateway: &TestGateway, raw: &[u8], cuts: &[u16], parsed: &[ParsedRequest]) -> Vec<u16> {
    let mut client = gateway.client();
    let mut offsets: Vec<_> = cuts.iter().map(|cut| raw.len() * usize::from(*cut) / 65_536).collect();
    offsets.extend([0, raw.len()]);
    offsets.sort_unstable();
    for pair in offsets.windows(2) {
        // The gateway may close early. Its responses are checked in any case.
        if client.stream.write_all(&raw[pair[0]..pair[1]]).is_err() {
            break;
        }
    }
    let mut received = Vec::new();
    let _ = client.stream.read_to_end(&mut received);
    let mut responses = Wire::new(std::io::Cursor::new(received));
    let mut statuses = Vec::new();
    loop {
        let is_head = parsed.get(statuses.len()).is_some_and(|request| request.method == "HEAD");
        match responses.message(if is_head { Follows::Nothing } else { Follows::Response }) {
            Ok(Some(response)) if response.status() == 100 => {}
            Ok(Some(response)) => statuses.push(response.status()),
            _ => return statuses,
        }
    }
}

/// Sends a case, and checks the requests that the endpoint received.
fn check(gateway: &TestGateway, origin: &Origin, connection: &Connection) -> Result<(), TestCaseError> {
    let Connection { requests, cuts } = connection;
    let before = origin.count();
    let mut raw = Vec::new();
    for (number, (request, damage)) in requests.iter().enumerate() {
        let mut bytes = request.bytes(number);
        if let Some(damage) = damage {
            damage.apply(&mut bytes);
        }
        raw.extend(bytes);
    }
    raw.extend_from_slice(LAST);
    let parsed = model::requests(&raw);
    let statuses = exchange(gateway, &raw, cuts, &parsed);
    let received: Vec<_> = origin.requests_from(before).iter().map(ParsedRequest::from_message).collect();
    // The gateway may reject requests that the model accepts. It must not forward additional or different ones.
    let mut remaining = parsed.iter();
    for request in &received {
        prop_assert!(
            remaining.any(|parsed| parsed == request),
            "{request:?} was received but not sent; received: {received:?}; sent: {parsed:?}"
        );
    }
    let served = statuses.iter().filter(|status| **status == 200).count();
    prop_assert!(served <= received.len(), "more responses than requests: {statuses:?}, {received:?}");
    // The requests before the first damaged one must be served.
    let intact = requests.iter().take_while(|(_, damage)| damage.is_none()).count();
    prop_assert!(received.len() >= intact, "received {} of {intact}: {statuses:?}", received.len());
    for ((request, _), received) in requests.iter().zip(&received).take(intact) {
        prop_assert_eq!(&received.body, request.expected_body());
    }
    if intact == requests.len() {
        prop_assert_eq!(&statuses, &vec![200; requests.len() + 1]);
        prop_assert_eq!(received.len(), requests.len() + 1);
    }
    Ok(())
}

#[test]
fn endpoint_receives_only_requests_that_the_client_sent() {
    let origin = Origin::start(|call| call.respond(response_to(&call.request.line)).map(|()| Then::Keep));
    // After damage the gateway often waits for more bytes until a timeout.
    let limit = Duration::from_millis(300);
    let settings = settings(|all| {
        all.timeouts.request_header = limit;
        all.timeouts.stall = limit;
        all.timeouts.keep_alive = limit;
    });
    let gateway = TestGateway::with(&single_route(&origin), settings);
    let cases = std::env::var("DIFFERENTIAL_CASES").ok().and_then(|count| count.parse().ok()).unwrap_or(400);
    let config = Config { cases, failure_persistence: None, ..Config::default() };
    TestRunner::new(config).run(&connection(), |case| check(&gateway, &origin, &case)).unwrap();
    // The worker still serves requests.
    assert_eq!(gateway.get("a.example", "/").status(), 200);
}

/// Returns the endpoint's response. A response to HEAD has a Content-Length and no body.
fn response_to(line: &str) -> String {
    let whole = ok("ok");
    if line.starts_with("HEAD ") { whole.trim_end_matches("ok").to_owned() } else { whole }
}

/// A second request parser, written from RFC 9112 alone and for clarity. It stops at the first ambiguous byte.
mod model {
    use super::ParsedRequest;

    struct Head {
        method: String,
        target: String,
        is_last: bool,
        chunked: bool,
        length: usize,
    }

    /// Returns the complete requests in these bytes.
    pub(super) fn requests(mut rest: &[u8]) -> Vec<ParsedRequest> {
        let mut found = Vec::new();
        while let Some((head, after)) = head(rest) {
            let Some((body, after)) = body(&head, after) else { break };
            rest = after;
            found.push(ParsedRequest { method: head.method, target: head.target, body });
            if head.is_last {
                break;
            }
        }
        found
    }

    /// Returns a line without its CRLF, and the rest. Returns `None` for a bare CR or LF or an unfinished line.
    fn line(rest: &[u8]) -> Option<(&[u8], &[u8])> {
        let end = rest.iter().position(|byte| *byte == b'\n')?;
        let line = rest[..end].strip_suffix(b"\r")?;
        (!line.contains(&b'\r')).then_some((line, &rest[end + 1..]))
    }

    fn is_token(text: &[u8]) -> bool {
        let is_tchar = |byte: &u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(byte);
        !text.is_empty() && text.iter().all(is_tchar)
    }

    /// Returns the name in lower case and the value.
    fn field(line: &[u8]) -> Option<(String, &[u8])> {
        let colon = line.iter().position(|byte| *byte == b':')?;
        let (name, value) = (&line[..colon], &line[colon + 1..]);
        let is_text = |byte: &u8| *byte == b'\t' || (*byte >= 0x20 && *byte != 0x7f);
        let is_field = is_token(name) && value.iter().all(is_text);
        is_field.then(|| (String::from_utf8_lossy(name).to_ascii_lowercase(), value.trim_ascii()))
    }

    fn head(mut rest: &[u8]) -> Option<(Head, &[u8])> {
        while let Some(after) = rest.strip_prefix(b"\r\n") {
            rest = after;
        }
        let (first, mut rest) = line(rest)?;
        let words: Vec<_> = first.split(|byte| *byte == b' ').collect();
        let [method, target, version] = words[..] else { return None };
        let is_target = !target.is_empty() && target.iter().all(u8::is_ascii_graphic);
        if !is_token(method) || !is_target || ![&b"HTTP/1.1"[..], b"HTTP/1.0"].contains(&version) {
            return None;
        }
        let is_old = version == b"HTTP/1.0";
        let (mut hosts, mut lengths, mut codings, mut connection) = (0, Vec::new(), Vec::new(), Vec::new());
        loop {
            let (next, after) = line(rest)?;
            rest = after;
            if next.is_empty() {
                break;
            }
            let (name, value) = field(next)?;
            match name.as_str() {
                "host" => hosts += 1,
                "content-length" => lengths.push(value),
                "transfer-encoding" => codings.push(value.to_ascii_lowercase()),
                "connection" => connection.extend(value.split(|byte| *byte == b',').map(<[u8]>::trim_ascii)),
                _ => {}
            }
        }
        let has_option = |option: &[u8]| connection.iter().any(|listed| listed.eq_ignore_ascii_case(option));
        let (length, chunked) = match (&lengths[..], &codings[..]) {
            ([], []) => (0, false),
            ([length], []) if !length.is_empty() && length.iter().all(u8::is_ascii_digit) => {
                (std::str::from_utf8(length).ok()?.parse().ok()?, false)
            }
            ([], [coding]) if coding == b"chunked" && !is_old => (0, true),
            _ => return None,
        };
        if hosts > 1 || (hosts == 0 && !is_old) {
            return None;
        }
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let is_last = has_option(b"close") || (is_old && !has_option(b"keep-alive"));
        Some((Head { method: text(method), target: text(target), is_last, chunked, length }, rest))
    }

    fn body<'a>(head: &Head, mut rest: &'a [u8]) -> Option<(Vec<u8>, &'a [u8])> {
        if !head.chunked {
            return rest.split_at_checked(head.length).map(|(body, rest)| (body.to_vec(), rest));
        }
        let mut body = Vec::new();
        loop {
            let (size, after) = line(rest)?;
            let digits = size.split(|byte| *byte == b';').next()?;
            if digits.is_empty() || !digits.iter().all(u8::is_ascii_hexdigit) {
                return None;
            }
            let size = usize::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()?;
            rest = after;
            if size == 0 {
                break;
            }
            let (data, after) = rest.split_at_checked(size)?;
            body.extend_from_slice(data);
            rest = after.strip_prefix(b"\r\n")?;
        }
        loop {
            let (next, after) = line(rest)?;
            rest = after;
            if next.is_empty() {
                return Some((body, rest));
            }
            field(next)?;
        }
    }
}
