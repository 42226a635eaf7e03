//! The Proxy-Wasm ABI 0.2.1: imports, the allocator, and the exports of a module.
//!
//! The only file of the workspace with `unsafe`. Everything else calls the methods of `WasmHost`, which are
//! those of the trait `Host`.
#![allow(unsafe_code, reason = "functions of the host take addresses in the plugin's memory")]

#[cfg(target_arch = "wasm32")]
pub(crate) use wasm::WasmHost;
#[cfg(target_arch = "wasm32")]
pub use wasm::allocate;
#[cfg(target_arch = "wasm32")]
pub use wasm::initialize;

#[cfg(target_arch = "wasm32")]
mod wasm {
    use std::alloc::Layout;

    use crate::host::BufferKind;
    use crate::host::Direction;
    use crate::host::Edit;
    #[cfg(feature = "grpc")]
    use crate::host::GrpcRequest;
    use crate::host::HostError;
    use crate::host::HostResult;
    use crate::host::HttpRequest;
    use crate::host::Level;
    use crate::host::LocalResponse;
    use crate::host::MapKind;
    use crate::host::MetricKind;
    use crate::host::Status;

    unsafe extern "C" {
        fn __wasm_call_ctors();
    }

    /// The address of bytes that the host reads.
    type Input = *const u8;
    /// Where the host writes the address of memory that it allocated.
    type Output = *mut *mut u8;
    /// Where the host writes the length of memory that it allocated.
    type OutputLen = *mut usize;

    #[link(wasm_import_module = "env")]
    unsafe extern "C" {
        safe fn proxy_set_tick_period_milliseconds(period: u32) -> u32;
        safe fn proxy_set_effective_context(context: u32) -> u32;
        safe fn proxy_continue_stream(stream: u32) -> u32;
        safe fn proxy_increment_metric(metric: u32, delta: i64) -> u32;
        safe fn proxy_record_metric(metric: u32, value: u64) -> u32;
        fn proxy_log(level: u32, message: Input, message_len: usize) -> u32;
        fn proxy_get_log_level(level: *mut u32) -> u32;
        fn proxy_get_current_time_nanoseconds(time: *mut u64) -> u32;
        fn proxy_get_header_map_value(
            map: u32,
            name: Input,
            name_len: usize,
            value: Output,
            value_len: OutputLen,
        ) -> u32;
        fn proxy_get_header_map_pairs(map: u32, pairs: Output, pairs_len: OutputLen) -> u32;
        fn proxy_add_header_map_value(
            map: u32,
            name: Input,
            name_len: usize,
            value: Input,
            value_len: usize,
        ) -> u32;
        fn proxy_replace_header_map_value(
            map: u32,
            name: Input,
            name_len: usize,
            value: Input,
            value_len: usize,
        ) -> u32;
        fn proxy_remove_header_map_value(map: u32, name: Input, name_len: usize) -> u32;
        fn proxy_get_buffer_bytes(
            buffer: u32,
            start: usize,
            max: usize,
            bytes: Output,
            bytes_len: OutputLen,
        ) -> u32;
        fn proxy_set_buffer_bytes(
            buffer: u32,
            start: usize,
            size: usize,
            value: Input,
            value_len: usize,
        ) -> u32;
        fn proxy_send_local_response(
            status: u32,
            details: Input,
            details_len: usize,
            body: Input,
            body_len: usize,
            headers: Input,
            headers_len: usize,
            grpc_status: i32,
        ) -> u32;
        fn proxy_http_call(
            upstream: Input,
            upstream_len: usize,
            headers: Input,
            headers_len: usize,
            body: Input,
            body_len: usize,
            trailers: Input,
            trailers_len: usize,
            timeout: u32,
            token: *mut u32,
        ) -> u32;
        #[cfg(feature = "grpc")]
        fn proxy_grpc_call(
            upstream: Input,
            upstream_len: usize,
            service: Input,
            service_len: usize,
            method: Input,
            method_len: usize,
            metadata: Input,
            metadata_len: usize,
            message: Input,
            message_len: usize,
            timeout: u32,
            token: *mut u32,
        ) -> u32;
        #[cfg(feature = "grpc")]
        fn proxy_get_status(code: *mut u32, message: Output, message_len: OutputLen) -> u32;
        fn proxy_get_shared_data(
            key: Input,
            key_len: usize,
            value: Output,
            value_len: OutputLen,
            cas: *mut u32,
        ) -> u32;
        fn proxy_set_shared_data(key: Input, key_len: usize, value: Input, value_len: usize, cas: u32)
        -> u32;
        fn proxy_define_metric(kind: u32, name: Input, name_len: usize, metric: *mut u32) -> u32;
        fn proxy_get_metric(metric: u32, value: *mut u64) -> u32;
        fn proxy_get_property(path: Input, path_len: usize, value: Output, value_len: OutputLen) -> u32;
        fn proxy_set_property(path: Input, path_len: usize, value: Input, value_len: usize) -> u32;
        fn proxy_call_foreign_function(
            name: Input,
            name_len: usize,
            arguments: Input,
            arguments_len: usize,
            result: Output,
            result_len: OutputLen,
        ) -> u32;
    }

