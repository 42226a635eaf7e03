//! What one request has met on its way to an endpoint, and whether it may try again.
//!
//! Not here: which endpoint is next (`balance`).

use std::net::SocketAddr;
use std::time::Duration;

use api::RetryOn;

use super::balance::FailedAttempt;
use super::policy::{UpstreamPolicy, effective_timeout};
use super::pool::EndpointList;
use super::{ConnectError, PooledConnection, Reuse};

/// Whether the whole of a request can be sent a second time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Resend {
    /// Its method allows it, and its body is empty or still held.
    Possible,
    /// It must not reach an endpoint twice.
    Forbidden,
}

/// The tries of one request. Making one allocates nothing.
#[derive(Debug)]
pub struct RetryState {
    pub(super) policy: UpstreamPolicy,
    pub(super) reuse: Reuse,
    pub(super) failed_attempts: Vec<FailedAttempt>,
    /// Time left for getting a connection.
    pub(super) connect_time_left: Duration,
    /// Whose turn it was at the first try. Were a further try a turn of its own, an endpoint that loses every
    /// request would get each first try, where there are two.
    pub(super) turn: Option<usize>,
    /// Further tries.
    retries_left: u8,
}

impl RetryState {
    /// Begins with the first try. `replayable` is what is sure before anything of the request is sent.
    pub fn new(policy: UpstreamPolicy, replayable: Resend) -> Self {
        let survives = policy.retries_on(RetryOn::StaleConnection) || policy.retries_on(RetryOn::Reset);
        let reuse = if replayable == Resend::Possible && survives { Reuse::Any } else { Reuse::Recent };
        let connect_time_left = effective_timeout(policy.connect.total);
        Self {
            policy,
            reuse,
            failed_attempts: Vec::new(),
            connect_time_left,
            turn: None,
            retries_left: policy.max_retries,
        }
    }

    /// How often an endpoint was asked in vain so far, and another one was to be asked or none was left.
    pub fn failed_count(&self) -> u32 {
        u32::try_from(self.failed_attempts.len()).unwrap_or(u32::MAX)
    }

    /// The last one of those.
    pub fn last_failed(&self) -> Option<SocketAddr> {
        self.failed_attempts
            .last()
            .map(|(FailedAttempt::Unreachable(address) | FailedAttempt::Disconnected(address))| *address)
    }

    /// What holds for the request.
    pub fn policy(&self) -> &UpstreamPolicy {
        &self.policy
    }

    /// An endpoint gave no connection: nothing was sent, so any request may try the next one.
    ///
    /// # Errors
    /// The same error, if there is no further try, no endpoint or no time.
    pub(super) fn on_connect_failure(
        &mut self,
        address: SocketAddr,
        endpoints: &EndpointList,
        error: ConnectError,
    ) -> Result<(), ConnectError> {
        tracing::debug!(endpoint = %address, %error, "connecting failed");
        self.failed_attempts.push(FailedAttempt::Unreachable(address));
        let is_failed = |address| self.failed_attempts.contains(&FailedAttempt::Unreachable(address));
        let is_over =
            self.connect_time_left.is_zero() || endpoints.iter().all(|member| is_failed(member.address));
        if is_over || !self.policy.retries_on(RetryOn::ConnectFailure) {
            return Err(error);
        }
        self.retries_left = self.retries_left.checked_sub(1).ok_or(error)?;
        Ok(())
    }

    /// Whether losing this connection before a byte of the answer would bring a further try, if the request can be
    /// sent again.
    pub fn can_retry_disconnect(&self, opened: &PooledConnection) -> bool {
        let is_retried = self.policy.retries_on(RetryOn::Reset)
            || (opened.is_reused && self.policy.retries_on(RetryOn::StaleConnection));
        is_retried && self.retries_left > 0
    }

    /// A connection was lost before a byte of the answer: whether the request is to be sent again. It goes over a
    /// new connection then, and elsewhere if it can.
    pub fn on_disconnect(&mut self, opened: &PooledConnection, resend: Resend) -> bool {
        if !self.can_retry_disconnect(opened) || resend == Resend::Forbidden {
            return false;
        }
        self.retries_left = self.retries_left.saturating_sub(1);
        self.reuse = Reuse::Never;
        self.failed_attempts.push(FailedAttempt::Disconnected(opened.address()));
        true
    }
}
