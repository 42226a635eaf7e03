//! What a guest sees of one HTTP stream, as a trait that the owner of the stream implements.

use std::any::Any;
use std::borrow::Cow;
use std::time::Duration;
use std::time::SystemTime;

/// A direction of a stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Direction {
    /// From the client to the endpoint.
    Request,
    /// From the endpoint to the client.
    Response,
}

/// A header map of a stream. Maps of callouts belong to the instance.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum MapKind {
    /// Request header fields, with `:method`, `:scheme`, `:authority` and `:path`.
    RequestHeaders,
    /// Request trailer fields.
    RequestTrailers,
    /// Response header fields, with `:status`.
    ResponseHeaders,
    /// Response trailer fields.
    ResponseTrailers,
}

/// An edit of a header map. Names may be in any case; names with a leading colon are pseudo-header fields.
#[derive(Clone, Copy, Debug)]
pub enum MapEdit<'a> {
    /// Replaces all fields of a name with one.
    Set {
        /// Name of the field.
        name: &'a [u8],
        /// New value.
        value: &'a [u8],
    },
    /// Adds a field and keeps those of the same name.
    Add {
        /// Name of the field.
        name: &'a [u8],
        /// Its value.
        value: &'a [u8],
    },
    /// Removes all fields of a name.
    Remove {
        /// Name of the fields.
        name: &'a [u8],
    },
    /// Replaces the whole map.
    ReplaceAll(&'a [(&'a [u8], &'a [u8])]),
}

/// Effect of an edit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EditOutcome {
    /// The edit is recorded.
    Applied,
    /// Only the gateway writes this field, such as `Content-Length`: the edit has no effect. The guest gets no error,
    /// since SDKs trap on one.
    Ignored,
}

/// Why an edit is impossible.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EditError {
    /// The stream has no such map or body, or it has left already.
    Unavailable,
    /// The name or value is malformed.
    Malformed,
    /// All edits together exceed what a stream may hold.
    TooLarge,
}

/// The pairs of a property that is a map.
pub type PropertyMap<'a> = Vec<(Cow<'a, [u8]>, Cow<'a, [u8]>)>;

/// The value of a property, before it is encoded as Envoy encodes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PropertyValue<'a> {
    /// Raw bytes or text.
    Bytes(Cow<'a, [u8]>),
    /// A number: 8 bytes, little-endian.
    Int(i64),
    /// One byte.
    Bool(bool),
    /// Nanoseconds: 8 bytes, little-endian.
    Duration(Duration),
    /// Nanoseconds since 1970: 8 bytes, little-endian.
    Time(SystemTime),
    /// Pairs, in the encoding of header maps.
    Map(PropertyMap<'a>),
}

/// One HTTP stream as a guest sees and edits it. The instance owns the view from [`Instance::open`] to the end of the
/// stream, since callbacks of other contexts may reach it.
///
/// [`Instance::open`]: crate::Instance::open
pub trait HttpView: Any + Send {
    /// Calls `on_field` for each field of a map, pseudo-header fields first, names in lower case. Returns false, and
    /// calls nothing, if the stream does not have the map now.
    fn for_each_field(&self, map: MapKind, on_field: &mut dyn FnMut(&[u8], &[u8])) -> bool;

    /// Returns the first value of a field. `name` may be in any case. Returns `None` if there is none.
    fn field(&self, map: MapKind, name: &[u8]) -> Option<Cow<'_, [u8]>>;

    /// Edits a map.
    ///
    /// # Errors
    /// [`EditError`].
    fn edit(&mut self, map: MapKind, edit: MapEdit<'_>) -> Result<EditOutcome, EditError>;

    /// Returns the bytes of a body that are buffered, or of the chunk that is being delivered. Returns `None` outside
    /// of the body's time.
    fn body(&self, direction: Direction) -> Option<&[u8]>;

    /// Returns the number of bytes that [`Self::body`] returns.
    fn body_len(&self, direction: Direction) -> Option<usize> {
        self.body(direction).map(<[u8]>::len)
    }

    /// Copies the bytes of a body from `start` on. Returns false if there are fewer than `target` takes. A view whose
    /// body is in several pieces implements it, so that they need not be joined.
    fn copy_body(&self, direction: Direction, start: usize, target: &mut [u8]) -> bool {
        let body = self.body(direction).and_then(|body| body.get(start..)?.get(..target.len()));
        body.is_some_and(|body| {
            target.copy_from_slice(body);
            true
        })
    }

    /// Replaces `size` bytes from `start` on. Both are clamped to the buffered length, so `start` at or behind the end
    /// appends, and 0, 0 prepends.
    ///
    /// # Errors
    /// [`EditError::Unavailable`], [`EditError::TooLarge`].
    fn edit_body(
        &mut self,
        direction: Direction,
        start: usize,
        size: usize,
        data: &[u8],
    ) -> Result<(), EditError>;

    /// Returns a property, `path` with NUL between its segments. Returns `None` for unknown ones.
    fn property(&self, path: &[u8]) -> Option<PropertyValue<'_>>;

    /// Stores a property for this stream and for the later plugins of its chain. Returns false if it cannot be set, such
    /// as for a built-in one.
    fn set_property(&mut self, path: &[u8], value: &[u8]) -> bool;

    /// Returns what log lines name the route by.
    fn route(&self) -> &str;
}
