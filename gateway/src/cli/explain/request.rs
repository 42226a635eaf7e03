//! The request that is asked about, read by the data plane's own parser.
//!
//! Not here: where it goes.

use bytes::BytesMut;
use http1::{Head, HeadLimits, HeadScanner};

use crate::data::exchange::Scheme;
use crate::data::exchange::reply_reason::ReplyReason;

/// Why a question cannot be asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RequestSpecError {
    /// The URL is of another scheme, or of none.
    #[error("a URL begins with http:// or https://")]
    Scheme,
    /// A line break would end the head early.
    #[error("control characters are not allowed")]
    Control,
    /// A header without a colon.
    #[error("a header looks like \"Name: value\"")]
    Header,
}

/// A request that is asked about.
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
    /// Makes the request that a client would send for a URL. A header `Host` replaces the URL's host; a
    /// fragment is left out, as clients do.
    ///
    /// # Errors
    /// The URL has another scheme, a header no colon, or something holds a control character. What only the
    /// data plane would refuse is no error: it is the answer.
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

    /// The method.
    pub fn method(&self) -> &str {
        &self.method
    }

    /// The URL as it was asked.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// How the client connects.
    pub fn scheme(&self) -> Scheme {
        self.scheme
    }

    /// Host and port of the URL, as written.
    pub fn authority(&self) -> &str {
        &self.authority
    }

    /// Path and query.
    pub fn target(&self) -> &str {
        &self.target
    }

    /// The head as the data plane reads it.
    ///
    /// # Errors
    /// The data plane's refusal.
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
