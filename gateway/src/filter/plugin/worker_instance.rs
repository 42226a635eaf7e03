//! An instance of a plugin on a worker, and the streams that it has stopped.

use std::cell::RefCell;
use std::fmt;
use std::rc::Rc;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Weak};
use std::task::{Context, Poll, Waker};

use hashbrown::HashMap;
use plugin_host::{
    CallError, CallToken, Direction, GrpcEvent, GuestAction, HttpResponse, Instance, Reply, RootIndex,
    StreamId, TrapKind, TrapReport,
};
use routing::table::Backend;
use tokio::sync::mpsc;
use tokio::task::AbortHandle;

use super::breaker::BreakerState;
use super::info::PluginVersion;
use super::stats::{WorkerStats, increment};
use super::view::StreamView;

/// An instance on a worker. All of its methods run on the worker's thread.
pub struct WorkerInstance {
    pub(super) version: Arc<PluginVersion>,
    pub(super) lease: Weak<()>,
    worker: usize,
    instance: RefCell<Instance<StreamView>>,
    /// Streams of which a direction is stopped.
    stopped: RefCell<HashMap<u32, Stopped>>,
    work: mpsc::UnboundedSender<Work>,
    callouts: RefCell<HashMap<CallToken, Callout>>,
    /// Tasks of ticks, by root context.
    ticks: RefCell<HashMap<RootIndex, AbortHandle>>,
}

/// A callout in flight.
struct Callout {
    task: AbortHandle,
    /// Takes what the guest does with a gRPC call that it has begun.
    actions: Option<mpsc::UnboundedSender<GuestAction>>,
}

/// A stream that waits for its plugin.
#[derive(Default)]
struct Stopped {
    waker: Option<Waker>,
    directions: [StopState; 2],
    reply: Option<Box<Reply>>,
    is_closed: bool,
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

/// Why a stopped stream goes on.
pub(super) enum Woken {
    /// The guest resumed it.
    Resumed,
    /// The guest replied.
    Reply(Box<Reply>),
    /// The guest closed it.
    Closed,
    /// The instance is dead.
    Dead,
}

/// What the guest asked for its own stream during a call.
#[derive(Default)]
pub(super) struct OwnActions {
    pub(super) reply: Option<Box<Reply>>,
    pub(super) is_closed: bool,
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
        let instance = RefCell::new(instance);
        let this = Self {
            version,
            lease,
            worker,
            instance,
            stopped: RefCell::default(),
            work,
            callouts: RefCell::default(),
            ticks: RefCell::default(),
        };
        if let Some(stats) = this.stats() {
            stats.instances.fetch_add(1, Ordering::Relaxed);
        }
        let this = Rc::new(this);
        // The start may have set ticks or begun callouts.
        let _ = this.call(None, |_| Ok(()));
        this
    }

    /// Calls the guest, then takes what it asked for. Returns what concerns `own`.
    pub(super) fn call<T>(
        self: &Rc<Self>,
        own: Option<StreamId>,
        call: impl FnOnce(&mut Instance<StreamView>) -> Result<T, CallError>,
    ) -> (Result<T, CallError>, OwnActions) {
        increment(self.stats().map(|stats| &stats.calls));
        let mut actions = Vec::new();
        let result = {
            let mut instance = self.instance.borrow_mut();
            let result = call(&mut instance);
            instance.drain_actions(&mut actions);
            result
        };
        if let Err(CallError::Trapped(report)) = &result {
            self.on_trap(report, own);
        }
        let mut own_actions = OwnActions::default();
        for action in actions {
            self.take_action(action, own, &mut own_actions);
        }
        (result, own_actions)
    }

    /// Reads or edits the view of a stream.
    pub(super) fn with_view<T>(
        &self,
        stream: StreamId,
        with: impl FnOnce(&mut StreamView) -> T,
    ) -> Option<T> {
        self.instance.borrow_mut().view_mut(stream).map(with)
    }

    /// Did a call end the instance?
    pub fn is_dead(&self) -> bool {
        self.instance.borrow().is_dead()
    }

