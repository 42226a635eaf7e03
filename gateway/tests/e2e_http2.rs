//! HTTP/2 clients, with prior knowledge and by ALPN.

#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "tests fail by panicking")]

mod support;

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use bytes::Bytes;
use h2::Reason;
use h2::client::{self, Builder, SendRequest};
use http::{HeaderMap, Request, StatusCode};
use support::fixtures::{ingress, secret, service};
use support::{Certificate, DEADLINE, Origin, TestGateway, Then, ok, settings, single_route, until};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::task::JoinHandle;

/// Runs the async part of a test, within [`DEADLINE`].
fn run<T>(test: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async { tokio::time::timeout(DEADLINE, test).await.unwrap() })
}

/// A client connection and the result of its connection task.
struct Connection {
    send: SendRequest<Bytes>,
    end: JoinHandle<Result<(), h2::Error>>,
}

/// A complete response.
#[derive(Debug)]
struct Response {
    status: StatusCode,
    fields: HeaderMap,
    body: Vec<u8>,
    trailers: Option<HeaderMap>,
}

impl Connection {
    /// Connects with prior knowledge.
    async fn open(address: SocketAddr) -> Self {
        Self::over(TcpStream::connect(address).await.unwrap(), &client::Builder::new()).await
    }

    async fn over(stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static, builder: &Builder) -> Self {
        let (send, connection) = builder.handshake(stream).await.unwrap();
        Self { send, end: tokio::spawn(connection) }
    }

    async fn get(&self, uri: &str) -> Response {
        self.exchange(Request::get(uri).body(()).unwrap(), &[]).await.unwrap()
    }

    /// Sends a request whose body is one DATA frame a piece. Without pieces it has no body.
    async fn exchange(&self, request: Request<()>, pieces: &[&[u8]]) -> Result<Response, h2::Error> {
        let mut send = self.send.clone().ready().await?;
        let (response, mut body) = send.send_request(request, pieces.is_empty())?;
        for (index, piece) in pieces.iter().enumerate() {
            body.send_data(Bytes::copy_from_slice(piece), index + 1 == pieces.len())?;
        }
        read_response(response.await?).await
    }
}

/// Reads the body and the trailers.
async fn read_response(response: http::Response<h2::RecvStream>) -> Result<Response, h2::Error> {
    let (parts, mut stream) = response.into_parts();
    let mut body = Vec::new();
    while let Some(data) = stream.data().await {
        let data = data?;
        stream.flow_control().release_capacity(data.len())?;
        body.extend_from_slice(&data);
    }
    let trailers = stream.trailers().await?;
    Ok(Response { status: parts.status, fields: parts.headers, body, trailers })
}

/// Returns the status and the `gateway-reason` of a response.
fn reason(response: &Response) -> (u16, &str) {
    let reason = response.fields.get("gateway-reason").map_or("", |reason| reason.to_str().unwrap());
    (response.status.as_u16(), reason)
}

