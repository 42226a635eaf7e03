//! Finds the hosts for which two folders serve different certificates.
//!
//! Not here: the choice of a certificate (`live::certificates`).

use std::collections::BTreeSet;
use std::fmt::{self, Display, Formatter};

use routing::HostName;
use serde::Serialize;

use crate::live::Live;

/// A host whose clients get another certificate.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct CertificateChange {
    /// The host, as a rule or `spec.tls` has it.
    pub host: String,
    /// The Secret with the other folder. `None`: the gateway's own certificate.
    pub before: Option<String>,
    /// The Secret with this folder.
    pub now: Option<String>,
    /// Whether it is one Secret with another certificate.
    pub is_renewed: bool,
}

impl Display for CertificateChange {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let shown = |secret: &Option<String>| match secret {
            Some(secret) => format!("Secret {secret}"),
            None => "the gateway's own certificate".to_owned(),
        };
        let renewed = if self.is_renewed { ", with another certificate" } else { "" };
        let (before, now) = (shown(&self.before), shown(&self.now));
        writeln!(f, "certificate of {}\n  before: {before}\n  now:    {now}{renewed}", self.host)
    }
}

/// Compares the certificates of all hosts. Sorted by host.
pub fn changes(before: &Live, now: &Live) -> Vec<CertificateChange> {
    let tables = [&before.table, &now.table];
    let names: BTreeSet<HostName> =
        tables.iter().flat_map(|table| table.hosts()).map(|host| host.name().clone()).collect();
    names.iter().filter_map(|name| change_of(name, before, now)).collect()
}

fn change_of(name: &HostName, before: &Live, now: &Live) -> Option<CertificateChange> {
    let host = match name {
        HostName::Exact(name) => name.to_string(),
        HostName::Wildcard(parent) => format!("sample.{parent}"),
        HostName::Any => return None,
    };
    let choose = |live: &Live| {
        let (secret, key) = live.certificates.choose(&live.table, Some(&host));
        (secret.map(ToString::to_string), key.cert.first().map(|certificate| certificate.to_vec()))
    };
    let ((before, old), (now, new)) = (choose(before), choose(now));
    // The gateway's own certificate is generated at each start.
    let is_renewed = before == now && before.is_some() && old != new;
    (before != now || is_renewed).then(|| CertificateChange {
        host: name.to_string(),
        before,
        now,
        is_renewed,
    })
}
