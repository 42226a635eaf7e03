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

impl Answer {
    /// Returns what the plugin learns. A gRPC callout that fails has the status that the gateway gives it.
    #[cfg_attr(not(feature = "grpc"), expect(unused_variables, reason = "there is no gRPC callout"))]
    pub(super) fn for_callout(self, is_grpc: bool) -> Self {
        match self {
            #[cfg(feature = "grpc")]
            Self::Reset if is_grpc => Self::GrpcStatus(14, "the connection broke".to_owned()),
            #[cfg(feature = "grpc")]
            Self::Timeout if is_grpc => Self::GrpcStatus(4, "deadline exceeded".to_owned()),
            other => other,
        }
    }
}

impl From<MockResponse> for Answer {
    fn from(response: MockResponse) -> Self {
        Self::Response(response)
    }
}

impl From<&CaseCallout> for Answer {
    fn from(callout: &CaseCallout) -> Self {
        match callout.failure {
            None => match &callout.grpc {
                #[cfg(feature = "grpc")]
                Some(grpc) if grpc.status == 0 => Self::GrpcMessage(grpc.message.clone()),
                #[cfg(feature = "grpc")]
                Some(grpc) => Self::GrpcStatus(grpc.status, grpc.status_message.clone()),
                // Without the feature, no plugin makes gRPC callouts.
                #[cfg(not(feature = "grpc"))]
                Some(_) => Self::Reset,
                None => Self::Response(MockResponse::from_case(&callout.response)),
            },
            Some(api::CalloutFailure::Reset) => Self::Reset,
            Some(api::CalloutFailure::Timeout) => Self::Timeout,
        }
    }
}