#[test]
fn request_is_translated_to_http11_and_response_back() {
    let origin = Origin::start(|call| {
        let head = "HTTP/1.1 200 OK\r\nConnection: x-named\r\nX-Named: 1\r\nX-Kept: 1\r\n";
        match call.request.target() {
            "/trailers" => call.respond(format!(
                "{head}Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\nX-Sum: 3\r\nHost: evil\r\n\r\n"
            ))?,
            "/head" => call.respond(format!("{head}Content-Length: 9\r\n\r\n"))?,
            "/empty" => call.respond("HTTP/1.1 204 No Content\r\n\r\n")?,
            _ => {
                call.read_body()?;
                let body = String::from_utf8(call.request.body.clone()).unwrap();
                std::io::Write::write_all(&mut call.wire.stream, ok(&body).as_bytes())?;
            }
        }
        Ok(Then::Keep)
    });
    let gateway = TestGateway::start(&single_route(&origin));
    run(async {
        let connection = Connection::open(gateway.gateway.http).await;
        let got = connection.get("http://a.example/trailers?q").await;
        assert_eq!(got.status, 200);
        let got = connection.get("http://a.example/trailers").await;
        assert_eq!((got.status.as_u16(), &got.body[..]), (200, &b"abc"[..]));
        let trailers = got.trailers.unwrap();
        assert_eq!((trailers.len(), &trailers["x-sum"]), (1, &http::HeaderValue::from_static("3")));
        let mut names: Vec<_> = got.fields.keys().map(http::HeaderName::as_str).collect();
        names.sort_unstable();
        assert_eq!(names, ["date", "server", "x-kept"]);

        let request = Request::post("http://a.example/").header("te", "trailers").body(()).unwrap();
        let got = connection.exchange(request, &[b"hello ", b"world"]).await.unwrap();
        assert_eq!((got.status.as_u16(), &got.body[..]), (200, &b"hello world"[..]));
        let forwarded = origin.last();
        let field = |name| forwarded.field(name);
        assert_eq!((forwarded.line.as_str(), forwarded.text()), ("POST / HTTP/1.1", "hello world"));
        assert_eq!((field("transfer-encoding"), field("te")), (Some("chunked"), Some("trailers")));
        assert_eq!((field("host"), field("x-forwarded-host")), (Some("a.example"), Some("a.example")));

        let request = Request::post("http://a.example/").header("content-length", 5).body(()).unwrap();
        assert_eq!(connection.exchange(request, &[b"hel", b"lo"]).await.unwrap().body, b"hello");
        assert_eq!(origin.last().field("content-length"), Some("5"));

        let request = Request::head("http://a.example/head").body(()).unwrap();
        let got = connection.exchange(request, &[]).await.unwrap();
        assert_eq!(
            (got.status.as_u16(), got.body.len(), &got.fields["content-length"]),
            (200, 0, &"9".parse().unwrap())
        );
        assert_eq!(connection.get("http://a.example/empty").await.status, 204);
        assert_eq!(reason(&connection.get("http://b.example/").await), (404, "no_rule"));
        assert_eq!(reason(&connection.get("http://a.example/%00").await), (400, "malformed_path"));
    });
    assert_eq!(origin.connections(), 1, "the connection to the endpoint is reused");
}

#[test]
fn split_cookie_fields_are_joined() {
    let origin = Origin::named("a");
    let gateway = TestGateway::start(&single_route(&origin));
    run(async {
        let request = Request::get("http://A.Example:80/")
            .header("host", "a.example:80")
            .header("cookie", "a=1")
            .header("cookie", "b=2")
            .header("x-between", "1")
            .header("cookie", "c=3")
            .body(())
            .unwrap();
        let connection = Connection::open(gateway.gateway.http).await;
        assert_eq!(connection.exchange(request, &[]).await.unwrap().status, 200);
    });
    assert_eq!(origin.last().field("cookie"), Some("a=1; b=2; c=3"));
}

#[test]
fn invalid_request_is_rejected_and_connection_stays_open() {
    let origin = Origin::named("a");
    let gateway = TestGateway::start(&single_route(&origin));
    run(async {
        let connection = Connection::open(gateway.gateway.http).await;
        let get = || Request::get("http://a.example/");
        let asterisk = |method: &str| Request::builder().method(method).uri("*").header("host", "a.example");
        let fields = |count| (0..count).fold(get(), |get, n| get.header(format!("x-{n}"), "1"));
        struct Case {
            request: http::request::Builder,
            status: u16,
            reason: &'static str,
        }
        for Case { request, status, reason: expected } in [
            Case { request: get().header("host", "b.example"), status: 400, reason: "host_mismatch" },
            Case {
                request: get().header("host", "a.example").header("host", "a.example"),
                status: 400,
                reason: "several_hosts",
            },
            Case { request: Request::get("http://user@a.example/"), status: 400, reason: "malformed_host" },
            Case {
                request: Request::builder().method("CONNECT").uri("a.example:80"),
                status: 405,
                reason: "connect_not_supported",
            },
            Case { request: asterisk("GET"), status: 400, reason: "malformed_head" },
            Case { request: asterisk("options"), status: 400, reason: "malformed_head" },
            Case { request: Request::get("http://a.example/?\u{e4}"), status: 400, reason: "malformed_head" },
            Case {
                request: Request::get("http://a.example/\u{e4}?a"),
                status: 400,
                reason: "malformed_head",
            },
            Case {
                request: Request::get("http://a.example/a?\u{e4}#b"),
                status: 400,
                reason: "malformed_head",
            },
            Case { request: fields(101), status: 431, reason: "too_many_fields" },
            Case { request: get().header("x-long", "x".repeat(33 << 10)), status: 431, reason: "" },
            Case { request: fields(99), status: 200, reason: "" },
            Case { request: get().header("x-long", "x".repeat(30 << 10)), status: 200, reason: "" },
        ] {
            let context = format!("{:.200?}", request);
            match connection.exchange(request.body(()).unwrap(), &[]).await {
                Ok(response) => assert_eq!(reason(&response), (status, expected), "{context}"),
                Err(error) => panic!("{error}: {context}"),
            }
        }
        // A body shorter than its Content-Length never looks complete to the endpoint.
        let before = origin.count();
        let request = Request::post("http://a.example/").header("content-length", 9).body(()).unwrap();
        let result = connection.exchange(request, &[b"hello"]).await;
        assert!(result.as_ref().is_err() || result.as_ref().unwrap().status == 400, "{result:?}");
        assert_eq!(origin.count(), before);
        assert_eq!(connection.get("http://a.example/").await.status, 200, "the connection stays open");
    });
}

