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

pub mod resolver;

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

/// Names that are asked for at the same time. Each takes up to four sockets (two families, two name servers), and 256
/// descriptors are reserved for what is not a client's (`process::descriptors`).
const AT_ONCE: usize = 32;

/// Addresses of one family.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Addresses {
    /// At least one, sorted.
    pub list: Vec<IpAddr>,
    /// As the zone has it.
    pub time_to_live: Duration,
}

/// Why there are no addresses of a family; of two, the lesser one is told.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Failure {
    /// Nobody can say at the moment, and why.
    Unknown(String),
    /// It is no name that DNS could have.
    NotAName,
    /// There are some, and none may be dialled.
    NotDialled,
    /// There are none.
    NoAddresses,
}

impl Failure {
    /// For people.
    fn message(&self, name: &str) -> String {
        match self {
            Self::Unknown(why) => format!("{name} cannot be resolved: {why}"),
            Self::NotAName => format!("{name:?} is not a DNS name; addresses belong into EndpointSlices"),
            Self::NotDialled => format!("{name} leads to addresses only that are not dialled"),
            Self::NoAddresses => format!("{name} has no addresses"),
        }
    }
}

/// What came of asking for a name: IPv4, then IPv6. Each stands for itself, since one may fail while the other is
/// known, and a cluster often reaches but one of them.
pub type Found = [Result<Addresses, Failure>; 2];

/// Whoever knows addresses.
pub trait Lookup: Send + Sync + 'static {
    /// Asks once for a name.
    fn lookup(&self, name: Arc<str>) -> BoxFuture<'static, Found>;
}

/// What is known of a name now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// The name that was asked for.
    pub name: Arc<str>,
    /// What to dial.
    pub addresses: Vec<IpAddr>,
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
    let mut names =
        Names { lookup, known: BTreeMap::new(), due: BTreeSet::new(), asked: FuturesUnordered::new() };
    names.keep(&wanted.borrow_and_update());
    loop {
        names.ask();
        let due = names.next_due();
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
            () = until(due) => {}
        }
    }
}

async fn until(due: Option<Instant>) {
    match due {
        Some(due) => tokio::time::sleep_until(due).await,
        None => std::future::pending().await,
    }
}

struct Names {
    lookup: Box<dyn Lookup>,
    known: BTreeMap<Arc<str>, Known>,
    /// When to ask for which name. Whoever waits longest goes first, so that names whose servers answer nothing do not
    /// keep others from being asked for.
    due: BTreeSet<(Instant, Arc<str>)>,
    asked: FuturesUnordered<BoxFuture<'static, (Arc<str>, Found)>>,
}

impl Names {
    /// Forgets what nobody wants any more, and takes in what is new.
    fn keep(&mut self, wanted: &Wanted) {
        self.known.retain(|name, _| wanted.contains(name));
        self.due.retain(|(_, name)| wanted.contains(name));
        let now = Instant::now();
        for name in wanted {
            if !self.known.contains_key(name) {
                let fresh = Known { families: [None, None], wait: FIRST_WAIT, due: Some(now) };
                self.known.insert(Arc::clone(name), fresh);
                self.due.insert((now, Arc::clone(name)));
            }
        }
    }

    /// When to ask next; nothing if enough is asked already.
    fn next_due(&self) -> Option<Instant> {
        let (due, _) = self.due.first().filter(|_| self.asked.len() < AT_ONCE)?;
        Some(*due)
    }

    /// Asks for what is due. A task each, so that a panic costs that answer only.
    fn ask(&mut self) {
        while self.next_due().is_some_and(|due| due <= Instant::now())
            && let Some((_, name)) = self.due.pop_first()
        {
            if let Some(known) = self.known.get_mut(&name) {
                known.due = None;
            }
            let asking = tokio::spawn(self.lookup.lookup(Arc::clone(&name)));
            self.asked.push(Box::pin(async move {
                let panicked = || Err(Failure::Unknown("whoever asks panicked".to_owned()));
                (name, asking.await.unwrap_or_else(|_| [panicked(), panicked()]))
            }));
        }
    }

    /// Takes in what came of asking; nothing if nobody wants the name any more.
    fn take(&mut self, name: Arc<str>, found: Found) -> Option<Answer> {
        let now = Instant::now();
        let known = self.known.get_mut(&name)?;
        let (wait, failure) = known.take(found, now);
        let problem = failure.map(|(failure, rest)| failure.message(&name) + rest);
        let addresses = known.addresses();
        // It is due already if it was given up and wanted again while it was asked for.
        if let Some(due) = known.due.replace(now + wait) {
            self.due.remove(&(due, Arc::clone(&name)));
        }
        self.due.insert((now + wait, Arc::clone(&name)));
        Some(Answer { name, addresses, problem })
    }
}

/// What is known of a name.
struct Known {
    /// By family, in the order of [`Found`].
    families: [Option<Confirmed>; 2],
    /// How long to wait after the next failure.
    wait: Duration,
    /// When to ask, as [`Names::due`] has it; nothing while that is under way.
    due: Option<Instant>,
}

/// Addresses, and when they were last confirmed.
struct Confirmed {
    list: Vec<IpAddr>,
    at: Instant,
}

impl Known {
    fn addresses(&self) -> Vec<IpAddr> {
        self.families.iter().flatten().flat_map(|confirmed| &confirmed.list).copied().collect()
    }

    /// Gives how long to wait before asking again, and what is wrong, with what comes of that.
    fn take(&mut self, found: Found, now: Instant) -> (Duration, Option<(Failure, &'static str)>) {
        let mut time_to_live = LONGEST;
        let (mut failures, mut kept) = (Vec::new(), Vec::new());
        let mut is_unsure = false;
        for (family, found) in self.families.iter_mut().zip(found) {
            match found {
                Ok(addresses) => {
                    time_to_live = time_to_live.min(addresses.time_to_live);
                    *family = Some(Confirmed { list: addresses.list, at: now });
                }
                Err(failure) => {
                    let is_unknown = matches!(failure, Failure::Unknown(_));
                    is_unsure |= is_unknown;
                    family.take_if(|confirmed| !is_unknown || now - confirmed.at >= STALE);
                    if family.is_some() { &mut kept } else { &mut failures }.push(failure);
                }
            }
        }
        let has_none = self.families.iter().all(Option::is_none);
        // A family that never had addresses is not missed while the other has some: there are name servers that do
        // not answer for IPv6 at all.
        let problem = match kept.into_iter().min() {
            Some(failure) => Some((failure, "; its last addresses stay in use")),
            None => failures.into_iter().min().filter(|_| has_none).map(|failure| (failure, "")),
        };
        let wait = time_to_live.max(SHORTEST);
        if !is_unsure && !has_none {
            self.wait = FIRST_WAIT;
            return (wait, problem);
        }
        let retry = self.wait;
        self.wait = (retry * 2).min(LAST_WAIT);
        (wait.min(retry), problem)
    }
}

#[cfg(test)]
mod tests;
