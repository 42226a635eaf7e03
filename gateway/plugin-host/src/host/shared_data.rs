//! Host functions about shared data.

use super::HostCall;
use super::HostFunction;
use super::ReturnSlot;
use super::Span;
use super::host_function;
use crate::abi::Status;
use crate::shared::SetError;

pub(super) static FUNCTIONS: &[HostFunction] = &[
    host_function!(restricted "proxy_get_shared_data", |call, key, len, address, size, cas| {
        get(call, Span::new(key, len), ReturnSlot::new(address, size), cas)
    }),
    host_function!(restricted "proxy_set_shared_data", |call, key, len, value, value_len, cas| {
        set(call, Span::new(key, len), Span::new(value, value_len), cas)
    }),
];

fn get(call: &mut HostCall<'_>, key: Span, slot: ReturnSlot, cas: u32) -> wasmtime::Result<Status> {
    let (memory, host) = call.split();
    let Some((value, version)) = host.shared.get(key.read(memory)?) else { return Ok(Status::NotFound) };
    call.write_u32(cas, version)?;
    call.return_bytes(slot, &value)
}

fn set(call: &mut HostCall<'_>, key: Span, value: Span, cas: u32) -> wasmtime::Result<Status> {
    let (memory, host) = call.split();
    let (key, value) = (key.read(memory)?, value.read(memory)?);
    Ok(match host.shared.set(key, value, cas) {
        Ok(()) => Status::Ok,
        Err(SetError::Changed) => Status::CasMismatch,
        Err(SetError::Full) => {
            host.warn_once("the shared data of the plugin is full");
            Status::InternalFailure
        }
    })
}
