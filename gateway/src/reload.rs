//! From updates to what is live: compile, load certificates, publish with one swap.
//!
//! Runs on the control runtime. Not here: reading objects (`source`) and serving them (`exchange`).

use std::collections::BTreeMap;
use std::sync::Arc;

use arc_swap::ArcSwap;
use routing::object::{Kind, Name, ObjectRef};
use routing::{Compiler, Config, Problem, Reason, RoutingTable};
use rustls::crypto::CryptoProvider;
use tokio::sync::{mpsc, oneshot, watch};

use crate::certificates::{self, Certificates};
use crate::live::{Live, LiveCell};
use crate::source::{SecretChange, Update};

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

/// Turns updates into what is live.
pub struct Reload {
    questions: (mpsc::Sender<Question>, mpsc::Receiver<Question>),
    compiler: Compiler,
    provider: Arc<CryptoProvider>,
    certificates: Certificates,
    live: LiveCell,
    problems: Arc<Problems>,
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
        let only_moves = update.only_moves();
        self.problems.set_places(update.places);
        if only_moves && *self.generation.borrow() > 0 {
            return;
        }
        let changed = self.load(update.secrets);
        if !changed.is_empty() {
            self.certificates = self.certificates.with(changed);
        }
        let (table, delta) = self.compiler.apply(update.objects);
        if let Some(found) = update.problems {
            self.problems.set_source(found);
        }
        self.problems.change(delta.removed.iter(), delta.added);
        let generation = self.generation.borrow().wrapping_add(1);
        self.publish(Live { table, certificates: self.certificates.clone(), generation });
        self.report(generation);
        self.generation.send_replace(generation);
    }

    /// Reads the Secrets that changed. One that turned malformed keeps its last good certificate.
    fn load(&mut self, secrets: Vec<SecretChange>) -> Vec<(Name, Option<Arc<rustls::sign::CertifiedKey>>)> {
        let mut changed = Vec::new();
        for SecretChange { name, pair } in secrets {
            let old = self.from_secrets.remove(&name);
            self.problems.change(old.as_ref(), None);
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
                    self.problems.change(None, [problem.clone()]);
                    self.from_secrets.insert(name, problem);
                }
            }
        }
        changed
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
        let (came, went) = self.problems.take_changes();
        for problem in came {
            tracing::warn!(%problem, "problem");
        }
        for problem in went {
            tracing::info!(%problem, "problem solved");
        }
    }
}
