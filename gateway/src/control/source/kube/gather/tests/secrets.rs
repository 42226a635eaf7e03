//! What Gather makes of Secrets: which are read, and who waits for them.

use routing::object::{IngressClass, IngressClassConfig, ParametersRef};

use super::*;

/// A class with parameters.
fn class(name: &str, controller: &str, config: &str) -> Taken {
    let parameters = ParametersRef {
        group: api::GROUP.into(),
        kind: "IngressClassConfig".into(),
        name: config.into(),
        namespace: None,
    };
    let (name, controller, parameters) = (Name::new("", name), controller.into(), Some(parameters));
    taken(Object::IngressClass(IngressClass { name, controller, parameters, ..IngressClass::default() }))
}

/// Parameters that name a certificate in the gateway's own namespace.
fn config(name: &str, secret: &str) -> Taken {
    let certificate = api::ClassSecret { name: secret.to_owned(), namespace: None };
    let spec = api::IngressClassConfigSpec { default_certificate: Some(certificate), ..Default::default() };
    taken(Object::IngressClassConfig(IngressClassConfig { name: Name::new("", name), spec }))
}

#[test]
fn secrets_that_nobody_names_are_neither_read_nor_told_of() {
    let mut gather = begun();
    list(&mut gather, SECRETS, vec![secret("s", "1")]);
    see(&mut gather, SECRETS, Seen::Applied(secret("t", "2")));
    assert!(gather.secrets_to_read().is_empty());
    see(&mut gather, SECRETS, Seen::Deleted(name("s")));
    list(&mut gather, SECRETS, Vec::new());
    assert!(!gather.has_news());
}

#[test]
fn a_named_secret_is_read_once_per_version() {
    let mut gather = begun();
    see(&mut gather, INGRESSES, Seen::Applied(ingress("i", &["s"])));
    see(&mut gather, INGRESSES, Seen::Applied(ingress("j", &["s"])));
    assert_eq!(gather.secrets_to_read(), [(name("s"), When::Now)]);
    assert!(gather.secrets_to_read().is_empty());
    read(&mut gather, found("s", "1"));
    assert_eq!(bytes(&gather.take()), [("shop/s".to_owned(), Some("1".to_owned()))]);
    see(&mut gather, SECRETS, Seen::Applied(secret("s", "1")));
    assert!(gather.secrets_to_read().is_empty(), "the watch tells of what was read already");
    see(&mut gather, SECRETS, Seen::Applied(secret("s", "2")));
    assert_eq!(gather.secrets_to_read(), [(name("s"), When::Now)], "it is rotated");
    read(&mut gather, found("s", "2"));
    assert_eq!(bytes(&gather.take()), [("shop/s".to_owned(), Some("2".to_owned()))]);
}

#[test]
fn secrets_of_other_controllers_are_not_read() {
    let plans = [Kind::Ingress, Kind::IngressClass, Kind::IngressClassConfig, Kind::Secret];
    let mut gather = Gather::new(plans.map(|kind| plan(kind, Need::Always)).into(), Config::default());
    let ours = Config::default().controller;
    list(&mut gather, 0, vec![ingress_of("a", "i", &["s"]), ingress_of("b", "j", &["t"])]);
    list(&mut gather, 1, vec![class("a", &ours, "a"), class("b", "k8s.io/ingress-nginx", "b")]);
    list(&mut gather, 2, vec![config("a", "of-a"), config("b", "of-b")]);
    list(&mut gather, 3, Vec::new());
    let names = |found: &[(Name, When)]| found.iter().map(|(name, _)| name.to_string()).collect::<Vec<_>>();
    assert_eq!(names(&gather.secrets_to_read()), ["gateway-system/of-a", "shop/s"]);
    gather.take();

    see(&mut gather, 1, Seen::Applied(class("b", &ours, "b")));
    assert_eq!(names(&gather.secrets_to_read()), ["gateway-system/of-b", "shop/t"], "it became ours");
    gather.take();
    see(&mut gather, 1, Seen::Deleted(Name::new("", "a")));
    let gone = [("gateway-system/of-a".to_owned(), None), ("shop/s".to_owned(), None)];
    assert_eq!(bytes(&gather.take()), gone, "nobody of ours names them any more");
}

#[test]
fn an_ingress_waits_for_the_secrets_that_it_names_and_nothing_else_does() {
    let mut gather = begun();
    see(&mut gather, INGRESSES, Seen::Applied(ingress("i", &["old"])));
    gather.secrets_to_read();
    read(&mut gather, found("old", "1"));
    assert_eq!(changes(&gather.take()), [is_there("Ingress shop/i"), is_there("Secret shop/old")]);

    see(&mut gather, INGRESSES, Seen::Applied(ingress("i", &["new"])));
    see(&mut gather, SERVICES, Seen::Applied(taken(service("a", 1))));
    assert_eq!(changes(&gather.take()), [is_there("Service shop/a")], "the host keeps its certificate");
    gather.secrets_to_read();
    read(&mut gather, found("new", "1"));
    let update = gather.take();
    let expected = [is_there("Ingress shop/i"), is_there("Secret shop/new"), is_gone("Secret shop/old")];
    assert_eq!(changes(&update), expected);
    assert_eq!(gather.release_at(), None);

    see(&mut gather, INGRESSES, Seen::Applied(ingress("i", &["third"])));
    see(&mut gather, INGRESSES, Seen::Applied(ingress("i", &["new"])));
    gather.secrets_to_read();
    read(&mut gather, found("new", "1"));
    let update = gather.take();
    assert_eq!(
        changes(&update),
        [is_there("Ingress shop/i"), is_there("Secret shop/new"), is_gone("Secret shop/third")]
    );
}

