//! Strict HTTP/1.1: message heads, body framing and how both are written. No I/O, no clock, no routing.
//!
//! `httparse` finds the tokens; the rules on top are stricter than RFC 9112 asks of a recipient, since a
//! gateway that guesses what a message means lets others guess differently (request smuggling).
//!
//! - [`head`]: [`Head`], the one form in which both codecs, filters and plugins see a message head
//! - [`name`]: the field names that the gateway itself looks at
//! - [`parse`]: bytes to a [`Head`]
//! - [`framing`]: how long the body is
//! - [`body`]: body bytes in and out
//! - [`mod@write`]: a [`Head`] to bytes

pub mod body;
pub mod framing;
pub mod head;
pub mod name;
pub mod parse;
pub mod write;

pub use body::{BodyDecoder, BodyEncoder, BodyError, Decoded};
pub use framing::{BodyLength, FramingError};
pub use head::{Head, HeadBuilder, Version};
pub use name::KnownName;
pub use parse::{HeadError, HeadLimits, HeadScanner};
