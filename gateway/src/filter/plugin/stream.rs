//! A request that a plugin sees, from its first callback to its last.

use std::rc::Rc;
use std::task::{Context, Poll};

use bytes::Bytes;
use futures::future::LocalBoxFuture;
use plugin_host::{CallError, Callback, Event, HttpView as _, MapKind, Reply, RootIndex, StreamId, Verdict};
use routing::table::FailStrategy;

use super::breaker::Admission;
use super::maps::patched_trailers;
use super::observed_call::CallSubject;
use super::reply;
use super::reply_reason::PluginReply;
use super::stats::increment;
use super::view::{StreamView, Trailers};
use super::worker_instance::{OwnActions, Woken, WorkerInstance};
use crate::filter::{BodyEnd, BodyStep, Direction, Resumed};
use crate::message::{LocalReply, Patch};

/// An open stream of an instance.
#[derive(Debug)]
pub(in crate::filter) struct PluginStream {
    instance: Rc<WorkerInstance>,
    id: StreamId,
    admission: Admission,
}

/// What a guest decided about a head.
pub(super) enum HeadStep {
    /// It goes on, with these edits.
    Continue(Patch),
    /// It stops, and the body with it.
    Stop,
    /// It stops, and the body goes to the guest.
    Hold,
    /// The guest replied.
    Reply(Box<LocalReply>),
    /// The guest failed. These edits were there before.
    Failed(Patch),
}

/// What happens to the request of a plugin that failed.
pub(super) enum Failure {
    /// It goes on without the plugin.
    Bypassed,
    /// It gets this reply.
    Reply(Box<LocalReply>),
}

/// Returns the direction as the host names it.
pub(super) fn host(direction: Direction) -> plugin_host::Direction {
    match direction {
        Direction::Request => plugin_host::Direction::Request,
        Direction::Response => plugin_host::Direction::Response,
    }
}

impl PluginStream {
    /// Creates the context of a stream. Returns the view if that fails.
    pub(super) fn open(
        (instance, admission): (Rc<WorkerInstance>, Admission),
        root: RootIndex,
        view: Box<StreamView>,
    ) -> Result<Self, Box<StreamView>> {
        increment(instance.stats().map(|stats| &stats.streams));
        let mut refused = None;
        let (opened, _) = instance.call(None, CallSubject::root("new request"), |guest| {
            guest.open(root, view).map_err(|(error, view)| {
                refused = Some(view);
                error
            })
        });
        match (opened, refused) {
            (Ok(id), _) => Ok(Self { instance, id, admission }),
            (Err(_), Some(view)) => Err(view),
            // Not reached: an error comes with the view.
            (Err(_), None) => Ok(Self { instance, id: StreamId(0), admission }),
        }
    }

    /// Makes a local reply of a guest's.
    pub(super) fn local_reply(&self, reply: Reply) -> Box<LocalReply> {
        let content_type = self.with_view(|view| {
            view.field(MapKind::RequestHeaders, b"content-type").map(std::borrow::Cow::into_owned)
        });
        reply::from_guest(reply, content_type.flatten().as_deref())
    }

    pub(super) fn is_alive(&self) -> bool {
        !self.instance.is_dead()
    }

    /// Calls the guest for an event of this stream.
    pub(super) fn call(&self, event: Event) -> (Result<Verdict, CallError>, OwnActions) {
        let subject = CallSubject::event(self.id, event);
        self.instance.call(Some(self.id), subject, |guest| guest.call(self.id, event))
    }

    /// Calls the guest for the head of a direction, which `begin` puts into the view.
    pub(super) fn call_head(
        &self,
        direction: Direction,
        is_end: bool,
        begin: impl FnOnce(&mut StreamView),
    ) -> HeadStep {
        let (callback, map, what) = match direction {
            Direction::Request => (Callback::RequestHeaders, MapKind::RequestHeaders, "request headers"),
            Direction::Response => (Callback::ResponseHeaders, MapKind::ResponseHeaders, "response headers"),
        };
        let begin = |view: &mut StreamView| {
            begin(view);
            view.held(host(direction)).is_absent = is_end;
            view.share_patch(host(direction))
        };
        if !self.instance.version.has(callback) {
            return HeadStep::Continue(self.with_view(begin).unwrap_or_default());
        }
        let (mut before, mut edits) = (Patch::default(), None);
        let subject = CallSubject::stream(what, self.id);
        let (result, own) = self.instance.call(Some(self.id), subject, |guest| {
            let view = guest.view_mut(self.id).ok_or(CallError::UnknownStream)?;
            before = begin(view);
            let fields = view.field_count(map);
            let verdict = guest.call(
                self.id,
                match direction {
                    Direction::Request => Event::RequestHeaders { fields, is_end },
                    Direction::Response => Event::ResponseHeaders { fields, is_end },
                },
            )?;
            if verdict == Verdict::Continue {
                edits = guest.view_mut(self.id).map(|view| view.share_patch(host(direction)));
            }
            Ok(verdict)
        });
        if let Some(reply) = own.reply {
            return HeadStep::Reply(self.local_reply(*reply));
        }
        if own.is_closed {
            return HeadStep::Reply(PluginReply::Closed.local_reply());
        }
        if own.has_failed {
            return HeadStep::Failed(before);
        }
        let is_resumed = own.is_resumed(host(direction));
        match result {
            Err(_) => HeadStep::Failed(before),
            Ok(Verdict::Continue) => HeadStep::Continue(edits.unwrap_or_default()),
            Ok(_) if is_resumed => HeadStep::Continue(self.edits(direction)),
            Ok(verdict) => {
                self.stop(direction);
                if verdict == Verdict::StopHead && !is_end { HeadStep::Hold } else { HeadStep::Stop }
            }
        }
    }

