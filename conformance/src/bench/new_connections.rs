//! Load by new connections: one small request on each, or a full TLS handshake only.
//!
//! Threads of this process generate it, pinned to the load's core. No tool performs handshakes without requests, and
//! the result of every connection is checked.

use std::io::{Read as _, Write as _};
use std::net::Shutdown;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};

use super::tls::TlsClient;
use super::wrk::LoadSummary;
use super::{backend, http};

/// Concurrent connections, enough to keep the proxy busy.
pub(crate) const THREADS: u16 = 16;

/// The action on each connection.
#[derive(Clone, Copy)]
pub(crate) enum Action {
    /// Send one request and read the response to its end.
    Request,
    /// Perform a full handshake and wait until the peer has completed it.
    Handshake,
}

/// Repeats an action on new connections to a port. Failures become problems.
pub(crate) fn run(action: Action, port: u16, seconds: f64, client: &TlsClient) -> LoadSummary {
    let end = Instant::now() + Duration::from_secs_f64(seconds);
    let mut summary = LoadSummary::default();
    std::thread::scope(|scope| {
        let work = || repeat_until(end, || connection(action, port, client));
        let threads: Vec<_> = (0..THREADS).map(|_| scope.spawn(work)).collect();
        for thread in threads {
            match thread.join() {
                Ok((done, problem)) => {
                    summary.requests += done;
                    summary.problems.extend(problem);
                }
                Err(_) => summary.problems.push("a thread of the load panicked".to_owned()),
            }
        }
    });
    summary.problems.sort();
    summary.problems.dedup();
    summary
}

/// Repeats an action until the deadline or the first failure. Returns the number of successes and the failure.
fn repeat_until(end: Instant, action: impl Fn() -> Result<()>) -> (u64, Option<String>) {
    let mut done = 0;
    while Instant::now() < end {
        if let Err(error) = action() {
            return (done, Some(format!("a new connection failed: {error:#}")));
        }
        done += 1;
    }
    (done, None)
}

fn connection(action: Action, port: u16, client: &TlsClient) -> Result<()> {
    let mut stream = http::connect(port)?;
    match action {
        Action::Request => {
            let response = http::get_over(&mut stream, "/", "")?;
            ensure!(response.status == 200, "status {}", response.status);
            ensure!(response.body == backend::BODY, "the body is not the backend's");
        }
        Action::Handshake => {
            let mut tls = client.handshake(stream)?;
            tls.conn.send_close_notify();
            tls.flush()?;
            tls.sock.shutdown(Shutdown::Write)?;
            // The peer sends session tickets after it has verified our last message.
            let mut after = Vec::new();
            tls.sock.read_to_end(&mut after)?;
            ensure!(!after.is_empty(), "the peer closed the connection without a session ticket");
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;
    use std::time::{Duration, Instant};

    use super::repeat_until;

    #[test]
    fn failure_ends_the_load_and_is_reported() {
        let left = Cell::new(3);
        let action = || {
            left.set(left.get() - 1);
            anyhow::ensure!(left.get() > 0, "refused");
            Ok(())
        };
        let (done, problem) = repeat_until(Instant::now() + Duration::from_secs(600), action);
        assert_eq!((done, problem.as_deref()), (2, Some("a new connection failed: refused")));
    }
}
