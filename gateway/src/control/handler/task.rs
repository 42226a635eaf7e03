//! The task that keeps modules loaded and asks them.

use std::collections::BTreeMap;
use std::mem;
use std::sync::Arc;
use std::time::{Duration, Instant};

use hashbrown::HashMap;
use plugin_host::{CommandLimits, Engine, HandlerCommand};
use routing::handler::{HandlerAnswer, HandlerCall, HandlerDefinition, HandlerHost, HandlerOutcome};
use routing::object::Name;
use sha2::{Digest as _, Sha256};
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use super::ask::{Asked, ask};
use super::board::HandlerState;
use super::load::{is_polled, load};
use super::{HandlerContext, HandlerUpdate, HandlerWork, LoadedHandler};
use crate::control::module_file::{self, FileStamp};

/// Time between two looks at the files of modules. A file is read when two looks in a row find the same change.
const POLL_INTERVAL: Duration = Duration::from_millis(250);

/// Time after which hosts are asked again whose call took too long. The machine may have been busy.
const RETRY_INTERVAL: Duration = Duration::from_secs(10);

/// Maximum time after which the answers so far are passed on.
const BATCH_TIME: Duration = Duration::from_millis(50);

/// Maximum hosts of one batch. Their answers are published together.
const MAX_BATCH: usize = 512;

/// Loads handlers and asks them, until the sender of `work` or the receiver of `updates` is dropped.
///
/// # Cancellation
/// Dropping the future ends the task. Calls in progress end by themselves.
pub async fn run(
    context: HandlerContext,
    mut work: mpsc::UnboundedReceiver<HandlerWork>,
    updates: mpsc::Sender<HandlerUpdate>,
) {
    let mut task = Task::new(context);
    let mut poll = tokio::time::interval(POLL_INTERVAL);
    poll.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let mut retry = tokio::time::interval(RETRY_INTERVAL);
    retry.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            work = work.recv() => match work {
                Some(work) => task.on_work(work),
                None => return,
            },
            Some(done) = task.jobs.join_next(), if !task.jobs.is_empty() => {
                if let Ok(done) = done {
                    task.on_done(done);
                }
            }
            _ = poll.tick(), if task.has_files() => task.poll_files(),
            _ = retry.tick(), if task.has_retries() => task.retry(),
        }
        let update = mem::take(&mut task.update);
        let is_empty = update.answers.is_empty() && update.loaded.is_empty();
        if !is_empty && updates.send(update).await.is_err() {
            return;
        }
    }
}

struct Task {
    context: HandlerContext,
    /// Created with the first handler.
    engine: Option<Engine>,
    classes: BTreeMap<Arc<str>, TrackedClass>,
    jobs: JoinSet<HandlerJobEnd>,
    /// What the compiler must be given.
    update: HandlerUpdate,
}

struct TrackedClass {
    definition: HandlerDefinition,
    module: ModuleState,
    /// The module that answers.
    command: Option<HandlerCommand>,
    /// Hosts to ask, with their newest input.
    due: BTreeMap<HandlerHost, HandlerCall>,
    /// SHA-256 of module and input of the last call of each host.
    asked: HashMap<HandlerHost, [u8; 32]>,
    /// Hosts whose call took too long.
    timed_out: BTreeMap<HandlerHost, HandlerCall>,
    /// Whether a job asks for this class.
    is_asking: bool,
    /// Changes with each load, so that the end of an older one is known.
    version: u64,
    /// The file when it was read, and at the last look.
    read: Option<FileStamp>,
    seen: Option<FileStamp>,
}

/// How far the newest module of a class is.
enum ModuleState {
    Loading,
    Loaded,
    Refused(Arc<str>),
}

/// The end of a job.
enum HandlerJobEnd {
    Loaded { class: Arc<str>, version: u64, stamp: Option<FileStamp>, result: Result<HandlerCommand, String> },
    Asked { class: Arc<str>, digest: [u8; 32], batch: Batch },
}

/// The results of a batch of calls.
#[derive(Default)]
struct Batch {
    answers: Vec<HandlerAnswer>,
    asked: Vec<(HandlerHost, [u8; 32])>,
    timed_out: Vec<HandlerCall>,
    /// Not asked in time for this batch.
    rest: Vec<HandlerCall>,
    calls: u64,
    failures: u64,
    cached: u64,
    memory: usize,
    time: Duration,
}

impl Task {
    fn new(context: HandlerContext) -> Self {
        let (classes, update) = (BTreeMap::new(), HandlerUpdate::default());
        Self { context, engine: None, classes, jobs: JoinSet::new(), update }
    }

    fn on_work(&mut self, work: HandlerWork) {
        if let Some(definitions) = work.definitions {
            self.set_definitions(definitions);
        }
        for call in work.calls {
            let Some(class) = self.classes.get_mut(&call.subject.class) else { continue };
            class.timed_out.remove(&call.subject);
            if call.input.items.is_empty() {
                class.asked.remove(&call.subject);
                class.due.remove(&call.subject);
            } else {
                class.due.insert(call.subject.clone(), call);
            }
        }
        self.ask_all();
    }

