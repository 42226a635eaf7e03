//! Resolution of the host names that a routing table dials. Repeats each lookup while a table has the name.
//!
//! Runs on the control runtime; a worker never waits for DNS. The TTL of a record is honoured between 5 s and 5 min.
//! Addresses that can no longer be confirmed stay in use for an hour. Not here: which objects have the names
//! (`routing`), and into which cells the addresses go (`reload`).

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use futures::future::BoxFuture;
use futures::stream::{FuturesUnordered, StreamExt as _};
use tokio::sync::{mpsc, watch};
use tokio::time::Instant;

pub mod resolver;

/// Minimum time between two lookups of a name. Many zones have a TTL of 0, and each lookup is one query for each
/// address family.
const MIN_REFRESH_INTERVAL: Duration = Duration::from_secs(5);

/// Maximum time between two lookups of a name. A service may move within minutes while its zone still has a TTL of a
/// day.
const MAX_REFRESH_INTERVAL: Duration = Duration::from_secs(300);

/// Time for which unconfirmed addresses stay in use. DNS outages are usually shorter. After an hour, an address may
/// belong to another tenant.
const MAX_STALE_TIME: Duration = Duration::from_secs(60 * 60);

/// Delay after the first failed lookup. Doubles with each further failure.
const INITIAL_BACKOFF: Duration = Duration::from_secs(1);
/// Maximum delay after a failed lookup.
const MAX_BACKOFF: Duration = Duration::from_secs(30);

/// Maximum concurrent lookups. Each takes up to four sockets (two families, two name servers) of the 256 descriptors
/// that are reserved for the gateway itself (`process::descriptors`).
const MAX_CONCURRENT_LOOKUPS: usize = 32;

/// Addresses of one family.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Addresses {
    /// At least one address, sorted.
    pub list: Vec<IpAddr>,
    /// TTL in the zone.
    pub time_to_live: Duration,
}

/// Why a name has no addresses of a family. The Problem reports the smaller of two errors.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, thiserror::Error)]
pub enum LookupError {
    /// The lookup failed, with its cause. Addresses may exist.
    #[error("cannot be resolved: {0}")]
    Failed(String),
    /// The name is not a DNS name.
    #[error("is not a DNS name; addresses belong into EndpointSlices")]
    NotAName,
    /// All addresses are of kinds that the gateway does not dial.
    #[error("leads to addresses only that are not dialled")]
    NotDialled,
    /// The zone has no addresses for the name.
    #[error("has no addresses")]
    NoAddresses,
}

impl LookupError {
    /// Returns the message of a Problem about `name`.
    fn message(&self, name: &str) -> String {
        match self {
            Self::NotAName => format!("{name:?} {self}"),
            Self::Failed(_) | Self::NotDialled | Self::NoAddresses => format!("{name} {self}"),
        }
    }
}

/// The results of one lookup: IPv4, then IPv6. One family may fail while the other succeeds, and many clusters reach
/// only one of them.
pub type FamilyResults = [Result<Addresses, LookupError>; 2];

/// Resolves names.
pub trait Lookup: Send + Sync + 'static {
    /// Resolves a name once.
    fn lookup(&self, name: Arc<str>) -> BoxFuture<'static, FamilyResults>;
}

/// The present state of a name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Resolution {
    /// The name.
    pub name: Arc<str>,
    /// The addresses to dial.
    pub addresses: Vec<IpAddr>,
    /// The message of a Problem, or `None` if there is none.
    pub problem: Option<String>,
}

/// The names to resolve.
pub type NameSet = BTreeSet<Arc<str>>;

