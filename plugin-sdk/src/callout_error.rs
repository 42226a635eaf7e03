//! Why a callout has no response.

use std::fmt;
use std::time::Duration;

use crate::clock;
use crate::host::HostError;
use crate::host::HostResult;

/// Why a callout has no response.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum CalloutError {
    /// The host did not send it: the upstream is unknown or not allowed, or too many callouts wait.
    Refused(HostError),
    /// There was no response within the timeout.
    Timeout,
    /// No connection, or it broke.
    Failed,
    /// A gRPC call ended without a message: its status and the reason.
    Status(u32, String),
}

impl CalloutError {
    /// Returns the error of a callout without an answer. The ABI has no reason, but the time passed.
    pub(crate) fn without_answer(started: HostResult<Duration>, timeout: Duration) -> Self {
        match (started, clock::now()) {
            (Ok(started), Ok(now)) if now.saturating_sub(started) >= timeout => Self::Timeout,
            _ => Self::Failed,
        }
    }
}

impl fmt::Display for CalloutError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Refused(error) => error.fmt(f),
            Self::Timeout => f.write_str("no response within the timeout"),
            Self::Failed => f.write_str("the connection failed"),
            Self::Status(status, message) => write!(f, "gRPC status {status}: {message}"),
        }
    }
}

impl std::error::Error for CalloutError {}
