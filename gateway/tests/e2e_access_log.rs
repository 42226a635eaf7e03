//! The access log: its entries for each outcome of a request, sampling, reopening, and a destination that blocks.

#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "tests fail by panicking")]

mod support;

use std::fmt::Display;
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
use support::fixtures::{ingress, service};
use support::{Certificate, Origin, Refusing, TestGateway, Then, ok, single_route, until};
use tempfile::TempDir;

/// A gateway whose access log is a file.
struct LoggingGateway {
    started: TestGateway,
    folder: TempDir,
}

impl LoggingGateway {
    fn start(yaml: &impl Display) -> Self {
        Self::with(yaml, |_| {})
    }

    fn with(yaml: &impl Display, change: impl FnOnce(&mut Settings)) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let mut settings = Settings::default();
        settings.access_log.destination = Destination::File(folder.path().join("log"));
        change(&mut settings);
        Self { started: TestGateway::with(yaml, settings), folder }
    }

    fn file(&self) -> PathBuf {
        self.folder.path().join("log")
    }

    /// Waits until the log has `count` entries, and returns them. Fails if it has more.
    fn entries(&self, count: usize) -> Vec<Value> {
        let read = || std::fs::read_to_string(self.file()).unwrap();
        until("the entries are written", || read().lines().count() >= count);
        let entries: Vec<_> = read().lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        assert_eq!(entries.len(), count, "{entries:#?}");
        entries
    }

    /// Waits for the first entry, and returns it. Fails if there are more.
    fn entry(&self) -> Value {
        self.entries(1).remove(0)
    }
}

/// Checks the expected fields of an entry. An expected null is a field that the entry lacks.
#[track_caller]
fn check(entry: &Value, expected: &Value) {
    for (key, value) in expected.as_object().unwrap() {
        assert_eq!(entry.get(key).unwrap_or(&Value::Null), value, "{key}: {entry:#}");
    }
}

/// Parses the expected fields.
fn json(text: &str) -> Value {
    serde_json::from_str(text).unwrap()
}

#[test]
fn served_request_entry_has_all_fields() {
    let origin = Origin::named("hello");
    let log = LoggingGateway::start(&single_route(&origin));
    let mut client = log.started.client();
    let head = "Host: A.example:8080\r\nUser-Agent: a \"b\"\tc\r\nContent-Length: 3\r\n\r\nabc";
    client.send(format!("PUT /%7Ea/../b?secret=1 HTTP/1.1\r\n{head}"));
    client.response();
    client.get("a.example", "/");
    let entries = log.entries(2);
    check(
        &entries[0],
        &json(
            r#"{"client": "127.0.0.1", "scheme": "http", "protocol": "HTTP/1.1", "tls": null, "method": "PUT",
                "host": "a.example", "path": "/b", "query": true, "status": 200, "reason": null, "abort": null,
                "bytesIn": 3, "bytesOut": 5, "attempts": 1, "reused": false, "ingress": "default/a",
                "rule": "spec.rules[0].http.paths[0]", "service": "default/a:80", "userAgent": "a \"b\"\tc"}"#,
        ),
    );
    check(
        &entries[1],
        &json(r#"{"method": "GET", "path": "/", "query": false, "reused": true, "userAgent": null}"#),
    );
    for (entry, request) in entries.iter().zip(origin.requests()) {
        assert_eq!(entry["requestId"].as_str(), request.field("x-request-id"));
        assert_eq!(entry["upstream"], origin.address.to_string());
        let duration = entry["durationMs"].as_f64().unwrap();
        let first_byte = entry["firstByteMs"].as_f64().unwrap();
        assert!(0.0 < first_byte && first_byte <= duration && duration < 60_000.0, "{entry}");
        let time = entry["time"].as_str().unwrap();
        assert!(time.len() == 24 && time.ends_with('Z'), "{time}");
        assert!(!entry.to_string().contains("secret"), "the entry has the query: {entry}");
    }
}

