//! Host functions that act on a stream: resume, reset, reply.

use bytes::Bytes;

use super::HostCall;
use super::HostFunction;
use super::ReturnSlot;
use super::Span;
use super::host_function;
use crate::abi::Status;
use crate::action::GuestAction;
use crate::action::Reply;
use crate::action_queue::fields_bytes;
use crate::pairs;
use crate::view::Direction;

pub(super) static FUNCTIONS: &[HostFunction] = &[
    host_function!(restricted "proxy_continue_stream", |call, stream| resume(call, direction(stream))),
    host_function!(restricted "proxy_close_stream", |call, stream| close(call, direction(stream))),
    host_function!(restricted "proxy_get_status", |call, code, address, size| {
        status(call, code, ReturnSlot::new(address, size))
    }),
    host_function!(
        restricted "proxy_send_local_response",
        |call, code, details, details_len, body, body_len, fields, fields_len, grpc_status| {
            let request = ReplyRequest {
                status: code,
                details: Span::new(details, details_len),
                body: Span::new(body, body_len),
                fields: Span::new(fields, fields_len),
                grpc_status,
            };
            reply(call, &request)
        }
    ),
    // ABI 0.1.0, in both spellings of its SDKs.
    host_function!(restricted "proxy_continue_request", |call| resume(call, Some(Direction::Request))),
    host_function!(restricted "proxy_continue_request", |call| -> () {
        resume(call, Some(Direction::Request)).map(drop)
    }),
    host_function!(restricted "proxy_continue_response", |call| resume(call, Some(Direction::Response))),
    host_function!(restricted "proxy_continue_response", |call| -> () {
        resume(call, Some(Direction::Response)).map(drop)
    }),
    // Routes are chosen before plugins run: there is no cache.
    host_function!(restricted "proxy_clear_route_cache", |_call| wasmtime::Result::Ok(Status::Ok)),
    host_function!(restricted "proxy_clear_route_cache", |_call| -> () Ok(())),
];

/// `grpc_status` of a reply that has none.
const NO_GRPC_STATUS: u32 = u32::MAX;

/// The arguments of `proxy_send_local_response`.
struct ReplyRequest {
    status: u32,
    details: Span,
    body: Span,
    fields: Span,
    grpc_status: u32,
}

/// Returns the direction of a stream type. Returns `None` for TCP.
fn direction(stream: u32) -> Option<Direction> {
    match stream {
        0 => Some(Direction::Request),
        1 => Some(Direction::Response),
        _ => None,
    }
}

fn resume(call: &mut HostCall<'_>, direction: Option<Direction>) -> wasmtime::Result<Status> {
    let host = call.host_mut();
    let (Some(direction), Some(stream)) = (direction, host.contexts.effective_stream()) else {
        return Ok(Status::BadArgument);
    };
    let is_queued = host.actions.push(GuestAction::Resume(stream, direction), 0);
    Ok(if is_queued { Status::Ok } else { Status::InternalFailure })
}

fn close(call: &mut HostCall<'_>, direction: Option<Direction>) -> wasmtime::Result<Status> {
    let host = call.host_mut();
    let (Some(_), Some(stream)) = (direction, host.contexts.effective_stream()) else {
        return Ok(Status::BadArgument);
    };
    let is_queued = host.actions.push(GuestAction::Close(stream), 0);
    Ok(if is_queued { Status::Ok } else { Status::InternalFailure })
}

fn status(call: &mut HostCall<'_>, code: u32, slot: ReturnSlot) -> wasmtime::Result<Status> {
    let (status, message) = call.host().grpc_status.clone();
    call.write_u32(code, status)?;
    call.return_bytes(slot, &message)
}

/// Queues a reply. Only the first one of a stream counts.
fn reply(call: &mut HostCall<'_>, request: &ReplyRequest) -> wasmtime::Result<Status> {
    let (memory, host) = call.split();
    let (details, body) = (request.details.read(memory)?, request.body.read(memory)?);
    let Ok(fields) = pairs::decode_fields(request.fields.read(memory)?) else {
        return Ok(Status::BadArgument);
    };
    let Some(id) = host.contexts.effective_stream() else { return Ok(Status::BadArgument) };
    let Some(stream) = host.contexts.effective_mut() else { return Ok(Status::BadArgument) };
    if stream.has_replied {
        stream.has_replied_again = true;
        return Ok(Status::Ok);
    }
    stream.is_voided = true;
    let bytes = details.len() + body.len() + fields_bytes(&fields);
    let reply = Reply {
        status: request.status,
        details: Bytes::copy_from_slice(details),
        body: Bytes::copy_from_slice(body),
        fields,
        grpc_status: (request.grpc_status != NO_GRPC_STATUS).then_some(request.grpc_status),
    };
    stream.has_replied = host.actions.push(GuestAction::Reply(id, Box::new(reply)), bytes);
    Ok(if stream.has_replied { Status::Ok } else { Status::InternalFailure })
}
