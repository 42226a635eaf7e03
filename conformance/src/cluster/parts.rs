//! Programs that are built from pinned Go modules, once, into a cache keyed by version: the control plane, and the tools
//! for charts and images. They come from `KUBEBUILDER_ASSETS` if the version matches.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context as _, bail, ensure};
use sha2::{Digest as _, Sha256};

/// Version of Kubernetes.
pub(super) const KUBERNETES_VERSION: &str = "v1.36.3";

/// Version of helm.
const HELM_VERSION: &str = "v3.21.4";

/// Version of crane.
const CRANE_VERSION: &str = "v0.22.1";

/// A Go module and the programs that are built from it.
struct GoModule {
    /// Name of its cache folder, before the hash of its files.
    name: &'static str,
    /// Its files. They are embedded so that the binary works without the source tree.
    files: &'static [(&'static str, &'static str)],
    /// Variables that the linker sets to a version.
    variables: &'static [(&'static str, VersionPart)],
    parts: &'static [Part],
}

/// A part of a version that the linker writes into a program.
#[derive(Clone, Copy, Debug)]
enum VersionPart {
    Kubernetes,
    KubernetesMajor,
    KubernetesMinor,
    Helm,
    Crane,
}

/// A program and its Go package.
struct Part {
    name: &'static str,
    package: &'static str,
    /// Arguments that print the version. The output must contain `version`.
    version_args: &'static [&'static str],
    version: &'static str,
}

const CONTROL_PLANE: GoModule = GoModule {
    name: "control-plane-v1.36.3",
    files: &[
        ("go.mod", include_str!("../../cluster/go.mod")),
        ("go.sum", include_str!("../../cluster/go.sum")),
        ("tools.go", include_str!("../../cluster/tools.go")),
        ("etcd/main.go", include_str!("../../cluster/etcd/main.go")),
    ],
    // Without them, kubectl takes the API server for version 0.0.0.
    variables: &[
        ("k8s.io/component-base/version.gitVersion", VersionPart::Kubernetes),
        ("k8s.io/component-base/version.gitMajor", VersionPart::KubernetesMajor),
        ("k8s.io/component-base/version.gitMinor", VersionPart::KubernetesMinor),
        ("k8s.io/client-go/pkg/version.gitVersion", VersionPart::Kubernetes),
        ("k8s.io/client-go/pkg/version.gitMajor", VersionPart::KubernetesMajor),
        ("k8s.io/client-go/pkg/version.gitMinor", VersionPart::KubernetesMinor),
    ],
    parts: &[
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
    ],
};

const TOOLS: GoModule = GoModule {
    name: "tools",
    files: &[
        ("go.mod", include_str!("../../tools/go.mod")),
        ("go.sum", include_str!("../../tools/go.sum")),
        ("tools.go", include_str!("../../tools/tools.go")),
    ],
    // helm renders and checks charts for this version of Kubernetes if it has no cluster.
    variables: &[
        ("helm.sh/helm/v3/internal/version.version", VersionPart::Helm),
        ("helm.sh/helm/v3/pkg/chartutil.k8sVersionMajor", VersionPart::KubernetesMajor),
        ("helm.sh/helm/v3/pkg/chartutil.k8sVersionMinor", VersionPart::KubernetesMinor),
        ("helm.sh/helm/v3/pkg/lint/rules.k8sVersionMajor", VersionPart::KubernetesMajor),
        ("helm.sh/helm/v3/pkg/lint/rules.k8sVersionMinor", VersionPart::KubernetesMinor),
        ("github.com/google/go-containerregistry/cmd/crane/cmd.Version", VersionPart::Crane),
    ],
    parts: &[
        Part {
            name: "helm",
            package: "helm.sh/helm/v3/cmd/helm",
            version_args: &["version", "--short"],
            version: HELM_VERSION,
        },
        Part {
            name: "crane",
            package: "github.com/google/go-containerregistry/cmd/crane",
            version_args: &["version"],
            version: CRANE_VERSION,
        },
    ],
};

/// The reaction to a program that is missing in the cache and in the assets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum MissingProgram {
    Build,
    Fail,
}

/// The folders of the programs.
pub(super) struct ProgramFolders {
    /// etcd, API server, controller manager, scheduler and kubectl.
    pub(super) control_plane: PathBuf,
    /// helm and crane.
    pub(super) tools: PathBuf,
}

/// Returns the folders of all programs, after installing those that are missing.
///
/// # Errors
/// A program is missing and must not be built, Go is missing or too old, or a build fails.
pub(super) fn ensure_programs(if_missing: MissingProgram) -> anyhow::Result<ProgramFolders> {
    Ok(ProgramFolders { control_plane: CONTROL_PLANE.ensure(if_missing)?, tools: ensure_tools(if_missing)? })
}

/// Returns the folder of helm and crane, after installing what is missing.
///
/// # Errors
/// As [`ensure_programs`].
pub(super) fn ensure_tools(if_missing: MissingProgram) -> anyhow::Result<PathBuf> {
    TOOLS.ensure(if_missing)
}

impl GoModule {
    fn ensure(&self, if_missing: MissingProgram) -> anyhow::Result<PathBuf> {
        let folder = self.cache_folder()?;
        fs::create_dir_all(&folder).with_context(|| format!("cannot create {}", folder.display()))?;
        let missing: Vec<&Part> =
            self.parts.iter().filter(|part| !folder.join(part.name).is_file()).collect();
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
                None => self.build(part, &folder)?,
            }
            fs::rename(folder.join(".new"), place)?;
        }
        Ok(folder)
    }

    /// Returns the cache folder. Its name contains a hash of the module files, so versions do not mix.
    fn cache_folder(&self) -> anyhow::Result<PathBuf> {
        let mut hash = Sha256::new();
        for (name, text) in self.files {
            hash.update(name);
            hash.update(text);
        }
        let key: String = hash.finalize().iter().take(6).map(|byte| format!("{byte:02x}")).collect();
        let base = std::env::var_os("XDG_CACHE_HOME")
            .map(PathBuf::from)
            .or_else(|| std::env::var_os("HOME").map(|home| Path::new(&home).join(".cache")))
            .context("cannot locate the cache: neither XDG_CACHE_HOME nor HOME is set")?;
        Ok(base.join(format!("wasm-gateway/{}-{key}", self.name)))
    }

    fn build(&self, part: &Part, folder: &Path) -> anyhow::Result<()> {
        ensure_go()?;
        let module = folder.join("module");
        for (name, text) in self.files {
            let place = module.join(name);
            fs::create_dir_all(place.parent().unwrap_or(&module))?;
            fs::write(place, text)?;
        }
        let mut flags = String::from("-s -w");
        for (variable, part) in self.variables {
            flags += &format!(" -X {variable}={}", part.text());
        }
        crate::terminal::print_message(&format!(
            "building {}: this takes minutes, and happens once",
            part.name
        ));
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
}

impl VersionPart {
    fn text(self) -> &'static str {
        let mut numbers = KUBERNETES_VERSION.trim_start_matches('v').split('.');
        match self {
            Self::Kubernetes => KUBERNETES_VERSION,
            Self::KubernetesMajor => numbers.next().unwrap_or_default(),
            Self::KubernetesMinor => numbers.nth(1).unwrap_or_default(),
            Self::Helm => HELM_VERSION,
            Self::Crane => CRANE_VERSION,
        }
    }
}

impl Part {
    fn has_version(&self, program: &Path) -> bool {
        let output = Command::new(program).args(self.version_args).stderr(Stdio::null()).output();
        output.is_ok_and(|output| String::from_utf8_lossy(&output.stdout).contains(self.version))
    }
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