    /// Allocates memory that the host fills and that `returned` takes over.
    pub fn allocate(size: usize) -> *mut u8 {
        let Ok(layout) = Layout::array::<u8>(size.max(1)) else { return std::ptr::null_mut() };
        // SAFETY: the size of the layout is not zero.
        unsafe { std::alloc::alloc(layout) }
    }

    /// Runs the constructors of the module. Without a call of them, the linker would run them in each callback.
    pub fn initialize() {
        // SAFETY: the linker defines the function. The host calls `_initialize` once, before any callback.
        unsafe { __wasm_call_ctors() }
    }

    /// Calls a function that allocates memory with [`allocate`] and returns its address and length, and takes it over.
    fn returned(function: &'static str, call: impl FnOnce(Output, OutputLen) -> u32) -> HostResult<Vec<u8>> {
        let (mut bytes, mut len) = (std::ptr::null_mut(), 0);
        check(function, call(&raw mut bytes, &raw mut len))?;
        if bytes.is_null() || len == 0 {
            return Ok(Vec::new());
        }
        // SAFETY: the host wrote `len` bytes to memory that it obtained from `allocate(len)` for this call. The layout is
        // that of a vector with this capacity, and nothing else refers to it.
        Ok(unsafe { Vec::from_raw_parts(bytes, len, len) })
    }

    fn check(function: &'static str, status: u32) -> HostResult<()> {
        match Status::from_abi(status) {
            None => Ok(()),
            Some(status) => Err(HostError::new(function, status)),
        }
    }

    fn milliseconds(duration: std::time::Duration) -> u32 {
        u32::try_from(duration.as_millis()).unwrap_or(u32::MAX)
    }

    /// The host of the module.
    #[derive(Clone, Copy)]
    pub(crate) struct WasmHost;

    // All pointers below come from slices and variables that live until the host returns. The host reads the slices, writes
    // the variables, and keeps none of the addresses.
    impl WasmHost {
        pub(crate) fn log(self, level: Level, message: &str) -> HostResult<()> {
            // SAFETY: `message` is valid for reads.
            check("log", unsafe { proxy_log(level as u32, message.as_ptr(), message.len()) })
        }

        pub(crate) fn log_level(self) -> HostResult<Level> {
            let mut level = 0;
            // SAFETY: `level` is valid for a write.
            check("get_log_level", unsafe { proxy_get_log_level(&raw mut level) })?;
            Ok(Level::from_abi(level))
        }

        pub(crate) fn current_time_nanoseconds(self) -> HostResult<u64> {
            let mut time = 0;
            // SAFETY: `time` is valid for a write.
            let status = unsafe { proxy_get_current_time_nanoseconds(&raw mut time) };
            check("get_current_time_nanoseconds", status)?;
            Ok(time)
        }

        pub(crate) fn set_tick_period(self, milliseconds: u32) -> HostResult<()> {
            check("set_tick_period_milliseconds", proxy_set_tick_period_milliseconds(milliseconds))
        }

        pub(crate) fn set_effective_context(self, context: u32) -> HostResult<()> {
            check("set_effective_context", proxy_set_effective_context(context))
        }

        pub(crate) fn header_value(self, map: MapKind, name: &[u8]) -> HostResult<Vec<u8>> {
            // SAFETY: `name` is valid for reads, `value` and `len` for writes.
            returned("get_header_map_value", |value, len| unsafe {
                proxy_get_header_map_value(map as u32, name.as_ptr(), name.len(), value, len)
            })
        }

        pub(crate) fn header_pairs(self, map: MapKind) -> HostResult<Vec<u8>> {
            // SAFETY: `pairs` and `len` are valid for writes.
            returned("get_header_map_pairs", |pairs, len| unsafe {
                proxy_get_header_map_pairs(map as u32, pairs, len)
            })
        }

