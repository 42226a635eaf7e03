//! `conformance cluster run` on the command line: control plane, pods, Services, the plain-manifest install of the
//! gateway, and a clean end.
//!
//! Needs Go 1.26 (or cached programs), `unshare`, `ip`, `curl`, and root or user namespaces.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests fail by panicking")]
#![allow(clippy::disallowed_methods, reason = "polls the kernel; the sleep only sets the interval")]

#[path = "../../gateway/tests/support/missing.rs"]
mod missing;
#[path = "support/parts.rs"]
mod parts;

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

const TOOL: &str = env!("CARGO_BIN_EXE_conformance");

/// Time for the kernel to end a cluster. On an idle machine it takes a fraction of a second.
const END_TIMEOUT: Duration = Duration::from_secs(15);

/// Interval between two snapshots.
const POLL_INTERVAL: Duration = Duration::from_millis(50);

#[test]
fn plain_manifest_install_serves_both_hosts() {
    if is_skipped("plain_manifest_install_serves_both_hosts") {
        return;
    }
    let gateway = Path::new(TOOL).with_file_name("gateway");
    assert!(gateway.is_file(), "build the gateway first: cargo build -p gateway");
    let output = cluster(&["sh", "tests/cluster/example.sh"]);
    let stdout = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{}", text(&output));
    for host in ["blue", "green"] {
        assert!(stdout.contains(&format!("\"host\":\"{host}.example.com\"")), "{stdout}");
        // Four addresses: load balancer, cluster IP, and node port of two nodes.
        assert_eq!(stdout.matches(&format!("\"pod\":\"{host}-")).count(), 4, "{stdout}");
    }
}

#[test]
fn readme_install_serves_an_ingress() {
    if is_skipped("readme_install_serves_an_ingress") {
        return;
    }
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let page = fs::read_to_string(root.join("README.md")).unwrap();
    let blocks = page.split("```sh\n").skip(1).map(|rest| rest.split("```").next().unwrap());
    let block = blocks.into_iter().find(|block| block.starts_with("helm install")).unwrap();
    // The README's home is that of a user.
    let home = tempfile::tempdir().unwrap();
    fs::create_dir(home.path().join(".kube")).unwrap();
    let copy = format!("cp \"$KUBECONFIG\" {}/.kube/config", home.path().display());
    let script = format!("{copy}\nexport HOME={}\n{block}", home.path().display());
    let output = Command::new(TOOL)
        .args(["cluster", "run", "--", "sh", "-euxc", &script])
        .current_dir(root)
        .stdin(Stdio::null())
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", text(&output));
    let stdout = String::from_utf8_lossy(&output.stdout);
    assert!(stdout.contains("\"host\":\"hello.example.com\""), "{}", text(&output));
    assert!(stdout.contains("A first Ingress"), "the notes of the chart: {stdout}");
}

#[test]
fn pods_run_by_their_specs_and_terminate_in_order() {
    if is_skipped("pods_run_by_their_specs_and_terminate_in_order") {
        return;
    }
    let output = cluster(&["sh", "tests/cluster/pods.sh"]);
    assert!(output.status.success(), "{}", text(&output));
}

#[test]
fn stopped_node_loses_its_pods_and_starts_again() {
    if is_skipped("stopped_node_loses_its_pods_and_starts_again") {
        return;
    }
    let output = cluster(&["sh", "tests/cluster/nodes.sh"]);
    assert!(output.status.success(), "{}", text(&output));
}

