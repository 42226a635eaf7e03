//! Dispatches the callbacks of the host to the handlers of a plugin.
//!
//! A callback runs the handlers that it makes possible, and returns whether its stream waits. A future that waits for a callout is
//! polled when the answer arrives: the runtime makes its context effective, polls it, and continues the stream. No part of the
//! runtime is borrowed while a handler or the host runs.

mod half;
mod root;
mod stream;

use std::rc::Rc;

use crate::contexts::Contexts;
use crate::current_host::host;
use crate::executor;
use crate::host::Action;
use crate::host::BufferKind;
use crate::host::Direction;
use crate::host::MapKind;
use crate::host::optional;
use crate::pairs::Fields;
use crate::pending_call;
use crate::pending_call::Answer;
use crate::plugin::Plugin;

use self::root::Root;
use self::stream::Stream;

/// The contexts of a plugin in one module instance.
pub struct Runtime<P: Plugin> {
    roots: Contexts<Rc<Root<P>>>,
    streams: Contexts<Rc<Stream<P>>>,
}

impl<P: Plugin> Runtime<P> {
    /// Creates a runtime without contexts.
    #[expect(clippy::new_without_default, reason = "the exports create it in a constant")]
    pub const fn new() -> Self {
        Self { roots: Contexts::new(), streams: Contexts::new() }
    }

    /// Creates a context. Parent 0: a root context.
    pub fn on_context_create(&self, context: u32, parent: u32) {
        if parent == 0 {
            #[cfg(target_arch = "wasm32")]
            crate::panic_hook::install();
            drop(self.roots.insert(context, Rc::new(Root::new())));
        } else {
            let plugin = self.roots.get(parent).and_then(|root| root.plugin());
            drop(self.streams.insert(context, Rc::new(Stream::new(context, plugin))));
        }
    }

    /// Reads the configuration of a root context. Returns false if it is not valid.
    pub fn on_configure(&self, context: u32, size: usize) -> bool {
        let Some(root) = self.roots.get(context) else { return false };
        let is_valid = root.configure(context, size);
        self.run_ready(context);
        is_valid
    }

    /// Forgets a context.
    pub fn on_delete(&self, context: u32) {
        // Futures are dropped with their contexts.
        drop(self.streams.remove(context));
        drop(self.roots.remove(context));
        executor::clear_ready(context, P::CALLBACKS.waits);
        self.run_ready(context);
    }

    /// Runs the timer of a root context.
    pub fn on_tick(&self, context: u32) {
        if let Some(root) = self.roots.get(context) {
            root.tick(context);
        }
        self.run_ready(context);
    }

    /// Handles the head of a message.
    pub fn on_headers(&self, context: u32, direction: Direction, is_end: bool) -> Action {
        self.handle(context, direction, |stream| stream.receive_headers(direction, is_end))
    }

    /// Handles a piece of a body.
    pub fn on_body(&self, context: u32, direction: Direction, size: usize, is_end: bool) -> Action {
        self.handle(context, direction, |stream| stream.receive_body(direction, size, is_end))
    }

    /// Handles the trailers of a message.
    pub fn on_trailers(&self, context: u32, direction: Direction) -> Action {
        self.handle(context, direction, |stream| stream.receive_trailers(direction))
    }

    /// Ends a stream.
    pub fn on_log(&self, context: u32) {
        if let Some(stream) = self.streams.get(context) {
            stream.log();
        }
        self.run_ready(context);
    }

    /// Delivers the end of an HTTP callout. No headers: it failed.
    pub fn on_http_call_response(&self, context: u32, token: u32, headers: u32, body_size: usize) {
        if pending_call::is_waiting(token) {
            let answer = if headers == 0 { Answer::Failed } else { read_response(body_size) };
            pending_call::complete(token, answer);
        }
        self.run_ready(context);
    }

    /// Delivers the message of a gRPC callout.
    #[cfg(feature = "grpc")]
    pub fn on_grpc_receive(&self, context: u32, token: u32, size: usize) {
        if pending_call::is_waiting(token) {
            let message = optional(host().buffer_bytes(BufferKind::GrpcMessage, 0, size));
            let answer =
                message.map_or(Answer::Failed, |message| Answer::GrpcMessage(message.unwrap_or_default()));
            pending_call::complete(token, answer);
        }
        self.run_ready(context);
    }

    /// Delivers the end of a gRPC callout.
    #[cfg(feature = "grpc")]
    pub fn on_grpc_close(&self, context: u32, token: u32, status: u32) {
        if pending_call::is_waiting(token) {
            let message = host().status_message().map(crate::headers::into_text).unwrap_or_default();
            pending_call::complete(token, Answer::GrpcStatus(status, message));
        }
        self.run_ready(context);
    }

    /// Notes an event of a stream and runs its handlers.
    fn handle(&self, context: u32, direction: Direction, receive: impl FnOnce(&Stream<P>)) -> Action {
        let Some(stream) = self.streams.get(context) else { return Action::Continue };
        receive(&stream);
        stream.run();
        self.run_ready(context);
        stream.settle(Some(direction))
    }

    /// Polls the futures that were woken, each in its own context, and restores the present one. The present stream is not
    /// continued: its callback returns whether it waits.
    fn run_ready(&self, current: u32) {
        if !P::CALLBACKS.waits {
            return;
        }
        let mut effective = current;
        while let Some(context) = executor::next_ready() {
            let (root, stream) = (self.roots.get(context), self.streams.get(context));
            if root.is_none() && stream.is_none() {
                continue;
            }
            if effective != context {
                if host().set_effective_context(context).is_err() {
                    continue;
                }
                effective = context;
            }
            if let Some(root) = root {
                root.run(context);
            }
            if let Some(stream) = stream {
                stream.run();
                if context != current {
                    stream.settle(None);
                }
            }
        }
        if effective != current {
            // The callback ends here, so a failure has no effect.
            let _ = host().set_effective_context(current);
        }
    }
}

/// Reads the response of the callout that the host is delivering.
fn read_response(body_size: usize) -> Answer {
    let fields = |map| Ok(Fields::from_block(optional(host().header_pairs(map))?.unwrap_or_default()));
    let read = || {
        let headers = fields(MapKind::CalloutHeaders)?;
        let body = match body_size {
            0 => Vec::new(),
            size => optional(host().buffer_bytes(BufferKind::CalloutBody, 0, size))?.unwrap_or_default(),
        };
        Ok(Answer::Http { headers, body, trailers: fields(MapKind::CalloutTrailers)? })
    };
    read().unwrap_or_else(|error: crate::host::HostError| {
        let _ = host().log(crate::host::Level::Error, &error.to_string());
        Answer::Failed
    })
}