        pub(crate) fn edit_headers(self, map: MapKind, edit: Edit<'_>) -> HostResult<()> {
            let map = map as u32;
            // SAFETY: `name` and `value` are valid for reads.
            let (function, status) = unsafe {
                match edit {
                    Edit::Append(name, value) => (
                        "add_header_map_value",
                        proxy_add_header_map_value(
                            map,
                            name.as_ptr(),
                            name.len(),
                            value.as_ptr(),
                            value.len(),
                        ),
                    ),
                    Edit::Set(name, value) => (
                        "replace_header_map_value",
                        proxy_replace_header_map_value(
                            map,
                            name.as_ptr(),
                            name.len(),
                            value.as_ptr(),
                            value.len(),
                        ),
                    ),
                    Edit::Remove(name) => (
                        "remove_header_map_value",
                        proxy_remove_header_map_value(map, name.as_ptr(), name.len()),
                    ),
                }
            };
            check(function, status)
        }

        pub(crate) fn buffer_bytes(
            self,
            buffer: BufferKind,
            start: usize,
            max: usize,
        ) -> HostResult<Vec<u8>> {
            // SAFETY: `bytes` and `len` are valid for writes.
            returned("get_buffer_bytes", |bytes, len| unsafe {
                proxy_get_buffer_bytes(buffer as u32, start, max, bytes, len)
            })
        }

        pub(crate) fn set_buffer_bytes(
            self,
            buffer: BufferKind,
            start: usize,
            size: usize,
            value: &[u8],
        ) -> HostResult<()> {
            // SAFETY: `value` is valid for reads.
            let status =
                unsafe { proxy_set_buffer_bytes(buffer as u32, start, size, value.as_ptr(), value.len()) };
            check("set_buffer_bytes", status)
        }

        pub(crate) fn continue_stream(self, direction: Direction) -> HostResult<()> {
            check("continue_stream", proxy_continue_stream(direction as u32))
        }

        pub(crate) fn send_local_response(self, response: &LocalResponse<'_>) -> HostResult<()> {
            let LocalResponse { status, details, body, headers, grpc_status } = *response;
            let grpc_status = grpc_status.and_then(|status| i32::try_from(status).ok()).unwrap_or(-1);
            // SAFETY: `details`, `body` and `headers` are valid for reads.
            let status = unsafe {
                proxy_send_local_response(
                    status.into(),
                    details.as_ptr(),
                    details.len(),
                    body.as_ptr(),
                    body.len(),
                    headers.as_ptr(),
                    headers.len(),
                    grpc_status,
                )
            };
            check("send_local_response", status)
        }

        pub(crate) fn http_call(self, request: &HttpRequest<'_>) -> HostResult<u32> {
            let HttpRequest { upstream, headers, body, trailers, timeout } = *request;
            let mut token = 0;
            // SAFETY: the slices are valid for reads, `token` for a write.
            let status = unsafe {
                proxy_http_call(
                    upstream.as_ptr(),
                    upstream.len(),
                    headers.as_ptr(),
                    headers.len(),
                    body.as_ptr(),
                    body.len(),
                    trailers.as_ptr(),
                    trailers.len(),
                    milliseconds(timeout),
                    &raw mut token,
                )
            };
            check("http_call", status)?;
            Ok(token)
        }

        #[cfg(feature = "grpc")]
        pub(crate) fn grpc_call(self, request: &GrpcRequest<'_>) -> HostResult<u32> {
            let GrpcRequest { upstream, service, method, metadata, message, timeout } = *request;
            let mut token = 0;
            // SAFETY: the slices are valid for reads, `token` for a write.
            let status = unsafe {
                proxy_grpc_call(
                    upstream.as_ptr(),
                    upstream.len(),
                    service.as_ptr(),
                    service.len(),
                    method.as_ptr(),
                    method.len(),
                    metadata.as_ptr(),
                    metadata.len(),
                    message.as_ptr(),
                    message.len(),
                    milliseconds(timeout),
                    &raw mut token,
                )
            };
            check("grpc_call", status)?;
            Ok(token)
        }

        #[cfg(feature = "grpc")]
        pub(crate) fn status_message(self) -> HostResult<Vec<u8>> {
            let mut code = 0;
            // SAFETY: `code`, `message` and `len` are valid for writes.
            returned("get_status", |message, len| unsafe { proxy_get_status(&raw mut code, message, len) })
        }

