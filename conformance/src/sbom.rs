//! `conformance sbom`: what the gateway's binary is made of, as a CycloneDX list and as licence texts.
//!
//! Reads `cargo metadata`. Counts only packages whose code is linked: no build scripts, procedural macros or tests.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use anyhow::{Context as _, ensure};
use serde::Deserialize;
use serde_json::{Value, json};

/// Package whose binary is described.
const ROOT_PACKAGE: &str = "gateway";

/// Beginnings of the names of files with licences.
const LICENCE_FILES: [&str; 4] = ["LICENSE", "LICENCE", "COPYING", "NOTICE"];

/// Options of `sbom`.
#[derive(Debug, clap::Args)]
pub(crate) struct SbomArgs {
    /// Platform of the binary.
    #[arg(long, value_name = "TRIPLE")]
    target: String,
    /// Manifest of the workspace.
    #[arg(long, value_name = "FILE", default_value = "Cargo.toml")]
    manifest: PathBuf,
    /// File for the CycloneDX list, as JSON.
    #[arg(long, value_name = "FILE")]
    list: PathBuf,
    /// File for the licence texts.
    #[arg(long, value_name = "FILE")]
    licences: PathBuf,
}

/// Executes `sbom`.
///
/// # Errors
/// `cargo metadata` fails, or a file cannot be written.
pub(crate) fn run(args: &SbomArgs) -> anyhow::Result<ExitCode> {
    let metadata = Metadata::read(&args.manifest, &args.target)?;
    let linked = metadata.linked()?;
    let list = metadata.cyclone_dx(&linked);
    fs::write(&args.list, format!("{list:#}\n")).with_context(|| args.list.display().to_string())?;
    let texts = licence_texts(&linked)?;
    fs::write(&args.licences, texts).with_context(|| args.licences.display().to_string())?;
    Ok(ExitCode::SUCCESS)
}

/// The output of `cargo metadata`.
#[derive(Deserialize)]
struct Metadata {
    packages: Vec<Package>,
    resolve: Resolve,
}

#[derive(Clone, Debug, Deserialize)]
struct Package {
    id: String,
    name: String,
    version: String,
    license: Option<String>,
    source: Option<String>,
    repository: Option<String>,
    manifest_path: PathBuf,
    targets: Vec<Target>,
}

#[derive(Clone, Debug, Deserialize)]
struct Target {
    kind: Vec<String>,
}

#[derive(Deserialize)]
struct Resolve {
    nodes: Vec<Node>,
}

#[derive(Deserialize)]
struct Node {
    id: String,
    deps: Vec<Dependency>,
}

#[derive(Deserialize)]
struct Dependency {
    pkg: String,
    dep_kinds: Vec<DependencyKind>,
}

#[derive(Deserialize)]
struct DependencyKind {
    /// `None` for a dependency of the code itself.
    kind: Option<String>,
}

impl Package {
    fn is_macro(&self) -> bool {
        self.targets.iter().any(|target| target.kind.iter().any(|kind| kind == "proc-macro"))
    }

    /// Returns the package URL.
    fn purl(&self) -> String {
        format!("pkg:cargo/{}@{}", self.name, self.version)
    }
}

/// The linked packages by id, and the direct dependencies of each.
type Linked<'a> = BTreeMap<&'a str, (&'a Package, Vec<&'a str>)>;

impl Metadata {
    fn read(manifest: &Path, target: &str) -> anyhow::Result<Self> {
        let output = Command::new("cargo")
            .args(["metadata", "--format-version", "1", "--locked", "--filter-platform", target])
            .arg("--manifest-path")
            .arg(manifest)
            .output()
            .context("cannot start cargo")?;
        ensure!(output.status.success(), "cargo metadata: {}", String::from_utf8_lossy(&output.stderr));
        Ok(serde_json::from_slice(&output.stdout)?)
    }

