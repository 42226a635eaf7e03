//! Foreign functions: extensions of the ABI, called by name.

use super::HostCall;
use super::HostFunction;
use super::Span;
use super::host_function;
use crate::abi::Status;
use crate::action::GuestAction;

pub(super) static FUNCTIONS: &[HostFunction] = &[host_function!(
    restricted "proxy_call_foreign_function",
    |call, name, name_len, _argument, _argument_len, _address, _size| {
        call_by_name(call, Span::new(name, name_len))
    }
)];

/// Fails the stream of the call, as `failStrategy` says. The instance and its other streams go on.
const FAIL: &[u8] = b"wasm_gateway.fail";

/// Calls a foreign function. SDKs return an error for the status of an unknown one.
fn call_by_name(call: &mut HostCall<'_>, name: Span) -> wasmtime::Result<Status> {
    let (memory, _) = call.split();
    match name.read(memory)? {
        FAIL => Ok(fail(call)),
        _ => Ok(Status::NotFound),
    }
}

fn fail(call: &mut HostCall<'_>) -> Status {
    let host = call.host_mut();
    let Some(id) = host.contexts.effective_stream() else { return Status::BadArgument };
    let Some(stream) = host.contexts.effective_mut() else { return Status::BadArgument };
    stream.is_voided = true;
    if host.actions.push(GuestAction::Fail(id), 0) { Status::Ok } else { Status::InternalFailure }
}
