//! The suite against the built gateway, with both drivers.

use std::collections::BTreeSet;
use std::path::Path;
use std::path::PathBuf;
use std::process::Command;

use serde_json::Value;

use crate::missing;
use crate::parts;

const TOOL: &str = env!("CARGO_BIN_EXE_conformance");

fn gateway() -> PathBuf {
    Path::new(TOOL).with_file_name("gateway")
}

/// Asserts that a JSON report has all upstream cases as passed, and no failure.
fn assert_conformant(report: &Path, output: &str) {
    let text = std::fs::read_to_string(report).unwrap_or_else(|error| panic!("{error}: {output}"));
    let report: Value = serde_json::from_str(&text).unwrap();
    let cases = report["cases"].as_array().unwrap();
    let is = |case: &&Value, outcome: &str| case["outcome"] == outcome;
    let failed: BTreeSet<&str> =
        cases.iter().filter(|case| is(case, "failed")).map(|case| case["id"].as_str().unwrap()).collect();
    assert!(failed.is_empty(), "{failed:?}\n{output}");
    let upstream = cases.iter().filter(|case| !case["upstream"].is_null() && is(case, "passed")).count();
    assert_eq!(upstream, 30, "passed cases of the upstream suite\n{output}");
    let core = cases.iter().filter(|case| case["level"] == "core");
    assert!(core.clone().count() > 60 && core.clone().all(|case| is(&case, "passed")), "{output}");
}

#[test]
fn gateway_of_a_folder_conforms() {
    if !gateway().is_file() {
        return missing::skipped("gateway_of_a_folder_conforms: the gateway is not built");
    }
    let folder = tempfile::tempdir().unwrap();
    let report = folder.path().join("report.json");
    let output = Command::new(TOOL)
        .args(["run", "--local", "--level", "ours", "--timeout", "60", "--report"])
        .arg(format!("json={}", report.display()))
        .output()
        .unwrap();
    assert_conformant(&report, &String::from_utf8_lossy(&output.stderr));
}

#[test]
fn gateway_of_a_cluster_conforms_and_nothing_remains() {
    if let Some(reason) = parts::missing() {
        return missing::skipped(&format!("the suite in a cluster: {reason}"));
    }
    let folder = tempfile::tempdir().unwrap();
    let report = folder.path().join("report.json");
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let script = "sh conformance/controllers/gateway.sh --level ours --report json=$REPORT
        conformance run --ingress-class none 2>&1; echo \"exit code $?\"
        conformance run --ingress-class gateway --address 10.50.0.1:1 --timeout 1 2>&1; echo \"exit code $?\"
        kubectl create serviceaccount weak >&2
        kubectl create clusterrole weak --verb=list --resource=ingressclasses >&2
        kubectl create clusterrolebinding weak --clusterrole=weak --serviceaccount=default:weak >&2
        kubectl config view --raw >/run/weak
        kubectl --kubeconfig /run/weak config set-credentials admin --token=$(kubectl create token weak) >&2
        conformance run --kubeconfig /run/weak 2>&1; echo \"exit code $?\"
        conformance run --ingress-class gateway --address 10.50.0.1:6443 --run path/exact >/dev/null 2>&1 &
        timeout 60 sh -c 'until kubectl get namespaces -o name | grep -q ingress-conformance.*-0; do sleep 0.1; done'
        kill -INT $!; wait $!; echo \"interrupted: $?\"
        kubectl wait --for=delete namespace --selector=ingress-conformance.wasm-gateway.dev/run --timeout=120s
        kubectl get namespaces -o name | grep -c ingress-conformance";
    let output = Command::new(TOOL)
        .current_dir(root)
        .env("REPORT", &report)
        .args(["cluster", "run", "--", "sh", "-c", script])
        .output()
        .unwrap();
    let stdout = String::from_utf8_lossy(&output.stdout);
    let text = format!("{stdout}\n{}", String::from_utf8_lossy(&output.stderr));
    assert_conformant(&report, &text);
    assert!(
        stdout.contains("there is no IngressClass \"none\" (--ingress-class); the cluster has \"gateway\""),
        "{text}"
    );
    assert!(stdout.contains("lacks rights in all namespaces: create namespaces, "), "{text}");
    assert!(stdout.contains("cannot connect to 10.50.0.1:1: "), "{text}");
    assert_eq!(stdout.matches("exit code 2").count(), 3, "{text}");
    assert!(stdout.contains("interrupted: 130"), "{text}");
    assert!(stdout.ends_with("\n0\n"), "namespaces remain: {text}");
}
