//! HTTP/1.1 requests, and a load generator that counts failures.

use std::io;
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use conformance::http::{HttpClient, Response};

/// Maximum time to connect, and to read a response.
const IO_TIMEOUT: Duration = Duration::from_secs(20);

/// Maximum latency of a response from a working endpoint. It takes milliseconds on an idle machine; the margin is for
/// cores shared with a starting API server. It is below every timeout of the gateway for an unresponsive endpoint, so
/// that the expiry of such a timeout fails the test.
pub(crate) const MAX_LATENCY: Duration = Duration::from_secs(2);

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

/// A thread that sends requests on one keep-alive connection until it is stopped. Reconnects after a failure.
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
    /// Starts to send requests. A response other than 200 is a failure.
    pub(crate) fn start(address: SocketAddr, host: &str) -> Self {
        let (stop, host) = (Arc::new(AtomicBool::new(false)), host.to_owned());
        let stopped = Arc::clone(&stop);
        let succeeded = Arc::<AtomicU64>::default();
        let counted = Arc::clone(&succeeded);
        let thread = std::thread::spawn(move || {
            let (started_at, mut report, mut client) = (Instant::now(), LoadReport::default(), None);
            while !stopped.load(Ordering::Relaxed) {
                let sent_at = Instant::now();
                let response = send_once(&mut client, address, &host);
                report.slowest = report.slowest.max(sent_at.elapsed());
                match response {
                    Ok(response) if response.status == 200 => {
                        report.succeeded += 1;
                        counted.store(report.succeeded, Ordering::Relaxed);
                    }
                    response => {
                        client = None;
                        report.failed += 1;
                        if report.first_failures.len() < 5 {
                            report.first_failures.push(format!("{:?}: {response:?}", started_at.elapsed()));
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

fn send_once(
    client: &mut Option<HttpClient<TcpStream>>,
    address: SocketAddr,
    host: &str,
) -> io::Result<Response> {
    let client = match client {
        Some(client) => client,
        None => client.insert(connect(address)?),
    };
    client.get(host, "/")
}
