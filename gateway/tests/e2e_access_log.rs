//! The access log seen from outside: a line for each kind of end, and what becomes of it when nobody takes it.

#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "tests fail by panicking")]

mod support;

use std::io::{PipeReader, Read, Write};
use std::net::Shutdown;
use std::os::fd::AsRawFd;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use bytes::Bytes;
use gateway::observe::access_log::Destination;
use gateway::settings::Settings;
use serde_json::Value;
use support::{Origin, Refusing, TestGateway, Then, ingress, ok, one, service, tls, until};
use tempfile::TempDir;

/// A gateway with its log in a file.
struct Logged {
    started: TestGateway,
    folder: TempDir,
}

impl Logged {
    fn start(yaml: &str) -> Self {
        Self::with(yaml, |_| {})
    }

    fn with(yaml: &str, change: impl FnOnce(&mut Settings)) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let mut settings = Settings::default();
        settings.access_log.destination = Destination::File(folder.path().join("log"));
        change(&mut settings);
        Self { started: TestGateway::with(yaml, settings), folder }
    }

    fn file(&self) -> PathBuf {
        self.folder.path().join("log")
    }

    /// The next lines that were written, once there are so many in all.
    fn lines(&self, count: usize) -> Vec<Value> {
        let read = || std::fs::read_to_string(self.file()).unwrap();
        until("the lines are written", || read().lines().count() >= count);
        let lines: Vec<_> = read().lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        assert_eq!(lines.len(), count, "{lines:#?}");
        lines
    }

    /// The only line.
    fn line(&self) -> Value {
        self.lines(1).remove(0)
    }
}

/// What a line has to say; null: nothing.
fn check(line: &Value, expected: &Value) {
    for (key, value) in expected.as_object().unwrap() {
        assert_eq!(line.get(key).unwrap_or(&Value::Null), value, "{key}: {line:#}");
    }
}

/// Expected values.
fn json(text: &str) -> Value {
    serde_json::from_str(text).unwrap()
}

#[test]
fn a_served_request_has_all_there_is_to_know() {
    let origin = Origin::named("hello");
    let log = Logged::start(&one(&origin));
    let mut client = log.started.client();
    let head = "Host: A.example:8080\r\nUser-Agent: a \"b\"\tc\r\nContent-Length: 3\r\n\r\nabc";
    client.send(format!("PUT /%7Ea/../b?secret=1 HTTP/1.1\r\n{head}"));
    client.response();
    client.get("a.example", "/");
    let lines = log.lines(2);
    check(
        &lines[0],
        &json(
            r#"{"client": "127.0.0.1", "scheme": "http", "protocol": "HTTP/1.1", "tls": null, "method": "PUT",
                "host": "a.example", "path": "/b", "query": true, "status": 200, "reason": null, "abort": null,
                "bytesIn": 3, "bytesOut": 5, "attempts": 1, "reused": false, "ingress": "default/a",
                "rule": "spec.rules[0].http.paths[0]", "service": "default/a:80", "userAgent": "a \"b\"\tc"}"#,
        ),
    );
    check(
        &lines[1],
        &json(r#"{"method": "GET", "path": "/", "query": false, "reused": true, "userAgent": null}"#),
    );
    for (line, request) in lines.iter().zip(origin.requests()) {
        assert_eq!(line["requestId"].as_str(), request.field("x-request-id"));
        assert_eq!(line["upstream"], origin.address.to_string());
        let (whole, first) = (line["durationMs"].as_f64().unwrap(), line["firstByteMs"].as_f64().unwrap());
        assert!(0.0 < first && first <= whole && whole < 60_000.0, "{line}");
        let time = line["time"].as_str().unwrap();
        assert!(time.len() == 24 && time.ends_with('Z'), "{time}");
        assert!(!line.to_string().contains("secret"), "the query is nobody's business: {line}");
    }
}

