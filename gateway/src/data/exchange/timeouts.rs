//! How long the steps of one exchange may take: its route's policy, and the settings where that is silent.
//!
//! Not here: connecting (`upstream`), and the client's side between requests (`listener`).

use std::time::Duration;

use routing::table::{Policy, PolicyValue};

use crate::data::upstream::effective_timeout;
use crate::settings::Settings;

/// Time limits of one exchange.
#[derive(Clone, Copy, Debug)]
pub(super) struct Timeouts {
    /// From the request's last byte having been sent to the head of the answer.
    pub(super) first_byte: Duration,
    /// A body that stands still, in either direction.
    pub(super) stall: Duration,
    /// A tunnel that is silent in both directions.
    pub(super) tunnel_idle: Duration,
    /// All of it; nothing: no limit.
    pub(super) request: Option<Duration>,
}

impl Timeouts {
    /// What holds before a route is found.
    pub(super) fn from_settings(settings: &Settings) -> Self {
        Self {
            first_byte: settings.timeouts.first_byte,
            stall: settings.timeouts.stall,
            tunnel_idle: settings.timeouts.tunnel_idle,
            request: None,
        }
    }

    /// What holds on a route.
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
