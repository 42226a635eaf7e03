//! What happens to a callout.

use api::CaseCallout;

use super::message::MockResponse;

/// What happens to a callout.
#[derive(Clone, Debug)]
pub enum Answer {
    /// The upstream responds.
    Response(MockResponse),
    /// The connection breaks.
    Reset,
    /// The timeout passes. The clock advances by it.
    Timeout,
    /// A gRPC callout receives a message.
    #[cfg(feature = "grpc")]
    GrpcMessage(Vec<u8>),
    /// A gRPC callout ends with a status and a reason.
    #[cfg(feature = "grpc")]
    GrpcStatus(u32, String),
}

impl From<MockResponse> for Answer {
    fn from(response: MockResponse) -> Self {
        Self::Response(response)
    }
}

impl From<&CaseCallout> for Answer {
    fn from(callout: &CaseCallout) -> Self {
        match callout.failure {
            None => Self::Response(MockResponse::from_case(&callout.response)),
            Some(api::CalloutFailure::Reset) => Self::Reset,
            Some(api::CalloutFailure::Timeout) => Self::Timeout,
        }
    }
}
