//! SIGTERM and SIGINT: how the process stops.

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

/// Receives SIGTERM and SIGINT.
pub struct Signals {
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    /// Starts to receive both signals, which then no longer end the process. Must be called inside a runtime.
    ///
    /// # Errors
    /// Returns an error if the system does not allow the handlers.
    pub fn watch() -> io::Result<Self> {
        let (terminate, interrupt) = (SignalKind::terminate(), SignalKind::interrupt());
        Ok(Self { terminate: signal(terminate)?, interrupt: signal(interrupt)? })
    }

    /// Waits for the next signal.
    ///
    /// # Cancellation
    /// Safe: a signal that arrives later is kept for the next call.
    pub async fn next(&mut self) -> Stop {
        tokio::select! {
            _ = self.terminate.recv() => Stop::Gently,
            _ = self.interrupt.recv() => Stop::Now,
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
