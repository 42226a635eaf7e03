//! `plugins`: a Proxy-Wasm plugin as a filter.
//!
//! The guest of a stream is the worker's instance of the plugin's version. Not here: modules, instances and the ABI
//! (`plugin_host`), how a version is loaded (`control::plugin`), and callouts (`data::plugins`).

mod body;
mod breaker;
mod facts;
mod grpc_queue;
mod info;
mod instances;
mod maps;
mod observed_call;
mod reply;
mod reply_reason;
mod set;
mod stats;
mod stream;
mod view;
mod worker_instance;

use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use plugin_host::{Callback, Event, RootIndex, Verdict};
use routing::table::FailStrategy;

use super::{BodyEnd, BodyStep, Direction, Filter, FilterContext, Phases, Resumed, Slot, Stage, Step};
use crate::message::{LocalReply, Patch, RequestHead, ResponseHead};

pub use breaker::{Breaker, BreakerState, Breakers};
pub use facts::SharedFacts;
pub use grpc_queue::{GrpcReceiver, GrpcSender, grpc_queue};
pub use info::{Lease, PluginVersion, VersionUsage};
pub use instances::{InstanceChange, Instances, NewInstance};
pub use reply_reason::PluginReply;
pub use set::{LoadedPlugin, PluginSet};
pub use stats::{PluginCounts, PluginStats};
pub(super) use stream::PluginStream;
use stream::{Failure, HeadStep};
use view::StreamView;
pub use worker_instance::{Postponed, Work, WorkerInstance};

/// Maximum time that a request waits for an instance in place of a dead one.
const INSTANCE_WAIT: Duration = Duration::from_secs(1);

/// A configuration of a plugin's version, as a filter.
#[derive(Debug)]
pub struct PluginFilter {
    version: Arc<PluginVersion>,
    root: RootIndex,
    stage: Stage,
    phases: Phases,
    // Read by no one: its count says that routes still use the version.
    _lease: Lease,
}

/// A plugin that cannot run.
#[derive(Debug)]
pub struct UnavailablePlugin {
    stage: Stage,
    fail: FailStrategy,
    reply: PluginReply,
}

impl UnavailablePlugin {
    /// A plugin of which no version is loaded.
    pub fn not_loaded(stage: Stage, fail: FailStrategy) -> Self {
        Self { stage, fail, reply: PluginReply::Unavailable }
    }

    /// A plugin that a route needs and that does not exist, or has no valid spec. Its failure strategy is unknown.
    pub fn missing() -> Self {
        Self { stage: Stage::PluginAuthn, fail: FailStrategy::Close, reply: PluginReply::Missing }
    }
}

impl Filter for UnavailablePlugin {
    fn stage(&self) -> Stage {
        self.stage
    }

    fn phases(&self) -> Phases {
        Phases { request: true, ..Phases::default() }
    }

    fn request(&self, _slot: &mut Slot, _head: &mut RequestHead<'_>, _cx: &FilterContext<'_>) -> Step {
        match self.fail {
            FailStrategy::Open => Step::Continue,
            FailStrategy::Close => Step::Reply(self.reply.local_reply()),
        }
    }
}

impl PluginFilter {
    /// Creates the filter of a root context of a version.
    pub fn new(version: Arc<PluginVersion>, lease: Lease, root: RootIndex, stage: Stage) -> Self {
        let has = |callback| version.has(callback);
        let sees_body = version.callbacks().takes_body(plugin_host::Direction::Request);
        let sees_response_body = version.callbacks().takes_body(plugin_host::Direction::Response);
        let sees_end = has(Callback::Log) || has(Callback::Done);
        let phases = Phases {
            request: has(Callback::RequestHeaders) || sees_body || sees_end,
            response: has(Callback::ResponseHeaders) || sees_response_body || has(Callback::Log),
            request_body: sees_body,
            response_body: sees_response_body,
        };
        Self { version, root, stage, phases, _lease: lease }
    }

