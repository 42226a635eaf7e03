//! Interoperability with curl over http, https, HTTP/2 by ALPN and HTTP/2 with prior knowledge.

#![allow(clippy::unwrap_used, reason = "tests fail by panicking")]

#[path = "support/missing.rs"]
mod missing;
mod support;

use std::io::Write;
use std::process::Command;

use missing::is_missing;
use support::fixtures::{ingress, secret, service};
use support::{Certificate, Origin, TestGateway, Then, ok};

/// A gateway with two TLS hosts, each with its own Secret, and an origin that echoes what it received.
struct Site {
    gateway: TestGateway,
    origin: Origin,
}

impl Site {
    fn start() -> Self {
        let origin = Origin::start(|call| {
            call.read_body()?;
            let line = call.request.line.replace(" HTTP/1.1", "");
            let proto = call.request.field("x-forwarded-proto").unwrap_or("none").to_owned();
            let response = ok(&format!("{line} {proto} {}", call.request.body.len()));
            call.wire.stream.write_all(response.as_bytes()).map(|()| Then::Keep)
        });
        let (a, b) = (Certificate::new("a.example"), Certificate::new("b.example"));
        let yaml = ingress("a").host("a.example").path("/", "s").tls("a.example", "tls-a")
            + ingress("b").host("b.example").path("/", "s").tls("b.example", "tls-b")
            + ingress("c").host("c.example").path("/", "s")
            + service("s").endpoints(&[origin.address])
            + secret("tls-a", &a)
            + secret("tls-b", &b);
        let gateway = TestGateway::start(&yaml);
        std::fs::write(gateway.path("a.pem"), &a.pem).unwrap();
        Self { gateway, origin }
    }

    /// Runs curl, which connects to the gateway for any URL. Returns `VERSION STATUS BODY`.
    ///
    /// # Errors
    ///
    /// Returns the exit code of curl if it fails.
    fn curl(&self, arguments: &[&str], url: &str) -> Result<String, i32> {
        let gateway = &self.gateway.gateway;
        let address = if url.starts_with("https:") { gateway.https } else { gateway.http };
        let mut command = Command::new("curl");
        command.args(["--silent", "--show-error", "--max-time", "20", "--noproxy", "*"]);
        command.args(["--write-out", "\n%{http_version} %{http_code}"]);
        command.arg("--connect-to").arg(format!("::{}:{}", address.ip(), address.port()));
        let output = command.args(arguments).arg(url).output().unwrap();
        if !output.status.success() {
            return Err(output.status.code().unwrap());
        }
        let text = String::from_utf8(output.stdout).unwrap();
        let (body, outcome) = text.rsplit_once('\n').unwrap();
        Ok(format!("{outcome} {body}"))
    }
}

/// Exit code of curl for a certificate that is not trusted or names another host.
const NOT_TRUSTED: i32 = 60;

#[test]
fn curl_is_served_over_http_and_plaintext_http2() {
    if is_missing("curl", "curl over plaintext") {
        return;
    }
    let site = Site::start();
    let ok = |text: &str| Ok(text.to_owned());
    assert_eq!(site.curl(&[], "http://a.example/x?y"), ok("1.1 200 GET /x?y http 0"));
    assert_eq!(site.curl(&["--http1.0"], "http://a.example/"), ok("1.1 200 GET / http 0"));
    assert_eq!(site.curl(&["--http2-prior-knowledge"], "http://a.example/x"), ok("2 200 GET /x http 0"));
    // curl requests an upgrade to HTTP/2. The gateway responds over HTTP/1.1 instead.
    assert_eq!(site.curl(&["--http2"], "http://a.example/"), ok("1.1 200 GET / http 0"));
    let file = site.gateway.path("body");
    std::fs::write(&file, vec![b'x'; 3 << 20]).unwrap();
    let body = format!("@{}", file.display());
    // For a body of this size curl first sends `Expect: 100-continue`.
    assert_eq!(site.curl(&["--data-binary", &body], "http://a.example/"), ok("1.1 200 POST / http 3145728"));
    let chunked = ["--data-binary", &body, "-H", "Transfer-Encoding: chunked"];
    assert_eq!(site.curl(&chunked, "http://a.example/"), ok("1.1 200 POST / http 3145728"));
    let h2 = ["--http2-prior-knowledge", "--data-binary", &body];
    assert_eq!(site.curl(&h2, "http://a.example/"), ok("2 200 POST / http 3145728"));
    assert!(site.curl(&[], "http://unknown.example/").unwrap().starts_with("1.1 404 404 no_rule"));
    assert!(site.curl(&["--path-as-is"], "http://a.example/y/../x").unwrap().contains("GET /x"));
    assert_eq!(site.origin.connections(), 1);
    let head = ["--head", "--output", "/dev/null"];
    assert_eq!(site.curl(&head, "http://a.example/"), ok("1.1 200 "));
}

#[test]
fn curl_over_tls_gets_the_certificate_of_its_host() {
    if is_missing("curl", "curl over TLS") {
        return;
    }
    let site = Site::start();
    let ok = |text: &str| Ok(text.to_owned());
    let pem = site.gateway.path("a.pem").display().to_string();
    let trusting = |option: &'static str| vec!["--cacert", pem.as_str(), option];
    assert_eq!(site.curl(&trusting("--http1.1"), "https://a.example/x"), ok("1.1 200 GET /x https 0"));
    assert_eq!(site.curl(&trusting("--http2"), "https://a.example/x"), ok("2 200 GET /x https 0"));
    assert_eq!(site.curl(&trusting("--tlsv1.3"), "https://A.Example/"), ok("2 200 GET / https 0"));
    let tls12 = ["--cacert", &pem, "--tls-max", "1.2"];
    assert_eq!(site.curl(&tls12, "https://a.example/"), ok("2 200 GET / https 0"));
    // Host b has another certificate. The other two get the default certificate.
    for host in ["b.example", "c.example", "unknown.example"] {
        assert_eq!(site.curl(&["--cacert", &pem], &format!("https://{host}/")), Err(NOT_TRUSTED), "{host}");
    }
    assert_eq!(site.curl(&["--insecure"], "https://c.example/"), ok("2 200 GET / https 0"));
}
