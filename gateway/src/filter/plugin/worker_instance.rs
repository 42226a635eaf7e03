//! An instance of a plugin on a worker, and the streams that it has stopped.

use std::cell::{Cell, RefCell};
use std::fmt;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Weak};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use hashbrown::HashMap;
use plugin_host::{
    CallError, CallToken, Direction, GrpcEvent, GuestAction, HttpResponse, Instance, Reply, RootIndex,
    StreamId, TrapKind, TrapReport,
};
use routing::table::Backend;
use tokio::sync::mpsc;
use tokio::task::AbortHandle;
use tokio::time::{Instant, Sleep};

use super::breaker::Admission;
use super::grpc_queue::GrpcSender;
use super::info::PluginVersion;
use super::observed_call::{CallEnd, CallSubject, ObservedCall};
use super::stats::{WorkerStats, increment};
use super::view::StreamView;

/// Maximum time that a guest may hold a stream without a callback about it. A guest that never resumes it has failed.
const MAX_PAUSE: Duration = Duration::from_secs(60);

/// Ticks and queue notifications of one instance take at most one part in this many of a worker's time, so that a guest
/// that is slow in them does not delay requests.
const BACKGROUND_PARTS: u32 = 20;

/// Time until ticks are tried again while the breaker for them is open.
const BACKGROUND_PAUSE: Duration = Duration::from_secs(1);

/// gRPC status RESOURCE_EXHAUSTED.
const GRPC_RESOURCE_EXHAUSTED: u32 = 8;

/// Maximum time for ending the streams of a retired instance. Those that are left end without a callback.
const RETIRE_TIMEOUT: Duration = Duration::from_millis(100);

/// An instance on a worker. All of its methods run on the worker's thread.
pub struct WorkerInstance {
    pub(super) version: Arc<PluginVersion>,
    pub(super) lease: Weak<()>,
    worker: usize,
    /// `None` once it is retired.
    instance: RefCell<Option<Instance<StreamView>>>,
    /// Streams of which a direction is stopped.
    stopped: RefCell<HashMap<u32, Stopped>>,
    work: mpsc::UnboundedSender<Work>,
    callouts: RefCell<HashMap<CallToken, Callout>>,
    /// Tasks of ticks, by root context.
    ticks: RefCell<HashMap<RootIndex, AbortHandle>>,
    /// Since when no route uses its version any more.
    pub(super) unused_since: Cell<Option<Instant>>,
    /// Time before which no tick or queue notification is delivered.
    background_at: Cell<Instant>,
    is_in_background: Cell<bool>,
}

/// A callout in flight.
struct Callout {
    task: AbortHandle,
    /// Takes what the guest does with a gRPC call that it has begun.
    actions: Option<GrpcSender>,
}

/// A stream that waits for its plugin.
#[derive(Default)]
struct Stopped {
    waker: Option<Waker>,
    directions: [StopState; 2],
    reply: Option<Box<Reply>>,
    is_closed: bool,
    has_failed: bool,
    /// Ends the pause. `None` until a direction is polled.
    pause: Option<Pin<Box<Sleep>>>,
}

/// A task for the driver of a worker's plugins.
#[derive(Debug)]
pub enum Work {
    /// Carries out a callout or a change of ticks.
    Action(Rc<WorkerInstance>, GuestAction),
    /// Replaces a dead instance.
    Dead(Rc<WorkerInstance>),
}

/// Whether a direction of a stream goes on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum StopState {
    /// It goes on.
    #[default]
    Open,
    /// It waits for the guest.
    Stopped,
    /// The guest has resumed it.
    Resumed,
}

/// A tick or queue notification is not delivered before this time: the guest has used up its time, or keeps failing.
#[derive(Clone, Copy, Debug)]
pub struct Postponed(pub Instant);

/// Why a stopped stream goes on.
pub(super) enum Woken {
    /// The guest resumed it.
    Resumed,
    /// The guest replied.
    Reply(Box<Reply>),
    /// The guest closed it.
    Closed,
    /// The guest failed the stream, held it too long, or is dead.
    Failed,
}

