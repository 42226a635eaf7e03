//! The policy of one request toward its endpoints: from the route, with the settings as defaults.
//!
//! Not here: the meaning of the fields (`api::traffic`).

use std::time::Duration;

use api::{LoadBalancingType, Method, RetryOn};
use routing::table::{Policy, PolicyValue};

use crate::settings::Settings;

/// Limits, timeouts and retry rules of one request. `Copy`, since every request has one.
#[derive(Clone, Copy, Debug)]
pub struct UpstreamPolicy {
    pub(super) connect: ConnectTimeouts,
    pub(super) balancing: LoadBalancingType,
    /// Maximum connections to the Backend.
    pub(super) max_connections: u32,
    /// Maximum requests that wait for a connection.
    pub(super) max_pending: u32,
    /// Maximum attempts after the first.
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

/// A set of variants of an enum with at most 16 variants, by discriminant.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct VariantSet(u16);

impl UpstreamPolicy {
    /// Merges the policy of a route and the settings. The policy takes precedence.
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

    /// Returns true if a request with this method may be sent a second time.
    pub fn allows_resend(&self, method: &[u8]) -> bool {
        self.max_retries > 0
            && Method::from_bytes(method).is_some_and(|method| self.retry_methods.contains(method as u16))
    }

    /// Returns true if requests are attempted again after this kind of failure.
    pub(super) fn retries_on(&self, failure: RetryOn) -> bool {
        self.max_retries > 0 && self.retry_on.contains(failure as u16)
    }
}

/// Returns the timeout to set for a configured one. Zero means no timeout and becomes 136 years.
pub fn effective_timeout(span: Duration) -> Duration {
    /// 136 years, which a clock can still add to the current time.
    const NEVER: Duration = Duration::from_secs(u32::MAX as u64);
    if span.is_zero() { NEVER } else { span.min(NEVER) }
}

impl VariantSet {
    fn contains(self, variant: u16) -> bool {
        self.0 & (1 << variant) != 0
    }
}

impl FromIterator<u16> for VariantSet {
    fn from_iter<I: IntoIterator<Item = u16>>(variants: I) -> Self {
        Self(variants.into_iter().fold(0, |set, variant| set | 1 << variant))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn default_policy_resends_only_idempotent_methods() {
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
    fn effective_timeout_of_zero_is_unlimited() {
        assert!(effective_timeout(Duration::ZERO) > Duration::from_secs(1 << 30));
        assert_eq!(effective_timeout(Duration::MAX), effective_timeout(Duration::ZERO));
        assert_eq!(effective_timeout(Duration::from_millis(1)), Duration::from_millis(1));
    }
}
