//! When names are looked up, and how results change their state. The clock is paused.

use std::collections::VecDeque;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::*;

type Script = Arc<Mutex<VecDeque<FamilyResults>>>;

/// Returns the results of a script, then failures.
struct Scripted(Script);

impl Lookup for Scripted {
    fn lookup(&self, _name: Arc<str>) -> BoxFuture<'static, FamilyResults> {
        let next = self.0.lock().unwrap().pop_front();
        Box::pin(async move { next.unwrap_or_else(failed) })
    }
}

fn no_response() -> LookupError {
    LookupError::Failed("no answer".to_owned())
}

fn failed() -> FamilyResults {
    [Err(no_response()), Err(no_response())]
}

fn addresses(address: &str, seconds: u64) -> Result<Addresses, LookupError> {
    Ok(Addresses { list: vec![address.parse().unwrap()], time_to_live: Duration::from_secs(seconds) })
}

/// One IPv4 address, and none of IPv6.
fn found(address: &str, seconds: u64) -> FamilyResults {
    [addresses(address, seconds), Err(LookupError::NoAddresses)]
}

/// A resolution: its second, the number of its addresses, and whether it has a Problem.
type Event = (u64, usize, bool);

/// Returns the resolutions of a script until second `limit`.
async fn resolutions(script: Vec<FamilyResults>, limit: u64) -> Vec<(u64, Resolution)> {
    let lookup = Box::new(Scripted(Arc::new(Mutex::new(script.into()))));
    let (_sender, names) = watch::channel(NameSet::from(["db.example".into()]));
    let (sender, mut received) = mpsc::channel(1);
    let start = Instant::now();
    let running = tokio::spawn(run(lookup, names, sender));
    let mut events = Vec::new();
    while let Ok(Some(resolution)) =
        tokio::time::timeout_at(start + Duration::from_secs(limit), received.recv()).await
    {
        events.push((start.elapsed().as_secs(), resolution));
    }
    running.abort();
    events
}

async fn play(script: Vec<FamilyResults>, limit: u64) -> Vec<Event> {
    let events = resolutions(script, limit).await.into_iter();
    events.map(|(second, found)| (second, found.addresses.len(), found.problem.is_some())).collect()
}

#[tokio::test(start_paused = true)]
async fn time_to_live_is_honoured_between_its_bounds() {
    let script = vec![
        found("192.0.2.1", 0),
        found("192.0.2.1", 30),
        found("192.0.2.1", 86_400),
        found("192.0.2.1", 7),
    ];
    let events = play(script, 336).await;
    assert_eq!(events, [(0, 1, false), (5, 1, false), (35, 1, false), (335, 1, false)]);
}

#[tokio::test(start_paused = true)]
async fn shorter_time_to_live_of_two_families_counts() {
    let both = |first, second| [addresses("192.0.2.1", first), addresses("2001:db8::1", second)];
    let events = play(vec![both(60, 20), both(8, 90), both(100, 100)], 30).await;
    assert_eq!(events, [(0, 2, false), (20, 2, false), (28, 2, false)]);
}

#[tokio::test(start_paused = true)]
async fn failed_lookup_keeps_addresses_and_backs_off() {
    let script = vec![found("192.0.2.1", 10), failed(), failed(), failed(), found("192.0.2.2", 100)];
    let events = play(script, 20).await;
    let kept = |second| (second, 1, true);
    assert_eq!(events, [(0, 1, false), kept(10), kept(11), kept(13), (17, 1, false)]);
}

#[tokio::test(start_paused = true)]
async fn unconfirmed_addresses_are_dropped_after_an_hour() {
    let events = play(vec![found("192.0.2.1", 10)], 2 * 3600).await;
    let dropped = events.iter().find(|(_, addresses, _)| *addresses == 0).unwrap();
    assert!((3600..3600 + 31).contains(&dropped.0), "{dropped:?}");
    let (last, ..) = events.last().unwrap();
    assert!(*last > 2 * 3600 - 31, "lookups go on: {last}");
}

#[tokio::test(start_paused = true)]
async fn name_without_addresses_loses_its_old_ones() {
    let none = [Err(LookupError::NoAddresses), Err(LookupError::NoAddresses)];
    let events = play(vec![found("192.0.2.1", 10), none, found("192.0.2.3", 100)], 12).await;
    assert_eq!(events, [(0, 1, false), (10, 0, true), (11, 1, false)]);
}

#[tokio::test(start_paused = true)]
async fn unconfirmed_family_stays_beside_the_other() {
    let script = vec![
        [addresses("192.0.2.1", 10), addresses("2001:db8::1", 10)],
        [Err(no_response()), addresses("2001:db8::2", 10)],
        [Err(LookupError::NoAddresses), addresses("2001:db8::2", 100)],
    ];
    let events = resolutions(script, 12).await;
    let all: Vec<_> = events.iter().map(|(second, found)| (*second, found.addresses.clone())).collect();
    let list = |list: &[&str]| list.iter().map(|address| address.parse().unwrap()).collect::<Vec<IpAddr>>();
    assert_eq!(
        all,
        [
            (0, list(&["192.0.2.1", "2001:db8::1"])),
            (10, list(&["192.0.2.1", "2001:db8::2"])),
            (11, list(&["2001:db8::2"])),
        ]
    );
    let problems: Vec<_> = events.iter().map(|(_, found)| found.problem.as_deref()).collect();
    let kept = "db.example cannot be resolved: no answer; its last addresses stay in use";
    assert_eq!(problems, [None, Some(kept), None]);
}