/// What the guest asked for its own stream during a call.
#[derive(Default)]
pub(super) struct OwnActions {
    pub(super) reply: Option<Box<Reply>>,
    pub(super) is_closed: bool,
    pub(super) has_failed: bool,
    resumed: [bool; 2],
}

impl OwnActions {
    pub(super) fn is_resumed(&self, direction: Direction) -> bool {
        let mut resumed = self.resumed;
        *of(&mut resumed, direction)
    }
}

impl WorkerInstance {
    pub(super) fn new(
        version: Arc<PluginVersion>,
        lease: Weak<()>,
        instance: Instance<StreamView>,
        (worker, work): (usize, mpsc::UnboundedSender<Work>),
    ) -> Rc<Self> {
        let instance = RefCell::new(Some(instance));
        let this = Self {
            version,
            lease,
            worker,
            instance,
            stopped: RefCell::default(),
            work,
            callouts: RefCell::default(),
            ticks: RefCell::default(),
            unused_since: Cell::new(None),
            background_at: Cell::new(Instant::now()),
            is_in_background: Cell::new(false),
        };
        if let Some(stats) = this.stats() {
            stats.instances.fetch_add(1, Ordering::Relaxed);
        }
        this.version.usage.on_instance();
        let this = Rc::new(this);
        // The start may have set ticks or begun callouts.
        let _ = this.call(None, CallSubject::root("start"), |_| Ok(()));
        this
    }

    /// Calls the guest, then takes what it asked for. Returns what concerns `own`.
    pub(super) fn call<T>(
        self: &Rc<Self>,
        own: Option<StreamId>,
        subject: CallSubject,
        call: impl FnOnce(&mut Instance<StreamView>) -> Result<T, CallError>,
    ) -> (Result<T, CallError>, OwnActions) {
        increment(self.stats().map(|stats| &stats.calls));
        let request_id = |stream| self.with_view(stream, |view| view.request_id().to_owned());
        let observed = ObservedCall::begin(&self.version.config, subject, request_id);
        let (result, actions) = match &mut *self.instance.borrow_mut() {
            Some(instance) => {
                let result = call(instance);
                (result, instance.take_actions())
            }
            None => (Err(CallError::Dead), Vec::new()),
        };
        if let Some(observed) = observed {
            let trap = match &result {
                Err(CallError::Trapped(report)) => Some(&**report),
                _ => None,
            };
            observed.end(&self.version.config, &CallEnd { actions: &actions, trap }, request_id);
        }
        if let Err(CallError::Trapped(report)) = &result {
            self.on_trap(report, own);
        }
        let mut own_actions = OwnActions::default();
        if !actions.is_empty() {
            actions.into_iter().for_each(|action| self.take_action(action, own, &mut own_actions));
        }
        (result, own_actions)
    }

    /// Reads or edits the view of a stream.
    pub(super) fn with_view<T>(
        &self,
        stream: StreamId,
        with: impl FnOnce(&mut StreamView) -> T,
    ) -> Option<T> {
        self.instance.borrow_mut().as_mut()?.view_mut(stream).map(with)
    }

    /// Did a call end the instance?
    pub fn is_dead(&self) -> bool {
        self.instance.borrow().as_ref().is_none_or(Instance::is_dead)
    }

    /// Returns true if there are streams, those that the guest keeps after their end included.
    pub(super) fn has_streams(&self) -> bool {
        self.instance.borrow().as_ref().is_some_and(Instance::has_streams)
    }

    /// Returns true if there are streams that have not ended.
    pub(super) fn has_open_streams(&self) -> bool {
        self.instance.borrow().as_ref().is_some_and(|instance| instance.open_streams().next().is_some())
    }

