//! From updates to what is live: compile, load certificates, publish with one swap.
//!
//! Runs on the control runtime. Not here: reading objects (`source`) and serving them (`exchange`).

mod secrets;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use arc_swap::ArcSwap;
use routing::object::{Kind, ObjectRef};
use routing::{Compiler, Config, Problem, Reason, RoutingTable};
use rustls::crypto::CryptoProvider;
use tokio::sync::{mpsc, oneshot, watch};

use crate::control::dns::{Answer, Wanted};
use crate::control::source::Update;
use crate::live::{Live, LiveCell};

use secrets::Secrets;

pub mod problems;

pub use problems::{ProblemView, Problems};

/// Questions that may wait to be answered; who asks more waits.
const WAITING_QUESTIONS: usize = 8;

type Question = Box<dyn FnOnce(&Reload) + Send>;

/// The way to ask a running [`Reload`] for what only it holds: the objects.
#[derive(Clone)]
pub struct Questions(mpsc::Sender<Question>);

impl Questions {
    /// Asks, and waits for the answer: it is made between two updates, so that it is about one moment. Nothing if
    /// the source has ended.
    pub async fn ask<T, Q>(&self, question: Q) -> Option<T>
    where
        T: Send + 'static,
        Q: FnOnce(&Reload) -> T + Send + 'static,
    {
        let (answer, answered) = oneshot::channel();
        let question: Question = Box::new(move |reload| {
            // Who asked may be gone.
            let _ = answer.send(question(reload));
        });
        self.0.send(question).await.ok()?;
        answered.await.ok()
    }
}

/// How long to wait before the wall clock is looked at again: it may be set, and it runs on while a machine sleeps
/// and timers do not.
const LOOK_AGAIN: Duration = Duration::from_secs(60);

/// Turns updates into what is live.
pub struct Reload {
    questions: (mpsc::Sender<Question>, mpsc::Receiver<Question>),
    routing: Config,
    compiler: Compiler,
    secrets: Secrets,
    live: LiveCell,
    problems: Arc<Problems>,
    generation: watch::Sender<u64>,
    /// The names that are to be resolved.
    names: watch::Sender<Wanted>,
    /// What is known of them.
    resolved: BTreeMap<Arc<str>, Resolved>,
    /// Tables that a worker may still be looking at; they are dropped here and not by the worker.
    retired: Vec<Arc<Live>>,
}

impl Reload {
    /// Begins with an empty table of generation 0.
    ///
    /// # Errors
    /// The default certificate could not be made.
    pub fn new(provider: Arc<CryptoProvider>, routing: Config) -> anyhow::Result<Self> {
        let secrets = Secrets::new(provider)?;
        let certificates = secrets.certificates().clone();
        let live = Live { table: RoutingTable::default(), certificates, generation: 0 };
        Ok(Self {
            questions: mpsc::channel(WAITING_QUESTIONS),
            compiler: Compiler::new(routing.clone()),
            routing,
            secrets,
            live: Arc::new(ArcSwap::from_pointee(live)),
            problems: Arc::default(),
            generation: watch::Sender::new(0),
            names: watch::Sender::default(),
            resolved: BTreeMap::new(),
            retired: Vec::new(),
        })
    }

    /// What is live, for the data plane.
    pub fn live(&self) -> LiveCell {
        Arc::clone(&self.live)
    }

    /// The Problems, for people.
    pub fn problems(&self) -> Arc<Problems> {
        Arc::clone(&self.problems)
    }

    /// The number of the table that is live; 0 before the first full one.
    pub fn generation(&self) -> watch::Receiver<u64> {
        self.generation.subscribe()
    }

    /// The names that are to be resolved; their addresses go to [`Reload::run`].
    pub fn names(&self) -> watch::Receiver<Wanted> {
        self.names.subscribe()
    }

    /// The way to ask this Reload once it runs.
    pub fn questions(&self) -> Questions {
        Questions(self.questions.0.clone())
    }

    /// Who holds the objects.
    pub fn compiler(&self) -> &Compiler {
        &self.compiler
    }

    /// Applies updates, and answers questions between them, until the source or who resolves names ends.
    pub async fn run(&mut self, updates: &mut mpsc::Receiver<Update>, answers: &mut mpsc::Receiver<Answer>) {
        loop {
            tokio::select! {
                update = updates.recv() => match update {
                    Some(update) => self.apply(update, SystemTime::now()),
                    None => return,
                },
                answer = answers.recv() => match answer {
                    Some(answer) => self.resolve(answer),
                    None => return,
                },
                () = until(self.secrets.due()) => self.pass(SystemTime::now()),
                Some(question) = self.questions.1.recv() => question(self),
            }
        }
    }

