//! What Gather makes of the events of feeds, without an API server.

#![allow(clippy::unwrap_used, clippy::panic, reason = "tests fail by panicking")]

use proptest::prelude::*;
use proptest::sample::{Index, select, subsequence};
use routing::object::{Ingress, IngressTls, Secret, Service};

use super::*;
use crate::control::source::PemPair;
use crate::control::source::kube::feed::Requirement;

mod secrets;

fn spec(kind: Kind, requirement: Requirement) -> FeedSpec {
    FeedSpec { kind, namespace: String::new(), requirement }
}

/// Services at place 0, Secrets at 1, policies (whose CRD may be missing) at 2, Namespaces (which may be forbidden)
/// at 3, Ingresses at 4.
fn specs() -> Vec<FeedSpec> {
    vec![
        spec(Kind::Service, Requirement::Required),
        spec(Kind::Secret, Requirement::Required),
        spec(Kind::RoutePolicy, Requirement::IfInstalled),
        spec(Kind::Namespace, Requirement::IfAllowed),
        spec(Kind::Ingress, Requirement::Required),
    ]
}

const SERVICES: usize = 0;
const SECRETS: usize = 1;
const POLICIES: usize = 2;
const NAMESPACES: usize = 3;
const INGRESSES: usize = 4;

fn name(text: &str) -> Name {
    Name::new("shop", text)
}

fn reference(kind: Kind, text: &str) -> ObjectRef {
    ObjectRef { kind, name: name(text) }
}

/// A Service of which two states can be told apart.
fn service(text: &str, state: u16) -> Object {
    Object::Service(Service {
        name: name(text),
        service_type: state.to_string().into(),
        ..Service::default()
    })
}

fn trimmed(object: Object) -> TrimmedObject {
    TrimmedObject::Object(object, Vec::new())
}

/// Class `gateway` is ours, even without an IngressClass.
fn ours() -> Config {
    Config { classes: vec!["gateway".to_owned()], ..Config::default() }
}

fn ingress(text: &str, secrets: &[&str]) -> TrimmedObject {
    ingress_of("gateway", text, secrets)
}

fn ingress_of(class: &str, text: &str, secrets: &[&str]) -> TrimmedObject {
    let tls = secrets.iter().map(|secret| IngressTls { hosts: Vec::new(), secret: Some((*secret).into()) });
    let (name, class) = (name(text), Some(class.into()));
    trimmed(Object::Ingress(Ingress { name, class, tls: tls.collect(), ..Ingress::default() }))
}

fn secret(text: &str, version: &str) -> TrimmedObject {
    TrimmedObject::Secret(name(text), version.to_owned())
}

fn found(text: &str, version: &str) -> SecretRead {
    let pair = Some(PemPair { chain: version.into(), key: Vec::new() });
    let secret = Secret { name: name(text), ..Secret::default() };
    SecretRead { name: name(text), outcome: ReadOutcome::Found { secret, version: version.to_owned(), pair } }
}

fn failed(code: u16) -> WatchEvent {
    WatchEvent::Failed { code: Some(code), message: format!("status {code}") }
}

fn handle(cluster: &mut ClusterState, feed: usize, event: WatchEvent) {
    cluster.handle_event(feed, event, Instant::now());
}

fn handle_read(cluster: &mut ClusterState, read: SecretRead) {
    cluster.handle_secret_read(read, Instant::now());
}

fn list(cluster: &mut ClusterState, feed: usize, all: Vec<TrimmedObject>) {
    handle(cluster, feed, WatchEvent::ListStarted);
    for object in all {
        handle(cluster, feed, WatchEvent::Listed(object));
    }
    handle(cluster, feed, WatchEvent::ListCompleted);
}

/// All feeds are complete and empty, and the first Update was taken.
fn empty_state() -> ClusterState {
    let mut cluster = ClusterState::new(specs(), ours());
    for feed in 0..specs().len() {
        list(&mut cluster, feed, Vec::new());
    }
    assert!(cluster.has_update(), "the first Update is due even if there is nothing");
    cluster.take_update();
    cluster
}

/// What an Update says of objects: what exists now and what does not.
fn changes(update: &Update) -> Vec<(bool, String)> {
    let told = |change: &Change| match change {
        Change::Apply(object) => (true, object.reference().to_string()),
        Change::Delete(reference) => (false, reference.to_string()),
    };
    update.objects.iter().map(told).collect()
}

