//! Host function for HTTP callouts.

use std::time::Duration;

use bytes::Bytes;

use super::HostCall;
use super::HostFunction;
use super::HostState;
use super::Span;
use super::host_function;
use crate::abi::Status;
use crate::action::CallToken;
use crate::action::GuestAction;
use crate::action::HttpRequest;
use crate::action_queue::fields_bytes;
use crate::callouts::Callout;
use crate::callouts::CalloutKind;
use crate::pairs;
use crate::upstream;

pub(super) static FUNCTIONS: &[HostFunction] = &[host_function!(
    restricted "proxy_http_call",
    |call, upstream, upstream_len, fields, fields_len, body, body_len, trailers, trailers_len, timeout, token| {
        let arguments = HttpArguments {
            upstream: Span::new(upstream, upstream_len),
            fields: Span::new(fields, fields_len),
            body: Span::new(body, body_len),
            trailers: Span::new(trailers, trailers_len),
            timeout,
            token,
        };
        http_call(call, &arguments)
    }
)];

/// Pseudo-header fields that a request needs.
const REQUIRED: [&[u8]; 3] = [b":authority", b":method", b":path"];

/// The arguments of `proxy_http_call`.
struct HttpArguments {
    upstream: Span,
    fields: Span,
    body: Span,
    trailers: Span,
    timeout: u32,
    token: u32,
}

impl HostState {
    /// Returns the token of a new callout. Returns `None` and logs a warning if too many are in flight.
    pub(super) fn next_token(&mut self, content: usize) -> Option<CallToken> {
        let token = self.callouts.next_token(self.contexts.effective_stream(), content);
        if token.is_none() {
            self.warn_once("the plugin has too many callouts in flight; further ones fail");
        }
        token
    }

    /// Queues the action that starts a callout, and notes the callout.
    pub(super) fn begin_callout(
        &mut self,
        token: CallToken,
        kind: CalloutKind,
        action: GuestAction,
        content: usize,
    ) -> Status {
        if !self.actions.push(action, content) {
            return Status::InternalFailure;
        }
        let callout = Callout {
            kind,
            root: self.contexts.effective_root(),
            stream: self.contexts.effective_stream(),
            has_ended: kind != CalloutKind::GrpcStream,
            bytes: content,
        };
        self.callouts.insert(token, callout);
        Status::Ok
    }
}

fn http_call(call: &mut HostCall<'_>, arguments: &HttpArguments) -> wasmtime::Result<Status> {
    let (memory, host) = call.split();
    let name = arguments.upstream.read(memory)?;
    let body = arguments.body.read(memory)?;
    let fields = pairs::decode_fields(arguments.fields.read(memory)?);
    let trailers = pairs::decode_fields(arguments.trailers.read(memory)?);
    let (Ok(fields), Ok(trailers)) = (fields, trailers) else { return Ok(Status::BadArgument) };
    let Some(upstream) = upstream::find(&host.config.upstreams, &host.config.namespace, name) else {
        return Ok(Status::BadArgument);
    };
    if REQUIRED.iter().any(|required| !fields.iter().any(|(name, _)| name == required)) {
        return Ok(Status::BadArgument);
    }
    let content = body.len() + fields_bytes(&fields) + fields_bytes(&trailers);
    let Some(token) = host.next_token(content) else { return Ok(Status::InternalFailure) };
    let request = HttpRequest {
        root: host.contexts.effective_root(),
        stream: host.contexts.effective_stream(),
        upstream,
        body: Bytes::copy_from_slice(body),
        timeout: Duration::from_millis(arguments.timeout.into()),
        fields,
        trailers,
    };
    call.write_u32(arguments.token, token.0)?;
    let action = GuestAction::Http(token, Box::new(request));
    Ok(call.host_mut().begin_callout(token, CalloutKind::Http, action, content))
}
