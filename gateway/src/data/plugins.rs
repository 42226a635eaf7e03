//! What the plugins of a worker need outside of requests: new instances, ticks, queues and callouts.
//!
//! Not here: calling a plugin for a request (`crate::filter::plugin`), and loading plugins (`control::plugin`).

use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use plugin_host::{GuestAction, HttpResponse, RootIndex};
use tokio::sync::{Notify, mpsc};
use tokio::task::AbortHandle;
use tokio::time::Instant;

use super::exchange::Worker;
use crate::filter::plugin::{InstanceChange, Postponed, Work, WorkerInstance, grpc_queue};

mod fields;
mod grpc;
mod http;

/// The time between two updates of what plugins use.
const SWEEP_INTERVAL: Duration = Duration::from_secs(1);

/// The channels by which plugins of one worker are reached from other threads.
#[derive(Debug)]
pub struct PluginInputs {
    /// Changes of the instances.
    pub changes: mpsc::UnboundedReceiver<InstanceChange>,
    /// Wakes the worker when a queue of its plugins has an item.
    pub queues: Arc<Notify>,
}

/// Serves the plugins of a worker until the sender of new instances is dropped.
///
/// # Cancellation
/// Dropping the future ends the delivery of instances, queues and actions. Callouts and ticks that have begun go on until
/// their instance is dropped.
pub async fn run(worker: Rc<Worker>, inputs: PluginInputs, mut work: mpsc::UnboundedReceiver<Work>) {
    let PluginInputs { mut changes, queues } = inputs;
    let mut sweep = tokio::time::interval(SWEEP_INTERVAL);
    let mut postponed = None;
    loop {
        tokio::select! {
            change = changes.recv() => match change {
                Some(change) => worker.plugins.change(change),
                None => return,
            },
            Some(work) = work.recv() => take(&worker, work),
            () = queues.notified() => postponed = worker.plugins.deliver_queues(),
            () = wait_until(postponed) => postponed = worker.plugins.deliver_queues(),
            _ = sweep.tick(), if worker.plugins.is_used() => worker.plugins.sweep(),
        }
    }
}

/// Waits for a moment; for `None`, without end.
async fn wait_until(moment: Option<Instant>) {
    match moment {
        Some(moment) => tokio::time::sleep_until(moment).await,
        None => std::future::pending().await,
    }
}

fn take(worker: &Rc<Worker>, work: Work) {
    match work {
        Work::Dead(dead) => worker.plugins.replace(&dead),
        Work::Action(instance, action) => act(worker, &instance, action),
    }
}

fn act(worker: &Rc<Worker>, instance: &Rc<WorkerInstance>, action: GuestAction) {
    match action {
        GuestAction::Http(token, request) => {
            let (worker, weak) = (Rc::clone(worker), Rc::downgrade(instance));
            let Some(backend) = instance.upstream(request.upstream) else {
                return instance.deliver_http(token, HttpResponse::default());
            };
            let task = tokio::task::spawn_local(async move {
                let timeout = request.timeout;
                let response = tokio::time::timeout(timeout, http::call(&worker, &backend, &request)).await;
                let response = response.ok().flatten().unwrap_or_default();
                if let Some(instance) = weak.upgrade() {
                    instance.deliver_http(token, response);
                }
            });
            instance.started(token, task.abort_handle(), None);
        }
        GuestAction::Grpc(token, request) => {
            let (actions, action_rx) = grpc_queue();
            let task = grpc::start(worker, instance, token, (*request, action_rx));
            instance.started(token, task, Some(actions));
        }
        GuestAction::GrpcSend { token, .. } | GuestAction::GrpcClose(token) => instance.send(token, action),
        GuestAction::GrpcCancel(token) => instance.abort(token),
        GuestAction::Tick(root, period) => {
            instance.set_ticks(root, period.map(|period| spawn_ticks(instance, root, period)));
        }
        // The filter has taken these.
        GuestAction::Resume(..) | GuestAction::Reply(..) | GuestAction::Close(_) | GuestAction::Fail(_) => {}
    }
}

/// Calls a root context periodically, until the instance is dropped or the period changes. A late tick delays the
/// following ones.
fn spawn_ticks(instance: &Rc<WorkerInstance>, root: RootIndex, period: Duration) -> AbortHandle {
    let weak = Rc::downgrade(instance);
    let ticks = tokio::task::spawn_local(async move {
        let mut due = Instant::now() + period;
        loop {
            tokio::time::sleep_until(due).await;
            let Some(instance) = weak.upgrade().filter(|instance| !instance.is_dead()) else { return };
            due = match instance.tick(root) {
                Ok(()) => Instant::now() + period,
                Err(Postponed(until)) => until,
            };
        }
    });
    ticks.abort_handle()
}