#[tokio::test(start_paused = true)]
async fn empty_family_does_not_drop_the_unconfirmed_other() {
    let only_v6 = [Err(LookupError::NoAddresses), addresses("2001:db8::1", 10)];
    let unsure = [Err(LookupError::NoAddresses), Err(no_response())];
    assert_eq!(play(vec![only_v6, unsure], 11).await, [(0, 1, false), (10, 1, true)]);
}

#[tokio::test(start_paused = true)]
async fn family_without_any_addresses_is_no_problem() {
    let without_v6 = || [addresses("192.0.2.1", 300), Err(no_response())];
    let events = play(vec![without_v6(), without_v6(), without_v6()], 5).await;
    assert_eq!(events, [(0, 1, false), (1, 1, false), (3, 1, false)]);
}

#[tokio::test(start_paused = true)]
async fn problem_reports_the_least_certain_error() {
    for (results, problem) in [
        ([Err(LookupError::NoAddresses), Err(no_response())], "db.example cannot be resolved: no answer"),
        (
            [Err(LookupError::NoAddresses), Err(LookupError::NotDialled)],
            "db.example leads to addresses only that are not dialled",
        ),
        ([Err(LookupError::NoAddresses), Err(LookupError::NoAddresses)], "db.example has no addresses"),
    ] {
        let events = resolutions(vec![results], 1).await;
        assert_eq!(events[0].1.problem.as_deref(), Some(problem));
    }
}

#[tokio::test(start_paused = true)]
async fn removed_name_is_not_looked_up() {
    let script: Script = Arc::new(Mutex::new([found("192.0.2.1", 10), found("192.0.2.1", 10)].into()));
    let (set_names, names) = watch::channel(NameSet::from(["db.example".into()]));
    let (sender, mut received) = mpsc::channel(1);
    tokio::spawn(run(Box::new(Scripted(Arc::clone(&script))), names, sender));
    assert_eq!(&*received.recv().await.unwrap().name, "db.example");
    set_names.send_replace(NameSet::new());
    let silence = tokio::time::timeout(Duration::from_secs(1000), received.recv()).await;
    assert!(silence.is_err(), "{silence:?}");
    assert_eq!(script.lock().unwrap().len(), 1);
}

/// Takes a second for each name, and counts concurrent lookups.
#[derive(Default)]
struct Slow {
    current: Arc<AtomicUsize>,
    max: Arc<AtomicUsize>,
}

impl Lookup for Slow {
    fn lookup(&self, _name: Arc<str>) -> BoxFuture<'static, FamilyResults> {
        let (current, max) = (Arc::clone(&self.current), Arc::clone(&self.max));
        Box::pin(async move {
            max.fetch_max(current.fetch_add(1, Ordering::Relaxed) + 1, Ordering::Relaxed);
            tokio::time::sleep(Duration::from_secs(1)).await;
            current.fetch_sub(1, Ordering::Relaxed);
            failed()
        })
    }
}

/// All lookups fail, so that the first names are due again before the last ones were looked up.
#[tokio::test(start_paused = true)]
async fn every_name_is_looked_up_before_any_is_repeated() {
    let slow = Slow::default();
    let max = Arc::clone(&slow.max);
    let all: NameSet =
        (0..MAX_CONCURRENT_LOOKUPS * 4).map(|number| format!("{number:03}.example").into()).collect();
    let (_sender, names) = watch::channel(all.clone());
    let (sender, mut received) = mpsc::channel(1);
    let start = Instant::now();
    tokio::spawn(run(Box::new(slow), names, sender));
    let mut events = NameSet::new();
    while events != all {
        events.insert(received.recv().await.unwrap().name);
    }
    assert_eq!(start.elapsed().as_secs(), 4, "no name is repeated before all had a lookup");
    assert_eq!(max.load(Ordering::Relaxed), MAX_CONCURRENT_LOOKUPS);
}

/// Panics for one name.
struct Panicking;

impl Lookup for Panicking {
    fn lookup(&self, name: Arc<str>) -> BoxFuture<'static, FamilyResults> {
        Box::pin(async move {
            assert_ne!(&*name, "bad.example");
            found("192.0.2.1", 300)
        })
    }
}

#[tokio::test(start_paused = true)]
async fn panic_fails_one_lookup_only() {
    let (_sender, names) = watch::channel(["bad.example".into(), "good.example".into()].into());
    let (sender, mut received) = mpsc::channel(1);
    tokio::spawn(run(Box::new(Panicking), names, sender));
    let events = [received.recv().await.unwrap(), received.recv().await.unwrap()];
    let find = |name: &str| events.iter().find(|found| &*found.name == name).unwrap();
    assert!(find("bad.example").problem.is_some());
    assert_eq!(find("good.example").problem, None);
}
