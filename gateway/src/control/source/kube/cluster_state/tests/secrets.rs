//! Reads of Secrets, and the Ingresses that wait for them.

use routing::object::{IngressClass, IngressClassConfig, IngressRule, ParametersRef};

use super::super::secret_tracker::ORPHAN_TTL;
use super::*;

/// Moves the time beyond the life of orphans that exist now.
fn expire_orphans(cluster: &mut ClusterState) {
    cluster.release_ready(Instant::now() + ORPHAN_TTL);
}

fn forbidden(text: &str) -> SecretRead {
    SecretRead { name: name(text), outcome: ReadOutcome::Forbidden("no".to_owned()) }
}

/// An Ingress of ours with a rule for a host.
fn ingress_for(text: &str, host: &str, secret: &str) -> TrimmedObject {
    let rules = vec![IngressRule { host: Some(host.into()), paths: Vec::new() }];
    let tls = vec![IngressTls { hosts: Vec::new(), secret: Some(secret.into()) }];
    let (name, class) = (name(text), Some("gateway".into()));
    trimmed(Object::Ingress(Ingress {
        name,
        class,
        tls: tls.into(),
        rules: rules.into(),
        ..Ingress::default()
    }))
}

/// The contents of Secrets in an update.
fn contents(update: &Update) -> Vec<(String, SecretContent)> {
    let content = |change: &Change| match change {
        Change::Apply(Object::Secret(secret)) => Some((secret.name.to_string(), secret.content.clone())),
        _ => None,
    };
    update.objects.iter().filter_map(content).collect()
}

/// An IngressClass whose parameters name a config.
fn class(name: &str, controller: &str, config: &str) -> TrimmedObject {
    let parameters = ParametersRef {
        group: api::GROUP.into(),
        kind: "IngressClassConfig".into(),
        name: config.into(),
        namespace: None,
    };
    let (name, controller, parameters) = (Name::new("", name), controller.into(), Some(parameters));
    trimmed(Object::IngressClass(IngressClass { name, controller, parameters, ..IngressClass::default() }))
}

/// A config with a default certificate in the gateway's own namespace.
fn config(name: &str, secret: &str) -> TrimmedObject {
    let certificate = api::ClassSecret { name: secret.to_owned(), namespace: None };
    let spec = api::IngressClassConfigSpec { default_certificate: Some(certificate), ..Default::default() };
    trimmed(Object::IngressClassConfig(IngressClassConfig {
        name: Name::new("", name),
        spec,
        ..IngressClassConfig::default()
    }))
}

#[test]
fn unreferenced_secret_is_neither_read_nor_sent() {
    let mut cluster = empty_state();
    list(&mut cluster, SECRETS, vec![secret("s", "1")]);
    handle(&mut cluster, SECRETS, WatchEvent::Applied(secret("t", "2")));
    assert!(cluster.start_secret_reads().is_empty());
    handle(&mut cluster, SECRETS, WatchEvent::Deleted(name("s")));
    list(&mut cluster, SECRETS, Vec::new());
    assert!(!cluster.has_update());
}

#[test]
fn referenced_secret_is_read_once_per_version() {
    let mut cluster = empty_state();
    handle(&mut cluster, INGRESSES, WatchEvent::Applied(ingress("i", &["s"])));
    handle(&mut cluster, INGRESSES, WatchEvent::Applied(ingress("j", &["s"])));
    assert_eq!(cluster.start_secret_reads(), [(name("s"), ReadTiming::Immediate)]);
    assert!(cluster.start_secret_reads().is_empty());
    handle_read(&mut cluster, found("s", "1"));
    assert_eq!(bytes(&cluster.take_update()), [("shop/s".to_owned(), Some("1".to_owned()))]);
    handle(&mut cluster, SECRETS, WatchEvent::Applied(secret("s", "1")));
    assert!(cluster.start_secret_reads().is_empty(), "this version was read already");
    handle(&mut cluster, SECRETS, WatchEvent::Applied(secret("s", "2")));
    assert_eq!(cluster.start_secret_reads(), [(name("s"), ReadTiming::Immediate)], "the Secret was rotated");
    handle_read(&mut cluster, found("s", "2"));
    assert_eq!(bytes(&cluster.take_update()), [("shop/s".to_owned(), Some("2".to_owned()))]);
}

