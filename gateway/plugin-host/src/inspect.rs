//! Checks a module without compiling it: features, ABI, imports and exports.

use std::sync::Arc;

use sha2::Digest;
use sha2::Sha256;
use wasmparser::ExternalKind;
use wasmparser::Parser;
use wasmparser::Payload;
use wasmparser::ValType;
use wasmparser::Validator;
use wasmparser::WasmFeatures;
use wasmparser::types::EntityType;
use wasmparser::types::Types;
use wasmparser::types::TypesRef;

use crate::abi::Abi;
use crate::callback::ALLOCATORS;
use crate::callback::Arity;
use crate::callback::CALLBACKS;
use crate::callback::Callbacks;
use crate::callback::INITIALIZE;
use crate::callback::MEMORY;
use crate::callback::START;
use crate::error::ModuleError;
use crate::host;
use crate::host::HostFunction;
use crate::signature::Signature;

/// Maximum bytes of a module. Plugins of today have at most 6 MiB; compiling takes about a second for each.
pub const MAX_MODULE_BYTES: usize = 10 << 20;

/// What a module may use of WebAssembly: version 2.0, and the proposals that compilers of guests use by default.
pub(crate) const FEATURES: WasmFeatures = WasmFeatures::WASM2
    .union(WasmFeatures::BULK_MEMORY_OPT)
    .union(WasmFeatures::CALL_INDIRECT_OVERLONG)
    .union(WasmFeatures::EXTENDED_CONST)
    .union(WasmFeatures::RELAXED_SIMD)
    .union(WasmFeatures::TAIL_CALL)
    .difference(WasmFeatures::GC_TYPES);

/// First bytes of an ELF file, which compiled modules are.
const ELF: &[u8] = b"\x7fELF";

/// Begin of the names of custom sections with compiled code, as Envoy's runtimes look for them.
const PRECOMPILED: &str = "precompiled_";

/// Name of the custom section with the JSON Schema of a plugin's configuration.
pub const CONFIG_SCHEMA_SECTION: &str = "wasm-gateway.config-schema";

/// The exports that name the ABI.
pub(crate) const MARKERS: &[(Abi, &str)] = &[
    (Abi::V0_1_0, "proxy_abi_version_0_1_0"),
    (Abi::V0_2_0, "proxy_abi_version_0_2_0"),
    (Abi::V0_2_1, "proxy_abi_version_0_2_1"),
    (Abi::V0_2_100, "proxy_abi_version_0_2_100"),
];

/// What is known of a module without running it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ModuleInfo {
    /// Version of the ABI.
    pub abi: Abi,
    /// Callbacks that exist.
    pub callbacks: Callbacks,
    /// Bytes of the module.
    pub size: usize,
    /// SHA-256 of the module.
    pub digest: [u8; 32],
    /// Content of the custom section [`CONFIG_SCHEMA_SECTION`], which this crate does not read.
    pub config_schema: Option<Arc<[u8]>>,
}

/// An import, with the host function that provides it.
pub(crate) struct Import {
    pub(crate) module: &'static str,
    pub(crate) function: &'static HostFunction,
    pub(crate) params: usize,
}

/// The result of a check.
pub(crate) struct Inspection {
    pub(crate) info: ModuleInfo,
    pub(crate) imports: Vec<Import>,
}

/// Checks a module without compiling it.
///
/// # Errors
/// [`ModuleError`], except for [`ModuleError::Compile`].
pub fn inspect(bytes: &[u8]) -> Result<ModuleInfo, ModuleError> {
    inspect_imports(bytes).map(|inspection| inspection.info)
}

/// Checks a module and returns its imports too.
pub(crate) fn inspect_imports(bytes: &[u8]) -> Result<Inspection, ModuleError> {
    let types = validate(bytes)?;
    let types = types.as_ref();
    let mut imports = Vec::new();
    let mut exports = Exports::default();
    let mut config_schema = None;
    for payload in Parser::new(0).parse_all(bytes) {
        match payload.map_err(malformed)? {
            Payload::ImportSection(section) => {
                for import in section.into_imports() {
                    let import = import.map_err(malformed)?;
                    imports.push(resolve(types, import)?);
                }
            }
            Payload::ExportSection(section) => {
                for export in section {
                    exports.insert(types, export.map_err(malformed)?)?;
                }
            }
            Payload::CustomSection(section) if section.name().starts_with(PRECOMPILED) => {
                return Err(ModuleError::Precompiled);
            }
            Payload::CustomSection(section) if section.name() == CONFIG_SCHEMA_SECTION => {
                let earlier: Option<Arc<[u8]>> = config_schema.replace(section.data().into());
                earlier.map_or(Ok(()), |_| Err(ModuleError::SeveralSchemas))?;
            }
            _ => {}
        }
    }
    let (abi, callbacks) = exports.check()?;
    let digest = Sha256::digest(bytes).into();
    let info = ModuleInfo { abi, callbacks, size: bytes.len(), digest, config_schema };
    Ok(Inspection { info, imports })
}