    fn set_definitions(&mut self, definitions: Vec<HandlerDefinition>) {
        let wanted: BTreeMap<_, _> =
            definitions.into_iter().map(|definition| (Arc::clone(&definition.class), definition)).collect();
        self.classes.retain(|class, _| wanted.contains_key(class));
        self.context.board.retain(|class| wanted.contains_key(class));
        for (class, definition) in wanted {
            let known = self.classes.get_mut(&class);
            match known {
                Some(known) if known.definition == definition => {}
                // The settings beside the module are part of each input.
                Some(known) if is_same_module(&known.definition, &definition) => {
                    known.definition = definition
                }
                Some(known) => {
                    known.definition = definition;
                    self.load(&class);
                }
                None => {
                    self.classes.insert(Arc::clone(&class), TrackedClass::new(definition));
                    self.load(&class);
                }
            }
        }
    }

    /// Starts to load the module of a class.
    fn load(&mut self, class: &Arc<str>) {
        let engine = self.engine();
        let Some(tracked) = self.classes.get_mut(class) else { return };
        let url = module_file::url(&tracked.definition.source);
        self.context.board.update(class, |status| {
            status.url = url;
            status.state = HandlerState::Pending;
        });
        tracked.version += 1;
        tracked.module = ModuleState::Loading;
        let (class, definition, version) = (Arc::clone(class), tracked.definition.clone(), tracked.version);
        self.jobs.spawn(async move {
            let (of_load, stamp) = (definition.clone(), module_file::stamp(&definition.source));
            let loaded =
                tokio::task::spawn_blocking(move || engine.and_then(|engine| load(&engine, &of_load)));
            let result = loaded.await.unwrap_or_else(|_panic| Err("loading it ended by a panic".to_owned()));
            HandlerJobEnd::Loaded { class, version, stamp, result }
        });
    }

    fn engine(&mut self) -> Result<Engine, String> {
        if let Some(engine) = &self.engine {
            return Ok(engine.clone());
        }
        let engine = match Engine::new(self.context.cache.as_deref()) {
            Err(error) if self.context.cache.is_some() => {
                tracing::error!(%error, "compiled code of class handlers is not cached");
                Engine::new(None)
            }
            engine => engine,
        };
        let engine = engine.map_err(|error| error.to_string())?;
        self.engine = Some(engine.clone());
        Ok(engine)
    }

    fn on_done(&mut self, done: HandlerJobEnd) {
        match done {
            HandlerJobEnd::Loaded { class, version, stamp, result } => {
                self.on_loaded(&class, version, stamp, result)
            }
            HandlerJobEnd::Asked { class, digest, batch } => self.on_asked(&class, digest, batch),
        }
        self.ask_all();
    }

    fn on_loaded(
        &mut self,
        class: &Arc<str>,
        version: u64,
        stamp: Option<FileStamp>,
        result: Result<HandlerCommand, String>,
    ) {
        let Some(tracked) = self.classes.get_mut(class).filter(|tracked| tracked.version == version) else {
            return;
        };
        tracked.read = stamp;
        tracked.seen = stamp;
        let mut refusal = None;
        match result {
            Ok(command) => {
                let digest = module_file::hex(&command.digest());
                tracing::info!(class = &**class, digest, "class handler ready");
                self.context.board.update(class, |status| {
                    status.state = HandlerState::Ready;
                    status.digest = Some(digest);
                });
                tracked.command = Some(command);
                // The compiler is asked for the calls of all hosts.
                tracked.due.clear();
                tracked.module = ModuleState::Loaded;
            }
            Err(reason) => {
                let state = HandlerState::Refused(reason.clone());
                self.context.board.update(class, |status| status.state = state);
                tracked.module = ModuleState::Refused(reason.as_str().into());
                refusal = Some(reason);
            }
        }
        let config = Arc::clone(&tracked.definition.config);
        self.update.loaded.push(LoadedHandler { class: Arc::clone(class), config, refusal });
    }

    fn on_asked(&mut self, class: &Arc<str>, digest: [u8; 32], batch: Batch) {
        let Some(tracked) = self.classes.get_mut(class) else { return };
        tracked.is_asking = false;
        self.context.board.update(class, |status| {
            status.calls += batch.calls;
            status.failures += batch.failures;
            status.cached += batch.cached;
            status.time += batch.time;
            status.memory = status.memory.max(batch.memory);
        });
        for call in batch.rest {
            // A newer input may have come.
            tracked.due.entry(call.subject.clone()).or_insert(call);
        }
        if tracked.command.as_ref().map(HandlerCommand::digest) == Some(digest) {
            tracked.asked.extend(batch.asked);
            for call in batch.timed_out {
                tracked.timed_out.insert(call.subject.clone(), call);
            }
        }
        self.update.answers.extend(batch.answers);
    }