    fn take_action(
        self: &Rc<Self>,
        action: GuestAction,
        own: Option<StreamId>,
        own_actions: &mut OwnActions,
    ) {
        match action {
            GuestAction::Resume(stream, direction) => {
                *of(&mut own_actions.resumed, direction) |= own == Some(stream);
                self.resume(stream, direction);
            }
            GuestAction::Reply(stream, reply) => {
                increment(self.stats().map(|stats| &stats.replies));
                if own == Some(stream) {
                    own_actions.reply = Some(reply);
                } else {
                    self.wake(stream, |stopped| stopped.reply = Some(reply));
                }
            }
            GuestAction::Fail(stream) if own == Some(stream) => own_actions.has_failed = true,
            GuestAction::Fail(stream) => self.wake(stream, |stopped| stopped.has_failed = true),
            GuestAction::Close(stream) if own == Some(stream) => own_actions.is_closed = true,
            GuestAction::Close(stream) => self.wake(stream, |stopped| stopped.is_closed = true),
            GuestAction::Http(..)
            | GuestAction::Grpc(..)
            | GuestAction::GrpcSend { .. }
            | GuestAction::GrpcClose(_)
            | GuestAction::GrpcCancel(_)
            | GuestAction::Tick(..) => {
                if matches!(action, GuestAction::Http(..) | GuestAction::Grpc(..)) {
                    increment(self.stats().map(|stats| &stats.callouts));
                }
                // The driver ends with the worker.
                let _ = self.work.send(Work::Action(Rc::clone(self), action));
            }
        }
    }

    fn wake(&self, stream: StreamId, change: impl FnOnce(&mut Stopped)) {
        if let Some(stopped) = self.stopped.borrow_mut().get_mut(&stream.0) {
            change(stopped);
            stopped.waker.take().into_iter().for_each(Waker::wake);
        }
    }

    /// Resumes a direction. No-op if it is not stopped.
    fn resume(&self, stream: StreamId, direction: Direction) {
        self.wake(stream, |stopped| {
            let state = of(&mut stopped.directions, direction);
            if *state == StopState::Stopped {
                *state = StopState::Resumed;
            }
        });
    }

    /// Records that a direction of a stream is stopped, so that actions reach it.
    pub(super) fn stop(&self, stream: StreamId, direction: Direction) {
        let mut stopped = self.stopped.borrow_mut();
        let entry = stopped.entry(stream.0).or_default();
        entry.pause = None;
        *of(&mut entry.directions, direction) = StopState::Stopped;
    }

    /// Records that a direction of a stream goes on.
    pub(super) fn go_on(&self, stream: StreamId, direction: Direction) {
        if let Some(stopped) = self.stopped.borrow_mut().get_mut(&stream.0) {
            *of(&mut stopped.directions, direction) = StopState::Open;
        }
    }

    /// Waits until the guest lets a stopped stream go on, at most [`MAX_PAUSE`].
    pub(super) fn poll_stopped(
        &self,
        stream: StreamId,
        direction: Direction,
        task: &mut Context<'_>,
    ) -> Poll<Woken> {
        let mut stopped = self.stopped.borrow_mut();
        let entry = stopped.entry(stream.0).or_default();
        if let Some(reply) = entry.reply.take() {
            return Poll::Ready(Woken::Reply(reply));
        }
        if entry.is_closed {
            return Poll::Ready(Woken::Closed);
        }
        let state = of(&mut entry.directions, direction);
        if *state == StopState::Resumed {
            *state = StopState::Open;
            return Poll::Ready(Woken::Resumed);
        }
        if entry.has_failed || self.is_dead() {
            return Poll::Ready(Woken::Failed);
        }
        entry.waker = Some(task.waker().clone());
        let pause = entry.pause.get_or_insert_with(|| Box::pin(tokio::time::sleep(MAX_PAUSE)));
        pause.as_mut().poll(task).map(|()| Woken::Failed)
    }

    /// Ends a stream. Callouts of a stopped one end too; the guest learns that they failed.
    pub(super) fn end(self: &Rc<Self>, stream: StreamId, admission: Admission) {
        self.close(stream);
        if !self.is_dead() {
            self.version.breakers.requests.on_success(admission);
        }
    }

    fn close(self: &Rc<Self>, stream: StreamId) {
        let stopped = self.stopped.borrow_mut().remove(&stream.0);
        let is_stopped = stopped.is_some_and(|stopped| stopped.directions.contains(&StopState::Stopped));
        let cancelled = match &mut *self.instance.borrow_mut() {
            Some(instance) if is_stopped => instance.cancel_callouts(stream),
            Some(_) | None => Vec::new(),
        };
        // The guest learns of their failure when the stream is closed.
        for token in cancelled {
            self.abort(token);
            increment(self.stats().map(|stats| &stats.callout_failures));
        }
        let _ = self.call(None, CallSubject::stream("end", stream), |instance| {
            instance.close(stream);
            instance.take_trap().map_or(Ok(()), |report| Err(CallError::Trapped(Box::new(report))))
        });
    }

