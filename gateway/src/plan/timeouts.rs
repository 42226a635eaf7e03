//! Timeouts of one exchange.
//!
//! Not here: connecting (`upstream`), and the client's connection between requests (`listener`).

use std::time::Duration;

use api::RoutePolicySpec;

use crate::settings::Settings;

/// Timeouts of one exchange: its route's policy, and the settings where that is silent.
#[derive(Clone, Copy, Debug)]
pub struct Timeouts {
    /// From the last byte of the sent request to the head of the response.
    pub first_byte: Duration,
    /// Maximum pause within a body, in either direction.
    pub stall: Duration,
    /// Maximum silence of a tunnel in both directions.
    pub tunnel_idle: Duration,
    /// The whole exchange; `None`: no limit.
    pub request: Option<Duration>,
}

impl Timeouts {
    /// Compiles the timeouts of a policy.
    pub fn new(spec: &RoutePolicySpec, settings: &Settings) -> Self {
        let (set, default) = (spec.timeouts.unwrap_or_default(), &settings.timeouts);
        let timeout =
            |set: Option<api::Duration>, default| effective_timeout(set.map_or(default, Into::into));
        Self {
            first_byte: timeout(set.first_byte, default.first_byte),
            stall: timeout(set.stall, default.stall),
            tunnel_idle: timeout(set.tunnel_idle, default.tunnel_idle),
            request: set.request.map(Into::into).or(default.request).filter(|span| !span.is_zero()),
        }
    }
}

/// Returns a timeout as timers take it: zero, which disables a timeout, becomes 136 years.
pub fn effective_timeout(span: Duration) -> Duration {
    const NEVER: Duration = Duration::from_secs(u32::MAX as u64);
    if span.is_zero() { NEVER } else { span.min(NEVER) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn zero_disables_a_timeout() {
        assert!(effective_timeout(Duration::ZERO) > Duration::from_secs(1 << 30));
        assert_eq!(effective_timeout(Duration::MAX), effective_timeout(Duration::ZERO));
        assert_eq!(effective_timeout(Duration::from_millis(1)), Duration::from_millis(1));
    }
}