/// What an Update says of Secrets' bytes.
fn bytes(update: &Update) -> Vec<(String, Option<String>)> {
    let told = |change: &SecretChange| {
        let chain = change.pair.as_ref().map(|pair| String::from_utf8(pair.chain.clone()).unwrap());
        (change.name.to_string(), chain)
    };
    update.secrets.iter().map(told).collect()
}

fn problems(update: Update) -> Vec<String> {
    let located = update.problems.unwrap();
    located.into_iter().map(|located| located.problem.object.to_string()).collect()
}

fn is_there(text: &str) -> (bool, String) {
    (true, text.to_owned())
}

fn is_gone(text: &str) -> (bool, String) {
    (false, text.to_owned())
}

#[test]
fn there_is_no_update_before_everything_was_heard() {
    let mut cluster = ClusterState::new(specs(), ours());
    for feed in [SECRETS, POLICIES, NAMESPACES, INGRESSES] {
        list(&mut cluster, feed, Vec::new());
    }
    handle(&mut cluster, SERVICES, WatchEvent::ListStarted);
    handle(&mut cluster, SERVICES, WatchEvent::Listed(trimmed(service("a", 1))));
    handle(&mut cluster, SERVICES, WatchEvent::Applied(trimmed(service("b", 1))));
    assert!(!cluster.has_update());
    assert!(cluster.pending_reason().unwrap().contains("kind Service"), "{:?}", cluster.pending_reason());
    handle(&mut cluster, SERVICES, WatchEvent::Failed { code: Some(503), message: "starting".to_owned() });
    assert!(cluster.pending_reason().unwrap().ends_with("starting"), "{:?}", cluster.pending_reason());
    list(&mut cluster, SERVICES, vec![trimmed(service("a", 2)), trimmed(service("b", 1))]);
    assert!(cluster.has_update());
    let update = cluster.take_update();
    assert!(update.problems.is_some_and(|problems| problems.is_empty()));
    assert_eq!(update.objects.last(), Some(&Change::Apply(service("b", 1))));
    assert!(!cluster.has_update());
    assert_eq!(cluster.pending_reason(), None);
}

#[test]
fn the_zone_is_told_when_it_is_known_and_when_it_changes() {
    let mut cluster = ClusterState::new(vec![spec(Kind::Node, Requirement::IfAllowed)], ours());
    assert!(cluster.pending_reason().unwrap().contains("kind Node"), "{:?}", cluster.pending_reason());
    let node = |zone: Option<&str>| TrimmedObject::Node(Name::new("", "n"), zone.map(str::to_owned));
    let zone = |cluster: &mut ClusterState, zone| {
        handle(cluster, 0, WatchEvent::Applied(node(zone)));
        cluster.has_update().then(|| cluster.take_update().zone)
    };
    list(&mut cluster, 0, vec![node(None)]);
    assert_eq!(cluster.take_update().zone, None);
    assert_eq!(zone(&mut cluster, Some("a")), Some(Some("a".to_owned())), "the label came late");
    assert_eq!(zone(&mut cluster, Some("a")), None, "a heartbeat");
    assert_eq!(zone(&mut cluster, None), None);
    assert_eq!(zone(&mut cluster, Some("b")), Some(Some("b".to_owned())));
}

#[test]
fn a_node_that_may_not_be_read_is_a_problem_until_it_may() {
    let mut cluster = ClusterState::new(vec![spec(Kind::Node, Requirement::IfAllowed)], ours());
    handle(&mut cluster, 0, failed(403));
    assert_eq!(problems(cluster.take_update()), ["Node *"]);
    list(&mut cluster, 0, vec![TrimmedObject::Node(Name::new("", "n"), Some("a".to_owned()))]);
    let update = cluster.take_update();
    assert_eq!((update.zone.clone(), problems(update).len()), (Some("a".to_owned()), 0));
}

#[test]
fn a_new_list_removes_what_it_lacks_and_nothing_else() {
    let mut cluster = empty_state();
    list(&mut cluster, SERVICES, ["a", "b", "c"].map(|name| trimmed(service(name, 1))).into());
    list(&mut cluster, INGRESSES, vec![ingress("a", &[])]);
    cluster.take_update();
    handle(&mut cluster, SERVICES, WatchEvent::ListStarted);
    handle(&mut cluster, SERVICES, WatchEvent::Listed(trimmed(service("a", 1))));
    assert_eq!(changes(&cluster.take_update()), [is_there("Service shop/a")], "half a list removes nothing");
    handle(&mut cluster, SERVICES, failed(500));
    assert!(!cluster.has_update(), "nor does one that fails");
    list(&mut cluster, SERVICES, vec![trimmed(service("c", 1))]);
    let expected = [is_gone("Service shop/a"), is_gone("Service shop/b"), is_there("Service shop/c")];
    assert_eq!(changes(&cluster.take_update()), expected);
}

