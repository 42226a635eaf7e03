//! Validity periods of certificates, checked by a clock that the test moves.

use std::time::{Duration, SystemTime};

use rcgen::{CertificateParams, KeyPair};
use routing::object::{Change, Delta, FallbackCertificate, Name, Object, Secret, SecretContent, Validity};
use routing::{Config, Reason};

use super::super::Reload;
use super::SecretStore;
use crate::control::source::{PemPair, SecretChange, Update};
use crate::plan::Planner;

fn at(seconds: u64) -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(seconds)
}

fn pair(host: &str, first: u64, last: u64) -> PemPair {
    let epoch = rcgen::date_time_ymd(1970, 1, 1);
    let mut params = CertificateParams::new(vec![host.to_owned()]).unwrap();
    params.not_before = epoch + Duration::from_secs(first);
    params.not_after = epoch + Duration::from_secs(last);
    let key = KeyPair::generate().unwrap();
    let certificate = params.self_signed(&key).unwrap();
    PemPair { chain: certificate.pem().into_bytes(), key: key.serialize_pem().into_bytes() }
}

fn broken() -> PemPair {
    PemPair { chain: b"no PEM".to_vec(), key: Vec::new() }
}

fn name() -> Name {
    Name::new("shop", "cert")
}

fn change(pair: PemPair) -> Vec<SecretChange> {
    vec![SecretChange { name: name(), pair: Some(pair) }]
}

fn secrets() -> SecretStore {
    SecretStore::new(rustls::crypto::aws_lc_rs::default_provider().into()).unwrap()
}

/// Returns the content of the only Secret.
fn content(objects: &Delta) -> &SecretContent {
    match objects.as_slice() {
        [Change::Apply(Object::Secret(Secret { content, .. }))] => content,
        other => panic!("{other:?}"),
    }
}

fn validity(objects: &Delta) -> Validity {
    match content(objects) {
        SecretContent::Certificate { validity, .. } => *validity,
        other => panic!("{other:?}"),
    }
}

#[test]
fn validity_period_includes_its_first_and_last_second() {
    let mut secrets = secrets();
    let mut objects = Delta::default();
    secrets.apply(change(pair("a.example", 1000, 2000)), &mut objects, at(999));
    assert_eq!(validity(&objects), Validity::NotYet { from: 1000 });
    assert_eq!(secrets.next_check(), Some(at(1000)));
    assert_eq!(secrets.check_dates(at(999)), []);
    assert_eq!(validity(&secrets.check_dates(at(1000))), Validity::Valid);
    assert_eq!(secrets.next_check(), Some(at(2001)));
    assert_eq!(secrets.check_dates(at(2000)), []);
    assert_eq!(validity(&secrets.check_dates(at(2001))), Validity::Expired { at: 2000 });
    assert_eq!(secrets.next_check(), None);
}

#[test]
fn clock_jump_over_the_period_expires_the_certificate() {
    let mut secrets = secrets();
    secrets.apply(change(pair("a.example", 1000, 2000)), &mut Delta::default(), at(0));
    assert_eq!(validity(&secrets.check_dates(at(9999))), Validity::Expired { at: 2000 });
    assert_eq!(secrets.next_check(), None);
}

#[test]
fn renewed_certificate_replaces_the_old_dates() {
    let mut secrets = secrets();
    secrets.apply(change(pair("a.example", 1000, 2000)), &mut Delta::default(), at(1500));
    let mut objects = Delta::default();
    secrets.apply(change(pair("a.example", 1000, 3000)), &mut objects, at(1500));
    assert_eq!((validity(&objects), secrets.next_check()), (Validity::Valid, Some(at(3001))));
    secrets.apply(vec![SecretChange { name: name(), pair: None }], &mut Delta::default(), at(1500));
    assert_eq!((secrets.next_check(), secrets.certificates().get(&name()).is_none()), (None, true));
}

