//! `conformance cluster run` as a user runs it: a real control plane, pods from their own specs, Services that answer,
//! the plain-manifest install of the gateway, and nothing left behind.
//!
//! Needs Go 1.26 (or its work in the cache), `unshare`, `ip`, `curl`, and root or user namespaces.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests fail by panicking")]

#[path = "../../gateway/tests/support/missing.rs"]
mod missing;
#[path = "support/parts.rs"]
mod parts;

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

const TOOL: &str = env!("CARGO_BIN_EXE_conformance");

#[test]
fn the_plain_manifest_install_serves_both_hosts_from_outside() {
    if is_skipped("the_plain_manifest_install_serves_both_hosts_from_outside") {
        return;
    }
    let gateway = Path::new(TOOL).with_file_name("gateway");
    assert!(gateway.is_file(), "build the gateway first: cargo build -p gateway");
    let output = cluster(&["sh", "tests/cluster/example.sh"]);
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{}", text(&output));
    for host in ["blue", "green"] {
        assert!(said.contains(&format!("\"host\":\"{host}.example.com\"")), "{said}");
        // The load balancer's address, the cluster IP, and a port of each of two nodes.
        assert_eq!(said.matches(&format!("\"pod\":\"{host}-")).count(), 4, "{said}");
    }
}

#[test]
fn pods_are_run_from_their_specs_and_end_as_they_should() {
    if is_skipped("pods_are_run_from_their_specs_and_end_as_they_should") {
        return;
    }
    let output = cluster(&["sh", "tests/cluster/pods.sh"]);
    assert!(output.status.success(), "{}", text(&output));
}

#[test]
fn a_node_loses_its_power_and_comes_back() {
    if is_skipped("a_node_loses_its_power_and_comes_back") {
        return;
    }
    let output = cluster(&["sh", "tests/cluster/nodes.sh"]);
    assert!(output.status.success(), "{}", text(&output));
}

#[test]
fn the_exit_code_is_the_commands_and_nothing_is_left_behind() {
    if is_skipped("the_exit_code_is_the_commands_and_nothing_is_left_behind") {
        return;
    }
    let before = Machine::look();
    let output = cluster(&["sh", "-c", "kubectl get nodes -o name; exit 7"]);
    assert_eq!(output.status.code(), Some(7), "{}", text(&output));
    assert_eq!(String::from_utf8_lossy(&output.stdout), "node/node-1\nnode/node-2\n");
    before.must_be_as_now();

    // One SIGKILL ends all of it.
    let mut running = Command::new(TOOL)
        .args(["cluster", "run", "--", "sh", "-c", "echo started; read forever"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut line = String::new();
    let stdout = running.stdout.take().unwrap();
    std::io::BufRead::read_line(&mut std::io::BufReader::new(stdout), &mut line).unwrap();
    assert_eq!(line, "started\n");
    running.kill().unwrap();
    running.wait().unwrap();
    before.must_be_as_now();
}

#[test]
fn commands_that_need_a_cluster_say_so_outside() {
    for arguments in [&["stop", "node-1"][..], &["exec", "default/a", "--", "true"]] {
        let output = Command::new(TOOL).arg("cluster").args(arguments).output().unwrap();
        assert!(!output.status.success());
        assert!(text(&output).contains("conformance cluster run"), "{}", text(&output));
    }
}

/// Runs a command in a cluster, from the folder of this package.
fn cluster(command: &[&str]) -> Output {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
    Command::new(TOOL)
        .args(["cluster", "run", "--"])
        .args(command)
        .current_dir(folder)
        .stdin(Stdio::null())
        .output()
        .unwrap()
}

fn text(output: &Output) -> String {
    let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    format!("{}\n{out}\n{err}", output.status)
}

/// What a cluster could leave behind.
#[derive(Debug, PartialEq, Eq)]
struct Machine {
    mounts: BTreeSet<String>,
    networks: BTreeSet<PathBuf>,
    run: BTreeSet<PathBuf>,
}

impl Machine {
    fn look() -> Self {
        let list = |folder: &str| {
            let entries = fs::read_dir(folder).into_iter().flatten().flatten();
            entries.map(|entry| entry.path()).collect()
        };
        let mounts = fs::read_to_string("/proc/self/mounts").unwrap();
        Self {
            mounts: mounts.lines().map(str::to_owned).collect(),
            networks: list("/run/netns"),
            run: list("/run"),
        }
    }

    /// The kernel ends the processes of a PID namespace before its first one is gone for good, so all is over now.
    fn must_be_as_now(&self) {
        assert_eq!(*self, Self::look());
        let left: Vec<String> = fs::read_dir("/proc")
            .unwrap()
            .flatten()
            .filter_map(|entry| fs::read_link(entry.path().join("exe")).ok())
            .map(|program| program.display().to_string())
            .filter(|program| program.contains("/control-plane-"))
            .collect();
        // Other tests of this file may have clusters of their own at this moment.
        assert!(left.is_empty() || is_another_running(), "left behind: {left:?}");
    }
}

/// Whether a cluster runs that is not ours: tests run side by side.
fn is_another_running() -> bool {
    let arguments = |entry: fs::DirEntry| fs::read(entry.path().join("cmdline")).ok();
    let all = fs::read_dir("/proc").unwrap().flatten().filter_map(arguments);
    all.into_iter().any(|line| line.windows(6).any(|part| part == b"inside"))
}

fn is_skipped(test: &str) -> bool {
    let found = |program: &str| {
        let path = std::env::var_os("PATH").unwrap_or_default();
        std::env::split_paths(&path).any(|folder| folder.join(program).is_file())
    };
    let no_curl = (!found("curl")).then(|| "curl is missing".to_owned());
    let Some(why) = no_curl.or_else(parts::missing) else { return false };
    missing::skipped(&format!("conformance::cluster {test}: {why}"));
    true
}
