//! A compiled module.

use std::fmt;
use std::sync::Arc;

use wasmtime::InstancePre;
use wasmtime::Linker;

use crate::engine::Engine;
use crate::error::ModuleError;
use crate::host::HostState;
use crate::inspect::Import;
use crate::inspect::ModuleInfo;
use crate::inspect::inspect_imports;

/// A compiled module. Clones share the code.
#[derive(Clone)]
pub struct Module(Arc<ModuleState>);

struct ModuleState {
    engine: Engine,
    pre: InstancePre<HostState>,
    info: ModuleInfo,
}

impl Engine {
    /// Validates and compiles a module. Blocks for up to a few seconds.
    ///
    /// # Errors
    /// [`ModuleError`].
    pub fn compile(&self, bytes: &[u8]) -> Result<Module, ModuleError> {
        let inspection = inspect_imports(bytes)?;
        let pre = compile_and_link(self, bytes, &inspection.imports)
            .map_err(|error| ModuleError::Compile(format!("{error:#}")))?;
        Ok(Module(Arc::new(ModuleState { engine: self.clone(), pre, info: inspection.info })))
    }
}

impl Module {
    /// Returns what is known of the module.
    #[must_use]
    pub fn info(&self) -> &ModuleInfo {
        &self.0.info
    }

    pub(crate) fn engine(&self) -> &Engine {
        &self.0.engine
    }

    pub(crate) fn pre(&self) -> &InstancePre<HostState> {
        &self.0.pre
    }
}

impl fmt::Debug for Module {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Module").field(self.info()).finish()
    }
}

fn compile_and_link(
    engine: &Engine,
    bytes: &[u8],
    imports: &[Import],
) -> wasmtime::Result<InstancePre<HostState>> {
    let module = wasmtime::Module::from_binary(engine.runtime(), bytes)?;
    let mut linker = Linker::new(engine.runtime());
    // A module may import a function twice.
    linker.allow_shadowing(true);
    for import in imports {
        import.function.link(&mut linker, import.module, import.params)?;
    }
    linker.instantiate_pre(&module)
}
