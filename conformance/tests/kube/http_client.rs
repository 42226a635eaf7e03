//! HTTP/1.1 requests, and a load generator that counts failures.

use std::io;
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use conformance::http::{HttpClient, Response};

use crate::cluster::wait_until_within;
use crate::http2_client::Http2Client;

/// Maximum time to connect, and to read a response.
const IO_TIMEOUT: Duration = Duration::from_secs(20);

/// Maximum latency of a response from a working endpoint. It takes milliseconds on an idle machine; the margin is for
/// cores shared with a starting API server. It is below every timeout of the gateway for an unresponsive endpoint, so
/// that the expiry of such a timeout fails the test.
pub(crate) const MAX_LATENCY: Duration = Duration::from_secs(2);

/// The connections of a load generator.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum LoadMode {
    /// One HTTP/1.1 connection, until the gateway or a failure closes it.
    KeepAlive,
    /// A new HTTP/1.1 connection for each request.
    NewConnections,
    /// One HTTP/2 connection with prior knowledge, until the gateway or a failure closes it.
    Http2,
}

/// Time for a load generator to send a number of requests. A rollout takes the time of several drains.
const LOAD_TIMEOUT: Duration = Duration::from_secs(120);

/// Pause between two requests of a load thread. 200 requests/s leave most of two cores to other processes.
const REQUEST_INTERVAL: Duration = Duration::from_millis(5);

/// Opens a connection.
pub(crate) fn connect(address: SocketAddr) -> io::Result<HttpClient<TcpStream>> {
    HttpClient::connect(address, IO_TIMEOUT)
}

/// Sends one GET on a new connection.
pub(crate) fn fetch(address: SocketAddr, host: &str, path: &str) -> io::Result<Response> {
    connect(address)?.get(host, path)
}

/// A thread that sends requests one after another until it is stopped. It repeats none, and reconnects after a failure.
pub(crate) struct LoadGenerator {
    stop: Arc<AtomicBool>,
    succeeded: Arc<AtomicU64>,
    thread: Option<JoinHandle<LoadReport>>,
}

/// The counts of a load generator.
#[derive(Debug, Default)]
pub(crate) struct LoadReport {
    pub(crate) succeeded: u64,
    pub(crate) failed: u64,
    /// The first five failures, with the time since the start.
    pub(crate) first_failures: Vec<String>,
    pub(crate) slowest: Duration,
}

impl LoadGenerator {
    /// Starts to send requests over a keep-alive connection. A response other than 200 is a failure.
    pub(crate) fn start(address: SocketAddr, host: &str) -> Self {
        Self::start_mode(address, host, LoadMode::KeepAlive)
    }

    /// Starts to send requests. A response other than 200 is a failure.
    pub(crate) fn start_mode(address: SocketAddr, host: &str, mode: LoadMode) -> Self {
        let (stop, host) = (Arc::new(AtomicBool::new(false)), host.to_owned());
        let stopped = Arc::clone(&stop);
        let succeeded = Arc::<AtomicU64>::default();
        let counted = Arc::clone(&succeeded);
        let thread = std::thread::spawn(move || {
            let (started_at, mut report) = (Instant::now(), LoadReport::default());
            let mut client = LoadClient { address, host, mode, http1: None, http2: None };
            while !stopped.load(Ordering::Relaxed) {
                let sent_at = Instant::now();
                let status = client.send();
                report.slowest = report.slowest.max(sent_at.elapsed());
                match status {
                    Ok(200) => {
                        report.succeeded += 1;
                        counted.store(report.succeeded, Ordering::Relaxed);
                    }
                    status => {
                        client.disconnect();
                        report.failed += 1;
                        if report.first_failures.len() < 5 {
                            report.first_failures.push(format!("{:?}: {status:?}", started_at.elapsed()));
                        }
                    }
                }
                std::thread::sleep(REQUEST_INTERVAL);
            }
            report
        });
        Self { stop, succeeded, thread: Some(thread) }
    }

    /// Returns the number of 200 responses so far.
    pub(crate) fn succeeded(&self) -> u64 {
        self.succeeded.load(Ordering::Relaxed)
    }

    /// Stops the thread and returns its counts.
    pub(crate) fn finish(mut self) -> LoadReport {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.take().unwrap().join().unwrap()
    }

    /// Waits until this number of requests has succeeded.
    pub(crate) fn wait_for(&self, count: u64) {
        wait_until_within(LOAD_TIMEOUT, "the load goes on", || self.succeeded() >= count);
    }

    /// Stops the thread. Panics if a request failed or took longer than [`MAX_LATENCY`].
    pub(crate) fn finish_without_failure(self) -> LoadReport {
        self.finish_without_failure_within(MAX_LATENCY)
    }

    /// Stops the thread. Panics if a request failed or took longer than `limit`.
    pub(crate) fn finish_without_failure_within(self, limit: Duration) -> LoadReport {
        let report = self.finish();
        assert_eq!(report.failed, 0, "{report:?}");
        assert!(report.slowest < limit, "a request was too slow: {report:?}");
        assert!(report.succeeded > 0, "{report:?}");
        report
    }
}

impl Drop for LoadGenerator {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
    }
}

/// The connection of a load generator.
struct LoadClient {
    address: SocketAddr,
    host: String,
    mode: LoadMode,
    http1: Option<HttpClient<TcpStream>>,
    http2: Option<Http2Client>,
}

impl LoadClient {
    /// Sends one request and returns the status.
    fn send(&mut self) -> io::Result<u16> {
        if self.mode == LoadMode::Http2 {
            return self.send_http2();
        }
        let client = match &mut self.http1 {
            Some(client) => client,
            None => self.http1.insert(connect(self.address)?),
        };
        let response = client.get(&self.host, "/")?;
        if self.mode == LoadMode::NewConnections || response.field("connection") == Some("close") {
            self.http1 = None;
        }
        Ok(response.status)
    }

    fn send_http2(&mut self) -> io::Result<u16> {
        if self.http2.as_ref().is_none_or(Http2Client::is_closing) {
            self.http2 = Some(Http2Client::connect(self.address, IO_TIMEOUT)?);
        }
        self.http2
            .as_mut()
            .map_or_else(|| Err(io::ErrorKind::NotConnected.into()), |client| client.get(&self.host))
    }

    fn disconnect(&mut self) {
        self.http1 = None;
        self.http2 = None;
    }
}
