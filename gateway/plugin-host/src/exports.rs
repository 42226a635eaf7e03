//! The callbacks of an instance, found once.

use wasmtime::Instance;
use wasmtime::Store;
use wasmtime::TypedFunc;
use wasmtime::WasmParams;
use wasmtime::WasmResults;

use crate::callback::Callback;
use crate::callback::Callbacks;
use crate::host::HostState;

/// A callback with one to five numbers.
pub(crate) type Call1<R> = Option<TypedFunc<u32, R>>;
pub(crate) type Call2<R> = Option<TypedFunc<(u32, u32), R>>;
pub(crate) type Call3<R> = Option<TypedFunc<(u32, u32, u32), R>>;
pub(crate) type Call5<R> = Option<TypedFunc<(u32, u32, u32, u32, u32), R>>;

/// A callback about a message head.
pub(crate) enum HeadersCallback {
    /// With `end_of_stream`.
    Current(TypedFunc<(u32, u32, u32), u32>),
    /// Without it, of ABI 0.1.0.
    Old(TypedFunc<(u32, u32), u32>),
    Missing,
}

/// The callbacks of an instance.
pub(crate) struct Exports {
    pub(crate) context_create: Call2<()>,
    pub(crate) vm_start: Call2<u32>,
    pub(crate) configure: Call2<u32>,
    pub(crate) tick: Call1<()>,
    pub(crate) done: Call1<u32>,
    pub(crate) log: Call1<()>,
    pub(crate) delete: Call1<()>,
    pub(crate) request_headers: HeadersCallback,
    pub(crate) request_body: Call3<u32>,
    pub(crate) request_trailers: Call2<u32>,
    pub(crate) response_headers: HeadersCallback,
    pub(crate) response_body: Call3<u32>,
    pub(crate) response_trailers: Call2<u32>,
    pub(crate) http_call_response: Call5<()>,
    pub(crate) grpc_initial_metadata: Call3<()>,
    pub(crate) grpc_receive: Call3<()>,
    pub(crate) grpc_trailing_metadata: Call3<()>,
    pub(crate) grpc_close: Call3<()>,
    pub(crate) queue_ready: Call2<()>,
}

/// Finds callbacks of an instance.
struct Finder<'a> {
    store: &'a mut Store<HostState>,
    instance: &'a Instance,
    callbacks: Callbacks,
}

impl Exports {
    pub(crate) fn find(store: &mut Store<HostState>, instance: &Instance, callbacks: Callbacks) -> Self {
        let mut finder = Finder { store, instance, callbacks };
        Self {
            context_create: finder.find(Callback::ContextCreate),
            vm_start: finder.find(Callback::VmStart),
            configure: finder.find(Callback::Configure),
            tick: finder.find(Callback::Tick),
            done: finder.find(Callback::Done),
            log: finder.find(Callback::Log),
            delete: finder.find(Callback::Delete),
            request_headers: finder.find_headers(Callback::RequestHeaders),
            request_body: finder.find(Callback::RequestBody),
            request_trailers: finder.find(Callback::RequestTrailers),
            response_headers: finder.find_headers(Callback::ResponseHeaders),
            response_body: finder.find(Callback::ResponseBody),
            response_trailers: finder.find(Callback::ResponseTrailers),
            http_call_response: finder.find(Callback::HttpCallResponse),
            grpc_initial_metadata: finder.find(Callback::GrpcInitialMetadata),
            grpc_receive: finder.find(Callback::GrpcReceive),
            grpc_trailing_metadata: finder.find(Callback::GrpcTrailingMetadata),
            grpc_close: finder.find(Callback::GrpcClose),
            queue_ready: finder.find(Callback::QueueReady),
        }
    }
}

impl Finder<'_> {
    /// Returns a callback. The check of the module has seen its type.
    fn find<P: WasmParams, R: WasmResults>(&mut self, callback: Callback) -> Option<TypedFunc<P, R>> {
        if !self.callbacks.has(callback) {
            return None;
        }
        self.instance.get_typed_func(&mut *self.store, callback.name()).ok()
    }

    fn find_headers(&mut self, callback: Callback) -> HeadersCallback {
        match (self.find(callback), self.find(callback)) {
            (Some(current), _) => HeadersCallback::Current(current),
            (None, Some(old)) => HeadersCallback::Old(old),
            (None, None) => HeadersCallback::Missing,
        }
    }
}