#[test]
fn local_reply_entry_names_the_reason() {
    let refusing = Refusing::new();
    let yaml = ingress("a").host("a.example").path("/", "a").path("/none", "none")
        + service("a").endpoints(&[refusing.address]);
    let log = LoggingGateway::start(&yaml);
    struct Case {
        request: &'static str,
        expected: &'static str,
    }
    let cases = [
        Case {
            request: "GET / HTTP/1.1\nHost: a.example\n\n",
            expected: r#"{"status": 400, "reason": "bare_lf", "method": null, "path": null}"#,
        },
        Case {
            request: "CONNECT a:1 HTTP/1.1\r\nHost: a:1\r\n\r\n",
            expected: r#"{"status": 405, "reason": "connect_not_supported"}"#,
        },
        Case {
            request: "HEAD /x HTTP/1.1\r\nHost: a.example\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n",
            expected: r#"{"status": 400, "reason": "malformed_framing", "method": "HEAD", "host": "a.example", "path": "/x",
                "unsent": null, "bytesOut": 0}"#,
        },
        Case {
            request: "GET /%00\" HTTP/1.1\r\nHost: a.example\r\nConnection: close\r\n\r\n",
            expected: r#"{"status": 400, "reason": "malformed_path", "path": "/%00\"", "ingress": null, "unsent": null}"#,
        },
        Case {
            request: "GET / HTTP/1.1\r\nHost: b.example\r\nConnection: close\r\n\r\n",
            expected: r#"{"status": 404, "reason": "no_rule", "host": "b.example", "ingress": null, "attempts": null, "bytesOut": 12}"#,
        },
        Case {
            request: "GET / HTTP/1.0\r\nHost: a.example\r\n\r\n",
            expected: r#"{"status": 502, "reason": "upstream_refused", "protocol": "HTTP/1.0", "service": "default/a:80", "attempts": 1}"#,
        },
        Case {
            request: "GET /none HTTP/1.1\r\nHost: a.example\r\nConnection: close\r\n\r\n",
            expected: r#"{"status": 503, "reason": "service_missing", "service": "default/none:80", "upstream": null}"#,
        },
    ];
    for (index, Case { request, expected }) in cases.iter().enumerate() {
        let mut client = log.started.client();
        client.send(request);
        client.rest();
        check(&log.entries(index + 1)[index], &json(expected));
    }
    let refused = &log.entries(cases.len())[5];
    assert_eq!(refused["upstream"], refusing.address.to_string(), "the endpoint refused the connection");
}

