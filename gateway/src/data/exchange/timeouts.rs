//! Effective timeouts of one exchange: the route's policy, with the settings as defaults.
//!
//! Not here: connect timeouts (`upstream`), and the client's connection between requests (`listener`).

use std::time::Duration;

use routing::table::{Policy, PolicyValue};

use crate::data::upstream::effective_timeout;
use crate::settings::Settings;

/// Timeouts of one exchange.
#[derive(Clone, Copy, Debug)]
pub(super) struct Timeouts {
    /// From the last byte of the request to the head of the response.
    pub(super) first_byte: Duration,
    /// Time without a byte of a body, in either direction.
    pub(super) stall: Duration,
    /// Time without a byte through a tunnel, in both directions.
    pub(super) tunnel_idle: Duration,
    /// The whole request; `None`: no limit.
    pub(super) request: Option<Duration>,
}

impl Timeouts {
    /// Returns the timeouts that apply before a route is found.
    pub(super) fn from_settings(settings: &Settings) -> Self {
        Self {
            first_byte: settings.timeouts.first_byte,
            stall: settings.timeouts.stall,
            tunnel_idle: settings.timeouts.tunnel_idle,
            request: None,
        }
    }

    /// Returns the timeouts of a route.
    pub(super) fn for_route(policy: &Policy, settings: &Settings) -> Self {
        let timeouts = &policy.timeouts;
        let request = timeouts.request.as_ref().map_or(settings.timeouts.request, |field| Some(field.value));
        Self {
            first_byte: effective_timeout(PolicyValue::value_or(
                &timeouts.first_byte,
                settings.timeouts.first_byte,
            )),
            stall: effective_timeout(PolicyValue::value_or(&timeouts.stall, settings.timeouts.stall)),
            tunnel_idle: effective_timeout(PolicyValue::value_or(
                &timeouts.tunnel_idle,
                settings.timeouts.tunnel_idle,
            )),
            request: request.filter(|span| !span.is_zero()),
        }
    }
}