#[test]
fn streams_of_one_connection_run_concurrently() {
    let (release, gate) = std::sync::mpsc::channel::<()>();
    let gate = std::sync::Mutex::new(gate);
    let slow = Origin::start(move |call| {
        call.read_body()?;
        let _ = gate.lock().unwrap().recv_timeout(DEADLINE);
        std::io::Write::write_all(&mut call.wire.stream, ok("slow").as_bytes()).map(|()| Then::Keep)
    });
    let fast = Origin::named("fast");
    let objects = ingress("i").host("a.example").path("/slow", "slow").path("/", "fast")
        + service("slow").endpoints(&[slow.address])
        + service("fast").endpoints(&[fast.address]);
    let gateway = TestGateway::start(&objects);
    run(async {
        let connection = Connection::open(gateway.gateway.http).await;
        let mut send = connection.send.clone().ready().await.unwrap();
        let request = Request::get("http://a.example/slow").body(()).unwrap();
        let (response, _) = send.send_request(request, true).unwrap();
        for _ in 0..10 {
            assert_eq!(connection.get("http://a.example/fast").await.body, b"fast");
        }
        release.send(()).unwrap();
        assert_eq!(read_response(response.await.unwrap()).await.unwrap().body, b"slow");
    });
}

#[test]
fn informational_responses_are_forwarded_and_100_is_local() {
    let origin = Origin::start(|call| {
        let informational = "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n";
        call.respond(informational.to_owned() + &ok("x")).map(|()| Then::Keep)
    });
    let gateway = TestGateway::start(&single_route(&origin));
    run(async {
        let connection = Connection::open(gateway.gateway.http).await;
        let mut send = connection.send.clone().ready().await.unwrap();
        let request = Request::post("http://a.example/").header("expect", "100-continue").body(()).unwrap();
        let (mut response, mut body) = send.send_request(request, false).unwrap();
        let mut informational =
            async || std::future::poll_fn(|cx| response.poll_informational(cx)).await.unwrap().unwrap();
        assert_eq!(informational().await.status(), 100);
        body.send_data(Bytes::from_static(b"hello"), true).unwrap();
        let hints = informational().await;
        assert_eq!((hints.status().as_u16(), &hints.headers()["link"]), (103, &"</a>".parse().unwrap()));
        assert_eq!(hints.headers().len(), 1);
        let got = read_response(response.await.unwrap()).await.unwrap();
        assert_eq!((got.status.as_u16(), &got.body[..]), (200, &b"x"[..]));
    });
    assert_eq!((origin.last().field("expect"), origin.last().text()), (None, "hello"));
}