#[test]
fn secrets_of_other_controllers_are_not_read() {
    let specs = [Kind::Ingress, Kind::IngressClass, Kind::IngressClassConfig, Kind::Secret];
    let mut cluster =
        ClusterState::new(specs.map(|kind| spec(kind, Requirement::Required)).into(), Config::default());
    let ours = Config::default().controller;
    list(&mut cluster, 0, vec![ingress_of("a", "i", &["s"]), ingress_of("b", "j", &["t"])]);
    list(&mut cluster, 1, vec![class("a", &ours, "a"), class("b", "k8s.io/ingress-nginx", "b")]);
    list(&mut cluster, 2, vec![config("a", "of-a"), config("b", "of-b")]);
    list(&mut cluster, 3, Vec::new());
    let names =
        |found: &[(Name, ReadTiming)]| found.iter().map(|(name, _)| name.to_string()).collect::<Vec<_>>();
    assert_eq!(names(&cluster.start_secret_reads()), ["gateway-system/of-a", "shop/s"]);
    cluster.take_update();

    handle(&mut cluster, 1, WatchEvent::Applied(class("b", &ours, "b")));
    assert_eq!(
        names(&cluster.start_secret_reads()),
        ["gateway-system/of-b", "shop/t"],
        "the class became ours"
    );
    cluster.take_update();
    handle(&mut cluster, 1, WatchEvent::Deleted(Name::new("", "a")));
    assert_eq!(bytes(&cluster.take_update()), []);
    expire_orphans(&mut cluster);
    let gone = [("gateway-system/of-a".to_owned(), None), ("shop/s".to_owned(), None)];
    assert_eq!(bytes(&cluster.take_update()), gone, "no object of ours refers to them");
}

#[test]
fn only_ingresses_wait_for_their_secrets() {
    let mut cluster = empty_state();
    handle(&mut cluster, INGRESSES, WatchEvent::Applied(ingress("i", &["old"])));
    cluster.start_secret_reads();
    handle_read(&mut cluster, found("old", "1"));
    assert_eq!(changes(&cluster.take_update()), [applied("Ingress shop/i"), applied("Secret shop/old")]);

    handle(&mut cluster, INGRESSES, WatchEvent::Applied(ingress("i", &["new"])));
    handle(&mut cluster, SERVICES, WatchEvent::Applied(trimmed(service("a", 1))));
    assert_eq!(
        changes(&cluster.take_update()),
        [applied("Secret shop/new"), applied("Service shop/a")],
        "the host keeps its certificate"
    );
    cluster.start_secret_reads();
    handle_read(&mut cluster, found("new", "1"));
    let update = cluster.take_update();
    assert_eq!(changes(&update), [applied("Ingress shop/i"), applied("Secret shop/new")]);
    expire_orphans(&mut cluster);
    assert_eq!(changes(&cluster.take_update()), [deleted("Secret shop/old")]);
    assert_eq!(cluster.next_release_at(), None);

    handle(&mut cluster, INGRESSES, WatchEvent::Applied(ingress("i", &["third"])));
    handle(&mut cluster, INGRESSES, WatchEvent::Applied(ingress("i", &["new"])));
    assert_eq!(changes(&cluster.take_update()), [applied("Ingress shop/i")], "its Secret is still known");
}

#[test]
fn ingress_hold_ends_after_a_second_or_a_forbidden_read() {
    let mut cluster = empty_state();
    let now = Instant::now();
    cluster.handle_event(INGRESSES, WatchEvent::Applied(ingress("i", &["s"])), now);
    cluster.start_secret_reads();
    assert!(!cluster.has_update());
    let end = cluster.next_release_at().unwrap();
    assert_eq!(end, now + HOLD_TIMEOUT);
    cluster.handle_event(INGRESSES, WatchEvent::Applied(ingress("i", &["s", "t"])), now + HOLD_TIMEOUT / 2);
    assert_eq!(cluster.next_release_at(), Some(end), "a change does not extend the hold");
    cluster.release_ready(end);
    let update = cluster.take_update();
    let unread = |text: &str| (format!("shop/{text}"), SecretContent::Unread);
    assert_eq!(changes(&update).first(), Some(&applied("Ingress shop/i")));
    assert_eq!(contents(&update), [unread("s"), unread("t")], "not read yet is not missing");

    cluster.handle_event(INGRESSES, WatchEvent::Applied(ingress("j", &["u"])), end);
    cluster.start_secret_reads();
    handle_read(&mut cluster, forbidden("u"));
    let update = cluster.take_update();
    assert_eq!(changes(&update).first(), Some(&applied("Ingress shop/j")));
    assert_eq!(contents(&update), [("shop/u".to_owned(), SecretContent::Forbidden)]);

    cluster.handle_event(INGRESSES, WatchEvent::Applied(ingress("k", &["v"])), end);
    cluster.handle_event(INGRESSES, WatchEvent::Deleted(name("k")), end);
    assert_eq!(cluster.next_release_at(), Some(end + ORPHAN_TTL), "a deleted Ingress is not held");
    assert_eq!(changes(&cluster.take_update()), [deleted("Ingress shop/k")]);
}

