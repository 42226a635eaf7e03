//! State that all exchanges of one worker share.

use std::rc::Rc;
use std::sync::Arc;

use super::date::DateCache;
use super::request_id::RequestIds;
use crate::data::drain::DrainState;
use crate::data::idle::IdleConnections;
use crate::data::pressure::MemoryPressure;
use crate::data::upstream::Upstreams;
use crate::data::wire::buffers::BufferPool;
use crate::data::wire::clock::Clock;
use crate::data::wire::send_budget::SendBudget;
use crate::filter::plugin::Instances;
use crate::live::LiveCell;
use crate::observe::access_log::LogHandle;
use crate::observe::counters::Counters;
use crate::settings::Settings;

/// State of one worker thread. Nothing in it is locked: a worker runs one exchange at a time between two awaits.
pub struct Worker {
    /// Published routing table and certificates.
    pub live: LiveCell,
    /// Timeouts and limits.
    pub settings: Arc<Settings>,
    /// Coarse clock that drives all timers of the worker.
    pub clock: Clock,
    /// Shutdown phase of the worker.
    pub drain: DrainState,
    /// Pool of connection buffers.
    pub buffers: BufferPool,
    /// How much of the memory budget of the process is used.
    pub pressure: Arc<MemoryPressure>,
    /// Client connections without a request.
    pub idle: IdleConnections,
    /// Bytes that wait for clients of HTTP/2.
    pub send_budget: Rc<SendBudget>,
    /// `Date` value for responses without one.
    pub date: DateCache,
    /// Metrics of this worker.
    pub counters: Rc<Counters>,
    /// Endpoints and their idle connections.
    pub upstreams: Upstreams,
    /// Plugin instances.
    pub plugins: Rc<Instances>,
    /// Generator of request IDs.
    pub request_ids: RequestIds,
    /// Access log of this worker; `None` if the log is off.
    pub access_log: Option<LogHandle>,
}
