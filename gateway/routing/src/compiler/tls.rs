//! `spec.tls`: which Secret an Ingress wants for which host.
//!
//! Not here: whether the Secret is there (`secret`), who wins a host (`hosts`), and certificates themselves.

use std::collections::BTreeSet;

use super::translate::Translation;
use crate::host::HostName;
use crate::object::IngressTls;
use crate::object::Name;
use crate::table::FieldPath;

/// One host of one entry that names a Secret.
#[derive(Clone, Debug)]
pub(super) struct CertificateRef {
    pub(super) host: HostName,
    pub(super) secret: Name,
    /// Where the Ingress says so.
    pub(super) field: FieldPath,
}

/// A field that names a Secret, and the hosts that its certificate is for, each with the field that says so.
#[derive(Debug)]
pub(super) struct SecretRef {
    pub(super) secret: Name,
    pub(super) field: FieldPath,
    pub(super) hosts: Vec<(HostName, FieldPath)>,
}

/// An entry without a Secret asks for the default certificate. One without hosts is for all hosts of the Ingress's
/// rules that no entry names a Secret for: a Secret never serves beyond its Ingress's own hosts, because any
/// namespace could take the certificate of all others that way.
pub(super) fn translate(translation: &mut Translation, entries: &[IngressTls]) {
    let mut without_hosts = Vec::new();
    for (index, entry) in (0..).zip(entries) {
        let secret = entry
            .secret
            .as_ref()
            .map(|name| Name { namespace: translation.name.namespace.clone(), name: name.clone() });
        let mut hosts = Vec::with_capacity(entry.hosts.len());
        for (host, text) in (0..).zip(&entry.hosts) {
            let field = FieldPath::TlsHost { entry: index, host };
            hosts.extend(translation.host(field, text).map(|host| (host, field)));
        }
        let field = FieldPath::SecretRef { entry: index };
        match secret {
            None => translation.default_certificate.extend(hosts.into_iter().map(|(host, _)| host)),
            Some(secret) if entry.hosts.is_empty() => without_hosts.push((field, secret)),
            Some(secret) => claim(translation, SecretRef { secret, field, hosts }),
        }
    }
    if without_hosts.is_empty() {
        return;
    }
    let named: BTreeSet<HostName> = translation.tls.iter().map(|claim| claim.host.clone()).collect();
    let mut own = translation.rule_hosts();
    own.retain(|host| !named.contains(host));
    for (field, secret) in without_hosts {
        let hosts = own.iter().map(|host| (host.clone(), field)).collect();
        claim(translation, SecretRef { secret, field, hosts });
    }
}

fn claim(translation: &mut Translation, from: SecretRef) {
    let claim = |(host, field): &(HostName, FieldPath)| CertificateRef {
        host: host.clone(),
        secret: from.secret.clone(),
        field: *field,
    };
    translation.tls.extend(from.hosts.iter().map(claim));
    translation.secret_uses.push(from);
}
