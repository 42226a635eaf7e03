//! The host of a plugin as a trait: the only way from the rest of the crate to the ABI, by `current_host`.

use std::fmt;
use std::time::Duration;

/// Result of a call into the host.
pub type HostResult<T> = Result<T, HostError>;

/// A call into the host failed.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct HostError {
    function: &'static str,
    status: Status,
}

/// Status of a failed call into the host.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Status {
    /// The key, the upstream or the function does not exist.
    NotFound,
    /// An argument is not valid, or the call is not allowed now.
    BadArgument,
    /// The host could not write the result.
    SerializationFailure,
    /// The host could not read an argument.
    ParseFailure,
    /// An address is outside of the plugin's memory.
    InvalidMemoryAccess,
    /// A queue or buffer is empty.
    Empty,
    /// The value has changed since it was read.
    CasMismatch,
    /// The host failed, or a limit is reached.
    InternalFailure,
    /// The host does not have the function.
    Unimplemented,
    /// A status that the ABI does not define.
    Other(u32),
}

/// Direction of a stream.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Direction {
    /// From the client to the endpoint.
    Request = 0,
    /// From the endpoint to the client.
    Response = 1,
}

/// What a callback about a stream returns.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Action {
    /// The stream continues.
    Continue = 0,
    /// The stream waits until the plugin continues it.
    Pause = 1,
}

/// A header map.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[expect(missing_docs, reason = "the names are those of the ABI")]
pub enum MapKind {
    RequestHeaders = 0,
    RequestTrailers = 1,
    ResponseHeaders = 2,
    ResponseTrailers = 3,
    GrpcInitialMetadata = 4,
    GrpcTrailingMetadata = 5,
    CalloutHeaders = 6,
    CalloutTrailers = 7,
}

/// A buffer.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum BufferKind {
    RequestBody = 0,
    ResponseBody = 1,
    CalloutBody = 4,
    #[cfg(feature = "grpc")]
    GrpcMessage = 5,
    VmConfiguration = 6,
    PluginConfiguration = 7,
}

/// Severity of a log line.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub enum Level {
    /// Every step.
    Trace = 0,
    /// For debugging.
    Debug = 1,
    /// Normal events.
    Info = 2,
    /// Something unexpected that has no effect on the stream.
    Warn = 3,
    /// A failure.
    Error = 4,
    /// A failure of the whole plugin.
    Critical = 5,
}

/// Kind of a metric.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum MetricKind {
    Counter = 0,
    Gauge = 1,
    Histogram = 2,
}

/// How a header map is edited.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Edit<'a> {
    /// Adds a value.
    Append(&'a [u8], &'a [u8]),
    /// Replaces all values of a name by one.
    Set(&'a [u8], &'a [u8]),
    /// Removes all values of a name.
    Remove(&'a [u8]),
}

/// Arguments of a local reply.
#[derive(Clone, Copy, Debug)]
pub(crate) struct LocalResponse<'a> {
    /// Status code.
    pub(crate) status: u16,
    /// Reason, for logs.
    pub(crate) details: &'a str,
    /// Body.
    pub(crate) body: &'a [u8],
    /// Fields as a block of pairs.
    pub(crate) headers: &'a [u8],
    /// gRPC status for gRPC clients.
    pub(crate) grpc_status: Option<u32>,
}

/// Arguments of an HTTP callout.
#[derive(Clone, Copy, Debug)]
pub(crate) struct HttpRequest<'a> {
    /// Upstream.
    pub(crate) upstream: &'a str,
    /// Fields as a block of pairs.
    pub(crate) headers: &'a [u8],
    /// Body.
    pub(crate) body: &'a [u8],
    /// Trailer fields as a block of pairs.
    pub(crate) trailers: &'a [u8],
    /// Maximum time until the whole response has arrived.
    pub(crate) timeout: Duration,
}

/// Arguments of a unary gRPC callout.
#[cfg(feature = "grpc")]
#[derive(Clone, Copy, Debug)]
pub(crate) struct GrpcRequest<'a> {
    /// Upstream.
    pub(crate) upstream: &'a str,
    /// Full name of the service.
    pub(crate) service: &'a str,
    /// Name of the method.
    pub(crate) method: &'a str,
    /// Initial metadata as a block of pairs.
    pub(crate) metadata: &'a [u8],
    /// Message.
    pub(crate) message: &'a [u8],
    /// Maximum time until the response has arrived.
    pub(crate) timeout: Duration,
}