    /// Returns the backend of an upstream, by the index that actions name.
    pub fn upstream(&self, index: usize) -> Option<Arc<Backend>> {
        self.version.upstreams.get(index).cloned()
    }

    /// Records a callout before its task has run. `actions` takes what the guest does with a gRPC call.
    pub fn started(&self, token: CallToken, task: AbortHandle, actions: Option<GrpcSender>) {
        self.callouts.borrow_mut().insert(token, Callout { task, actions });
    }

    /// Gives an action to a gRPC call. No-op if it has ended. A call whose endpoint takes no messages ends.
    pub fn send(self: &Rc<Self>, token: CallToken, action: GuestAction) {
        let is_full = {
            let callouts = self.callouts.borrow();
            let actions = callouts.get(&token).and_then(|callout| callout.actions.as_ref());
            actions.is_some_and(|actions| actions.send(action).is_err())
        };
        if is_full {
            self.abort(token);
            let message = "the endpoint takes no messages".into();
            self.deliver_grpc(token, GrpcEvent::Close(GRPC_RESOURCE_EXHAUSTED, message));
        }
    }

    /// Ends the task of a callout.
    pub fn abort(&self, token: CallToken) {
        if let Some(callout) = self.callouts.borrow_mut().remove(&token) {
            callout.task.abort();
        }
    }

    /// Replaces the task that ticks a root context.
    pub fn set_ticks(&self, root: RootIndex, task: Option<AbortHandle>) {
        let mut ticks = self.ticks.borrow_mut();
        let before = match task {
            Some(task) => ticks.insert(root, task),
            None => ticks.remove(&root),
        };
        if let Some(before) = before {
            before.abort();
        }
    }

    /// Delivers the end of an HTTP callout. An empty response is a failure.
    pub fn deliver_http(self: &Rc<Self>, token: CallToken, response: HttpResponse) {
        self.callouts.borrow_mut().remove(&token);
        if response.fields.is_empty() {
            increment(self.stats().map(|stats| &stats.callout_failures));
        }
        let _ = self.call(None, CallSubject::root("callout response"), |instance| {
            instance.http_response(token, response)
        });
    }

    /// Delivers an event of a gRPC callout.
    pub fn deliver_grpc(self: &Rc<Self>, token: CallToken, event: GrpcEvent) {
        if matches!(event, GrpcEvent::Close(..)) {
            self.callouts.borrow_mut().remove(&token);
        }
        let _ =
            self.call(None, CallSubject::root("gRPC event"), |instance| instance.grpc_event(token, event));
    }

    /// Delivers a tick.
    ///
    /// # Errors
    /// [`Postponed`].
    pub fn tick(self: &Rc<Self>, root: RootIndex) -> Result<(), Postponed> {
        self.call_background("tick", |instance| instance.tick(root))
    }

    /// Delivers queue notifications.
    ///
    /// # Errors
    /// [`Postponed`].
    pub fn deliver_queues(self: &Rc<Self>) -> Result<(), Postponed> {
        self.call_background("queue", Instance::deliver_queues)
    }

    /// Calls the guest for no request, within [`BACKGROUND_PARTS`] of the worker's time.
    fn call_background(
        self: &Rc<Self>,
        what: &'static str,
        call: impl FnOnce(&mut Instance<StreamView>) -> Result<(), CallError>,
    ) -> Result<(), Postponed> {
        let now = Instant::now();
        if now < self.background_at.get() {
            return Err(Postponed(self.background_at.get()));
        }
        let breaker = &self.version.breakers.background;
        let Some(admission) = breaker.acquire() else { return Err(Postponed(now + BACKGROUND_PAUSE)) };
        self.is_in_background.set(true);
        let (result, _) = self.call(None, CallSubject::root(what), call);
        self.is_in_background.set(false);
        if result.is_ok() {
            breaker.on_success(admission);
        }
        self.background_at.set(Instant::now() + now.elapsed() * (BACKGROUND_PARTS - 1));
        Ok(())
    }