#[test]
fn malformed_secret_keeps_its_last_good_certificate() {
    let mut secrets = secrets();
    let fallback = |secrets: &mut SecretStore| {
        let mut objects = Delta::default();
        secrets.apply(change(broken()), &mut objects, at(1500));
        match content(&objects) {
            SecretContent::Malformed { fallback, .. } => *fallback,
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(fallback(&mut secrets), FallbackCertificate::Default);
    secrets.apply(change(pair("a.example", 1000, 2000)), &mut Delta::default(), at(1500));
    assert_eq!(fallback(&mut secrets), FallbackCertificate::LastGood);
    assert!(secrets.certificates().get(&name()).is_some());
    assert_eq!(secrets.check_dates(at(9999)), [], "it is reported as malformed, not as expired");
    secrets.apply(vec![SecretChange { name: name(), pair: None }], &mut Delta::default(), at(1500));
    assert_eq!(fallback(&mut secrets), FallbackCertificate::Default);
}

#[test]
fn secret_without_new_bytes_keeps_its_content() {
    let mut secrets = secrets();
    secrets.apply(change(pair("a.example", 1000, 2000)), &mut Delta::default(), at(1500));
    let unread = Secret { name: name(), content: SecretContent::Unchecked };
    let mut objects = vec![Change::Apply(Object::Secret(unread))];
    secrets.apply(Vec::new(), &mut objects, at(1500));
    assert_eq!(validity(&objects), Validity::Valid);
}

#[test]
fn expiry_of_a_certificate_is_a_problem_of_the_ingress() {
    let provider = rustls::crypto::aws_lc_rs::default_provider().into();
    let mut reload = Reload::new(provider, Config::default(), Planner::default()).unwrap();
    let problems = reload.problems();
    let class = routing::object::IngressClass {
        name: Name::new("", "gateway"),
        controller: api::CONTROLLER.into(),
        ..Default::default()
    };
    let ingress = routing::object::Ingress {
        name: Name::new("shop", "web"),
        class: Some("gateway".into()),
        tls: vec![routing::object::IngressTls {
            hosts: vec!["a.example".into()],
            secret: Some("cert".into()),
        }]
        .into(),
        rules: vec![routing::object::IngressRule::default()].into(),
        ..Default::default()
    };
    let objects = vec![
        Change::Apply(Object::IngressClass(class)),
        Change::Apply(Object::Ingress(ingress)),
        Change::Apply(Object::Secret(Secret { name: name(), content: SecretContent::Unchecked })),
    ];
    let secrets = change(pair("a.example", 1000, 2000));
    reload.apply(Update { objects, secrets, ..Update::default() }, at(1500));
    assert_eq!(problems.all(), []);
    let before = *reload.generation().borrow();
    reload.check_certificate_dates(at(1999));
    assert_eq!(*reload.generation().borrow(), before, "no date has passed");
    reload.check_certificate_dates(at(2001));
    let found: Vec<_> = problems.all().into_iter().map(|problem| (problem.field, problem.reason)).collect();
    assert_eq!(found, [("spec.tls[0].secretName".to_owned(), Reason::CertificateExpired)]);
}

#[test]
fn expired_certificate_gives_way_to_a_valid_one() {
    let provider = rustls::crypto::aws_lc_rs::default_provider().into();
    let mut reload = Reload::new(provider, Config::default(), Planner::default()).unwrap();
    let class = routing::object::IngressClass {
        name: Name::new("", "gateway"),
        controller: api::CONTROLLER.into(),
        ..Default::default()
    };
    let ingress = |name: &str, secret: &str| {
        Change::Apply(Object::Ingress(routing::object::Ingress {
            name: Name::new("shop", name),
            class: Some("gateway".into()),
            rules: vec![routing::object::IngressRule { host: Some("a.example".into()), paths: Vec::new() }]
                .into(),
            tls: vec![routing::object::IngressTls {
                hosts: vec!["a.example".into()],
                secret: Some(secret.into()),
            }]
            .into(),
            ..Default::default()
        }))
    };
    let secret = |name: &str| {
        let (name, content) = (Name::new("shop", name), SecretContent::Unchecked);
        Change::Apply(Object::Secret(Secret { name, content }))
    };
    let objects = vec![
        Change::Apply(Object::IngressClass(class)),
        ingress("a", "old"),
        ingress("b", "new"),
        secret("old"),
        secret("new"),
    ];
    let change = |name: &str, pair| SecretChange { name: Name::new("shop", name), pair: Some(pair) };
    let secrets =
        vec![change("old", pair("a.example", 1000, 2000)), change("new", pair("a.example", 1000, 9000))];
    reload.apply(Update { objects, secrets, ..Update::default() }, at(1500));
    let chosen = |reload: &Reload| {
        let live = reload.live().load_full();
        let (secret, _) = live.certificates.choose(&live.table, Some("a.example"));
        secret.map(|secret| secret.name.to_string())
    };
    assert_eq!(chosen(&reload).as_deref(), Some("old"), "the first of two that are valid");
    reload.check_certificate_dates(at(2001));
    assert_eq!(chosen(&reload).as_deref(), Some("new"), "the first has expired");
    reload.check_certificate_dates(at(9001));
    assert_eq!(chosen(&reload).as_deref(), Some("old"), "an expired one rather than none");
}
