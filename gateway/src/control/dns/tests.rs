//! The times at which names are asked for, and what is made of the answers, on a paused clock.

use std::collections::VecDeque;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::*;

type Script = Arc<Mutex<VecDeque<Found>>>;

/// Answers by a script, then for ever that nobody knows.
struct Scripted(Script);

impl Lookup for Scripted {
    fn lookup(&self, _name: Arc<str>) -> BoxFuture<'static, Found> {
        let next = self.0.lock().unwrap().pop_front();
        Box::pin(async move { next.unwrap_or_else(unknown) })
    }
}

fn no_answer() -> Failure {
    Failure::Unknown("no answer".to_owned())
}

fn unknown() -> Found {
    [Err(no_answer()), Err(no_answer())]
}

fn addresses(address: &str, seconds: u64) -> Result<Addresses, Failure> {
    Ok(Addresses { list: vec![address.parse().unwrap()], time_to_live: Duration::from_secs(seconds) })
}

/// One IPv4 address, and none of IPv6.
fn found(address: &str, seconds: u64) -> Found {
    [addresses(address, seconds), Err(Failure::NoAddresses)]
}

/// The second in which an answer came, the number of its addresses, and whether a Problem came with it.
type Told = (u64, usize, bool);

/// The answers to a script until `limit`.
async fn answers(script: Vec<Found>, limit: u64) -> Vec<(u64, Answer)> {
    let lookup = Box::new(Scripted(Arc::new(Mutex::new(script.into()))));
    let (_names, wanted) = watch::channel(Wanted::from(["db.example".into()]));
    let (sender, mut answers) = mpsc::channel(1);
    let start = Instant::now();
    let running = tokio::spawn(run(lookup, wanted, sender));
    let mut told = Vec::new();
    while let Ok(Some(answer)) =
        tokio::time::timeout_at(start + Duration::from_secs(limit), answers.recv()).await
    {
        told.push((start.elapsed().as_secs(), answer));
    }
    running.abort();
    told
}

async fn play(script: Vec<Found>, limit: u64) -> Vec<Told> {
    let told = answers(script, limit).await.into_iter();
    told.map(|(second, answer)| (second, answer.addresses.len(), answer.problem.is_some())).collect()
}

#[tokio::test(start_paused = true)]
async fn the_time_to_live_is_kept_to_between_its_bounds() {
    let script = vec![
        found("192.0.2.1", 0),
        found("192.0.2.1", 30),
        found("192.0.2.1", 86_400),
        found("192.0.2.1", 7),
    ];
    let told = play(script, 336).await;
    assert_eq!(told, [(0, 1, false), (5, 1, false), (35, 1, false), (335, 1, false)]);
}

#[tokio::test(start_paused = true)]
async fn of_two_families_the_shorter_time_to_live_counts() {
    let both = |first, second| [addresses("192.0.2.1", first), addresses("2001:db8::1", second)];
    let told = play(vec![both(60, 20), both(8, 90), both(100, 100)], 30).await;
    assert_eq!(told, [(0, 2, false), (20, 2, false), (28, 2, false)]);
}

#[tokio::test(start_paused = true)]
async fn a_failure_leaves_the_addresses_and_is_tried_again_ever_slower() {
    let script = vec![found("192.0.2.1", 10), unknown(), unknown(), unknown(), found("192.0.2.2", 100)];
    let told = play(script, 20).await;
    let kept = |second| (second, 1, true);
    assert_eq!(told, [(0, 1, false), kept(10), kept(11), kept(13), (17, 1, false)]);
}

#[tokio::test(start_paused = true)]
async fn addresses_that_nobody_confirms_are_given_up() {
    let told = play(vec![found("192.0.2.1", 10)], 2 * 3600).await;
    let given_up = told.iter().find(|(_, addresses, _)| *addresses == 0).unwrap();
    assert!((3600..3600 + 31).contains(&given_up.0), "{given_up:?}");
    let (last, ..) = told.last().unwrap();
    assert!(*last > 2 * 3600 - 31, "it is asked for ever after: {last}");
}

#[tokio::test(start_paused = true)]
async fn a_name_without_addresses_loses_those_it_had() {
    let none = [Err(Failure::NoAddresses), Err(Failure::NoAddresses)];
    let told = play(vec![found("192.0.2.1", 10), none, found("192.0.2.3", 100)], 12).await;
    assert_eq!(told, [(0, 1, false), (10, 0, true), (11, 1, false)]);
}

#[tokio::test(start_paused = true)]
async fn a_family_that_cannot_be_confirmed_is_kept_beside_the_other() {
    let script = vec![
        [addresses("192.0.2.1", 10), addresses("2001:db8::1", 10)],
        [Err(no_answer()), addresses("2001:db8::2", 10)],
        [Err(Failure::NoAddresses), addresses("2001:db8::2", 100)],
    ];
    let told = answers(script, 12).await;
    let all: Vec<_> = told.iter().map(|(second, answer)| (*second, answer.addresses.clone())).collect();
    let list = |list: &[&str]| list.iter().map(|address| address.parse().unwrap()).collect::<Vec<IpAddr>>();
    assert_eq!(
        all,
        [
            (0, list(&["192.0.2.1", "2001:db8::1"])),
            (10, list(&["192.0.2.1", "2001:db8::2"])),
            (11, list(&["2001:db8::2"])),
        ]
    );
    let problems: Vec<_> = told.iter().map(|(_, answer)| answer.problem.as_deref()).collect();
    let kept = "db.example cannot be resolved: no answer; its last addresses stay in use";
    assert_eq!(problems, [None, Some(kept), None]);
}