    pub(super) fn has_streams(&self) -> bool {
        self.instance.borrow().has_streams()
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
        *of(&mut stopped.entry(stream.0).or_default().directions, direction) = StopState::Stopped;
    }

    /// Records that a direction of a stream goes on.
    pub(super) fn go_on(&self, stream: StreamId, direction: Direction) {
        if let Some(stopped) = self.stopped.borrow_mut().get_mut(&stream.0) {
            *of(&mut stopped.directions, direction) = StopState::Open;
        }
    }

    /// Waits until the guest lets a stopped stream go on.
    pub(super) fn poll_stopped(
        &self,
        stream: StreamId,
        direction: Direction,
        task: &Context<'_>,
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
        if self.is_dead() {
            return Poll::Ready(Woken::Dead);
        }
        entry.waker = Some(task.waker().clone());
        Poll::Pending
    }

    /// Ends a stream. Callouts of a stopped one end too; the guest learns that they failed.
    pub(super) fn end(self: &Rc<Self>, stream: StreamId) {
        let stopped = self.stopped.borrow_mut().remove(&stream.0);
        let is_stopped = stopped.is_some_and(|stopped| stopped.directions.contains(&StopState::Stopped));
        let cancelled =
            if is_stopped { self.instance.borrow_mut().cancel_callouts(stream) } else { Vec::new() };
        // The guest learns of their failure when the stream is closed.
        for token in cancelled {
            self.abort(token);
            increment(self.stats().map(|stats| &stats.callout_failures));
        }
        let _ = self.call(None, |instance| {
            instance.close(stream);
            instance.take_trap().map_or(Ok(()), |report| Err(CallError::Trapped(Box::new(report))))
        });
        if !self.is_dead() && self.version.breaker.state() == BreakerState::Open {
            self.version.breaker.on_success();
        }
    }

    /// Returns the backend of an upstream, by the index that actions name.
    pub fn upstream(&self, index: usize) -> Option<Arc<Backend>> {
        self.version.upstreams.get(index).cloned()
    }

    /// Records a callout before its task has run. `actions` takes what the guest does with a gRPC call.
    pub fn started(
        &self,
        token: CallToken,
        task: AbortHandle,
        actions: Option<mpsc::UnboundedSender<GuestAction>>,
    ) {
        self.callouts.borrow_mut().insert(token, Callout { task, actions });
    }

    /// Gives an action to a gRPC call. No-op if it has ended.
    pub fn send(&self, token: CallToken, action: GuestAction) {
        let callouts = self.callouts.borrow();
        if let Some(actions) = callouts.get(&token).and_then(|callout| callout.actions.as_ref()) {
            // The call may be ending.
            let _ = actions.send(action);
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
        let _ = self.call(None, |instance| instance.http_response(token, response));
    }

    /// Delivers an event of a gRPC callout.
    pub fn deliver_grpc(self: &Rc<Self>, token: CallToken, event: GrpcEvent) {
        if matches!(event, GrpcEvent::Close(..)) {
            self.callouts.borrow_mut().remove(&token);
        }
        let _ = self.call(None, |instance| instance.grpc_event(token, event));
    }

    /// Delivers a tick.
    pub fn tick(self: &Rc<Self>, root: RootIndex) {
        let _ = self.call(None, |instance| instance.tick(root));
    }

    /// Delivers queue notifications.
    pub fn deliver_queues(self: &Rc<Self>) {
        let _ = self.call(None, Instance::deliver_queues);
    }

    /// Stops the root contexts.
    pub(super) fn stop_roots(self: &Rc<Self>) {
        let _ = self.call(None, |instance| {
            instance.stop();
            Ok(())
        });
    }

    /// Updates the gauge of memory.
    pub(super) fn memory(&self) -> usize {
        self.instance.borrow().memory_bytes()
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
        if self.version.breaker.on_failure() {
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
        self.callouts.get_mut().values().for_each(|callout| callout.task.abort());
        self.ticks.get_mut().values().for_each(AbortHandle::abort);
        if let Some(stats) = self.stats() {
            stats.instances.fetch_sub(1, Ordering::Relaxed);
        }
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
