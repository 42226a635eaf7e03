//! What holds for one request on its way to an endpoint: its route's policy, and the settings where that is silent.
//!
//! Not here: what the policy's fields mean (`api::traffic`).

use std::time::Duration;

use api::{LoadBalancingType, Method, RetryOn};
use routing::table::{Policy, PolicyValue};

use crate::settings::Settings;

/// The numbers and rules for one request; small, so that a request can carry them.
#[derive(Clone, Copy, Debug)]
pub struct UpstreamPolicy {
    pub(super) connect: ConnectTimeouts,
    pub(super) balancing: LoadBalancingType,
    /// Connections that the Backend may have.
    pub(super) max_connections: u32,
    /// Requests that may wait for one.
    pub(super) max_pending: u32,
    /// How many further attempts there may be.
    pub(super) max_retries: u8,
    retry_on: VariantSet,
    retry_methods: VariantSet,
}

/// Time limits of connecting to endpoints.
#[derive(Clone, Copy, Debug)]
pub(super) struct ConnectTimeouts {
    /// One attempt.
    pub(super) attempt: Duration,
    /// All attempts of one request.
    pub(super) total: Duration,
}

/// A set of the variants of a small enum, by their places.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct VariantSet(u16);

impl UpstreamPolicy {
    /// Puts together what a route's policy says and what is set for all.
    pub fn new(policy: &Policy, settings: &Settings) -> Self {
        let (timeouts, retries, limits) = (&policy.timeouts, &policy.retries, &policy.limits);
        let on = retries.on.as_ref().map_or(&*settings.retries.on, |field| &field.value);
        let methods = retries.methods.as_ref().map_or(&*settings.retries.methods, |field| &field.value);
        Self {
            connect: ConnectTimeouts {
                attempt: PolicyValue::value_or(&timeouts.connect, settings.timeouts.connect),
                total: PolicyValue::value_or(&timeouts.connect_total, settings.timeouts.connect_total),
            },
            balancing: PolicyValue::value_or(&policy.load_balancing, settings.load_balancing),
            max_connections: PolicyValue::value_or(
                &limits.upstream_connections,
                settings.limits.upstream_connections,
            )
            .get(),
            max_pending: PolicyValue::value_or(&limits.pending_requests, settings.limits.pending_requests),
            max_retries: PolicyValue::value_or(&retries.attempts, settings.retries.attempts).get(),
            retry_on: on.iter().map(|on| *on as u16).collect(),
            retry_methods: methods.iter().map(|method| *method as u16).collect(),
        }
    }

    /// Whether a request of this method may be sent a second time.
    pub fn allows_resend(&self, method: &[u8]) -> bool {
        self.max_retries > 0
            && Method::from_bytes(method).is_some_and(|method| self.retry_methods.contains(method as u16))
    }

    /// Whether a request is tried again after such a failure, as far as its method allows.
    pub(super) fn retries_on(&self, failure: RetryOn) -> bool {
        self.max_retries > 0 && self.retry_on.contains(failure as u16)
    }
}

/// A limit as deadlines want it: a policy's zero means that there is none.
pub fn effective_timeout(span: Duration) -> Duration {
    /// Longer than anybody waits (136 years), and still far from what a clock can hold.
    const NEVER: Duration = Duration::from_secs(u32::MAX as u64);
    if span.is_zero() { NEVER } else { span.min(NEVER) }
}

impl VariantSet {
    fn contains(self, place: u16) -> bool {
        self.0 & (1 << place) != 0
    }
}

impl FromIterator<u16> for VariantSet {
    fn from_iter<I: IntoIterator<Item = u16>>(places: I) -> Self {
        Self(places.into_iter().fold(0, |set, place| set | 1 << place))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn without_a_policy_idempotent_methods_may_be_sent_twice_and_others_not() {
        let policy = UpstreamPolicy::new(&Policy::default(), &Settings::default());
        for method in ["GET", "HEAD", "OPTIONS", "PUT", "DELETE", "TRACE"] {
            assert!(policy.allows_resend(method.as_bytes()), "{method}");
        }
        for method in ["POST", "PATCH", "get", "MKCOL", ""] {
            assert!(!policy.allows_resend(method.as_bytes()), "{method}");
        }
        assert!(policy.retries_on(RetryOn::ConnectFailure) && policy.retries_on(RetryOn::StaleConnection));
        assert!(!policy.retries_on(RetryOn::Reset));
        assert_eq!((policy.max_retries, policy.max_connections, policy.max_pending), (2, 1024, 1024));
    }

    #[test]
    fn zero_is_no_limit() {
        assert!(effective_timeout(Duration::ZERO) > Duration::from_secs(1 << 30));
        assert_eq!(effective_timeout(Duration::MAX), effective_timeout(Duration::ZERO));
        assert_eq!(effective_timeout(Duration::from_millis(1)), Duration::from_millis(1));
    }
}
