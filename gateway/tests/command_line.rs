//! The command line itself: the cluster that is chosen, help, version, and how errors are printed.
//!
//! Not here: single commands (`check`, `explain`, `config` and others).

#![allow(clippy::unwrap_used, reason = "tests fail by panicking")]

use std::ffi::OsStr;
use std::path::Path;
use std::process::{Command, Output, Stdio};

use gateway::settings::Settings;

/// Returns the command without the variables of a cluster, and with this home.
fn gateway(home: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_gateway"));
    command.env("HOME", home).env_remove("KUBECONFIG").env_remove("KUBERNETES_SERVICE_HOST");
    command
}

fn run(arguments: impl IntoIterator<Item = impl AsRef<OsStr>>) -> Output {
    gateway(Path::new("/nonexistent")).args(arguments).output().unwrap()
}

/// `run` on free ports, so that only the source can fail.
const RUN: [&str; 9] =
    ["run", "--http", "127.0.0.1:0", "--https", "127.0.0.1:0", "--admin", "127.0.0.1:0", "--probe", "none"];

fn text(bytes: Vec<u8>) -> String {
    String::from_utf8(bytes).unwrap()
}

#[test]
fn run_outside_a_cluster_suggests_what_to_do() {
    let output = run(RUN);
    assert_eq!(output.status.code(), Some(1));
    let error = text(output.stderr);
    assert!(error.starts_with("gateway run: there is no cluster: "), "{error}");
    assert!(error.contains("--files DIR") && error.contains("--kubeconfig FILE"), "{error}");
    assert_eq!(error.lines().count(), 1, "{error}");
}

#[test]
fn kubeconfig_is_found_as_kubectl_finds_it() {
    let home = tempfile::tempdir().unwrap();
    let elsewhere = home.path().join("elsewhere");
    std::fs::create_dir(home.path().join(".kube")).unwrap();
    // A malformed file: the error names the file that was read.
    for file in [home.path().join(".kube/config"), elsewhere.clone()] {
        std::fs::write(file, "clusters: 5\n").unwrap();
    }
    let from_home = gateway(home.path()).args(RUN).output().unwrap();
    let from_variable = gateway(home.path()).args(RUN).env("KUBECONFIG", &elsewhere).output().unwrap();
    for (output, file) in [(from_home, home.path().join(".kube/config")), (from_variable, elsewhere)] {
        let error = text(output.stderr);
        assert_eq!(output.status.code(), Some(1), "{error}");
        let expected = format!("gateway run: cannot read {}: ", file.display());
        assert!(error.lines().any(|line| line.starts_with(&expected)), "{error}");
    }
}

#[test]
fn errors_have_no_timestamp_and_no_level() {
    for (arguments, start) in [
        (&["config", "--set", "x=1"][..], "gateway config: the configuration cannot be used:\n--set: "),
        (&["run", "--files", "/nonexistent"], "gateway run: "),
        (&["run", "--http", "nowhere"], "gateway run: the configuration cannot be used:\n--http: "),
    ] {
        let output = run(arguments);
        let error = text(output.stderr);
        assert_eq!(output.status.code(), Some(1), "{arguments:?}: {error}");
        assert!(error.starts_with(start) && !error.contains("ERROR"), "{arguments:?}: {error}");
    }
}

#[test]
fn reader_that_closes_the_pipe_is_no_error() {
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let mut command = gateway(Path::new("/nonexistent"));
    let child = command.arg("crds").stdout(writer).stderr(Stdio::piped()).spawn().unwrap();
    let output = child.wait_with_output().unwrap();
    assert_eq!((output.status.code(), text(output.stderr).as_str()), (Some(0), ""));
}

#[test]
fn version_names_the_build() {
    let version = text(run(["--version"]).stdout);
    let (start, build) = version.trim().split_once(" (").unwrap();
    assert_eq!(start, format!("gateway {}", env!("CARGO_PKG_VERSION")));
    let build = build.trim_end_matches(')');
    let is_commit = build.len() >= 7 && build.chars().all(|c| c.is_ascii_hexdigit());
    assert!(is_commit || ["debug build", "commit unknown"].contains(&build), "{version}");
}

#[test]
fn help_of_run_has_the_defaults_of_the_code() {
    let help = text(run(["run", "--help"]).stdout);
    let words = help.split_whitespace().collect::<Vec<_>>().join(" ");
    let (folder, cluster) = (Settings::default().listeners, Settings::in_cluster("x").listeners);
    let probe = cluster.probe.unwrap();
    for default in [
        format!("[default: {} with --files, else {}]", folder.http, cluster.http),
        format!("[default: {} with --files, else {}]", folder.https, cluster.https),
        format!("[default: {}]", folder.admin),
        format!("[default: none with --files, else {probe}]"),
    ] {
        assert!(words.contains(&default), "{default} is not in:\n{help}");
    }
    assert_eq!(folder.admin, cluster.admin);
}
