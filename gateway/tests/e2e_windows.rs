//! HTTP/2 windows: a stream holds no window that another stream of its connection needs.

#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "tests fail by panicking")]

#[path = "support/frames.rs"]
mod frames;
mod support;

use std::cell::Cell;
use std::collections::BTreeMap;
use std::rc::Rc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use frames::{DATA, DEFAULT_WINDOW, END_STREAM, FrameClient, HEADERS, RST_STREAM};
use h2::client::SendRequest;
use http::Request;
use support::{Origin, TestGateway, Then, ok, single_route};

/// Maximum time for what needs no timeout of the gateway.
const PROMPT: Duration = Duration::from_secs(5);

#[test]
fn silent_streams_hold_no_window() {
    let origin = Origin::start(|call| {
        if call.request.target() == "/events" {
            call.respond("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n6\r\nevent\n\r\n")?;
            return Ok(Then::Hang);
        }
        call.respond(ok(&"x".repeat(40 << 10))).map(|()| Then::Keep)
    });
    let gateway = TestGateway::start(&single_route(&origin));
    let mut client = FrameClient::connect(gateway.gateway.http, DEFAULT_WINDOW, DEFAULT_WINDOW);
    // Each stream shows that it is silent: its event has arrived.
    let streams = [1, 3, 5, 7];
    for stream in streams {
        client.get(stream, "/events");
        while !matches!(client.read().unwrap(), frame if frame.kind == DATA && frame.stream == stream) {}
    }
    let began = Instant::now();
    client.get(9, "/");
    let (bytes, _) = client.read_stream(9).unwrap();
    assert_eq!(bytes, 40 << 10);
    assert!(began.elapsed() < PROMPT, "{:?}", began.elapsed());
}

/// Sends a body without an end, as far as the windows permit. Each part sets `progress`.
async fn upload(mut send: SendRequest<Bytes>, progress: Rc<Cell<bool>>) {
    let request = Request::post("http://a.example/stuck").body(()).unwrap();
    let (_response, mut body) = send.send_request(request, false).unwrap();
    loop {
        body.reserve_capacity(16 << 10);
        let Some(Ok(capacity)) = std::future::poll_fn(|cx| body.poll_capacity(cx)).await else { return };
        body.send_data(Bytes::from(vec![b'x'; capacity]), false).unwrap();
        progress.set(true);
    }
}

#[test]
fn unread_uploads_leave_window_for_a_short_body() {
    let origin = Origin::start(|call| {
        if call.request.target() == "/stuck" {
            // Reads nothing, and ends with the connection.
            socket2::SockRef::from(&call.wire.stream).set_recv_buffer_size(4096)?;
            while call.wire.stream.peek(&mut [0]).is_ok_and(|bytes| bytes > 0) {
                std::thread::park_timeout(Duration::from_millis(50));
            }
            return Ok(Then::Close);
        }
        call.respond(ok("a")).map(|()| Then::Keep)
    });
    let gateway = TestGateway::start(&single_route(&origin));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let local = tokio::task::LocalSet::new();
    local.block_on(&runtime, async {
        let stream = tokio::net::TcpStream::connect(gateway.gateway.http).await.unwrap();
        let (send, connection) = h2::client::handshake(stream).await.unwrap();
        tokio::task::spawn_local(connection);
        let progress = Rc::new(Cell::new(true));
        for _ in 0..20 {
            tokio::task::spawn_local(upload(send.clone().ready().await.unwrap(), Rc::clone(&progress)));
        }
        while progress.replace(false) {
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
        let mut send = send.ready().await.unwrap();
        let request = Request::post("http://a.example/").body(()).unwrap();
        let (response, mut body) = send.send_request(request, false).unwrap();
        body.send_data(Bytes::from_static(b"hello"), true).unwrap();
        let response = tokio::time::timeout(PROMPT, response).await;
        assert_eq!(response.expect("the POST arrives").unwrap().status(), 200);
    });
    assert_eq!(origin.last().text(), "hello");
}

#[test]
fn body_that_fills_its_window_ends_at_once() {
    let origin = Origin::start(|call| {
        let (head, body) = ("HTTP/1.1 200 OK\r\n", "x".repeat(1000));
        let response = match call.request.target() {
            "/trailers" => {
                format!("{head}Transfer-Encoding: chunked\r\n\r\n3e8\r\n{body}\r\n0\r\nX-Sum: 1\r\n\r\n")
            }
            "/chunked" => format!("{head}Transfer-Encoding: chunked\r\n\r\n3e8\r\n{body}\r\n0\r\n\r\n"),
            _ => ok(&body),
        };
        call.respond(response).map(|()| Then::Keep)
    });
    let gateway = TestGateway::start(&single_route(&origin));
    for (target, last) in [("/", DATA), ("/chunked", DATA), ("/trailers", HEADERS)] {
        for window in [1000, 1001] {
            let mut client = FrameClient::connect(gateway.gateway.http, window, DEFAULT_WINDOW);
            let began = Instant::now();
            client.get(1, target);
            let (bytes, end) = client.read_stream(1).unwrap();
            assert_eq!((bytes, end.kind), (1000, last), "{target} with a window of {window}");
            assert!(began.elapsed() < PROMPT, "{target} after {:?}", began.elapsed());
        }
    }
}

#[test]
fn stalled_stream_does_not_stall_the_others() {
    let origin = Origin::start(|call| call.respond(ok(&"x".repeat(200_000))).map(|()| Then::Keep));
    let gateway = TestGateway::start(&single_route(&origin));
    // No stream has a window until it gets one, and the connection has more than enough.
    let mut client = FrameClient::connect(gateway.gateway.http, 0, 1 << 24);
    for stream in (1..100).step_by(2) {
        client.get(stream, "/");
    }
    for stream in [99, 49, 3] {
        client.add_window(stream, 200_000);
        let (bytes, end) = client.read_stream(stream).unwrap();
        assert_eq!((bytes, end.kind, end.flags), (200_000, DATA, END_STREAM), "stream {stream}");
    }
}

/// Pseudo-random numbers that a seed reproduces (SplitMix64).
struct Random(u64);

impl Random {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        (mixed ^ (mixed >> 31)) % bound
    }
}