#[test]
fn run_returns_the_exit_code_and_leaves_nothing_behind() {
    if is_skipped("run_returns_the_exit_code_and_leaves_nothing_behind") {
        return;
    }
    let marked_cluster = MarkedCluster::new();
    let before = MachineSnapshot::take(&marked_cluster);
    let output = marked_cluster.cluster(&["sh", "-c", "kubectl get nodes -o name; exit 7"]).output().unwrap();
    assert_eq!(output.status.code(), Some(7), "{}", text(&output));
    assert_eq!(String::from_utf8_lossy(&output.stdout), "node/node-1\nnode/node-2\n");
    wait_until_equal(&before, &marked_cluster);

    // One SIGKILL ends everything, including pods.
    let script = "kubectl create deployment left --image=echo --replicas=2 >&2
        kubectl rollout status deployment/left --timeout=60s >&2; echo started; read line";
    let mut running = marked_cluster
        .cluster(&["sh", "-c", script])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    // Keep standard input open: at its end the command would exit, and the cluster with it.
    let input = running.stdin.take();
    let mut line = String::new();
    let stdout = running.stdout.take().unwrap();
    std::io::BufRead::read_line(&mut std::io::BufReader::new(stdout), &mut line).unwrap();
    assert_eq!(line, "started\n");
    let during = MachineSnapshot::take(&marked_cluster);
    during.assert_shows_a_cluster(&before);
    running.kill().unwrap();
    running.wait().unwrap();
    wait_until_equal(&before, &marked_cluster);
    drop(input);
}