/// Checks that bytes are a core module with the features that the host takes. Returns its types.
pub(crate) fn validate(bytes: &[u8]) -> Result<Types, ModuleError> {
    validate_features(bytes, FEATURES)
}

/// Checks that bytes are a core module with some features. Returns its types.
pub(crate) fn validate_features(bytes: &[u8], features: WasmFeatures) -> Result<Types, ModuleError> {
    if bytes.len() > MAX_MODULE_BYTES {
        return Err(ModuleError::TooLarge(bytes.len()));
    }
    if bytes.starts_with(ELF) {
        return Err(ModuleError::Precompiled);
    }
    Validator::new_with_features(features).validate_all(bytes).map_err(malformed)
}

pub(crate) fn malformed(error: wasmparser::Error) -> ModuleError {
    ModuleError::Malformed(error.to_string())
}

/// Finds the host function of an import.
fn resolve(types: TypesRef<'_>, import: wasmparser::Import<'_>) -> Result<Import, ModuleError> {
    let name = format!("{}.{}", import.module, import.name);
    let Some(signature) = signature(types, types.entity_type_from_import(&import)) else {
        return Err(ModuleError::Import(format!("{name}, which is no function,")));
    };
    match host::find(import.module, import.name, signature) {
        Some((module, function)) => Ok(Import { module, function, params: signature.params.len() }),
        None => Err(ModuleError::Import(format!("{name} {signature}"))),
    }
}

/// Returns the type of a function. Returns `None` for anything else.
pub(crate) fn signature(types: TypesRef<'_>, entity: Option<EntityType>) -> Option<Signature<'_>> {
    let Some(EntityType::Func(id)) = entity else { return None };
    let ty = types.get(id)?.unwrap_func();
    Some(Signature { params: ty.params(), results: ty.results() })
}

/// The exports that matter to the host, as they are found.
#[derive(Default)]
struct Exports {
    abi: Option<Abi>,
    callbacks: Callbacks,
    has_memory: bool,
    has_allocator: bool,
}

impl Exports {
    fn insert(&mut self, types: TypesRef<'_>, export: wasmparser::Export<'_>) -> Result<(), ModuleError> {
        let name = export.name;
        if name == MEMORY {
            self.has_memory = export.kind == ExternalKind::Memory;
            return Ok(());
        }
        let Some(signature) = signature(types, types.entity_type_from_export(&export)) else {
            return Ok(());
        };
        if let Some((abi, _)) = MARKERS.iter().find(|(_, marker)| *marker == name) {
            // A module of several versions is used as the newest.
            self.abi = Some(self.abi.map_or(*abi, |other| other.max(*abi)));
        } else if ALLOCATORS.contains(&name) {
            check_arity(name, signature, &[(1, 1)])?;
            self.has_allocator = true;
        } else if name == INITIALIZE || name == START {
            check_arity(name, signature, &[(0, 0)])?;
        } else if let Some((callback, _, arities)) = CALLBACKS.iter().find(|(_, known, _)| *known == name) {
            check_arity(name, signature, arities)?;
            self.callbacks.insert(*callback);
        }
        Ok(())
    }

    fn check(self) -> Result<(Abi, Callbacks), ModuleError> {
        let abi = self.abi.ok_or(ModuleError::NoAbi)?;
        if !self.has_memory {
            return Err(ModuleError::Export("memory is missing".to_owned()));
        }
        if !self.has_allocator {
            return Err(ModuleError::Export("proxy_on_memory_allocate is missing".to_owned()));
        }
        Ok((abi, self.callbacks))
    }
}

fn check_arity(name: &str, signature: Signature<'_>, arities: &[Arity]) -> Result<(), ModuleError> {
    let is_i32 = signature.params.iter().chain(signature.results).all(|ty| *ty == ValType::I32);
    if is_i32 && arities.contains(&(signature.params.len(), signature.results.len())) {
        return Ok(());
    }
    Err(ModuleError::Export(format!("{name} has the type {signature}, which is not that of the ABI")))
}
