//! The task that writes reports: what is due, as fast as the limits allow, a few requests at a time.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use futures::FutureExt as _;
use futures::StreamExt as _;
use futures::future::BoxFuture;
use futures::stream::FuturesUnordered;
use kube::Client;
use routing::object::{Kind, Name, ObjectRef, ResourceVersion};
use routing::{Problem, Reason};
use tokio::time::Instant;

use super::addresses::{AddressList, AddressSource, StableAddresses, of_service, sorted};
use super::conditions::{KindState, ObjectState};
use super::desired::StatusWrite;
use super::events::EventWrite;
use super::rate::RateLimit;
use super::requests::{self, WriteError};
use super::state::ReportState;
use super::{ReportInputs, ReportSettings, ReportStats};
use crate::control::plugin::PluginContext;
use crate::control::reload::{ExposingService, Published, ReportProblems};

/// Writes per second, and at once after a pause. 3000 new Ingresses get their statuses within a minute, and the API server
/// keeps its time for the watches that deliver them.
const STATUS_RATE: (u32, u32) = (50, 20);
const EVENT_RATE: (u32, u32) = (20, 20);
const CONDITION_RATE: (u32, u32) = (10, 10);

/// Maximum requests at a time, of all kinds together.
const MAX_IN_FLIGHT: usize = 4;

/// Pause after a failure of the API server, doubling up to the maximum.
const MIN_PAUSE: Duration = Duration::from_secs(1);
const MAX_PAUSE: Duration = Duration::from_secs(30);

/// Time between a change of an object and its conditions. Its Problems, and the loader of plugins, need a moment.
const CONDITION_DELAY: Duration = Duration::from_secs(1);

/// Interval at which the addresses of nodes are read.
const NODE_INTERVAL: Duration = Duration::from_secs(60);

const STATUS_FIELD: &str = "status.loadBalancer.ingress";

/// Writes reports until the sender of publications or the receiver of Problems is dropped.
///
/// # Cancellation
/// Requests under way are dropped. What they would have written is due again at the next start.
pub async fn run(client: Client, settings: ReportSettings, mut inputs: ReportInputs) {
    let mut writer = Writer::new(client, settings, &inputs);
    loop {
        writer.start_requests(Instant::now());
        if let Some(changes) = writer.problems.take_changes()
            && inputs.problems.send(changes).await.is_err()
        {
            return;
        }
        let due = writer.next_due(Instant::now());
        tokio::select! {
            published = inputs.published.recv() => match published {
                Some(published) => writer.on_published(published, Instant::now()),
                None => return,
            },
            changed = inputs.leader.changed() => match changed {
                Ok(()) => {
                    let is_leader = *inputs.leader.borrow_and_update();
                    writer.set_leader(is_leader, Instant::now());
                }
                Err(_ended) => return,
            },
            Some(done) = writer.requests.next() => writer.on_done(done, Instant::now()),
            () = sleep_until(due) => {}
        }
    }
}

async fn sleep_until(due: Option<Instant>) {
    match due {
        Some(due) => tokio::time::sleep_until(due).await,
        None => std::future::pending().await,
    }
}

/// A request that has ended.
enum Done {
    Status(StatusWrite, Result<Option<ResourceVersion>, WriteError>),
    Event(EventWrite, Result<(), WriteError>),
    Conditions(ObjectRef, Result<(), WriteError>),
    Nodes(Result<AddressList, WriteError>),
}

struct Writer {
    client: Client,
    settings: ReportSettings,
    plugins: Arc<PluginContext>,
    stats: Arc<ReportStats>,
    state: ReportState,
    is_leader: bool,
    source: AddressSource,
    addresses: StableAddresses,
    /// When the addresses of nodes are read next; `None` if they are being read, or not needed.
    nodes_at: Option<Instant>,
    status_rate: RateLimit,
    event_rate: RateLimit,
    condition_rate: RateLimit,
    /// Objects whose conditions are due, and when.
    conditions: BTreeMap<ObjectRef, Instant>,
    requests: FuturesUnordered<BoxFuture<'static, Done>>,
    pause: Pause,
    problems: WriteProblems,
}