#[test]
fn a_kind_that_is_not_installed_counts_as_none_and_may_come_later() {
    let mut cluster = ClusterState::new(specs(), ours());
    for feed in [SERVICES, SECRETS, NAMESPACES, INGRESSES] {
        list(&mut cluster, feed, Vec::new());
    }
    handle(&mut cluster, POLICIES, failed(503));
    assert!(!cluster.has_update(), "an API server that is starting does not know its kinds");
    handle(&mut cluster, POLICIES, failed(404));
    assert!(cluster.has_update());
    assert!(problems(cluster.take_update()).is_empty());
    let bad = TrimmedObject::Invalid(reference(Kind::RoutePolicy, "p"), "no such field".to_owned());
    list(&mut cluster, POLICIES, vec![bad]);
    assert_eq!(problems(cluster.take_update()), ["RoutePolicy shop/p"]);
    let mut now = Instant::now();
    cluster.handle_event(POLICIES, failed(404), now);
    assert!(
        !cluster.has_update(),
        "one answer may be an error: of a proxy, or of a server that does not know it yet"
    );
    for _ in 0..3 {
        now += Duration::from_secs(10);
        cluster.expire_outages(now);
        cluster.handle_event(POLICIES, failed(404), now);
    }
    let update = cluster.take_update();
    assert_eq!(
        changes(&update),
        [is_gone("RoutePolicy shop/p")],
        "the CRD was removed, and all policies with it"
    );
    assert!(problems(update).is_empty());
    list(&mut cluster, POLICIES, Vec::new());
    assert!(!cluster.has_update());
}

#[test]
fn a_watch_that_fails_for_long_is_a_problem_until_it_is_heard_of() {
    for heard in [None, Some(WatchEvent::Applied(trimmed(service("b", 1))))] {
        let mut cluster = empty_state();
        let mut now = Instant::now();
        let fail = |cluster: &mut ClusterState, now| {
            let message = format!("no answer at {now:?}");
            cluster.handle_event(SERVICES, WatchEvent::Failed { code: None, message }, now);
        };
        fail(&mut cluster, now);
        // A list is given up after 50 s.
        for _ in 0..4 {
            now += Duration::from_secs(60);
            cluster.expire_outages(now);
            fail(&mut cluster, now);
        }
        let update = cluster.take_update();
        assert_eq!(changes(&update), []);
        let problems_of =
            |update: Update| update.problems.unwrap().into_iter().map(|located| located.problem);
        let told: Vec<_> =
            problems_of(update).map(|problem| (problem.object.to_string(), problem.reason)).collect();
        assert_eq!(told, [("Service *".to_owned(), Reason::Stale)]);
        fail(&mut cluster, now);
        assert!(!cluster.has_update(), "it is told once, whatever each failure says");
        match heard {
            Some(event) => cluster.handle_event(SERVICES, event, now),
            None => cluster.expire_outages(now + Duration::from_secs(71)),
        }
        assert_eq!(problems_of(cluster.take_update()).count(), 0);
    }
}

#[test]
fn of_what_changes_before_the_first_update_the_last_state_alone_is_kept() {
    let mut cluster = ClusterState::new(specs(), ours());
    list(&mut cluster, SERVICES, Vec::new());
    for state in 0..1000 {
        handle(&mut cluster, SERVICES, WatchEvent::Applied(trimmed(service("a", state))));
    }
    assert_eq!(cluster.pending.objects.len(), 1);
    for feed in [SECRETS, POLICIES, NAMESPACES, INGRESSES] {
        list(&mut cluster, feed, Vec::new());
    }
    assert_eq!(cluster.take_update().objects, [Change::Apply(service("a", 999))]);
}

