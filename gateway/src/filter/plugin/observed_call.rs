//! A call of a guest that an observer sees. Without an observer nothing is measured.

use std::time::{Duration, Instant};

use plugin_host::{Event, GuestAction, GuestCall, InstanceConfig, StreamId, TrapReport};

/// What a call is about.
#[derive(Clone, Copy, Debug)]
pub(super) struct CallSubject {
    /// For people.
    pub(super) what: &'static str,
    /// The stream. `None` if there is none, or only the guest knows it.
    pub(super) stream: Option<StreamId>,
}

impl CallSubject {
    /// A call about a stream.
    pub(super) fn stream(what: &'static str, stream: StreamId) -> Self {
        Self { what, stream: Some(stream) }
    }

    /// A call that belongs to no stream, or to one that only the guest knows.
    pub(super) fn root(what: &'static str) -> Self {
        Self { what, stream: None }
    }

    /// A call for an event of a stream.
    pub(super) fn event(stream: StreamId, event: Event) -> Self {
        Self::stream(
            match event {
                Event::RequestHeaders { .. } => "request headers",
                Event::RequestBody { .. } => "request body",
                Event::RequestTrailers { .. } => "request trailers",
                Event::ResponseHeaders { .. } => "response headers",
                Event::ResponseBody { .. } => "response body",
                Event::ResponseTrailers { .. } => "response trailers",
            },
            stream,
        )
    }
}

/// A call that has begun.
pub(super) struct ObservedCall {
    what: &'static str,
    request: Option<String>,
    began: Instant,
}

/// The end of a call.
pub(super) struct CallEnd<'a> {
    /// What the guest asked for.
    pub(super) actions: &'a [GuestAction],
    /// The trap, if the call ended the instance.
    pub(super) trap: Option<&'a TrapReport>,
}

impl ObservedCall {
    /// Begins a call. Returns `None` without an observer.
    pub(super) fn begin(
        config: &InstanceConfig,
        subject: CallSubject,
        request_id: impl FnOnce(StreamId) -> Option<String>,
    ) -> Option<Self> {
        config.observer.as_ref()?;
        let request = subject.stream.and_then(request_id);
        Some(Self { what: subject.what, request, began: Instant::now() })
    }

    /// Reports the call. If its stream is unknown, it is the one that the guest resumed or answered in the call.
    pub(super) fn end(
        self,
        config: &InstanceConfig,
        end: &CallEnd<'_>,
        request_id: impl FnOnce(StreamId) -> Option<String>,
    ) {
        let Self { what, request, began } = self;
        let elapsed: Duration = began.elapsed();
        let request = request.or_else(|| end.actions.iter().find_map(stream_of).and_then(request_id));
        if let Some(observer) = &config.observer {
            observer.on_call(&GuestCall {
                plugin: &config.plugin,
                version: &config.version,
                what,
                request: request.as_deref(),
                elapsed,
                trap: end.trap,
            });
        }
    }
}

fn stream_of(action: &GuestAction) -> Option<StreamId> {
    match action {
        GuestAction::Resume(stream, _)
        | GuestAction::Reply(stream, _)
        | GuestAction::Close(stream)
        | GuestAction::Fail(stream) => Some(*stream),
        GuestAction::Http(..)
        | GuestAction::Grpc(..)
        | GuestAction::GrpcSend { .. }
        | GuestAction::GrpcClose(_)
        | GuestAction::GrpcCancel(_)
        | GuestAction::Tick(..) => None,
    }
}