/// The pause after failures of the API server.
#[derive(Debug, Default)]
struct Pause {
    until: Option<Instant>,
    last: Duration,
}

impl Pause {
    fn start(&mut self, now: Instant) {
        // The other requests under way fail for the same reason.
        if self.until.is_none_or(|until| until <= now) {
            self.last = (self.last * 2).clamp(MIN_PAUSE, MAX_PAUSE);
            self.until = Some(now + self.last);
        }
    }

    fn end(&mut self) {
        *self = Self::default();
    }

    fn is_over(&self, now: Instant) -> bool {
        self.until.is_none_or(|until| until <= now)
    }
}

// ===== changes =====

impl Writer {
    fn new(client: Client, settings: ReportSettings, inputs: &ReportInputs) -> Self {
        let mut writer = Self {
            client,
            plugins: Arc::clone(&inputs.plugins),
            stats: Arc::clone(&inputs.stats),
            state: ReportState::default(),
            is_leader: false,
            source: AddressSource::Known(AddressList::default()),
            addresses: StableAddresses::default(),
            nodes_at: None,
            status_rate: RateLimit::new(STATUS_RATE),
            event_rate: RateLimit::new(EVENT_RATE),
            condition_rate: RateLimit::new(CONDITION_RATE),
            conditions: BTreeMap::new(),
            requests: FuturesUnordered::new(),
            pause: Pause::default(),
            problems: WriteProblems::default(),
            settings,
        };
        let now = Instant::now();
        let fixed = sorted(writer.settings.addresses.iter().map(|address| Arc::from(&**address)));
        if !fixed.is_empty() {
            writer.set_source(AddressSource::Known(fixed), now);
        }
        writer.set_leader(*inputs.leader.borrow(), now);
        writer
    }

    fn set_leader(&mut self, is_leader: bool, now: Instant) {
        self.is_leader = is_leader;
        self.stats.is_leader.store(is_leader, Ordering::Relaxed);
        if is_leader {
            // The leader before may not have written them.
            for object in self.state.all_with_conditions() {
                self.conditions.entry(object.clone()).or_insert(now);
            }
        } else {
            self.problems.clear();
        }
    }

    fn on_published(&mut self, published: Published, now: Instant) {
        if let Some(service) = &published.service
            && self.settings.addresses.is_empty()
        {
            self.set_service(service.as_ref(), now);
        }
        for (object, identity) in &published.identities {
            if identity.is_none() {
                self.problems.set(object, None);
            }
        }
        self.state.apply(published, now);
        for name in self.state.statuses.take_fights() {
            self.on_fight(name, now);
        }
        for object in self.state.take_changed() {
            self.conditions.entry(object).or_insert(now + CONDITION_DELAY);
        }
    }

    /// Leaves the status of an Ingress to another gateway for some time.
    fn on_fight(&mut self, name: Name, now: Instant) {
        self.state.statuses.on_conflict(&name, now);
        let object = ObjectRef { kind: Kind::Ingress, name };
        let message =
            "another gateway writes other addresses; give each gateway classes or addresses of its own";
        self.problems.set(&object, Some(status_problem(&object, message.to_owned())));
    }

    /// Applies a change of the Service that exposes the gateway.
    fn set_service(&mut self, service: Option<&ExposingService>, now: Instant) {
        if let Some(name) = self.settings.service.clone() {
            let object = ObjectRef { kind: Kind::Service, name };
            let problem = service.is_none().then(|| Problem {
                object: object.clone(),
                field: String::new(),
                reason: Reason::ServiceNotFound,
                message: "the Service of --status-service does not exist in a watched namespace, so Ingresses get no \
                          address"
                    .to_owned(),
            });
            self.problems.set(&object, problem);
        }
        self.set_source(service.map_or(AddressSource::Known(AddressList::default()), of_service), now);
    }