/// What a client knows of a stream.
struct Expected {
    window: u64,
    /// Bytes of the body that have not arrived.
    left: u64,
}

/// Starts an origin that responds to `/BYTES/PIECE` with a body of this length in chunks of this length.
fn chunking_origin() -> Origin {
    Origin::start(|call| {
        let numbers = call.request.target().split('/').skip(1).map(|number| number.parse().unwrap());
        let numbers: Vec<usize> = numbers.collect();
        let (whole, rest) = (numbers[0] / numbers[1], numbers[0] % numbers[1]);
        let chunk = |length: usize| format!("{length:x}\r\n{}\r\n", "x".repeat(length));
        let mut response = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n".to_owned();
        response += &chunk(numbers[1]).repeat(whole);
        if rest > 0 {
            response += &chunk(rest);
        }
        call.respond(response + "0\r\n\r\n").map(|()| Then::Keep)
    })
}

/// Opens streams with random bodies and gives random windows. Whenever the model has a stream that may send, the gateway
/// sends; it never exceeds a window.
#[test]
fn random_windows_starve_no_stream() {
    let origin = chunking_origin();
    let gateway = TestGateway::start(&single_route(&origin));
    for seed in 0..20 {
        let mut random = Random(seed);
        let stream_window = 1000 * random.below(3);
        let mut connection = u64::from(DEFAULT_WINDOW);
        let http = gateway.gateway.http;
        let mut client = FrameClient::connect(http, u32::try_from(stream_window).unwrap(), DEFAULT_WINDOW);
        let mut streams = BTreeMap::new();
        for number in 0..=random.below(12) {
            let (id, left) = (u32::try_from(2 * number + 1).unwrap(), random.below(60_000) + 1);
            let piece = [1, 10, 1000, 20_000][random.below(4) as usize];
            client.get(id, &format!("/{left}/{piece}"));
            streams.insert(id, Expected { window: stream_window, left });
        }
        while !streams.is_empty() {
            let may_send = |stream: &Expected| stream.left == 0 || (connection > 0 && stream.window > 0);
            if !streams.values().any(may_send) {
                let bytes = random.below(20_000) + 1;
                let ids: Vec<_> = streams.keys().copied().collect();
                let id = ids[random.below(ids.len() as u64) as usize];
                if connection == 0 || random.below(3) == 0 {
                    connection += bytes;
                    client.add_window(0, bytes as u32);
                } else {
                    streams.get_mut(&id).unwrap().window += bytes;
                    client.add_window(id, bytes as u32);
                }
                continue;
            }
            let frame = client.read().unwrap_or_else(|error| panic!("seed {seed}: starved: {error}"));
            assert_ne!(frame.kind, RST_STREAM, "seed {seed}");
            if frame.kind != DATA {
                continue;
            }
            let (stream, length) = (streams.get_mut(&frame.stream).unwrap(), frame.payload.len() as u64);
            connection = connection.checked_sub(length).expect("the connection's window");
            stream.window = stream.window.checked_sub(length).expect("the stream's window");
            stream.left = stream.left.checked_sub(length).expect("the length of the body");
            if frame.flags & END_STREAM != 0 {
                assert_eq!(stream.left, 0, "seed {seed}: stream {} ends early", frame.stream);
                streams.remove(&frame.stream);
            }
        }
    }
}
