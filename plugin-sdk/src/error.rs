//! The error of a handler.

use std::fmt;

/// Why a handler failed. Any error converts to it with `?`.
///
/// The SDK logs it, and the host answers the request as the plugin's `failStrategy` says. A host that does not know the
/// strategy, such as Envoy, answers 503.
///
/// ```
/// use plugin_sdk::prelude::*;
///
/// fn port(text: &str) -> Result<u16, Error> {
///     let port: u16 = text.parse()?;
///     if port == 0 {
///         return Err(Error::new("the port must not be 0"));
///     }
///     Ok(port)
/// }
/// assert_eq!(port("0").unwrap_err().to_string(), "the port must not be 0");
/// assert_eq!(port("x").unwrap_err().to_string(), "invalid digit found in string");
/// ```
pub struct Error(Cause);

enum Cause {
    Text(&'static str),
    Message(String),
    Error(Box<dyn std::error::Error>),
}

impl Error {
    /// Creates an error with a fixed message.
    pub fn new(message: &'static str) -> Self {
        Self(Cause::Text(message))
    }

    /// Creates an error with a message.
    pub fn message(message: String) -> Self {
        Self(Cause::Message(message))
    }
}

impl<E: std::error::Error + 'static> From<E> for Error {
    fn from(error: E) -> Self {
        Self(Cause::Error(Box::new(error)))
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Cause::Text(message) => f.write_str(message),
            Cause::Message(message) => f.write_str(message),
            Cause::Error(error) => error.fmt(f),
        }
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}
