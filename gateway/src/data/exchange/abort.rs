//! Reasons why an exchange ends without a whole response, or a connection without a request.
//!
//! No status can report an abort to the client, so its reason is only in the access log and in a metric. Not here:
//! reasons of local replies (`reply_reason`).

use http1::BodyError;

use super::metered::BodyReadError;
use crate::data::drain::Phase;
use crate::data::wire::StreamError;

/// Why an exchange ended without a whole response.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Abort {
    /// The client closed or reset its connection, or the network did.
    ClientClosed,
    /// The client reset the HTTP/2 stream of this request.
    ClientReset,
    /// The client's body, or data instead of it, is malformed.
    ClientMalformed,
    /// The client read the response, or sent its body, more slowly than allowed.
    ClientStalled,
    /// The route's timeout for the whole request elapsed.
    RequestTimeout,
    /// The endpoint closed or reset the connection in the middle of its response.
    UpstreamCut,
    /// The endpoint's body is malformed, or does not have the length that its head declared.
    UpstreamMalformed,
    /// The endpoint sent nothing of its response for longer than the stall timeout.
    UpstreamStalled,
    /// A filter refused the rest of the response, or changed its length after the head.
    FilterRefused,
    /// No byte passed through a tunnel for longer than its idle timeout.
    TunnelIdle,
    /// The gateway stopped after its time to drain.
    GatewayStopped,
    /// A panic in the gateway. It costs one connection.
    Panic,
    /// The client closed or reset its connection in the middle of a head.
    HeadUnfinished,
    /// The client opened more HTTP/2 streams at once than allowed, or reset too many.
    StreamRefused,
    /// The client's TLS handshake failed: it sent no TLS, no supported version, or rejected the certificate.
    TlsFailed,
    /// The client closed or reset its connection in the middle of its TLS handshake.
    TlsUnfinished,
    /// The client did not finish its TLS handshake in time.
    TlsTimeout,
}

impl Abort {
    /// All reasons. A test compares the list with the enum.
    pub const ALL: &[Self] = &[
        Self::ClientClosed,
        Self::ClientReset,
        Self::ClientMalformed,
        Self::ClientStalled,
        Self::RequestTimeout,
        Self::UpstreamCut,
        Self::UpstreamMalformed,
        Self::UpstreamStalled,
        Self::FilterRefused,
        Self::TunnelIdle,
        Self::GatewayStopped,
        Self::Panic,
        Self::HeadUnfinished,
        Self::StreamRefused,
        Self::TlsFailed,
        Self::TlsUnfinished,
        Self::TlsTimeout,
    ];

    /// Returns the reason as the access log and the metrics name it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::ClientClosed => "client_closed",
            Self::ClientReset => "client_reset",
            Self::ClientMalformed => "client_malformed",
            Self::ClientStalled => "client_stalled",
            Self::RequestTimeout => "request_timeout",
            Self::UpstreamCut => "upstream_cut",
            Self::UpstreamMalformed => "upstream_malformed",
            Self::UpstreamStalled => "upstream_stalled",
            Self::FilterRefused => "filter_refused",
            Self::TunnelIdle => "tunnel_idle",
            Self::GatewayStopped => "gateway_stopped",
            Self::Panic => "panic",
            Self::HeadUnfinished => "head_unfinished",
            Self::StreamRefused => "stream_refused",
            Self::TlsFailed => "tls_failed",
            Self::TlsUnfinished => "tls_unfinished",
            Self::TlsTimeout => "tls_timeout",
        }
    }

    /// Returns why the future of an exchange was dropped: its connection was dropped with it.
    pub(super) fn from_drop(phase: Phase) -> Self {
        if std::thread::panicking() {
            return Self::Panic;
        }
        match phase {
            Phase::Stopped => Self::GatewayStopped,
            Phase::Serving | Phase::Draining | Phase::Closing => Self::ClientClosed,
        }
    }

    /// Maps a failure of the client's side.
    pub(super) fn from_downstream(error: &StreamError) -> Self {
        match error {
            StreamError::Disconnected(_) | StreamError::Body(BodyError::Truncated) => Self::ClientClosed,
            StreamError::H2(error) if error.is_reset() => Self::ClientReset,
            StreamError::H2(_) => Self::ClientClosed,
            // The declared length is the endpoint's.
            StreamError::LengthMismatch => Self::UpstreamMalformed,
            StreamError::Body(_) | StreamError::Head(_) | StreamError::Framing(_) => Self::ClientMalformed,
        }
    }

    /// Maps a failure to read from the client.
    pub(super) fn from_request_body(error: &BodyReadError) -> Self {
        match error {
            BodyReadError::Stream(error) => Self::from_downstream(error),
            BodyReadError::TooLarge => Self::ClientMalformed,
            BodyReadError::TooSlow => Self::ClientStalled,
            BodyReadError::Refused(_) => Self::FilterRefused,
        }
    }

    /// Maps a failure to read from the endpoint.
    pub(super) fn from_response_body(error: &BodyReadError) -> Self {
        match error {
            BodyReadError::Stream(error) => Self::from_upstream(error),
            BodyReadError::TooLarge | BodyReadError::TooSlow => Self::UpstreamMalformed,
            BodyReadError::Refused(_) => Self::FilterRefused,
        }
    }

    /// Maps a failure of the endpoint's side.
    pub(super) fn from_upstream(error: &StreamError) -> Self {
        match error {
            StreamError::Disconnected(_) | StreamError::H2(_) | StreamError::Body(BodyError::Truncated) => {
                Self::UpstreamCut
            }
            StreamError::Body(_)
            | StreamError::Head(_)
            | StreamError::Framing(_)
            | StreamError::LengthMismatch => Self::UpstreamMalformed,
        }
    }
}
