//! What events of feeds add up to, without an API server.

use std::sync::Arc;

use routing::object::{Ingress, IngressTls, Namespace, Secret};

use super::*;
use crate::source::PemPair;

const INGRESSES: usize = 0;
const NAMESPACES: usize = 1;
const POLICIES: usize = 2;
const SECRETS: usize = 3;

fn gather() -> Gather {
    let plan = |kind, need| Plan { kind, need };
    let mut gather = Gather::new(
        vec![
            plan(Kind::Ingress, Need::Always),
            plan(Kind::Namespace, Need::IfAllowed),
            plan(Kind::RoutePolicy, Need::IfInstalled),
            plan(Kind::Secret, Need::Always),
        ],
        "gateway-system".to_owned(),
    );
    gather.set_zone(Ok(None));
    gather
}

fn ingress(name: &str, secret: Option<&str>) -> Taken {
    let tls = IngressTls { hosts: Vec::new(), secret: secret.map(Arc::from) };
    let ingress = Ingress { name: Name::new("shop", name), tls: [tls].into(), ..Ingress::default() };
    Taken::Object(Object::Ingress(ingress), Vec::new())
}

fn namespace(name: &str) -> Taken {
    let namespace = Namespace { name: Name::new("", name), terminating: false };
    Taken::Object(Object::Namespace(namespace), Vec::new())
}

fn list(gather: &mut Gather, feed: usize, objects: Vec<Taken>) {
    gather.see(feed, Seen::Begin);
    for object in objects {
        gather.see(feed, Seen::Listed(object));
    }
    gather.see(feed, Seen::Complete);
}

/// A gather whose first update was taken; Ingress `a` names Secret `cert`.
fn ready() -> Gather {
    let mut gather = gather();
    list(&mut gather, INGRESSES, vec![ingress("a", Some("cert")), ingress("b", None)]);
    list(&mut gather, NAMESPACES, vec![namespace("shop")]);
    list(&mut gather, POLICIES, Vec::new());
    list(&mut gather, SECRETS, vec![seen("cert", "1"), seen("other", "1")]);
    assert_eq!(gather.secrets_to_read(), [Name::new("shop", "cert")]);
    gather.read(found("cert", "1"));
    gather.take();
    gather
}

fn seen(name: &str, version: &str) -> Taken {
    Taken::Secret(Name::new("shop", name), version.to_owned())
}

fn found(name: &str, version: &str) -> Read {
    let name = Name::new("shop", name);
    let secret = Secret { name: name.clone(), ..Secret::default() };
    let pair = Some(PemPair { chain: Vec::new(), key: Vec::new() });
    Read { name, outcome: Outcome::Found { secret, version: version.to_owned(), pair } }
}

/// The objects of an update, `+` for those that are there.
fn told(update: &Update) -> Vec<String> {
    let tell = |change: &Change| match change {
        Change::Apply(object) => format!("+{}", object.reference()),
        Change::Delete(reference) => format!("-{reference}"),
    };
    update.objects.iter().map(tell).collect()
}

fn problems(update: &Update) -> Vec<String> {
    update.problems.iter().flatten().map(|found| found.problem.to_string()).collect()
}

#[test]
fn nothing_is_told_before_every_feed_was_listed() {
    let mut gather = gather();
    list(&mut gather, INGRESSES, vec![ingress("a", None)]);
    list(&mut gather, NAMESPACES, Vec::new());
    list(&mut gather, POLICIES, Vec::new());
    assert!(!gather.has_news());
    gather.see(SECRETS, Seen::Failed { code: None, message: "connection refused".to_owned() });
    let missing = gather.missing().unwrap();
    assert!(missing.contains("Secret") && missing.contains("connection refused"), "{missing}");
    list(&mut gather, SECRETS, Vec::new());
    assert!(gather.has_news());
    assert_eq!(told(&gather.take()), ["+Ingress shop/a"]);
    assert_eq!((gather.has_news(), gather.missing()), (false, None));
}

