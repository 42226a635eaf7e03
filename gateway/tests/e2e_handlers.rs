//! Class handlers in a running gateway: what their answers do, how they fail, and how they are replaced.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests fail by panicking")]
#![allow(clippy::panic, reason = "tests fail by panicking")]

#[path = "support/missing.rs"]
mod missing;
#[path = "../plugin-host/guests/modules.rs"]
mod modules;
#[path = "support/plugins.rs"]
mod plugins;
mod support;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use plugins::module;
use support::fixtures::{Ingress, Manifests, ingress, ingress_class, ingress_class_config, service};
use support::{Origin, TestGateway, until};

const HANDLER: &str =
    "handler: {url: \"file://handler.wasm\", dialect: [test.example/], config: {greeting: hello}}";

/// Returns a class with a handler, and a Service with the endpoint.
fn class(origin: &Origin) -> Manifests {
    ingress_class("gateway").default_class()
        + ingress_class("dialect").config("dialect")
        + ingress_class_config("dialect").spec(HANDLER)
        + service("web").endpoints(&[origin.address])
}

fn web(name: &str, host: &str) -> Ingress {
    ingress(name).class("dialect").host(host).path("/", "web")
}

/// Starts a gateway with a module beside its YAML.
fn start(yaml: &Manifests, module: &Path) -> TestGateway {
    let gateway = TestGateway::start(yaml);
    place(&gateway, &std::fs::read(module).unwrap());
    gateway
}

/// Puts a module in place by a rename, so that it is never read half.
fn place(gateway: &TestGateway, bytes: &[u8]) {
    let new = gateway.path("handler.new");
    std::fs::write(&new, bytes).unwrap();
    std::fs::rename(new, gateway.path("handler.wasm")).unwrap();
}

fn status(gateway: &TestGateway, host: &str) -> u16 {
    gateway.get(host, "/").status()
}

fn problems(gateway: &TestGateway) -> String {
    gateway.admin("/problems").1
}

fn guest(test: &str) -> Option<PathBuf> {
    module("handler", test)
}

#[test]
fn answers_become_routes_policies_and_problems() {
    let Some(module) = guest("answers") else { return };
    let origin = Origin::named("web");
    let yaml = class(&origin)
        + web("plain", "plain.example")
        + web("small", "small.example").annotation("test.example/body-size", "4")
        + web("closed", "closed.example").annotation("test.example/closed", "yes")
        + web("differs", "differs.example").annotation("test.example/differs", "slower than elsewhere")
        + web("forgotten", "forgotten.example").annotation("test.example/forgotten", "yes")
        + web("dropped", "dropped.example").annotation("test.example/behave", "drop");
    let gateway = start(&yaml, &module);
    until("the handler answers", || status(&gateway, "plain.example") == 200);
    for (host, expected) in [
        ("small.example", 200),
        ("closed.example", 503),
        ("differs.example", 200),
        ("forgotten.example", 200),
        ("dropped.example", 503),
        ("unknown.example", 404),
    ] {
        assert_eq!(status(&gateway, host), expected, "{host}");
    }
    let closed = gateway.get("closed.example", "/");
    assert_eq!(closed.field("gateway-reason"), Some("annotation_not_honoured"));
    let mut client = gateway.client();
    client.send("POST / HTTP/1.1\r\nhost: small.example\r\ncontent-length: 5\r\n\r\n");
    assert_eq!(client.response().status(), 413, "the policy of the handler applies");
    let text = problems(&gateway);
    for expected in [
        "default/closed metadata.annotations[test.example/closed]: AnnotationNotHonoured: logins are not supported; the \
         paths on its host get a 503",
        "default/differs metadata.annotations[test.example/differs]: AnnotationDiffers: slower than elsewhere",
        "default/forgotten metadata.annotations[test.example/forgotten]: AnnotationUnjudged:",
        "default/dropped spec.rules[0].http.paths[0]: HandlerFailed: the class handler returned no rule for this path",
    ] {
        assert!(text.contains(expected), "{expected}\n{text}");
    }
    let (_, explanation) = gateway.admin("/explain?url=http://small.example/");
    assert!(explanation.contains("annotation test.example/body-size"), "{explanation}");
}

#[test]
fn hostile_handlers_cost_their_own_ingress() {
    let Some(module) = guest("hostile handlers") else { return };
    let origin = Origin::named("web");
    let failures = [
        ("loop", "it took longer than 1s"),
        (
            "allocate",
            "it trapped: wasm `unreachable` instruction executed (it reached its limit of 67108864 bytes",
        ),
        ("trap", "it trapped"),
        ("exit", "it ended with code 7"),
        ("garbage", "its output is no ResourceList of a handler"),
        ("flood", "it wrote more than 4194304 bytes"),
        ("foreign", "its output is refused: HTTPRoute kube-system/foreign is of Ingress kube-system/foreign"),
        ("file", "it trapped"),
    ];
    let mut yaml = class(&origin);
    for (how, _) in failures {
        // A neighbour on the same host, and one of another namespace.
        yaml += web(how, &format!("{how}.example")).annotation("test.example/behave", how);
        yaml += ingress(&format!("{how}-neighbour"))
            .class("dialect")
            .host(&format!("{how}.example"))
            .path("/neighbour", "web");
    }
    // It is asked about first.
    yaml += web("plain", "a.example");
    let gateway = start(&yaml, &module);
    until("the handler answers", || status(&gateway, "a.example") == 200);
    until("all failures are known", || problems(&gateway).matches("HandlerFailed").count() == failures.len());
    let text = problems(&gateway);
    for (how, reason) in failures {
        let host = format!("{how}.example");
        let expected =
            format!("Ingress default/{how}: HandlerFailed: the class handler failed for {host}: {reason}");
        assert!(text.contains(&expected), "{expected}\n{text}");
        assert_eq!(status(&gateway, &host), 503, "{how} has no answer");
        assert_eq!(gateway.get(&host, "/neighbour").status(), 200, "the neighbour of {how}");
    }
    assert!(text.contains("no luck; the paths get a 503"), "{text}");
    assert_eq!(gateway.admin("/readyz").0, 200);
    let (_, handlers) = gateway.admin("/handlers");
    assert!(handlers.contains("class dialect") && handlers.contains("ready"), "{handlers}");
}

