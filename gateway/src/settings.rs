//! What can be set, as the program uses it. Defaults are DESIGN's; each says its unit by its type.

use std::time::Duration;

use http1::Limits;
use routing::object::Name;

/// Settings of the data plane.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Bounds of heads, both sides.
    pub limits: Limits,
    /// How long a request head may take, from its first byte to its last.
    pub header: Duration,
    /// How long a connection may stay idle between requests.
    pub keep_alive: Duration,
    /// Bounds of connecting to endpoints.
    pub connect: ConnectLimits,
    /// How long an endpoint may take from the request's last byte to the response head.
    pub first_byte: Duration,
    /// How long a body may stand still, in either direction.
    pub stall: Duration,
    /// After SIGTERM, how long requests in flight may take.
    pub drain: Duration,
    /// Whether the gateway's own answers carry their reason in the header `gateway-reason`.
    pub reason_header: ReasonHeader,
    /// The Service by which the outside reaches the gateway. It is only told of, never written.
    pub status_service: Option<Name>,
}

/// Bounds of connecting.
#[derive(Clone, Copy, Debug)]
pub struct ConnectLimits {
    /// For one try.
    pub once: Duration,
    /// For all tries of one request.
    pub total: Duration,
}

/// Whether the gateway's own answers say why in a header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReasonHeader {
    /// They do.
    Shown,
    /// They do not: the reason is nobody's business but the operator's.
    Hidden,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            limits: Limits::default(),
            header: Duration::from_secs(10),
            keep_alive: Duration::from_secs(75),
            connect: ConnectLimits { once: Duration::from_millis(800), total: Duration::from_millis(2500) },
            first_byte: Duration::from_secs(60),
            stall: Duration::from_secs(60),
            drain: Duration::from_secs(25),
            reason_header: ReasonHeader::Shown,
            status_service: None,
        }
    }
}
