//! Host functions about buffers: bodies, configurations and what callouts brought.

use super::Delivery;
use super::HostCall;
use super::HostFunction;
use super::HostState;
use super::ReturnSlot;
use super::Span;
use super::host_function;
use crate::abi::Status;
use crate::view::Direction;
use crate::view::EditError;

pub(super) static FUNCTIONS: &[HostFunction] = &[
    host_function!(restricted "proxy_get_buffer_bytes", |call, buffer, start, max, address, size| {
        read(call, buffer, [start, max], ReturnSlot::new(address, size))
    }),
    host_function!(restricted "proxy_set_buffer_bytes", |call, buffer, start, size, value, len| {
        write(call, buffer, [start, size], Span::new(value, len))
    }),
    host_function!(restricted "proxy_get_buffer_status", |call, buffer, size, flags| {
        status(call, buffer, size, flags)
    }),
];

/// A buffer of the ABI.
#[derive(Clone, Copy)]
enum Buffer {
    Body(Direction),
    /// Of a callout.
    HttpBody,
    GrpcMessage,
    VmConfiguration,
    PluginConfiguration,
    /// TCP data and arguments of foreign functions.
    Unavailable,
}

impl Buffer {
    fn from_abi(buffer: u32) -> Option<Self> {
        Some(match buffer {
            0 => Self::Body(Direction::Request),
            1 => Self::Body(Direction::Response),
            2 | 3 | 8 => Self::Unavailable,
            4 => Self::HttpBody,
            5 => Self::GrpcMessage,
            6 => Self::VmConfiguration,
            7 => Self::PluginConfiguration,
            _ => return None,
        })
    }
}

impl HostState {
    /// Returns the bytes of a buffer, if it exists now.
    fn buffer(&self, buffer: Buffer) -> Option<&[u8]> {
        match (buffer, &self.delivery) {
            (Buffer::Body(direction), _) => self.contexts.effective()?.view.body(direction),
            (Buffer::HttpBody, Delivery::Http(response)) => Some(&response.body),
            (Buffer::GrpcMessage, Delivery::GrpcMessage(message)) => Some(message),
            (Buffer::VmConfiguration, _) => Some(&self.config.vm_configuration),
            (Buffer::PluginConfiguration, _) => {
                self.config.roots.get(self.contexts.effective_root().0).map(|configuration| &**configuration)
            }
            (Buffer::HttpBody | Buffer::GrpcMessage | Buffer::Unavailable, _) => None,
        }
    }

    /// Returns the number of bytes of a buffer, if it exists now.
    fn buffer_len(&self, buffer: Buffer) -> Option<usize> {
        match buffer {
            Buffer::Body(direction) => self.contexts.effective()?.view.body_len(direction),
            _ => self.buffer(buffer).map(<[u8]>::len),
        }
    }

    /// Copies the bytes of a buffer from `start` on.
    fn copy_buffer(&self, buffer: Buffer, start: usize, target: &mut [u8]) -> Option<()> {
        if let Buffer::Body(direction) = buffer {
            return self.contexts.effective()?.view.copy_body(direction, start, target).then_some(());
        }
        target.copy_from_slice(self.buffer(buffer)?.get(start..)?.get(..target.len())?);
        Some(())
    }
}

fn read(
    call: &mut HostCall<'_>,
    buffer: u32,
    [start, max]: [u32; 2],
    slot: ReturnSlot,
) -> wasmtime::Result<Status> {
    let Some(buffer) = Buffer::from_abi(buffer) else { return Ok(Status::BadArgument) };
    let Some(end) = start.checked_add(max) else { return Ok(Status::BadArgument) };
    let Some(size) = call.host().buffer_len(buffer) else { return Ok(Status::NotFound) };
    let end = size.min(end as usize);
    let start = end.min(start as usize);
    call.return_with(slot, end - start, |host, target| host.copy_buffer(buffer, start, target))
}

fn write(
    call: &mut HostCall<'_>,
    buffer: u32,
    [start, size]: [u32; 2],
    value: Span,
) -> wasmtime::Result<Status> {
    let Some(Buffer::Body(direction)) = Buffer::from_abi(buffer) else { return Ok(Status::BadArgument) };
    let (memory, host) = call.split();
    let value = value.read(memory)?;
    let Some(stream) = host.contexts.effective_mut() else { return Ok(Status::BadArgument) };
    match stream.view.edit_body(direction, start as usize, size as usize, value) {
        Ok(()) => Ok(Status::Ok),
        Err(EditError::TooLarge) => {
            host.warn_once("the plugin made a body larger than its limit; the guest gets an error");
            Ok(Status::InternalFailure)
        }
        Err(EditError::Unavailable | EditError::Malformed) => Ok(Status::BadArgument),
    }
}

fn status(call: &mut HostCall<'_>, buffer: u32, size: u32, flags: u32) -> wasmtime::Result<Status> {
    let Some(buffer) = Buffer::from_abi(buffer) else { return Ok(Status::BadArgument) };
    let Some(len) = call.host().buffer_len(buffer) else { return Ok(Status::NotFound) };
    call.write_u32(size, u32::try_from(len).unwrap_or(u32::MAX))?;
    call.write_u32(flags, 0)?;
    Ok(Status::Ok)
}
