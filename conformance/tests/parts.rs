//! Installation of the control plane's programs and of the tools: from `KUBEBUILDER_ASSETS`, or by a build if one is missing or has
//! another version. Programs and Go are scripts here, because real builds take minutes. `cluster.rs` uses real ones.

#![allow(clippy::unwrap_used, clippy::panic, reason = "tests fail by panicking")]

#[path = "../../gateway/tests/support/missing.rs"]
mod missing;

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::{Command, Output};

use tempfile::TempDir;

const KUBERNETES: &str = "Kubernetes v1.36.3";

/// The version output of each program.
const PROGRAMS: [(&str, &str); 7] = [
    ("etcd", "etcd Version: 3.6.5"),
    ("kube-apiserver", KUBERNETES),
    ("kube-controller-manager", KUBERNETES),
    ("kube-scheduler", KUBERNETES),
    ("kubectl", "Client Version: v1.36.3"),
    ("helm", "v3.21.4"),
    ("crane", "v0.22.1"),
];

/// A script that records the package to build and creates a program.
const GO: &str = r#"if [ "$1" = env ]; then echo go1.26.8; exit; fi
for package; do :; done
echo "$package" >>"$GO_BUILT"
while [ "$1" != -o ]; do shift; done
echo 'echo built' >"$2"
"#;

/// Folders for assets, Go and an empty cache.
struct Machine(TempDir);

impl Machine {
    fn new() -> Self {
        let machine = Self(tempfile::tempdir().unwrap());
        machine.script("bin/go", GO);
        for (name, version) in PROGRAMS {
            machine.asset(name, version);
        }
        machine
    }

    fn script(&self, path: &str, text: &str) {
        let path = self.0.path().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, format!("#!/bin/sh\n{text}")).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    }

    fn asset(&self, name: &str, version: &str) {
        self.script(&format!("assets/{name}"), &format!("echo '{version}'\n"));
    }

    fn parts(&self, flags: &[&str]) -> Output {
        let at = |path: &str| self.0.path().join(path);
        let path = std::env::var("PATH").unwrap();
        Command::new(env!("CARGO_BIN_EXE_conformance"))
            .args(["cluster", "parts"])
            .args(flags)
            .env("XDG_CACHE_HOME", at("cache"))
            .env("KUBEBUILDER_ASSETS", at("assets"))
            .env("GO_BUILT", at("built"))
            .env("PATH", format!("{}:{path}", at("bin").display()))
            .output()
            .unwrap()
    }

    /// Returns the packages that Go built.
    fn built(&self) -> Vec<String> {
        let built = fs::read_to_string(self.0.path().join("built")).unwrap_or_default();
        built.lines().map(str::to_owned).collect()
    }
}

/// Installs the programs, and returns the output of each.
fn installed(machine: &Machine) -> Vec<String> {
    let output = machine.parts(&[]);
    assert!(output.status.success(), "{}", text(&output));
    let folders = String::from_utf8(output.stdout).unwrap();
    let run = |name| {
        let place = folders.lines().map(|folder| Path::new(folder).join(name)).find(|place| place.is_file());
        Command::new("sh").arg(place.unwrap()).output().unwrap()
    };
    PROGRAMS.map(|(name, _)| String::from_utf8(run(name).stdout).unwrap().trim().to_owned()).into()
}

fn text(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr)
}

#[test]
fn other_versions_and_missing_programs_are_built() {
    let machine = Machine::new();
    let output = machine.parts(&["--no-build"]);
    if text(&output).contains("no namespaces here") {
        return missing::skipped(&format!("the control plane's programs: {}", text(&output)));
    }
    assert!(output.status.success(), "{}", text(&output));
    assert_eq!(installed(&machine), PROGRAMS.map(|(_, version)| version));
    assert_eq!(machine.built(), [""; 0]);

    let machine = Machine::new();
    machine.asset("kubectl", "Client Version: v1.35.3");
    fs::remove_file(machine.0.path().join("assets/etcd")).unwrap();
    let output = machine.parts(&["--no-build"]);
    assert!(!output.status.success() && text(&output).contains("etcd is missing"), "{}", text(&output));
    let tools = ["v3.21.4", "v0.22.1"];
    let control_plane = ["built", KUBERNETES, KUBERNETES, KUBERNETES, "built"];
    assert_eq!(installed(&machine), [&control_plane[..], &tools].concat());
    assert_eq!(machine.built(), ["./etcd", "k8s.io/kubernetes/cmd/kubectl"]);
    assert_eq!(installed(&machine).len(), PROGRAMS.len());
    assert_eq!(machine.built().len(), 2, "a cached program is not built again");
}
