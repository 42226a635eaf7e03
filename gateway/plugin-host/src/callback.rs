//! The functions that a module may export for the host.

use crate::view::Direction;

/// A function of a module that the host calls.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Callback {
    /// A context was created.
    ContextCreate,
    /// The instance starts.
    VmStart,
    /// A root context receives its configuration.
    Configure,
    /// The period of a root context is over.
    Tick,
    /// A context ends.
    Done,
    /// A stream's maps can be logged.
    Log,
    /// A context is deleted.
    Delete,
    /// A request head arrived.
    RequestHeaders,
    /// Bytes of a request body arrived.
    RequestBody,
    /// A request's trailer section arrived.
    RequestTrailers,
    /// A response head arrived.
    ResponseHeaders,
    /// Bytes of a response body arrived.
    ResponseBody,
    /// A response's trailer section arrived.
    ResponseTrailers,
    /// An HTTP callout ended.
    HttpCallResponse,
    /// A gRPC callout received its initial metadata.
    GrpcInitialMetadata,
    /// A gRPC callout received a message.
    GrpcReceive,
    /// A gRPC callout received its trailing metadata.
    GrpcTrailingMetadata,
    /// A gRPC callout ended.
    GrpcClose,
    /// A queue has an item.
    QueueReady,
    /// A foreign function calls back. Never called: the host has no foreign functions.
    ForeignFunction,
    /// A configuration is checked. Never called: the ABI does not define it.
    ValidateConfiguration,
    /// HTTP/2 metadata of a request. Never called.
    RequestMetadata,
    /// HTTP/2 metadata of a response. Never called.
    ResponseMetadata,
    /// TCP: a connection was accepted. Never called.
    NewConnection,
    /// TCP: bytes from the client. Never called.
    DownstreamData,
    /// TCP: bytes from the endpoint. Never called.
    UpstreamData,
    /// TCP: the client closed. Never called.
    DownstreamClose,
    /// TCP: the endpoint closed. Never called.
    UpstreamClose,
}

/// Numbers of parameters and results. All are of type i32.
pub(crate) type Arity = (usize, usize);

/// All callbacks: the name of the export, and the types that it may have. Without `end_of_stream`, the headers callbacks
/// are those of ABI 0.1.0.
pub(crate) const CALLBACKS: &[(Callback, &str, &[Arity])] = &[
    (Callback::ContextCreate, "proxy_on_context_create", &[(2, 0)]),
    (Callback::VmStart, "proxy_on_vm_start", &[(2, 1)]),
    (Callback::Configure, "proxy_on_configure", &[(2, 1)]),
    (Callback::Tick, "proxy_on_tick", &[(1, 0)]),
    (Callback::Done, "proxy_on_done", &[(1, 1)]),
    (Callback::Log, "proxy_on_log", &[(1, 0)]),
    (Callback::Delete, "proxy_on_delete", &[(1, 0)]),
    (Callback::RequestHeaders, "proxy_on_request_headers", &[(3, 1), (2, 1)]),
    (Callback::RequestBody, "proxy_on_request_body", &[(3, 1)]),
    (Callback::RequestTrailers, "proxy_on_request_trailers", &[(2, 1)]),
    (Callback::ResponseHeaders, "proxy_on_response_headers", &[(3, 1), (2, 1)]),
    (Callback::ResponseBody, "proxy_on_response_body", &[(3, 1)]),
    (Callback::ResponseTrailers, "proxy_on_response_trailers", &[(2, 1)]),
    (Callback::HttpCallResponse, "proxy_on_http_call_response", &[(5, 0)]),
    (Callback::GrpcInitialMetadata, "proxy_on_grpc_receive_initial_metadata", &[(3, 0)]),
    (Callback::GrpcReceive, "proxy_on_grpc_receive", &[(3, 0)]),
    (Callback::GrpcTrailingMetadata, "proxy_on_grpc_receive_trailing_metadata", &[(3, 0)]),
    (Callback::GrpcClose, "proxy_on_grpc_close", &[(3, 0)]),
    (Callback::QueueReady, "proxy_on_queue_ready", &[(2, 0)]),
    (Callback::ForeignFunction, "proxy_on_foreign_function", &[(3, 0)]),
    (Callback::ValidateConfiguration, "proxy_validate_configuration", &[(2, 1)]),
    (Callback::RequestMetadata, "proxy_on_request_metadata", &[(2, 1)]),
    (Callback::ResponseMetadata, "proxy_on_response_metadata", &[(2, 1)]),
    (Callback::NewConnection, "proxy_on_new_connection", &[(1, 1)]),
    (Callback::DownstreamData, "proxy_on_downstream_data", &[(3, 1)]),
    (Callback::UpstreamData, "proxy_on_upstream_data", &[(3, 1)]),
    (Callback::DownstreamClose, "proxy_on_downstream_connection_close", &[(2, 0)]),
    (Callback::UpstreamClose, "proxy_on_upstream_connection_close", &[(2, 0)]),
];