#[test]
fn last_good_answer_stays_until_deletion() {
    let Some(module) = guest("last good answers") else { return };
    let origin = Origin::named("web");
    let good = class(&origin) + web("shop", "shop.example");
    let gateway = start(&good, &module);
    until("the handler answers", || status(&gateway, "shop.example") == 200);
    let broken = class(&origin)
        + web("shop", "shop.example")
            .host("new.example")
            .path("/", "web")
            .annotation("test.example/behave", "trap");
    gateway.replace("all.yaml", &broken);
    until("the failure is known", || problems(&gateway).contains("failed for shop.example"));
    assert_eq!(status(&gateway, "shop.example"), 200);
    assert!(problems(&gateway).contains("its last answer stays in use"), "{}", problems(&gateway));
    assert_eq!(status(&gateway, "new.example"), 503, "there is no answer for it");
    let moved = class(&origin)
        + ingress("shop")
            .class("dialect")
            .host("new.example")
            .path("/", "web")
            .annotation("test.example/behave", "trap");
    gateway.replace("all.yaml", &moved);
    until("the host is withdrawn", || status(&gateway, "shop.example") == 404);
    gateway.replace("all.yaml", &class(&origin));
    until("the Ingress is withdrawn", || status(&gateway, "new.example") == 404);
    assert!(!problems(&gateway).contains("HandlerFailed"), "{}", problems(&gateway));
}

#[test]
fn module_that_is_refused_closes_or_keeps() {
    let Some(module) = guest("refused modules") else { return };
    let origin = Origin::named("web");
    let yaml = class(&origin)
        + web("shop", "shop.example")
        + ingress("other").host("other.example").path("/", "web");
    let gateway = TestGateway::start(&yaml);
    assert_eq!(status(&gateway, "shop.example"), 503);
    until("the module is refused", || problems(&gateway).contains("HandlerRefused"));
    until("the Ingress has a Problem", || problems(&gateway).contains("its module cannot be loaded"));
    assert_eq!(status(&gateway, "other.example"), 200, "a class without a handler");
    assert_eq!(gateway.admin("/readyz").0, 200);
    place(&gateway, &std::fs::read(module).unwrap());
    until("the module is loaded", || status(&gateway, "shop.example") == 200);
    until("its Problem is solved", || !problems(&gateway).contains("Handler"));
    place(&gateway, b"garbage");
    until("the new module is refused", || problems(&gateway).contains("HandlerRefused"));
    assert_eq!(status(&gateway, "shop.example"), 200, "the version before answers");
    let (_, handlers) = gateway.admin("/handlers");
    assert!(handlers.contains("calls 1 failed 0 "), "the input is the same: {handlers}");
}

#[test]
fn alias_serves_only_hosts_that_no_rule_names() {
    let Some(module) = guest("aliases") else { return };
    let origin = Origin::named("web");
    let other = Origin::named("other");
    let yaml = class(&origin)
        + service("other").endpoints(&[other.address])
        + web("shop", "shop.example").annotation("test.example/alias", "www.example")
        + web("greedy", "greedy.example").annotation("test.example/alias", "taken.example")
        + ingress("taken").class("dialect").host("taken.example").path("/only", "other");
    let gateway = start(&yaml, &module);
    until("the handler answers", || status(&gateway, "www.example") == 200);
    assert_eq!(gateway.get("taken.example", "/only").text(), "other");
    assert_eq!(status(&gateway, "taken.example"), 404, "an alias adds nothing to a host of another Ingress");
    let text = problems(&gateway);
    assert!(
        text.contains("Ingress default/greedy: Conflict: the class handler adds host taken.example"),
        "{text}"
    );
}

#[test]
fn reload_under_load_moves_routes_without_failures() {
    let Some(module) = guest("reload under load") else { return };
    let (one, two) = (Origin::named("one"), Origin::named("two"));
    let yaml = class(&one) + service("two").endpoints(&[two.address]) + web("shop", "shop.example");
    let gateway = start(&yaml, &module);
    until("the first version answers", || status(&gateway, "shop.example") == 200);
    let first = std::fs::read(&module).unwrap();
    let at = first.windows(11).position(|bytes| bytes == b"version-one").unwrap();
    let mut second = first.clone();
    second[at..at + 11].copy_from_slice(b"version-two");
    let stop = Arc::new(AtomicBool::new(false));
    let load: Vec<_> = (0..2)
        .map(|_| {
            let (stop, mut client) = (Arc::clone(&stop), gateway.client());
            std::thread::spawn(move || {
                let mut count = 0_u64;
                while !stop.load(Ordering::Relaxed) {
                    let response = client.get("shop.example", "/");
                    assert_eq!(response.status(), 200, "{}", response.text());
                    count += 1;
                }
                count
            })
        })
        .collect();
    for round in 0..4 {
        let (bytes, expected) = if round % 2 == 0 { (&second, "two") } else { (&first, "one") };
        place(&gateway, bytes);
        until("the routes move", || gateway.get("shop.example", "/").text() == expected);
    }
    stop.store(true, Ordering::Relaxed);
    let sent: u64 = load.into_iter().map(|client| client.join().unwrap()).sum();
    assert!(sent > 100, "{sent}");
}
