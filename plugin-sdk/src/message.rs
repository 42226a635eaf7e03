//! What handlers receive: request and response heads, trailers, and the exchange of a log call.

use crate::headers::Headers;
use crate::host::Direction;
use crate::host::HostResult;
use crate::host::MapKind;

/// Head of a request. [`Headers`] has the methods for its fields.
///
/// ```
/// use plugin_sdk::prelude::*;
///
/// fn strip_version(request: &mut Request) -> Result<(), Error> {
///     let path = request.path()?;
///     if let Some(rest) = path.strip_prefix("/v1") {
///         request.set_path(rest)?;
///     }
///     Ok(())
/// }
/// ```
#[derive(Debug)]
pub struct Request {
    is_end: bool,
}

/// Head of a response. [`Headers`] has the methods for its fields.
#[derive(Debug)]
pub struct Response {
    is_end: bool,
}

/// Trailer fields of a request or response. [`Headers`] has the methods for them.
#[derive(Debug)]
pub struct Trailers {
    map: MapKind,
}

/// Request and response at their end.
#[derive(Debug)]
pub struct Exchange {
    request: Request,
    response: Response,
}

impl Request {
    pub(crate) fn new(is_end: bool) -> Self {
        Self { is_end }
    }

    /// Returns whether the request has neither body nor trailers.
    pub fn is_end(&self) -> bool {
        self.is_end
    }

    /// Returns the method, such as `GET`.
    ///
    /// # Errors
    /// The host failed.
    pub fn method(&self) -> HostResult<String> {
        Ok(self.get(":method")?.unwrap_or_default())
    }

    /// Returns path and query.
    ///
    /// # Errors
    /// The host failed.
    pub fn path(&self) -> HostResult<String> {
        Ok(self.get(":path")?.unwrap_or_default())
    }

    /// Returns the host, with the port if the client sent one.
    ///
    /// # Errors
    /// The host failed.
    pub fn authority(&self) -> HostResult<String> {
        Ok(self.get(":authority")?.unwrap_or_default())
    }

    /// Returns the scheme, `http` or `https`.
    ///
    /// # Errors
    /// The host failed.
    pub fn scheme(&self) -> HostResult<String> {
        Ok(self.get(":scheme")?.unwrap_or_default())
    }

    /// Replaces the method.
    ///
    /// # Errors
    /// The host failed.
    pub fn set_method(&mut self, method: &str) -> HostResult<()> {
        self.set(":method", method)
    }

    /// Replaces path and query.
    ///
    /// # Errors
    /// The host failed.
    pub fn set_path(&mut self, path: &str) -> HostResult<()> {
        self.set(":path", path)
    }

    /// Replaces the host.
    ///
    /// # Errors
    /// The host failed.
    pub fn set_authority(&mut self, authority: &str) -> HostResult<()> {
        self.set(":authority", authority)
    }
}

impl Headers for Request {
    fn map(&self) -> MapKind {
        MapKind::RequestHeaders
    }
}

impl Response {
    pub(crate) fn new(is_end: bool) -> Self {
        Self { is_end }
    }

    /// Returns whether the response has neither body nor trailers.
    pub fn is_end(&self) -> bool {
        self.is_end
    }

    /// Returns the status code. Returns 0 if the host has none.
    ///
    /// # Errors
    /// The host failed.
    pub fn status(&self) -> HostResult<u16> {
        Ok(self.get(":status")?.and_then(|status| status.parse().ok()).unwrap_or_default())
    }

    /// Replaces the status code.
    ///
    /// # Errors
    /// The host failed.
    pub fn set_status(&mut self, status: u16) -> HostResult<()> {
        self.set(":status", status.to_string())
    }
}

impl Headers for Response {
    fn map(&self) -> MapKind {
        MapKind::ResponseHeaders
    }
}

impl Trailers {
    pub(crate) fn new(direction: Direction) -> Self {
        Self { map: MapKind::trailers(direction) }
    }
}

impl Headers for Trailers {
    fn map(&self) -> MapKind {
        self.map
    }
}

impl Exchange {
    pub(crate) fn new() -> Self {
        Self { request: Request::new(false), response: Response::new(false) }
    }

    /// Returns the request as the plugins left it.
    pub fn request(&self) -> &Request {
        &self.request
    }

    /// Returns the response as the plugins left it. It has no fields if the client received none.
    pub fn response(&self) -> &Response {
        &self.response
    }
}
