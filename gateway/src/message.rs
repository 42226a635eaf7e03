//! Message heads as filters see them, the edits that filters record, and local replies.
//!
//! A [`Patch`] records edits of an immutable `Head`. It is applied while the head is written, so no head is copied.
//! Its names are [`FieldName`]s: framing, hop-by-hop and forwarding fields cannot be one. Not here: bodies
//! (`data::wire`) and the order of filters (`filter`).

pub mod field;
pub mod head;
pub mod local_reply;
pub mod patch;
pub mod start_line;
pub mod target;

pub use field::{FieldError, FieldName, FieldValue};
pub use head::{Original, RequestHead, ResponseHead, Scheme};
pub use local_reply::LocalReply;
pub use patch::{LineEdits, Patch};
pub use start_line::{RequestAuthority, RequestMethod, RequestTarget};
pub use target::forwarded_target;