#[test]
fn secrets_outside_watched_namespaces_are_polled() {
    let mut specs = specs();
    for spec in &mut specs {
        spec.namespace = "shop".to_owned();
    }
    specs.push(spec(Kind::IngressClass, Requirement::IfAllowed));
    specs.push(spec(Kind::IngressClassConfig, Requirement::IfAllowed));
    let mut cluster = ClusterState::new(specs.clone(), ours());
    for feed in 0..specs.len() {
        list(&mut cluster, feed, Vec::new());
    }
    handle(&mut cluster, 5, WatchEvent::Applied(class("gateway", "", "c")));
    handle(&mut cluster, 6, WatchEvent::Applied(config("c", "s")));
    cluster.take_update();
    let secret = Name::new("gateway-system", "s");
    assert_eq!(cluster.start_secret_reads(), [(secret.clone(), ReadTiming::Immediate)]);
    let poll_result = |version: Option<&str>| {
        let outcome = match version {
            Some(version) => found("s", version).outcome,
            None => ReadOutcome::Missing,
        };
        SecretRead { name: secret.clone(), outcome }
    };
    let mut sent = Vec::new();
    for version in [None, None, Some("1"), Some("1"), Some("2"), None] {
        handle_read(&mut cluster, poll_result(version));
        sent.push(cluster.has_update());
        cluster.take_update();
        assert_eq!(cluster.start_secret_reads(), [(secret.clone(), ReadTiming::Delayed)]);
        assert_eq!(cluster.secret_tracker.count_unresolved().unresolved, 0, "no update waits for a poll");
    }
    assert_eq!(sent, [true, false, true, false, true, true]);
}

#[test]
fn secret_is_removed_a_minute_after_its_last_reference() {
    let mut cluster = empty_state();
    handle(&mut cluster, INGRESSES, WatchEvent::Applied(ingress("i", &["s"])));
    handle(&mut cluster, INGRESSES, WatchEvent::Applied(ingress("j", &["s"])));
    cluster.start_secret_reads();
    handle_read(&mut cluster, found("s", "1"));
    cluster.take_update();
    handle(&mut cluster, INGRESSES, WatchEvent::Deleted(name("i")));
    assert_eq!(bytes(&cluster.take_update()), []);
    let now = Instant::now();
    cluster.handle_event(INGRESSES, WatchEvent::Applied(ingress("j", &[])), now);
    assert_eq!(bytes(&cluster.take_update()), []);
    handle(&mut cluster, SECRETS, WatchEvent::Applied(secret("s", "2")));
    assert!(cluster.start_secret_reads().is_empty(), "it is not read while no object of ours names it");
    assert_eq!(cluster.next_release_at(), Some(now + ORPHAN_TTL));
    cluster.release_ready(now + ORPHAN_TTL - Duration::from_millis(1));
    assert!(!cluster.has_update());
    cluster.release_ready(now + ORPHAN_TTL);
    assert_eq!(bytes(&cluster.take_update()), [("shop/s".to_owned(), None)]);
    handle(&mut cluster, SECRETS, WatchEvent::Applied(secret("s", "3")));
    assert!(cluster.start_secret_reads().is_empty());
    handle_read(&mut cluster, found("s", "2"));
    assert!(!cluster.has_update(), "the read in flight is ignored");
}

#[test]
fn recreated_ingress_has_its_certificate_at_once() {
    let mut cluster = empty_state();
    handle(&mut cluster, INGRESSES, WatchEvent::Applied(ingress("i", &["s"])));
    cluster.start_secret_reads();
    handle_read(&mut cluster, found("s", "1"));
    cluster.take_update();
    handle(&mut cluster, INGRESSES, WatchEvent::Deleted(name("i")));
    assert_eq!(changes(&cluster.take_update()), [deleted("Ingress shop/i")]);
    handle(&mut cluster, SECRETS, WatchEvent::Applied(secret("s", "2")));
    handle(&mut cluster, INGRESSES, WatchEvent::Applied(ingress("j", &["s"])));
    assert_eq!(changes(&cluster.take_update()), [applied("Ingress shop/j")], "without a wait for a read");
    assert_eq!(cluster.start_secret_reads(), [(name("s"), ReadTiming::Immediate)], "it changed meanwhile");
    expire_orphans(&mut cluster);
    assert!(!cluster.has_update(), "a reference ends the life as an orphan");
}

