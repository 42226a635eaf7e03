//! Strict HTTP/1.1: parses and writes message heads and body framing. No I/O, no clock, no routing.
//!
//! `httparse` finds the tokens. The rules on top are stricter than RFC 9112 requires of a recipient: if a gateway
//! and its endpoint interpret an ambiguous message differently, a client can smuggle requests.
//!
//! - [`head`]: [`Head`], the representation of a message head that codecs, filters and plugins share
//! - [`name`]: the field names that the gateway itself reads
//! - [`parse`]: bytes to a [`Head`]
//! - [`framing`]: body length
//! - [`body`]: body decoder and encoder
//! - [`mod@write`]: a [`Head`] to bytes

pub mod body;
pub mod framing;
pub mod head;
pub mod name;
pub mod parse;
pub mod write;

pub use body::{BodyDecoder, BodyEncoder, BodyError, Decoded, EncodeError};
pub use framing::{BodyLength, FramingError};
pub use head::{Head, HeadBuilder, Version};
pub use name::KnownName;
pub use parse::{HeadError, HeadLimits, HeadScanner};
