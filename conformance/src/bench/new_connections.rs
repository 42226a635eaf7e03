//! Wrk by new connections: a small request on each, or a full TLS handshake and nothing else.
//!
//! Made by threads of this process, which is pinned to the load's core: no tool does handshakes without requests, and
//! here every connection's outcome is looked at. Not here: keep-alive.

use std::io::{Read as _, Write as _};
use std::net::Shutdown;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};

use super::tls::TlsClient;
use super::wrk::LoadSummary;
use super::{backend, http};

/// Connections at a time: enough that the proxy never waits for this side.
pub(crate) const THREADS: u16 = 16;

/// What each connection does.
#[derive(Clone, Copy)]
pub(crate) enum Action {
    /// Asks once and reads to the end.
    Request,
    /// Does a full handshake and waits until the peer has finished its part.
    Handshake,
}

/// Does it over and over on a port for some seconds. Connections that fail are problems.
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

/// How often it was done until the end or the first failure, and what that was.
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
            let answer = http::get_over(&mut stream, "/", "")?;
            ensure!(answer.status == 200, "status {}", answer.status);
            ensure!(answer.body == backend::BODY, "another body than the backend's");
        }
        Action::Handshake => {
            let mut tls = client.handshake(stream)?;
            tls.conn.send_close_notify();
            tls.flush()?;
            tls.sock.shutdown(Shutdown::Write)?;
            // Session tickets come when the peer has verified our last message: it has done its part then.
            let mut after = Vec::new();
            tls.sock.read_to_end(&mut after)?;
            ensure!(!after.is_empty(), "the peer left without sending a session ticket");
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
    fn a_failure_ends_the_load_and_is_told() {
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