/// The functions of a host. Errors are the statuses of the ABI. `abi::WasmHost` has the same methods.
#[cfg(not(target_arch = "wasm32"))]
pub(crate) trait Host {
    fn log(&self, level: Level, message: &str) -> HostResult<()>;
    fn log_level(&self) -> HostResult<Level>;
    fn current_time_nanoseconds(&self) -> HostResult<u64>;
    fn set_tick_period(&self, milliseconds: u32) -> HostResult<()>;
    fn set_effective_context(&self, context: u32) -> HostResult<()>;
    fn header_value(&self, map: MapKind, name: &[u8]) -> HostResult<Vec<u8>>;
    fn header_pairs(&self, map: MapKind) -> HostResult<Vec<u8>>;
    fn edit_headers(&self, map: MapKind, edit: Edit<'_>) -> HostResult<()>;
    fn buffer_bytes(&self, buffer: BufferKind, start: usize, max: usize) -> HostResult<Vec<u8>>;
    fn set_buffer_bytes(&self, buffer: BufferKind, start: usize, size: usize, value: &[u8])
    -> HostResult<()>;
    fn continue_stream(&self, direction: Direction) -> HostResult<()>;
    fn send_local_response(&self, response: &LocalResponse<'_>) -> HostResult<()>;
    fn http_call(&self, request: &HttpRequest<'_>) -> HostResult<u32>;
    #[cfg(feature = "grpc")]
    fn grpc_call(&self, request: &GrpcRequest<'_>) -> HostResult<u32>;
    #[cfg(feature = "grpc")]
    fn status_message(&self) -> HostResult<Vec<u8>>;
    fn shared_data(&self, key: &str) -> HostResult<(Vec<u8>, u32)>;
    fn set_shared_data(&self, key: &str, value: &[u8], cas: u32) -> HostResult<()>;
    fn define_metric(&self, kind: MetricKind, name: &str) -> HostResult<u32>;
    fn increment_metric(&self, metric: u32, delta: i64) -> HostResult<()>;
    fn record_metric(&self, metric: u32, value: u64) -> HostResult<()>;
    fn metric(&self, metric: u32) -> HostResult<u64>;
    fn property(&self, path: &[u8]) -> HostResult<Vec<u8>>;
    fn set_property(&self, path: &[u8], value: &[u8]) -> HostResult<()>;
    fn call_foreign_function(&self, name: &str, arguments: &[u8]) -> HostResult<Vec<u8>>;
}

// ===== impl HostError, Status =====

impl HostError {
    /// Creates the error of a function of the ABI.
    pub fn new(function: &'static str, status: Status) -> Self {
        Self { function, status }
    }

    /// Returns the name of the function without `proxy_`.
    pub fn function(self) -> &'static str {
        self.function
    }

    /// Returns the status.
    pub fn status(self) -> Status {
        self.status
    }
}

impl fmt::Display for HostError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the host refused ")?;
        f.write_str(self.function)?;
        f.write_str(": ")?;
        f.write_str(self.status.as_str())
    }
}

impl std::error::Error for HostError {}

impl Status {
    /// Returns the status of a number of the ABI. Returns `None` for 0, which is success.
    pub fn from_abi(number: u32) -> Option<Self> {
        Some(match number {
            0 => return None,
            1 => Self::NotFound,
            2 => Self::BadArgument,
            3 => Self::SerializationFailure,
            4 => Self::ParseFailure,
            6 => Self::InvalidMemoryAccess,
            7 => Self::Empty,
            8 => Self::CasMismatch,
            10 => Self::InternalFailure,
            12 => Self::Unimplemented,
            other => Self::Other(other),
        })
    }

    /// Returns a description.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::NotFound => "not found",
            Self::BadArgument => "bad argument",
            Self::SerializationFailure => "serialization failure",
            Self::ParseFailure => "parse failure",
            Self::InvalidMemoryAccess => "invalid memory access",
            Self::Empty => "empty",
            Self::CasMismatch => "the value has changed",
            Self::InternalFailure => "internal failure",
            Self::Unimplemented => "not implemented",
            Self::Other(_) => "unknown status",
        }
    }
}

// ===== impl Level =====

impl Level {
    /// Returns the level as a word in lower case.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Trace => "trace",
            Self::Debug => "debug",
            Self::Info => "info",
            Self::Warn => "warn",
            Self::Error => "error",
            Self::Critical => "critical",
        }
    }

    /// Returns the level of a number of the ABI.
    pub fn from_abi(number: u32) -> Self {
        match number {
            0 => Self::Trace,
            1 => Self::Debug,
            2 => Self::Info,
            3 => Self::Warn,
            4 => Self::Error,
            _ => Self::Critical,
        }
    }
}

// ===== impl MapKind, BufferKind =====

impl MapKind {
    /// Returns the trailers of a direction.
    pub(crate) fn trailers(direction: Direction) -> Self {
        match direction {
            Direction::Request => Self::RequestTrailers,
            Direction::Response => Self::ResponseTrailers,
        }
    }
}

impl BufferKind {
    /// Returns the body of a direction.
    pub(crate) fn body(direction: Direction) -> Self {
        match direction {
            Direction::Request => Self::RequestBody,
            Direction::Response => Self::ResponseBody,
        }
    }
}

/// Returns `Ok(None)` instead of an error if something does not exist.
pub(crate) fn optional<T>(result: HostResult<T>) -> HostResult<Option<T>> {
    match result {
        Ok(value) => Ok(Some(value)),
        Err(error) if error.status == Status::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}