        pub(crate) fn shared_data(self, key: &str) -> HostResult<(Vec<u8>, u32)> {
            let mut cas = 0;
            // SAFETY: `key` is valid for reads, `cas`, `value` and `len` for writes.
            let value = returned("get_shared_data", |value, len| unsafe {
                proxy_get_shared_data(key.as_ptr(), key.len(), value, len, &raw mut cas)
            })?;
            Ok((value, cas))
        }

        pub(crate) fn set_shared_data(self, key: &str, value: &[u8], cas: u32) -> HostResult<()> {
            // SAFETY: `key` and `value` are valid for reads.
            let status =
                unsafe { proxy_set_shared_data(key.as_ptr(), key.len(), value.as_ptr(), value.len(), cas) };
            check("set_shared_data", status)
        }

        pub(crate) fn define_metric(self, kind: MetricKind, name: &str) -> HostResult<u32> {
            let mut metric = 0;
            // SAFETY: `name` is valid for reads, `metric` for a write.
            let status =
                unsafe { proxy_define_metric(kind as u32, name.as_ptr(), name.len(), &raw mut metric) };
            check("define_metric", status)?;
            Ok(metric)
        }

        pub(crate) fn increment_metric(self, metric: u32, delta: i64) -> HostResult<()> {
            check("increment_metric", proxy_increment_metric(metric, delta))
        }

        pub(crate) fn record_metric(self, metric: u32, value: u64) -> HostResult<()> {
            check("record_metric", proxy_record_metric(metric, value))
        }

        pub(crate) fn metric(self, metric: u32) -> HostResult<u64> {
            let mut value = 0;
            // SAFETY: `value` is valid for a write.
            check("get_metric", unsafe { proxy_get_metric(metric, &raw mut value) })?;
            Ok(value)
        }

        pub(crate) fn property(self, path: &[u8]) -> HostResult<Vec<u8>> {
            // SAFETY: `path` is valid for reads, `value` and `len` for writes.
            returned("get_property", |value, len| unsafe {
                proxy_get_property(path.as_ptr(), path.len(), value, len)
            })
        }

        pub(crate) fn set_property(self, path: &[u8], value: &[u8]) -> HostResult<()> {
            // SAFETY: `path` and `value` are valid for reads.
            let status =
                unsafe { proxy_set_property(path.as_ptr(), path.len(), value.as_ptr(), value.len()) };
            check("set_property", status)
        }

        pub(crate) fn call_foreign_function(self, name: &str, arguments: &[u8]) -> HostResult<Vec<u8>> {
            // SAFETY: `name` and `arguments` are valid for reads, `result` and `len` for writes.
            returned("call_foreign_function", |result, len| unsafe {
                proxy_call_foreign_function(
                    name.as_ptr(),
                    name.len(),
                    arguments.as_ptr(),
                    arguments.len(),
                    result,
                    len,
                )
            })
        }
    }
}

/// Exports the callbacks of a plugin from a module. Used by the attribute `plugin` only.
#[doc(hidden)]
#[macro_export]
macro_rules! __export {
    ($plugin:ty, $config:ty, [$($callback:ident)*]) => {
        #[cfg(target_arch = "wasm32")]
        const _: () = {
            use $crate::__private::Direction;
            use $crate::__private::Runtime;

            ::std::thread_local! {
                static RUNTIME: Runtime<$plugin> = const { Runtime::new() };
            }

            const SCHEMA: &str = <$config as $crate::Config>::DOCUMENT.as_str();

            // A custom section, which hosts do not load.
            #[used]
            #[unsafe(link_section = "wasm-gateway.config-schema")]
            static SECTION: [u8; SCHEMA.len()] = $crate::__private::to_array(SCHEMA);

            #[unsafe(no_mangle)]
            extern "C" fn proxy_abi_version_0_2_1() {}

            #[unsafe(no_mangle)]
            extern "C" fn _initialize() {
                $crate::__private::initialize();
            }

            #[unsafe(no_mangle)]
            extern "C" fn proxy_on_memory_allocate(size: usize) -> *mut u8 {
                $crate::__private::allocate(size)
            }

            #[unsafe(no_mangle)]
            extern "C" fn proxy_on_context_create(context: u32, parent: u32) {
                RUNTIME.with(|runtime| runtime.on_context_create(context, parent));
            }

            #[unsafe(no_mangle)]
            extern "C" fn proxy_on_configure(context: u32, size: usize) -> bool {
                RUNTIME.with(|runtime| runtime.on_configure(context, size))
            }

            #[unsafe(no_mangle)]
            extern "C" fn proxy_on_delete(context: u32) {
                RUNTIME.with(|runtime| runtime.on_delete(context));
            }

            $($crate::__export_callback!($callback);)*
        };
    };
}

