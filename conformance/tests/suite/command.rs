//! The command line of `conformance run`: exit codes and messages of bad input.

use std::fs;
use std::process::Command;
use std::process::Output;

fn run(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_conformance")).arg("run").args(arguments).output().unwrap()
}

#[test]
fn bad_input_is_reported_before_the_first_request() {
    let folder = tempfile::tempdir().unwrap();
    let area = folder.path().join("area");
    fs::create_dir(&area).unwrap();
    fs::write(area.join("typo.yaml"), "level: core\nrule: r\nsource: s\nrequest: []\n").unwrap();
    fs::write(folder.path().join("config"), "clusters: [").unwrap();
    let path = |name: &str| folder.path().join(name).display().to_string();
    struct Row {
        arguments: Vec<String>,
        message: &'static str,
    }
    let row = |arguments: &[&str], message| Row {
        arguments: arguments.iter().map(|text| (*text).to_owned()).collect(),
        message,
    };
    let rows = [
        row(&["--local", "--cases", &path("")], "area/typo.yaml:4: "),
        row(&["--local", "--cases", &path("none")], "cannot read "),
        row(&["--local", "--run", "no-such-case"], "no case is selected"),
        row(&["--local", "--features", "Teleport"], "no case has the feature \"Teleport\""),
        row(&["--local", "--gateway", &path("none")], "cannot start "),
        row(&["--local", "--gateway", "/bin/true"], "the gateway exited"),
        row(&["--kubeconfig", &path("none")], "none"),
        row(&["--kubeconfig", &path("config")], "config"),
        row(&["--address", "nowhere"], "neither IP nor IP:PORT"),
        row(&["--local", "--report", "csv=a"], "none of json, junit and yaml"),
    ];
    for row in rows {
        let arguments: Vec<&str> = row.arguments.iter().map(String::as_str).collect();
        let output = run(&arguments);
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{arguments:?}: {stderr}");
        assert!(stderr.contains(row.message), "{arguments:?}: {stderr}");
    }
}

#[test]
fn list_prints_the_selected_cases_only() {
    let output = run(&["--list", "--level", "core", "--run", "exact /foo matches request /foo"]);
    assert_eq!(String::from_utf8_lossy(&output.stdout), "core     path/exact\n");
    assert_eq!(output.status.code(), Some(0));
}