#[test]
fn exit_of_a_control_plane_program_ends_the_cluster() {
    if is_skipped("exit_of_a_control_plane_program_ends_the_cluster") {
        return;
    }
    // A program that was stopped on request does not end the cluster: nodes.sh tests that.
    for program in ["kube-apiserver", "kube-controller-manager", "kube-scheduler"] {
        // The PID namespace contains only processes of this cluster. The link's target is the program.
        let script = format!(
            "for exe in /proc/[0-9]*/exe; do
                case $(readlink $exe) in */{program}) exe=${{exe%/exe}}; kill -9 ${{exe##*/}};; esac
            done
            exec sleep 60"
        );
        let output = cluster(&["sh", "-c", &script]);
        assert_eq!(output.status.code(), Some(2), "{}", text(&output));
        assert!(text(&output).contains(&format!("{program} ended")), "{}", text(&output));
    }
}

#[test]
fn cluster_commands_outside_a_cluster_fail() {
    for arguments in [&["stop", "node-1"][..], &["exec", "default/a", "--", "true"]] {
        let output = Command::new(TOOL).arg("cluster").args(arguments).output().unwrap();
        assert!(!output.status.success());
        assert!(text(&output).contains("conformance cluster run"), "{}", text(&output));
    }
}

/// Runs a command in a cluster, in the folder of this package.
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

/// A cluster that differs from all others of this machine by a variable in its environment and by its folder. Pods have
/// another environment, but the same PID namespace.
struct MarkedCluster {
    mark: String,
    /// Working folder, and folder for temporary files.
    home: tempfile::TempDir,
    /// Folder of the control plane's programs.
    cache: PathBuf,
}

/// Name of the variable. Its value is unique to a test run.
const MARK: &str = "LEFT_BEHIND_TEST";

impl MarkedCluster {
    fn new() -> Self {
        let parts = Command::new(TOOL).args(["cluster", "parts"]).output().unwrap();
        assert!(parts.status.success(), "{}", text(&parts));
        Self {
            mark: std::process::id().to_string(),
            home: tempfile::tempdir().unwrap(),
            cache: String::from_utf8(parts.stdout).unwrap().lines().last().unwrap().into(),
        }
    }

    fn cluster(&self, command: &[&str]) -> Command {
        let mut run = Command::new(TOOL);
        run.args(["cluster", "run", "--"]).args(command).current_dir(self.home.path());
        run.env(MARK, &self.mark).env("TMPDIR", self.home.path()).stdin(Stdio::null());
        run
    }

    fn is_marked(&self, process: &ProcessInfo) -> bool {
        process.environment.contains(&format!("{MARK}={}", self.mark))
    }
}

/// Everything that a cluster could leave behind.
#[derive(Debug, PartialEq, Eq)]
struct MachineSnapshot {
    /// Processes of the marked cluster: id and command line.
    processes: BTreeSet<(u32, String)>,
    /// Namespaces of these processes. Namespaces that are bound to a file appear as mounts.
    namespaces: BTreeSet<String>,
    mounts: BTreeSet<String>,
    files: BTreeSet<PathBuf>,
}

impl MachineSnapshot {
    fn take(marked_cluster: &MarkedCluster) -> Self {
        let list = |folder: &Path| fs::read_dir(folder).into_iter().flatten().flatten();
        let all: Vec<ProcessInfo> =
            list("/proc".as_ref()).filter_map(|entry| ProcessInfo::read(&entry.path())).collect();
        let own = fs::read_link("/proc/self/ns/pid").unwrap().display().to_string();
        let marked = all.iter().filter(|process| marked_cluster.is_marked(process));
        let inside: BTreeSet<&String> =
            marked.map(|process| &process.pid_namespace).filter(|name| **name != own).collect();
        let is_ours = |process: &&ProcessInfo| {
            marked_cluster.is_marked(process) || inside.contains(&process.pid_namespace)
        };
        let ours: Vec<&ProcessInfo> = all.iter().filter(is_ours).collect();
        let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap();
        let folders =
            [marked_cluster.home.path(), &marked_cluster.cache, "/run".as_ref(), "/run/netns".as_ref()];
        Self {
            processes: ours.iter().map(|one| (one.number, one.command.clone())).collect(),
            namespaces: ours.iter().flat_map(|one| one.namespaces.iter().cloned()).collect(),
            mounts: mounts.lines().map(str::to_owned).collect(),
            files: folders.into_iter().flat_map(list).map(|entry| entry.path()).collect(),
        }
    }

    /// Asserts that a running cluster is visible. Otherwise its remains would be invisible too.
    fn assert_shows_a_cluster(&self, before: &Self) {
        assert!(before.processes.is_empty(), "{before:#?}");
        for program in ["/etcd", "/kube-apiserver", "/kube-controller-manager", "/kube-scheduler"] {
            assert!(self.processes.iter().any(|(_, line)| line.contains(program)), "no {program}: {self:#?}");
        }
        let pods = self.processes.iter().filter(|(_, line)| line.trim_end().ends_with(" echo"));
        assert_eq!(pods.count(), 2, "{self:#?}");
        // Network namespaces: the machine's, the cluster's and one per pod. Others: the machine's and the cluster's.
        for (kind, least) in [("net:", 4), ("mnt:", 2), ("pid:", 2)] {
            let found = self.namespaces.iter().filter(|name| name.starts_with(kind)).count();
            assert!(found >= least, "{found} times {kind} {self:#?}");
        }
    }
}

/// A process of this machine.
struct ProcessInfo {
    number: u32,
    command: String,
    environment: Vec<String>,
    pid_namespace: String,
    namespaces: Vec<String>,
}

impl ProcessInfo {
    /// Reads a process. Returns `None` if the folder is not a process, or the process has ended.
    fn read(folder: &Path) -> Option<Self> {
        let number = folder.file_name()?.to_str()?.parse().ok()?;
        let words = |file: &str| -> Option<Vec<String>> {
            let bytes = fs::read(folder.join(file)).ok()?;
            let words = bytes.split(|byte| *byte == 0);
            Some(words.map(|word| String::from_utf8_lossy(word).into_owned()).collect())
        };
        let kinds = ["net", "mnt", "pid", "user"];
        let links = kinds.map(|kind| fs::read_link(folder.join("ns").join(kind)).ok());
        let links = links.into_iter().flatten().map(|link| link.display().to_string());
        let namespaces: Vec<String> = links.collect();
        let pid_namespace = namespaces.iter().find(|link| link.starts_with("pid:"))?.clone();
        let (command, environment) = (words("cmdline")?.join(" "), words("environ")?);
        Some(Self { number, command, environment, pid_namespace, namespaces })
    }
}

/// Waits until the machine looks as before. Killed processes end one after another, as `cluster::sandbox` describes.
fn wait_until_equal(before: &MachineSnapshot, marked_cluster: &MarkedCluster) {
    let limit = Instant::now() + END_TIMEOUT;
    loop {
        let now = MachineSnapshot::take(marked_cluster);
        if now == *before {
            return;
        }
        assert!(Instant::now() < limit, "left behind: {now:#?}\nbefore: {before:#?}");
        std::thread::sleep(POLL_INTERVAL);
    }
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