/// Exports one callback. Used by [`__export`] only.
#[doc(hidden)]
#[macro_export]
macro_rules! __export_callback {
    (on_request) => { $crate::__export_callback!(@headers proxy_on_request_headers, Request); };
    (on_request_body) => { $crate::__export_callback!(@body proxy_on_request_body, Request); };
    (on_request_trailers) => { $crate::__export_callback!(@trailers proxy_on_request_trailers, Request); };
    (on_response) => { $crate::__export_callback!(@headers proxy_on_response_headers, Response); };
    (on_response_body) => { $crate::__export_callback!(@body proxy_on_response_body, Response); };
    (on_response_trailers) => { $crate::__export_callback!(@trailers proxy_on_response_trailers, Response); };
    (@headers $name:ident, $direction:ident) => {
        #[unsafe(no_mangle)]
        extern "C" fn $name(context: u32, _: u32, is_end: u32) -> u32 {
            RUNTIME.with(|runtime| runtime.on_headers(context, Direction::$direction, is_end != 0)) as u32
        }
    };
    (@body $name:ident, $direction:ident) => {
        #[unsafe(no_mangle)]
        extern "C" fn $name(context: u32, size: usize, is_end: u32) -> u32 {
            RUNTIME.with(|runtime| runtime.on_body(context, Direction::$direction, size, is_end != 0)) as u32
        }
    };
    (@trailers $name:ident, $direction:ident) => {
        #[unsafe(no_mangle)]
        extern "C" fn $name(context: u32, _: u32) -> u32 {
            RUNTIME.with(|runtime| runtime.on_trailers(context, Direction::$direction)) as u32
        }
    };
    (on_tick) => {
        #[unsafe(no_mangle)]
        extern "C" fn proxy_on_tick(context: u32) {
            RUNTIME.with(|runtime| runtime.on_tick(context));
        }
    };
    (on_log) => {
        #[unsafe(no_mangle)]
        extern "C" fn proxy_on_log(context: u32) {
            RUNTIME.with(|runtime| runtime.on_log(context));
        }
    };
    (waits) => {
        #[unsafe(no_mangle)]
        extern "C" fn proxy_on_http_call_response(
            context: u32,
            token: u32,
            headers: u32,
            body: usize,
            _: u32,
        ) {
            RUNTIME.with(|runtime| runtime.on_http_call_response(context, token, headers, body));
        }

        $crate::__export_grpc!();
    };
}

/// Exports a class handler from a module: a function from a `ClassInput` to a `ClassOutput`.
///
/// The module is a command of WASI preview 1. See `plugin_sdk::class` for an example.
#[cfg(feature = "class")]
#[macro_export]
macro_rules! class_handler {
    ($translate:path) => {
        const _: () = {
            const TRANSLATE: fn(&$crate::class::ClassInput) -> $crate::class::ClassOutput = $translate;

            #[cfg(not(target_arch = "wasm32"))]
            const _: fn(&$crate::class::ClassInput) -> $crate::class::ClassOutput = TRANSLATE;

            #[cfg(target_arch = "wasm32")]
            #[unsafe(no_mangle)]
            extern "C" fn _start() {
                $crate::__private::initialize();
                $crate::__private::run_class_handler(TRANSLATE);
            }
        };
    };
}

/// Exports the callbacks of gRPC callouts. Used by [`__export_callback`] only.
#[cfg(feature = "grpc")]
#[doc(hidden)]
#[macro_export]
macro_rules! __export_grpc {
    () => {
        #[unsafe(no_mangle)]
        extern "C" fn proxy_on_grpc_receive(context: u32, token: u32, size: usize) {
            RUNTIME.with(|runtime| runtime.on_grpc_receive(context, token, size));
        }

        #[unsafe(no_mangle)]
        extern "C" fn proxy_on_grpc_close(context: u32, token: u32, status: u32) {
            RUNTIME.with(|runtime| runtime.on_grpc_close(context, token, status));
        }
    };
}

/// Exports nothing: the module has no gRPC callouts.
#[cfg(not(feature = "grpc"))]
#[doc(hidden)]
#[macro_export]
macro_rules! __export_grpc {
    () => {};
}
