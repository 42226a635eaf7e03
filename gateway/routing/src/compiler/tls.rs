//! `spec.tls`: which Secret an Ingress wants for which host.
//!
//! Not here: whether the Secret is there (`secret`), who wins a host (`hosts`), and certificates themselves.

use super::translate::Translation;
use crate::host::HostName;
use crate::object::IngressTls;
use crate::object::Name;
use crate::problem::Reason;

/// One host of one entry that names a Secret.
#[derive(Clone, Debug)]
pub(super) struct TlsClaim {
    pub(super) host: HostName,
    pub(super) secret: Name,
    /// Where the Ingress says so.
    pub(super) field: String,
}

/// An entry without a Secret asks for nothing: the default certificate serves its hosts anyway.
pub(super) fn translate(translation: &mut Translation, field: &str, entry: &IngressTls) {
    let secret = entry
        .secret
        .as_ref()
        .map(|name| Name { namespace: translation.name.namespace.clone(), name: name.clone() });
    if entry.hosts.is_empty() && secret.is_some() {
        let message = "a certificate for no host in particular is not served; name the hosts";
        translation.report(format!("{field}.hosts"), Reason::Unsupported, message);
    }
    for (index, text) in entry.hosts.iter().enumerate() {
        let field = format!("{field}.hosts[{index}]");
        let Some(host) = translation.host(field.clone(), text) else { continue };
        if let Some(secret) = &secret {
            translation.tls.push(TlsClaim { host, secret: secret.clone(), field });
        }
    }
    if let Some(secret) = secret {
        translation.secret_uses.push((format!("{field}.secretName"), secret));
    }
}
