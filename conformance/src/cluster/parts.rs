//! Programs of the control plane. They come from `KUBEBUILDER_ASSETS` if the version matches. Otherwise they are built
//! once, from pinned Go modules, into a cache keyed by version.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context as _, bail, ensure};
use sha2::{Digest as _, Sha256};

/// Go module files. They are embedded so that the binary works without the source tree.
const MODULE: [(&str, &str); 4] = [
    ("go.mod", include_str!("../../cluster/go.mod")),
    ("go.sum", include_str!("../../cluster/go.sum")),
    ("tools.go", include_str!("../../cluster/tools.go")),
    ("etcd/main.go", include_str!("../../cluster/etcd/main.go")),
];

/// Version of Kubernetes.
pub(super) const KUBERNETES_VERSION: &str = "v1.36.3";

/// A program and its Go package.
struct Part {
    name: &'static str,
    package: &'static str,
    /// Arguments that print the version. The output must contain `version`.
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

/// The reaction to a program that is missing in the cache and in the assets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum MissingProgram {
    Build,
    Fail,
}

/// Returns the folder with all programs, after installing those that are missing.
///
/// # Errors
/// A program is missing and must not be built, Go is missing or too old, or a build fails.
pub(super) fn ensure_programs(if_missing: MissingProgram) -> anyhow::Result<PathBuf> {
    let folder = cache_folder()?;
    fs::create_dir_all(&folder).with_context(|| format!("cannot create {}", folder.display()))?;
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
            None if if_missing == MissingProgram::Fail => {
                bail!("{} is missing: install it with `conformance cluster parts`", part.name)
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

/// Returns the cache folder. Its name contains a hash of the module files, so versions do not mix.
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
        .context("cannot locate the cache: neither XDG_CACHE_HOME nor HOME is set")?;
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
    // Sets the version that the programs report. Without it, kubectl takes the API server for version 0.0.0.
    let mut flags = String::from("-s -w");
    for package in ["k8s.io/component-base/version", "k8s.io/client-go/pkg/version"] {
        flags += &format!(
            " -X {package}.gitVersion={KUBERNETES_VERSION} -X {package}.gitMajor=1 -X {package}.gitMinor={minor}"
        );
    }
    crate::terminal::print_message(&format!("building {}: this takes minutes, and happens once", part.name));
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

/// Minimum Go version of the modules. An older Go with toolchain switching would attempt to download a newer one.
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

/// Lock that prevents two builds in one folder. The system releases it with the process.
struct CacheLock(#[expect(dead_code, reason = "held, never read")] fs::File);

impl CacheLock {
    fn acquire(folder: &Path) -> anyhow::Result<Self> {
        let file = fs::File::create(folder.join(".lock"))?;
        file.lock().context("cannot lock the cache of programs")?;
        Ok(Self(file))
    }
}
