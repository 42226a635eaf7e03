//! Random bytes through the real listener, and a differential check of what the endpoint received: as many requests
//! in as it saw, each with its own head and body, and never one that was hidden in another.
//!
//! Requests are written from a model, some of them then damaged at random, cut into random pieces, and sent on one
//! connection. `DIFFERENTIAL_CASES` sets how many connections are tried; what fails is shrunk and printed.

#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "tests fail by panicking")]

mod support;

use std::io::{Read, Write};
use std::time::Duration;

use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};

use support::{Follows, Message, Origin, TestGateway, Then, Wire, ok, one, settings};

/// How a body is announced.
#[derive(Clone, Copy, Debug)]
enum Framing {
    None,
    Length,
    Chunked,
}

/// One request of the model.
#[derive(Clone, Debug)]
struct Sent {
    method: &'static str,
    framing: Framing,
    body: Vec<u8>,
    /// Further field lines.
    fields: Vec<&'static str>,
}

/// A request as somebody understood it.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Understood {
    method: String,
    target: String,
    body: Vec<u8>,
}

impl Understood {
    fn of(seen: &Message) -> Self {
        let mut words = seen.line.split(' ').map(str::to_owned);
        let (method, target) = (words.next().unwrap(), words.next().unwrap());
        Self { method, target, body: seen.body.clone() }
    }
}

/// What is done to a request's bytes: a place, counted in 1/65536 of its length, and bytes to put there.
#[derive(Clone, Debug)]
struct Damage {
    place: u16,
    removed: usize,
    inserted: &'static [u8],
}

/// One connection: requests, damage by request, and where the bytes are cut.
type Connection = (Vec<(Sent, Option<Damage>)>, Vec<u16>);

/// What every connection ends with, so that it does not have to wait for a deadline.
const LAST: &[u8] = b"GET /last HTTP/1.1\r\nHost: a.example\r\nConnection: close\r\n\r\n";

/// A request that no client sends as such: it stands in bodies and fields only.
const HIDDEN: &[u8] = b"GET /hidden HTTP/1.1\r\nHost: a.example\r\n\r\n";

/// What breaks parsers apart: ends of lines, white space, framing fields, chunk sizes, the hidden request.
const PIECES: [&[u8]; 30] = [
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

impl Sent {
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
        let place = raw.len() * usize::from(self.place) / 65_536;
        let end = raw.len().min(place + self.removed);
        raw.splice(place..end, self.inserted.iter().copied());
    }
}

fn sent() -> impl Strategy<Value = Sent> {
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
        .prop_map(|(method, framing, body, fields)| Sent { method, framing, body, fields })
}

fn damage() -> impl Strategy<Value = Damage> {
    let inserted = prop::sample::select(PIECES.to_vec());
    (any::<u16>(), prop_oneof![Just(0), 1usize..4, Just(40)], inserted)
        .prop_map(|(place, removed, inserted)| Damage { place, removed, inserted })
}

fn connection() -> impl Strategy<Value = Connection> {
    let request = (sent(), proptest::option::weighted(0.4, damage()));
    (proptest::collection::vec(request, 1..5), proptest::collection::vec(any::<u16>(), 0..4))
}

/// Sends `raw` in pieces and gives the statuses that came until the gateway closed. Answers to HEAD have no body: which
/// they are, the requests that `raw` holds tell, since damage may make more or fewer of them than were written.
fn exchange(gateway: &TestGateway, raw: &[u8], cuts: &[u16], understood: &[Understood]) -> Vec<u16> {
    let mut client = gateway.client();
    let mut places: Vec<_> = cuts.iter().map(|cut| raw.len() * usize::from(*cut) / 65_536).collect();
    places.extend([0, raw.len()]);
    places.sort_unstable();
    for pair in places.windows(2) {
        // The gateway may have closed already: then its answers tell.
        if client.stream.write_all(&raw[pair[0]..pair[1]]).is_err() {
            break;
        }
    }
    let mut received = Vec::new();
    let _ = client.stream.read_to_end(&mut received);
    let mut answers = Wire::new(std::io::Cursor::new(received));
    let mut statuses = Vec::new();
    loop {
        let is_head = understood.get(statuses.len()).is_some_and(|request| request.method == "HEAD");
        match answers.message(if is_head { Follows::Nothing } else { Follows::Response }) {
            Ok(Some(answer)) if answer.status() == 100 => {}
            Ok(Some(answer)) => statuses.push(answer.status()),
            _ => return statuses,
        }
    }
}