    /// Opens the stream if it is not open. `patch` are the edits of the request head so far; they move into the view
    /// and back.
    fn open(&self, slot: &mut Slot, patch: &mut Patch, cx: &FilterContext<'_>) -> Result<(), Opening> {
        let Some(instances) = cx.exchange.map(|exchange| exchange.plugins) else {
            return Err(Opening::Failed(Failure::Bypassed));
        };
        if slot.is_bypassed {
            return Err(Opening::Failed(Failure::Bypassed));
        }
        if slot.stream.as_ref().is_some_and(PluginStream::is_alive) {
            return Ok(());
        }
        let is_isolated = self.version.is_isolated || self.version.usage.is_retired();
        let shared = if is_isolated { None } else { instances.get(self.version.id) };
        if shared.is_none() && !is_isolated {
            return Err(Opening::Wait(Rc::clone(instances)));
        }
        // Asked once for a stream: an open breaker lets one probe begin.
        let Some(admission) = self.version.breakers.requests.acquire() else {
            return Err(Opening::Failed(self.fail(slot)));
        };
        let instance = match shared {
            Some(instance) => instance,
            None => instances.isolated(&self.version).map_err(|error| {
                tracing::error!(target: "plugin", plugin = &*self.version.name, %error, "instance refused");
                self.version.breakers.requests.on_failure();
                Opening::Failed(self.fail(slot))
            })?,
        };
        let mut view = Box::new(StreamView::new(facts::Facts::of(cx), std::mem::take(patch)));
        view.request_body.max_edited = self.version.max_request_body;
        view.response_body.max_edited = self.version.max_response_body;
        match PluginStream::open((instance, admission), self.root, view) {
            Ok(stream) => {
                if let Some(dead) = slot.stream.replace(stream) {
                    dead.end();
                }
                Ok(())
            }
            Err(view) => {
                *patch = view.request_patch;
                Err(Opening::Failed(self.fail(slot)))
            }
        }
    }

    /// Applies the failure strategy to a stream.
    fn fail(&self, slot: &mut Slot) -> Failure {
        slot.is_bypassed = true;
        if let Some(stream) = &slot.stream {
            stream.on_failure();
        }
        match self.version.fail {
            FailStrategy::Open => Failure::Bypassed,
            FailStrategy::Close => Failure::Reply(PluginReply::Failed.local_reply()),
        }
    }

    /// Applies the failure strategy to a stream whose body the guest holds.
    fn fail_body(&self, slot: &mut Slot, direction: Direction) -> BodyStep {
        match (self.fail(slot), &slot.stream) {
            (Failure::Reply(reply), _) => BodyStep::Reply(reply),
            (Failure::Bypassed, Some(stream)) => stream.release(direction),
            (Failure::Bypassed, None) => BodyStep::Hold,
        }
    }

    /// Waits for an instance, then calls this filter again.
    fn wait_for_instance(&self, instances: Rc<Instances>) -> Step {
        let (version, fail) = (self.version.id, self.version.fail);
        Step::Wait(Box::pin(async move {
            let found = std::future::poll_fn(|task| instances.poll_instance(version, task));
            match (tokio::time::timeout(INSTANCE_WAIT, found).await, fail) {
                (Ok(()), _) => Resumed::Again,
                (Err(_elapsed), FailStrategy::Open) => Resumed::Bypass(Patch::default()),
                (Err(_elapsed), FailStrategy::Close) => Resumed::Reply(PluginReply::Failed.local_reply()),
            }
        }))
    }

    fn step(&self, slot: &mut Slot, patch: &mut Patch, direction: Direction, head_step: HeadStep) -> Step {
        match head_step {
            HeadStep::Continue(edits) => {
                *patch = edits;
                Step::Continue
            }
            HeadStep::Reply(reply) => Step::Reply(reply),
            HeadStep::Hold if self.takes_body(direction) => Step::Hold,
            HeadStep::Hold | HeadStep::Stop => match &slot.stream {
                Some(stream) => Step::Wait(stream.wait(direction, self.version.fail)),
                None => Step::Continue,
            },
            HeadStep::Failed(edits) => {
                *patch = edits;
                match self.fail(slot) {
                    Failure::Bypassed => Step::Continue,
                    Failure::Reply(reply) => Step::Reply(reply),
                }
            }
        }
    }

    fn takes_body(&self, direction: Direction) -> bool {
        match direction {
            Direction::Request => self.phases.request_body,
            Direction::Response => self.phases.response_body,
        }
    }

    fn max_body(&self, direction: Direction) -> usize {
        match direction {
            Direction::Request => self.version.max_request_body,
            Direction::Response => self.version.max_response_body,
        }
    }

