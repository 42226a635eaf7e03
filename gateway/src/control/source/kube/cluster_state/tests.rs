//! Updates that follow from feed events, without an API server.

#![allow(clippy::unwrap_used, clippy::panic, reason = "tests fail by panicking")]

use proptest::prelude::*;
use proptest::sample::{Index, select, subsequence};
use routing::object::{Ingress, IngressTls, Secret, Service};

use super::*;
use crate::control::source::PemPair;
use crate::control::source::kube::event::Requirement;

mod config_maps;
mod secrets;

fn spec(kind: Kind, requirement: Requirement) -> FeedSpec {
    FeedSpec { kind, namespace: String::new(), requirement }
}

/// One feed per kind, in the order of the constants below.
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

/// A Service whose versions differ in `state`.
fn service(text: &str, state: u16) -> Object {
    Object::Service(Service {
        name: name(text),
        service_type: state.to_string().into(),
        ..Service::default()
    })
}

fn trimmed(object: Object) -> TrimmedObject {
    TrimmedObject::Object { object, field_errors: Vec::new(), identity: None }
}

/// A config in which class `gateway` is ours, even without an IngressClass.
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
    TrimmedObject::Secret { name: name(text), version: version.to_owned() }
}

fn found(text: &str, version: &str) -> SecretRead {
    let pair = Some(PemPair { chain: version.into(), key: Vec::new() });
    let secret = Secret { name: name(text), ..Secret::default() };
    SecretRead { name: name(text), outcome: ReadOutcome::Found { secret, version: version.to_owned(), pair } }
}

fn invalid_policy(text: &str) -> TrimmedObject {
    TrimmedObject::Invalid {
        reference: reference(Kind::RoutePolicy, text),
        message: "no such field".to_owned(),
        identity: Identity::default(),
    }
}

