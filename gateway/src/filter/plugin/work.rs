//! What a worker's plugins need done outside of a request.

use std::rc::Rc;

use plugin_host::{CallToken, GuestAction};

use super::worker_instance::WorkerInstance;

/// A task for the driver of a worker's plugins.
#[derive(Debug)]
pub enum Work {
    /// Carries out a callout or a change of ticks.
    Action(Rc<WorkerInstance>, GuestAction),
    /// Cancels a callout. The guest learns that it failed.
    Cancel(Rc<WorkerInstance>, CallToken),
    /// Replaces a dead instance.
    Dead(Rc<WorkerInstance>),
}
