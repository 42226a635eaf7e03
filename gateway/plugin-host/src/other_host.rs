//! Other hosts that load Proxy-Wasm plugins: what they take of what this host takes.

use std::fmt;

use crate::abi::Abi;
use crate::host;
use crate::report::ModuleExport;
use crate::report::ModuleImport;
use crate::report::ModuleReport;

/// A host that loads Proxy-Wasm plugins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OtherHost {
    /// Envoy 1.33 or later, and what contains it: Istio, Envoy Gateway.
    Envoy,
    /// Higress, which contains an extended Envoy.
    Higress,
}

/// Functions that Envoy does not have, or has with other parameters.
const NOT_IN_ENVOY: &[&str] = &["abort", "path_link", "path_symlink", "proc_raise"];

/// Functions of one version of the ABI, and the versions that Envoy links them for.
const OF_VERSIONS: &[(&str, &[Abi])] = &[
    ("proxy_get_configuration", &[Abi::V0_1_0]),
    ("proxy_continue_request", &[Abi::V0_1_0]),
    ("proxy_continue_response", &[Abi::V0_1_0]),
    ("proxy_clear_route_cache", &[Abi::V0_1_0]),
    ("proxy_continue_stream", &[Abi::V0_2_0, Abi::V0_2_1, Abi::V0_2_100]),
    ("proxy_close_stream", &[Abi::V0_2_0, Abi::V0_2_1, Abi::V0_2_100]),
    ("proxy_get_log_level", &[Abi::V0_2_1, Abi::V0_2_100]),
];

/// Callbacks whose parameters differ between ABI 0.1.0 and later ones. This host takes both in all versions.
const HEADERS: &[&str] = &["proxy_on_request_headers", "proxy_on_response_headers"];

impl OtherHost {
    /// All other hosts.
    pub const ALL: &[Self] = &[Self::Envoy, Self::Higress];

    /// Returns why the host does not load a module. Returns `None` if it loads it, as far as imports and the ABI show.
    #[must_use]
    pub fn refusal(self, module: &ModuleReport) -> Option<String> {
        let Some(abi) = module.abis.iter().rev().find(|abi| self.takes(**abi)) else {
            let versions: Vec<_> = module.abis.iter().map(ToString::to_string).collect();
            return Some(match versions.as_slice() {
                [] => "the module has no ABI marker".to_owned(),
                versions => format!("it does not know ABI {}", versions.join(", ")),
            });
        };
        if let Some(missing) = module.imports.iter().find(|import| !self.has(*abi, import)) {
            let (from, name) = (&missing.module, &missing.name);
            return Some(format!("it does not have the import {from}.{name} for ABI {abi}"));
        }
        let parameters = if *abi == Abi::V0_1_0 { "(i32, i32) " } else { "(i32, i32, i32) " };
        let is_of_other = |export: &&ModuleExport| {
            let signature = export.signature.as_deref();
            HEADERS.contains(&export.name.as_str()) && !signature.is_some_and(|ty| ty.starts_with(parameters))
        };
        let callback = &module.exports.iter().find(is_of_other)?.name;
        Some(format!("{callback} has parameters of another ABI than {abi}"))
    }

    fn takes(self, abi: Abi) -> bool {
        match abi {
            Abi::V0_1_0 | Abi::V0_2_0 | Abi::V0_2_1 => true,
            Abi::V0_2_100 => self == Self::Higress,
        }
    }

    fn has(self, abi: Abi, import: &ModuleImport) -> bool {
        let name = import.name.as_str();
        if !import.is_known || NOT_IN_ENVOY.contains(&name) {
            return false;
        }
        if host::is_private(name) {
            return self == Self::Higress;
        }
        // Envoy has none of the types without a result that this host takes for old modules.
        let has_type = import.has_result || !name.starts_with("proxy_");
        let versions = OF_VERSIONS.iter().find(|(known, _)| *known == name);
        has_type && versions.is_none_or(|(_, versions)| versions.contains(&abi))
    }
}

impl fmt::Display for OtherHost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Envoy => "Envoy",
            Self::Higress => "Higress",
        })
    }
}
