//! How a request reaches an endpoint: connecting, balancing, retries.

use std::time::Duration;

use api::{LoadBalancingType, Method, RetryOn, RoutePolicySpec};

use super::timeouts::effective_timeout;
use crate::settings::Settings;

/// Limits and rules of connecting: a route's policy, and the settings where that is silent. Small, so that a request
/// can carry a copy.
#[derive(Clone, Copy, Debug)]
pub struct UpstreamPolicy {
    /// Timeouts of connecting.
    pub connect: ConnectTimeouts,
    /// How an endpoint is chosen.
    pub balancing: LoadBalancingType,
    /// Share of the endpoints that failed requests may eject.
    pub max_ejected_percent: u8,
    /// Maximum open connections of the Backend, over all workers.
    pub max_connections: u32,
    /// Maximum requests that wait for a connection, over all workers.
    pub max_pending: u32,
    /// Maximum tunnels of the Backend, over all workers.
    pub max_tunnels: u32,
    /// Maximum retries of a request.
    pub max_retries: u8,
    retry_on: VariantSet,
    retry_methods: VariantSet,
}

/// Timeouts of connecting to endpoints.
#[derive(Clone, Copy, Debug)]
pub struct ConnectTimeouts {
    /// One attempt.
    pub attempt: Duration,
    /// All attempts of one request.
    pub total: Duration,
}

/// A set of the variants of a small enum, by their discriminants.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct VariantSet(u16);

impl UpstreamPolicy {
    /// Compiles what a policy says about connecting.
    pub fn new(spec: &RoutePolicySpec, settings: &Settings) -> Self {
        let timeouts = spec.timeouts.unwrap_or_default();
        let limits = spec.limits.unwrap_or_default();
        let retries = spec.retries.as_ref();
        let timeout =
            |set: Option<api::Duration>, default| effective_timeout(set.map_or(default, Into::into));
        let on = retries.and_then(|retries| retries.on.as_deref()).unwrap_or(&settings.retries.on);
        let methods =
            retries.and_then(|retries| retries.methods.as_deref()).unwrap_or(&settings.retries.methods);
        let attempts = retries.and_then(|retries| retries.attempts).unwrap_or(settings.retries.attempts);
        let balancing = spec.load_balancing.and_then(|balancing| balancing.kind);
        Self {
            connect: ConnectTimeouts {
                attempt: timeout(timeouts.connect, settings.timeouts.connect),
                total: timeout(timeouts.connect_total, settings.timeouts.connect_total),
            },
            balancing: balancing.unwrap_or(settings.load_balancing.kind),
            max_ejected_percent: settings.load_balancing.max_ejected_percent,
            max_connections: limits
                .upstream_connections
                .unwrap_or(settings.limits.upstream_connections)
                .get(),
            max_pending: limits.pending_requests.unwrap_or(settings.limits.pending_requests),
            max_tunnels: settings.limits.tunnels,
            max_retries: attempts.get(),
            retry_on: on.iter().map(|on| *on as u16).collect(),
            retry_methods: methods.iter().map(|method| *method as u16).collect(),
        }
    }

    /// May a request of this method be sent a second time?
    pub fn allows_resend(&self, method: &[u8]) -> bool {
        self.max_retries > 0
            && Method::from_bytes(method).is_some_and(|method| self.retry_methods.contains(method as u16))
    }

    /// Does such a failure permit a retry, as far as the method allows?
    pub fn retries_on(&self, failure: RetryOn) -> bool {
        self.max_retries > 0 && self.retry_on.contains(failure as u16)
    }
}

impl VariantSet {
    fn contains(self, discriminant: u16) -> bool {
        self.0 & (1 << discriminant) != 0
    }
}

impl FromIterator<u16> for VariantSet {
    fn from_iter<I: IntoIterator<Item = u16>>(discriminants: I) -> Self {
        Self(discriminants.into_iter().fold(0, |set, discriminant| set | 1 << discriminant))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn idempotent_methods_are_resent_by_default() {
        let policy = UpstreamPolicy::new(&RoutePolicySpec::default(), &Settings::default());
        for method in ["GET", "HEAD", "OPTIONS", "PUT", "DELETE", "TRACE"] {
            assert!(policy.allows_resend(method.as_bytes()), "{method}");
        }
        for method in ["POST", "PATCH", "get", "MKCOL", ""] {
            assert!(!policy.allows_resend(method.as_bytes()), "{method}");
        }
        assert!(policy.retries_on(RetryOn::ConnectFailure) && policy.retries_on(RetryOn::StaleConnection));
        assert!(!policy.retries_on(RetryOn::Reset));
        assert_eq!((policy.max_retries, policy.max_connections, policy.max_pending), (2, 1024, 4096));
    }
}
