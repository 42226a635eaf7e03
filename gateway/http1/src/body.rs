//! Body framing: decodes and encodes message bodies and trailer sections (RFC 9112 §6 and §7).
//!
//! [`crate::framing`] decides which framing applies. Decoded data shares the input buffer and is never copied.

use bytes::{BufMut, Bytes, BytesMut};

use crate::framing::BodyLength;
use crate::head::Head;
use crate::parse::{self, HeadError, HeadLimits, HeadScanner};

/// Maximum bytes of a chunk-size line, extensions and CRLF included. Longer lines are rejected.
/// Without a limit, a client could send extensions without end. 256 is far above what clients send.
const MAX_CHUNK_LINE_BYTES: usize = 256;

/// Why a body was rejected.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BodyError {
    /// A chunk-size line is not `1*15HEXDIG [extensions] CRLF`.
    #[error("malformed chunk size")]
    ChunkSize,
    /// A chunk extension is not `;name[=value]`, or the line exceeds 256 bytes.
    #[error("malformed chunk extension")]
    ChunkExtension,
    /// Chunk data is not followed by CRLF.
    #[error("malformed chunk end")]
    ChunkEnd,
    /// The trailer section is malformed or too large.
    #[error("trailers: {0}")]
    Trailers(#[from] HeadError),
    /// The connection ended before the body was complete.
    #[error("body ends early")]
    Truncated,
}

/// The result of [`BodyDecoder::decode`].
#[derive(Debug)]
pub enum Decoded {
    /// The next bytes of the body; never empty.
    Data(Bytes),
    /// The trailer section. It follows the last data and ends the body.
    Trailers(Head),
    /// The body ended without trailers. Every further call returns this again.
    End,
    /// More input is needed.
    Incomplete,
}

#[derive(Clone, Copy, Debug)]
enum DecoderState {
    Exact(u64),
    ChunkSize,
    ChunkData(u64),
    ChunkEnd,
    Trailers(HeadScanner),
    UntilClose,
    End,
    /// The body was rejected. Part of the malformed input may be consumed already, so decoding cannot resume.
    Failed(BodyError),
}

/// Decodes a body from a buffer, piece by piece.
#[derive(Debug)]
pub struct BodyDecoder {
    state: DecoderState,
}

impl BodyDecoder {
    /// Creates a decoder for a body of this framing.
    pub fn new(length: BodyLength) -> Self {
        let state = match length {
            BodyLength::Empty | BodyLength::Exact(0) => DecoderState::End,
            BodyLength::Exact(length) => DecoderState::Exact(length),
            BodyLength::Chunked => DecoderState::ChunkSize,
            BodyLength::UntilClose => DecoderState::UntilClose,
        };
        Self { state }
    }

    /// Returns true once the whole body, trailers included, is decoded.
    pub fn is_ended(&self) -> bool {
        matches!(self.state, DecoderState::End)
    }

    /// Removes the next piece from the front of `input`.
    ///
    /// # Errors
    /// Any [`BodyError`] except [`BodyError::Truncated`]: the framing deviates from RFC 9112 §7.1.
    /// Every further call returns the same error and leaves `input` unchanged.
    pub fn decode(&mut self, input: &mut BytesMut, limits: &HeadLimits) -> Result<Decoded, BodyError> {
        self.next(input, limits).inspect_err(|error| self.state = DecoderState::Failed(*error))
    }

    fn next(&mut self, input: &mut BytesMut, limits: &HeadLimits) -> Result<Decoded, BodyError> {
        loop {
            match self.state {
                DecoderState::Failed(error) => return Err(error),
                DecoderState::End => return Ok(Decoded::End),
                DecoderState::UntilClose if input.is_empty() => return Ok(Decoded::Incomplete),
                DecoderState::UntilClose => return Ok(Decoded::Data(input.split().freeze())),
                DecoderState::Exact(left) => {
                    let Some(data) = take(input, left) else { return Ok(Decoded::Incomplete) };
                    self.state = match left.saturating_sub(data.len() as u64) {
                        0 => DecoderState::End,
                        left => DecoderState::Exact(left),
                    };
                    return Ok(Decoded::Data(data));
                }
                DecoderState::ChunkSize => {
                    let Some(size) = take_chunk_size(input)? else { return Ok(Decoded::Incomplete) };
                    self.state = match size {
                        0 => DecoderState::Trailers(HeadScanner::default()),
                        size => DecoderState::ChunkData(size),
                    };
                }
                DecoderState::ChunkData(left) => {
                    let Some(data) = take(input, left) else { return Ok(Decoded::Incomplete) };
                    self.state = match left.saturating_sub(data.len() as u64) {
                        0 => DecoderState::ChunkEnd,
                        left => DecoderState::ChunkData(left),
                    };
                    return Ok(Decoded::Data(data));
                }
                DecoderState::ChunkEnd => {
                    let seen = input.get(..input.len().min(2)).unwrap_or_default();
                    if !b"\r\n".starts_with(seen) {
                        return Err(BodyError::ChunkEnd);
                    }
                    if seen.len() < 2 {
                        return Ok(Decoded::Incomplete);
                    }
                    let _ = input.split_to(2);
                    self.state = DecoderState::ChunkSize;
                }
                DecoderState::Trailers(scanner) => return self.trailers(scanner, input, limits),
            }
        }
    }