/// A failing query for IPv4 says nothing about what IPv6 has, and the other way round.
#[tokio::test(start_paused = true)]
async fn no_addresses_of_one_family_are_no_reason_to_drop_those_of_the_other() {
    let only_v6 = [Err(Failure::NoAddresses), addresses("2001:db8::1", 10)];
    let unsure = [Err(Failure::NoAddresses), Err(no_answer())];
    assert_eq!(play(vec![only_v6, unsure], 11).await, [(0, 1, false), (10, 1, true)]);
}

#[tokio::test(start_paused = true)]
async fn a_family_that_never_was_is_not_missed() {
    let without_v6 = || [addresses("192.0.2.1", 300), Err(no_answer())];
    let told = play(vec![without_v6(), without_v6(), without_v6()], 5).await;
    assert_eq!(told, [(0, 1, false), (1, 1, false), (3, 1, false)]);
}

#[tokio::test(start_paused = true)]
async fn the_problem_is_what_is_least_known() {
    for (found, problem) in [
        ([Err(Failure::NoAddresses), Err(no_answer())], "db.example cannot be resolved: no answer"),
        (
            [Err(Failure::NoAddresses), Err(Failure::NotDialled)],
            "db.example leads to addresses only that are not dialled",
        ),
        ([Err(Failure::NoAddresses), Err(Failure::NoAddresses)], "db.example has no addresses"),
    ] {
        let told = answers(vec![found], 1).await;
        assert_eq!(told[0].1.problem.as_deref(), Some(problem));
    }
}

#[tokio::test(start_paused = true)]
async fn names_that_nobody_wants_are_not_asked_for() {
    let script: Script = Arc::new(Mutex::new([found("192.0.2.1", 10), found("192.0.2.1", 10)].into()));
    let (names, wanted) = watch::channel(Wanted::from(["db.example".into()]));
    let (sender, mut answers) = mpsc::channel(1);
    tokio::spawn(run(Box::new(Scripted(Arc::clone(&script))), wanted, sender));
    assert_eq!(&*answers.recv().await.unwrap().name, "db.example");
    names.send_replace(Wanted::new());
    let silence = tokio::time::timeout(Duration::from_secs(1000), answers.recv()).await;
    assert!(silence.is_err(), "{silence:?}");
    assert_eq!(script.lock().unwrap().len(), 1);
}

/// Takes a second for each name, and counts those under way.
#[derive(Default)]
struct Slow {
    now: Arc<AtomicUsize>,
    most: Arc<AtomicUsize>,
}

impl Lookup for Slow {
    fn lookup(&self, _name: Arc<str>) -> BoxFuture<'static, Found> {
        let (now, most) = (Arc::clone(&self.now), Arc::clone(&self.most));
        Box::pin(async move {
            most.fetch_max(now.fetch_add(1, Ordering::Relaxed) + 1, Ordering::Relaxed);
            tokio::time::sleep(Duration::from_secs(1)).await;
            now.fetch_sub(1, Ordering::Relaxed);
            unknown()
        })
    }
}

/// All of them fail, so that the first are due again before the last have been asked for.
#[tokio::test(start_paused = true)]
async fn many_names_take_turns() {
    let slow = Slow::default();
    let most = Arc::clone(&slow.most);
    let all: Wanted = (0..AT_ONCE * 4).map(|number| format!("{number:03}.example").into()).collect();
    let (_names, wanted) = watch::channel(all.clone());
    let (sender, mut answers) = mpsc::channel(1);
    let start = Instant::now();
    tokio::spawn(run(Box::new(slow), wanted, sender));
    let mut told = Wanted::new();
    while told != all {
        told.insert(answers.recv().await.unwrap().name);
    }
    assert_eq!(start.elapsed().as_secs(), 4, "nobody is asked for again before everybody was");
    assert_eq!(most.load(Ordering::Relaxed), AT_ONCE);
}

/// Panics for one name.
struct Panicking;

impl Lookup for Panicking {
    fn lookup(&self, name: Arc<str>) -> BoxFuture<'static, Found> {
        Box::pin(async move {
            assert_ne!(&*name, "bad.example");
            found("192.0.2.1", 300)
        })
    }
}

#[tokio::test(start_paused = true)]
async fn a_panic_costs_that_answer_only() {
    let (_names, wanted) = watch::channel(["bad.example".into(), "good.example".into()].into());
    let (sender, mut answers) = mpsc::channel(1);
    tokio::spawn(run(Box::new(Panicking), wanted, sender));
    let told = [answers.recv().await.unwrap(), answers.recv().await.unwrap()];
    let of = |name: &str| told.iter().find(|answer| &*answer.name == name).unwrap();
    assert!(of("bad.example").problem.is_some());
    assert_eq!(of("good.example").problem, None);
}
