//! A small HTTP/1.1 client over anything that reads and writes, and a load that counts what fails.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// How long an answer may take.
const IO_TIMEOUT: Duration = Duration::from_secs(20);

/// How long an answer may take that has nothing to wait for: milliseconds on an idle machine, with a margin for one
/// whose cores are shared with an API server that starts. It is less than any deadline of the gateway's for an endpoint
/// that does not answer, so nobody waits for one of those unnoticed.
pub(crate) const MAX_LATENCY: Duration = Duration::from_secs(2);

/// Between two requests of one load thread: 200 a second leave two cores to all others.
const REQUEST_INTERVAL: Duration = Duration::from_millis(5);

#[derive(Debug)]
pub(crate) struct Response {
    pub(crate) status: u16,
    pub(crate) body: String,
}

impl Response {
    pub(crate) fn is(&self, status: u16, body: &str) -> bool {
        self.status == status && self.body == body
    }
}

/// One connection.
pub(crate) struct HttpClient<S> {
    pub(crate) stream: S,
    read: Vec<u8>,
}

/// One request on a connection of its own.
pub(crate) fn fetch(address: SocketAddr, host: &str, path: &str) -> io::Result<Response> {
    HttpClient::connect(address)?.get(host, path)
}

impl HttpClient<TcpStream> {
    pub(crate) fn connect(address: SocketAddr) -> io::Result<Self> {
        let stream = TcpStream::connect_timeout(&address, IO_TIMEOUT)?;
        stream.set_read_timeout(Some(IO_TIMEOUT))?;
        stream.set_nodelay(true)?;
        Ok(Self::new(stream))
    }
}

impl<S: Read + Write> HttpClient<S> {
    pub(crate) fn new(stream: S) -> Self {
        Self { stream, read: Vec::new() }
    }

    pub(crate) fn get(&mut self, host: &str, path: &str) -> io::Result<Response> {
        self.send(&format!("GET {path} HTTP/1.1\r\nhost: {host}\r\n\r\n"))
    }

    /// A POST with a body of so many bytes.
    pub(crate) fn post(&mut self, host: &str, path: &str, body: &str) -> io::Result<Response> {
        let length = body.len();
        self.send(&format!("POST {path} HTTP/1.1\r\nhost: {host}\r\ncontent-length: {length}\r\n\r\n{body}"))
    }

    fn send(&mut self, request: &str) -> io::Result<Response> {
        self.stream.write_all(request.as_bytes())?;
        let head = loop {
            if let Some(end) = self.read.windows(4).position(|four| four == b"\r\n\r\n") {
                break self.read.drain(..end + 4).collect::<Vec<u8>>();
            }
            self.fill()?;
        };
        let head = String::from_utf8_lossy(&head).to_lowercase();
        let malformed = || io::Error::other(format!("not understood: {head}"));
        let status = head.split(' ').nth(1).and_then(|status| status.parse().ok()).ok_or_else(malformed)?;
        let length = head.lines().find_map(|line| line.strip_prefix("content-length:"));
        let length: usize = length.and_then(|length| length.trim().parse().ok()).ok_or_else(malformed)?;
        while self.read.len() < length {
            self.fill()?;
        }
        let body = self.read.drain(..length).collect();
        Ok(Response { status, body: String::from_utf8(body).map_err(io::Error::other)? })
    }

    fn fill(&mut self) -> io::Result<()> {
        let mut buffer = [0; 4096];
        let read = self.stream.read(&mut buffer)?;
        if read == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        self.read.extend_from_slice(&buffer[..read]);
        Ok(())
    }
}

/// Requests without a break until it is ended: on one kept connection, opened anew after a failure.
pub(crate) struct LoadGenerator {
    stop: Arc<AtomicBool>,
    succeeded: Arc<AtomicU64>,
    thread: Option<JoinHandle<LoadReport>>,
}

/// What a load saw.
#[derive(Debug, Default)]
pub(crate) struct LoadReport {
    pub(crate) succeeded: u64,
    pub(crate) failed: u64,
    /// The first failures, with the time since the load began.
    pub(crate) first_failures: Vec<String>,
    pub(crate) slowest: Duration,
}

impl LoadGenerator {
    /// Anything but a 200 is a failure.
    pub(crate) fn start(address: SocketAddr, host: &str) -> Self {
        let (stop, host) = (Arc::new(AtomicBool::new(false)), host.to_owned());
        let stopped = Arc::clone(&stop);
        let succeeded = Arc::<AtomicU64>::default();
        let counted = Arc::clone(&succeeded);
        let thread = std::thread::spawn(move || {
            let (began, mut report, mut client) = (Instant::now(), LoadReport::default(), None);
            while !stopped.load(Ordering::Relaxed) {
                let asked = Instant::now();
                let response = send_once(&mut client, address, &host);
                report.slowest = report.slowest.max(asked.elapsed());
                match response {
                    Ok(response) if response.status == 200 => {
                        report.succeeded += 1;
                        counted.store(report.succeeded, Ordering::Relaxed);
                    }
                    response => {
                        client = None;
                        report.failed += 1;
                        if report.first_failures.len() < 5 {
                            report.first_failures.push(format!("{:?}: {response:?}", began.elapsed()));
                        }
                    }
                }
                std::thread::sleep(REQUEST_INTERVAL);
            }
            report
        });
        Self { stop, succeeded, thread: Some(thread) }
    }

    /// How many requests were answered so far.
    pub(crate) fn succeeded(&self) -> u64 {
        self.succeeded.load(Ordering::Relaxed)
    }

    /// Ends it.
    pub(crate) fn finish(mut self) -> LoadReport {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.take().unwrap().join().unwrap()
    }

    /// Ends it; not one request may have failed, or have hung.
    pub(crate) fn finish_without_failure(self) -> LoadReport {
        self.finish_without_failure_within(MAX_LATENCY)
    }

    /// The same with another limit for the slowest answer.
    pub(crate) fn finish_without_failure_within(self, limit: Duration) -> LoadReport {
        let report = self.finish();
        assert_eq!(report.failed, 0, "{report:?}");
        assert!(report.slowest < limit, "a request hung: {report:?}");
        assert!(report.succeeded > 0, "{report:?}");
        report
    }
}

impl Drop for LoadGenerator {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
    }
}

fn send_once(
    client: &mut Option<HttpClient<TcpStream>>,
    address: SocketAddr,
    host: &str,
) -> io::Result<Response> {
    let client = match client {
        Some(client) => client,
        None => client.insert(HttpClient::connect(address)?),
    };
    client.get(host, "/")
}
