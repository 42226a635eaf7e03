//! Host functions about shared queues.

use super::HostCall;
use super::HostFunction;
use super::ReturnSlot;
use super::Span;
use super::host_function;
use crate::abi::Status;
use crate::shared::QueueError;

pub(super) static FUNCTIONS: &[HostFunction] = &[
    host_function!(restricted "proxy_register_shared_queue", |call, name, len, id| {
        register(call, Span::new(name, len), id)
    }),
    host_function!(restricted "proxy_resolve_shared_queue", |call, vm, vm_len, name, len, id| {
        resolve(call, Span::new(vm, vm_len), Span::new(name, len), id)
    }),
    host_function!(restricted "proxy_enqueue_shared_queue", |call, id, item, len| {
        enqueue(call, id, Span::new(item, len))
    }),
    host_function!(restricted "proxy_dequeue_shared_queue", |call, id, address, size| {
        dequeue(call, id, ReturnSlot::new(address, size))
    }),
];

impl From<QueueError> for Status {
    fn from(error: QueueError) -> Self {
        match error {
            QueueError::Unknown => Self::NotFound,
            QueueError::Empty => Self::Empty,
            QueueError::Full => Self::InternalFailure,
        }
    }
}

fn register(call: &mut HostCall<'_>, name: Span, id: u32) -> wasmtime::Result<Status> {
    let (memory, host) = call.split();
    match host.shared.register_queue(name.read(memory)?, host.contexts.effective_root()) {
        Ok(queue) => call.write_u32(id, queue)?,
        Err(error) => return Ok(error.into()),
    }
    Ok(Status::Ok)
}

fn resolve(call: &mut HostCall<'_>, vm: Span, name: Span, id: u32) -> wasmtime::Result<Status> {
    let (memory, host) = call.split();
    match host.shared.resolve_queue(vm.read(memory)?, name.read(memory)?) {
        Ok(queue) => call.write_u32(id, queue)?,
        Err(error) => return Ok(error.into()),
    }
    Ok(Status::Ok)
}

fn enqueue(call: &mut HostCall<'_>, id: u32, item: Span) -> wasmtime::Result<Status> {
    let (memory, host) = call.split();
    Ok(host.shared.enqueue(id, item.read(memory)?).map_or_else(Status::from, |()| Status::Ok))
}

fn dequeue(call: &mut HostCall<'_>, id: u32, slot: ReturnSlot) -> wasmtime::Result<Status> {
    match call.host().shared.dequeue(id) {
        Ok(item) => call.return_bytes(slot, &item),
        Err(error) => Ok(error.into()),
    }
}