    fn set_source(&mut self, source: AddressSource, now: Instant) {
        self.source = source;
        self.nodes_at = None;
        match &self.source {
            AddressSource::Known(addresses) => {
                self.addresses.set(Arc::clone(addresses), now);
                self.state.statuses.set_addresses(self.addresses.present());
            }
            AddressSource::Nodes => self.nodes_at = Some(now),
        }
    }
}

// ===== requests =====

impl Writer {
    /// Starts all requests that are due and within the limits.
    fn start_requests(&mut self, now: Instant) {
        self.addresses.expire(now);
        self.state.statuses.set_addresses(self.addresses.present());
        if !self.is_leader {
            self.state.events.skip_old(now);
            return;
        }
        while self.requests.len() < MAX_IN_FLIGHT && self.pause.is_over(now) {
            let Some(request) = self.next_request(now) else { return };
            self.requests.push(request);
        }
    }

    fn next_request(&mut self, now: Instant) -> Option<BoxFuture<'static, Done>> {
        if self.nodes_at.is_some_and(|at| at <= now) {
            self.nodes_at = None;
            let client = self.client.clone();
            return Some(async move { Done::Nodes(requests::node_addresses(client).await) }.boxed());
        }
        self.next_status(now).or_else(|| self.next_conditions(now)).or_else(|| self.next_event(now))
    }

    fn next_status(&mut self, now: Instant) -> Option<BoxFuture<'static, Done>> {
        if self.status_rate.ready_at(now) > now {
            return None;
        }
        let write = self.state.statuses.next(now)?;
        self.status_rate.acquire(now);
        let client = self.client.clone();
        let request = async move {
            let result = requests::apply_status(client, &write).await;
            Done::Status(write, result)
        };
        Some(request.boxed())
    }

    fn next_event(&mut self, now: Instant) -> Option<BoxFuture<'static, Done>> {
        if self.event_rate.ready_at(now) > now {
            return None;
        }
        let write = self.state.events.next(now)?;
        self.event_rate.acquire(now);
        let (client, instance) = (self.client.clone(), self.settings.instance.clone());
        let uid = self.state.uid(&write.content.regarding);
        let request = async move {
            let result = requests::write_event(client, &write, uid, &instance).await;
            Done::Event(write, result)
        };
        Some(request.boxed())
    }

    fn next_conditions(&mut self, now: Instant) -> Option<BoxFuture<'static, Done>> {
        if self.condition_rate.ready_at(now) > now {
            return None;
        }
        loop {
            let due = self.conditions.iter().find(|(_, at)| **at <= now);
            let object = due.map(|(object, _)| object.clone())?;
            self.conditions.remove(&object);
            let Some(state) = self.object_state(&object) else { continue };
            self.condition_rate.acquire(now);
            let (client, manager) = (self.client.clone(), self.settings.manager.clone());
            let request = async move {
                let result = requests::apply_conditions(client, &manager, &object, &state).await;
                Done::Conditions(object, result)
            };
            return Some(request.boxed());
        }
    }

    fn object_state(&self, object: &ObjectRef) -> Option<ObjectState> {
        let name = &object.name;
        let kind = match object.kind {
            Kind::WasmPlugin => KindState::Plugin(self.plugins.board.status(name).map(|status| status.state)),
            Kind::IngressClassConfig => KindState::ClassConfig(self.state.config(&name.name).cloned()),
            _ => KindState::Policy,
        };
        let generation = self.state.generation(object)?;
        Some(ObjectState { problems: self.state.problems(object), generation, kind })
    }

    /// Returns when the next request may be due.
    fn next_due(&self, now: Instant) -> Option<Instant> {
        let expiry = self.addresses.due_at();
        if !self.is_leader {
            return expiry;
        }
        if self.requests.len() >= MAX_IN_FLIGHT {
            return None;
        }
        let statuses =
            if self.state.statuses.has_due() { Some(now) } else { self.state.statuses.next_retry_at() };
        let limited = |due: Option<Instant>, rate: &RateLimit| due.map(|due| due.max(rate.ready_at(now)));
        let due = [
            self.nodes_at,
            limited(statuses, &self.status_rate),
            limited(self.state.events.next_due_at(), &self.event_rate),
            limited(self.conditions.values().min().copied(), &self.condition_rate),
        ];
        let due = due.into_iter().flatten().min();
        let due = due.map(|due| self.pause.until.map_or(due, |until| due.max(until)));
        due.into_iter().chain(expiry).min()
    }
}