/// Allocators of guest memory, the one that is used first.
pub(crate) const ALLOCATORS: &[&str] = &["proxy_on_memory_allocate", "malloc"];

/// The linear memory.
pub(crate) const MEMORY: &str = "memory";

/// Initializes a module that stays loaded.
pub(crate) const INITIALIZE: &str = "_initialize";

/// Runs a module that has no [`INITIALIZE`].
pub(crate) const START: &str = "_start";

/// Runs `main` of a module that has [`INITIALIZE`]: with and without arguments.
pub(crate) const MAIN: (&str, &str) = ("main", "__main_void");

/// Which callbacks a module exports.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Callbacks(u32);

impl Callbacks {
    /// Returns true if the module exports a callback.
    #[must_use]
    pub fn has(self, callback: Callback) -> bool {
        self.0 & Self::bit(callback) != 0
    }

    /// Returns true if the module takes the body or the trailers of a direction.
    #[must_use]
    pub fn takes_body(self, direction: Direction) -> bool {
        let (body, trailers) = match direction {
            Direction::Request => (Callback::RequestBody, Callback::RequestTrailers),
            Direction::Response => (Callback::ResponseBody, Callback::ResponseTrailers),
        };
        self.has(body) || self.has(trailers)
    }

    pub(crate) fn insert(&mut self, callback: Callback) {
        self.0 |= Self::bit(callback);
    }

    fn bit(callback: Callback) -> u32 {
        1 << callback as u32
    }
}

impl Callback {
    /// Returns all callbacks that a module may export.
    pub fn all() -> impl Iterator<Item = Self> {
        CALLBACKS.iter().map(|(callback, ..)| *callback)
    }

    /// Returns true if the host calls it. TCP, HTTP/2 metadata and foreign functions do not exist here.
    #[must_use]
    pub fn is_called(self) -> bool {
        match self {
            Self::ContextCreate
            | Self::VmStart
            | Self::Configure
            | Self::Tick
            | Self::Done
            | Self::Log
            | Self::Delete
            | Self::RequestHeaders
            | Self::RequestBody
            | Self::RequestTrailers
            | Self::ResponseHeaders
            | Self::ResponseBody
            | Self::ResponseTrailers
            | Self::HttpCallResponse
            | Self::GrpcInitialMetadata
            | Self::GrpcReceive
            | Self::GrpcTrailingMetadata
            | Self::GrpcClose
            | Self::QueueReady => true,
            Self::ForeignFunction
            | Self::ValidateConfiguration
            | Self::RequestMetadata
            | Self::ResponseMetadata
            | Self::NewConnection
            | Self::DownstreamData
            | Self::UpstreamData
            | Self::DownstreamClose
            | Self::UpstreamClose => false,
        }
    }

    /// Returns the name of the export.
    #[must_use]
    pub fn name(self) -> &'static str {
        CALLBACKS.iter().find(|(callback, ..)| *callback == self).map_or("", |(_, name, _)| name)
    }
}
