//! The gateway's own answers: every reason why a request gets no answer from an endpoint, in one place.

use http1::HeadError;

use crate::data::upstream::ConnectError;

/// Why the gateway answers itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReplyReason {
    /// The request head is malformed, doubtful or too large.
    InvalidHead(HeadError),
    /// The framing fields are malformed or doubtful.
    MalformedFraming,
    /// The request body is malformed.
    MalformedBody,
    /// The body is larger than the route allows.
    BodyTooLarge,
    /// Host is no host.
    MalformedHost,
    /// The path cannot be made canonical.
    MalformedPath,
    /// Decoding `%2F` or `%5C` in the path would choose another route, or none.
    EncodedSlash,
    /// `Connection` names more fields than anybody needs.
    TooManyConnectionOptions,
    /// An HTTP/2 request with more fields than allowed.
    TooManyFields,
    /// `OPTIONS *` asks about the server as a whole, and there is little to say.
    ServerOptions,
    /// The head did not arrive in time.
    HeadTimeout,
    /// The body did not arrive in time.
    BodyTimeout,
    /// No rule matches host and path.
    NoRule,
    /// There is a rule, but no connection.
    Open(ConnectError),
    /// The endpoint closed or reset the connection before it answered.
    UpstreamClosed,
    /// The endpoint's answer is malformed.
    UpstreamMalformed,
    /// The endpoint switched to a protocol that the client had not asked for.
    UpstreamUnsolicitedUpgrade,
    /// The endpoint took too long to begin its answer.
    FirstByteTimeout,
    /// The time that the route gives a whole request is over.
    RequestTimeout,
}

impl ReplyReason {
    /// The status of the answer.
    pub fn status(self) -> u16 {
        match self {
            Self::InvalidHead(error) => error.status(),
            Self::MalformedFraming
            | Self::MalformedBody
            | Self::MalformedHost
            | Self::MalformedPath
            | Self::EncodedSlash
            | Self::TooManyConnectionOptions => 400,
            Self::BodyTooLarge => 413,
            Self::TooManyFields => 431,
            Self::HeadTimeout | Self::BodyTimeout => 408,
            Self::NoRule => 404,
            Self::ServerOptions => 204,
            Self::Open(
                ConnectError::ServiceMissing
                | ConnectError::PortMissing
                | ConnectError::NoReadyEndpoint
                | ConnectError::NoSocket
                | ConnectError::Overloaded,
            ) => 503,
            Self::Open(ConnectError::Refused) | Self::UpstreamClosed => 502,
            Self::UpstreamMalformed | Self::UpstreamUnsolicitedUpgrade => 502,
            Self::Open(ConnectError::TimedOut) | Self::FirstByteTimeout | Self::RequestTimeout => 504,
        }
    }

    /// The reason as a word for machines: what the header `gateway-reason` and the body say.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::InvalidHead(error) => match error {
                HeadError::BareLf => "bare_lf",
                HeadError::Malformed(_) => "malformed_head",
                HeadError::TooLong => "head_too_long",
                HeadError::TooManyFields => "too_many_fields",
                HeadError::TargetTooLong => "target_too_long",
                HeadError::Version => "unknown_version",
                HeadError::NoHost => "no_host",
                HeadError::SeveralHosts => "several_hosts",
                HeadError::HostMismatch => "host_mismatch",
                HeadError::Connect => "connect_not_supported",
            },
            Self::MalformedFraming => "malformed_framing",
            Self::MalformedBody => "malformed_body",
            Self::BodyTooLarge => "body_too_large",
            Self::MalformedHost => "malformed_host",
            Self::MalformedPath => "malformed_path",
            Self::EncodedSlash => "encoded_slash",
            Self::TooManyConnectionOptions => "too_many_nominations",
            Self::TooManyFields => "too_many_fields",
            Self::HeadTimeout => "head_timeout",
            Self::BodyTimeout => "body_timeout",
            Self::NoRule => "no_rule",
            Self::ServerOptions => "server_options",
            Self::Open(ConnectError::ServiceMissing) => "service_missing",
            Self::Open(ConnectError::PortMissing) => "port_missing",
            Self::Open(ConnectError::NoReadyEndpoint) => "no_ready_endpoint",
            Self::Open(ConnectError::Refused) => "upstream_refused",
            Self::Open(ConnectError::TimedOut) => "connect_timeout",
            Self::Open(ConnectError::NoSocket) => "no_socket",
            Self::Open(ConnectError::Overloaded) => "upstream_overloaded",
            Self::UpstreamClosed => "upstream_closed",
            Self::UpstreamMalformed => "upstream_malformed",
            Self::UpstreamUnsolicitedUpgrade => "upstream_unsolicited_upgrade",
            Self::FirstByteTimeout => "first_byte_timeout",
            Self::RequestTimeout => "request_timeout",
        }
    }

    /// When the client had better ask again, in seconds, if it is known that this helps.
    pub fn retry_after(self) -> Option<&'static str> {
        matches!(self, Self::Open(ConnectError::Overloaded)).then_some("1")
    }

    /// Whether nothing more can be understood on an HTTP/1.1 connection after this.
    pub fn closes_connection(self) -> bool {
        matches!(
            self,
            Self::InvalidHead(_)
                | Self::MalformedFraming
                | Self::MalformedBody
                | Self::BodyTooLarge
                | Self::HeadTimeout
                | Self::BodyTimeout
        )
    }
}

/// The reason phrase that goes with a status in HTTP/1.1.
pub fn reason_phrase(status: u16) -> &'static str {
    http::StatusCode::from_u16(status).ok().and_then(|status| status.canonical_reason()).unwrap_or("")
}
