//! What a guest asks for beside the stream of the call: replies, resumption, callouts, ticks.

use std::time::Duration;

use bytes::Bytes;

use crate::event::RootIndex;
use crate::event::StreamId;
use crate::view::Direction;

/// Identifies a callout within its instance. Unique over all kinds of callouts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct CallToken(pub u32);

/// Fields in order.
pub type Fields = Vec<(Bytes, Bytes)>;

/// A request of the guest that its caller carries out after the call: host functions never call back into the guest.
#[derive(Clone, Debug)]
pub enum GuestAction {
    /// Continues a direction of a stopped stream, buffered bytes included. No-op if it is not stopped.
    Resume(StreamId, Direction),
    /// Replies to the client instead of going on. The verdict of the call is void.
    Reply(StreamId, Box<Reply>),
    /// Resets a stream.
    Close(StreamId),
    /// Ends a stream as if its call had trapped, but leaves the instance alive. The verdict of the call is void. A guest
    /// asks for it by the foreign function `wasm_gateway.fail`.
    Fail(StreamId),
    /// Starts an HTTP request to an upstream. Its end goes to [`Instance::http_response`], exactly once.
    ///
    /// [`Instance::http_response`]: crate::Instance::http_response
    Http(CallToken, Box<HttpRequest>),
    /// Starts a gRPC call. Its events go to [`Instance::grpc_event`].
    ///
    /// [`Instance::grpc_event`]: crate::Instance::grpc_event
    Grpc(CallToken, Box<GrpcRequest>),
    /// Sends a message on a gRPC stream.
    GrpcSend {
        /// The stream.
        token: CallToken,
        /// The message, without its length prefix.
        message: Bytes,
        /// Whether it is the last one.
        is_end: bool,
    },
    /// Ends the sending side of a gRPC stream.
    GrpcClose(CallToken),
    /// Resets a gRPC call. No event follows.
    GrpcCancel(CallToken),
    /// Calls [`Instance::tick`] with this period. `None`: no more.
    ///
    /// [`Instance::tick`]: crate::Instance::tick
    Tick(RootIndex, Option<Duration>),
}

/// A reply of a guest in place of the endpoint's response.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Reply {
    /// Status as the guest gave it; it may be no valid one.
    pub status: u32,
    /// What the guest calls the reason, for logs.
    pub details: Bytes,
    /// Body.
    pub body: Bytes,
    /// Fields in order.
    pub fields: Fields,
    /// gRPC status for gRPC clients.
    pub grpc_status: Option<u32>,
}

/// An HTTP request of a guest.
#[derive(Clone, Debug)]
pub struct HttpRequest {
    /// Root context that receives the response.
    pub root: RootIndex,
    /// Stream in whose callback the call was made; `None` in a callback of a root context.
    pub stream: Option<StreamId>,
    /// Index in [`InstanceConfig::upstreams`].
    ///
    /// [`InstanceConfig::upstreams`]: crate::InstanceConfig::upstreams
    pub upstream: usize,
    /// Fields, with `:method`, `:path` and `:authority`.
    pub fields: Fields,
    /// Body.
    pub body: Bytes,
    /// Trailer fields.
    pub trailers: Fields,
    /// Maximum time until the whole response has arrived.
    pub timeout: Duration,
}

/// A gRPC call of a guest: a unary call or a stream.
#[derive(Clone, Debug)]
pub struct GrpcRequest {
    /// Root context that receives the events.
    pub root: RootIndex,
    /// Stream in whose callback the call was made; `None` in a callback of a root context.
    pub stream: Option<StreamId>,
    /// Index in [`InstanceConfig::upstreams`].
    ///
    /// [`InstanceConfig::upstreams`]: crate::InstanceConfig::upstreams
    pub upstream: usize,
    /// Full name of the service.
    pub service: Bytes,
    /// Name of the method.
    pub method: Bytes,
    /// Initial metadata.
    pub metadata: Fields,
    /// The only message of a unary call; `None` for a stream.
    pub message: Option<Bytes>,
    /// Maximum time of a unary call; `None` for a stream.
    pub timeout: Option<Duration>,
}

/// The end of an HTTP request. The default value, without fields, is a failure.
#[derive(Clone, Debug, Default)]
pub struct HttpResponse {
    /// Fields, with `:status`; empty if the request failed.
    pub fields: Fields,
    /// Body.
    pub body: Bytes,
    /// Trailer fields.
    pub trailers: Fields,
}

/// An event of a gRPC call.
#[derive(Clone, Debug)]
pub enum GrpcEvent {
    /// The response's initial metadata arrived.
    InitialMetadata(Fields),
    /// A message arrived.
    Message(Bytes),
    /// The trailing metadata arrived.
    TrailingMetadata(Fields),
    /// The call ended, with its status and message. No event follows.
    Close(u32, Bytes),
}