    /// Returns the packages that are linked into the binary.
    fn linked(&self) -> anyhow::Result<Linked<'_>> {
        let packages: BTreeMap<&str, &Package> =
            self.packages.iter().map(|package| (package.id.as_str(), package)).collect();
        let nodes: BTreeMap<&str, &Node> =
            self.resolve.nodes.iter().map(|node| (node.id.as_str(), node)).collect();
        let root =
            self.packages.iter().find(|package| package.name == ROOT_PACKAGE && package.source.is_none());
        let root = root.with_context(|| format!("the workspace has no package {ROOT_PACKAGE}"))?;
        let (mut linked, mut remaining) = (Linked::new(), vec![root.id.as_str()]);
        while let Some(id) = remaining.pop() {
            let (Some(package), Some(node)) = (packages.get(id), nodes.get(id)) else { continue };
            if linked.contains_key(id) || package.is_macro() {
                continue;
            }
            let used = node.deps.iter().filter(|dependency| {
                let is_macro = packages.get(dependency.pkg.as_str()).is_none_or(|package| package.is_macro());
                !is_macro && dependency.dep_kinds.iter().any(|kind| kind.kind.is_none())
            });
            let used: Vec<&str> = used.map(|dependency| dependency.pkg.as_str()).collect();
            remaining.extend(&used);
            linked.insert(id, (package, used));
        }
        Ok(linked)
    }

    /// Returns the list in the format CycloneDX 1.6.
    fn cyclone_dx(&self, linked: &Linked<'_>) -> Value {
        let component = |package: &Package, kind: &str| {
            let mut component = json!({
                "type": kind, "bom-ref": package.purl(), "purl": package.purl(),
                "name": package.name, "version": package.version,
            });
            if let (Some(license), Some(fields)) = (&package.license, component.as_object_mut()) {
                fields.insert("licenses".to_owned(), json!([{ "expression": license.replace('/', " OR ") }]));
            }
            if let (Some(url), Some(fields)) = (&package.repository, component.as_object_mut()) {
                fields.insert("externalReferences".to_owned(), json!([{ "type": "vcs", "url": url }]));
            }
            component
        };
        let is_root = |package: &Package| package.name == ROOT_PACKAGE && package.source.is_none();
        let packages = || linked.values().map(|(package, _)| *package);
        let dependencies = linked.values().map(|(package, used)| {
            let used: BTreeSet<String> =
                used.iter().filter_map(|id| Some(linked.get(id)?.0.purl())).collect();
            json!({ "ref": package.purl(), "dependsOn": used })
        });
        json!({
            "bomFormat": "CycloneDX",
            "specVersion": "1.6",
            "version": 1,
            "metadata": {
                "component": packages().find(|package| is_root(package)).map(|root| component(root, "application")),
            },
            "components": packages().filter(|package| !is_root(package))
                .map(|package| component(package, "library")).collect::<Vec<_>>(),
            "dependencies": dependencies.collect::<Vec<_>>(),
        })
    }
}

/// Returns the licence texts of all packages, each text once with the packages that have it.
fn licence_texts(linked: &Linked<'_>) -> anyhow::Result<String> {
    let mut packages_of: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for (package, _) in linked.values() {
        let label = format!("{} {}", package.name, package.version);
        let folder = package.manifest_path.parent().context("a manifest without a folder")?;
        for entry in fs::read_dir(folder).with_context(|| folder.display().to_string())? {
            let path = entry?.path();
            let name = path.file_name().unwrap_or_default().to_string_lossy().to_uppercase();
            if path.is_file() && LICENCE_FILES.iter().any(|known| name.starts_with(known)) {
                let text = String::from_utf8_lossy(&fs::read(&path)?).trim().to_owned();
                packages_of.entry(text).or_default().insert(label.clone());
            }
        }
    }
    let mut result = String::from("Licences of the packages that the gateway's binary contains.\n");
    for (text, packages) in packages_of {
        let packages: Vec<String> = packages.into_iter().collect();
        result += &format!("\n{}\n{}\n\n{text}\n", "=".repeat(80), packages.join(", "));
    }
    Ok(result)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn metadata() -> Metadata {
        let package = |name: &str, kind: &str, source: Option<&str>| {
            json!({
                "id": name, "name": name, "version": "1.0.0", "license": "MIT/Apache-2.0", "source": source,
                "repository": null, "manifest_path": "/none/Cargo.toml", "targets": [{ "kind": [kind] }],
            })
        };
        let uses = |name: &str, kind: Option<&str>| json!({ "pkg": name, "dep_kinds": [{ "kind": kind }] });
        let registry = Some("registry");
        let value = json!({
            "packages": [
                package("gateway", "bin", None), package("linked", "lib", registry), package("deep", "lib", registry),
                package("macro", "proc-macro", registry), package("builder", "lib", registry),
                package("syntax", "lib", registry),
            ],
            "resolve": { "nodes": [
                { "id": "gateway", "deps": [
                    uses("linked", None), uses("macro", None), uses("builder", Some("build")), uses("syntax", Some("dev")),
                ] },
                { "id": "linked", "deps": [uses("deep", None)] },
                { "id": "macro", "deps": [uses("syntax", None)] },
                { "id": "deep", "deps": [] }, { "id": "builder", "deps": [] }, { "id": "syntax", "deps": [] },
            ] },
        });
        serde_json::from_value(value).unwrap()
    }

    #[test]
    fn only_linked_packages_are_listed() {
        let metadata = metadata();
        let linked = metadata.linked().unwrap();
        assert_eq!(linked.keys().copied().collect::<Vec<_>>(), ["deep", "gateway", "linked"]);
        let list = metadata.cyclone_dx(&linked);
        assert_eq!(list["metadata"]["component"]["name"], "gateway");
        assert_eq!(list["components"][0]["purl"], "pkg:cargo/deep@1.0.0");
        assert_eq!(list["components"][0]["licenses"][0]["expression"], "MIT OR Apache-2.0");
        assert_eq!(list["components"].as_array().unwrap().len(), 2);
        let of_root = json!({ "ref": "pkg:cargo/gateway@1.0.0", "dependsOn": ["pkg:cargo/linked@1.0.0"] });
        assert!(list["dependencies"].as_array().unwrap().contains(&of_root), "{list:#}");
    }
}
