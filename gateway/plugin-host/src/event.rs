//! Calls of a guest for a stream, and what it answers.

/// Identifies a stream within its instance: the guest's context ID. Never 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct StreamId(pub u32);

/// Index of a configuration in [`InstanceConfig::roots`], which has its own root context.
///
/// [`InstanceConfig::roots`]: crate::InstanceConfig::roots
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct RootIndex(pub usize);

/// Something that happens to a stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// The request head arrived.
    RequestHeaders {
        /// Number of fields, pseudo-header fields included.
        fields: usize,
        /// Whether no body and no trailers follow.
        is_end: bool,
    },
    /// Bytes of the request's body arrived.
    RequestBody {
        /// Buffered bytes, with those that arrived.
        bytes: usize,
        /// Whether nothing follows.
        is_end: bool,
    },
    /// The request's trailer section arrived.
    RequestTrailers {
        /// Number of fields.
        fields: usize,
    },
    /// The response head arrived.
    ResponseHeaders {
        /// Number of fields, pseudo-header fields included.
        fields: usize,
        /// Whether no body and no trailers follow.
        is_end: bool,
    },
    /// Bytes of the response's body arrived.
    ResponseBody {
        /// Buffered bytes, with those that arrived.
        bytes: usize,
        /// Whether nothing follows.
        is_end: bool,
    },
    /// The response's trailer section arrived.
    ResponseTrailers {
        /// Number of fields.
        fields: usize,
    },
}

/// What the stream does after a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Goes on; buffered bytes too.
    Continue,
    /// Stops the direction whole: no body callback until [`GuestAction::Resume`].
    ///
    /// [`GuestAction::Resume`]: crate::GuestAction::Resume
    StopAll,
    /// Holds the head, while the body flows to the guest. The head leaves with the first body callback that continues,
    /// or by [`GuestAction::Resume`].
    ///
    /// [`GuestAction::Resume`]: crate::GuestAction::Resume
    StopHead,
    /// Buffers the body; the next callback sees all of it. Too many bytes are an error.
    Buffer,
    /// Buffers the body; at the limit the sender waits.
    Watermark,
    /// Discards the delivered bytes, and stops.
    Discard,
}