#[test]
fn change_that_frees_a_host_waits_for_the_one_that_takes_it() {
    for (what, freeing) in [
        ("edit", WatchEvent::Applied(ingress_for("old", "other.example", "s"))),
        ("deletion", WatchEvent::Deleted(name("old"))),
    ] {
        let mut cluster = empty_state();
        handle(&mut cluster, INGRESSES, WatchEvent::Applied(ingress_for("old", "a.example", "s")));
        cluster.start_secret_reads();
        handle_read(&mut cluster, found("s", "1"));
        cluster.take_update();
        handle(&mut cluster, INGRESSES, freeing);
        handle(&mut cluster, INGRESSES, WatchEvent::Applied(ingress_for("new", "a.example", "t")));
        assert!(!cluster.has_update(), "{what}: the host has no other Ingress yet");
        handle(&mut cluster, SERVICES, WatchEvent::Applied(trimmed(service("a", 1))));
        assert_eq!(
            changes(&cluster.take_update()),
            [applied("Secret shop/t"), applied("Service shop/a")],
            "{what}: other changes do not wait"
        );
        cluster.start_secret_reads();
        handle_read(&mut cluster, found("t", "1"));
        let names: Vec<_> = changes(&cluster.take_update()).into_iter().map(|(_, name)| name).collect();
        assert_eq!(names, ["Ingress shop/new", "Ingress shop/old", "Secret shop/t"], "{what}");
        assert!(!cluster.has_update());
    }
}

#[test]
fn change_that_frees_a_host_waits_for_its_own_namespace_only() {
    let mut cluster = empty_state();
    handle(&mut cluster, INGRESSES, WatchEvent::Applied(ingress_for("old", "a.example", "s")));
    cluster.start_secret_reads();
    handle_read(&mut cluster, found("s", "1"));
    cluster.take_update();
    let TrimmedObject::Object { object: Object::Ingress(mut other), .. } =
        ingress_for("new", "a.example", "t")
    else {
        panic!("no Ingress")
    };
    other.name = Name::new("other", "new");
    handle(&mut cluster, INGRESSES, WatchEvent::Applied(trimmed(Object::Ingress(other))));
    handle(&mut cluster, INGRESSES, WatchEvent::Deleted(name("old")));
    assert_eq!(changes(&cluster.take_update()).first(), Some(&deleted("Ingress shop/old")));
}

#[test]
fn missing_secret_is_read_once_it_is_created() {
    let mut cluster = empty_state();
    handle(&mut cluster, INGRESSES, WatchEvent::Applied(ingress("i", &["s"])));
    assert_eq!(cluster.start_secret_reads(), [(name("s"), ReadTiming::Immediate)]);
    handle_read(&mut cluster, SecretRead { name: name("s"), outcome: ReadOutcome::Missing });
    let update = cluster.take_update();
    assert_eq!(changes(&update), [applied("Ingress shop/i"), deleted("Secret shop/s")]);
    handle(&mut cluster, SECRETS, WatchEvent::Applied(secret("s", "1")));
    assert_eq!(cluster.start_secret_reads(), [(name("s"), ReadTiming::Immediate)]);
    handle_read(&mut cluster, found("s", "1"));
    assert_eq!(bytes(&cluster.take_update()), [("shop/s".to_owned(), Some("1".to_owned()))]);
    handle(&mut cluster, SECRETS, WatchEvent::Deleted(name("s")));
    assert_eq!(bytes(&cluster.take_update()), [("shop/s".to_owned(), None)]);
    assert!(cluster.start_secret_reads().is_empty(), "a deleted Secret is not read");
    handle(&mut cluster, SECRETS, WatchEvent::Applied(secret("s", "2")));
    assert_eq!(cluster.start_secret_reads(), [(name("s"), ReadTiming::Immediate)]);
}

#[test]
fn secret_that_changes_during_a_read_is_read_again() {
    let mut cluster = empty_state();
    handle(&mut cluster, INGRESSES, WatchEvent::Applied(ingress("i", &["s"])));
    cluster.start_secret_reads();
    handle(&mut cluster, SECRETS, WatchEvent::Applied(secret("s", "2")));
    assert!(cluster.start_secret_reads().is_empty(), "one read at a time");
    handle_read(&mut cluster, found("s", "1"));
    assert_eq!(cluster.start_secret_reads(), [(name("s"), ReadTiming::Immediate)]);
    handle(&mut cluster, SECRETS, WatchEvent::Applied(secret("s", "3")));
    handle_read(&mut cluster, found("s", "3"));
    assert!(cluster.start_secret_reads().is_empty(), "the watched version was read");
}