    /// Waits until the guest lets the head of a direction go on.
    pub(super) fn wait(&self, direction: Direction, fail: FailStrategy) -> LocalBoxFuture<'static, Resumed> {
        let stream = Self { instance: Rc::clone(&self.instance), ..*self };
        Box::pin(async move {
            match std::future::poll_fn(|task| stream.poll_stopped(direction, task)).await {
                Woken::Resumed => Resumed::Continue(stream.edits(direction)),
                Woken::Reply(reply) => Resumed::Reply(stream.local_reply(*reply)),
                Woken::Closed => Resumed::Reply(PluginReply::Closed.local_reply()),
                Woken::Failed => {
                    stream.on_failure();
                    match fail {
                        FailStrategy::Open => Resumed::Bypass(stream.edits(direction)),
                        FailStrategy::Close => Resumed::Reply(PluginReply::Failed.local_reply()),
                    }
                }
            }
        })
    }

    pub(super) fn poll_stopped(&self, direction: Direction, task: &mut Context<'_>) -> Poll<Woken> {
        self.instance.poll_stopped(self.id, host(direction), task)
    }

    /// Records that a direction is stopped.
    pub(super) fn stop(&self, direction: Direction) {
        self.instance.stop(self.id, host(direction));
    }

    /// Puts bytes of a body and its end into the view. Returns the event for them; `None` if the guest does not take
    /// them.
    pub(super) fn push(&self, direction: Direction, data: Bytes, end: Option<BodyEnd>) -> Option<Event> {
        let has = |callback| self.instance.version.has(callback);
        let (body, trailers, map) = match direction {
            Direction::Request => {
                (Callback::RequestBody, Callback::RequestTrailers, MapKind::RequestTrailers)
            }
            Direction::Response => {
                (Callback::ResponseBody, Callback::ResponseTrailers, MapKind::ResponseTrailers)
            }
        };
        let event = |bytes, is_end| match direction {
            Direction::Request => Event::RequestBody { bytes, is_end },
            Direction::Response => Event::ResponseBody { bytes, is_end },
        };
        self.with_view(|view| {
            let held = view.held(host(direction));
            held.push(data);
            match end {
                None => has(body).then(|| event(held.len(), false)),
                Some(BodyEnd::Plain) => {
                    held.end = Some(BodyEnd::Plain);
                    (has(body) && !held.is_absent).then(|| event(held.len(), true))
                }
                Some(BodyEnd::Trailers(section)) => {
                    let section = Trailers { head: *section, patch: Patch::default() };
                    *view.trailers(host(direction)) = Some(Box::new(section));
                    let fields = view.field_count(map);
                    has(trailers).then_some(match direction {
                        Direction::Request => Event::RequestTrailers { fields },
                        Direction::Response => Event::ResponseTrailers { fields },
                    })
                }
            }
        })?
    }

    /// Returns the number of held bytes, and whether the body has ended.
    pub(super) fn held(&self, direction: Direction) -> (usize, bool) {
        let held = self.with_view(|view| {
            let has_trailers = view.trailers(host(direction)).is_some();
            let held = view.held(host(direction));
            (held.len(), held.end.is_some() || has_trailers)
        });
        held.unwrap_or((0, true))
    }

    /// Drops the held bytes.
    pub(super) fn discard(&self, direction: Direction) {
        self.with_view(|view| view.held(host(direction)).clear());
    }

    /// Takes all held bytes, and the end if it has come.
    pub(super) fn release(&self, direction: Direction) -> BodyStep {
        self.instance.go_on(self.id, host(direction));
        let released = self.with_view(|view| {
            let trailers = view.trailers(host(direction)).take();
            let patched = trailers.map(|trailers| patched_trailers(trailers.head, &trailers.patch));
            let held = view.held(host(direction));
            let end = patched.map(|section| BodyEnd::Trailers(Box::new(section))).or_else(|| held.end.take());
            BodyStep::Pass { data: held.take(), end }
        });
        released.unwrap_or(BodyStep::Hold)
    }

    /// Returns the edits of a head.
    pub(super) fn edits(&self, direction: Direction) -> Patch {
        self.with_view(|view| view.share_patch(host(direction))).unwrap_or_default()
    }

    pub(super) fn with_view<T>(&self, with: impl FnOnce(&mut StreamView) -> T) -> Option<T> {
        self.instance.with_view(self.id, with)
    }

    /// Counts a stream to which the failure strategy applied.
    pub(super) fn on_failure(&self) {
        increment(self.instance.stats().map(|stats| &stats.failed_streams));
    }

    pub(super) fn end(self) {
        self.instance.end(self.id, self.admission);
    }
}
