//! Body bytes in and out: what stands between a head and the next one.
//!
//! Not here: which framing applies ([`crate::framing`]). Data is never copied here; pieces share the buffer.

use bytes::{BufMut, Bytes, BytesMut};

use crate::framing::BodyLength;
use crate::head::Head;
use crate::parse::{self, HeadError, HeadLimits, HeadScanner};

/// The longest chunk-size line, extensions and line end included. Nobody needs more; unbounded ones are
/// a known way to make a server read for ever.
const MAX_CHUNK_LINE_BYTES: usize = 256;

/// Why a body was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BodyError {
    /// A chunk-size line is not `1*15HEXDIG [extensions] CRLF`.
    #[error("malformed chunk size")]
    ChunkSize,
    /// A chunk extension is no list of `;name[=value]`, or too long.
    #[error("malformed chunk extension")]
    ChunkExtension,
    /// Chunk data is not followed by CRLF.
    #[error("malformed chunk end")]
    ChunkEnd,
    /// The trailer section is malformed or too large.
    #[error("trailers: {0}")]
    Trailers(#[from] HeadError),
    /// The connection ended before the body did.
    #[error("body ends early")]
    Truncated,
}

/// What [`BodyDecoder::decode`] found.
#[derive(Debug)]
pub enum Decoded {
    /// The next bytes of the body; never empty.
    Data(Bytes),
    /// The trailer section, after the last data; the body ends here.
    Trailers(Head),
    /// The body ended without trailers; said again on every further call.
    End,
    /// Nothing can be said before more bytes arrive.
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
    /// It was refused. What of the refused bytes was taken already is not known any more, so nothing behind them can
    /// be read as if they had been fine.
    Failed(BodyError),
}

/// Takes a body out of a buffer, piece by piece.
#[derive(Debug)]
pub struct BodyDecoder {
    state: DecoderState,
}

impl BodyDecoder {
    /// Begins a body of this framing.
    pub fn new(length: BodyLength) -> Self {
        let state = match length {
            BodyLength::Empty | BodyLength::Exact(0) => DecoderState::End,
            BodyLength::Exact(length) => DecoderState::Exact(length),
            BodyLength::Chunked => DecoderState::ChunkSize,
            BodyLength::UntilClose => DecoderState::UntilClose,
        };
        Self { state }
    }

    /// Whether the whole body, trailers included, has been taken out.
    pub fn is_ended(&self) -> bool {
        matches!(self.state, DecoderState::End)
    }

    /// Takes the next piece off the front of `input`.
    ///
    /// # Errors
    /// Framing that is not exactly as RFC 9112 §7.1 writes it. Nothing behind it can be trusted then: the same error
    /// is said again on every further call, and no input taken.
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

    /// Says that the connection delivers no more bytes; all that came before has been decoded.
    ///
    /// # Errors
    /// [`BodyError::Truncated`] unless the body had ended, or ends with the connection; what was wrong with it before.
    pub fn finish(&mut self) -> Result<(), BodyError> {
        self.state = match self.state {
            DecoderState::End | DecoderState::UntilClose => DecoderState::End,
            DecoderState::Failed(error) => DecoderState::Failed(error),
            _ => DecoderState::Failed(BodyError::Truncated),
        };
        match self.state {
            DecoderState::Failed(error) => Err(error),
            _ => Ok(()),
        }
    }
}

/// Up to `left` bytes of `input`, or nothing if it is empty.
fn take(input: &mut BytesMut, left: u64) -> Option<Bytes> {
    if input.is_empty() {
        return None;
    }
    let length = usize::try_from(left).unwrap_or(usize::MAX).min(input.len());
    Some(input.split_to(length).freeze())
}

/// Takes a chunk-size line, if it is complete.
fn take_chunk_size(input: &mut BytesMut) -> Result<Option<u64>, BodyError> {
    let window = input.get(..input.len().min(MAX_CHUNK_LINE_BYTES)).unwrap_or_default();
    let Some(feed) = memchr::memchr(b'\n', window) else {
        // A client that sends garbage learns it now, not when its line is long enough.
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

/// `1*( ";" token [ "=" ( token / quoted-string ) ] )`, without the white space that RFC 9112 calls bad.
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

/// Frames body data for sending. The data itself is put between what the two calls write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BodyEncoder {
    /// As many bytes as `Content-Length` promised are still owed.
    Exact(u64),
    /// Chunks.
    Chunked,
    /// Bytes as they are; the end is the connection's end.
    UntilClose,
}

impl BodyEncoder {
    /// Begins a body of this framing.
    pub fn new(length: BodyLength) -> Self {
        match length {
            BodyLength::Empty => Self::Exact(0),
            BodyLength::Exact(length) => Self::Exact(length),
            BodyLength::Chunked => Self::Chunked,
            BodyLength::UntilClose => Self::UntilClose,
        }
    }

    /// Writes what comes before `length` bytes of data. False: more than was promised, or a chunk of nothing,
    /// which would end the body; nothing was written then.
    pub fn begin_data(&mut self, length: usize, out: &mut BytesMut) -> bool {
        match self {
            Self::UntilClose => true,
            Self::Exact(left) => match left.checked_sub(length as u64) {
                Some(rest) => {
                    *left = rest;
                    true
                }
                None => false,
            },
            Self::Chunked if length == 0 => false,
            Self::Chunked => {
                let digits = (usize::BITS - length.leading_zeros()).div_ceil(4);
                for place in (0..digits).rev() {
                    let digit = (length >> (place * 4)) & 0xf;
                    out.put_u8(b"0123456789abcdef".get(digit).copied().unwrap_or(b'0'));
                }
                out.put_slice(b"\r\n");
                true
            }
        }
    }

    /// Writes what comes after data.
    pub fn end_data(&self, out: &mut BytesMut) {
        if *self == Self::Chunked {
            out.put_slice(b"\r\n");
        }
    }

    /// Writes the end of the body, with trailers where the framing has a place for them.
    /// False: fewer bytes were written than promised.
    pub fn finish(&self, trailers: Option<&Head>, out: &mut BytesMut) -> bool {
        match self {
            Self::Exact(left) => *left == 0,
            Self::UntilClose => true,
            Self::Chunked => {
                out.put_slice(b"0\r\n");
                for (known, name, value) in trailers.iter().flat_map(|head| head.fields()) {
                    if is_trailer_allowed(known, name) {
                        crate::write::field(out, name, value);
                    }
                }
                out.put_slice(b"\r\n");
                true
            }
        }
    }
}

/// Names that no trailer may have, besides the known ones: what says who asks, what the body is, or what is to be
/// done with the message was needed before the body, and a recipient that merges trailers into the head would be
/// told otherwise behind everybody's back.
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

/// Whether a field may stand in trailers: none that frames, routes, authenticates, controls or tells of hops, since
/// some servers merge trailers into the head (RFC 9110 §6.5.1).
pub fn is_trailer_allowed(known: Option<crate::KnownName>, name: &[u8]) -> bool {
    known.is_none()
        && !crate::name::is_forwarding_field(name)
        && !FORBIDDEN_TRAILERS.iter().any(|never| name.eq_ignore_ascii_case(never))
}
