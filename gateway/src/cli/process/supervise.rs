//! The way from the source to what is live, kept going: if a part of it panics or ends, all of it begins anew.
//!
//! What is live stays so meanwhile, and requests notice nothing. Not here: the parts themselves (`source`, `names`,
//! `reload`), and panics on workers, which cost one connection each (`listener`).

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use futures::FutureExt as _;
use tokio::time::Instant;

use super::feeding::Feeding;
use crate::control::reload::Reload;

/// Waits before beginning anew: doubling, from the first to the last of these. The same object may make the same
/// panic each time, and a cluster's objects are not to be listed in a loop.
const FIRST_WAIT: Duration = Duration::from_secs(1);
const LAST_WAIT: Duration = Duration::from_secs(60);

/// Runs a Reload on what feeds it, for ever. After a panic, of the Reload or of one of those, everything that was read is
/// forgotten, since it may be half of something, and read anew by what `begin` starts. Counts that in `restarts`.
pub(super) async fn run(
    mut reload: Reload,
    mut feeding: Feeding,
    mut begin: impl FnMut(&Reload) -> anyhow::Result<Feeding>,
    restarts: Arc<AtomicU64>,
) {
    let mut wait = FIRST_WAIT;
    loop {
        let began = Instant::now();
        let running = AssertUnwindSafe(reload.run(&mut feeding.updates, &mut feeding.resolutions));
        // The panic's own message was printed by the panic hook.
        let panicked = running.catch_unwind().await.is_err();
        drop(feeding);
        restarts.fetch_add(1, Ordering::Relaxed);
        let part = if panicked { "compiling" } else { "reading objects or resolving names" };
        if began.elapsed() > LAST_WAIT {
            wait = FIRST_WAIT;
        }
        tracing::error!(part, ?wait, "ended by a panic; what is live stays, and everything is read anew");
        reload.reset();
        feeding = loop {
            tokio::time::sleep(wait).await;
            wait = (wait * 2).min(LAST_WAIT);
            match begin(&reload) {
                Ok(feeding) => break feeding,
                Err(error) => tracing::error!(error = format!("{error:#}"), "cannot begin to read objects"),
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
    use crate::cli::process::provider;
    use crate::control::reload::ReloadHandle;
    use crate::control::source::Update;
    use crate::control::source::location::LocatedProblem;

    /// A source that says once that one Ingress exists and has a Problem, and then does what it is told.
    fn feeding(ingress: &str, then: impl Future<Output = ()> + Send + 'static) -> Feeding {
        let (sender, updates) = mpsc::channel(1);
        let (resolver, resolutions) = mpsc::channel(1);
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
            drop((sender, resolver));
        });
        Feeding { updates, resolutions, _watcher: None, _tasks: tasks }
    }

    /// Names of the Ingresses that are known when the table of this generation is live.
    async fn known(handle: &ReloadHandle, live: &mut watch::Receiver<u64>, generation: u64) -> Vec<String> {
        live.wait_for(|number| *number == generation).await.unwrap();
        let names =
            |reload: &Reload| reload.compiler().ingresses().map(|found| found.name.to_string()).collect();
        handle.query(names).await.unwrap()
    }

    #[tokio::test(start_paused = true)]
    async fn after_a_panic_of_any_part_everything_is_read_anew_and_what_is_gone_is_gone() {
        let reload = Reload::new(provider().unwrap(), Config::default()).unwrap();
        let (handle, mut live, problems) = (reload.handle(), reload.generation(), reload.problems());
        let restarts = Arc::new(AtomicU64::new(0));
        let (break_it, broken) = tokio::sync::oneshot::channel::<()>();
        let first = feeding("first", async {
            broken.await.unwrap_err();
            panic!("the source breaks");
        });
        let mut further = ["second", "third"].into_iter();
        let mut refused = false;
        let begin = move |_: &Reload| {
            // That it cannot begin once is no end.
            if !std::mem::replace(&mut refused, true) {
                anyhow::bail!("not now");
            }
            Ok(feeding(further.next().unwrap(), std::future::pending()))
        };
        tokio::spawn(run(reload, first, begin, Arc::clone(&restarts)));

        assert_eq!(known(&handle, &mut live, 1).await, ["shop/first"]);
        drop(break_it);
        assert_eq!(known(&handle, &mut live, 2).await, ["shop/second"]);
        assert_eq!(restarts.load(Ordering::Relaxed), 1);

        let panicked = handle.query(|_| -> () { panic!("the question breaks it") }).await;
        assert_eq!(panicked, None);
        assert_eq!(known(&handle, &mut live, 3).await, ["shop/third"]);
        assert_eq!(restarts.load(Ordering::Relaxed), 2);
        let named: Vec<_> = problems.all().iter().map(|problem| problem.object.name.to_string()).collect();
        assert_eq!(named, ["shop/third"]);
    }
}