    /// Stops the root contexts. Returns true once the instance may be dropped.
    pub(super) fn stop_roots(self: &Rc<Self>) -> bool {
        let (is_stopped, _) = self.call(None, CallSubject::root("stop"), |instance| Ok(instance.stop()));
        is_stopped.unwrap_or(true)
    }

    /// Ends the streams that need nothing more of the guest, or all of them if `is_forced`: each sees `proxy_on_done`,
    /// `proxy_on_log` and `proxy_on_delete` now. Drops the instance once no stream is open. Returns true if it did.
    pub(super) fn retire(self: &Rc<Self>, is_forced: bool) -> bool {
        let callbacks = self.version.callbacks();
        let passive: Vec<_> = match &*self.instance.borrow() {
            Some(instance) => {
                let streams = instance.open_streams();
                let ends = streams.filter(|(_, view)| is_forced || view.is_passive(callbacks));
                ends.map(|(stream, _)| stream).collect()
            }
            None => Vec::new(),
        };
        let began_at = Instant::now();
        for stream in passive {
            if began_at.elapsed() > RETIRE_TIMEOUT {
                break;
            }
            self.close(stream);
        }
        let is_idle = !self.has_open_streams();
        if is_forced || is_idle {
            self.stop_roots();
            self.drop_instance();
        }
        is_forced || is_idle
    }

    fn drop_instance(&self) {
        if self.instance.borrow_mut().take().is_some() {
            self.version.usage.on_instance_dropped();
            if let Some(stats) = self.stats() {
                stats.instances.fetch_sub(1, Ordering::Relaxed);
            }
        }
        self.callouts.borrow_mut().drain().for_each(|(_, callout)| callout.task.abort());
        self.ticks.borrow_mut().drain().for_each(|(_, task)| task.abort());
        for stopped in self.stopped.borrow_mut().values_mut() {
            stopped.waker.take().into_iter().for_each(Waker::wake);
        }
    }

    /// Returns the bytes of the linear memory.
    pub(super) fn memory(&self) -> usize {
        self.instance.borrow().as_ref().map_or(0, Instance::memory_bytes)
    }

    /// Returns the version.
    pub fn version(&self) -> &Arc<PluginVersion> {
        &self.version
    }

    pub(super) fn stats(&self) -> Option<&WorkerStats> {
        self.version.stats.of_worker(self.worker)
    }

    fn on_trap(self: &Rc<Self>, report: &TrapReport, own: Option<StreamId>) {
        let route = own
            .and_then(|stream| self.with_view(stream, |view| plugin_host::HttpView::route(view).to_owned()));
        let (plugin, version) = (&*self.version.name, &*self.version.config.version);
        let frames = report.frames.join("\n    ");
        let route = route.unwrap_or_default();
        tracing::error!(
            target: "plugin", plugin, version, route, kind = ?report.kind,
            "trap: {}\n    {frames}", report.message
        );
        if let Some(stats) = self.stats() {
            increment(Some(&stats.traps));
            if report.kind == TrapKind::Deadline {
                increment(Some(&stats.deadlines));
            }
        }
        let breakers = &self.version.breakers;
        if self.is_in_background.get() {
            if breakers.background.on_failure() {
                tracing::error!(target: "plugin", plugin, version, "breaker opened: ticks and queues wait");
            }
        } else if breakers.requests.on_failure() {
            tracing::error!(target: "plugin", plugin, version, "breaker opened: the plugin is not called");
        }
        for stopped in self.stopped.borrow_mut().values_mut() {
            stopped.waker.take().into_iter().for_each(Waker::wake);
        }
        let _ = self.work.send(Work::Dead(Rc::clone(self)));
    }
}

impl Drop for WorkerInstance {
    fn drop(&mut self) {
        self.drop_instance();
    }
}

impl fmt::Debug for WorkerInstance {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WorkerInstance").field("version", &self.version).finish_non_exhaustive()
    }
}

fn of<T>(pair: &mut [T; 2], direction: Direction) -> &mut T {
    let [request, response] = pair;
    match direction {
        Direction::Request => request,
        Direction::Response => response,
    }
}
