//! The report of `gateway plugin inspect`, as values and as text for people.

use std::fmt::{self, Display, Formatter};

use plugin_host::{Callback, ModuleReport, OtherHost};
use serde::Serialize;
use serde_json::Value;
use sha2::{Digest as _, Sha256};

use crate::control::plugin::ConfigSchema;

/// The name of this gateway among the hosts.
const OWN: &str = "this gateway";

/// What a module is.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct ModuleView {
    file: String,
    sha256: String,
    /// Versions of the ABI, from the oldest.
    abi: Vec<String>,
    size: Sizes,
    /// Callbacks that the gateway calls.
    called: Vec<&'static str>,
    /// Callbacks that it never calls.
    not_called: Vec<&'static str>,
    imports: Vec<ImportView>,
    exports: Vec<ExportView>,
    /// The JSON Schema of the configuration. `None`: the module has none.
    config_schema: Option<Value>,
    /// Keywords of the schema that the gateway does not check.
    unchecked_keywords: Vec<&'static str>,
    hosts: Vec<HostView>,
}

/// Bytes of a module and of its parts.
#[derive(Debug, Serialize)]
struct Sizes {
    file: usize,
    code: usize,
    data: usize,
    custom: Vec<SectionView>,
}

#[derive(Debug, Serialize)]
struct SectionView {
    name: String,
    bytes: usize,
}

#[derive(Debug, Serialize)]
struct ImportView {
    module: String,
    name: String,
    /// `None` for anything but a function.
    r#type: Option<String>,
    /// Whether the gateway has it.
    known: bool,
}

#[derive(Debug, Serialize)]
struct ExportView {
    name: String,
    r#type: Option<String>,
}

/// Whether a host loads the module.
#[derive(Debug, Serialize)]
struct HostView {
    host: String,
    accepts: bool,
    /// Why it refuses the module.
    reason: Option<String>,
}

impl ModuleView {
    pub(super) fn new(file: &str, bytes: &[u8], report: &ModuleReport) -> Self {
        let schema = report.config_schema.as_deref().map(ConfigSchema::parse).transpose();
        let refusal = match (&report.refusal, &schema) {
            (Some(refusal), _) => Some(refusal.to_string()),
            (None, Err(error)) => Some(error.to_string()),
            (None, Ok(_)) => None,
        };
        let own = HostView::new(OWN, refusal);
        let others = OtherHost::ALL.iter().map(|host| HostView::new(&host.to_string(), host.refusal(report)));
        let exported = || Callback::all().filter(|callback| report.callbacks.has(*callback));
        let schema = schema.ok().flatten();
        Self {
            file: file.to_owned(),
            sha256: Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect(),
            abi: report.abis.iter().map(ToString::to_string).collect(),
            size: Sizes::new(report),
            called: exported().filter(|callback| callback.is_called()).map(Callback::name).collect(),
            not_called: exported().filter(|callback| !callback.is_called()).map(Callback::name).collect(),
            imports: report.imports.iter().map(ImportView::new).collect(),
            exports: report.exports.iter().map(ExportView::new).collect(),
            unchecked_keywords: schema.as_ref().map(ConfigSchema::unchecked).unwrap_or_default(),
            config_schema: schema.map(|schema| schema.json().clone()),
            hosts: std::iter::once(own).chain(others).collect(),
        }
    }

    /// Returns true if this gateway loads the module.
    pub(super) fn is_loaded(&self) -> bool {
        self.hosts.first().is_some_and(|host| host.accepts)
    }
}

impl Sizes {
    fn new(report: &ModuleReport) -> Self {
        let custom = report.custom_sections.iter();
        let custom = custom.map(|section| SectionView { name: section.name.clone(), bytes: section.bytes });
        Self { file: report.size, code: report.code_bytes, data: report.data_bytes, custom: custom.collect() }
    }
}

impl ImportView {
    fn new(import: &plugin_host::ModuleImport) -> Self {
        Self {
            module: import.module.clone(),
            name: import.name.clone(),
            r#type: import.signature.clone(),
            known: import.is_known,
        }
    }
}

impl ExportView {
    fn new(export: &plugin_host::ModuleExport) -> Self {
        Self { name: export.name.clone(), r#type: export.signature.clone() }
    }
}

impl HostView {
    fn new(host: &str, reason: Option<String>) -> Self {
        Self { host: host.to_owned(), accepts: reason.is_none(), reason }
    }
}

impl Display for ModuleView {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}", self.file)?;
        let abi = if self.abi.is_empty() { "no marker".to_owned() } else { self.abi.join(", ") };
        row(f, "abi", &abi)?;
        row(f, "sha256", &self.sha256)?;
        row(f, "size", &self.size.to_string())?;
        list(f, "called", &self.called)?;
        if !self.not_called.is_empty() {
            list(f, "not called", &self.not_called)?;
        }
        let imports: Vec<_> = self.imports.iter().map(ToString::to_string).collect();
        list(f, "imports", &imports)?;
        let exports: Vec<_> = self.exports.iter().map(|export| export.name.as_str()).collect();
        list(f, "exports", &exports)?;
        match &self.config_schema {
            None => row(f, "config", "any: the module has no schema")?,
            Some(schema) => {
                row(f, "config", "JSON Schema:")?;
                for line in format!("{schema:#}").lines() {
                    row(f, "", line)?;
                }
            }
        }
        if !self.unchecked_keywords.is_empty() {
            row(f, "", &format!("not checked by the gateway: {}", self.unchecked_keywords.join(", ")))?;
        }
        for HostView { host, reason, .. } in &self.hosts {
            match reason {
                None => row(f, host, "loads it")?,
                Some(reason) => row(f, host, &format!("refuses it: {reason}"))?,
            }
        }
        Ok(())
    }
}

impl Display for Sizes {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(f, "{} bytes: code {}, data {}", self.file, self.code, self.data)?;
        for SectionView { name, bytes } in &self.custom {
            write!(f, ", {name} {bytes}")?;
        }
        Ok(())
    }
}

impl Display for ImportView {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.module, self.name)?;
        match (&self.r#type, self.known) {
            (_, true) => Ok(()),
            (Some(ty), false) => write!(f, " {ty}: unknown"),
            (None, false) => write!(f, ": not a function"),
        }
    }
}

fn row(f: &mut Formatter<'_>, name: &str, value: &str) -> fmt::Result {
    writeln!(f, "  {name:<12}  {value}")
}

/// Writes one row for each value, the name before the first.
fn list(f: &mut Formatter<'_>, name: &str, values: &[impl AsRef<str>]) -> fmt::Result {
    let Some((first, rest)) = values.split_first() else { return row(f, name, "-") };
    row(f, name, first.as_ref())?;
    rest.iter().try_for_each(|value| row(f, "", value.as_ref()))
}