/// Resolves the names in `names` until the receiver of `resolutions` or the sender of `names` is dropped.
///
/// # Cancellation
/// Dropping the future stops all lookups. Nothing else is lost.
pub async fn run(
    lookup: Box<dyn Lookup>,
    mut names: watch::Receiver<NameSet>,
    resolutions: mpsc::Sender<Resolution>,
) {
    let mut tracker = NameTracker::new(lookup);
    tracker.set_names(&names.borrow_and_update());
    loop {
        tracker.start_lookups();
        let due = tracker.next_due();
        tokio::select! {
            changed = names.changed() => match changed {
                Ok(()) => tracker.set_names(&names.borrow_and_update()),
                Err(_sender_dropped) => return,
            },
            Some((name, results)) = tracker.lookups.next() => {
                if let Some(resolution) = tracker.on_lookup_done(name, results)
                    && resolutions.send(resolution).await.is_err()
                {
                    return;
                }
            }
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

/// Schedules the lookups of all names.
struct NameTracker {
    lookup: Box<dyn Lookup>,
    names: BTreeMap<Arc<str>, NameState>,
    /// When each name is due. The name that is due first goes first, so that names whose servers do not respond cannot
    /// starve other names.
    due: BTreeSet<(Instant, Arc<str>)>,
    lookups: FuturesUnordered<BoxFuture<'static, (Arc<str>, FamilyResults)>>,
}

impl NameTracker {
    fn new(lookup: Box<dyn Lookup>) -> Self {
        Self { lookup, names: BTreeMap::new(), due: BTreeSet::new(), lookups: FuturesUnordered::new() }
    }

    /// Removes the names that are not in `names`, and adds the new ones, which are due at once.
    fn set_names(&mut self, names: &NameSet) {
        self.names.retain(|name, _| names.contains(name));
        self.due.retain(|(_, name)| names.contains(name));
        let now = Instant::now();
        for name in names {
            if !self.names.contains_key(name) {
                self.names.insert(Arc::clone(name), NameState::due_at(now));
                self.due.insert((now, Arc::clone(name)));
            }
        }
    }

    /// Returns when the next lookup is due, or `None` if no further lookup may start.
    fn next_due(&self) -> Option<Instant> {
        let (due, _) = self.due.first().filter(|_| self.lookups.len() < MAX_CONCURRENT_LOOKUPS)?;
        Some(*due)
    }

    /// Starts the lookups that are due. Each has its own task, so that a panic fails one lookup only.
    fn start_lookups(&mut self) {
        while self.next_due().is_some_and(|due| due <= Instant::now())
            && let Some((_, name)) = self.due.pop_first()
        {
            if let Some(state) = self.names.get_mut(&name) {
                state.due = None;
            }
            let lookup = tokio::spawn(self.lookup.lookup(Arc::clone(&name)));
            self.lookups.push(Box::pin(async move {
                // The panic hook printed the message.
                let panicked = || Err(LookupError::Failed("the lookup panicked".to_owned()));
                (name, lookup.await.unwrap_or_else(|_| [panicked(), panicked()]))
            }));
        }
    }

    /// Applies the results of a lookup. Returns `None` if the name was removed meanwhile.
    fn on_lookup_done(&mut self, name: Arc<str>, results: FamilyResults) -> Option<Resolution> {
        let now = Instant::now();
        let state = self.names.get_mut(&name)?;
        let NextLookup { delay, problem } = state.apply(results, now);
        let problem = problem.map(|problem| problem.message(&name));
        let addresses = state.addresses();
        // The name is already due if it was removed and added again during the lookup.
        if let Some(due) = state.due.replace(now + delay) {
            self.due.remove(&(due, Arc::clone(&name)));
        }
        self.due.insert((now + delay, Arc::clone(&name)));
        Some(Resolution { name, addresses, problem })
    }
}

/// The state of one name.
struct NameState {
    /// By family, in the order of [`FamilyResults`].
    families: [Option<Confirmed>; 2],
    /// Delay after the next failure.
    backoff: Duration,
    /// When the next lookup is due, as in [`NameTracker::due`]. `None` during a lookup.
    due: Option<Instant>,
}

/// Addresses of one family, and the time of their last confirmation.
struct Confirmed {
    list: Vec<IpAddr>,
    at: Instant,
}

/// What follows from the results of a lookup.
struct NextLookup {
    /// Time until the next lookup.
    delay: Duration,
    problem: Option<Unresolved>,
}

/// Why a name has no confirmed addresses.
struct Unresolved {
    error: LookupError,
    /// Whether unconfirmed addresses stay in use.
    keeps_addresses: bool,
}

impl Unresolved {
    fn message(&self, name: &str) -> String {
        let suffix = if self.keeps_addresses { "; its last addresses stay in use" } else { "" };
        self.error.message(name) + suffix
    }
}

impl NameState {
    fn due_at(now: Instant) -> Self {
        Self { families: [None, None], backoff: INITIAL_BACKOFF, due: Some(now) }
    }

    fn addresses(&self) -> Vec<IpAddr> {
        self.families.iter().flatten().flat_map(|confirmed| &confirmed.list).copied().collect()
    }

    fn apply(&mut self, results: FamilyResults, now: Instant) -> NextLookup {
        let mut time_to_live = MAX_REFRESH_INTERVAL;
        let (mut errors, mut kept_errors) = (Vec::new(), Vec::new());
        let mut has_failed = false;
        for (family, result) in self.families.iter_mut().zip(results) {
            match result {
                Ok(addresses) => {
                    time_to_live = time_to_live.min(addresses.time_to_live);
                    *family = Some(Confirmed { list: addresses.list, at: now });
                }
                Err(error) => {
                    let failed = matches!(error, LookupError::Failed(_));
                    has_failed |= failed;
                    family.take_if(|confirmed| !failed || now - confirmed.at >= MAX_STALE_TIME);
                    if family.is_some() { &mut kept_errors } else { &mut errors }.push(error);
                }
            }
        }
        let has_none = self.families.iter().all(Option::is_none);
        // A family without addresses is no problem while the other family has some: many name servers never respond to
        // queries for IPv6.
        let problem = match kept_errors.into_iter().min() {
            Some(error) => Some(Unresolved { error, keeps_addresses: true }),
            None => errors
                .into_iter()
                .min()
                .filter(|_| has_none)
                .map(|error| Unresolved { error, keeps_addresses: false }),
        };
        let refresh = time_to_live.max(MIN_REFRESH_INTERVAL);
        if !has_failed && !has_none {
            self.backoff = INITIAL_BACKOFF;
            return NextLookup { delay: refresh, problem };
        }
        let backoff = self.backoff;
        self.backoff = (backoff * 2).min(MAX_BACKOFF);
        NextLookup { delay: refresh.min(backoff), problem }
    }
}

#[cfg(test)]
mod tests;