#[test]
fn http2_request_is_logged_and_aborted_on_connection_loss() {
    let origin = Origin::start(|call| match call.request.target() {
        "/never" => call.read_body().map(|()| Then::Hang),
        _ => call.respond(ok("hello")).map(|()| Then::Keep),
    });
    let log = LoggingGateway::start(&single_route(&origin));
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
    let entries = log.entries(3);
    check(&entries[0], &json(r#"{"protocol": "HTTP/2", "method": "GET", "status": 200, "bytesOut": 5}"#));
    check(
        &entries[1],
        &json(
            r#"{"protocol": "HTTP/2", "method": "CONNECT", "status": 405, "reason": "connect_not_supported"}"#,
        ),
    );
    check(
        &entries[2],
        &json(r#"{"path": "/never", "status": null, "abort": "client_closed", "attempts": 1}"#),
    );
    let metrics = log.started.admin("/metrics").1;
    assert!(metrics.contains("gateway_aborts_total{reason=\"client_closed\"} 1"), "{metrics}");
}

/// Returns the preface of an HTTP/2 connection and one request for each header block.
fn http2_requests(blocks: &[&[u8]]) -> Vec<u8> {
    let mut bytes = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0".to_vec();
    for (index, block) in blocks.iter().enumerate() {
        let stream = u8::try_from(2 * index + 1).unwrap();
        // HEADERS with END_STREAM and END_HEADERS.
        bytes.extend([0, 0, u8::try_from(block.len()).unwrap(), 1, 5, 0, 0, 0, stream]);
        bytes.extend_from_slice(block);
    }
    bytes
}

#[test]
fn http2_request_rejected_by_the_codec_is_logged_and_counted() {
    let origin = Origin::start(|_| Ok(Then::Hang));
    let log = LoggingGateway::start(&single_route(&origin));
    // `GET http://a.example/` in HPACK. The first request adds `:status`, the second one `connection: close`.
    let get = b"\x82\x86\x84\x01\x09a.example";
    let status = [&get[..], b"\x88"].concat();
    let connection = [&get[..], b"\0\x0aconnection\x05close"].concat();
    let mut malformed = log.started.client();
    malformed.send(http2_requests(&[&status, &connection]));
    for entry in &log.entries(2) {
        check(
            entry,
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
    check(&log.entries(3)[2], &json(r#"{"status": 431, "reason": "head_too_long", "abort": null}"#));
    // The limit of concurrent streams is 100.
    let mut many = log.started.client();
    many.send(http2_requests(&[&get[..]; 101]));
    check(&log.entries(4)[3], &json(r#"{"abort": "stream_refused", "status": null, "method": null}"#));
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
fn connection_end_is_logged_only_within_a_head() {
    let origin = Origin::named("a");
    let log = LoggingGateway::start(&single_route(&origin));
    // Not logged: a health check of the port, an empty line (allowed before a request), and a close after a request.
    for bytes in ["", "\r\n"] {
        let mut client = log.started.client();
        client.send(bytes);
        client.stream.shutdown(Shutdown::Write).unwrap();
        client.rest();
    }
    let mut client = log.started.client();
    client.get("a.example", "/");
    client.stream.shutdown(Shutdown::Write).unwrap();
    client.rest();
    check(&log.entry(), &json(r#"{"status": 200, "abort": null}"#));

    for (number, bytes) in ["G", "PRI * HT", "GET / HTTP/1.1\r\nHost: a.ex"].iter().enumerate() {
        let mut client = log.started.client();
        client.send(bytes);
        client.stream.shutdown(Shutdown::Write).unwrap();
        client.rest();
        let last = log.entries(number + 2).pop().unwrap();
        check(
            &last,
            &json(
                r#"{"client": "127.0.0.1", "scheme": "http", "status": null, "abort": "head_unfinished",
                    "reason": null, "method": null, "protocol": null, "durationMs": null}"#,
            ),
        );
    }
    let metrics = log.started.admin("/metrics").1;
    assert!(metrics.contains("gateway_aborts_total{reason=\"head_unfinished\"} 3"), "{metrics}");

    // An HTTP/2 connection error: a DATA frame of an idle stream.
    let mut client = log.started.client();
    client.send("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n");
    client.send([0, 0, 0, 4, 0, 0, 0, 0, 0]);
    client.send([0, 0, 1, 0, 0, 0, 0, 0, 7, b'x']);
    let _ = client.stream.read_to_end(&mut Vec::new());
    check(&log.entries(5)[4], &json(r#"{"abort": "client_malformed", "method": null, "status": null}"#));
}

#[test]
fn failed_handshake_is_logged_unless_the_client_was_silent() {
    let (origin, certificate) = (Origin::named("a"), Certificate::new("a.example"));
    let yaml = single_route(&origin) + &certificate.secret("cert");
    let log =
        LoggingGateway::with(&yaml, |settings| settings.timeouts.request_header = Duration::from_secs(1));
    let connect = || std::net::TcpStream::connect(log.started.gateway.https).unwrap();
    let read_to_end = |mut stream: std::net::TcpStream| {
        stream.set_read_timeout(Some(support::DEADLINE)).unwrap();
        let _ = stream.read_to_end(&mut Vec::new());
    };
    // Not logged: a client that closes at once, and one that sends nothing until the timeout.
    let stream = connect();
    stream.shutdown(Shutdown::Write).unwrap();
    read_to_end(stream);
    read_to_end(connect());
    // The first bytes of a ClientHello.
    let hello = [0x16, 3, 1, 0, 200, 1, 0];
    struct Case<'a> {
        abort: &'static str,
        sent: &'a [u8],
        closes: bool,
    }
    let other_protocol = b"\x00\x00\x00\x00\x00\x00\x00\x00";
    let cases = [
        Case { abort: "tls_failed", sent: other_protocol, closes: false },
        Case { abort: "tls_unfinished", sent: &hello, closes: true },
        Case { abort: "tls_timeout", sent: &hello, closes: false },
    ];
    for (index, Case { abort, sent, closes }) in cases.into_iter().enumerate() {
        let mut stream = connect();
        stream.write_all(sent).unwrap();
        if closes {
            stream.shutdown(Shutdown::Write).unwrap();
        }
        read_to_end(stream);
        let entry = &log.entries(index + 1)[index];
        check(
            entry,
            &json(
                r#"{"client": "127.0.0.1", "scheme": "https", "tls": null, "method": null, "status": null}"#,
            ),
        );
        assert_eq!(entry["abort"], abort);
        assert_eq!(entry["tlsError"].is_string(), abort != "tls_timeout", "{entry}");
        assert!(entry["sni"].is_null(), "{entry}");
    }
    // A client that does not trust the certificate sends an alert.
    let other = Certificate::new("other.example");
    let name = "a.example".try_into().unwrap();
    let mut distrusting =
        rustls::ClientConnection::new(support::tls_config(&[&other], "http/1.1"), name).unwrap();
    distrusting.complete_io(&mut connect()).unwrap_err();
    let entry = &log.entries(4)[3];
    assert_eq!((entry["abort"].as_str(), entry["sni"].as_str()), (Some("tls_failed"), Some("a.example")));
    assert!(entry["tlsError"].as_str().unwrap().contains("alert"), "{entry}");
}

#[test]
fn plain_http_on_the_tls_port_gets_a_400_that_says_so() {
    let origin = Origin::named("a");
    let log = LoggingGateway::start(&single_route(&origin));
    let requests = [
        &b"GET /x HTTP/1.1\r\nHost: a.example\r\n\r\n"[..],
        b"POST / HTTP/1.1\r\nHost: a.example\r\nContent-Length: 5\r\n\r\nhello",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    ];
    for (index, request) in requests.into_iter().enumerate() {
        let mut stream = std::net::TcpStream::connect(log.started.gateway.https).unwrap();
        stream.set_read_timeout(Some(support::DEADLINE)).unwrap();
        stream.write_all(request).unwrap();
        let mut response = String::new();
        stream.read_to_string(&mut response).unwrap();
        assert!(response.starts_with("HTTP/1.1 400 Bad Request\r\n"), "{response}");
        assert!(response.ends_with("400 plain_http_on_tls_port\n"), "{response}");
        let entry = &log.entries(index + 1)[index];
        assert_eq!(entry["reason"], "plain_http_on_tls_port");
        assert_eq!(entry["scheme"], "http");
    }
    assert_eq!(log.entries(3)[0]["path"], "/x");
}

#[test]
fn cut_response_entry_has_status_bytes_and_abort() {
    let cut = "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nabc";
    let origin = Origin::start(move |call| call.respond(cut).map(|()| Then::Close));
    let log = LoggingGateway::start(&single_route(&origin));
    let mut client = log.started.client();
    client.send("GET / HTTP/1.1\r\nHost: a.example\r\n\r\n");
    let _ = client.stream.read_to_end(&mut Vec::new());
    check(&log.entry(), &json(r#"{"status": 200, "abort": "upstream_cut", "reason": null, "bytesOut": 3}"#));
}

#[test]
fn tunnel_is_logged_at_its_end_with_bytes_both_ways() {
    const SWITCH: &str =
        "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n";
    let origin = Origin::start(|call| {
        call.respond(SWITCH)?;
        let data = call.wire.take(4)?;
        call.wire.stream.write_all(&[&data[..], b"bye"].concat())?;
        Ok(Then::Hang)
    });
    let log = LoggingGateway::start(&single_route(&origin));
    let request =
        "GET /chat?x HTTP/1.1\r\nHost: a.example\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n";
    let open = || {
        let mut client = log.started.client();
        client.send(request);
        assert_eq!(client.head().unwrap().unwrap().status(), 101);
        client
    };
    let mut client = open();
    client.send("ping");
    assert_eq!(client.take(7).unwrap(), b"pingbye");
    assert_eq!(std::fs::read_to_string(log.file()).unwrap(), "", "the tunnel is open");
    client.stream.shutdown(Shutdown::Write).unwrap();
    client.rest();
    check(
        &log.entry(),
        &json(
            r#"{"method": "GET", "path": "/chat", "query": true, "status": 101, "abort": null, "bytesIn": 4,
                "bytesOut": 7, "ingress": "default/a", "service": "default/a:80"}"#,
        ),
    );
    // The gateway's exit closes and logs the second tunnel.
    let _open = open();
    let LoggingGateway { started, folder } = log;
    drop(started);
    let text = std::fs::read_to_string(folder.path().join("log")).unwrap();
    let last: Value = serde_json::from_str(text.lines().last().unwrap()).unwrap();
    check(&last, &json(r#"{"status": 101, "abort": "gateway_stopped", "bytesIn": 0}"#));
}

#[test]
fn template_entry_has_tls_and_the_trusted_proxy_fields() {
    let (origin, certificate) = (Origin::named("a"), Certificate::new("a.example"));
    let yaml = ingress("a").host("a.example").path("/", "a").tls("a.example", "cert")
        + certificate.secret("cert")
        + service("a").endpoints(&[origin.address]);
    let log = LoggingGateway::with(&yaml, |settings| {
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
    until("the entry is written", || std::fs::read_to_string(log.file()).unwrap().ends_with('\n'));
    assert_eq!(
        std::fs::read_to_string(log.file()).unwrap(),
        "192.0.2.7 given https 1.3 \"GET a.example/x\" 200 -\n"
    );
}

#[test]
fn sample_rate_zero_keeps_failures_and_aborts() {
    let origin = Origin::start(|call| match call.request.target() {
        "/500" => call.respond("HTTP/1.1 500 Oh\r\nContent-Length: 0\r\n\r\n").map(|()| Then::Keep),
        "/cut" => call.respond("HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n").map(|()| Then::Close),
        _ => call.respond(ok("a")).map(|()| Then::Keep),
    });
    let log = LoggingGateway::with(&single_route(&origin), |settings| {
        settings.access_log.sample_rate = "0.0".parse().unwrap()
    });
    let mut client = log.started.client();
    for (target, status) in [("/", 200), ("/500", 500), ("/", 200)] {
        assert_eq!(client.get("a.example", target).status(), status);
    }
    assert_eq!(log.started.get("b.example", "/").status(), 404);
    let mut unfinished = log.started.client();
    unfinished.send("GET");
    unfinished.stream.shutdown(Shutdown::Write).unwrap();
    unfinished.rest();
    let metrics = log.started.admin("/metrics").1;
    assert!(metrics.contains("gateway_aborts_total{reason=\"head_unfinished\"} 1"), "{metrics}");
    client.send("GET /cut HTTP/1.1\r\nHost: a.example\r\n\r\n");
    let _ = client.stream.read_to_end(&mut Vec::new());
    let entries = log.entries(2);
    check(&entries[0], &json(r#"{"path": "/500", "status": 500}"#));
    check(&entries[1], &json(r#"{"path": "/cut", "abort": "upstream_cut"}"#));
}

#[test]
fn moved_log_file_is_reopened_without_loss() {
    let origin = Origin::named("a");
    let log = LoggingGateway::start(&single_route(&origin));
    let mut client = log.started.client();
    let mut requests = 0;
    let mut send = || {
        client.get("a.example", "/");
        requests += 1;
    };
    send();
    log.entries(1);
    let old = log.folder.path().join("log.1");
    std::fs::rename(log.file(), &old).unwrap();
    until("the new file exists", || {
        send();
        log.file().exists()
    });
    send();
    let count = |path: &PathBuf| std::fs::read_to_string(path).unwrap_or_default().lines().count();
    until("both files together have all entries", || count(&old) + count(&log.file()) >= requests);
    assert!(count(&log.file()) > 0);
    assert_eq!(count(&old) + count(&log.file()), requests);
}

/// Starts a gateway whose access log is a pipe, which is full after 64 KiB. Returns the unread end as well.
fn with_blocked_log(origin: &Origin) -> (TestGateway, PipeReader) {
    let (reader, writer) = std::io::pipe().unwrap();
    let mut settings = Settings::default();
    settings.access_log.destination =
        Destination::File(format!("/proc/self/fd/{}", writer.as_raw_fd()).into());
    let started = TestGateway::with(&single_route(origin), settings);
    // The gateway has opened the pipe.
    drop(writer);
    (started, reader)
}

#[test]
fn blocked_log_stalls_no_request_and_drops_are_counted() {
    let origin = Origin::named("a");
    let (started, mut reader) = with_blocked_log(&origin);
    // An entry of more than 4 KB: the path has the maximum length, and each control character of two bytes becomes six.
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
        assert!(requests < 5000, "the queue holds more than 4 MiB");
    }
    // The reader gets complete entries, and each request is either logged or counted as dropped.
    let received = Arc::new(Mutex::new(Vec::new()));
    let collected = Arc::clone(&received);
    let reading = std::thread::spawn(move || {
        let mut piece = vec![0; 64 << 10];
        while let Ok(read @ 1..) = reader.read(&mut piece) {
            collected.lock().unwrap().extend_from_slice(&piece[..read]);
        }
    });
    until("the log has the newest entries", || {
        client.get("a.example", "/last");
        requests += 1;
        let received = received.lock().unwrap();
        received[received.len().saturating_sub(1000)..].windows(5).any(|text| text == b"/last")
    });
    let dropped = dropped();
    drop(started);
    reading.join().unwrap();
    let text = String::from_utf8(std::mem::take(&mut *received.lock().unwrap())).unwrap();
    let entries: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(entries.len() as u64 + dropped, requests);
}

#[test]
fn blocked_log_does_not_delay_the_exit() {
    let origin = Origin::named("a");
    let (started, reader) = with_blocked_log(&origin);
    let mut client = started.client();
    let agent = "\u{fc}".repeat(500);
    for _ in 0..200 {
        client.send(format!("GET / HTTP/1.1\r\nHost: a.example\r\nUser-Agent: {agent}\r\n\r\n"));
        assert_eq!(client.response().status(), 200);
    }
    drop(client);
    let began = Instant::now();
    drop(started);
    assert!(began.elapsed() < Duration::from_secs(5), "{:?}", began.elapsed());
    drop(reader);
}