#[test]
fn an_ingress_waits_a_second_at_most_and_not_for_what_may_not_be_read() {
    let mut gather = begun();
    let now = Instant::now();
    gather.see(INGRESSES, Seen::Applied(ingress("i", &["s"])), now);
    gather.secrets_to_read();
    assert!(!gather.has_news());
    let end = gather.release_at().unwrap();
    assert_eq!(end, now + HOLD_LIMIT);
    gather.see(INGRESSES, Seen::Applied(ingress("i", &["s", "t"])), now + HOLD_LIMIT / 2);
    assert_eq!(gather.release_at(), Some(end), "changes do not lengthen it");
    gather.release(end);
    assert_eq!(changes(&gather.take()), [is_there("Ingress shop/i")]);

    gather.see(INGRESSES, Seen::Applied(ingress("j", &["u"])), end);
    gather.secrets_to_read();
    read(&mut gather, Read { name: name("u"), outcome: Outcome::Forbidden("no".to_owned()) });
    assert_eq!(changes(&gather.take()), [is_there("Ingress shop/j")]);

    gather.see(INGRESSES, Seen::Applied(ingress("k", &["v"])), end);
    gather.see(INGRESSES, Seen::Deleted(name("k")), end);
    assert_eq!(gather.release_at(), None, "one that is gone waits for nothing");
    assert_eq!(changes(&gather.take()), [is_gone("Ingress shop/k"), is_gone("Secret shop/v")]);
}

#[test]
fn secrets_that_no_watch_tells_of_are_asked_for_again_and_again() {
    let mut plans = plans();
    for plan in &mut plans {
        plan.namespace = "shop".to_owned();
    }
    plans.push(plan(Kind::IngressClass, Need::IfAllowed));
    plans.push(plan(Kind::IngressClassConfig, Need::IfAllowed));
    let mut gather = Gather::new(plans.clone(), ours());
    for place in 0..plans.len() {
        list(&mut gather, place, Vec::new());
    }
    see(&mut gather, 5, Seen::Applied(class("gateway", "", "c")));
    see(&mut gather, 6, Seen::Applied(config("c", "s")));
    gather.take();
    let secret = Name::new("gateway-system", "s");
    assert_eq!(gather.secrets_to_read(), [(secret.clone(), When::Now)]);
    let answer = |version: Option<&str>| {
        let outcome = match version {
            Some(version) => found("s", version).outcome,
            None => Outcome::Missing,
        };
        Read { name: secret.clone(), outcome }
    };
    let mut told = Vec::new();
    for version in [None, None, Some("1"), Some("1"), Some("2"), None] {
        read(&mut gather, answer(version));
        told.push(gather.has_news());
        gather.take();
        assert_eq!(gather.secrets_to_read(), [(secret.clone(), When::Later)]);
        assert!(!gather.secrets.is_reading(), "nothing waits for it");
    }
    assert_eq!(told, [true, false, true, false, true, true]);
}

#[test]
fn a_secret_goes_with_the_last_who_names_it() {
    let mut gather = begun();
    see(&mut gather, INGRESSES, Seen::Applied(ingress("i", &["s"])));
    see(&mut gather, INGRESSES, Seen::Applied(ingress("j", &["s"])));
    gather.secrets_to_read();
    read(&mut gather, found("s", "1"));
    gather.take();
    see(&mut gather, INGRESSES, Seen::Deleted(name("i")));
    assert_eq!(bytes(&gather.take()), []);
    see(&mut gather, INGRESSES, Seen::Applied(ingress("j", &[])));
    assert_eq!(bytes(&gather.take()), [("shop/s".to_owned(), None)]);
    see(&mut gather, SECRETS, Seen::Applied(secret("s", "2")));
    assert!(gather.secrets_to_read().is_empty());
    read(&mut gather, found("s", "2"));
    assert!(!gather.has_news(), "what was being read counts for nothing then");
}

