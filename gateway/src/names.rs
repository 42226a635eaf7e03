//! DNS names that are dialled: asked for again and again for as long as a table names them.
//!
//! Runs on the control runtime; no worker ever waits for a name. The time to live of an answer is kept to, between
//! 5 s and 5 min. Addresses that can no longer be confirmed stay in use for an hour. Not here: who
//! names them (`routing`), and into which cells the addresses go (`reload`).

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use futures::future::BoxFuture;
use futures::stream::{FuturesUnordered, StreamExt as _};
use tokio::sync::{mpsc, watch};
use tokio::time::Instant;

pub mod dns;

/// A name is not asked for more often, whatever its time to live: many zones say 0, and each name is one query for
/// each of both families.
const SHORTEST: Duration = Duration::from_secs(5);

/// A change is noticed after so long at the latest, whatever the time to live: moves are often made in a hurry, with a
/// day's time to live still standing in the zone.
const LONGEST: Duration = Duration::from_secs(300);

/// Addresses that the name servers can no longer confirm are used for so long: an outage of DNS is shorter, as a
/// rule, and an address may belong to somebody else afterwards.
const STALE: Duration = Duration::from_secs(60 * 60);

/// Waits between tries after a failure: doubling, from the first to the last of these.
const FIRST_WAIT: Duration = Duration::from_secs(1);
const LAST_WAIT: Duration = Duration::from_secs(30);

/// The addresses of a name, and for how long that is so.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Addresses {
    /// At least one, sorted.
    pub list: Vec<IpAddr>,
    /// As the zone has it.
    pub time_to_live: Duration,
}

/// Why a name has no addresses.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Failure {
    /// Nobody can say at the moment.
    Unknown(String),
    /// There are none that may be dialled.
    None(String),
}

/// Whoever knows addresses.
pub trait Lookup: Send + Sync + 'static {
    /// Asks once for a name.
    fn lookup(&self, name: Arc<str>) -> BoxFuture<'static, Result<Addresses, Failure>>;
}

/// What is known of a name now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// The name that was asked for.
    pub name: Arc<str>,
    /// What to dial; nothing leaves things as they are.
    pub addresses: Option<Vec<IpAddr>>,
    /// What is wrong, if anything is.
    pub problem: Option<String>,
}

/// Names that somebody wants to dial.
pub type Wanted = BTreeSet<Arc<str>>;

/// Asks for the names in `wanted` until nobody takes answers any more.
pub async fn run(
    lookup: Box<dyn Lookup>,
    mut wanted: watch::Receiver<Wanted>,
    answers: mpsc::Sender<Answer>,
) {
    let mut names = Names { lookup, known: BTreeMap::new(), asked: FuturesUnordered::new() };
    names.keep(&wanted.borrow_and_update());
    loop {
        let due = names.due();
        tokio::select! {
            changed = wanted.changed() => match changed {
                Ok(()) => names.keep(&wanted.borrow_and_update()),
                Err(_gone) => return,
            },
            Some((name, found)) = names.asked.next() => {
                if let Some(answer) = names.take(name, found)
                    && answers.send(answer).await.is_err()
                {
                    return;
                }
            }
            () = until(due) => names.ask(Instant::now()),
        }
    }
}

async fn until(due: Option<Instant>) {
    match due {
        Some(due) => tokio::time::sleep_until(due).await,
        None => std::future::pending().await,
    }
}

/// A name, and what came of asking for it.
type Found = (Arc<str>, Result<Addresses, Failure>);

struct Names {
    lookup: Box<dyn Lookup>,
    known: BTreeMap<Arc<str>, Known>,
    asked: FuturesUnordered<BoxFuture<'static, Found>>,
}

/// What is known of a name.
struct Known {
    /// When to ask; nothing while that is under way.
    due: Option<Instant>,
    /// When its addresses were last confirmed, if it has any.
    confirmed: Option<Instant>,
    /// How long to wait after the next failure.
    wait: Duration,
}

impl Names {
    /// Forgets what nobody wants any more, and asks for what is new.
    fn keep(&mut self, wanted: &Wanted) {
        self.known.retain(|name, _| wanted.contains(name));
        let now = Instant::now();
        for name in wanted {
            let fresh = || Known { due: Some(now), confirmed: None, wait: FIRST_WAIT };
            self.known.entry(Arc::clone(name)).or_insert_with(fresh);
        }
        self.ask(now);
    }

    fn due(&self) -> Option<Instant> {
        self.known.values().filter_map(|known| known.due).min()
    }

    fn ask(&mut self, now: Instant) {
        for (name, known) in &mut self.known {
            if known.due.is_some_and(|due| due <= now) {
                known.due = None;
                let (name, found) = (Arc::clone(name), self.lookup.lookup(Arc::clone(name)));
                self.asked.push(Box::pin(async move { (name, found.await) }));
            }
        }
    }

    /// Takes a result in; nothing if nobody wants the name any more.
    fn take(&mut self, name: Arc<str>, found: Result<Addresses, Failure>) -> Option<Answer> {
        let now = Instant::now();
        let known = self.known.get_mut(&name)?;
        let (addresses, problem) = match found {
            Ok(Addresses { list, time_to_live }) => {
                known.confirmed = Some(now);
                known.wait = FIRST_WAIT;
                known.due = Some(now + time_to_live.clamp(SHORTEST, LONGEST));
                (Some(list), None)
            }
            Err(failure) => {
                known.due = Some(now + known.wait);
                known.wait = (known.wait * 2).min(LAST_WAIT);
                let (is_known, message) = match failure {
                    Failure::Unknown(message) => (false, message),
                    Failure::None(message) => (true, message),
                };
                let is_usable = known.confirmed.is_some_and(|confirmed| now - confirmed < STALE);
                if is_known || !is_usable {
                    known.confirmed = None;
                    (Some(Vec::new()), Some(message))
                } else {
                    (None, Some(format!("{message}; its last addresses stay in use")))
                }
            }
        };
        Some(Answer { name, addresses, problem })
    }
}

#[cfg(test)]
mod tests;
