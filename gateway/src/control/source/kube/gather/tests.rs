//! What Gather makes of the events of feeds, without an API server.

#![allow(clippy::unwrap_used, clippy::panic, reason = "tests fail by panicking")]

use proptest::prelude::*;
use proptest::sample::{Index, select, subsequence};
use routing::object::{Ingress, IngressTls, Secret, Service};

use super::*;
use crate::control::source::PemPair;
use crate::control::source::kube::feed::Need;

mod secrets;

fn plan(kind: Kind, need: Need) -> Plan {
    Plan { kind, namespace: String::new(), need }
}

/// Services at place 0, Secrets at 1, policies (whose CRD may be missing) at 2, Namespaces (which may be forbidden)
/// at 3, Ingresses at 4.
fn plans() -> Vec<Plan> {
    vec![
        plan(Kind::Service, Need::Always),
        plan(Kind::Secret, Need::Always),
        plan(Kind::RoutePolicy, Need::IfInstalled),
        plan(Kind::Namespace, Need::IfAllowed),
        plan(Kind::Ingress, Need::Always),
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

fn taken(object: Object) -> Taken {
    Taken::Object(object, Vec::new())
}

/// Class `gateway` is ours, even without an IngressClass.
fn ours() -> Config {
    Config { classes: vec!["gateway".to_owned()], ..Config::default() }
}

fn ingress(text: &str, secrets: &[&str]) -> Taken {
    ingress_of("gateway", text, secrets)
}

fn ingress_of(class: &str, text: &str, secrets: &[&str]) -> Taken {
    let tls = secrets.iter().map(|secret| IngressTls { hosts: Vec::new(), secret: Some((*secret).into()) });
    let (name, class) = (name(text), Some(class.into()));
    taken(Object::Ingress(Ingress { name, class, tls: tls.collect(), ..Ingress::default() }))
}

fn secret(text: &str, version: &str) -> Taken {
    Taken::Secret(name(text), version.to_owned())
}

fn found(text: &str, version: &str) -> Read {
    let pair = Some(PemPair { chain: version.into(), key: Vec::new() });
    let secret = Secret { name: name(text), ..Secret::default() };
    Read { name: name(text), outcome: Outcome::Found { secret, version: version.to_owned(), pair } }
}

fn failed(code: u16) -> Seen {
    Seen::Failed { code: Some(code), message: format!("status {code}") }
}

fn see(gather: &mut Gather, place: usize, seen: Seen) {
    gather.see(place, seen, Instant::now());
}

fn read(gather: &mut Gather, read: Read) {
    gather.read(read, Instant::now());
}

fn list(gather: &mut Gather, place: usize, all: Vec<Taken>) {
    see(gather, place, Seen::Begin);
    for taken in all {
        see(gather, place, Seen::Listed(taken));
    }
    see(gather, place, Seen::Complete);
}

/// All feeds are complete and empty, and the first Update was taken.
fn begun() -> Gather {
    let mut gather = Gather::new(plans(), ours());
    for place in 0..plans().len() {
        list(&mut gather, place, Vec::new());
    }
    assert!(gather.has_news(), "the first Update is due even if there is nothing");
    gather.take();
    gather
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
    let mut gather = Gather::new(plans(), ours());
    for place in [SECRETS, POLICIES, NAMESPACES, INGRESSES] {
        list(&mut gather, place, Vec::new());
    }
    see(&mut gather, SERVICES, Seen::Begin);
    see(&mut gather, SERVICES, Seen::Listed(taken(service("a", 1))));
    see(&mut gather, SERVICES, Seen::Applied(taken(service("b", 1))));
    assert!(!gather.has_news());
    assert!(gather.missing().unwrap().contains("kind Service"), "{:?}", gather.missing());
    see(&mut gather, SERVICES, Seen::Failed { code: Some(503), message: "starting".to_owned() });
    assert!(gather.missing().unwrap().ends_with("starting"), "{:?}", gather.missing());
    list(&mut gather, SERVICES, vec![taken(service("a", 2)), taken(service("b", 1))]);
    assert!(gather.has_news());
    let update = gather.take();
    assert!(update.problems.is_some_and(|problems| problems.is_empty()));
    assert_eq!(update.objects.last(), Some(&Change::Apply(service("b", 1))));
    assert!(!gather.has_news());
    assert_eq!(gather.missing(), None);
}

#[test]
fn the_zone_is_told_when_it_is_known_and_when_it_changes() {
    let mut gather = Gather::new(vec![plan(Kind::Node, Need::IfAllowed)], ours());
    assert!(gather.missing().unwrap().contains("kind Node"), "{:?}", gather.missing());
    let node = |zone: Option<&str>| Taken::Node(Name::new("", "n"), zone.map(str::to_owned));
    let zone = |gather: &mut Gather, zone| {
        see(gather, 0, Seen::Applied(node(zone)));
        gather.has_news().then(|| gather.take().zone)
    };
    list(&mut gather, 0, vec![node(None)]);
    assert_eq!(gather.take().zone, None);
    assert_eq!(zone(&mut gather, Some("a")), Some(Some("a".to_owned())), "the label came late");
    assert_eq!(zone(&mut gather, Some("a")), None, "a heartbeat");
    assert_eq!(zone(&mut gather, None), None);
    assert_eq!(zone(&mut gather, Some("b")), Some(Some("b".to_owned())));
}

#[test]
fn a_node_that_may_not_be_read_is_a_problem_until_it_may() {
    let mut gather = Gather::new(vec![plan(Kind::Node, Need::IfAllowed)], ours());
    see(&mut gather, 0, failed(403));
    assert_eq!(problems(gather.take()), ["Node *"]);
    list(&mut gather, 0, vec![Taken::Node(Name::new("", "n"), Some("a".to_owned()))]);
    let update = gather.take();
    assert_eq!((update.zone.clone(), problems(update).len()), (Some("a".to_owned()), 0));
}

#[test]
fn a_new_list_removes_what_it_lacks_and_nothing_else() {
    let mut gather = begun();
    list(&mut gather, SERVICES, ["a", "b", "c"].map(|name| taken(service(name, 1))).into());
    list(&mut gather, INGRESSES, vec![ingress("a", &[])]);
    gather.take();
    see(&mut gather, SERVICES, Seen::Begin);
    see(&mut gather, SERVICES, Seen::Listed(taken(service("a", 1))));
    assert_eq!(changes(&gather.take()), [is_there("Service shop/a")], "half a list removes nothing");
    see(&mut gather, SERVICES, failed(500));
    assert!(!gather.has_news(), "nor does one that fails");
    list(&mut gather, SERVICES, vec![taken(service("c", 1))]);
    let expected = [is_gone("Service shop/a"), is_gone("Service shop/b"), is_there("Service shop/c")];
    assert_eq!(changes(&gather.take()), expected);
}

#[test]
fn a_kind_that_is_not_installed_counts_as_none_and_may_come_later() {
    let mut gather = Gather::new(plans(), ours());
    for place in [SERVICES, SECRETS, NAMESPACES, INGRESSES] {
        list(&mut gather, place, Vec::new());
    }
    see(&mut gather, POLICIES, failed(503));
    assert!(!gather.has_news(), "an API server that is starting does not know its kinds");
    see(&mut gather, POLICIES, failed(404));
    assert!(gather.has_news());
    assert!(problems(gather.take()).is_empty());
    let bad = Taken::Bad(reference(Kind::RoutePolicy, "p"), "no such field".to_owned());
    list(&mut gather, POLICIES, vec![bad]);
    assert_eq!(problems(gather.take()), ["RoutePolicy shop/p"]);
    let mut now = Instant::now();
    gather.see(POLICIES, failed(404), now);
    assert!(
        !gather.has_news(),
        "one answer may be an error: of a proxy, or of a server that does not know it yet"
    );
    for _ in 0..3 {
        now += Duration::from_secs(10);
        gather.tick(now);
        gather.see(POLICIES, failed(404), now);
    }
    let update = gather.take();
    assert_eq!(
        changes(&update),
        [is_gone("RoutePolicy shop/p")],
        "the CRD was removed, and all policies with it"
    );
    assert!(problems(update).is_empty());
    list(&mut gather, POLICIES, Vec::new());
    assert!(!gather.has_news());
}

#[test]
fn a_watch_that_fails_for_long_is_a_problem_until_it_is_heard_of() {
    for heard in [None, Some(Seen::Applied(taken(service("b", 1))))] {
        let mut gather = begun();
        let mut now = Instant::now();
        let fail = |gather: &mut Gather, now| {
            let message = format!("no answer at {now:?}");
            gather.see(SERVICES, Seen::Failed { code: None, message }, now);
        };
        fail(&mut gather, now);
        // A list is given up after 50 s.
        for _ in 0..4 {
            now += Duration::from_secs(60);
            gather.tick(now);
            fail(&mut gather, now);
        }
        let update = gather.take();
        assert_eq!(changes(&update), []);
        let problems_of =
            |update: Update| update.problems.unwrap().into_iter().map(|located| located.problem);
        let told: Vec<_> =
            problems_of(update).map(|problem| (problem.object.to_string(), problem.reason)).collect();
        assert_eq!(told, [("Service *".to_owned(), Reason::Stale)]);
        fail(&mut gather, now);
        assert!(!gather.has_news(), "it is told once, whatever each failure says");
        match heard {
            Some(seen) => gather.see(SERVICES, seen, now),
            None => gather.tick(now + Duration::from_secs(71)),
        }
        assert_eq!(problems_of(gather.take()).count(), 0);
    }
}

#[test]
fn of_what_changes_before_the_first_update_the_last_state_alone_is_kept() {
    let mut gather = Gather::new(plans(), ours());
    list(&mut gather, SERVICES, Vec::new());
    for state in 0..1000 {
        see(&mut gather, SERVICES, Seen::Applied(taken(service("a", state))));
    }
    assert_eq!(gather.next.objects.len(), 1);
    for place in [SECRETS, POLICIES, NAMESPACES, INGRESSES] {
        list(&mut gather, place, Vec::new());
    }
    assert_eq!(gather.take().objects, [Change::Apply(service("a", 999))]);
}

#[test]
fn an_unreadable_policy_removes_nothing() {
    let mut gather = begun();
    let bad = Taken::Bad(reference(Kind::RoutePolicy, "p"), "no such field".to_owned());
    see(&mut gather, POLICIES, Seen::Applied(bad));
    let update = gather.take();
    assert_eq!(changes(&update), []);
    assert_eq!(problems(update), ["RoutePolicy shop/p"]);
    see(&mut gather, POLICIES, Seen::Deleted(name("p")));
    assert_eq!(changes(&gather.take()), [is_gone("RoutePolicy shop/p")]);
}

#[test]
fn what_may_not_be_read_is_done_without_if_it_can_be() {
    let mut gather = Gather::new(plans(), ours());
    for place in [SECRETS, POLICIES, INGRESSES] {
        list(&mut gather, place, Vec::new());
    }
    see(&mut gather, NAMESPACES, failed(403));
    see(&mut gather, SERVICES, failed(404));
    see(&mut gather, SERVICES, failed(403));
    assert!(!gather.has_news(), "Services are needed");
    assert!(gather.missing().unwrap().ends_with("Service: status 403"), "{:?}", gather.missing());
    list(&mut gather, SERVICES, Vec::new());
    assert_eq!(problems(gather.take()), ["Namespace *"], "what is read again is no Problem any more");
    list(&mut gather, NAMESPACES, Vec::new());
    assert!(problems(gather.take()).is_empty());
}

#[test]
fn what_may_not_be_read_any_more_stays_as_it_was() {
    for place in [SERVICES, NAMESPACES] {
        let mut gather = begun();
        list(&mut gather, place, vec![taken(service("a", 1))]);
        gather.take();
        let mut now = Instant::now();
        gather.see(place, failed(403), now);
        assert!(!gather.has_news(), "an API server that starts anew is no Problem");
        for _ in 0..4 {
            now += Duration::from_secs(10);
            gather.tick(now);
            gather.see(place, failed(403), now);
        }
        let update = gather.take();
        assert_eq!(changes(&update), [], "routes never disappear because of the API server");
        assert_eq!(problems(update).len(), 1, "it lasts");
        gather.tick(now + Duration::from_secs(31));
        assert!(problems(gather.take()).is_empty(), "no try was refused since");
    }
}

#[test]
fn each_namespace_has_its_own_problem() {
    let of = |namespace: &str| Plan {
        kind: Kind::Service,
        namespace: namespace.to_owned(),
        need: Need::IfAllowed,
    };
    let mut gather = Gather::new(vec![of("one"), of("two")], ours());
    see(&mut gather, 0, failed(403));
    list(&mut gather, 1, Vec::new());
    assert_eq!(problems(gather.take()), ["Service one/*"]);
}

#[test]
fn problems_of_an_object_go_with_it() {
    let mut gather = begun();
    let unreadable = Unreadable { field: "spec.ports[0]".to_owned(), message: "no number".to_owned() };
    see(&mut gather, SERVICES, Seen::Applied(Taken::Object(service("a", 1), vec![unreadable])));
    assert_eq!(problems(gather.take()), ["Service shop/a"]);
    see(&mut gather, SERVICES, Seen::Applied(taken(service("a", 2))));
    assert!(problems(gather.take()).is_empty());
    see(&mut gather, SERVICES, Seen::Deleted(name("a")));
    assert!(gather.take().problems.is_none(), "they are told only if they changed");
}

#[test]
fn ingresses_share_their_texts_and_a_new_list_holds_no_name_twice() {
    let with_class = |text: &str| {
        let class = Some("gateway".to_owned().into());
        taken(Object::Ingress(Ingress { name: name(text), class, ..Ingress::default() }))
    };
    let mut gather = begun();
    list(&mut gather, INGRESSES, vec![with_class("a"), with_class("b")]);
    let ingresses = |update: Update| {
        let ingress = |change| match change {
            Change::Apply(Object::Ingress(ingress)) => Some(ingress),
            _ => None,
        };
        update.objects.into_iter().filter_map(ingress).collect::<Vec<_>>()
    };
    let told = ingresses(gather.take());
    let [a, b] = told.as_slice() else { panic!("{told:?}") };
    let is_one = |one: &std::sync::Arc<str>, other| std::sync::Arc::ptr_eq(one, other);
    assert!(is_one(a.class.as_ref().unwrap(), b.class.as_ref().unwrap()));
    assert!(is_one(&a.name.namespace, &b.name.namespace));
    list(&mut gather, INGRESSES, vec![with_class("a"), with_class("b")]);
    let known = gather.feeds[INGRESSES].known.first().unwrap();
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
fn receive(gather: &mut Gather, received: &mut BTreeMap<ObjectRef, Object>) {
    if !gather.has_news() {
        return;
    }
    for change in gather.take().objects {
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
        need in select(vec![Need::Always, Need::IfInstalled]),
    ) {
        let mut gather = Gather::new(vec![plan(Kind::Service, need)], ours());
        let (mut model, mut received) = (BTreeMap::new(), BTreeMap::new());
        let mut was_listed = false;
        let tell = |model: &mut BTreeMap<ObjectRef, Object>, name, state| {
            model.insert(reference(Kind::Service, name), service(name, state));
            taken(service(name, state))
        };
        for step in steps {
            match step {
                Step::List(names, state, cut) => {
                    see(&mut gather, 0, Seen::Begin);
                    let end = cut.map_or(names.len(), |cut| cut.index(names.len() + 1));
                    for name in names.iter().take(end) {
                        see(&mut gather, 0, Seen::Listed(tell(&mut model, name, state)));
                    }
                    if cut.is_some() {
                        see(&mut gather, 0, failed(500));
                    } else {
                        was_listed = true;
                        see(&mut gather, 0, Seen::Complete);
                        model.retain(|reference, _| names.contains(&&*reference.name.name));
                    }
                }
                Step::Apply(name, state) => see(&mut gather, 0, Seen::Applied(tell(&mut model, name, state))),
                Step::Delete(text) => {
                    model.remove(&reference(Kind::Service, text));
                    see(&mut gather, 0, Seen::Deleted(name(text)));
                }
                Step::Fail(code) => {
                    if code == Some(404) && need == Need::IfInstalled && !was_listed {
                        model.clear();
                    }
                    see(&mut gather, 0, Seen::Failed { code, message: String::new() });
                }
                Step::Take => {
                    receive(&mut gather, &mut received);
                    prop_assert!(gather.missing().is_some() || received == model);
                }
            }
        }
        if gather.missing().is_some() {
            prop_assert!(received.is_empty());
            list(&mut gather, 0, model.values().cloned().map(taken).collect());
        }
        receive(&mut gather, &mut received);
        prop_assert_eq!(received, model);
    }
}
