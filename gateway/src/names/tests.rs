//! The times at which a name is asked for, on a paused clock.

use std::collections::VecDeque;
use std::sync::Mutex;

use super::*;

type Script = Arc<Mutex<VecDeque<Result<Addresses, Failure>>>>;

/// Answers by a script, then for ever that nobody knows.
struct Scripted(Script);

impl Lookup for Scripted {
    fn lookup(&self, _name: Arc<str>) -> BoxFuture<'static, Result<Addresses, Failure>> {
        let next = self.0.lock().unwrap().pop_front();
        Box::pin(async move { next.unwrap_or_else(unknown) })
    }
}

fn unknown() -> Result<Addresses, Failure> {
    Err(Failure::Unknown("no answer".to_owned()))
}

fn found(address: &str, seconds: u64) -> Result<Addresses, Failure> {
    Ok(Addresses { list: vec![address.parse().unwrap()], time_to_live: Duration::from_secs(seconds) })
}

/// The answers to a script until `limit`, each with the second in which it came.
async fn play(script: Vec<Result<Addresses, Failure>>, limit: u64) -> Vec<(u64, Option<usize>, bool)> {
    let lookup = Box::new(Scripted(Arc::new(Mutex::new(script.into()))));
    let (_names, wanted) = watch::channel(Wanted::from(["db.example".into()]));
    let (sender, mut answers) = mpsc::channel(1);
    let start = Instant::now();
    let running = tokio::spawn(run(lookup, wanted, sender));
    let mut told = Vec::new();
    while let Ok(Some(answer)) =
        tokio::time::timeout_at(start + Duration::from_secs(limit), answers.recv()).await
    {
        let second = start.elapsed().as_secs();
        told.push((second, answer.addresses.map(|list| list.len()), answer.problem.is_some()));
    }
    running.abort();
    told
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
    assert_eq!(told, [(0, Some(1), false), (5, Some(1), false), (35, Some(1), false), (335, Some(1), false)]);
}

#[tokio::test(start_paused = true)]
async fn a_failure_leaves_the_addresses_and_is_tried_again_ever_slower() {
    let script = vec![found("192.0.2.1", 10), unknown(), unknown(), unknown(), found("192.0.2.2", 100)];
    let told = play(script, 20).await;
    let kept = |second| (second, None, true);
    assert_eq!(told, [(0, Some(1), false), kept(10), kept(11), kept(13), (17, Some(1), false)]);
}

#[tokio::test(start_paused = true)]
async fn addresses_that_nobody_confirms_are_given_up() {
    let told = play(vec![found("192.0.2.1", 10)], 2 * 3600).await;
    let given_up = told.iter().find(|(_, addresses, _)| *addresses == Some(0)).unwrap();
    assert!((3600..3600 + 31).contains(&given_up.0), "{given_up:?}");
}

#[tokio::test(start_paused = true)]
async fn a_name_without_addresses_loses_those_it_had() {
    let none = Err(Failure::None("no such name".to_owned()));
    let told = play(vec![found("192.0.2.1", 10), none, found("192.0.2.3", 100)], 12).await;
    assert_eq!(told, [(0, Some(1), false), (10, Some(0), true), (11, Some(1), false)]);
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