    fn trailers(
        &mut self,
        mut scanner: HeadScanner,
        input: &mut BytesMut,
        limits: &HeadLimits,
    ) -> Result<Decoded, BodyError> {
        let found = parse::trailers(input, &mut scanner, limits)?;
        let Some(trailers) = found else {
            self.state = DecoderState::Trailers(scanner);
            return Ok(Decoded::Incomplete);
        };
        self.state = DecoderState::End;
        Ok(if trailers.fields().next().is_some() { Decoded::Trailers(trailers) } else { Decoded::End })
    }

    /// Ends the body at the end of the connection. The caller has decoded all received bytes before.
    ///
    /// # Errors
    /// [`BodyError::Truncated`] if the framing requires more bytes, or the error that [`Self::decode`] returned.
    pub fn finish(&mut self) -> Result<(), BodyError> {
        self.state = match self.state {
            DecoderState::End | DecoderState::UntilClose => DecoderState::End,
            DecoderState::Failed(error) => DecoderState::Failed(error),
            DecoderState::Exact(_)
            | DecoderState::ChunkSize
            | DecoderState::ChunkData(_)
            | DecoderState::ChunkEnd
            | DecoderState::Trailers(_) => DecoderState::Failed(BodyError::Truncated),
        };
        if let DecoderState::Failed(error) = self.state { Err(error) } else { Ok(()) }
    }
}

/// Removes up to `left` bytes from `input`. Returns `None` if it is empty.
fn take(input: &mut BytesMut, left: u64) -> Option<Bytes> {
    if input.is_empty() {
        return None;
    }
    let length = usize::try_from(left).unwrap_or(usize::MAX).min(input.len());
    Some(input.split_to(length).freeze())
}

/// Removes a chunk-size line. Returns `None` if it is incomplete.
fn take_chunk_size(input: &mut BytesMut) -> Result<Option<u64>, BodyError> {
    let window = input.get(..input.len().min(MAX_CHUNK_LINE_BYTES)).unwrap_or_default();
    let Some(feed) = memchr::memchr(b'\n', window) else {
        // Reject an impossible first byte at once instead of waiting for 256 bytes.
        let plausible = window.first().is_none_or(u8::is_ascii_hexdigit);
        return match window.len() {
            0..MAX_CHUNK_LINE_BYTES if plausible => Ok(None),
            MAX_CHUNK_LINE_BYTES if plausible && window.contains(&b';') => Err(BodyError::ChunkExtension),
            _ => Err(BodyError::ChunkSize),
        };
    };
    let line = window.get(..feed).and_then(|line| line.strip_suffix(b"\r")).ok_or(BodyError::ChunkSize)?;
    let digits = line.iter().position(|byte| !byte.is_ascii_hexdigit()).unwrap_or(line.len());
    let (size, extension) = line.split_at_checked(digits).unwrap_or((line, b""));
    if size.is_empty() || size.len() > 15 {
        return Err(BodyError::ChunkSize);
    }
    if !extension.is_empty() && !is_chunk_extensions(extension) {
        return Err(BodyError::ChunkExtension);
    }
    let size =
        size.iter().fold(0u64, |sum, digit| sum * 16 + (*digit as char).to_digit(16).map_or(0, u64::from));
    let _ = input.split_to(feed + 1);
    Ok(Some(size))
}

/// Returns true for `1*( ";" token [ "=" ( token / quoted-string ) ] )`, without the optional white space
/// that RFC 9112 §7.1.1 calls "bad".
fn is_chunk_extensions(text: &[u8]) -> bool {
    let mut rest = text;
    while let Some(after) = rest.strip_prefix(b";") {
        let Some(after) = strip_token(after) else { return false };
        rest = after;
        if let Some(value) = rest.strip_prefix(b"=") {
            let Some(after) = strip_quoted_string(value).or_else(|| strip_token(value)) else { return false };
            rest = after;
        }
    }
    rest.is_empty()
}

fn strip_token(text: &[u8]) -> Option<&[u8]> {
    let is_token = |byte: &u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(byte);
    let end = text.iter().position(|byte| !is_token(byte)).unwrap_or(text.len());
    if end == 0 { None } else { text.get(end..) }
}

