//! Requests of the plugin to other services. A handler waits for the answer with `.await`, and the stream with it.
//!
//! ```
//! use plugin_sdk::prelude::*;
//!
//! async fn authorize(request: &mut Request) -> Result<Flow, Error> {
//!     let check = callout::http("shop/authz:8080")
//!         .path("/check")
//!         .header("x-original-path", request.path()?)
//!         .timeout(Duration::from_millis(200));
//!     match check.send().await {
//!         Ok(answer) if answer.status() == 200 => Ok(Flow::Continue),
//!         Ok(_) => Ok(Reply::new(403).into()),
//!         Err(error) => {
//!             log::warn!("authz: {error}");
//!             Ok(Reply::new(503).into())
//!         }
//!     }
//! }
//! ```

use std::time::Duration;

pub use crate::callout_error::CalloutError;
use crate::clock;
use crate::current_host::host;
use crate::host::HttpRequest;
use crate::pairs::Fields;
use crate::pairs::PairsBuilder;
use crate::pending_call;
use crate::pending_call::Answer;

#[cfg(feature = "grpc")]
pub use crate::grpc::GrpcCall;
#[cfg(feature = "grpc")]
pub use crate::grpc::grpc;

/// Time after which a callout fails, if it has no timeout of its own.
pub const DEFAULT_TIMEOUT: Duration = Duration::from_secs(1);

/// An HTTP request to a service.
#[derive(Clone, Debug)]
#[must_use = "a callout is sent by `send`"]
pub struct HttpCall {
    upstream: String,
    method: String,
    authority: String,
    path: String,
    headers: PairsBuilder,
    body: Vec<u8>,
    trailers: PairsBuilder,
    timeout: Duration,
}

/// The response to an HTTP callout.
#[derive(Clone, Debug)]
pub struct CalloutResponse {
    headers: Fields,
    body: Vec<u8>,
    trailers: Fields,
}

/// Creates an HTTP request: `GET /`, with a timeout of one second.
///
/// The upstream is the name of a Service that the plugin's `allowedUpstreams` has, such as `shop/authz:8080`. In Envoy it is the
/// name of a cluster.
pub fn http(upstream: &str) -> HttpCall {
    let authority = upstream.rsplit(['/', '|']).next().unwrap_or_default();
    HttpCall {
        upstream: upstream.to_owned(),
        method: "GET".to_owned(),
        authority: authority.to_owned(),
        path: "/".to_owned(),
        headers: PairsBuilder::default(),
        body: Vec::new(),
        trailers: PairsBuilder::default(),
        timeout: DEFAULT_TIMEOUT,
    }
}

impl HttpCall {
    /// Sets the method.
    pub fn method(mut self, method: impl Into<String>) -> Self {
        self.method = method.into();
        self
    }

    /// Sets path and query.
    pub fn path(mut self, path: impl Into<String>) -> Self {
        self.path = path.into();
        self
    }

    /// Sets the host. Without it, it is the last part of the upstream's name.
    pub fn authority(mut self, authority: impl Into<String>) -> Self {
        self.authority = authority.into();
        self
    }

    /// Adds a field.
    pub fn header(mut self, name: &str, value: impl AsRef<[u8]>) -> Self {
        self.headers.push(name.as_bytes(), value.as_ref());
        self
    }

    /// Sets the body.
    pub fn body(mut self, body: impl Into<Vec<u8>>) -> Self {
        self.body = body.into();
        self
    }

    /// Adds a trailer field.
    pub fn trailer(mut self, name: &str, value: impl AsRef<[u8]>) -> Self {
        self.trailers.push(name.as_bytes(), value.as_ref());
        self
    }

    /// Sets the time after which the callout fails. It counts until the whole response has arrived.
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }

    /// Sends the request and waits for the response.
    ///
    /// # Errors
    /// [`CalloutError`]. A response with any status is no error.
    ///
    /// # Cancellation
    /// The host completes the request. Its response is dropped.
    pub async fn send(self) -> Result<CalloutResponse, CalloutError> {
        let pseudo: [(&[u8], &[u8]); 3] = [
            (b":method", self.method.as_bytes()),
            (b":path", self.path.as_bytes()),
            (b":authority", self.authority.as_bytes()),
        ];
        let request = HttpRequest {
            upstream: &self.upstream,
            headers: &self.headers.build(&pseudo),
            body: &self.body,
            trailers: &self.trailers.build(&[]),
            timeout: self.timeout,
        };
        let started = clock::now();
        let token = host().http_call(&request).map_err(CalloutError::Refused)?;
        match pending_call::wait(token).await {
            Answer::Http { headers, body, trailers } => Ok(CalloutResponse { headers, body, trailers }),
            _ => Err(CalloutError::without_answer(started, self.timeout)),
        }
    }
}

impl CalloutResponse {
    /// Returns the status code. Returns 0 if there is none.
    pub fn status(&self) -> u16 {
        self.headers.get(":status").and_then(|status| status.parse().ok()).unwrap_or_default()
    }

    /// Returns the fields.
    pub fn headers(&self) -> &Fields {
        &self.headers
    }

    /// Returns the body.
    pub fn body(&self) -> &[u8] {
        &self.body
    }

    /// Returns the trailer fields.
    pub fn trailers(&self) -> &Fields {
        &self.trailers
    }
}