#[test]
fn an_unreadable_policy_removes_nothing() {
    let mut cluster = empty_state();
    let bad = TrimmedObject::Invalid(reference(Kind::RoutePolicy, "p"), "no such field".to_owned());
    handle(&mut cluster, POLICIES, WatchEvent::Applied(bad));
    let update = cluster.take_update();
    assert_eq!(changes(&update), []);
    assert_eq!(problems(update), ["RoutePolicy shop/p"]);
    handle(&mut cluster, POLICIES, WatchEvent::Deleted(name("p")));
    assert_eq!(changes(&cluster.take_update()), [is_gone("RoutePolicy shop/p")]);
}

#[test]
fn what_may_not_be_read_skip_kind_if_it_can_be() {
    let mut cluster = ClusterState::new(specs(), ours());
    for feed in [SECRETS, POLICIES, INGRESSES] {
        list(&mut cluster, feed, Vec::new());
    }
    handle(&mut cluster, NAMESPACES, failed(403));
    handle(&mut cluster, SERVICES, failed(404));
    handle(&mut cluster, SERVICES, failed(403));
    assert!(!cluster.has_update(), "Services are needed");
    assert!(
        cluster.pending_reason().unwrap().ends_with("Service: status 403"),
        "{:?}",
        cluster.pending_reason()
    );
    list(&mut cluster, SERVICES, Vec::new());
    assert_eq!(
        problems(cluster.take_update()),
        ["Namespace *"],
        "what is read again is no Problem any added"
    );
    list(&mut cluster, NAMESPACES, Vec::new());
    assert!(problems(cluster.take_update()).is_empty());
}

#[test]
fn what_may_not_be_read_any_more_stays_as_it_was() {
    for feed in [SERVICES, NAMESPACES] {
        let mut cluster = empty_state();
        list(&mut cluster, feed, vec![trimmed(service("a", 1))]);
        cluster.take_update();
        let mut now = Instant::now();
        cluster.handle_event(feed, failed(403), now);
        assert!(!cluster.has_update(), "an API server that starts anew is no Problem");
        for _ in 0..4 {
            now += Duration::from_secs(10);
            cluster.expire_outages(now);
            cluster.handle_event(feed, failed(403), now);
        }
        let update = cluster.take_update();
        assert_eq!(changes(&update), [], "routes never disappear because of the API server");
        assert_eq!(problems(update).len(), 1, "it lasts");
        cluster.expire_outages(now + Duration::from_secs(31));
        assert!(problems(cluster.take_update()).is_empty(), "no try was refused since");
    }
}

#[test]
fn each_namespace_has_its_own_problem() {
    let of = |namespace: &str| FeedSpec {
        kind: Kind::Service,
        namespace: namespace.to_owned(),
        requirement: Requirement::IfAllowed,
    };
    let mut cluster = ClusterState::new(vec![of("one"), of("two")], ours());
    handle(&mut cluster, 0, failed(403));
    list(&mut cluster, 1, Vec::new());
    assert_eq!(problems(cluster.take_update()), ["Service one/*"]);
}

#[test]
fn problems_of_an_object_go_with_it() {
    let mut cluster = empty_state();
    let unreadable = FieldError { field: "spec.ports[0]".to_owned(), message: "no number".to_owned() };
    handle(
        &mut cluster,
        SERVICES,
        WatchEvent::Applied(TrimmedObject::Object(service("a", 1), vec![unreadable])),
    );
    assert_eq!(problems(cluster.take_update()), ["Service shop/a"]);
    handle(&mut cluster, SERVICES, WatchEvent::Applied(trimmed(service("a", 2))));
    assert!(problems(cluster.take_update()).is_empty());
    handle(&mut cluster, SERVICES, WatchEvent::Deleted(name("a")));
    assert!(cluster.take_update().problems.is_none(), "they are told only if they changed");
}

#[test]
fn ingresses_share_their_texts_and_a_new_list_holds_no_name_twice() {
    let with_class = |text: &str| {
        let class = Some("gateway".to_owned().into());
        trimmed(Object::Ingress(Ingress { name: name(text), class, ..Ingress::default() }))
    };
    let mut cluster = empty_state();
    list(&mut cluster, INGRESSES, vec![with_class("a"), with_class("b")]);
    let ingresses = |update: Update| {
        let ingress = |change| match change {
            Change::Apply(Object::Ingress(ingress)) => Some(ingress),
            _ => None,
        };
        update.objects.into_iter().filter_map(ingress).collect::<Vec<_>>()
    };
    let told = ingresses(cluster.take_update());
    let [a, b] = told.as_slice() else { panic!("{told:?}") };
    let is_one = |one: &std::sync::Arc<str>, other| std::sync::Arc::ptr_eq(one, other);
    assert!(is_one(a.class.as_ref().unwrap(), b.class.as_ref().unwrap()));
    assert!(is_one(&a.name.namespace, &b.name.namespace));
    list(&mut cluster, INGRESSES, vec![with_class("a"), with_class("b")]);
    let known = cluster.feeds[INGRESSES].names.first().unwrap();
    assert!(is_one(&known.name, &a.name.name), "the name that the compiler has already");
}