fn failed(code: u16) -> WatchEvent {
    WatchEvent::Failed(WatchFailure { code: Some(code), message: format!("status {code}") })
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

/// A state whose feeds are listed and empty, after the first update.
fn empty_state() -> ClusterState {
    let mut cluster = ClusterState::new(specs(), ours());
    for feed in 0..specs().len() {
        list(&mut cluster, feed, Vec::new());
    }
    assert!(cluster.has_update(), "the first update is due even if it is empty");
    cluster.take_update();
    cluster
}

/// The objects of an update: `true` for applied, `false` for deleted ones.
fn changes(update: &Update) -> Vec<(bool, String)> {
    let change = |change: &Change| match change {
        Change::Apply(object) => (true, object.reference().to_string()),
        Change::Delete(reference) => (false, reference.to_string()),
    };
    update.objects.iter().map(change).collect()
}

/// The bytes of Secrets in an update.
fn bytes(update: &Update) -> Vec<(String, Option<String>)> {
    let change = |change: &SecretChange| {
        let chain = change.pair.as_ref().map(|pair| String::from_utf8(pair.chain.clone()).unwrap());
        (change.name.to_string(), chain)
    };
    update.secrets.iter().map(change).collect()
}

fn problems(update: Update) -> Vec<String> {
    let located = update.problems.unwrap();
    located.into_iter().map(|located| located.problem.object.to_string()).collect()
}

fn applied(text: &str) -> (bool, String) {
    (true, text.to_owned())
}

fn deleted(text: &str) -> (bool, String) {
    (false, text.to_owned())
}

#[test]
fn first_update_waits_until_all_kinds_are_listed() {
    let mut cluster = ClusterState::new(specs(), ours());
    for feed in [SECRETS, POLICIES, NAMESPACES, INGRESSES] {
        list(&mut cluster, feed, Vec::new());
    }
    handle(&mut cluster, SERVICES, WatchEvent::ListStarted);
    handle(&mut cluster, SERVICES, WatchEvent::Listed(trimmed(service("a", 1))));
    handle(&mut cluster, SERVICES, WatchEvent::Applied(trimmed(service("b", 1))));
    assert!(!cluster.has_update());
    assert!(cluster.pending_reason().unwrap().contains("kind Service"), "{:?}", cluster.pending_reason());
    handle(
        &mut cluster,
        SERVICES,
        WatchEvent::Failed(WatchFailure { code: Some(503), message: "starting".to_owned() }),
    );
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
fn zone_is_sent_when_it_becomes_known_or_changes() {
    let mut cluster = ClusterState::new(vec![spec(Kind::Node, Requirement::IfAllowed)], ours());
    assert!(cluster.pending_reason().unwrap().contains("kind Node"), "{:?}", cluster.pending_reason());
    let node =
        |zone: Option<&str>| TrimmedObject::Node { name: Name::new("", "n"), zone: zone.map(str::to_owned) };
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
fn forbidden_node_is_a_problem_until_it_may_be_read() {
    let mut cluster = ClusterState::new(vec![spec(Kind::Node, Requirement::IfAllowed)], ours());
    handle(&mut cluster, 0, failed(403));
    assert_eq!(problems(cluster.take_update()), ["Node *"]);
    list(&mut cluster, 0, vec![TrimmedObject::Node { name: Name::new("", "n"), zone: Some("a".to_owned()) }]);
    let update = cluster.take_update();
    assert_eq!((update.zone.clone(), problems(update).len()), (Some("a".to_owned()), 0));
}

#[test]
fn complete_list_removes_only_objects_that_it_lacks() {
    let mut cluster = empty_state();
    list(&mut cluster, SERVICES, ["a", "b", "c"].map(|name| trimmed(service(name, 1))).into());
    list(&mut cluster, INGRESSES, vec![ingress("a", &[])]);
    cluster.take_update();
    handle(&mut cluster, SERVICES, WatchEvent::ListStarted);
    handle(&mut cluster, SERVICES, WatchEvent::Listed(trimmed(service("a", 1))));
    assert_eq!(
        changes(&cluster.take_update()),
        [applied("Service shop/a")],
        "an incomplete list removes nothing"
    );
    handle(&mut cluster, SERVICES, failed(500));
    assert!(!cluster.has_update(), "a failed list removes nothing");
    list(&mut cluster, SERVICES, vec![trimmed(service("c", 1))]);
    let expected = [deleted("Service shop/a"), deleted("Service shop/b"), applied("Service shop/c")];
    assert_eq!(changes(&cluster.take_update()), expected);
}

#[test]
fn missing_crd_counts_as_empty_until_it_is_installed() {
    let mut cluster = ClusterState::new(specs(), ours());
    for feed in [SERVICES, SECRETS, NAMESPACES, INGRESSES] {
        list(&mut cluster, feed, Vec::new());
    }
    handle(&mut cluster, POLICIES, failed(503));
    assert!(!cluster.has_update(), "a starting API server has not loaded its CRDs");
    handle(&mut cluster, POLICIES, failed(404));
    assert!(cluster.has_update());
    assert!(problems(cluster.take_update()).is_empty());
    let bad = invalid_policy("p");
    list(&mut cluster, POLICIES, vec![bad]);
    assert_eq!(problems(cluster.take_update()), ["RoutePolicy shop/p"]);
    let mut now = Instant::now();
    cluster.handle_event(POLICIES, failed(404), now);
    assert!(!cluster.has_update(), "a single 404 may be an error of a proxy or of a starting API server");
    for _ in 0..3 {
        now += Duration::from_secs(10);
        cluster.expire_outages(now);
        cluster.handle_event(POLICIES, failed(404), now);
    }
    let update = cluster.take_update();
    assert_eq!(
        changes(&update),
        [deleted("RoutePolicy shop/p")],
        "the CRD was removed, and all policies with it"
    );
    assert!(problems(update).is_empty());
    list(&mut cluster, POLICIES, Vec::new());
    assert!(!cluster.has_update());
}

#[test]
fn lasting_watch_failure_is_a_problem_until_it_recovers() {
    for recovery in [None, Some(WatchEvent::Applied(trimmed(service("b", 1))))] {
        let mut cluster = empty_state();
        let mut now = Instant::now();
        let fail = |cluster: &mut ClusterState, now| {
            let message = format!("no response at {now:?}");
            cluster.handle_event(SERVICES, WatchEvent::Failed(WatchFailure { code: None, message }), now);
        };
        fail(&mut cluster, now);
        // A list times out after 50 s.
        for _ in 0..4 {
            now += Duration::from_secs(60);
            cluster.expire_outages(now);
            fail(&mut cluster, now);
        }
        let update = cluster.take_update();
        assert_eq!(changes(&update), []);
        let problems_of =
            |update: Update| update.problems.unwrap().into_iter().map(|located| located.problem);
        let reported: Vec<_> =
            problems_of(update).map(|problem| (problem.object.to_string(), problem.reason)).collect();
        assert_eq!(reported, [("Service *".to_owned(), Reason::Stale)]);
        fail(&mut cluster, now);
        assert!(!cluster.has_update(), "a Problem is reported once per outage");
        match recovery {
            Some(event) => cluster.handle_event(SERVICES, event, now),
            None => cluster.expire_outages(now + Duration::from_secs(71)),
        }
        assert_eq!(problems_of(cluster.take_update()).count(), 0);
    }
}

#[test]
fn changes_of_one_object_collapse_into_the_last() {
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
fn invalid_policy_keeps_its_last_valid_version() {
    let mut cluster = empty_state();
    let bad = invalid_policy("p");
    handle(&mut cluster, POLICIES, WatchEvent::Applied(bad));
    let update = cluster.take_update();
    assert_eq!(changes(&update), []);
    assert_eq!(problems(update), ["RoutePolicy shop/p"]);
    handle(&mut cluster, POLICIES, WatchEvent::Deleted(name("p")));
    assert_eq!(changes(&cluster.take_update()), [deleted("RoutePolicy shop/p")]);
}

#[test]
fn forbidden_kind_is_skipped_only_if_it_is_optional() {
    let mut cluster = ClusterState::new(specs(), ours());
    for feed in [SECRETS, POLICIES, INGRESSES] {
        list(&mut cluster, feed, Vec::new());
    }
    handle(&mut cluster, NAMESPACES, failed(403));
    handle(&mut cluster, SERVICES, failed(404));
    handle(&mut cluster, SERVICES, failed(403));
    assert!(!cluster.has_update(), "Services are required");
    assert!(
        cluster.pending_reason().unwrap().ends_with("Service: status 403"),
        "{:?}",
        cluster.pending_reason()
    );
    list(&mut cluster, SERVICES, Vec::new());
    assert_eq!(problems(cluster.take_update()), ["Namespace *"], "a Problem ends when the kind can be read");
    list(&mut cluster, NAMESPACES, Vec::new());
    assert!(problems(cluster.take_update()).is_empty());
}

#[test]
fn kind_that_becomes_forbidden_keeps_its_objects() {
    for feed in [SERVICES, NAMESPACES] {
        let mut cluster = empty_state();
        list(&mut cluster, feed, vec![trimmed(service("a", 1))]);
        cluster.take_update();
        let mut now = Instant::now();
        cluster.handle_event(feed, failed(403), now);
        assert!(!cluster.has_update(), "a restart of the API server is no Problem");
        for _ in 0..4 {
            now += Duration::from_secs(10);
            cluster.expire_outages(now);
            cluster.handle_event(feed, failed(403), now);
        }
        let update = cluster.take_update();
        assert_eq!(changes(&update), [], "failures of the API server remove no routes");
        assert_eq!(problems(update).len(), 1, "the rejection lasts");
        cluster.expire_outages(now + Duration::from_secs(31));
        assert!(problems(cluster.take_update()).is_empty(), "no attempt was rejected since");
    }
}

#[test]
fn namespace_without_rights_loses_its_objects_after_a_minute() {
    let of = |namespace: &str| FeedSpec {
        kind: Kind::Service,
        namespace: namespace.to_owned(),
        requirement: Requirement::Required,
    };
    let mut cluster = ClusterState::new(vec![of("shop"), of("two")], ours());
    list(&mut cluster, 0, vec![trimmed(service("a", 1))]);
    list(&mut cluster, 1, Vec::new());
    cluster.take_update();
    let start = Instant::now();
    let mut fail = |code, seconds| {
        cluster.handle_event(0, failed(code), start + Duration::from_secs(seconds));
        if cluster.has_update() { changes(&cluster.take_update()) } else { Vec::new() }
    };
    for (code, seconds) in [(500, 0), (403, 20), (403, 40), (500, 50), (403, 60), (403, 79), (403, 119)] {
        assert_eq!(fail(code, seconds), [], "{code} after {seconds} s");
    }
    assert_eq!(fail(403, 120), [deleted("Service shop/a")], "403 for a minute");
    assert_eq!(fail(403, 140), []);
    list(&mut cluster, 0, vec![trimmed(service("a", 2))]);
    let update = cluster.take_update();
    assert_eq!(changes(&update), [applied("Service shop/a")], "the rights are back");
    assert!(problems(update).is_empty());
}

#[test]
fn forbidden_namespaces_have_separate_problems() {
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
fn problems_of_an_object_end_with_it() {
    let mut cluster = empty_state();
    let field_errors = FieldError { field: "spec.ports[0]".to_owned(), message: "no number".to_owned() };
    handle(
        &mut cluster,
        SERVICES,
        WatchEvent::Applied(TrimmedObject::Object {
            object: service("a", 1),
            field_errors: vec![field_errors],
            identity: None,
        }),
    );
    assert_eq!(problems(cluster.take_update()), ["Service shop/a"]);
    handle(&mut cluster, SERVICES, WatchEvent::Applied(trimmed(service("a", 2))));
    assert!(problems(cluster.take_update()).is_empty());
    handle(&mut cluster, SERVICES, WatchEvent::Deleted(name("a")));
    assert!(cluster.take_update().problems.is_none(), "Problems are sent only if they changed");
}

#[test]
fn ingresses_share_texts_and_names_across_lists() {
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
    let applied = ingresses(cluster.take_update());
    let [a, b] = applied.as_slice() else { panic!("{applied:?}") };
    let is_shared = |one: &std::sync::Arc<str>, other| std::sync::Arc::ptr_eq(one, other);
    assert!(is_shared(a.class.as_ref().unwrap(), b.class.as_ref().unwrap()));
    assert!(is_shared(&a.name.namespace, &b.name.namespace));
    list(&mut cluster, INGRESSES, vec![with_class("a"), with_class("b")]);
    let known = cluster.feeds[INGRESSES].names.first().unwrap();
    assert!(is_shared(&known.name, &a.name.name), "the text that the compiler holds already");
}

// ===== random events against a model =====

const NAMES: [&str; 5] = ["a", "b", "c", "d", "e"];

/// A change of Services, as a watch reports it.
#[derive(Clone, Debug)]
enum Step {
    /// A list of these names in one state. It fails before the name at the index, if there is one.
    List(Vec<&'static str>, u16, Option<Index>),
    Apply(&'static str, u16),
    Delete(&'static str),
    Fail(Option<u16>),
    /// The receiver takes an update, if one is due.
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

/// Applies the next update to the objects of its receiver.
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
    /// The receiver of all updates has exactly the objects that the watch reported and did not delete.
    #[test]
    fn updates_contain_exactly_the_watched_objects(
        steps in proptest::collection::vec(step(), 0..60),
        requirement in select(vec![Requirement::Required, Requirement::IfInstalled]),
    ) {
        let mut cluster = ClusterState::new(vec![spec(Kind::Service, requirement)], ours());
        let (mut model, mut received) = (BTreeMap::new(), BTreeMap::new());
        let mut was_listed = false;
        let change = |model: &mut BTreeMap<ObjectRef, Object>, name, state| {
            model.insert(reference(Kind::Service, name), service(name, state));
            trimmed(service(name, state))
        };
        for step in steps {
            match step {
                Step::List(names, state, cut) => {
                    handle(&mut cluster, 0, WatchEvent::ListStarted);
                    let end = cut.map_or(names.len(), |cut| cut.index(names.len() + 1));
                    for name in names.iter().take(end) {
                        handle(&mut cluster, 0, WatchEvent::Listed(change(&mut model, name, state)));
                    }
                    if cut.is_some() {
                        handle(&mut cluster, 0, failed(500));
                    } else {
                        was_listed = true;
                        handle(&mut cluster, 0, WatchEvent::ListCompleted);
                        model.retain(|reference, _| names.contains(&&*reference.name.name));
                    }
                }
                Step::Apply(name, state) => handle(&mut cluster, 0, WatchEvent::Applied(change(&mut model, name, state))),
                Step::Delete(text) => {
                    model.remove(&reference(Kind::Service, text));
                    handle(&mut cluster, 0, WatchEvent::Deleted(name(text)));
                }
                Step::Fail(code) => {
                    if code == Some(404) && requirement == Requirement::IfInstalled && !was_listed {
                        model.clear();
                    }
                    handle(&mut cluster, 0, WatchEvent::Failed(WatchFailure { code, message: String::new() }));
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
