//! The control plane's programs: taken from `KUBEBUILDER_ASSETS` where the version is right, else built once from
//! pinned Go modules into a cache keyed by version.
//!
//! Not here: starting them.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context as _, bail, ensure};
use sha2::{Digest as _, Sha256};

/// The module files, in the binary so that it works wherever it is copied to.
const MODULE: [(&str, &str); 4] = [
    ("go.mod", include_str!("../../cluster/go.mod")),
    ("go.sum", include_str!("../../cluster/go.sum")),
    ("tools.go", include_str!("../../cluster/tools.go")),
    ("etcd/main.go", include_str!("../../cluster/etcd/main.go")),
];

/// What the control plane is made of.
pub(super) const KUBERNETES_VERSION: &str = "v1.36.3";

/// A program and the Go package that it is built from.
struct Part {
    name: &'static str,
    package: &'static str,
    /// Asks for the version; the answer has to hold `version`.
    version_args: &'static [&'static str],
    version: &'static str,
}

const PARTS: [Part; 5] = [
    Part { name: "etcd", package: "./etcd", version_args: &["--version"], version: "etcd Version: 3.6." },
    Part {
        name: "kube-apiserver",
        package: "k8s.io/kubernetes/cmd/kube-apiserver",
        version_args: &["--version"],
        version: KUBERNETES_VERSION,
    },
    Part {
        name: "kube-controller-manager",
        package: "k8s.io/kubernetes/cmd/kube-controller-manager",
        version_args: &["--version"],
        version: KUBERNETES_VERSION,
    },
    Part {
        name: "kube-scheduler",
        package: "k8s.io/kubernetes/cmd/kube-scheduler",
        version_args: &["--version"],
        version: KUBERNETES_VERSION,
    },
    Part {
        name: "kubectl",
        package: "k8s.io/kubernetes/cmd/kubectl",
        version_args: &["version", "--client"],
        version: KUBERNETES_VERSION,
    },
];

/// What to do about a program that is not there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum IfMissing {
    Build,
    Fail,
}

/// Gives the folder that holds all programs, after getting what it lacks.
///
/// # Errors
/// Go is missing or too old, or a module cannot be had or built; or something is missing that shall not be built.
pub(super) fn ensure_programs(if_missing: IfMissing) -> anyhow::Result<PathBuf> {
    let folder = cache_folder()?;
    fs::create_dir_all(&folder).with_context(|| format!("cannot make {}", folder.display()))?;
    let missing: Vec<&Part> = PARTS.iter().filter(|part| !folder.join(part.name).is_file()).collect();
    if missing.is_empty() {
        return Ok(folder);
    }
    let _lock = CacheLock::acquire(&folder)?;
    let assets = std::env::var_os("KUBEBUILDER_ASSETS").map(PathBuf::from);
    for part in missing {
        let place = folder.join(part.name);
        if place.is_file() {
            continue;
        }
        let asset = assets.as_ref().map(|assets| assets.join(part.name));
        match asset.filter(|asset| part.has_version(asset)) {
            Some(asset) => fs::copy(&asset, folder.join(".new")).map(drop)?,
            None if if_missing == IfMissing::Fail => {
                bail!("{} is missing: get it once with `conformance cluster parts`", part.name)
            }
            None => build(part, &folder)?,
        }
        fs::rename(folder.join(".new"), place)?;
    }
    Ok(folder)
}

impl Part {
    fn has_version(&self, program: &Path) -> bool {
        let output = Command::new(program).args(self.version_args).stderr(Stdio::null()).output();
        output.is_ok_and(|output| String::from_utf8_lossy(&output.stdout).contains(self.version))
    }
}

/// One folder per content of the module files: another version never meets these programs.
fn cache_folder() -> anyhow::Result<PathBuf> {
    let mut hash = Sha256::new();
    for (name, text) in MODULE {
        hash.update(name);
        hash.update(text);
    }
    let key: String = hash.finalize().iter().take(6).map(|byte| format!("{byte:02x}")).collect();
    let base = std::env::var_os("XDG_CACHE_HOME")
        .map(PathBuf::from)
        .or_else(|| std::env::var_os("HOME").map(|home| Path::new(&home).join(".cache")))
        .context("neither XDG_CACHE_HOME nor HOME says where the cache is")?;
    Ok(base.join(format!("wasm-gateway/control-plane-{KUBERNETES_VERSION}-{key}")))
}

fn build(part: &Part, folder: &Path) -> anyhow::Result<()> {
    ensure_go()?;
    let module = folder.join("module");
    for (name, text) in MODULE {
        let place = module.join(name);
        fs::create_dir_all(place.parent().unwrap_or(&module))?;
        fs::write(place, text)?;
    }
    let minor = KUBERNETES_VERSION.split('.').nth(1).unwrap_or_default();
    // What the programs say of themselves: without it kubectl takes the API server for version 0.0.0.
    let mut flags = String::from("-s -w");
    for package in ["k8s.io/component-base/version", "k8s.io/client-go/pkg/version"] {
        flags += &format!(
            " -X {package}.gitVersion={KUBERNETES_VERSION} -X {package}.gitMajor=1 -X {package}.gitMinor={minor}"
        );
    }
    crate::say(&format!("building {} (once; minutes)", part.name));
    let done = Command::new("go")
        .current_dir(&module)
        .env("CGO_ENABLED", "0")
        .env("GOFLAGS", "-mod=readonly")
        .args(["build", "-trimpath", "-ldflags", &flags, "-o"])
        .arg(folder.join(".new"))
        .arg(part.package)
        .status()
        .context("cannot start go")?;
    ensure!(done.success(), "go build of {} failed: {done}", part.package);
    Ok(())
}

/// The oldest Go that the modules take; an older one with toolchain switching would try to fetch one.
const MIN_GO_VERSION: (u32, u32) = (1, 26);

fn ensure_go() -> anyhow::Result<()> {
    let output =
        Command::new("go").args(["env", "GOVERSION"]).output().context("Go is missing: install Go 1.26")?;
    let text = String::from_utf8_lossy(&output.stdout);
    let mut numbers =
        text.trim().trim_start_matches("go").split('.').map_while(|part| part.parse::<u32>().ok());
    let found = (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0));
    if found < MIN_GO_VERSION {
        bail!("Go {}.{} or newer is needed, here is {:?}", MIN_GO_VERSION.0, MIN_GO_VERSION.1, text.trim());
    }
    Ok(())
}

/// Keeps two builds out of one folder; the system frees it with the process.
struct CacheLock(#[expect(dead_code, reason = "held, never read")] fs::File);

impl CacheLock {
    fn acquire(folder: &Path) -> anyhow::Result<Self> {
        let file = fs::File::create(folder.join(".lock"))?;
        file.lock().context("cannot lock the cache of programs")?;
        Ok(Self(file))
    }
}