#[test]
fn a_secret_may_be_missing_and_come_late() {
    let mut gather = begun();
    see(&mut gather, INGRESSES, Seen::Applied(ingress("i", &["s"])));
    assert_eq!(gather.secrets_to_read(), [(name("s"), When::Now)]);
    read(&mut gather, Read { name: name("s"), outcome: Outcome::Missing });
    let update = gather.take();
    assert_eq!(changes(&update), [is_there("Ingress shop/i"), is_gone("Secret shop/s")]);
    see(&mut gather, SECRETS, Seen::Applied(secret("s", "1")));
    assert_eq!(gather.secrets_to_read(), [(name("s"), When::Now)]);
    read(&mut gather, found("s", "1"));
    assert_eq!(bytes(&gather.take()), [("shop/s".to_owned(), Some("1".to_owned()))]);
    see(&mut gather, SECRETS, Seen::Deleted(name("s")));
    assert_eq!(bytes(&gather.take()), [("shop/s".to_owned(), None)]);
    assert!(gather.secrets_to_read().is_empty(), "what is gone is not read");
    see(&mut gather, SECRETS, Seen::Applied(secret("s", "2")));
    assert_eq!(gather.secrets_to_read(), [(name("s"), When::Now)]);
}

#[test]
fn a_secret_that_changes_while_it_is_read_is_read_again() {
    let mut gather = begun();
    see(&mut gather, INGRESSES, Seen::Applied(ingress("i", &["s"])));
    gather.secrets_to_read();
    see(&mut gather, SECRETS, Seen::Applied(secret("s", "2")));
    assert!(gather.secrets_to_read().is_empty(), "one at a time");
    read(&mut gather, found("s", "1"));
    assert_eq!(gather.secrets_to_read(), [(name("s"), When::Now)]);
    see(&mut gather, SECRETS, Seen::Applied(secret("s", "3")));
    read(&mut gather, found("s", "3"));
    assert!(gather.secrets_to_read().is_empty(), "it was read in the version that the watch told of");
}

#[test]
fn a_secret_that_goes_while_it_is_read_is_read_again() {
    let mut gather = begun();
    see(&mut gather, INGRESSES, Seen::Applied(ingress("i", &["s"])));
    gather.secrets_to_read();
    see(&mut gather, SECRETS, Seen::Deleted(name("s")));
    read(&mut gather, found("s", "1"));
    assert_eq!(gather.secrets_to_read(), [(name("s"), When::Now)], "what was read may be older than its end");
    read(&mut gather, Read { name: name("s"), outcome: Outcome::Missing });
    assert_eq!(bytes(&gather.take()).last(), Some(&("shop/s".to_owned(), None)));
    assert!(gather.secrets_to_read().is_empty());
}

#[test]
fn of_two_reads_at_a_time_neither_is_taken_for_the_newer_one() {
    let mut gather = begun();
    see(&mut gather, INGRESSES, Seen::Applied(ingress("i", &["s"])));
    gather.secrets_to_read();
    see(&mut gather, INGRESSES, Seen::Deleted(name("i")));
    see(&mut gather, INGRESSES, Seen::Applied(ingress("i", &["s"])));
    assert_eq!(gather.secrets_to_read(), [(name("s"), When::Now)]);
    read(&mut gather, found("s", "2"));
    read(&mut gather, found("s", "1"));
    assert_eq!(gather.secrets_to_read(), [(name("s"), When::Now)]);
    read(&mut gather, found("s", "2"));
    let update = gather.take();
    let last = ("shop/s".to_owned(), Some("2".to_owned()));
    assert_eq!(bytes(&update).last(), Some(&last));
    assert!(gather.secrets_to_read().is_empty());
}

#[test]
fn a_secret_that_may_not_be_read_keeps_its_last_bytes_and_is_tried_again() {
    let mut gather = begun();
    see(&mut gather, INGRESSES, Seen::Applied(ingress("i", &["s"])));
    gather.secrets_to_read();
    read(&mut gather, found("s", "1"));
    gather.take();
    see(&mut gather, SECRETS, Seen::Applied(secret("s", "2")));
    gather.secrets_to_read();
    read(&mut gather, Read { name: name("s"), outcome: Outcome::Forbidden("no".to_owned()) });
    let update = gather.take();
    assert_eq!(bytes(&update), []);
    assert_eq!(problems(update), ["Secret shop/s"]);
    assert_eq!(gather.secrets_to_read(), [(name("s"), When::Later)]);
    assert!(gather.secrets_to_read().is_empty(), "one at a time");
    assert!(!gather.secrets.is_reading(), "the first Update does not wait for it");
    read(&mut gather, found("s", "2"));
    let update = gather.take();
    assert_eq!(bytes(&update), [("shop/s".to_owned(), Some("2".to_owned()))]);
    assert!(problems(update).is_empty());
    assert!(gather.secrets_to_read().is_empty());
}

#[test]
fn the_first_update_waits_for_secrets_but_not_for_ever() {
    let mut gather = Gather::new(vec![plan(Kind::Ingress, Need::Always)], ours());
    let window = Window::default();
    let before = Instant::now();
    list(&mut gather, 0, vec![ingress("i", &["s"])]);
    gather.secrets_to_read();
    assert!(gather.due(&window) >= before + SECRETS_LIMIT);
    assert!(gather.due(&window) <= Instant::now() + SECRETS_LIMIT);
    read(&mut gather, found("s", "1"));
    assert!(gather.due(&window) <= Instant::now());
}
