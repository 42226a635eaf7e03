//! Translates `spec.tls`: the Secret of each host's certificate.
//!
//! Not here: the contents of Secrets (`secret_registry`), and conflicts between Ingresses (`host_index`).

use std::collections::BTreeSet;

use super::translation::CertificateRef;
use super::translation::SecretRef;
use super::translation::TlsHost;
use super::translation::Translation;
use crate::host::HostName;
use crate::object::Ingress;
use crate::object::Name;
use crate::table::FieldPath;

/// An entry of `spec.tls` that lists no hosts.
struct HostlessEntry {
    secret: Name,
    field: FieldPath,
}

/// Adds the certificates of `spec.tls` to a translation that has its rules.
///
/// An entry without a Secret asks for the default certificate. An entry without hosts covers the hosts of the
/// Ingress's rules that no other entry names a Secret for. A Secret never serves other hosts: otherwise a namespace
/// could replace the certificates of all others.
pub(super) fn translate(translation: &mut Translation, ingress: &Ingress) {
    let mut hostless = Vec::new();
    for (index, entry) in (0..).zip(&*ingress.tls) {
        let mut hosts = Vec::with_capacity(entry.hosts.len());
        for (host, text) in (0..).zip(&entry.hosts) {
            let field = FieldPath::TlsHost { entry: index, host };
            hosts.extend(translation.parse_host(field, text).map(|host| TlsHost { host, field }));
        }
        let Some(name) = &entry.secret else {
            translation.default_certificate_hosts.extend(hosts.into_iter().map(|tls| tls.host));
            continue;
        };
        let secret = Name { namespace: translation.name.namespace.clone(), name: name.clone() };
        let field = FieldPath::TlsSecret { entry: index };
        match entry.hosts.is_empty() {
            true => hostless.push(HostlessEntry { secret, field }),
            false => add_secret(translation, SecretRef { secret, field, hosts }),
        }
    }
    if hostless.is_empty() {
        return;
    }
    let hosts = hosts_without_secret(translation, ingress);
    for HostlessEntry { secret, field } in hostless {
        let hosts = hosts.iter().map(|host| TlsHost { host: host.clone(), field }).collect();
        add_secret(translation, SecretRef { secret, field, hosts });
    }
}

/// Returns the hosts of the rules that no entry names a Secret for. For an Ingress without rules that is the host of
/// all requests that no rule names.
fn hosts_without_secret(translation: &Translation, ingress: &Ingress) -> BTreeSet<HostName> {
    let mut hosts = match ingress.rules.is_empty() {
        true => BTreeSet::from([HostName::Any]),
        false => translation.rule_hosts(),
    };
    for certificate in &translation.certificates {
        hosts.remove(&certificate.host);
    }
    hosts
}

fn add_secret(translation: &mut Translation, secret: SecretRef) {
    let certificate = |tls: &TlsHost| CertificateRef {
        host: tls.host.clone(),
        secret: secret.secret.clone(),
        field: tls.field,
    };
    translation.certificates.extend(secret.hosts.iter().map(certificate));
    translation.secrets.push(secret);
}
