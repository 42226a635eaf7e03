//! Inputs that all cases of a run share.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::args::BenchArgs;
use super::backend::Backend;
use super::peer::PeerKind;
use super::process::{Cores, PinnedProgram};
use super::tls::BenchCertificate;

/// Inputs of all cases.
pub(super) struct BenchContext<'a> {
    pub(super) args: &'a BenchArgs,
    pub(super) cores: Cores,
    /// Folder for the files of all processes.
    pub(super) dir: &'a Path,
    pub(super) backend: &'a Backend,
    /// nginx on the load's core, for backends.
    pub(super) nginx: PinnedProgram<'a>,
    pub(super) certificate: &'a BenchCertificate,
    /// The measured peers and their programs.
    pub(super) peers: &'a BTreeMap<PeerKind, PathBuf>,
}

impl<'a> BenchContext<'a> {
    /// Returns the program of a peer on the proxy's core, or `None` if it is not measured.
    pub(super) fn program(&self, kind: PeerKind) -> Option<PinnedProgram<'a>> {
        self.peers.get(&kind).map(|path| PinnedProgram { path, core: self.cores.proxy })
    }
}
