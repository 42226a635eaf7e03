//! The failed attempts of one request, and whether it may be attempted again.
//!
//! Not here: the choice of the next endpoint (`balance`).

use std::net::SocketAddr;
use std::time::Duration;

use api::RetryOn;

use super::balance::FailedAttempt;
use super::pool::EndpointList;
use super::{ConnectError, PooledConnection, Reuse};
use crate::data::client_network::ClientNetwork;
use crate::plan::{UpstreamPolicy, effective_timeout};

/// Whether a request can be sent a second time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Resend {
    /// Its method allows it, and its body is empty or in the replay buffer.
    Possible,
    /// It must not be sent twice, or part of its body is gone.
    Forbidden,
}

/// The retry state of one request. Creating one allocates nothing.
#[derive(Debug)]
pub struct RetryState {
    pub(super) policy: UpstreamPolicy,
    /// The address whose share of the Service the request takes; `None` for the gateway's own requests.
    pub(super) client: Option<ClientNetwork>,
    /// Whether the request asks for a tunnel.
    pub(super) is_upgrade: bool,
    pub(super) reuse: Reuse,
    pub(super) failed_attempts: Vec<FailedAttempt>,
    /// Time left for waiting and connecting.
    pub(super) connect_time_left: Duration,
    /// The turn of the first attempt, which all attempts share. If a retry took a turn, an endpoint that loses every
    /// request would be first for all requests where there are two endpoints.
    pub(super) turn: Option<usize>,
    /// Attempts left after the current one.
    retries_left: u8,
}

impl RetryState {
    /// Creates the state before the first attempt. `replayable` is whether the whole request will be replayable,
    /// whatever its body contains.
    pub fn new(policy: UpstreamPolicy, replayable: Resend) -> Self {
        let retries_loss = policy.retries_on(RetryOn::StaleConnection) || policy.retries_on(RetryOn::Reset);
        let reuse = if replayable == Resend::Possible && retries_loss { Reuse::Any } else { Reuse::Recent };
        let connect_time_left = effective_timeout(policy.connect.total);
        Self {
            policy,
            client: None,
            is_upgrade: false,
            reuse,
            failed_attempts: Vec::new(),
            connect_time_left,
            turn: None,
            retries_left: policy.max_retries,
        }
    }

    /// Takes the request from the share of a client. `is_upgrade` is whether it asks for a tunnel.
    #[must_use]
    pub fn for_client(self, client: ClientNetwork, is_upgrade: bool) -> Self {
        Self { client: Some(client), is_upgrade, ..self }
    }

    /// Returns the number of failed attempts.
    pub fn failed_count(&self) -> u32 {
        u32::try_from(self.failed_attempts.len()).unwrap_or(u32::MAX)
    }

    /// Returns the endpoint of the last failed attempt.
    pub fn last_failed(&self) -> Option<SocketAddr> {
        self.failed_attempts
            .last()
            .map(|(FailedAttempt::Unreachable(address) | FailedAttempt::Disconnected(address))| *address)
    }

    /// Returns the policy of the request.
    pub fn policy(&self) -> &UpstreamPolicy {
        &self.policy
    }

    /// Records a failed connect. Any request may be attempted again, since nothing of it was sent.
    ///
    /// # Errors
    /// Returns `error` if no attempt, endpoint or time is left, or the policy forbids it.
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

    /// Returns true if a replayable request is attempted again when this connection is lost before the first response
    /// byte.
    pub fn can_retry_disconnect(&self, opened: &PooledConnection) -> bool {
        let is_retried = self.policy.retries_on(RetryOn::Reset)
            || (opened.is_reused && self.policy.retries_on(RetryOn::StaleConnection));
        is_retried && self.retries_left > 0
    }

    /// Records that a connection was lost before the first response byte. Returns true if the request must be sent
    /// again: over a new connection, and to another endpoint if there is one.
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
