//! The compiler and runtime of a process, and its configuration.

use std::fmt;
use std::num::NonZeroUsize;
use std::path::Path;
use std::sync::Arc;

use wasmparser::WasmFeatures;
use wasmtime::Cache;
use wasmtime::CacheConfig;
use wasmtime::Config;
use wasmtime::WasmBacktraceDetails;

use crate::error::EngineError;
use crate::inspect;
use crate::ticker::Ticker;

/// Bytes of native stack that a guest may use. Deeper recursion is a trap.
pub(crate) const MAX_STACK_BYTES: usize = 512 << 10;

/// Maximum frames of a trap report.
pub(crate) const MAX_FRAMES: usize = 20;

/// Compiles modules. One per process. Clones share everything.
#[derive(Clone)]
pub struct Engine(Arc<EngineState>);

struct EngineState {
    runtime: wasmtime::Engine,
    ticker: Ticker,
}

impl Engine {
    /// Creates an engine and its ticker thread. `cache` is an absolute path of a folder for compiled code. The process
    /// trusts the code in it, so only this process's user may write there.
    ///
    /// # Errors
    /// [`EngineError`].
    pub fn new(cache: Option<&Path>) -> Result<Self, EngineError> {
        let mut config = Config::new();
        config
            .epoch_interruption(true)
            .wasm_backtrace_max_frames(NonZeroUsize::new(MAX_FRAMES))
            .wasm_backtrace_details(WasmBacktraceDetails::Enable)
            .max_wasm_stack(MAX_STACK_BYTES)
            .memory_init_cow(true)
            .wasm_features(WasmFeatures::all().difference(inspect::FEATURES), false)
            .wasm_features(inspect::FEATURES, true);
        if let Some(folder) = cache {
            let mut settings = CacheConfig::new();
            settings.with_directory(folder);
            let cache = Cache::new(settings).map_err(|error| EngineError::Cache(error.to_string()))?;
            config.cache(Some(cache));
        }
        let runtime =
            wasmtime::Engine::new(&config).map_err(|error| EngineError::Configure(error.to_string()))?;
        let ticker = Ticker::start(runtime.weak()).map_err(|error| EngineError::Thread(error.to_string()))?;
        Ok(Self(Arc::new(EngineState { runtime, ticker })))
    }

    pub(crate) fn runtime(&self) -> &wasmtime::Engine {
        &self.0.runtime
    }

    pub(crate) fn ticker(&self) -> &Ticker {
        &self.0.ticker
    }
}

impl fmt::Debug for Engine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Engine")
    }
}