#[test]
fn http2_requests_are_filtered_like_http11_requests() {
    let origin = Origin::named("a");
    let gateway = TestGateway::start(&single_route(&origin));
    run(async {
        let connection = Connection::open(gateway.gateway.http).await;
        let mut send = connection.send.clone().ready().await.unwrap();
        let request =
            Request::post("http://a.example/").header("x_user", "1").header("x-kept", "1").body(()).unwrap();
        let (response, mut body) = send.send_request(request, false).unwrap();
        let trailers = [("x_sum", "1"), ("authorization", "1"), ("x-sum", "1")]
            .map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap()));
        body.send_trailers(HeaderMap::from_iter(trailers)).unwrap();
        assert_eq!(read_response(response.await.unwrap()).await.unwrap().status, 200);
        let asterisk = Request::options("http://a.example").uri("*").header("host", "a.example").body(());
        let got = connection.exchange(asterisk.unwrap(), &[]).await.unwrap();
        assert_eq!((reason(&got), got.fields.contains_key("allow")), ((204, "server_options"), true));
        assert_eq!(reason(&connection.get("http://a.example/%2F..%2f").await).0, 200);
    });
    let forwarded = origin.requests().remove(0);
    assert_eq!((forwarded.field("x_user"), forwarded.field("x-kept")), (None, Some("1")));
    assert_eq!(forwarded.trailers, [("x-sum".to_owned(), "1".to_owned())]);
}

#[test]
fn large_bodies_pass_through_small_windows() {
    let origin = Origin::start(|call| {
        call.read_body()?;
        let body = call.request.body.clone();
        let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", body.len());
        std::io::Write::write_all(&mut call.wire.stream, &[head.as_bytes(), &body].concat())
            .map(|()| Then::Keep)
    });
    let gateway = TestGateway::start(&single_route(&origin));
    let body: Vec<u8> = (0u32..1 << 19).flat_map(u32::to_le_bytes).collect();
    run(async {
        // The default window, and one that is smaller than each read of the response.
        for window in [65_535, 1000] {
            let stream = TcpStream::connect(gateway.gateway.http).await.unwrap();
            let connection =
                Connection::over(stream, client::Builder::new().initial_window_size(window)).await;
            let request = Request::put("http://a.example/").body(()).unwrap();
            let got = connection.exchange(request, &[&body]).await.unwrap();
            assert!(got.body == body && origin.last().body == body, "{window}");
        }
    });
}

#[test]
fn stalled_reader_is_reset_after_the_stall_timeout() {
    let origin = Origin::start(|call| call.respond(ok(&"x".repeat(1 << 20))).map(|()| Then::Keep));
    let settings = settings(|all| all.timeouts.stall = Duration::from_millis(200));
    let gateway = TestGateway::with(&single_route(&origin), settings);
    run(async {
        let stream = TcpStream::connect(gateway.gateway.http).await.unwrap();
        let connection = Connection::over(stream, client::Builder::new().initial_window_size(0)).await;
        let mut send = connection.send.clone().ready().await.unwrap();
        let request = Request::get("http://a.example/").body(()).unwrap();
        let (response, _) = send.send_request(request, true).unwrap();
        let mut body = response.await.unwrap().into_body();
        let error = body.data().await.unwrap().unwrap_err();
        assert!(error.is_reset() && error.is_remote(), "{error}");
        // The connection and its other streams continue.
        assert_eq!(
            reason(
                &connection
                    .exchange(Request::head("http://a.example/").body(()).unwrap(), &[])
                    .await
                    .unwrap()
            )
            .0,
            200
        );
    });
}

#[test]
fn idle_connection_is_closed_gracefully() {
    let short = Duration::from_millis(300);
    let gateway = TestGateway::with("", settings(|all| all.timeouts.keep_alive = short));
    run(async {
        let connection = Connection::open(gateway.gateway.http).await;
        assert_eq!(connection.get("http://a.example/").await.status, 404);
        let idle = Instant::now();
        connection.end.await.unwrap().unwrap();
        assert!(idle.elapsed() >= short);
        drop(connection.send);
    });
}

