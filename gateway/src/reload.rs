//! From updates to what is live: compile, load certificates, publish with one swap.
//!
//! Runs on the control runtime. Not here: reading objects (`source`) and serving them (`exchange`).

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use arc_swap::ArcSwap;
use routing::object::{Kind, Name, ObjectRef};
use routing::{Compiler, Config, Problem, Reason, RoutingTable};
use rustls::crypto::CryptoProvider;
use serde::Serialize;
use tokio::sync::{mpsc, oneshot, watch};

use crate::certificates::{self, Certificates};
use crate::live::{Live, LiveCell};
use crate::source::{SecretChange, Update};

/// All Problems of this moment, in order. Only control work locks it.
#[derive(Debug, Default)]
pub struct Problems(Mutex<BTreeSet<Problem>>);

impl Problems {
    /// A copy of all Problems, sorted by object and field.
    pub fn all(&self) -> Vec<Problem> {
        self.lock().iter().cloned().collect()
    }

    /// How many there are.
    pub fn count(&self) -> usize {
        self.lock().len()
    }

    fn lock(&self) -> MutexGuard<'_, BTreeSet<Problem>> {
        // A set is whole after any panic: each of its operations is.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A Problem as JSON shows it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct ProblemView {
    /// The object's kind.
    pub kind: String,
    /// The object's namespace; may be empty.
    pub namespace: String,
    /// The object's name.
    pub name: String,
    /// Where in the object; may be empty.
    pub field: String,
    /// The word for machines.
    pub reason: String,
    /// The sentence for people.
    pub message: String,
}

impl From<Problem> for ProblemView {
    fn from(problem: Problem) -> Self {
        Self {
            kind: problem.object.kind.to_string(),
            namespace: problem.object.name.namespace.to_string(),
            name: problem.object.name.name.to_string(),
            field: problem.field,
            reason: problem.reason.to_string(),
            message: problem.message,
        }
    }
}

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

/// Turns updates into what is live.
pub struct Reload {
    questions: (mpsc::Sender<Question>, mpsc::Receiver<Question>),
    compiler: Compiler,
    provider: Arc<CryptoProvider>,
    certificates: Certificates,
    live: LiveCell,
    problems: Arc<Problems>,
    from_source: Vec<Problem>,
    from_secrets: BTreeMap<Name, Problem>,
    generation: watch::Sender<u64>,
    /// Tables that a worker may still be looking at; they are dropped here and not by the worker.
    retired: Vec<Arc<Live>>,
}

impl Reload {
    /// Begins with an empty table of generation 0.
    ///
    /// # Errors
    /// The default certificate could not be made.
    pub fn new(provider: Arc<CryptoProvider>, routing: Config) -> anyhow::Result<Self> {
        let certificates = Certificates::generate(&provider)?;
        let live = Live { table: RoutingTable::default(), certificates: certificates.clone(), generation: 0 };
        Ok(Self {
            questions: mpsc::channel(WAITING_QUESTIONS),
            compiler: Compiler::new(routing),
            provider,
            certificates,
            live: Arc::new(ArcSwap::from_pointee(live)),
            problems: Arc::default(),
            from_source: Vec::new(),
            from_secrets: BTreeMap::new(),
            generation: watch::Sender::new(0),
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

    /// The way to ask this Reload once it runs.
    pub fn questions(&self) -> Questions {
        Questions(self.questions.0.clone())
    }

    /// Who holds the objects.
    pub fn compiler(&self) -> &Compiler {
        &self.compiler
    }

    /// Applies updates, and answers questions between them, until the source ends.
    pub async fn run(mut self, mut updates: mpsc::Receiver<Update>) {
        loop {
            tokio::select! {
                update = updates.recv() => match update {
                    Some(update) => self.apply(update),
                    None => return,
                },
                Some(question) = self.questions.1.recv() => question(&self),
            }
        }
    }

    /// Applies one update: when it returns, requests see it.
    pub fn apply(&mut self, update: Update) {
        let before = self.problems.all();
        let changed = self.load(update.secrets);
        if !changed.is_empty() {
            self.certificates = self.certificates.with(changed);
        }
        let (table, delta) = self.compiler.apply(update.objects);
        self.note(update.problems, delta);
        let generation = self.generation.borrow().wrapping_add(1);
        self.publish(Live { table, certificates: self.certificates.clone(), generation });
        self.report(&before, generation);
        self.generation.send_replace(generation);
    }

    /// Reads the Secrets that changed. One that turned malformed keeps its last good certificate.
    fn load(&mut self, secrets: Vec<SecretChange>) -> Vec<(Name, Option<Arc<rustls::sign::CertifiedKey>>)> {
        let mut changed = Vec::new();
        for SecretChange { name, pair } in secrets {
            let old = self.from_secrets.remove(&name);
            if let Some(old) = old {
                self.problems.lock().remove(&old);
            }
            let Some(pair) = pair else {
                changed.push((name, None));
                continue;
            };
            match certificates::load(&pair, &self.provider) {
                Ok(certificate) => changed.push((name, Some(Arc::new(certificate)))),
                Err(error) => {
                    let problem = Problem {
                        object: ObjectRef { kind: Kind::Secret, name: name.clone() },
                        field: "data".to_owned(),
                        reason: Reason::SecretMalformed,
                        message: error.to_string(),
                    };
                    self.problems.lock().insert(problem.clone());
                    self.from_secrets.insert(name, problem);
                }
            }
        }
        changed
    }

    fn note(&mut self, from_source: Option<Vec<Problem>>, delta: routing::ProblemDelta) {
        let mut problems = self.problems.lock();
        if let Some(new) = from_source {
            for old in std::mem::replace(&mut self.from_source, new) {
                problems.remove(&old);
            }
        }
        for old in delta.removed {
            problems.remove(&old);
        }
        problems.extend(delta.added);
        problems.extend(self.from_source.iter().cloned());
    }

    fn publish(&mut self, live: Live) {
        let old = self.live.swap(Arc::new(live));
        self.retired.push(old);
        self.retired.retain(|live| Arc::strong_count(live) > 1);
    }

    /// Logs what became live and which Problems came and went with it.
    fn report(&self, before: &[Problem], generation: u64) {
        let now = self.problems.lock();
        let live = self.live.load();
        tracing::info!(generation, hosts = live.table.len(), problems = now.len(), "live");
        for problem in now.iter().filter(|problem| before.binary_search(problem).is_err()) {
            tracing::warn!(%problem, "problem");
        }
        for problem in before.iter().filter(|problem| !now.contains(*problem)) {
            tracing::info!(%problem, "problem solved");
        }
    }
}
