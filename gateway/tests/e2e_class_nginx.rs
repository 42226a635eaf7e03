//! The class handler class-nginx in a running gateway: the verdicts of its ledger hold for the data plane.

#![allow(clippy::unwrap_used, clippy::panic, reason = "tests fail by panicking")]

#[path = "support/missing.rs"]
mod missing;
#[path = "../plugin-host/guests/modules.rs"]
mod modules;
#[path = "support/plugins.rs"]
mod plugins;
mod support;

use std::path::{Path, PathBuf};
use std::process::Command;

use class_nginx::DIALECT;
use class_nginx::keys::KEYS;
use plugins::module;
use support::fixtures::{Ingress, Manifests, ingress, ingress_class, ingress_class_config, service};
use support::{Origin, TestGateway, until};

const HANDLER: &str = "handler: {url: \"file://class_nginx.wasm\", dialect: [nginx.ingress.kubernetes.io/]}";

/// Builds the module. Returns `None`, and notes it, without the target.
fn built(test: &str) -> Option<PathBuf> {
    module("noop", test)?;
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let artifacts = modules::artifacts("plugins").unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_gateway"));
    command.args(["plugin", "build", "plugins/class-nginx"]).current_dir(root).env_remove("GATEWAY_LOG");
    let output = command.env("CARGO_TARGET_DIR", &artifacts).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    Some(artifacts.join("wasm32-wasip1/plugin/class_nginx.wasm"))
}

/// Starts a gateway with the module beside its YAML.
fn start(yaml: &Manifests, module: &Path) -> TestGateway {
    let gateway = TestGateway::start(yaml);
    let new = gateway.path("class_nginx.new");
    std::fs::copy(module, &new).unwrap();
    std::fs::rename(new, gateway.path("class_nginx.wasm")).unwrap();
    gateway
}

fn class(origin: &Origin) -> Manifests {
    ingress_class("gateway").default_class()
        + ingress_class("nginx").config("nginx")
        + ingress_class_config("nginx").spec(HANDLER)
        + service("web").endpoints(&[origin.address])
}

fn web(name: &str, host: &str) -> Ingress {
    ingress(name).class("nginx").host(host).path("/", "web")
}

/// Values of each annotation: one that is valid for most, and two that are not.
const VALUES: [&str; 3] = ["true", "https://other.example$request_uri", "\";}{"];

#[test]
fn verdict_of_every_annotation_holds() {
    let Some(module) = built("verdicts of class-nginx") else { return };
    let origin = Origin::named("web");
    let mut yaml = class(&origin) + web("plain", "plain.example");
    for key in KEYS {
        for (index, value) in VALUES.iter().enumerate() {
            let name = format!("{}-{index}", key.name);
            yaml +=
                web(&name, &format!("{name}.example")).annotation(&format!("{DIALECT}{}", key.name), value);
        }
    }
    let gateway = start(&yaml, &module);
    until("the handler answers", || gateway.get("plain.example", "/").status() == 200);
    let last = KEYS.last().map(|key| format!("{}-{}.example", key.name, VALUES.len() - 1)).unwrap();
    until("the handler answers for the last host", || gateway.get(&last, "/").status() == 200);
    let problems = gateway.admin("/problems").1;
    for key in KEYS {
        for index in 0..VALUES.len() {
            let name = format!("{}-{index}", key.name);
            let field = format!("Ingress default/{name} metadata.annotations[{DIALECT}{}]: ", key.name);
            let is_closed = problems.contains(&format!("{field}AnnotationNotHonoured"));
            let status = gateway.get(&format!("{name}.example"), "/").status();
            match is_closed {
                true => assert_eq!(status, 503, "{name} is closed"),
                // A canary without another Ingress has no route.
                false if name == "canary-0" => assert_eq!(status, 404, "{name}"),
                false => assert!([200, 301, 302, 308].contains(&status), "{name}: {status}"),
            }
        }
    }
    assert!(!problems.contains("AnnotationUnjudged"), "{problems}");
    assert!(!problems.contains("HandlerFailed"), "{problems}");
}

#[test]
fn annotations_of_a_host_work_together() {
    let Some(module) = built("hosts of class-nginx") else { return };
    let (web_origin, next) = (Origin::named("web"), Origin::named("next"));
    let key = |name: &str| format!("{DIALECT}{name}");
    let yaml = class(&web_origin)
        + service("next").endpoints(&[next.address])
        + ingress("regex")
            .class("nginx")
            .host("a.example")
            .path("/v[0-9]+", "next")
            .annotation(&key("use-regex"), "true")
        + web("other", "a.example").annotation(&key("server-alias"), "alias.example")
        + ingress("redirect")
            .class("nginx")
            .host("b.example")
            .path("/", "web")
            .annotation(&key("permanent-redirect"), "https://c.example$request_uri")
        + ingress("forced").class("nginx").host("d.example").path("/docs/", "web")
        + ingress("canary")
            .class("nginx")
            .host("e.example")
            .path("/", "next")
            .annotation(&key("canary"), "true")
            .annotation(&key("canary-by-header"), "X-Canary")
        + web("main", "e.example");
    let gateway = start(&yaml, &module);
    until("the handler answers", || gateway.get("e.example", "/").status() == 200);
    until("the handler answers", || gateway.get("a.example", "/").status() == 200);
    for (host, path, expected) in [
        ("a.example", "/V7/x", "next"),
        ("a.example", "/x", "web"),
        ("alias.example", "/v1", "next"),
        ("e.example", "/", "web"),
    ] {
        let response = gateway.get(host, path);
        assert_eq!(response.text(), expected, "{host}{path}");
    }
    let redirect = gateway.get("b.example", "/x?y");
    assert_eq!((redirect.status(), redirect.field("location")), (301, Some("https://c.example/x?y")));
    let slash = gateway.get("d.example", "/docs");
    assert_eq!(slash.status(), 301);
    assert!(slash.field("location").is_some_and(|target| target.ends_with("/docs/")));
    let mut client = gateway.client();
    client.send("GET / HTTP/1.1\r\nhost: e.example\r\nx-canary: always\r\n\r\n");
    assert_eq!(client.response().text(), "next", "the header chooses the canary");
}
