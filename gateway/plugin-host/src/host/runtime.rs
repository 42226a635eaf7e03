//! Functions that language runtimes import beside WASI: Emscripten and AssemblyScript.

use super::HostFunction;
use super::host_function;
use crate::fault::Fault;

pub(super) static FUNCTIONS: &[HostFunction] = &[
    // The host looks up the memory's size in each call.
    host_function!(always "emscripten_notify_memory_growth", |_call, _memory| -> () Ok(())),
    // Guests have one thread.
    host_function!(always "pthread_equal", |_call, first, second| {
        wasmtime::Result::Ok(u32::from(first == second))
    }),
    host_function!(always "abort", |_call, _message, _file, line, column| -> () {
        Err(Fault::Abort(line, column).into())
    }),
];