#[test]
fn every_answer_of_the_gateway_has_its_reason_malformed_requests_too() {
    let refusing = Refusing::new();
    let yaml =
        ingress("a", "a.example", &[("/", "a"), ("/none", "none")]) + &service("a", &[refusing.address]);
    let log = Logged::start(&yaml);
    let cases = [
        (
            "GET / HTTP/1.1\nHost: a.example\n\n",
            r#"{"status": 400, "reason": "bare_lf", "method": null, "path": null}"#,
        ),
        (
            "CONNECT a:1 HTTP/1.1\r\nHost: a:1\r\n\r\n",
            r#"{"status": 405, "reason": "connect_not_supported"}"#,
        ),
        (
            "HEAD /x HTTP/1.1\r\nHost: a.example\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n",
            r#"{"status": 400, "reason": "malformed_framing", "method": "HEAD", "host": "a.example", "path": "/x",
                "unsent": null, "bytesOut": 0}"#,
        ),
        (
            "GET /%00\" HTTP/1.1\r\nHost: a.example\r\nConnection: close\r\n\r\n",
            r#"{"status": 400, "reason": "malformed_path", "path": "/%00\"", "ingress": null, "unsent": null}"#,
        ),
        (
            "GET / HTTP/1.1\r\nHost: b.example\r\nConnection: close\r\n\r\n",
            r#"{"status": 404, "reason": "no_rule", "host": "b.example", "ingress": null, "attempts": null, "bytesOut": 12}"#,
        ),
        (
            "GET / HTTP/1.0\r\nHost: a.example\r\n\r\n",
            r#"{"status": 502, "reason": "upstream_refused", "protocol": "HTTP/1.0", "service": "default/a:80", "attempts": 1}"#,
        ),
        (
            "GET /none HTTP/1.1\r\nHost: a.example\r\nConnection: close\r\n\r\n",
            r#"{"status": 503, "reason": "service_missing", "service": "default/none:80", "upstream": null}"#,
        ),
    ];
    for (place, (request, expected)) in cases.iter().enumerate() {
        let mut client = log.started.client();
        client.send(request);
        client.rest();
        check(&log.lines(place + 1)[place], &json(expected));
    }
    assert_eq!(
        log.lines(cases.len())[5]["upstream"],
        refusing.address.to_string(),
        "also if it takes no connection"
    );
}