    /// Forgets everything that was read, and its Problems, as if nothing ever was. What is live stays until the next
    /// update, which has to hold all that is there, as the first one of a source does.
    pub fn forget(&mut self) {
        self.compiler = Compiler::new(self.routing.clone());
        self.secrets.forget();
        self.problems.forget();
        self.resolved.clear();
        self.names.send_replace(Wanted::default());
    }

    /// Applies one update at a moment: when it returns, requests see it.
    pub fn apply(&mut self, mut update: Update, now: SystemTime) {
        let is_location_only = update.is_location_only();
        self.problems.set_places(update.source_maps);
        if is_location_only && *self.generation.borrow() > 0 {
            return;
        }
        self.secrets.take(update.secrets, &mut update.objects, now);
        if update.zone.is_some() {
            self.compiler.set_zone(update.zone);
        }
        let (table, delta) = self.compiler.apply(update.objects);
        if let Some(found) = update.problems {
            self.problems.set_source(found);
        }
        self.problems.change(delta.removed.iter(), delta.added);
        self.follow_names();
        let generation = self.generation.borrow().wrapping_add(1);
        self.publish(Live { table, certificates: self.secrets.certificates().clone(), generation });
        // At once: who sees the table may ask whether the gateway is ready.
        self.generation.send_replace(generation);
        self.report(generation);
    }

    /// Judges the dates of certificates anew. Nothing becomes live if none has passed since it was judged last.
    pub fn pass(&mut self, now: SystemTime) {
        let objects = self.secrets.pass(now);
        if !objects.is_empty() {
            self.apply(Update { objects, ..Update::default() }, now);
        }
    }

    /// Says which names are to be resolved, if they are others than before, and brings what is known of them to
    /// Backends that are new. Costs what changed, however many names there are.
    fn follow_names(&mut self) {
        let touched = self.compiler.take_changed_external_names();
        let (named, gone): (Vec<_>, Vec<_>) =
            touched.into_iter().partition(|name| !self.compiler.services_with_external_name(name).is_empty());
        for name in &gone {
            if let Some(known) = self.resolved.remove(name) {
                self.problems.change(known.problems.iter(), Vec::new());
            }
        }
        for name in &named {
            if let Some(Resolved { answer, problems }) = self.resolved.remove(name) {
                self.hold(answer, &problems);
            }
        }
        self.names.send_if_modified(|wanted| {
            let mut is_news = false;
            for name in &gone {
                is_news |= wanted.remove(name);
            }
            for name in named {
                is_news |= wanted.insert(name);
            }
            is_news
        });
    }

    /// Takes in what a name was resolved to: no table changes, only cells in it.
    fn resolve(&mut self, answer: Answer) {
        // It may have been on its way while the last Service with that name went.
        if !self.names.borrow().contains(&answer.name) {
            return;
        }
        tracing::debug!(name = %answer.name, addresses = ?answer.addresses, "resolved");
        let before = self.resolved.remove(&answer.name).map(|known| known.problems);
        self.hold(answer, &before.unwrap_or_default());
        self.tell_problems();
    }

    /// Brings what is known of a name to its Backends, and the Problem, if there is one, in place of those `before`.
    fn hold(&mut self, answer: Answer, before: &[Problem]) {
        self.compiler.set_addresses(&answer.name, &answer.addresses);
        let services = self.compiler.services_with_external_name(&answer.name).into_iter();
        let problem = |service, message: &String| Problem {
            object: ObjectRef { kind: Kind::Service, name: service },
            field: "spec.externalName".to_owned(),
            reason: Reason::NameNotResolved,
            message: message.clone(),
        };
        let problems: Vec<_> = match &answer.problem {
            Some(message) => services.map(|service| problem(service, message)).collect(),
            None => Vec::new(),
        };
        self.problems.change(before, problems.clone());
        self.resolved.insert(Arc::clone(&answer.name), Resolved { answer, problems });
    }

    fn publish(&mut self, live: Live) {
        let old = self.live.swap(Arc::new(live));
        self.retired.push(old);
        self.retired.retain(|live| Arc::strong_count(live) > 1);
    }

    /// Logs what became live and which Problems came and went with it.
    fn report(&self, generation: u64) {
        let (live, problems) = (self.live.load(), self.problems.count());
        tracing::info!(generation, hosts = live.table.len(), problems, "live");
        self.tell_problems();
    }

    fn tell_problems(&self) {
        let (came, went) = self.problems.take_changes();
        for problem in came {
            tracing::warn!(%problem, "problem");
        }
        for problem in went {
            tracing::info!(%problem, "problem solved");
        }
    }
}

/// What is known of a name, and what its Services were told.
struct Resolved {
    answer: Answer,
    problems: Vec<Problem>,
}

/// Waits for a moment of the wall clock; for ever if there is none.
async fn until(due: Option<SystemTime>) {
    let Some(due) = due else { return std::future::pending().await };
    let left = due.duration_since(SystemTime::now()).unwrap_or_default();
    tokio::time::sleep(left.min(LOOK_AGAIN)).await;
}
