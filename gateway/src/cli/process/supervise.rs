//! Restarts the control plane after a panic.
//!
//! The live state stays meanwhile, and requests do not notice. Not here: the parts themselves (`source`, `dns`,
//! `reload`), and panics on workers, which cost one connection each (`listener`).

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use futures::FutureExt as _;
use tokio::sync::watch;
use tokio::time::Instant;

use super::inputs::Inputs;
use crate::control::reload::Reload;

/// Delay before the first restart. Doubles with each further one: the same object may cause the same panic again, and a
/// loop of lists would load the API server.
const INITIAL_BACKOFF: Duration = Duration::from_secs(1);
/// Maximum delay before a restart. A run of this duration resets the delay.
const MAX_BACKOFF: Duration = Duration::from_secs(60);

/// Runs a Reload on its inputs, and restarts it after each panic of the Reload or of an input. A restart drops all
/// objects, since they may be incomplete, and reads them again from the inputs that `start` returns. `restarts` counts. Returns
/// once the sender of `process` is dropped and an input ends, as when the process stops.
pub(super) async fn run(
    (mut reload, mut inputs): (Reload, Inputs),
    mut start: impl FnMut(&Reload) -> anyhow::Result<Inputs>,
    restarts: Arc<AtomicU64>,
    process: watch::Receiver<()>,
) {
    let mut backoff = INITIAL_BACKOFF;
    loop {
        let started = Instant::now();
        let running = AssertUnwindSafe(reload.run(&mut inputs.reload));
        // The panic hook printed the message.
        let has_panicked = running.catch_unwind().await.is_err();
        drop(inputs);
        if process.has_changed().is_err() {
            return;
        }
        restarts.fetch_add(1, Ordering::Relaxed);
        let part = if has_panicked { "compiling" } else { "reading objects or resolving names" };
        if started.elapsed() > MAX_BACKOFF {
            backoff = INITIAL_BACKOFF;
        }
        tracing::error!(
            part,
            ?backoff,
            "ended by a panic; the live state stays, and all objects are read again"
        );
        reload.reset();
        inputs = loop {
            tokio::time::sleep(backoff).await;
            backoff = (backoff * 2).min(MAX_BACKOFF);
            match start(&reload) {
                Ok(inputs) => break inputs,
                Err(error) => tracing::error!(error = format!("{error:#}"), "cannot read objects"),
            }
        };
    }
}

#[cfg(test)]
mod tests {
    use routing::object::{Change, Ingress, Kind, Name, Object, ObjectRef};
    use routing::{Config, Problem, Reason};
    use tokio::sync::{mpsc, watch};
    use tokio::task::JoinSet;

    use super::*;
    use crate::cli::crypto::crypto_provider;
    use crate::control::reload::{HandlerChannels, ReloadHandle, ReloadInputs};
    use crate::control::source::Update;
    use crate::control::source::location::LocatedProblem;
    use crate::plan::Planner;

    /// Inputs whose source sends one Ingress with a Problem, and then runs `then`.
    fn inputs(ingress: &str, then: impl Future<Output = ()> + Send + 'static) -> Inputs {
        let (sender, updates) = mpsc::channel(1);
        let (resolver, resolutions) = mpsc::channel(1);
        let (loader, plugins) = mpsc::channel(1);
        let (work, asked) = mpsc::unbounded_channel();
        let (asker, updates_of_handlers) = mpsc::channel(1);
        let ingress = Ingress { name: Name::new("shop", ingress), ..Ingress::default() };
        let problem = Problem {
            object: ObjectRef { kind: Kind::Ingress, name: ingress.name.clone() },
            field: String::new(),
            reason: Reason::Unsupported,
            message: String::new(),
        };
        let problems = Some(vec![LocatedProblem { problem, location: None }]);
        let objects = vec![Change::Apply(Object::Ingress(ingress))];
        let mut tasks = JoinSet::new();
        tasks.spawn(async move {
            sender.send(Update { objects, problems, ..Update::default() }).await.unwrap();
            then.await;
            drop((sender, resolver, loader, asker, asked));
        });
        let handlers = HandlerChannels { work, updates: updates_of_handlers };
        let reload = ReloadInputs { updates, resolutions, plugins, handlers, reports: None };
        Inputs { reload, _watcher: None, _tasks: tasks }
    }

    /// Returns the names of the Ingresses once the table of this generation is live.
    async fn ingresses(
        handle: &ReloadHandle,
        live: &mut watch::Receiver<u64>,
        generation: u64,
    ) -> Vec<String> {
        live.wait_for(|number| *number == generation).await.unwrap();
        let names =
            |reload: &Reload| reload.compiler().ingresses().map(|found| found.name.to_string()).collect();
        handle.query(names).await.unwrap()
    }

    #[tokio::test(start_paused = true)]
    async fn end_of_an_input_while_the_process_stops_is_no_panic() {
        let reload = Reload::new(crypto_provider().unwrap(), Config::default(), Planner::default()).unwrap();
        let restarts = Arc::new(AtomicU64::new(0));
        let (process, is_running) = watch::channel(());
        let ends = inputs("first", async move { drop(process) });
        let start = |_: &Reload| -> anyhow::Result<Inputs> { panic!("it starts again") };
        run((reload, ends), start, Arc::clone(&restarts), is_running).await;
        assert_eq!(restarts.load(Ordering::Relaxed), 0);
    }

    #[tokio::test(start_paused = true)]
    async fn panic_of_any_part_reads_everything_again() {
        let reload = Reload::new(crypto_provider().unwrap(), Config::default(), Planner::default()).unwrap();
        let (handle, mut live, problems) = (reload.handle(), reload.generation(), reload.problems());
        let restarts = Arc::new(AtomicU64::new(0));
        let (break_source, broken) = tokio::sync::oneshot::channel::<()>();
        let first = inputs("first", async {
            broken.await.unwrap_err();
            panic!("the source breaks");
        });
        let mut further = ["second", "third"].into_iter();
        let mut has_failed = false;
        let start = move |_: &Reload| {
            // The first start fails.
            if !std::mem::replace(&mut has_failed, true) {
                anyhow::bail!("not now");
            }
            Ok(inputs(further.next().unwrap(), std::future::pending()))
        };
        let (_process, is_running) = watch::channel(());
        tokio::spawn(run((reload, first), start, Arc::clone(&restarts), is_running));

        assert_eq!(ingresses(&handle, &mut live, 1).await, ["shop/first"]);
        drop(break_source);
        assert_eq!(ingresses(&handle, &mut live, 2).await, ["shop/second"]);
        assert_eq!(restarts.load(Ordering::Relaxed), 1);

        let panicked = handle.query(|_| -> () { panic!("the query breaks it") }).await;
        assert_eq!(panicked, None);
        assert_eq!(ingresses(&handle, &mut live, 3).await, ["shop/third"]);
        assert_eq!(restarts.load(Ordering::Relaxed), 2);
        let named: Vec<_> = problems.all().iter().map(|problem| problem.object.name.to_string()).collect();
        assert_eq!(named, ["shop/third"]);
    }
}
