//! Sources of Kubernetes objects: an API server or a folder of YAML. Each turns what it reads into [`Update`]s.
//!
//! Not here: what the objects mean (`routing`), and when they take effect (`reload`).

use std::collections::BTreeSet;
use std::fmt;

use routing::object::{Delta, Name, ObjectRef};

pub mod files;
pub mod identity;
pub mod kube;
pub mod location;

use identity::Identity;
use location::{LocatedProblem, SourceMap};

/// A set of changes that a source sends to `reload` together. The first one contains all objects.
#[derive(Debug, Default)]
pub struct Update {
    /// Applied and deleted objects.
    pub objects: Delta,
    /// Changed key pairs of Secrets. `objects` contains the same Secrets without their bytes.
    pub secrets: Vec<SecretChange>,
    /// Changed locations of objects; `None` if the object was deleted or is not in a file.
    pub source_maps: Vec<(ObjectRef, Option<SourceMap>)>,
    /// All Secrets that other controllers make from objects of the source, if they changed. Only folders know them.
    pub promised_secrets: Option<BTreeSet<Name>>,
    /// Changed identities of objects in a cluster; `None` if the object was deleted.
    pub identities: Vec<(ObjectRef, Option<Identity>)>,
    /// The zone of the gateway's Node, if it became known or changed. Usually in the first update.
    pub zone: Option<String>,
    /// All Problems of the source itself, such as unreadable files, if they changed.
    pub problems: Option<Vec<LocatedProblem>>,
}

impl Update {
    /// Returns true if nothing but locations changed, as after a new comment above the objects.
    pub fn is_location_only(&self) -> bool {
        self.objects.is_empty()
            && self.secrets.is_empty()
            && self.identities.is_empty()
            && self.problems.is_none()
            && self.zone.is_none()
    }
}

/// A change of a Secret's key pair.
#[derive(Debug)]
pub struct SecretChange {
    /// The Secret.
    pub name: Name,
    /// The new key pair; `None` if the Secret was deleted or has no complete pair.
    pub pair: Option<PemPair>,
}

/// A certificate chain and its private key in PEM. `Debug` redacts both.
#[derive(Clone, PartialEq, Eq)]
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
