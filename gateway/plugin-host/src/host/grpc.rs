//! Host functions for gRPC callouts.

use std::time::Duration;

use bytes::Bytes;

use super::HostCall;
use super::HostFunction;
use super::Span;
use super::host_function;
use crate::abi::Status;
use crate::action::CallToken;
use crate::action::GrpcRequest;
use crate::action::GuestAction;
use crate::action_queue::fields_bytes;
use crate::callouts::CalloutKind;
use crate::pairs;
use crate::upstream;

pub(super) static FUNCTIONS: &[HostFunction] = &[
    host_function!(
        restricted "proxy_grpc_call",
        |call, upstream, upstream_len, service, service_len, method, method_len, metadata, metadata_len, message,
         message_len, timeout, token| {
            let arguments = GrpcArguments {
                upstream: Span::new(upstream, upstream_len),
                service: Span::new(service, service_len),
                method: Span::new(method, method_len),
                metadata: Span::new(metadata, metadata_len),
                unary: Some((Span::new(message, message_len), timeout)),
                token,
            };
            begin(call, &arguments)
        }
    ),
    host_function!(
        restricted "proxy_grpc_stream",
        |call, upstream, upstream_len, service, service_len, method, method_len, metadata, metadata_len, token| {
            let arguments = GrpcArguments {
                upstream: Span::new(upstream, upstream_len),
                service: Span::new(service, service_len),
                method: Span::new(method, method_len),
                metadata: Span::new(metadata, metadata_len),
                unary: None,
                token,
            };
            begin(call, &arguments)
        }
    ),
    host_function!(restricted "proxy_grpc_send", |call, token, message, len, is_end| {
        send(call, CallToken(token), Span::new(message, len), is_end != 0)
    }),
    host_function!(restricted "proxy_grpc_close", |call, token| close(call, CallToken(token))),
    host_function!(restricted "proxy_grpc_cancel", |call, token| cancel(call, CallToken(token))),
];

/// The arguments of `proxy_grpc_call` and `proxy_grpc_stream`.
struct GrpcArguments {
    upstream: Span,
    service: Span,
    method: Span,
    metadata: Span,
    /// Message and timeout of a call.
    unary: Option<(Span, u32)>,
    token: u32,
}

fn begin(call: &mut HostCall<'_>, arguments: &GrpcArguments) -> wasmtime::Result<Status> {
    let (memory, host) = call.split();
    let name = arguments.upstream.read(memory)?;
    let service = Bytes::copy_from_slice(arguments.service.read(memory)?);
    let method = Bytes::copy_from_slice(arguments.method.read(memory)?);
    let Ok(metadata) = pairs::decode_fields(arguments.metadata.read(memory)?) else {
        return Ok(Status::ParseFailure);
    };
    let message = match arguments.unary {
        Some((message, _)) => Some(Bytes::copy_from_slice(message.read(memory)?)),
        None => None,
    };
    let find = |name| upstream::find(&host.config.upstreams, &host.config.namespace, name);
    // The status that Envoy gives. The Rust SDK panics on BAD_ARGUMENT here.
    let Some(upstream) = find(name).or_else(|| find(upstream::grpc_cluster(name)?)) else {
        return Ok(Status::ParseFailure);
    };
    let message_bytes = message.as_ref().map_or(0, Bytes::len);
    let content = service.len() + method.len() + fields_bytes(&metadata) + message_bytes;
    let Some(token) = host.next_token(content) else { return Ok(Status::InternalFailure) };
    let kind = if message.is_some() { CalloutKind::GrpcCall } else { CalloutKind::GrpcStream };
    let request = GrpcRequest {
        root: host.contexts.effective_root(),
        stream: host.contexts.effective_stream(),
        upstream,
        timeout: arguments.unary.map(|(_, timeout)| Duration::from_millis(timeout.into())),
        service,
        method,
        metadata,
        message,
    };
    call.write_u32(arguments.token, token.0)?;
    Ok(call.host_mut().begin_callout(token, kind, GuestAction::Grpc(token, Box::new(request)), content))
}

fn send(call: &mut HostCall<'_>, token: CallToken, message: Span, is_end: bool) -> wasmtime::Result<Status> {
    let (memory, host) = call.split();
    let message = message.read(memory)?;
    let Some(callout) = host.callouts.get_mut(token) else { return Ok(Status::NotFound) };
    if callout.has_ended {
        return Ok(Status::BadArgument);
    }
    let action = GuestAction::GrpcSend { token, message: Bytes::copy_from_slice(message), is_end };
    if !host.actions.push(action, message.len()) {
        return Ok(Status::InternalFailure);
    }
    callout.has_ended = is_end;
    Ok(Status::Ok)
}

/// Ends the sending side of a stream. A call has sent its message, so that it is cancelled.
fn close(call: &mut HostCall<'_>, token: CallToken) -> wasmtime::Result<Status> {
    let host = call.host_mut();
    match host.callouts.get_mut(token) {
        None => Ok(Status::NotFound),
        Some(callout) => match callout.kind {
            CalloutKind::Http => Ok(Status::BadArgument),
            CalloutKind::GrpcCall => cancel(call, token),
            CalloutKind::GrpcStream => {
                if !std::mem::replace(&mut callout.has_ended, true) {
                    host.actions.push(GuestAction::GrpcClose(token), 0);
                }
                Ok(Status::Ok)
            }
        },
    }
}

fn cancel(call: &mut HostCall<'_>, token: CallToken) -> wasmtime::Result<Status> {
    let host = call.host_mut();
    match host.callouts.get(token).map(|callout| callout.kind) {
        None => Ok(Status::NotFound),
        Some(CalloutKind::Http) => Ok(Status::BadArgument),
        Some(CalloutKind::GrpcCall | CalloutKind::GrpcStream) => {
            host.callouts.remove(token);
            host.actions.push(GuestAction::GrpcCancel(token), 0);
            Ok(Status::Ok)
        }
    }
}
