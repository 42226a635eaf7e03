//! The real API server accepts every golden render of the chart, and all but one meet the Pod Security level `restricted`.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::cluster::{cluster, repository_root, run};
use crate::missing;

/// The Go module with the definitions of the Prometheus operator. It must be in Go's cache: the cluster has no network.
pub(crate) const MONITORING_MODULE: &str = "github.com/prometheus-operator/prometheus-operator@v0.85.0";

/// The variable with the folder of that module.
pub(crate) const MONITORING_VAR: &str = "KUBE_TESTS_MONITORING";

/// The kinds of the Prometheus operator that the chart creates.
const MONITORING_KINDS: [&str; 3] = ["podmonitors", "prometheusrules", "servicemonitors"];

/// The render that the Pod Security level forbids.
const PRIVILEGED: &str = "daemon-set-host-ports";

/// Downloads the definitions of the Prometheus operator, and returns their folder. Returns `None` without Go or network.
pub(crate) fn monitoring_folder() -> Option<PathBuf> {
    let module = tempfile::tempdir().unwrap();
    std::fs::write(module.path().join("go.mod"), "module none\n").unwrap();
    let mut go = Command::new("go");
    let output =
        go.current_dir(module.path()).args(["mod", "download", "-json", MONITORING_MODULE]).output().ok()?;
    let answer: serde_json::Value = serde_json::from_slice(&output.stdout).ok()?;
    Some(Path::new(answer["Dir"].as_str()?).join("example/prometheus-operator-crd"))
}

/// Every golden render passes admission without being stored.
pub(crate) fn accepted() {
    cluster();
    run("sh", &["-c", "kubectl create namespace renders --dry-run=client -o yaml | kubectl apply -f -"]);
    run("kubectl", &["label", "namespace", "renders", "pod-security.kubernetes.io/warn=restricted"]);
    let monitoring = std::env::var_os(MONITORING_VAR).map(PathBuf::from);
    match &monitoring {
        Some(folder) => install_monitoring(folder),
        None => missing::skipped("renders with a Prometheus operator: its definitions cannot be downloaded"),
    }
    let folder = repository_root().join("charts/gateway/tests/golden");
    let mut names: Vec<_> = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    names.sort();
    assert!(names.len() >= 12, "{names:?}");
    for path in names {
        let name = path.file_stem().unwrap().to_string_lossy().into_owned();
        let text = std::fs::read_to_string(&path).unwrap();
        if monitoring.is_none() && text.contains("monitoring.coreos.com") {
            continue;
        }
        let warnings = dry_run(&text);
        assert_eq!(warnings.contains("would violate PodSecurity"), name == PRIVILEGED, "{name}: {warnings}");
    }
}

fn install_monitoring(folder: &Path) {
    for kind in MONITORING_KINDS {
        let file = folder.join(format!("monitoring.coreos.com_{kind}.yaml"));
        run("kubectl", &["apply", "--server-side", "-f", file.to_str().unwrap()]);
        let name = format!("crd/{kind}.monitoring.coreos.com");
        run("kubectl", &["wait", "--for=condition=Established", "--timeout=30s", &name]);
    }
}

/// Applies a render without storing it, with all objects in one namespace. Returns the warnings. Panics if an object is
/// refused.
fn dry_run(render: &str) -> String {
    let file = tempfile::NamedTempFile::new().unwrap();
    let lines = render.lines().map(|line| {
        let place = line.split_once("namespace: ").filter(|(before, _)| before.trim().is_empty());
        // Objects of scopes are in namespaces that do not exist here. Rules and subjects may name any.
        let is_object = place.is_some_and(|(before, _)| before.len() == 2);
        if is_object { "  namespace: renders\n".to_owned() } else { format!("{line}\n") }
    });
    std::fs::write(file.path(), lines.collect::<String>()).unwrap();
    let path = file.path().to_str().unwrap();
    let output = Command::new("kubectl").args(["apply", "--dry-run=server", "-f", path]).output().unwrap();
    let warnings = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{warnings}\n{render}");
    warnings
}