// ===== results =====

impl Writer {
    fn on_done(&mut self, done: Done, now: Instant) {
        let result = match &done {
            Done::Status(_, result) => result.as_ref().err(),
            Done::Event(_, result) | Done::Conditions(_, result) => result.as_ref().err(),
            Done::Nodes(result) => result.as_ref().err(),
        };
        match result {
            Some(error) => {
                self.stats.failures.fetch_add(1, Ordering::Relaxed);
                if let WriteError::Unavailable(_) = error {
                    self.pause.start(now);
                }
            }
            None => self.pause.end(),
        }
        match done {
            Done::Status(write, result) => self.on_status(&write, result, now),
            Done::Event(write, result) => self.on_event(&write, result, now),
            Done::Conditions(object, result) => self.on_conditions(object, result, now),
            Done::Nodes(result) => self.on_nodes(result, now),
        }
    }

    fn on_status(
        &mut self,
        write: &StatusWrite,
        result: Result<Option<ResourceVersion>, WriteError>,
        now: Instant,
    ) {
        let object = ObjectRef { kind: Kind::Ingress, name: write.name.clone() };
        let all = ObjectRef { kind: Kind::Ingress, name: Name::new("", "*") };
        let statuses = &mut self.state.statuses;
        match result {
            Ok(version) => {
                statuses.on_written(write, version);
                self.stats.statuses.fetch_add(1, Ordering::Relaxed);
                self.problems.set(&object, None);
                self.problems.set(&all, None);
            }
            Err(WriteError::Missing) => statuses.on_written(write, None),
            Err(WriteError::Unavailable(error)) => {
                statuses.on_failed(&write.name);
                tracing::debug!(ingress = %write.name, error, "cannot write a status; it is written again");
            }
            Err(WriteError::Conflict(message)) => {
                statuses.on_conflict(&write.name, now);
                let message = format!(
                    "{}; the gateway leaves it. Stop the other controller, or set status: off in the \
                     IngressClassConfig of the class",
                    owner(&message)
                );
                self.problems.set(&object, Some(status_problem(&object, message)));
            }
            Err(WriteError::Invalid(message)) => {
                statuses.on_conflict(&write.name, now);
                self.problems.set(&object, Some(status_problem(&object, message)));
            }
            Err(WriteError::Forbidden(message)) => {
                statuses.on_conflict(&write.name, now);
                let message = format!(
                    "the gateway may not write statuses: {message}; grant patch of ingresses/status, or leave \
                     --status-service and --status-address out"
                );
                self.problems.set(&all, Some(status_problem(&all, message)));
            }
        }
    }

    fn on_event(&mut self, write: &EventWrite, result: Result<(), WriteError>, now: Instant) {
        match result {
            Ok(()) => {
                self.stats.events.fetch_add(1, Ordering::Relaxed);
                self.state.events.on_written(&write.content, now);
            }
            Err(WriteError::Missing) => {}
            Err(error) => {
                tracing::warn!(object = %write.content.regarding, %error, "cannot write an Event");
                self.state.events.on_failed(&write.content, now);
            }
        }
    }

    fn on_conditions(&mut self, object: ObjectRef, result: Result<(), WriteError>, now: Instant) {
        match result {
            Ok(()) => {
                self.stats.conditions.fetch_add(1, Ordering::Relaxed);
            }
            // Without the object or its CRD there is nothing to write to. In a conflict, it has its effect in another gateway.
            Err(WriteError::Missing | WriteError::Conflict(_)) => {}
            Err(WriteError::Unavailable(_)) => {
                self.conditions.entry(object).or_insert(now + CONDITION_DELAY);
            }
            Err(error) => tracing::warn!(%object, %error, "cannot write conditions"),
        }
    }

