//! Unary gRPC callouts.

use std::time::Duration;

use crate::callout_error::CalloutError;
use crate::clock;
use crate::current_host::host;
use crate::host::GrpcRequest;
use crate::pairs::PairsBuilder;
use crate::pending_call;
use crate::pending_call::Answer;

/// A unary gRPC call to a service. The messages are encoded protobuf.
#[derive(Clone, Debug)]
#[must_use = "a callout is sent by `send`"]
pub struct GrpcCall {
    upstream: String,
    service: String,
    method: String,
    metadata: PairsBuilder,
    message: Vec<u8>,
    timeout: Duration,
}

/// Creates a gRPC call with an empty message and a timeout of one second.
///
/// ```
/// use plugin_sdk::prelude::*;
///
/// async fn check(message: Vec<u8>) -> Result<Vec<u8>, CalloutError> {
///     let call = callout::grpc("shop/authz:9000", "envoy.service.auth.v3.Authorization", "Check");
///     call.message(message).metadata("x-tenant", "shop").send().await
/// }
/// ```
pub fn grpc(upstream: &str, service: &str, method: &str) -> GrpcCall {
    GrpcCall {
        upstream: upstream.to_owned(),
        service: service.to_owned(),
        method: method.to_owned(),
        metadata: PairsBuilder::default(),
        message: Vec::new(),
        timeout: Duration::from_secs(1),
    }
}

impl GrpcCall {
    /// Adds a field to the initial metadata.
    pub fn metadata(mut self, name: &str, value: impl AsRef<[u8]>) -> Self {
        self.metadata.push(name.as_bytes(), value.as_ref());
        self
    }

    /// Sets the message.
    pub fn message(mut self, message: impl Into<Vec<u8>>) -> Self {
        self.message = message.into();
        self
    }

    /// Sets the time after which the call fails.
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }

    /// Sends the call and waits for the message of the response.
    ///
    /// # Errors
    /// [`CalloutError`].
    ///
    /// # Cancellation
    /// The host completes the call. Its response is dropped.
    pub async fn send(self) -> Result<Vec<u8>, CalloutError> {
        let request = GrpcRequest {
            upstream: &self.upstream,
            service: &self.service,
            method: &self.method,
            metadata: &self.metadata.build(&[]),
            message: &self.message,
            timeout: self.timeout,
        };
        let started = clock::now();
        let token = host().grpc_call(&request).map_err(CalloutError::Refused)?;
        match pending_call::wait(token).await {
            Answer::GrpcMessage(message) => Ok(message),
            Answer::GrpcStatus(status, message) => Err(CalloutError::Status(status, message)),
            Answer::Failed | Answer::Http { .. } => Err(CalloutError::without_answer(started, self.timeout)),
        }
    }
}
