//! Which Ingresses are served, and from which endpoints, by who this gateway is: `--class` and the zone.

#![allow(clippy::unwrap_used, reason = "tests fail by panicking")]

mod support;

use std::net::SocketAddr;
use std::process::Command;

use support::{DEADLINE, Origin, TestGateway, ingress, one, service};
use tempfile::TempDir;

/// An IngressClass that another controller owns, with parameters of that controller.
const NGINX: &str = "---
apiVersion: networking.k8s.io/v1
kind: IngressClass
metadata: {name: nginx}
spec:
  controller: k8s.io/ingress-nginx
  parameters: {apiGroup: k8s.example, kind: NginxParameters, name: x}
";

/// One Ingress of class `nginx` by field, one of class `ghost` by the old annotation.
fn others(origin: &Origin) -> String {
    let by_field =
        ingress("field", "field.example", &[("/", "a")]).replace("spec:", "spec:\n  ingressClassName: nginx");
    let by_annotation = ingress("annotation", "annotation.example", &[("/", "a")]).replace(
        "metadata: {name: annotation}",
        "metadata: {name: annotation, annotations: {kubernetes.io/ingress.class: ghost}}",
    );
    NGINX.to_owned() + &by_field + &by_annotation + &service("a", &[origin.address])
}

#[test]
fn a_class_of_another_controller_is_served_if_it_is_taken_by_name() {
    let origin = Origin::named("a");
    let yaml = others(&origin);
    let gateway = TestGateway::start(&yaml);
    for host in ["field.example", "annotation.example"] {
        assert_eq!(gateway.get(host, "/").field("gateway-reason"), Some("no_rule"), "{host} is not ours");
    }
    let classes = vec!["nginx".to_owned(), "ghost".to_owned()];
    let gateway = TestGateway::changed(&yaml, |options| options.settings.routing.classes = classes);
    gateway.gateway.wait(1, DEADLINE).unwrap();
    for host in ["field.example", "annotation.example"] {
        assert_eq!(gateway.get(host, "/").text(), "a", "{host}");
    }
    assert_eq!(gateway.gateway.problems().all(), [], "another controller's parameters are no mistake");
    let classless = TestGateway::changed(&(NGINX.to_owned() + &one(&origin)), |options| {
        options.settings.routing.classes = vec!["nginx".to_owned()]
    });
    classless.gateway.wait(1, DEADLINE).unwrap();
    let answer = classless.get("a.example", "/");
    assert_eq!(
        answer.field("gateway-reason"),
        Some("no_rule"),
        "there is a class of ours, which is not the default"
    );
}

/// Service `a` with an endpoint for each of two zones.
fn zoned(east: SocketAddr, west: SocketAddr) -> String {
    let slice = |zone: &str, address: SocketAddr| {
        format!(
            "---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {{name: a-{zone}, labels: {{kubernetes.io/service-name: a}}}}
addressType: IPv4
ports: [{{name: '', port: {}}}]
endpoints: [{{addresses: ['{}'], hints: {{forZones: [{{name: {zone}}}]}}}}]
",
            address.port(),
            address.ip()
        )
    };
    let service = "---\napiVersion: v1\nkind: Service\nmetadata: {name: a}\nspec: {ports: [{port: 80}]}\n";
    ingress("i", "a.example", &[("/", "a")]) + service + &slice("east", east) + &slice("west", west)
}

#[test]
fn endpoints_with_hints_for_the_zone_of_the_gateway_are_preferred() {
    let (east, west) = (Origin::named("east"), Origin::named("west"));
    let yaml = zoned(east.address, west.address);
    for zone in ["east", "west"] {
        let gateway =
            TestGateway::changed(&yaml, |options| options.settings.routing.zone = Some(zone.to_owned()));
        gateway.gateway.wait(1, DEADLINE).unwrap();
        for _ in 0..4 {
            assert_eq!(gateway.get("a.example", "/").text(), zone);
        }
    }
    let nowhere = TestGateway::start(&yaml);
    let answers: std::collections::BTreeSet<_> =
        (0..4).map(|_| nowhere.get("a.example", "/").text().to_owned()).collect();
    assert_eq!(answers.len(), 2, "without a zone all endpoints take turns: {answers:?}");
}

fn folder(yaml: &str) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("all.yaml"), yaml).unwrap();
    folder
}

fn explain(folder: &TempDir, url: &str, arguments: &[&str], variables: &[(&str, &str)]) -> String {
    let mut command = Command::new(env!("CARGO_BIN_EXE_gateway"));
    command.args(["explain", url, "--files"]).arg(folder.path()).args(arguments);
    // Where this gateway's own Pod runs is nothing to a folder.
    command.envs(variables.iter().copied()).env("POD_NAMESPACE", "elsewhere");
    let output = command.output().unwrap();
    String::from_utf8(output.stdout).unwrap() + &String::from_utf8(output.stderr).unwrap()
}

#[test]
fn the_flag_and_the_variables_count_for_commands_too() {
    let origin = Origin::named("a");
    let others = folder(&others(&origin));
    let served =
        explain(&others, "http://field.example/", &["--class", "nginx"], &[("GATEWAY_CLASSES", "ghost")]);
    assert!(served.contains("forwarded by Ingress default/field"), "{served}");
    let refused = explain(&others, "http://field.example/", &["--class", "ghost"], &[]);
    assert!(refused.contains("no_rule"), "{refused}");
    let by_variable = explain(&others, "http://field.example/", &[], &[("GATEWAY_CLASSES", "nginx")]);
    assert!(by_variable.contains("forwarded by Ingress default/field"), "{by_variable}");

    let zoned = folder(&zoned("10.0.0.1:80".parse().unwrap(), "10.0.0.2:80".parse().unwrap()));
    let west = explain(&zoned, "http://a.example/", &[], &[("GATEWAY_ZONE", "west")]);
    assert!(west.contains("dialled: 10.0.0.2:80") && !west.contains("dialled: 10.0.0.1:80"), "{west}");

    let check = Command::new(env!("CARGO_BIN_EXE_gateway"))
        .args(["check", "--class", "nginx", "--class", ""])
        .arg(others.path())
        .output()
        .unwrap();
    assert_eq!(check.status.code(), Some(2), "a class has a name: {check:?}");
}

#[test]
fn a_running_gateway_has_its_classes_already() {
    let output = Command::new(env!("CARGO_BIN_EXE_gateway"))
        .args(["explain", "http://a.example/", "--class", "nginx"])
        .output()
        .unwrap();
    let told = String::from_utf8(output.stderr).unwrap();
    assert!(!output.status.success() && told.contains("--class is for --files"), "{told}");
}
