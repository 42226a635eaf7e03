//! Why exchanges end without a whole answer, or connections without a request: every reason, in one place.
//!
//! Not here: why the gateway answers itself (`refusal`). Nobody can be told of an abort by a status, so its reason
//! stands in the access log and in a metric only.

use http1::BodyError;

use crate::data::drain::Phase;
use crate::data::wire::StreamError;

/// Why an exchange ended without a whole answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Abort {
    /// The client closed or reset its connection, or the network did.
    ClientClosed,
    /// The client gave up this request alone, by a reset of its HTTP/2 stream.
    ClientReset,
    /// The client's body, or what it sent instead, cannot be trusted.
    ClientMalformed,
    /// The client did not read the answer for too long, or sent its body too slowly.
    ClientStalled,
    /// The time that the route gives a whole request is over.
    RequestTimeout,
    /// The endpoint closed or reset the connection in the middle of its answer.
    UpstreamCut,
    /// The endpoint's body is malformed, or not as long as its head promised.
    UpstreamMalformed,
    /// The endpoint did not go on with its answer for too long.
    UpstreamStalled,
    /// Nothing moved through a tunnel for too long.
    TunnelIdle,
    /// The gateway ended, and its time to drain was over.
    GatewayStopped,
    /// A panic in the gateway, which costs one connection.
    Panic,
    /// The client closed or reset its connection in the middle of a head.
    HeadUnfinished,
    /// The client opened more HTTP/2 streams at once than it may, or gave up too many.
    StreamRefused,
    /// The client's TLS handshake failed: it speaks no TLS, or none of ours, or does not want our certificate.
    TlsFailed,
    /// The client closed or reset its connection in the middle of its TLS handshake.
    TlsUnfinished,
    /// The client did not finish its TLS handshake in time.
    TlsTimeout,
}

impl Abort {
    /// The reason as a word for machines.
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

    /// Why nobody waits for an exchange to end any more: its connection was dropped as a whole.
    pub(super) fn from_drop(phase: Phase) -> Self {
        match phase {
            _ if std::thread::panicking() => Self::Panic,
            Phase::Stopped => Self::GatewayStopped,
            Phase::Serving | Phase::Draining | Phase::Closing => Self::ClientClosed,
        }
    }

    /// What a failure of the client's side means.
    pub(super) fn from_downstream(error: &StreamError) -> Self {
        match error {
            StreamError::Disconnected(_) | StreamError::Body(BodyError::Truncated) => Self::ClientClosed,
            StreamError::H2(error) if error.is_reset() => Self::ClientReset,
            StreamError::H2(_) => Self::ClientClosed,
            StreamError::TooSlow => Self::ClientStalled,
            // The client's side was told how long the answer is by the endpoint's head.
            StreamError::LengthMismatch => Self::UpstreamMalformed,
            _ => Self::ClientMalformed,
        }
    }

    /// What a failure of the endpoint's side means.
    pub(super) fn from_upstream(error: &StreamError) -> Self {
        match error {
            StreamError::Disconnected(_) | StreamError::H2(_) | StreamError::Body(BodyError::Truncated) => {
                Self::UpstreamCut
            }
            _ => Self::UpstreamMalformed,
        }
    }
}
