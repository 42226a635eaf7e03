//! Where objects come from: every source turns what it reads into [`Update`]s, in one shape.
//!
//! Not here: what the objects mean (`routing`), and when they become visible (`reload`).

use std::fmt;

use routing::object::{Delta, Name, ObjectRef};

pub mod files;
pub mod kube;
pub mod location;

use location::{LocatedProblem, SourceMap};

/// Changes that belong together, as a source hands them to `reload`. The first one holds all that was there.
#[derive(Debug, Default)]
pub struct Update {
    /// What changed among the objects.
    pub objects: Delta,
    /// What changed among the Secrets' bytes; the same Secrets stand in `objects` without them.
    pub secrets: Vec<SecretChange>,
    /// Where objects stand, of those for which that changed; nothing: the object is gone, or stands nowhere.
    pub source_maps: Vec<(ObjectRef, Option<SourceMap>)>,
    /// The zone that the gateway runs in, when the source has found it out: in the first update, or in a later one if
    /// it could not be read at first.
    pub zone: Option<String>,
    /// All Problems of the source itself (files that cannot be read) if they changed since the last update.
    pub problems: Option<Vec<LocatedProblem>>,
}

impl Update {
    /// Whether nothing changed but where things stand: a comment that was added above them.
    pub fn is_location_only(&self) -> bool {
        self.objects.is_empty() && self.secrets.is_empty() && self.problems.is_none() && self.zone.is_none()
    }
}

/// A Secret that was added, changed or removed.
#[derive(Debug)]
pub struct SecretChange {
    /// Namespace and name.
    pub name: Name,
    /// The two files of a certificate, or nothing if the Secret is gone or lacks them.
    pub pair: Option<PemPair>,
}

/// A certificate chain and its private key, PEM as the Secret holds them. Prints redacted.
pub struct PemPair {
    /// `tls.crt`.
    pub chain: Vec<u8>,
    /// `tls.key`.
    pub key: Vec<u8>,
}

impl fmt::Debug for PemPair {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PemPair(redacted)")
    }
}
