//! The request to explain, parsed by the data plane's parser.
//!
//! Not here: its route.

use bytes::BytesMut;
use http1::{Head, HeadLimits, HeadScanner};

use crate::data::exchange::reply_reason::ReplyReason;
use crate::message::Scheme;

/// An invalid description of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RequestSpecError {
    /// The URL has another scheme, or none.
    #[error("a URL starts with http:// or https://")]
    Scheme,
    /// A value contains a control character. A line break would end the head early.
    #[error("control characters are not allowed")]
    Control,
    /// A header without a colon.
    #[error("a header looks like \"Name: value\"")]
    Header,
}

/// A request to explain.
#[derive(Clone, Debug)]
pub struct RequestSpec {
    method: String,
    url: String,
    scheme: Scheme,
    authority: String,
    target: String,
    head: Result<Head, ReplyReason>,
}

impl RequestSpec {
    /// Creates the request that a client sends for a URL. A header `Host` replaces the URL's host. The fragment is left out.
    ///
    /// # Errors
    /// Returns an error for another scheme, a header without a colon, or a control character. A head that the data plane
    /// rejects is not an error: the explanation contains the local reply.
    pub fn new(method: &str, url: &str, headers: &[String]) -> Result<Self, RequestSpecError> {
        let texts = headers.iter().map(String::as_str).chain([method, url]);
        if texts.flat_map(str::chars).any(|c| c.is_control() && c != '\t') {
            return Err(RequestSpecError::Control);
        }
        let (scheme, rest) = split_scheme(url).ok_or(RequestSpecError::Scheme)?;
        let rest = rest.split_once('#').map_or(rest, |(before, _)| before);
        let end = rest.find(['/', '?']).unwrap_or(rest.len());
        let (authority, target) = rest.split_at(end);
        let target = if target.starts_with('/') { target.to_owned() } else { format!("/{target}") };
        let mut lines = Vec::with_capacity(headers.len() + 1);
        for header in headers {
            let (name, _) = header.split_once(':').ok_or(RequestSpecError::Header)?;
            lines.push((name, header.clone()));
        }
        if !lines.iter().any(|(name, _)| name.eq_ignore_ascii_case("host")) {
            lines.insert(0, ("Host", format!("Host: {authority}")));
        }
        let fields: String = lines.into_iter().map(|(_, line)| line + "\r\n").collect();
        let text = format!("{method} {target} HTTP/1.1\r\n{fields}\r\n");
        let (method, url, authority) = (method.to_owned(), url.to_owned(), authority.to_owned());
        Ok(Self { method, url, scheme, authority, target, head: parse(&text) })
    }

    /// Returns the method.
    pub fn method(&self) -> &str {
        &self.method
    }

    /// Returns the URL as given.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Returns the scheme of the URL.
    pub fn scheme(&self) -> Scheme {
        self.scheme
    }

    /// Returns host and port of the URL as given.
    pub fn authority(&self) -> &str {
        &self.authority
    }

    /// Returns path and query.
    pub fn target(&self) -> &str {
        &self.target
    }

    /// Returns the head as the data plane parses it.
    ///
    /// # Errors
    /// Returns the reason of the data plane's local reply.
    pub fn head(&self) -> Result<&Head, ReplyReason> {
        self.head.as_ref().map_err(|refusal| *refusal)
    }
}

fn split_scheme(url: &str) -> Option<(Scheme, &str)> {
    let (scheme, rest) = url.split_once("://")?;
    match scheme.to_ascii_lowercase().as_str() {
        "http" => Some((Scheme::Http, rest)),
        "https" => Some((Scheme::Https, rest)),
        _ => None,
    }
}

fn parse(text: &str) -> Result<Head, ReplyReason> {
    let mut buffer = BytesMut::from(text.as_bytes());
    let head = http1::parse::request(&mut buffer, &mut HeadScanner::default(), &HeadLimits::default());
    match head {
        Ok(Some(head)) => Ok(head),
        Ok(None) => Err(ReplyReason::InvalidHead(http1::HeadError::Malformed("head"))),
        Err(error) => Err(ReplyReason::InvalidHead(error)),
    }
}