/// Cancels each stream once the endpoint received its request, until the gateway closes the connection.
#[test]
fn client_cancelling_many_requests_is_sent_goaway() {
    let origin = Origin::start(|call| call.read_body().map(|()| Then::Hang));
    let gateway = TestGateway::start(&single_route(&origin));
    run(async {
        let connection = Connection::open(gateway.gateway.http).await;
        for cancelled in 1..=300 {
            let Ok(mut send) = connection.send.clone().ready().await else { break };
            let request = Request::get("http://a.example/").body(()).unwrap();
            let Ok((_response, mut stream)) = send.send_request(request, true) else { break };
            // The reset waits: this test is about requests that already used an upstream connection.
            while origin.heads() < cancelled && !connection.end.is_finished() {
                tokio::task::yield_now().await;
            }
            stream.send_reset(Reason::CANCEL);
        }
        let error = connection.end.await.unwrap().unwrap_err();
        assert!(error.is_go_away() && error.is_remote(), "{error}");
        assert_eq!(error.reason(), Some(Reason::ENHANCE_YOUR_CALM));
    });
    // The cancelled requests are cancelled upstream, too.
    until("all connections to the endpoint end", || origin.open() == 0);
}

#[test]
fn resets_sent_with_their_requests_are_limited() {
    let origin = Origin::named("a");
    let gateway = TestGateway::start(&single_route(&origin));
    run(async {
        let connection = Connection::open(gateway.gateway.http).await;
        for _ in 0..5000 {
            let Ok(mut send) = connection.send.clone().ready().await else { break };
            let request = Request::get("http://a.example/").body(()).unwrap();
            let Ok((_response, mut stream)) = send.send_request(request, true) else { break };
            stream.send_reset(Reason::CANCEL);
        }
        // The gateway may close before the client reads the reason. It owes such a client no grace.
        let error = connection.end.await.unwrap().unwrap_err();
        assert!(error.reason().is_none_or(|reason| reason == Reason::ENHANCE_YOUR_CALM), "{error}");
        assert!(origin.heads() <= 1000, "{} of 5000 requests reached the endpoint", origin.heads());
        let other = Connection::open(gateway.gateway.http).await;
        assert_eq!(other.get("http://a.example/").await.body, b"a", "other connections are served");
    });
}

#[test]
fn alpn_chooses_http2_over_tls() {
    let origin = Origin::named("a");
    let certificate = Certificate::new("a.example");
    let objects = ingress("a").host("a.example").path("/", "a").tls("a.example", "s")
        + service("a").endpoints(&[origin.address])
        + secret("s", &certificate);
    let gateway = TestGateway::start(&objects);
    run(async {
        let stream = TcpStream::connect(gateway.gateway.https).await.unwrap();
        let connector = tokio_rustls::TlsConnector::from(support::tls_config(&[&certificate], "h2"));
        let stream = connector.connect("a.example".try_into().unwrap(), stream).await.unwrap();
        assert_eq!(stream.get_ref().1.alpn_protocol(), Some(&b"h2"[..]));
        let connection = Connection::over(stream, &client::Builder::new()).await;
        let gets = (0..20).map(|_| connection.get("https://a.example/"));
        for got in futures::future::join_all(gets).await {
            assert_eq!((got.status.as_u16(), &got.body[..]), (200, &b"a"[..]));
        }
        assert_eq!(origin.last().field("x-forwarded-proto"), Some("https"));
    });
}

#[test]
fn crumbs_of_a_cookie_count_as_one_field() {
    let origin = Origin::named("a");
    let gateway = TestGateway::start(&single_route(&origin));
    run(async {
        let connection = Connection::open(gateway.gateway.http).await;
        let request = |crumbs: usize, others: usize| {
            let mut request = Request::get("http://a.example/");
            for n in 0..crumbs {
                request = request.header("cookie", format!("c{n}=v"));
            }
            for n in 0..others {
                request = request.header(format!("x-{n}"), "v");
            }
            request.body(()).unwrap()
        };
        for (crumbs, others, status) in
            [(180, 0, 200), (180, 99, 200), (180, 100, 431), (0, 100, 200), (0, 101, 431)]
        {
            let response = connection.exchange(request(crumbs, others), &[]).await.unwrap();
            assert_eq!(response.status, status, "{crumbs} crumbs and {others} other fields");
        }
        let expected: Vec<_> = (0..180).map(|n| format!("c{n}=v")).collect();
        let request = origin.requests().remove(0);
        assert_eq!(request.field("cookie"), Some(expected.join("; ").as_str()));
    });
}
