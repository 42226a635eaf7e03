//! What a module consists of, for its author: also of modules that the host refuses.

use std::collections::BTreeSet;
use std::sync::Arc;

use wasmparser::Parser;
use wasmparser::Payload;
use wasmparser::types::EntityType;
use wasmparser::types::TypesRef;

use crate::abi::Abi;
use crate::callback::CALLBACKS;
use crate::callback::Callbacks;
use crate::callback::START;
use crate::error::ModuleError;
use crate::host;
use crate::inspect::CONFIG_SCHEMA_SECTION;
use crate::inspect::MARKERS;
use crate::inspect::inspect;
use crate::inspect::malformed;
use crate::inspect::signature;
use crate::inspect::validate;

/// What a module consists of.
#[derive(Clone, Debug)]
pub struct ModuleReport {
    /// Versions of the ABI that the module has a marker of.
    pub abis: BTreeSet<Abi>,
    /// Callbacks that exist, whatever their types are.
    pub callbacks: Callbacks,
    /// All imports.
    pub imports: Vec<ModuleImport>,
    /// All exports.
    pub exports: Vec<ModuleExport>,
    /// Bytes of the module.
    pub size: usize,
    /// Bytes of the code section.
    pub code_bytes: usize,
    /// Bytes of the data section.
    pub data_bytes: usize,
    /// All custom sections.
    pub custom_sections: Vec<CustomSection>,
    /// Content of the custom section [`CONFIG_SCHEMA_SECTION`].
    pub config_schema: Option<Arc<[u8]>>,
    /// Why this host refuses the module. `None`: it takes it.
    pub refusal: Option<ModuleError>,
}

/// An import of a module.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ModuleImport {
    /// Name of the import module.
    pub module: String,
    /// Name of the function, or of something else.
    pub name: String,
    /// Type of a function; `None` for anything else.
    pub signature: Option<String>,
    /// Whether this host has it.
    pub is_known: bool,
    /// Whether it returns a number.
    pub(crate) has_result: bool,
}

/// An export of a module.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ModuleExport {
    /// Name of the export.
    pub name: String,
    /// Type of a function; `None` for anything else.
    pub signature: Option<String>,
}

/// A custom section of a module.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CustomSection {
    /// Name of the section.
    pub name: String,
    /// Bytes of its content.
    pub bytes: usize,
}

/// Describes a module, whether this host takes it or not.
///
/// # Errors
/// [`ModuleError::TooLarge`], [`ModuleError::Precompiled`] and [`ModuleError::Malformed`]: the bytes are no module that
/// could be described.
pub fn describe(bytes: &[u8]) -> Result<ModuleReport, ModuleError> {
    let types = validate(bytes)?;
    let mut report = ModuleReport {
        abis: BTreeSet::new(),
        callbacks: Callbacks::default(),
        imports: Vec::new(),
        exports: Vec::new(),
        size: bytes.len(),
        code_bytes: 0,
        data_bytes: 0,
        custom_sections: Vec::new(),
        config_schema: None,
        refusal: inspect(bytes).err(),
    };
    for payload in Parser::new(0).parse_all(bytes) {
        report.add(types.as_ref(), payload.map_err(malformed)?)?;
    }
    Ok(report)
}

impl ModuleReport {
    /// Returns true for a class handler: a command of WASI preview 1 that is no plugin.
    pub fn is_command(&self) -> bool {
        let is_wasi = |import: &ModuleImport| import.module.starts_with("wasi_");
        let has_start = self.exports.iter().any(|export| export.name == START);
        self.abis.is_empty() && has_start && self.imports.iter().all(is_wasi)
    }

    fn add(&mut self, types: TypesRef<'_>, payload: Payload<'_>) -> Result<(), ModuleError> {
        match payload {
            Payload::ImportSection(section) => {
                for import in section.into_imports() {
                    let import = import.map_err(malformed)?;
                    self.imports.push(ModuleImport::new(types, &import));
                }
            }
            Payload::ExportSection(section) => {
                for export in section {
                    let export = export.map_err(malformed)?;
                    self.add_export(export.name, types, types.entity_type_from_export(&export));
                }
            }
            Payload::CodeSectionStart { range, .. } => self.code_bytes = range.len(),
            Payload::DataSection(section) => self.data_bytes = section.range().len(),
            Payload::CustomSection(section) => {
                if section.name() == CONFIG_SCHEMA_SECTION {
                    self.config_schema = Some(section.data().into());
                }
                let (name, bytes) = (section.name().to_owned(), section.data().len());
                self.custom_sections.push(CustomSection { name, bytes });
            }
            _ => {}
        }
        Ok(())
    }

    fn add_export(&mut self, name: &str, types: TypesRef<'_>, entity: Option<EntityType>) {
        self.abis.extend(MARKERS.iter().filter(|(_, marker)| *marker == name).map(|(abi, _)| *abi));
        if let Some((callback, ..)) = CALLBACKS.iter().find(|(_, known, _)| *known == name) {
            self.callbacks.insert(*callback);
        }
        let signature = signature(types, entity).map(|signature| signature.to_string());
        self.exports.push(ModuleExport { name: name.to_owned(), signature });
    }
}

impl ModuleImport {
    fn new(types: TypesRef<'_>, import: &wasmparser::Import<'_>) -> Self {
        let signature = signature(types, types.entity_type_from_import(import));
        Self {
            module: import.module.to_owned(),
            name: import.name.to_owned(),
            is_known: signature.is_some_and(|known| host::find(import.module, import.name, known).is_some()),
            has_result: signature.is_some_and(|signature| !signature.results.is_empty()),
            signature: signature.map(|signature| signature.to_string()),
        }
    }
}