#[test]
fn secret_deleted_during_a_read_is_read_again() {
    let mut cluster = empty_state();
    handle(&mut cluster, INGRESSES, WatchEvent::Applied(ingress("i", &["s"])));
    cluster.start_secret_reads();
    handle(&mut cluster, SECRETS, WatchEvent::Deleted(name("s")));
    handle_read(&mut cluster, found("s", "1"));
    assert_eq!(
        cluster.start_secret_reads(),
        [(name("s"), ReadTiming::Immediate)],
        "the read may predate the deletion"
    );
    handle_read(&mut cluster, SecretRead { name: name("s"), outcome: ReadOutcome::Missing });
    assert_eq!(bytes(&cluster.take_update()).last(), Some(&("shop/s".to_owned(), None)));
    assert!(cluster.start_secret_reads().is_empty());
}

#[test]
fn two_concurrent_reads_cause_a_third() {
    let mut cluster = empty_state();
    handle(&mut cluster, INGRESSES, WatchEvent::Applied(ingress("i", &["s"])));
    cluster.start_secret_reads();
    handle(&mut cluster, INGRESSES, WatchEvent::Deleted(name("i")));
    expire_orphans(&mut cluster);
    handle(&mut cluster, INGRESSES, WatchEvent::Applied(ingress("i", &["s"])));
    assert_eq!(cluster.start_secret_reads(), [(name("s"), ReadTiming::Immediate)]);
    handle_read(&mut cluster, found("s", "2"));
    handle_read(&mut cluster, found("s", "1"));
    assert_eq!(cluster.start_secret_reads(), [(name("s"), ReadTiming::Immediate)]);
    handle_read(&mut cluster, found("s", "2"));
    let update = cluster.take_update();
    let last = ("shop/s".to_owned(), Some("2".to_owned()));
    assert_eq!(bytes(&update).last(), Some(&last));
    assert!(cluster.start_secret_reads().is_empty());
}

#[test]
fn forbidden_secret_keeps_its_bytes_and_is_read_again() {
    let mut cluster = empty_state();
    handle(&mut cluster, INGRESSES, WatchEvent::Applied(ingress("i", &["s"])));
    cluster.start_secret_reads();
    handle_read(&mut cluster, found("s", "1"));
    cluster.take_update();
    handle(&mut cluster, SECRETS, WatchEvent::Applied(secret("s", "2")));
    cluster.start_secret_reads();
    handle_read(&mut cluster, forbidden("s"));
    let update = cluster.take_update();
    assert_eq!(bytes(&update), []);
    assert_eq!(problems(update), ["Secret shop/s"]);
    assert_eq!(cluster.start_secret_reads(), [(name("s"), ReadTiming::Delayed)]);
    assert!(cluster.start_secret_reads().is_empty(), "one read at a time");
    assert_eq!(
        cluster.secret_tracker.count_unresolved().unresolved,
        0,
        "the first update does not wait for it"
    );
    handle_read(&mut cluster, found("s", "2"));
    let update = cluster.take_update();
    assert_eq!(bytes(&update), [("shop/s".to_owned(), Some("2".to_owned()))]);
    assert!(problems(update).is_empty());
    assert!(cluster.start_secret_reads().is_empty());
}

#[test]
fn first_update_waits_until_secrets_are_read_or_refused() {
    let mut cluster = ClusterState::new(vec![spec(Kind::Ingress, Requirement::Required)], ours());
    let long_after = Instant::now() + Duration::from_secs(600);
    list(&mut cluster, 0, vec![ingress("i", &["s", "t", "u"])]);
    cluster.start_secret_reads();
    let steps = [
        (found("s", "1"), "2 of 3 referenced Secrets"),
        (forbidden("t"), "1 of 3 referenced Secrets"),
        (SecretRead { name: name("u"), outcome: ReadOutcome::Missing }, ""),
    ];
    assert!(cluster.pending_reason().unwrap().starts_with("3 of 3 referenced Secrets"));
    for (read, reason) in steps {
        cluster.release_ready(long_after);
        assert!(!cluster.has_update(), "before {reason}");
        handle_read(&mut cluster, read);
        assert!(cluster.pending_reason().unwrap().starts_with(reason), "{:?}", cluster.pending_reason());
    }
    assert!(cluster.has_update());
    assert!(cluster.update_due_at(&Debounce::default()) <= Instant::now());
    assert_eq!(contents(&cluster.take_update())[1], ("shop/t".to_owned(), SecretContent::Forbidden));
}
