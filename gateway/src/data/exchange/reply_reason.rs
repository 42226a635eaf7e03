//! Reasons of local replies, each with its status and its name in logs.
//!
//! Not here: sending the reply (`local_reply`).

use http1::HeadError;

use crate::data::upstream::ConnectError;

/// Why the gateway replies itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReplyReason {
    /// The request head is malformed, ambiguous or too large.
    InvalidHead(HeadError),
    /// The framing fields are malformed or ambiguous.
    MalformedFraming,
    /// The request body is malformed.
    MalformedBody,
    /// The body is larger than the route allows.
    BodyTooLarge,
    /// The Host field is malformed.
    MalformedHost,
    /// The path has no canonical form.
    MalformedPath,
    /// Decoding `%2F` or `%5C` in the path would select another route, or none.
    EncodedSlash,
    /// `Connection` lists more options than allowed.
    TooManyConnectionOptions,
    /// An HTTP/2 request has more fields than allowed.
    TooManyFields,
    /// The client sent plain HTTP to the port for TLS.
    PlainHttp,
    /// The request is `OPTIONS *`, or OPTIONS with `Max-Forwards: 0`, which is about the gateway itself.
    ServerOptions,
    /// The method is TRACE, which `requests.trace` refuses.
    TraceRefused,
    /// A TRACE has `Max-Forwards: 0`, so no endpoint may receive it.
    LastForward,
    /// A load balancer checks the gateway, which is ready.
    HealthCheck,
    /// A load balancer checks the gateway, which drains or has no routing table yet.
    NotReady,
    /// The head did not arrive in time.
    HeadTimeout,
    /// The body did not arrive in time.
    BodyTimeout,
    /// No rule matches host and path.
    NoRule,
    /// An annotation of the Ingress restricts access and is not honoured.
    AnnotationNotHonoured,
    /// The rule has no backend that can receive requests: it is a resource, is invalid, or has weight 0.
    NoBackend,
    /// A rule matches, but no endpoint accepted a connection.
    Open(ConnectError),
    /// The process uses nearly all of its memory budget.
    MemoryExhausted,
    /// The endpoint closed or reset the connection before it responded.
    UpstreamClosed,
    /// The endpoint's response is malformed. The log has the broken rule.
    UpstreamMalformed,
    /// The endpoint's response head exceeds `limits.headBytes` or `limits.fields`.
    UpstreamHeadTooLarge,
    /// The endpoint does not speak HTTP, for example because its port expects TLS.
    UpstreamNotHttp,
    /// The endpoint switched to a protocol that the client had not requested.
    UpstreamUnsolicitedUpgrade,
    /// The endpoint did not begin its response in time.
    FirstByteTimeout,
    /// The route's timeout for the whole request elapsed.
    RequestTimeout,
}

impl ReplyReason {
    /// All reasons. A test compares the list with the enums.
    pub const ALL: &[Self] = &[
        Self::InvalidHead(HeadError::BareLf),
        Self::InvalidHead(HeadError::FoldedField),
        Self::InvalidHead(HeadError::Malformed("byte")),
        Self::InvalidHead(HeadError::NotHttp),
        Self::InvalidHead(HeadError::TooLong),
        Self::InvalidHead(HeadError::TooManyFields),
        Self::InvalidHead(HeadError::TargetTooLong),
        Self::InvalidHead(HeadError::Version),
        Self::InvalidHead(HeadError::NoHost),
        Self::InvalidHead(HeadError::SeveralHosts),
        Self::InvalidHead(HeadError::HostMismatch),
        Self::InvalidHead(HeadError::Connect),
        Self::MalformedFraming,
        Self::MalformedBody,
        Self::BodyTooLarge,
        Self::MalformedHost,
        Self::MalformedPath,
        Self::EncodedSlash,
        Self::TooManyConnectionOptions,
        Self::TooManyFields,
        Self::PlainHttp,
        Self::ServerOptions,
        Self::TraceRefused,
        Self::LastForward,
        Self::HealthCheck,
        Self::NotReady,
        Self::HeadTimeout,
        Self::BodyTimeout,
        Self::NoRule,
        Self::AnnotationNotHonoured,
        Self::NoBackend,
        Self::Open(ConnectError::ServiceMissing),
        Self::Open(ConnectError::PortMissing),
        Self::Open(ConnectError::EndpointPortMissing),
        Self::Open(ConnectError::ProtocolUnsupported),
        Self::Open(ConnectError::NoReadyEndpoint),
        Self::Open(ConnectError::Refused),
        Self::Open(ConnectError::TimedOut),
        Self::Open(ConnectError::NoSocket),
        Self::Open(ConnectError::Overloaded),
        Self::MemoryExhausted,
        Self::UpstreamClosed,
        Self::UpstreamMalformed,
        Self::UpstreamHeadTooLarge,
        Self::UpstreamNotHttp,
        Self::UpstreamUnsolicitedUpgrade,
        Self::FirstByteTimeout,
        Self::RequestTimeout,
    ];

