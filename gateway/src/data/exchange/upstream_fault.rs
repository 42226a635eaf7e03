//! Faults of endpoints: what counts against their health, and the log line that names the broken rule.
//!
//! Not here: the local reply to the client (`attempt`), and ejections (`upstream`).

use std::cell::Cell;

use http1::{FramingError, HeadError};

use super::Exchange;
use super::abort::Abort;
use super::attempt::AttemptError;
use crate::data::upstream::PooledConnection;
use crate::data::upstream::ejection::FailureCause;
use crate::data::wire::StreamError;

/// Maximum lines about faults that one worker logs in a second. An endpoint that breaks a rule breaks it in every
/// response, and the access log has a line for each.
const MAX_LINES_PER_SECOND: u32 = 10;

/// Bounds the lines about faults of one worker.
#[derive(Debug, Default)]
pub struct FaultLog {
    second: Cell<u64>,
    lines: Cell<u32>,
    skipped: Cell<u64>,
}

impl FaultLog {
    /// Returns the number of lines that were skipped before, or `None` if this one must be skipped.
    fn admit(&self, now_ms: u64) -> Option<u64> {
        let second = now_ms / 1000;
        if self.second.replace(second) != second {
            self.lines.set(0);
        }
        if self.lines.get() >= MAX_LINES_PER_SECOND {
            self.skipped.set(self.skipped.get() + 1);
            return None;
        }
        self.lines.set(self.lines.get() + 1);
        Some(self.skipped.take())
    }
}

impl<D> Exchange<'_, D> {
    /// Reports a failed attempt to the health of its endpoint, and to the log if the endpoint broke a rule. `is_lost` is
    /// whether the connection was lost before a byte of the response.
    pub(super) fn report_attempt(&self, error: &AttemptError, opened: &PooledConnection, is_lost: bool) {
        match error {
            AttemptError::PeerDead => return self.worker.upstreams.on_peer_dead(opened),
            // Most likely the endpoint closed the connection while it was idle, which is no fault.
            AttemptError::Upstream(_) if is_lost && opened.is_reused => return,
            AttemptError::Upstream(error) => self.log_fault(error, opened),
            AttemptError::UnsolicitedUpgrade => {
                self.log_rule(
                    "the endpoint switched protocols without a request for it",
                    "RFC 9110 §7.8",
                    opened,
                );
            }
            AttemptError::Downstream(_)
            | AttemptError::RequestBody(_)
            | AttemptError::Cancelled(_)
            | AttemptError::FirstByteTimeout
            | AttemptError::RequestBodyTimeout
            | AttemptError::RequestTimeout => {}
        }
        if let Some(cause) = failure_cause(error) {
            self.worker.upstreams.on_failure(opened, cause);
        }
    }

    /// Logs the rule that a response broke, and what to do about it.
    pub(super) fn log_fault(&self, error: &StreamError, opened: &PooledConnection) {
        let message = match error {
            StreamError::Disconnected(_) => {
                return tracing::debug!(%error, endpoint = %opened.address(), "endpoint closed before its response");
            }
            StreamError::Head(HeadError::TooManyFields) => {
                "the endpoint's response has more fields than limits.fields allows: raise it"
            }
            StreamError::Head(HeadError::TooLong) => {
                "the endpoint's response head is larger than limits.headBytes: raise it"
            }
            StreamError::Head(HeadError::NotHttp) => {
                "the endpoint does not speak HTTP: its port may expect TLS, or be that of another protocol"
            }
            _ if Abort::from_upstream(error) != Abort::UpstreamMalformed => return,
            _ => "the endpoint's response is malformed",
        };
        self.log_rule(message, &error.to_string(), opened);
    }

    fn log_rule(&self, message: &str, rule: &str, opened: &PooledConnection) {
        let Some(skipped) = self.worker.fault_log.admit(self.worker.clock.now_ms()) else { return };
        let service = opened.service().map(ToString::to_string).unwrap_or_default();
        let request_id = String::from_utf8_lossy(self.source.id.as_bytes());
        tracing::warn!(service, endpoint = %opened.address(), %request_id, rule, skipped, "{message}");
    }
}

/// Returns what counts against the health of the endpoint; `None` if it is not to blame.
fn failure_cause(error: &AttemptError) -> Option<FailureCause> {
    match error {
        // Obsolete, and rejected for what it could hide; or a limit of the gateway's own. The endpoint works.
        AttemptError::Upstream(
            StreamError::Head(HeadError::FoldedField | HeadError::TooLong | HeadError::TooManyFields)
            | StreamError::Framing(FramingError::RepeatedLength),
        ) => None,
        AttemptError::Upstream(StreamError::Head(HeadError::NotHttp)) => Some(FailureCause::NotHttp),
        AttemptError::Upstream(StreamError::Disconnected(_)) => Some(FailureCause::Closed),
        AttemptError::Upstream(_) => Some(FailureCause::Malformed),
        AttemptError::UnsolicitedUpgrade => Some(FailureCause::UnsolicitedUpgrade),
        AttemptError::FirstByteTimeout => Some(FailureCause::NoResponse),
        AttemptError::PeerDead
        | AttemptError::Downstream(_)
        | AttemptError::RequestBody(_)
        | AttemptError::Cancelled(_)
        | AttemptError::RequestBodyTimeout
        | AttemptError::RequestTimeout => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_beyond_ten_a_second_are_counted_and_skipped() {
        let log = FaultLog::default();
        let admitted = (0..25).filter(|_| log.admit(1_500).is_some()).count();
        assert_eq!(admitted, 10);
        assert_eq!(log.admit(2_000), Some(15), "the next second says how many were skipped");
        assert_eq!(log.admit(2_000), Some(0));
    }
}
