//! Polls the gateway on open connections: until the first 200 of a host, and continuously for the live route.

use std::net::TcpStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Result, anyhow, ensure};

use super::writes::LIVE_HOST;
use crate::bench::http;

/// Interval between requests for a host that is not served yet.
const POLL_INTERVAL: Duration = Duration::from_millis(1);

/// Interval between requests for the live route: 200 per second.
const REQUEST_INTERVAL: Duration = Duration::from_millis(5);

/// An open connection.
pub(super) struct KeepAliveClient(TcpStream);

impl KeepAliveClient {
    pub(super) fn connect(port: u16) -> Result<Self> {
        Ok(Self(http::connect(port)?))
    }

    /// Polls a host every millisecond until the response has this status.
    pub(super) fn wait_for(&mut self, host: &str, status: u16, limit: Instant) -> Result<()> {
        while http::status(&mut self.0, host)? != status {
            ensure!(Instant::now() < limit, "{host} does not respond with {status}");
            std::thread::park_timeout(POLL_INTERVAL);
        }
        Ok(())
    }
}

/// Result of the load on the live route.
pub(super) struct LiveRouteReport {
    pub(super) succeeded: u64,
    pub(super) failed: u64,
    pub(super) slowest: Duration,
}

/// Load on the live route, on one connection, until it is stopped.
pub(super) struct LiveRouteLoad {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<Result<LiveRouteReport>>,
}

impl LiveRouteLoad {
    pub(super) fn start(port: u16) -> Result<Self> {
        let mut stream = http::connect(port)?;
        let stop = Arc::<AtomicBool>::default();
        let stopped = Arc::clone(&stop);
        let thread = std::thread::spawn(move || {
            let mut seen = LiveRouteReport { succeeded: 0, failed: 0, slowest: Duration::ZERO };
            while !stopped.load(Ordering::Relaxed) {
                let sent_at = Instant::now();
                match http::status(&mut stream, LIVE_HOST) {
                    Ok(200) => seen.succeeded += 1,
                    Ok(_) => seen.failed += 1,
                    Err(_) => {
                        seen.failed += 1;
                        stream = http::connect(port)?;
                    }
                }
                seen.slowest = seen.slowest.max(sent_at.elapsed());
                std::thread::park_timeout(REQUEST_INTERVAL);
            }
            Ok(seen)
        });
        Ok(Self { stop, thread })
    }

    pub(super) fn stop(self) -> Result<LiveRouteReport> {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.join().map_err(|_| anyhow!("the load on the live route panicked"))?
    }
}