    /// Returns the status of the reply.
    pub fn status(self) -> u16 {
        match self {
            Self::InvalidHead(error) => error.status(),
            Self::MalformedFraming
            | Self::MalformedBody
            | Self::MalformedHost
            | Self::MalformedPath
            | Self::EncodedSlash
            | Self::PlainHttp
            | Self::TooManyConnectionOptions => 400,
            Self::BodyTooLarge => 413,
            Self::TooManyFields => 431,
            Self::HeadTimeout | Self::BodyTimeout => 408,
            Self::NoRule => 404,
            Self::ServerOptions => 204,
            Self::TraceRefused => 405,
            Self::LastForward => 501,
            Self::HealthCheck => 200,
            Self::AnnotationNotHonoured | Self::NoBackend | Self::NotReady => 503,
            Self::Open(
                ConnectError::ServiceMissing
                | ConnectError::PortMissing
                | ConnectError::EndpointPortMissing
                | ConnectError::ProtocolUnsupported
                | ConnectError::NoReadyEndpoint
                | ConnectError::NoSocket
                | ConnectError::Overloaded,
            )
            | Self::MemoryExhausted => 503,
            Self::Open(ConnectError::Refused) | Self::UpstreamClosed => 502,
            Self::UpstreamMalformed
            | Self::UpstreamHeadTooLarge
            | Self::UpstreamNotHttp
            | Self::UpstreamUnsolicitedUpgrade => 502,
            Self::Open(ConnectError::TimedOut) | Self::FirstByteTimeout | Self::RequestTimeout => 504,
        }
    }

    /// Returns the reason as the `gateway-reason` field, the body, the access log and the metrics name it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::InvalidHead(error) => match error {
                HeadError::BareLf => "bare_lf",
                HeadError::FoldedField => "folded_field",
                HeadError::Malformed(_) | HeadError::NotHttp => "malformed_head",
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
            Self::AnnotationNotHonoured => "annotation_not_honoured",
            Self::NoBackend => "no_backend",
            Self::PlainHttp => "plain_http_on_tls_port",
            Self::ServerOptions => "server_options",
            Self::TraceRefused => "trace_refused",
            Self::LastForward => "last_forward",
            Self::HealthCheck => "health_check",
            Self::NotReady => "not_ready",
            Self::Open(ConnectError::ServiceMissing) => "service_missing",
            Self::Open(ConnectError::PortMissing) => "port_missing",
            Self::Open(ConnectError::EndpointPortMissing) => "endpoint_port_missing",
            Self::Open(ConnectError::ProtocolUnsupported) => "protocol_unsupported",
            Self::Open(ConnectError::NoReadyEndpoint) => "no_ready_endpoint",
            Self::Open(ConnectError::Refused) => "upstream_refused",
            Self::Open(ConnectError::TimedOut) => "connect_timeout",
            Self::Open(ConnectError::NoSocket) => "no_socket",
            Self::Open(ConnectError::Overloaded) => "upstream_overloaded",
            Self::MemoryExhausted => "memory_exhausted",
            Self::UpstreamClosed => "upstream_closed",
            Self::UpstreamMalformed => "upstream_malformed",
            Self::UpstreamHeadTooLarge => "upstream_head_too_large",
            Self::UpstreamNotHttp => "upstream_not_http",
            Self::UpstreamUnsolicitedUpgrade => "upstream_unsolicited_upgrade",
            Self::FirstByteTimeout => "first_byte_timeout",
            Self::RequestTimeout => "request_timeout",
        }
    }

    /// Returns the value of `Retry-After` in seconds, for reasons that pass by themselves.
    pub fn retry_after(self) -> Option<&'static str> {
        matches!(self, Self::Open(ConnectError::Overloaded) | Self::MemoryExhausted).then_some("1")
    }

    /// Returns true if an HTTP/1.1 connection must close after the reply: its next byte has no known meaning.
    pub fn closes_connection(self) -> bool {
        matches!(
            self,
            Self::InvalidHead(_)
                | Self::MalformedFraming
                | Self::MalformedBody
                | Self::BodyTooLarge
                | Self::PlainHttp
                | Self::HeadTimeout
                | Self::BodyTimeout
        )
    }
}

/// Returns the HTTP/1.1 reason phrase of a status. Returns an empty one for a status that IANA does not list.
pub fn reason_phrase(status: u16) -> &'static str {
    http::StatusCode::from_u16(status).ok().and_then(|status| status.canonical_reason()).unwrap_or("")
}
