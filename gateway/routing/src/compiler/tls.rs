//! `spec.tls`: which Secret an Ingress wants for which host.
//!
//! Not here: whether the Secret is there (`secret`), who wins a host (`hosts`), and certificates themselves.

use std::collections::BTreeSet;

use super::translate::Translation;
use crate::host::HostName;
use crate::object::IngressTls;
use crate::object::Name;
use crate::problem::Reason;
use crate::table::Field;

/// One host of one entry that names a Secret.
#[derive(Clone, Debug)]
pub(super) struct TlsClaim {
    pub(super) host: HostName,
    pub(super) secret: Name,
    /// Where the Ingress says so.
    pub(super) field: Field,
}

/// An entry without hosts is about those that the Ingress's rules name. An entry without a Secret asks for nothing: the default certificate serves its hosts anyway.
pub(super) fn translate(translation: &mut Translation, index: u32, entry: &IngressTls) {
    let secret = entry
        .secret
        .as_ref()
        .map(|name| Name { namespace: translation.name.namespace.clone(), name: name.clone() });
    if let Some(secret) = &secret
        && entry.hosts.is_empty()
    {
        let named = translation.routes.iter().map(|route| route.host.clone());
        let named: BTreeSet<HostName> = named.filter(|host| *host != HostName::Any).collect();
        if named.is_empty() {
            let message = "neither this nor any rule names a host that it could be for; name the hosts";
            translation.report(format!("spec.tls[{index}].hosts"), Reason::Unsupported, message);
        }
        let field = Field::Tls { entry: index };
        let claim = |host| TlsClaim { host, secret: secret.clone(), field };
        translation.tls.extend(named.into_iter().map(claim));
    }
    for (host, text) in (0..).zip(&entry.hosts) {
        let field = Field::TlsHost { entry: index, host };
        let Some(host) = translation.host(field, text) else { continue };
        if let Some(secret) = &secret {
            translation.tls.push(TlsClaim { host, secret: secret.clone(), field });
        }
    }
    if let Some(secret) = secret {
        translation.secret_uses.push((Field::TlsSecret { entry: index }, secret));
    }
}