#[test]
fn a_new_list_removes_what_it_lacks_and_a_broken_one_removes_nothing() {
    let mut gather = ready();
    gather.see(INGRESSES, Seen::Begin);
    gather.see(INGRESSES, Seen::Listed(ingress("b", None)));
    gather.see(INGRESSES, Seen::Failed { code: Some(500), message: "broken".to_owned() });
    assert_eq!(told(&gather.take()), ["+Ingress shop/b"]);
    list(&mut gather, INGRESSES, vec![ingress("b", None)]);
    let update = gather.take();
    // Its Secret goes with it: nobody else names that.
    assert_eq!(told(&update), ["+Ingress shop/b", "-Secret shop/cert", "-Ingress shop/a"]);
    assert!(update.secrets.iter().all(|change| change.pair.is_none()));
}

#[test]
fn what_may_not_be_read_is_done_without_if_it_can_be_and_told() {
    let mut gather = gather();
    let forbidden = || Seen::Failed { code: Some(403), message: "forbidden".to_owned() };
    list(&mut gather, INGRESSES, Vec::new());
    list(&mut gather, SECRETS, Vec::new());
    gather.see(NAMESPACES, forbidden());
    gather.see(POLICIES, forbidden());
    assert!(!gather.has_news(), "a kind that is installed has to be read");
    gather.see(POLICIES, Seen::Failed { code: Some(404), message: "no such kind".to_owned() });
    let update = gather.take();
    assert!(problems(&update)[0].starts_with("Namespace *: NotPermitted:"), "{:?}", problems(&update));
    list(&mut gather, NAMESPACES, vec![namespace("shop")]);
    let update = gather.take();
    assert_eq!(told(&update), ["+Namespace shop"]);
    assert_eq!(update.problems.map(|problems| problems.len()), Some(0));
}

#[test]
fn secrets_are_read_when_they_change_and_never_twice_in_one_version() {
    let mut gather = ready();
    gather.see(SECRETS, Seen::Applied(seen("cert", "1")));
    gather.see(SECRETS, Seen::Applied(seen("other", "2")));
    assert!(gather.secrets_to_read().is_empty());
    gather.see(SECRETS, Seen::Applied(seen("cert", "2")));
    assert_eq!(gather.secrets_to_read().len(), 1);
    assert!(gather.secrets_to_read().is_empty(), "it is being read");
    // It changes again meanwhile: what was read may be the old one.
    gather.see(SECRETS, Seen::Applied(seen("cert", "3")));
    gather.read(found("cert", "2"));
    assert_eq!(gather.secrets_to_read().len(), 1);
    gather.read(found("cert", "3"));
    assert!(gather.secrets_to_read().is_empty());
    assert_eq!(told(&gather.take()), ["+Secret shop/cert", "+Secret shop/cert"]);
}

#[test]
fn a_secret_goes_and_comes_back() {
    let mut gather = ready();
    gather.see(SECRETS, Seen::Deleted(Name::new("shop", "cert")));
    assert_eq!(told(&gather.take()), ["-Secret shop/cert"]);
    gather.see(SECRETS, Seen::Applied(seen("cert", "9")));
    assert_eq!(gather.secrets_to_read().len(), 1);
    gather.read(found("cert", "9"));
    assert_eq!(told(&gather.take()), ["+Secret shop/cert"]);
    // What arrives when nobody names it any more is dropped.
    gather.see(SECRETS, Seen::Applied(seen("cert", "10")));
    assert_eq!(gather.secrets_to_read().len(), 1);
    gather.see(INGRESSES, Seen::Deleted(Name::new("shop", "a")));
    gather.take();
    gather.read(found("cert", "10"));
    assert!(!gather.has_news());
}

#[test]
fn an_object_that_cannot_be_read_keeps_its_last_good_version() {
    let mut gather = ready();
    let reference = ObjectRef { kind: Kind::RoutePolicy, name: Name::new("shop", "p") };
    gather.see(POLICIES, Seen::Applied(Taken::Bad(reference.clone(), "bodySize is no size".to_owned())));
    let update = gather.take();
    assert!(update.objects.is_empty());
    assert_eq!(problems(&update), ["RoutePolicy shop/p spec: InvalidValue: bodySize is no size"]);
    gather.see(POLICIES, Seen::Deleted(reference.name));
    let update = gather.take();
    assert_eq!(told(&update), ["-RoutePolicy shop/p"]);
    assert!(problems(&update).is_empty());
}
