//! `conformance cluster run` as a user runs it: a real control plane, pods from their own specs, Services that answer,
//! the plain-manifest install of the gateway, and nothing left behind.
//!
//! Needs Go 1.26 (or its work in the cache), `unshare`, `ip`, `curl`, and root or user namespaces.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests fail by panicking")]
#![allow(clippy::disallowed_methods, reason = "the kernel is asked again and again; sleeping is only a pace")]

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

/// How long the kernel may take to end a cluster; a fraction of a second on an idle machine.
const GONE_WITHIN: Duration = Duration::from_secs(15);

/// Between two looks.
const PACE: Duration = Duration::from_millis(50);

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
    let watched = Watched::new();
    let before = Machine::look(&watched);
    let output = watched.cluster(&["sh", "-c", "kubectl get nodes -o name; exit 7"]).output().unwrap();
    assert_eq!(output.status.code(), Some(7), "{}", text(&output));
    assert_eq!(String::from_utf8_lossy(&output.stdout), "node/node-1\nnode/node-2\n");
    until_as(&before, &watched);

    // One SIGKILL ends all of it, pods too.
    let script = "kubectl create deployment left --image=echo --replicas=2 >&2
        kubectl rollout status deployment/left --timeout=60s >&2; echo started; read forever";
    let mut running =
        watched.cluster(&["sh", "-c", script]).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    // Open until the end: the command would end with its input, and a cluster that was left with the command.
    let input = running.stdin.take();
    let mut line = String::new();
    let stdout = running.stdout.take().unwrap();
    std::io::BufRead::read_line(&mut std::io::BufReader::new(stdout), &mut line).unwrap();
    assert_eq!(line, "started\n");
    let during = Machine::look(&watched);
    during.must_show_a_cluster(&before);
    running.kill().unwrap();
    running.wait().unwrap();
    until_as(&before, &watched);
    drop(input);
}

#[test]
fn a_program_that_ends_by_itself_ends_the_cluster_with_its_name() {
    if is_skipped("a_program_that_ends_by_itself_ends_the_cluster_with_its_name") {
        return;
    }
    // One that was stopped on purpose does not: nodes.sh goes on after that.
    for program in ["kube-apiserver", "kube-controller-manager", "kube-scheduler"] {
        // Only processes of this cluster are seen in its PID namespace; the program itself is the link's target.
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

/// A cluster that can be told from all others of this machine: by a variable in its environment, and by a folder that
/// nobody else has. Pods have an environment of their own, but share the PID namespace of the rest.
struct Watched {
    mark: String,
    /// Where it is started, and where it would put temporary files.
    home: tempfile::TempDir,
    /// Where the control plane's programs are kept.
    cache: PathBuf,
}

/// Its value is of one test run alone.
const MARK: &str = "LEFT_BEHIND_TEST";

impl Watched {
    fn new() -> Self {
        let parts = Command::new(TOOL).args(["cluster", "parts"]).output().unwrap();
        assert!(parts.status.success(), "{}", text(&parts));
        Self {
            mark: std::process::id().to_string(),
            home: tempfile::tempdir().unwrap(),
            cache: String::from_utf8(parts.stdout).unwrap().trim_end().into(),
        }
    }

    fn cluster(&self, command: &[&str]) -> Command {
        let mut run = Command::new(TOOL);
        run.args(["cluster", "run", "--"]).args(command).current_dir(self.home.path());
        run.env(MARK, &self.mark).env("TMPDIR", self.home.path()).stdin(Stdio::null());
        run
    }

    fn is_marked(&self, process: &Process) -> bool {
        process.environment.contains(&format!("{MARK}={}", self.mark))
    }
}

/// What a cluster could leave behind.
#[derive(Debug, PartialEq, Eq)]
struct Machine {
    /// Of the watched cluster alone: number and command line.
    processes: BTreeSet<(u32, String)>,
    /// Those that these processes are in; the ones that are bound to a file are mounts.
    namespaces: BTreeSet<String>,
    mounts: BTreeSet<String>,
    files: BTreeSet<PathBuf>,
}

impl Machine {
    fn look(watched: &Watched) -> Self {
        let list = |folder: &Path| fs::read_dir(folder).into_iter().flatten().flatten();
        let all: Vec<Process> =
            list("/proc".as_ref()).filter_map(|entry| Process::read(&entry.path())).collect();
        let own = fs::read_link("/proc/self/ns/pid").unwrap().display().to_string();
        let marked = all.iter().filter(|process| watched.is_marked(process));
        let inside: BTreeSet<&String> =
            marked.map(|process| &process.pid_namespace).filter(|name| **name != own).collect();
        let is_ours =
            |process: &&Process| watched.is_marked(process) || inside.contains(&process.pid_namespace);
        let ours: Vec<&Process> = all.iter().filter(is_ours).collect();
        let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap();
        let folders = [watched.home.path(), &watched.cache, "/run".as_ref(), "/run/netns".as_ref()];
        Self {
            processes: ours.iter().map(|one| (one.number, one.command.clone())).collect(),
            namespaces: ours.iter().flat_map(|one| one.namespaces.iter().cloned()).collect(),
            mounts: mounts.lines().map(str::to_owned).collect(),
            files: folders.into_iter().flat_map(list).map(|entry| entry.path()).collect(),
        }
    }

    /// What would not be seen while it is there would not be seen when it is left, either.
    fn must_show_a_cluster(&self, before: &Self) {
        assert!(before.processes.is_empty(), "{before:#?}");
        for program in ["/etcd", "/kube-apiserver", "/kube-controller-manager", "/kube-scheduler"] {
            assert!(self.processes.iter().any(|(_, line)| line.contains(program)), "no {program}: {self:#?}");
        }
        let pods = self.processes.iter().filter(|(_, line)| line.trim_end().ends_with(" echo"));
        assert_eq!(pods.count(), 2, "{self:#?}");
        // The machine's own, the cluster's and one of each pod; of mounts and PIDs the first two.
        for (kind, least) in [("net:", 4), ("mnt:", 2), ("pid:", 2)] {
            let found = self.namespaces.iter().filter(|name| name.starts_with(kind)).count();
            assert!(found >= least, "{found} times {kind} {self:#?}");
        }
    }
}

/// One process of this machine, as far as it may be seen.
struct Process {
    number: u32,
    command: String,
    environment: Vec<String>,
    pid_namespace: String,
    namespaces: Vec<String>,
}

impl Process {
    /// Nothing if it ended meanwhile, or is no process.
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

/// The chain of `cluster::sandbox` breaks link by link, and the kernel takes its time for each process, so what was
/// killed is gone within moments, not at once.
fn until_as(before: &Machine, watched: &Watched) {
    let limit = Instant::now() + GONE_WITHIN;
    loop {
        let now = Machine::look(watched);
        if now == *before {
            return;
        }
        assert!(Instant::now() < limit, "left behind: {now:#?}\nbefore: {before:#?}");
        std::thread::sleep(PACE);
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
