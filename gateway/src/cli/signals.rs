//! SIGTERM and SIGINT stop the process, SIGHUP and SIGUSR1 reopen its logs.

use std::io;

use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::cli::process::Gateway;

/// How the process stops.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stop {
    /// SIGTERM: requests in flight may complete.
    Gently,
    /// SIGINT: all connections are closed at once.
    Now,
}

/// Receives SIGTERM, SIGINT, SIGHUP and SIGUSR1.
pub struct Signals {
    terminate: Signal,
    interrupt: Signal,
    hang_up: Signal,
    user: Signal,
}

impl Signals {
    /// Starts to receive the signals, which then no longer end the process. Must be called inside a runtime.
    ///
    /// # Errors
    /// Returns an error if the system does not allow the handlers.
    pub fn watch() -> io::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            hang_up: signal(SignalKind::hangup())?,
            user: signal(SignalKind::user_defined1())?,
        })
    }

    /// Waits for the next signal to stop. Calls `reopen_logs` for each SIGHUP and SIGUSR1 meanwhile: log rotation sends
    /// one of them.
    ///
    /// # Cancellation
    /// Safe: a signal that arrives later is kept for the next call.
    pub async fn next(&mut self, reopen_logs: impl Fn()) -> Stop {
        loop {
            tokio::select! {
                _ = self.terminate.recv() => return Stop::Gently,
                _ = self.interrupt.recv() => return Stop::Now,
                _ = self.hang_up.recv() => reopen_logs(),
                _ = self.user.recv() => reopen_logs(),
            }
        }
    }

    /// Stops the gateway. During a drain, a further SIGTERM changes nothing, because both a hook and the kubelet may send
    /// one. SIGINT ends the drain.
    pub fn stop_gateway(mut self, gateway: Gateway, stop: Stop) {
        match stop {
            Stop::Gently => gateway.drain_until(async move {
                self.interrupt.recv().await;
            }),
            Stop::Now => drop(gateway),
        }
    }
}
