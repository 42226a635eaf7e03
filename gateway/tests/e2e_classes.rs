//! Selection of Ingresses by class (`--class`), and of endpoints by the zone of the gateway.

#![allow(clippy::unwrap_used, reason = "tests fail by panicking")]

mod support;

use std::net::SocketAddr;
use std::process::Command;

use support::fixtures::{IngressClass, Manifests, endpoint_slice, ingress, ingress_class, service};
use support::{DEADLINE, Origin, TestGateway, single_route};
use tempfile::TempDir;

/// Returns a class of another controller, with parameters of that controller.
fn nginx_class() -> IngressClass {
    let class = ingress_class("nginx").controller("k8s.io/ingress-nginx");
    class.parameters("k8s.example", "NginxParameters", "x")
}

/// Returns one Ingress of class `nginx` by field, and one of class `ghost` by the old annotation.
fn foreign_ingresses(origin: &Origin) -> Manifests {
    let by_field = ingress("field").class("nginx").host("field.example").path("/", "a");
    let by_annotation = ingress("annotation").annotation("kubernetes.io/ingress.class", "ghost");
    let by_annotation = by_annotation.host("annotation.example").path("/", "a");
    nginx_class() + by_field + by_annotation + service("a").endpoints(&[origin.address])
}

#[test]
fn foreign_class_is_served_only_if_it_is_configured() {
    let origin = Origin::named("a");
    let yaml = foreign_ingresses(&origin);
    let gateway = TestGateway::start(&yaml);
    for host in ["field.example", "annotation.example"] {
        assert_eq!(gateway.get(host, "/").field("gateway-reason"), Some("no_rule"), "{host}");
    }
    let classes = vec!["nginx".to_owned(), "ghost".to_owned()];
    let gateway = TestGateway::changed(&yaml, |options| options.settings.routing.classes = classes);
    gateway.gateway.wait(1, DEADLINE).unwrap();
    for host in ["field.example", "annotation.example"] {
        assert_eq!(gateway.get(host, "/").text(), "a", "{host}");
    }
    assert_eq!(gateway.gateway.problems().all(), [], "foreign parameters are not a Problem");
    let classless = TestGateway::changed(&(nginx_class() + single_route(&origin)), |options| {
        options.settings.routing.classes = vec!["nginx".to_owned()]
    });
    classless.gateway.wait(1, DEADLINE).unwrap();
    let response = classless.get("a.example", "/");
    assert_eq!(
        response.field("gateway-reason"),
        Some("no_rule"),
        "the configured class is not the default class"
    );
}

/// Returns a route to Service `a`, which has one endpoint in each of two zones.
fn two_zones(east: SocketAddr, west: SocketAddr) -> Manifests {
    ingress("i").host("a.example").path("/", "a")
        + service("a")
        + endpoint_slice("a-east", "a", east).for_zone("east")
        + endpoint_slice("a-west", "a", west).for_zone("west")
}

#[test]
fn endpoints_hinted_for_the_zone_of_the_gateway_are_preferred() {
    let (east, west) = (Origin::named("east"), Origin::named("west"));
    let yaml = two_zones(east.address, west.address);
    for zone in ["east", "west"] {
        let gateway =
            TestGateway::changed(&yaml, |options| options.settings.routing.zone = Some(zone.to_owned()));
        gateway.gateway.wait(1, DEADLINE).unwrap();
        for _ in 0..4 {
            assert_eq!(gateway.get("a.example", "/").text(), zone);
        }
    }
    let without_zone = TestGateway::start(&yaml);
    let endpoints: std::collections::BTreeSet<_> =
        (0..4).map(|_| without_zone.get("a.example", "/").text().to_owned()).collect();
    assert_eq!(endpoints.len(), 2, "a gateway without a zone uses all endpoints: {endpoints:?}");
}

/// Returns a folder with one file.
fn folder(manifests: &Manifests) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("all.yaml"), manifests.to_yaml()).unwrap();
    folder
}

/// Runs `gateway explain`, and returns its output.
fn explain(folder: &TempDir, url: &str, arguments: &[&str], variables: &[(&str, &str)]) -> String {
    let mut command = Command::new(env!("CARGO_BIN_EXE_gateway"));
    command.args(["explain", url, "--files"]).arg(folder.path()).args(arguments);
    // The namespace of the gateway's Pod has no effect on a folder.
    command.envs(variables.iter().copied()).env("POD_NAMESPACE", "elsewhere");
    let output = command.output().unwrap();
    String::from_utf8(output.stdout).unwrap() + &String::from_utf8(output.stderr).unwrap()
}

#[test]
fn explain_and_check_honour_class_and_zone() {
    let origin = Origin::named("a");
    let foreign = folder(&foreign_ingresses(&origin));
    let served =
        explain(&foreign, "http://field.example/", &["--class", "nginx"], &[("GATEWAY_CLASSES", "ghost")]);
    assert!(served.contains("of Ingress default/field ") && served.contains("forwarded to"), "{served}");
    let rejected = explain(&foreign, "http://field.example/", &["--class", "ghost"], &[]);
    assert!(rejected.contains("no_rule"), "{rejected}");
    let by_variable = explain(&foreign, "http://field.example/", &[], &[("GATEWAY_CLASSES", "nginx")]);
    assert!(
        by_variable.contains("of Ingress default/field ") && by_variable.contains("forwarded to"),
        "{by_variable}"
    );

    let zoned = folder(&two_zones("10.0.0.1:80".parse().unwrap(), "10.0.0.2:80".parse().unwrap()));
    let west = explain(&zoned, "http://a.example/", &[], &[("GATEWAY_ZONE", "west")]);
    assert!(west.contains("sends to 10.0.0.2:80\n"), "{west}");

    let check = Command::new(env!("CARGO_BIN_EXE_gateway"))
        .args(["check", "--class", "nginx", "--class", ""])
        .arg(foreign.path())
        .output()
        .unwrap();
    assert_eq!(check.status.code(), Some(2), "an empty class name is rejected: {check:?}");
}

#[test]
fn explain_rejects_class_without_files() {
    let output = Command::new(env!("CARGO_BIN_EXE_gateway"))
        .args(["explain", "http://a.example/", "--class", "nginx"])
        .output()
        .unwrap();
    let error = String::from_utf8(output.stderr).unwrap();
    assert!(!output.status.success() && error.contains("--class is for --files"), "{error}");
}
