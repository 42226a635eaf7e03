//! Body length of a message: RFC 9112 §6.3 without its leniencies.

use crate::head::{Head, Version};
use crate::name::KnownName;

/// How a message's body is delimited.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BodyLength {
    /// No body, and no framing field.
    Empty,
    /// Exactly this many bytes.
    Exact(u64),
    /// `Transfer-Encoding: chunked`.
    Chunked,
    /// All bytes until the connection closes. Responses only.
    UntilClose,
}

/// Why the framing fields of a message were rejected.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FramingError {
    /// Both `Content-Length` and `Transfer-Encoding` are present.
    #[error("both content-length and transfer-encoding")]
    LengthAndEncoding,
    /// `Content-Length` is not a plain decimal number of at most 18 digits.
    #[error("malformed content-length")]
    MalformedLength,
    /// More than one `Content-Length` field, with different values.
    #[error("several content-length fields")]
    SeveralLengths,
    /// More than one `Content-Length` field, all with the same value.
    #[error("repeated content-length field")]
    RepeatedLength,
    /// `Transfer-Encoding` in an HTTP/1.0 message.
    #[error("transfer-encoding in HTTP/1.0")]
    EncodingInHttp10,
    /// `Transfer-Encoding` is anything but a single `chunked`.
    #[error("transfer-encoding other than chunked")]
    UnknownEncoding,
}

impl BodyLength {
    /// Returns true if no byte of a body follows the head.
    pub fn has_no_body(self) -> bool {
        matches!(self, Self::Empty | Self::Exact(0))
    }

    /// Returns the body length of a request.
    ///
    /// # Errors
    /// Any [`FramingError`]. The caller responds with 400 and closes the connection.
    pub fn from_request(head: &Head) -> Result<Self, FramingError> {
        Ok(declared(head)?.unwrap_or(Self::Empty))
    }

    /// Returns the body length of a response to a request with `method`.
    ///
    /// # Errors
    /// Any [`FramingError`], by the same rules as for requests. The caller never forwards such a response.
    pub fn from_response(head: &Head, method: &[u8]) -> Result<Self, FramingError> {
        let declared = declared(head)?;
        if method == b"HEAD" || matches!(head.status(), 100..=199 | 204 | 304) {
            return Ok(Self::Empty);
        }
        Ok(declared.unwrap_or(Self::UntilClose))
    }
}

/// Returns the length that `Content-Length` or `Transfer-Encoding` declares, or `None` without these fields.
fn declared(head: &Head) -> Result<Option<BodyLength>, FramingError> {
    let length = head.get(KnownName::ContentLength);
    let encoding = head.get(KnownName::TransferEncoding);
    match (length, encoding) {
        (None, None) => Ok(None),
        (Some(_), Some(_)) => Err(FramingError::LengthAndEncoding),
        (Some(length), None) => {
            let mut others = head.get_all(KnownName::ContentLength).skip(1).peekable();
            if others.peek().is_some() {
                let is_repeated = others.all(|other| other == length);
                let error =
                    if is_repeated { FramingError::RepeatedLength } else { FramingError::SeveralLengths };
                return Err(error);
            }
            decimal(length).map(|length| Some(BodyLength::Exact(length))).ok_or(FramingError::MalformedLength)
        }
        (None, Some(encoding)) => {
            if head.version() == Version::Http10 {
                return Err(FramingError::EncodingInHttp10);
            }
            let once = head.get_all(KnownName::TransferEncoding).nth(1).is_none();
            if once && encoding.eq_ignore_ascii_case(b"chunked") {
                Ok(Some(BodyLength::Chunked))
            } else {
                Err(FramingError::UnknownEncoding)
            }
        }
    }
}

/// Parses `1*DIGIT`. At most 18 digits are accepted, so that no sum of lengths overflows.
fn decimal(text: &[u8]) -> Option<u64> {
    if text.is_empty() || text.len() > 18 {
        return None;
    }
    text.iter().try_fold(0u64, |sum, byte| byte.is_ascii_digit().then(|| sum * 10 + u64::from(byte - b'0')))
}