fn strip_quoted_string(text: &[u8]) -> Option<&[u8]> {
    let mut rest = text.strip_prefix(b"\"")?;
    loop {
        let (byte, after) = rest.split_first()?;
        match byte {
            b'"' => return Some(after),
            b'\\' => {
                let (escaped, after) = after.split_first()?;
                matches!(escaped, b'\t' | 0x20..=0x7e | 0x80..).then_some(())?;
                rest = after;
            }
            b'\t' | 0x20..=0x7e | 0x80.. => rest = after,
            _ => return None,
        }
    }
}

/// Why a body cannot be framed as announced.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EncodeError {
    /// The data exceeds the announced `Content-Length`.
    #[error("body longer than its content-length")]
    TooLong,
    /// The body ends before the announced `Content-Length`.
    #[error("body shorter than its content-length")]
    TooShort,
    /// A chunk without data would end the body.
    #[error("empty chunk")]
    EmptyChunk,
}

/// Frames body data for sending. The caller writes the data between [`Self::begin_data`] and [`Self::end_data`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BodyEncoder {
    /// Bytes that `Content-Length` announced and that are not written yet.
    Exact(u64),
    /// Chunked transfer coding.
    Chunked,
    /// Unframed bytes. The end of the connection ends the body.
    UntilClose,
}

impl BodyEncoder {
    /// Creates an encoder for a body of this framing.
    pub fn new(length: BodyLength) -> Self {
        match length {
            BodyLength::Empty => Self::Exact(0),
            BodyLength::Exact(length) => Self::Exact(length),
            BodyLength::Chunked => Self::Chunked,
            BodyLength::UntilClose => Self::UntilClose,
        }
    }

    /// Writes the framing before `length` bytes of data.
    ///
    /// # Errors
    /// [`EncodeError::TooLong`] or [`EncodeError::EmptyChunk`]. Nothing is written then.
    pub fn begin_data(&mut self, length: usize, out: &mut BytesMut) -> Result<(), EncodeError> {
        match self {
            Self::UntilClose => {}
            Self::Exact(left) => *left = left.checked_sub(length as u64).ok_or(EncodeError::TooLong)?,
            Self::Chunked if length == 0 => return Err(EncodeError::EmptyChunk),
            Self::Chunked => {
                let digits = (usize::BITS - length.leading_zeros()).div_ceil(4);
                for place in (0..digits).rev() {
                    let digit = (length >> (place * 4)) & 0xf;
                    out.put_u8(b"0123456789abcdef".get(digit).copied().unwrap_or(b'0'));
                }
                out.put_slice(b"\r\n");
            }
        }
        Ok(())
    }

    /// Writes the framing after data.
    pub fn end_data(&self, out: &mut BytesMut) {
        if *self == Self::Chunked {
            out.put_slice(b"\r\n");
        }
    }

    /// Writes the end of the body. Trailers are written only in chunked framing.
    ///
    /// # Errors
    /// [`EncodeError::TooShort`].
    pub fn finish(&self, trailers: Option<&Head>, out: &mut BytesMut) -> Result<(), EncodeError> {
        match self {
            Self::Exact(0) | Self::UntilClose => Ok(()),
            Self::Exact(_) => Err(EncodeError::TooShort),
            Self::Chunked => {
                out.put_slice(b"0\r\n");
                for (known, name, value) in trailers.iter().flat_map(|head| head.fields()) {
                    if is_trailer_allowed(known, name) {
                        crate::write::field(out, name, value);
                    }
                }
                out.put_slice(b"\r\n");
                Ok(())
            }
        }
    }
}

/// Fields that are never written as trailers, in addition to the known names. They authenticate, describe the
/// content or control the exchange, so a recipient needs them before the body.
const FORBIDDEN_TRAILERS: [&[u8]; 27] = [
    b"age",
    b"authorization",
    b"cache-control",
    b"content-encoding",
    b"content-location",
    b"content-range",
    b"content-type",
    b"cookie",
    b"expires",
    b"if-match",
    b"if-modified-since",
    b"if-none-match",
    b"if-range",
    b"if-unmodified-since",
    b"location",
    b"max-forwards",
    b"pragma",
    b"proxy-authenticate",
    b"proxy-authorization",
    b"range",
    b"retry-after",
    b"set-cookie",
    b"vary",
    b"via",
    b"warning",
    b"www-authenticate",
    b"x-http-method-override",
];

/// Returns true if a field may be sent as a trailer (RFC 9110 §6.5.1).
///
/// Fields that frame, route, authenticate, control or describe earlier hops are excluded: some servers merge
/// trailers into the head.
pub fn is_trailer_allowed(known: Option<crate::KnownName>, name: &[u8]) -> bool {
    known.is_none()
        && !crate::name::is_forwarding_field(name)
        && !FORBIDDEN_TRAILERS.iter().any(|never| name.eq_ignore_ascii_case(never))
}
