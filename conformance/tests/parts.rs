//! Where the control plane's programs come from: `KUBEBUILDER_ASSETS`, and a build of what it lacks or has in another
//! version. Programs and Go are scripts here, since real ones take minutes; `cluster.rs` runs the real ones.

#![allow(clippy::unwrap_used, clippy::panic, reason = "tests fail by panicking")]

#[path = "../../gateway/tests/support/missing.rs"]
mod missing;

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::{Command, Output};

use tempfile::TempDir;

const KUBERNETES: &str = "Kubernetes v1.36.3";

/// What each program says of its version.
const PROGRAMS: [(&str, &str); 5] = [
    ("etcd", "etcd Version: 3.6.5"),
    ("kube-apiserver", KUBERNETES),
    ("kube-controller-manager", KUBERNETES),
    ("kube-scheduler", KUBERNETES),
    ("kubectl", "Client Version: v1.36.3"),
];

/// Notes what it is to build, and makes a program of that name.
const GO: &str = r#"if [ "$1" = env ]; then echo go1.26.8; exit; fi
for package; do :; done
echo "$package" >>"$GO_BUILT"
while [ "$1" != -o ]; do shift; done
echo 'echo built' >"$2"
"#;

/// A machine with assets and a Go of its own, and an empty cache.
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

    fn script(&self, place: &str, text: &str) {
        let place = self.0.path().join(place);
        fs::create_dir_all(place.parent().unwrap()).unwrap();
        fs::write(&place, format!("#!/bin/sh\n{text}")).unwrap();
        fs::set_permissions(&place, fs::Permissions::from_mode(0o755)).unwrap();
    }

    fn asset(&self, name: &str, version: &str) {
        self.script(&format!("assets/{name}"), &format!("echo '{version}'\n"));
    }

    fn parts(&self, flags: &[&str]) -> Output {
        let at = |place: &str| self.0.path().join(place);
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

    /// What Go was asked to build.
    fn built(&self) -> Vec<String> {
        let built = fs::read_to_string(self.0.path().join("built")).unwrap_or_default();
        built.lines().map(str::to_owned).collect()
    }
}

/// Runs, and gives what each program in the cache says.
fn got(machine: &Machine) -> Vec<String> {
    let output = machine.parts(&[]);
    assert!(output.status.success(), "{}", said(&output));
    let said = said(&output);
    let folder = said.lines().last().unwrap();
    let answer = |name| Command::new("sh").arg(Path::new(folder).join(name)).output().unwrap();
    PROGRAMS.map(|(name, _)| String::from_utf8(answer(name).stdout).unwrap().trim().to_owned()).into()
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr)
}

#[test]
fn programs_of_the_right_version_are_taken_and_all_others_are_built() {
    let machine = Machine::new();
    let output = machine.parts(&["--no-build"]);
    if said(&output).contains("no namespaces here") {
        return missing::skipped(&format!("the control plane's programs: {}", said(&output)));
    }
    assert!(output.status.success(), "{}", said(&output));
    assert_eq!(got(&machine), PROGRAMS.map(|(_, version)| version));
    assert_eq!(machine.built(), [""; 0]);

    let machine = Machine::new();
    machine.asset("kubectl", "Client Version: v1.35.3");
    fs::remove_file(machine.0.path().join("assets/etcd")).unwrap();
    let output = machine.parts(&["--no-build"]);
    assert!(!output.status.success() && said(&output).contains("etcd is missing"), "{}", said(&output));
    assert_eq!(got(&machine), ["built", KUBERNETES, KUBERNETES, KUBERNETES, "built"]);
    assert_eq!(machine.built(), ["./etcd", "k8s.io/kubernetes/cmd/kubectl"]);
    assert_eq!(got(&machine).len(), PROGRAMS.len());
    assert_eq!(machine.built().len(), 2, "what is in the cache is built once");
}