    fn on_nodes(&mut self, result: Result<AddressList, WriteError>, now: Instant) {
        if self.source != AddressSource::Nodes {
            return;
        }
        self.nodes_at = Some(now + NODE_INTERVAL);
        match result {
            Ok(addresses) => self.addresses.set(addresses, now),
            Err(error) => tracing::warn!(%error, "cannot read the addresses of nodes"),
        }
    }
}

fn status_problem(object: &ObjectRef, message: String) -> Problem {
    let (field, reason) = (STATUS_FIELD.to_owned(), Reason::StatusNotWritten);
    Problem { object: object.clone(), field, reason, message }
}

/// Returns who owns a field, from the message of a conflict.
fn owner(message: &str) -> String {
    let manager = message.split_once("conflict with \"").and_then(|(_, rest)| rest.split_once('"'));
    match manager {
        Some((manager, _)) => format!("field manager \"{manager}\" owns the addresses"),
        None => format!("the addresses have another owner ({message})"),
    }
}

/// The Problems of writing.
#[derive(Debug, Default)]
struct WriteProblems {
    present: BTreeMap<ObjectRef, Problem>,
    /// Changes that were not reported.
    changes: ReportProblems,
}

impl WriteProblems {
    /// Sets the Problem of an object; `None` if there is none.
    fn set(&mut self, object: &ObjectRef, problem: Option<Problem>) {
        if self.present.get(object) == problem.as_ref() {
            return;
        }
        if let Some(before) = self.present.remove(object) {
            self.remove(before);
        }
        if let Some(problem) = problem {
            self.present.insert(object.clone(), problem.clone());
            self.changes.added.push(problem);
        }
    }

    fn clear(&mut self) {
        for problem in std::mem::take(&mut self.present).into_values() {
            self.remove(problem);
        }
    }

    fn remove(&mut self, problem: Problem) {
        // What was not reported needs no removal.
        let added = self.changes.added.len();
        self.changes.added.retain(|added| *added != problem);
        if self.changes.added.len() == added {
            self.changes.removed.push(problem);
        }
    }

    /// Returns the changes since the last call; `None` without changes.
    fn take_changes(&mut self) -> Option<ReportProblems> {
        let changes = std::mem::take(&mut self.changes);
        (changes != ReportProblems::default()).then_some(changes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn owner_of_a_conflict_is_named() {
        for (message, expected) in [
            (
                "Apply failed with 1 conflict: conflict with \"nginx\" with subresource \"status\" using v1: .status",
                "field manager \"nginx\" owns the addresses",
            ),
            ("no", "the addresses have another owner (no)"),
        ] {
            assert_eq!(owner(message), expected);
        }
    }

    #[test]
    fn problems_of_writing_are_reported_once() {
        let object = ObjectRef { kind: Kind::Ingress, name: Name::new("shop", "web") };
        let problem = |message: &str| status_problem(&object, message.to_owned());
        let mut problems = WriteProblems::default();
        problems.set(&object, Some(problem("a")));
        problems.set(&object, Some(problem("a")));
        problems.set(&object, Some(problem("b")));
        let changes = problems.take_changes().unwrap();
        assert_eq!((changes.removed, changes.added), (vec![], vec![problem("b")]));
        assert_eq!(problems.take_changes(), None);
        problems.clear();
        assert_eq!(problems.take_changes().unwrap().removed, [problem("b")]);
    }

    #[test]
    fn pause_doubles_until_a_request_succeeds() {
        let (mut pause, mut now) = (Pause::default(), Instant::now());
        for seconds in [1, 2, 4, 8, 16, 30, 30] {
            pause.start(now);
            pause.start(now);
            assert!(!pause.is_over(now) && pause.is_over(now + Duration::from_secs(seconds)), "{seconds}");
            now += Duration::from_secs(seconds);
        }
        pause.end();
        assert!(pause.is_over(now));
    }
}
