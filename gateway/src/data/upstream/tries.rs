//! What one request has met on its way to an endpoint, and whether it may try again.
//!
//! Not here: which endpoint is next (`balance`).

use std::net::SocketAddr;
use std::time::Duration;

use api::RetryOn;

use super::balance::Met;
use super::terms::{Terms, limit};
use super::view::Members;
use super::{OpenError, Opened, Reuse};

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
pub struct Tries {
    pub(super) terms: Terms,
    pub(super) reuse: Reuse,
    pub(super) met: Vec<Met>,
    /// Time left for getting a connection.
    pub(super) connect_left: Duration,
    /// Whose turn it was at the first try. Were a further try a turn of its own, an endpoint that loses every
    /// request would get each first try, where there are two.
    pub(super) turn: Option<usize>,
    /// Further tries.
    left: u8,
}

impl Tries {
    /// Begins with the first try. `prospect` is what is sure before anything of the request is sent.
    pub fn begin(terms: Terms, prospect: Resend) -> Self {
        let survives = terms.retries_on(RetryOn::StaleConnection) || terms.retries_on(RetryOn::Reset);
        let reuse = if prospect == Resend::Possible && survives { Reuse::Any } else { Reuse::Recent };
        let connect_left = limit(terms.connect.total);
        Self { terms, reuse, met: Vec::new(), connect_left, turn: None, left: terms.attempts }
    }

    /// How often an endpoint was asked in vain so far, and another one was to be asked or none was left.
    pub fn failed(&self) -> u32 {
        u32::try_from(self.met.len()).unwrap_or(u32::MAX)
    }

    /// The last one of those.
    pub fn last(&self) -> Option<SocketAddr> {
        self.met.last().map(|(Met::Unreachable(address) | Met::Lost(address))| *address)
    }

    /// What holds for the request.
    pub fn terms(&self) -> &Terms {
        &self.terms
    }

    /// An endpoint gave no connection: nothing was sent, so any request may try the next one.
    ///
    /// # Errors
    /// The same error, if there is no further try, no endpoint or no time.
    pub(super) fn unreachable(
        &mut self,
        address: SocketAddr,
        members: &Members,
        error: OpenError,
    ) -> Result<(), OpenError> {
        tracing::debug!(endpoint = %address, %error, "connecting failed");
        self.met.push(Met::Unreachable(address));
        let is_met = |address| self.met.contains(&Met::Unreachable(address));
        let is_over = self.connect_left.is_zero() || members.iter().all(|member| is_met(member.address));
        if is_over || !self.terms.retries_on(RetryOn::ConnectFailure) {
            return Err(error);
        }
        self.left = self.left.checked_sub(1).ok_or(error)?;
        Ok(())
    }

    /// Whether losing this connection before a byte of the answer would bring a further try, if the request can be
    /// sent again.
    pub fn bears_loss(&self, opened: &Opened) -> bool {
        let is_retried = self.terms.retries_on(RetryOn::Reset)
            || (opened.is_reused && self.terms.retries_on(RetryOn::StaleConnection));
        is_retried && self.left > 0
    }

    /// A connection was lost before a byte of the answer: whether the request is to be sent again. It goes over a
    /// new connection then, and elsewhere if it can.
    pub fn lost(&mut self, opened: &Opened, resend: Resend) -> bool {
        if !self.bears_loss(opened) || resend == Resend::Forbidden {
            return false;
        }
        self.left = self.left.saturating_sub(1);
        self.reuse = Reuse::Never;
        self.met.push(Met::Lost(opened.address()));
        true
    }
}