#[test]
fn http2_requests_are_logged_and_those_of_a_lost_connection_as_aborted() {
    let origin = Origin::start(|call| match call.request.target() {
        "/never" => call.read_body().map(|()| Then::Hang),
        _ => call.answer(ok("hello")).map(|()| Then::Keep),
    });
    let log = Logged::start(&one(&origin));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let stream = tokio::net::TcpStream::connect(log.started.gateway.http).await.unwrap();
        let (mut send, connection) = h2::client::handshake(stream).await.unwrap();
        let connection = tokio::spawn(connection);
        for (uri, method) in [("http://a.example/", "GET"), ("http://a.example:443", "CONNECT")] {
            let request = http::Request::builder().uri(uri).method(method).body(()).unwrap();
            send = send.ready().await.unwrap();
            let (response, _) = send.send_request(request, true).unwrap();
            let mut body = response.await.unwrap().into_body();
            while body.data().await.is_some() {}
        }
        send = send.ready().await.unwrap();
        let request = http::Request::get("http://a.example/never").body(()).unwrap();
        let (_response, mut body) = send.send_request(request, false).unwrap();
        body.send_data(Bytes::from_static(b"abcd"), true).unwrap();
        tokio::task::spawn_blocking(move || origin.wait_heads(2)).await.unwrap();
        connection.abort();
    });
    drop(runtime);
    let lines = log.lines(3);
    check(&lines[0], &json(r#"{"protocol": "HTTP/2", "method": "GET", "status": 200, "bytesOut": 5}"#));
    check(
        &lines[1],
        &json(
            r#"{"protocol": "HTTP/2", "method": "CONNECT", "status": 405, "reason": "connect_not_supported"}"#,
        ),
    );
    check(&lines[2], &json(r#"{"path": "/never", "status": null, "abort": "client_closed", "attempts": 1}"#));
    let metrics = log.started.admin("/metrics").1;
    assert!(metrics.contains("gateway_aborts_total{reason=\"client_closed\"} 1"), "{metrics}");
}

/// The beginning of an HTTP/2 connection, and requests with these header blocks.
fn http2_requests(blocks: &[&[u8]]) -> Vec<u8> {
    let mut bytes = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0".to_vec();
    for (place, block) in blocks.iter().enumerate() {
        let stream = u8::try_from(2 * place + 1).unwrap();
        // HEADERS with END_STREAM and END_HEADERS.
        bytes.extend([0, 0, u8::try_from(block.len()).unwrap(), 1, 5, 0, 0, 0, stream]);
        bytes.extend_from_slice(block);
    }
    bytes
}

#[test]
fn http2_requests_that_the_codec_refuses_by_itself_are_logged_and_counted() {
    let origin = Origin::start(|_| Ok(Then::Hang));
    let log = Logged::start(&one(&origin));
    // GET http://a.example/ by HPACK, then :status, and a field of HTTP/1.1.
    let get = b"\x82\x86\x84\x01\x09a.example";
    let status = [&get[..], b"\x88"].concat();
    let connection = [&get[..], b"\0\x0aconnection\x05close"].concat();
    let mut malformed = log.started.client();
    malformed.send(http2_requests(&[&status, &connection]));
    let lines = log.lines(2);
    for line in &lines {
        check(
            line,
            &json(r#"{"abort": "client_malformed", "status": null, "method": null, "scheme": "http"}"#),
        );
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let stream = tokio::net::TcpStream::connect(log.started.gateway.http).await.unwrap();
        let (send, connection) = h2::client::handshake(stream).await.unwrap();
        tokio::spawn(connection);
        let request = http::Request::get("http://a.example/").header("x-long", "x".repeat(33 << 10));
        let (response, _) =
            send.ready().await.unwrap().send_request(request.body(()).unwrap(), true).unwrap();
        assert_eq!(response.await.unwrap().status(), 431);
    });
    check(&log.lines(3)[2], &json(r#"{"status": 431, "reason": "head_too_long", "abort": null}"#));
    // 100 may be open at once.
    let mut many = log.started.client();
    many.send(http2_requests(&[&get[..]; 101]));
    check(&log.lines(4)[3], &json(r#"{"abort": "stream_refused", "status": null, "method": null}"#));
    let metrics = log.started.admin("/metrics").1;
    for sample in [
        "gateway_aborts_total{reason=\"client_malformed\"} 2",
        "gateway_aborts_total{reason=\"stream_refused\"} 1",
        "gateway_local_replies_total{reason=\"head_too_long\"} 1",
    ] {
        assert!(metrics.contains(sample), "no {sample}: {metrics}");
    }
}

#[test]
fn a_connection_that_ends_within_a_head_is_logged_and_one_that_says_nothing_is_not() {
    let origin = Origin::named("a");
    let log = Logged::start(&one(&origin));
    // A health check of the port, the empty line that may stand before a request, and an orderly end after one.
    for said in ["", "\r\n"] {
        let mut client = log.started.client();
        client.send(said);
        client.stream.shutdown(Shutdown::Write).unwrap();
        client.rest();
    }
    let mut client = log.started.client();
    client.get("a.example", "/");
    client.stream.shutdown(Shutdown::Write).unwrap();
    client.rest();
    check(&log.line(), &json(r#"{"status": 200, "abort": null}"#));

    let whole = "GET / HTTP/1.1\r\nHost: a.example\r\n\r\n";
    for (number, said) in
        ["G", "PRI * HT", "GET / HTTP/1.1\r\nHost: a.ex", &(whole.to_owned() + "GET")].iter().enumerate()
    {
        let mut client = log.started.client();
        client.send(said);
        client.stream.shutdown(Shutdown::Write).unwrap();
        client.rest();
        let last = log.lines(if number < 3 { number + 2 } else { 6 }).pop().unwrap();
        check(
            &last,
            &json(
                r#"{"client": "127.0.0.1", "scheme": "http", "status": null, "abort": "head_unfinished",
                    "reason": null, "method": null, "protocol": null, "durationMs": null}"#,
            ),
        );
    }
    let metrics = log.started.admin("/metrics").1;
    assert!(metrics.contains("gateway_aborts_total{reason=\"head_unfinished\"} 4"), "{metrics}");

    // HTTP/2 that breaks the rules of connections: a frame of an unknown stream.
    let mut client = log.started.client();
    client.send("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n");
    client.send([0, 0, 0, 4, 0, 0, 0, 0, 0]);
    client.send([0, 0, 1, 0, 0, 0, 0, 0, 7, b'x']);
    let _ = client.stream.read_to_end(&mut Vec::new());
    check(&log.lines(7)[6], &json(r#"{"abort": "client_malformed", "method": null, "status": null}"#));
}

#[test]
fn a_handshake_that_fails_ends_or_takes_too_long_is_logged_and_a_silent_one_is_not() {
    let (origin, certificate) = (Origin::named("a"), support::Certificate::new("a.example"));
    let yaml = one(&origin) + &certificate.secret("cert");
    let log = Logged::with(&yaml, |settings| settings.timeouts.request_header = Duration::from_secs(1));
    let connect = || std::net::TcpStream::connect(log.started.gateway.https).unwrap();
    let end = |mut stream: std::net::TcpStream| {
        stream.set_read_timeout(Some(support::DEADLINE)).unwrap();
        let _ = stream.read_to_end(&mut Vec::new());
    };
    // One that only looks, and one that says nothing until its time is over.
    let stream = connect();
    stream.shutdown(Shutdown::Write).unwrap();
    end(stream);
    end(connect());
    // The first bytes of a ClientHello.
    let hello = [0x16, 3, 1, 0, 200, 1, 0];
    let cases: [(&str, &[u8], bool); 3] = [
        ("tls_failed", b"GET / HTTP/1.1\r\nHost: a.example\r\n\r\n", false),
        ("tls_unfinished", &hello, true),
        ("tls_timeout", &hello, false),
    ];
    for (number, (abort, said, closes)) in cases.into_iter().enumerate() {
        let mut stream = connect();
        stream.write_all(said).unwrap();
        if closes {
            stream.shutdown(Shutdown::Write).unwrap();
        }
        end(stream);
        let line = &log.lines(number + 1)[number];
        check(
            line,
            &json(
                r#"{"client": "127.0.0.1", "scheme": "https", "tls": null, "method": null, "status": null}"#,
            ),
        );
        assert_eq!(line["abort"], abort);
    }
    // A client that does not know whom the certificate is by says so.
    let other = support::Certificate::new("other.example");
    let name = "a.example".try_into().unwrap();
    let mut distrusting =
        rustls::ClientConnection::new(support::tls_config(&[&other], "http/1.1"), name).unwrap();
    distrusting.complete_io(&mut connect()).unwrap_err();
    assert_eq!(log.lines(4)[3]["abort"], "tls_failed");
}

#[test]
fn an_aborted_answer_has_its_status_its_bytes_and_whose_fault_it_was() {
    let cut = "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nabc";
    let origin = Origin::start(move |call| call.answer(cut).map(|()| Then::Close));
    let log = Logged::start(&one(&origin));
    let mut client = log.started.client();
    client.send("GET / HTTP/1.1\r\nHost: a.example\r\n\r\n");
    let _ = client.stream.read_to_end(&mut Vec::new());
    check(&log.line(), &json(r#"{"status": 200, "abort": "upstream_cut", "reason": null, "bytesOut": 3}"#));
}

#[test]
fn a_tunnel_is_logged_at_its_end_with_the_bytes_of_both_directions() {
    const SWITCH: &str =
        "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n";
    let origin = Origin::start(|call| {
        call.answer(SWITCH)?;
        let data = call.wire.take(4)?;
        call.wire.stream.write_all(&[&data[..], b"bye"].concat())?;
        Ok(Then::Hang)
    });
    let log = Logged::start(&one(&origin));
    let ask = "GET /chat?x HTTP/1.1\r\nHost: a.example\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n";
    let open = || {
        let mut client = log.started.client();
        client.send(ask);
        assert_eq!(client.head().unwrap().unwrap().status(), 101);
        client
    };
    let mut client = open();
    client.send("ping");
    assert_eq!(client.take(7).unwrap(), b"pingbye");
    assert_eq!(std::fs::read_to_string(log.file()).unwrap(), "", "it has not ended");
    client.stream.shutdown(std::net::Shutdown::Write).unwrap();
    client.rest();
    check(
        &log.line(),
        &json(
            r#"{"method": "GET", "path": "/chat", "query": true, "status": 101, "abort": null, "bytesIn": 4,
                "bytesOut": 7, "ingress": "default/a", "service": "default/a:80"}"#,
        ),
    );
    // One that the gateway's end cuts off is logged as well.
    let _open = open();
    let Logged { started, folder } = log;
    drop(started);
    let text = std::fs::read_to_string(folder.path().join("log")).unwrap();
    let last: Value = serde_json::from_str(text.lines().last().unwrap()).unwrap();
    check(&last, &json(r#"{"status": 101, "abort": "gateway_stopped", "bytesIn": 0}"#));
}

#[test]
fn over_tls_by_template_and_from_a_trusted_proxy() {
    let (origin, certificate) = (Origin::named("a"), support::Certificate::new("a.example"));
    let yaml = ingress("a", "a.example", &[("/", "a")])
        + &tls("a.example", "cert")
        + &certificate.secret("cert")
        + &service("a", &[origin.address]);
    let log = Logged::with(&yaml, |settings| {
        settings.requests.trusted_proxies = vec!["127.0.0.0/8".parse().unwrap()];
        settings.access_log.format =
            "{client} {requestId} {scheme} {tls} \"{method} {host}{path}\" {status} {reason}"
                .parse()
                .unwrap();
    });
    let mut client = support::tls_client(log.started.gateway.https, "a.example", &[&certificate]);
    client.send(
        "GET /x HTTP/1.1\r\nHost: a.example\r\nX-Forwarded-For: 192.0.2.7\r\nX-Request-ID: given\r\n\r\n",
    );
    client.response();
    until("it is written", || std::fs::read_to_string(log.file()).unwrap().ends_with('\n'));
    assert_eq!(
        std::fs::read_to_string(log.file()).unwrap(),
        "192.0.2.7 given https 1.3 \"GET a.example/x\" 200 -\n"
    );
}

#[test]
fn a_sample_of_none_leaves_failures_and_aborts() {
    let origin = Origin::start(|call| match call.request.target() {
        "/500" => call.answer("HTTP/1.1 500 Oh\r\nContent-Length: 0\r\n\r\n").map(|()| Then::Keep),
        "/cut" => call.answer("HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n").map(|()| Then::Close),
        _ => call.answer(ok("a")).map(|()| Then::Keep),
    });
    let log =
        Logged::with(&one(&origin), |settings| settings.access_log.sample_rate = "0.0".parse().unwrap());
    let mut client = log.started.client();
    for (target, status) in [("/", 200), ("/500", 500), ("/", 200)] {
        assert_eq!(client.get("a.example", target).status(), status);
    }
    assert_eq!(log.started.get("b.example", "/").status(), 404);
    let mut knocking = log.started.client();
    knocking.send("GET");
    knocking.stream.shutdown(Shutdown::Write).unwrap();
    knocking.rest();
    let metrics = log.started.admin("/metrics").1;
    assert!(metrics.contains("gateway_aborts_total{reason=\"head_unfinished\"} 1"), "{metrics}");
    client.send("GET /cut HTTP/1.1\r\nHost: a.example\r\n\r\n");
    let _ = client.stream.read_to_end(&mut Vec::new());
    let lines = log.lines(2);
    check(&lines[0], &json(r#"{"path": "/500", "status": 500}"#));
    check(&lines[1], &json(r#"{"path": "/cut", "abort": "upstream_cut"}"#));
}

#[test]
fn a_file_that_is_moved_away_is_opened_anew_and_no_line_is_lost() {
    let origin = Origin::named("a");
    let log = Logged::start(&one(&origin));
    let mut client = log.started.client();
    let mut requests = 0;
    let mut ask = || {
        client.get("a.example", "/");
        requests += 1;
    };
    ask();
    log.lines(1);
    let old = log.folder.path().join("log.1");
    std::fs::rename(log.file(), &old).unwrap();
    until("the new file is there", || {
        ask();
        log.file().exists()
    });
    ask();
    let lines = |path: &PathBuf| std::fs::read_to_string(path).unwrap_or_default().lines().count();
    until("all lines are in either", || lines(&old) + lines(&log.file()) >= requests);
    assert!(lines(&log.file()) > 0);
    assert_eq!(lines(&old) + lines(&log.file()), requests);
}

/// A gateway whose log nobody reads: a pipe that is full after 64 KiB.
fn blocked(origin: &Origin) -> (TestGateway, PipeReader) {
    let (reader, writer) = std::io::pipe().unwrap();
    let mut settings = Settings::default();
    settings.access_log.destination =
        Destination::File(format!("/proc/self/fd/{}", writer.as_raw_fd()).into());
    let started = TestGateway::with(&one(origin), settings);
    // The gateway has opened it by then.
    drop(writer);
    (started, reader)
}

#[test]
fn a_blocked_log_stalls_no_request_and_what_is_dropped_is_counted() {
    let origin = Origin::named("a");
    let (started, mut reader) = blocked(&origin);
    // A line of more than 4 KB: control characters of two bytes become six, and the path is as long as it may be.
    let mut request = b"GET /".to_vec();
    request.extend_from_slice(&[b'x'; 1100]);
    request.extend_from_slice(b" HTTP/1.1\r\nHost: a.example\r\nUser-Agent: ");
    request.extend_from_slice("\u{9b}".repeat(512).as_bytes());
    request.extend_from_slice(b"\r\n\r\n");
    let dropped = || -> u64 {
        let metrics = started.admin("/metrics").1;
        let value = metrics.lines().find_map(|line| line.strip_prefix("gateway_access_log_dropped_total "));
        value.unwrap().parse().unwrap()
    };
    assert_eq!(dropped(), 0);
    let (mut client, mut requests) = (started.client(), 0);
    while dropped() == 0 {
        for _ in 0..100 {
            client.send(&request);
            assert_eq!(client.response().status(), 200);
            requests += 1;
        }
        assert!(requests < 5000, "4 MiB wait at most");
    }
    // Whoever reads again gets whole lines, and every request is a line or counted.
    let seen = Arc::new(Mutex::new(Vec::new()));
    let collected = Arc::clone(&seen);
    let reading = std::thread::spawn(move || {
        let mut piece = vec![0; 64 << 10];
        while let Ok(read @ 1..) = reader.read(&mut piece) {
            collected.lock().unwrap().extend_from_slice(&piece[..read]);
        }
    });
    until("the writer has caught up", || {
        client.get("a.example", "/last");
        requests += 1;
        let seen = seen.lock().unwrap();
        seen[seen.len().saturating_sub(1000)..].windows(5).any(|text| text == b"/last")
    });
    let lost = dropped();
    drop(started);
    reading.join().unwrap();
    let text = String::from_utf8(std::mem::take(&mut *seen.lock().unwrap())).unwrap();
    let lines: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(lines.len() as u64 + lost, requests);
}

#[test]
fn a_blocked_log_does_not_hold_the_end_of_the_process() {
    let origin = Origin::named("a");
    let (started, reader) = blocked(&origin);
    let mut client = started.client();
    let agent = "\u{fc}".repeat(500);
    for _ in 0..200 {
        client.send(format!("GET / HTTP/1.1\r\nHost: a.example\r\nUser-Agent: {agent}\r\n\r\n"));
        assert_eq!(client.response().status(), 200);
    }
    drop(client);
    let before = Instant::now();
    drop(started);
    assert!(before.elapsed() < Duration::from_secs(5), "{:?}", before.elapsed());
    drop(reader);
}