// ===== against a model =====

const NAMES: [&str; 5] = ["a", "b", "c", "d", "e"];

/// What the API server does to Services, as a watch tells it.
#[derive(Clone, Debug)]
enum Step {
    /// A list of these; it breaks off before the one at the index, if there is one.
    List(Vec<&'static str>, u16, Option<Index>),
    Apply(&'static str, u16),
    Delete(&'static str),
    Fail(Option<u16>),
    /// Somebody takes an Update, if one is due.
    Take,
}

fn step() -> impl Strategy<Value = Step> {
    let names = subsequence(NAMES.to_vec(), 0..=NAMES.len());
    let cut = proptest::option::of(any::<Index>());
    prop_oneof![
        2 => (names, any::<u16>(), cut).prop_map(|(names, state, cut)| Step::List(names, state, cut)),
        4 => (select(&NAMES[..]), any::<u16>()).prop_map(|(name, state)| Step::Apply(name, state)),
        2 => select(&NAMES[..]).prop_map(Step::Delete),
        1 => select(vec![None, Some(403), Some(404), Some(410), Some(500)]).prop_map(Step::Fail),
        2 => Just(Step::Take),
    ]
}

/// What stands at the receiver of Updates.
fn receive(cluster: &mut ClusterState, received: &mut BTreeMap<ObjectRef, Object>) {
    if !cluster.has_update() {
        return;
    }
    for change in cluster.take_update().objects {
        match change {
            Change::Apply(object) => received.insert(object.reference(), object),
            Change::Delete(reference) => received.remove(&reference),
        };
    }
}

proptest! {
    /// Whatever happens, who takes all Updates knows what the watch told of, and nothing that it took back.
    #[test]
    fn updates_tell_what_the_watch_told(
        steps in proptest::collection::vec(step(), 0..60),
        requirement in select(vec![Requirement::Required, Requirement::IfInstalled]),
    ) {
        let mut cluster = ClusterState::new(vec![spec(Kind::Service, requirement)], ours());
        let (mut model, mut received) = (BTreeMap::new(), BTreeMap::new());
        let mut was_listed = false;
        let tell = |model: &mut BTreeMap<ObjectRef, Object>, name, state| {
            model.insert(reference(Kind::Service, name), service(name, state));
            trimmed(service(name, state))
        };
        for step in steps {
            match step {
                Step::List(names, state, cut) => {
                    handle(&mut cluster, 0, WatchEvent::ListStarted);
                    let end = cut.map_or(names.len(), |cut| cut.index(names.len() + 1));
                    for name in names.iter().take(end) {
                        handle(&mut cluster, 0, WatchEvent::Listed(tell(&mut model, name, state)));
                    }
                    if cut.is_some() {
                        handle(&mut cluster, 0, failed(500));
                    } else {
                        was_listed = true;
                        handle(&mut cluster, 0, WatchEvent::ListCompleted);
                        model.retain(|reference, _| names.contains(&&*reference.name.name));
                    }
                }
                Step::Apply(name, state) => handle(&mut cluster, 0, WatchEvent::Applied(tell(&mut model, name, state))),
                Step::Delete(text) => {
                    model.remove(&reference(Kind::Service, text));
                    handle(&mut cluster, 0, WatchEvent::Deleted(name(text)));
                }
                Step::Fail(code) => {
                    if code == Some(404) && requirement == Requirement::IfInstalled && !was_listed {
                        model.clear();
                    }
                    handle(&mut cluster, 0, WatchEvent::Failed { code, message: String::new() });
                }
                Step::Take => {
                    receive(&mut cluster, &mut received);
                    prop_assert!(cluster.pending_reason().is_some() || received == model);
                }
            }
        }
        if cluster.pending_reason().is_some() {
            prop_assert!(received.is_empty());
            list(&mut cluster, 0, model.values().cloned().map(trimmed).collect());
        }
        receive(&mut cluster, &mut received);
        prop_assert_eq!(received, model);
    }
}