    /// Starts a job for each class with hosts to ask and none in progress.
    fn ask_all(&mut self) {
        for (class, tracked) in &mut self.classes {
            if tracked.due.is_empty() || tracked.is_asking {
                continue;
            }
            let command = match (&tracked.command, &tracked.module) {
                (Some(command), _) => command.clone(),
                (None, ModuleState::Loading | ModuleState::Loaded) => continue,
                (None, ModuleState::Refused(reason)) => {
                    let due = mem::take(&mut tracked.due).into_values();
                    self.update.answers.extend(due.flat_map(|call| refused(&call, reason)));
                    continue;
                }
            };
            tracked.is_asking = true;
            let mut calls: Vec<_> = mem::take(&mut tracked.due).into_values().collect();
            let later = calls.split_off(calls.len().min(MAX_BATCH));
            tracked.due.extend(later.into_iter().map(|call| (call.subject.clone(), call)));
            let known: Vec<_> = calls.iter().map(|call| tracked.asked.get(&call.subject).copied()).collect();
            let (class, digest) = (Arc::clone(class), command.digest());
            self.jobs.spawn(async move {
                let asked =
                    tokio::task::spawn_blocking(move || run_batch(&command, calls.into_iter().zip(known)));
                HandlerJobEnd::Asked { class, digest, batch: asked.await.unwrap_or_default() }
            });
        }
    }

    fn has_files(&self) -> bool {
        self.classes.values().any(|tracked| is_polled(&tracked.definition))
    }

    fn poll_files(&mut self) {
        let mut changed = Vec::new();
        for (class, tracked) in &mut self.classes {
            if matches!(tracked.module, ModuleState::Loading) || !is_polled(&tracked.definition) {
                continue;
            }
            let now = module_file::stamp(&tracked.definition.source);
            let before = mem::replace(&mut tracked.seen, now);
            if now != tracked.read && now == before {
                changed.push(Arc::clone(class));
            }
        }
        changed.iter().for_each(|class| self.load(class));
    }

    fn has_retries(&self) -> bool {
        self.classes.values().any(|tracked| !tracked.timed_out.is_empty())
    }

    fn retry(&mut self) {
        for tracked in self.classes.values_mut() {
            for (subject, call) in mem::take(&mut tracked.timed_out) {
                tracked.asked.remove(&subject);
                tracked.due.entry(subject).or_insert(call);
            }
        }
        self.ask_all();
    }
}

impl TrackedClass {
    fn new(definition: HandlerDefinition) -> Self {
        Self {
            definition,
            module: ModuleState::Loading,
            command: None,
            due: BTreeMap::new(),
            asked: HashMap::new(),
            timed_out: BTreeMap::new(),
            is_asking: false,
            version: 0,
            read: None,
            seen: None,
        }
    }
}

fn is_same_module(one: &HandlerDefinition, other: &HandlerDefinition) -> bool {
    one.source == other.source && one.sha256 == other.sha256
}

/// Returns the answers of a handler that was never loaded.
pub fn refused(call: &HandlerCall, reason: &Arc<str>) -> Vec<HandlerAnswer> {
    let reason: Arc<str> = format!("its module cannot be loaded: {reason}").into();
    let answer = |ingress| HandlerAnswer {
        ingress,
        host: call.subject.host.clone(),
        outcome: HandlerOutcome::Failed(Arc::clone(&reason)),
    };
    let names = call.input.ingresses().map(|from| Name::new(&from.metadata.namespace, &from.metadata.name));
    names.map(answer).collect()
}

/// Asks about hosts, one after the other, until the time of a batch is over. Blocks.
fn run_batch(
    command: &HandlerCommand,
    calls: impl Iterator<Item = (HandlerCall, Option<[u8; 32]>)>,
) -> Batch {
    let (began, limits) = (Instant::now(), CommandLimits::default());
    let mut batch = Batch::default();
    for (call, known) in calls {
        if began.elapsed() > BATCH_TIME {
            batch.rest.push(call);
            continue;
        }
        let hash = input_hash(command, &call);
        if known == Some(hash) && call.is_answered {
            batch.cached += 1;
            continue;
        }
        let Asked { answers, calls, failures, has_timed_out, memory } = ask(command, &call, &limits);
        batch.answers.extend(answers);
        batch.calls += calls;
        batch.failures += failures;
        batch.memory = batch.memory.max(memory);
        batch.asked.push((call.subject.clone(), hash));
        if has_timed_out {
            batch.timed_out.push(call);
        }
    }
    batch.time = began.elapsed();
    batch
}

fn input_hash(command: &HandlerCommand, call: &HandlerCall) -> [u8; 32] {
    let mut hasher = Sha256::new();
    hasher.update(command.digest());
    // An input that cannot be written is the same each time: its call fails.
    let input = serde_json::to_vec(&call.input).unwrap_or_default();
    hasher.update(input);
    hasher.finalize().into()
}
