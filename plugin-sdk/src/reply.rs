//! Results of handlers: continue, or reply to the client.

use crate::current_host::host;
use crate::host::HostResult;
use crate::host::LocalResponse;
use crate::pairs::PairsBuilder;

/// What happens to a request or response after a handler.
#[derive(Clone, Debug)]
pub enum Flow {
    /// It continues to the next plugin, the endpoint or the client.
    Continue,
    /// The client receives this reply instead.
    Reply(Reply),
}

/// A reply of the plugin to the client.
///
/// ```
/// use plugin_sdk::prelude::*;
///
/// fn unauthorized() -> Flow {
///     Reply::new(401).header("www-authenticate", "Bearer").body("log in first\n").into()
/// }
/// ```
#[derive(Clone, Debug)]
pub struct Reply {
    status: u16,
    details: String,
    headers: PairsBuilder,
    body: Vec<u8>,
    grpc_status: Option<u32>,
}

impl Reply {
    /// Creates a reply without fields and body.
    pub fn new(status: u16) -> Self {
        Self {
            status,
            details: String::new(),
            headers: PairsBuilder::default(),
            body: Vec::new(),
            grpc_status: None,
        }
    }

    /// Adds a field.
    #[must_use]
    pub fn header(mut self, name: &str, value: impl AsRef<[u8]>) -> Self {
        self.headers.push(name.as_bytes(), value.as_ref());
        self
    }

    /// Sets the body.
    #[must_use]
    pub fn body(mut self, body: impl Into<Vec<u8>>) -> Self {
        self.body = body.into();
        self
    }

    /// Sets the reason that the host logs.
    #[must_use]
    pub fn details(mut self, details: impl Into<String>) -> Self {
        self.details = details.into();
        self
    }

    /// Sets the status for gRPC clients. Without it the host derives one from the status code.
    #[must_use]
    pub fn grpc_status(mut self, status: u32) -> Self {
        self.grpc_status = Some(status);
        self
    }

    pub(crate) fn send(&self) -> HostResult<()> {
        host().send_local_response(&LocalResponse {
            status: self.status,
            details: &self.details,
            body: &self.body,
            headers: &self.headers.build(&[]),
            grpc_status: self.grpc_status,
        })
    }
}

impl From<Reply> for Flow {
    fn from(reply: Reply) -> Self {
        Self::Reply(reply)
    }
}
