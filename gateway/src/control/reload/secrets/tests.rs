//! Dates of certificates, judged by a clock that the test moves.

use std::time::{Duration, SystemTime};

use rcgen::{CertificateParams, KeyPair};
use routing::object::{Change, Delta, FallbackCertificate, Name, Object, Secret, SecretContent, Validity};
use routing::{Config, Reason};

use super::super::Reload;
use super::Secrets;
use crate::control::source::{PemPair, SecretChange, Update};

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

fn secrets() -> Secrets {
    Secrets::new(rustls::crypto::aws_lc_rs::default_provider().into()).unwrap()
}

/// What the objects say about the one Secret.
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
fn dates_pass_without_any_change_and_both_ends_belong_to_the_period() {
    let mut secrets = secrets();
    let mut objects = Delta::default();
    secrets.take(change(pair("a.example", 1000, 2000)), &mut objects, at(999));
    assert_eq!(validity(&objects), Validity::NotYet { from: 1000 });
    assert_eq!(secrets.due(), Some(at(1000)));
    assert_eq!(secrets.pass(at(999)), []);
    assert_eq!(validity(&secrets.pass(at(1000))), Validity::Valid);
    assert_eq!(secrets.due(), Some(at(2001)));
    assert_eq!(secrets.pass(at(2000)), []);
    assert_eq!(validity(&secrets.pass(at(2001))), Validity::Expired { at: 2000 });
    assert_eq!(secrets.due(), None);
}

#[test]
fn a_clock_that_jumps_over_both_dates_is_believed() {
    let mut secrets = secrets();
    secrets.take(change(pair("a.example", 1000, 2000)), &mut Delta::default(), at(0));
    assert_eq!(validity(&secrets.pass(at(9999))), Validity::Expired { at: 2000 });
    assert_eq!(secrets.due(), None);
}

#[test]
fn a_renewed_certificate_has_its_own_dates_only() {
    let mut secrets = secrets();
    secrets.take(change(pair("a.example", 1000, 2000)), &mut Delta::default(), at(1500));
    let mut objects = Delta::default();
    secrets.take(change(pair("a.example", 1000, 3000)), &mut objects, at(1500));
    assert_eq!((validity(&objects), secrets.due()), (Validity::Valid, Some(at(3001))));
    secrets.take(vec![SecretChange { name: name(), pair: None }], &mut Delta::default(), at(1500));
    assert_eq!((secrets.due(), secrets.certificates().get(&name()).is_none()), (None, true));
}

#[test]
fn a_malformed_secret_keeps_its_last_good_certificate_and_a_deleted_one_does_not() {
    let mut secrets = secrets();
    let fallback = |secrets: &mut Secrets| {
        let mut objects = Delta::default();
        secrets.take(change(broken()), &mut objects, at(1500));
        match content(&objects) {
            SecretContent::Malformed { fallback, .. } => *fallback,
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(fallback(&mut secrets), FallbackCertificate::Default);
    secrets.take(change(pair("a.example", 1000, 2000)), &mut Delta::default(), at(1500));
    assert_eq!(fallback(&mut secrets), FallbackCertificate::LastGood);
    assert!(secrets.certificates().get(&name()).is_some());
    assert_eq!(secrets.pass(at(9999)), [], "it is told to be malformed, and not to be expired beside that");
    secrets.take(vec![SecretChange { name: name(), pair: None }], &mut Delta::default(), at(1500));
    assert_eq!(fallback(&mut secrets), FallbackCertificate::Default);
}

#[test]
fn an_object_that_comes_without_new_bytes_says_what_is_known_of_it() {
    let mut secrets = secrets();
    secrets.take(change(pair("a.example", 1000, 2000)), &mut Delta::default(), at(1500));
    let unread = Secret { name: name(), content: SecretContent::Unchecked };
    let mut objects = vec![Change::Apply(Object::Secret(unread))];
    secrets.take(Vec::new(), &mut objects, at(1500));
    assert_eq!(validity(&objects), Validity::Valid);
}

#[test]
fn an_ingress_is_told_when_the_date_of_its_certificate_passes() {
    let provider = rustls::crypto::aws_lc_rs::default_provider().into();
    let mut reload = Reload::new(provider, Config::default()).unwrap();
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
    reload.pass(at(1999));
    assert_eq!(*reload.generation().borrow(), before, "nothing has passed");
    reload.pass(at(2001));
    let told: Vec<_> = problems.all().into_iter().map(|problem| (problem.field, problem.reason)).collect();
    assert_eq!(told, [("spec.tls[0].secretName".to_owned(), Reason::CertificateExpired)]);
}