/// What has to hold whatever was sent.
fn check(gateway: &TestGateway, origin: &Origin, (requests, cuts): &Connection) -> Result<(), TestCaseError> {
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
    let understood = model::requests(&raw);
    let statuses = exchange(gateway, &raw, cuts, &understood);
    let seen: Vec<Understood> = origin.requests_from(before).iter().map(Understood::of).collect();
    // The gateway may refuse what the model takes; it never makes more or other requests of the bytes.
    let mut left = understood.iter();
    for request in &seen {
        prop_assert!(
            left.any(|understood| understood == request),
            "{request:?} was seen and not sent; all seen: {seen:?}; understood: {understood:?}"
        );
    }
    let answered = statuses.iter().filter(|status| **status == 200).count();
    prop_assert!(answered <= seen.len(), "more answers than requests: {statuses:?}, {seen:?}");
    // Up to the first damaged request all is as if there were no damage.
    let whole = requests.iter().take_while(|(_, damage)| damage.is_none()).count();
    prop_assert!(seen.len() >= whole, "{} of {whole} whole requests seen: {statuses:?}", seen.len());
    for ((request, _), seen) in requests.iter().zip(&seen).take(whole) {
        prop_assert_eq!(&seen.body, request.expected_body());
    }
    if whole == requests.len() {
        prop_assert_eq!(&statuses, &vec![200; requests.len() + 1]);
        prop_assert_eq!(seen.len(), requests.len() + 1);
    }
    Ok(())
}

#[test]
fn the_endpoint_sees_the_clients_requests_and_no_others() {
    let origin = Origin::start(|call| call.answer(answer(&call.request.line)).map(|()| Then::Keep));
    // Damage often leaves the gateway waiting for more.
    let limit = Duration::from_millis(300);
    let settings = settings(|all| {
        all.timeouts.request_header = limit;
        all.timeouts.stall = limit;
        all.timeouts.keep_alive = limit;
    });
    let gateway = TestGateway::with(&one(&origin), settings);
    let cases = std::env::var("DIFFERENTIAL_CASES").ok().and_then(|count| count.parse().ok()).unwrap_or(400);
    let config = Config { cases, failure_persistence: None, ..Config::default() };
    TestRunner::new(config).run(&connection(), |case| check(&gateway, &origin, &case)).unwrap();
    // It lives, and nothing is stuck.
    assert_eq!(gateway.get("a.example", "/").status(), 200);
}

/// An answer to HEAD has no body, whatever its length says.
fn answer(line: &str) -> String {
    let whole = ok("ok");
    if line.starts_with("HEAD ") { whole.trim_end_matches("ok").to_owned() } else { whole }
}

/// A reader of requests written from RFC 9112 alone, without regard for speed. It ends at the first doubt.
mod model {
    use super::Understood;

    struct Head {
        method: String,
        target: String,
        is_last: bool,
        chunked: bool,
        length: usize,
    }

    /// The requests that the bytes hold, whole ones only.
    pub(super) fn requests(mut rest: &[u8]) -> Vec<Understood> {
        let mut found = Vec::new();
        while let Some((head, after)) = head(rest) {
            let Some((body, after)) = body(&head, after) else { break };
            rest = after;
            found.push(Understood { method: head.method, target: head.target, body });
            if head.is_last {
                break;
            }
        }
        found
    }

    /// A line without its CRLF; nothing if it holds a bare CR or LF, or does not end.
    fn line(rest: &[u8]) -> Option<(&[u8], &[u8])> {
        let end = rest.iter().position(|byte| *byte == b'\n')?;
        let line = rest[..end].strip_suffix(b"\r")?;
        (!line.contains(&b'\r')).then_some((line, &rest[end + 1..]))
    }

    fn is_token(text: &[u8]) -> bool {
        let is_tchar = |byte: &u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(byte);
        !text.is_empty() && text.iter().all(is_tchar)
    }

    /// Name in lower case, and value.
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
        let says = |option: &[u8]| connection.iter().any(|said| said.eq_ignore_ascii_case(option));
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
        let is_last = says(b"close") || (is_old && !says(b"keep-alive"));
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