    /// Calls the guest for bytes, the end or trailers that the view has now.
    fn call_body(&self, slot: &mut Slot, direction: Direction, event: Option<Event>) -> BodyStep {
        let Some(stream) = &slot.stream else { return BodyStep::Hold };
        let Some(event) = event else { return stream.release(direction) };
        let (result, own) = stream.call(event);
        if let Some(reply) = own.reply {
            return BodyStep::Reply(stream.local_reply(*reply));
        }
        if own.is_closed {
            return BodyStep::Reply(PluginReply::Closed.local_reply());
        }
        if own.has_failed {
            return self.fail_body(slot, direction);
        }
        let is_resumed = own.is_resumed(stream::host(direction));
        match result {
            Ok(Verdict::Continue) => stream.release(direction),
            Ok(_) if is_resumed => stream.release(direction),
            Ok(verdict) => {
                let (held, is_end) = stream.held(direction);
                let max_body = self.max_body(direction);
                if held > max_body && matches!(verdict, Verdict::Buffer | Verdict::StopHead) {
                    return BodyStep::Reply(too_large(direction));
                }
                if verdict == Verdict::Discard {
                    stream.discard(direction);
                }
                stream.stop(direction);
                let takes_more = !is_end && (verdict != Verdict::Watermark || held <= max_body);
                if takes_more { BodyStep::Hold } else { BodyStep::Stop }
            }
            Err(_) => self.fail_body(slot, direction),
        }
    }
}

/// Why no stream is open.
enum Opening {
    Wait(Rc<Instances>),
    Failed(Failure),
}

impl Filter for PluginFilter {
    fn stage(&self) -> Stage {
        self.stage
    }

    fn phases(&self) -> Phases {
        self.phases
    }

    fn request(&self, slot: &mut Slot, head: &mut RequestHead<'_>, cx: &FilterContext<'_>) -> Step {
        match self.open(slot, head.patch(), cx) {
            Ok(()) => {}
            Err(Opening::Wait(instances)) => return self.wait_for_instance(instances),
            Err(Opening::Failed(Failure::Bypassed)) => return Step::Continue,
            Err(Opening::Failed(Failure::Reply(reply))) => return Step::Reply(reply),
        }
        let Some(stream) = &slot.stream else { return Step::Continue };
        let head_step = stream.call_head(Direction::Request, cx.is_request_end, |_| {});
        self.step(slot, head.patch(), Direction::Request, head_step)
    }

    fn response(&self, slot: &mut Slot, head: &mut ResponseHead<'_>, cx: &FilterContext<'_>) -> Step {
        match self.open(slot, &mut Patch::default(), cx) {
            Ok(()) => {}
            Err(Opening::Wait(instances)) => return self.wait_for_instance(instances),
            Err(Opening::Failed(Failure::Bypassed)) => return Step::Continue,
            // A local reply stays what it is.
            Err(Opening::Failed(Failure::Reply(_))) if head.is_local() => return Step::Continue,
            Err(Opening::Failed(Failure::Reply(reply))) => return Step::Reply(reply),
        }
        let Some(stream) = &slot.stream else { return Step::Continue };
        let response = SharedFacts::response(cx, head.original());
        let patch = std::mem::take(head.patch());
        let head_step = stream.call_head(Direction::Response, head.is_end(), |view| {
            view.response = Some(response);
            view.response_patch = patch;
        });
        self.step(slot, head.patch(), Direction::Response, head_step)
    }

    fn body(&self, slot: &mut Slot, direction: Direction, data: Bytes, end: Option<BodyEnd>) -> BodyStep {
        let Some(stream) = slot.stream.as_ref().filter(|_| !slot.is_bypassed) else {
            return BodyStep::Pass { data, end };
        };
        if !stream.is_alive() {
            return match self.fail(slot) {
                Failure::Reply(reply) => BodyStep::Reply(reply),
                Failure::Bypassed => BodyStep::Pass { data, end },
            };
        }
        let event = stream.push(direction, data, end);
        self.call_body(slot, direction, event)
    }

    fn poll_held(&self, slot: &mut Slot, direction: Direction, task: &mut Context<'_>) -> Poll<BodyStep> {
        let Some(stream) = &slot.stream else { return Poll::Pending };
        let woken = std::task::ready!(stream.poll_stopped(direction, task));
        Poll::Ready(match woken {
            worker_instance::Woken::Resumed => stream.release(direction),
            worker_instance::Woken::Reply(reply) => BodyStep::Reply(stream.local_reply(*reply)),
            worker_instance::Woken::Closed => BodyStep::Reply(PluginReply::Closed.local_reply()),
            worker_instance::Woken::Failed => self.fail_body(slot, direction),
        })
    }

    fn take_edits(&self, slot: &mut Slot, direction: Direction) -> Patch {
        slot.stream.as_ref().map(|stream| stream.edits(direction)).unwrap_or_default()
    }

    fn end(&self, slot: &mut Slot) {
        if let Some(stream) = slot.stream.take() {
            stream.end();
        }
    }
}

fn too_large(direction: Direction) -> Box<LocalReply> {
    let reason = match direction {
        Direction::Request => PluginReply::RequestTooLarge,
        Direction::Response => PluginReply::ResponseTooLarge,
    };
    reason.local_reply()
}
