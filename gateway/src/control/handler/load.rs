//! From the source of a module to a command.

use plugin_host::{Engine, HandlerCommand};
use routing::handler::HandlerDefinition;
use routing::table::PluginSource;
use sha2::{Digest as _, Sha256};

use crate::control::module_file;

/// Reads and compiles the module of a handler. Blocks for up to a few seconds.
///
/// # Errors
/// Why the module is refused, for the author of the IngressClassConfig.
pub fn load(engine: &Engine, definition: &HandlerDefinition) -> Result<HandlerCommand, String> {
    let bytes = module_file::read(&definition.source)?;
    let digest: [u8; 32] = Sha256::digest(&bytes).into();
    if definition.sha256.is_some_and(|expected| expected != digest) {
        return Err(format!(
            "the module's SHA-256 is {}, not the one in spec.handler.sha256: correct one of the two",
            module_file::hex(&digest)
        ));
    }
    engine.compile_command(&bytes).map_err(|error| error.to_string())
}

/// Does the module of this source change without a change of the object?
pub(super) fn is_polled(definition: &HandlerDefinition) -> bool {
    matches!(definition.source, PluginSource::File { .. })
}
