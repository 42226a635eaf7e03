//! The plugins that we ship, as built modules: their sizes, what they import, their cases in the real host, and the same
//! requests in Envoy and in the gateway.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests fail by panicking")]
#![allow(clippy::panic, clippy::indexing_slicing, reason = "tests fail by panicking")]

#[path = "support/beside_envoy.rs"]
mod beside_envoy;
#[path = "support/envoy.rs"]
mod envoy;
#[path = "../plugin-host/guests/envoy.rs"]
mod envoy_config;
#[path = "support/missing.rs"]
mod missing;
#[path = "../plugin-host/guests/modules.rs"]
mod modules;
#[path = "support/plugins.rs"]
mod plugins;
mod support;

use std::path::{Path, PathBuf};
use std::process::Command;

use beside_envoy::{CHECK, Case, compare};
use missing::skipped;
use plugins::{Sent, get, module, post};
use serde_json::{Value, json};

/// Each plugin, and the maximum size of its module in KiB.
const PLUGINS: [(&str, u64); 5] =
    [("hello", 100), ("header-rewrite", 250), ("api-key", 250), ("ext-auth", 250), ("jwt", 600)];

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned()
}

/// Runs a command of plugin authors for a shipped plugin. Returns its standard output.
fn gateway(arguments: &[&str]) -> String {
    let mut command = Command::new(env!("CARGO_BIN_EXE_gateway"));
    command.arg("plugin").args(arguments).current_dir(root()).env_remove("GATEWAY_LOG");
    command.env("CARGO_TARGET_DIR", modules::artifacts("plugins").unwrap());
    let output = command.output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{arguments:?}\n{text}\n{}", String::from_utf8_lossy(&output.stderr));
    text
}

/// Builds the module of a shipped plugin, and returns its path. Returns `None`, and notes it, without the target.
fn built(name: &str) -> Option<PathBuf> {
    module("noop", &format!("the plugin {name}"))?;
    gateway(&["build", &format!("plugins/{name}")]);
    let target = modules::artifacts("plugins").unwrap().join("wasm32-wasip1/plugin");
    Some(target.join(format!("{}.wasm", name.replace('-', "_"))))
}

#[test]
fn modules_are_small_and_load_in_envoy_and_higress() {
    for (name, max_kib) in PLUGINS {
        let Some(path) = built(name) else { return };
        let size = std::fs::metadata(&path).unwrap().len();
        assert!(size <= max_kib * 1024, "{name} has {size} bytes");
        let inspected = gateway(&["inspect", "--output", "json", path.to_str().unwrap()]);
        let inspected: Value = serde_json::from_str(&inspected).unwrap();
        let hosts = inspected["hosts"].as_array().unwrap();
        assert!(hosts.len() == 3 && hosts.iter().all(|host| host["accepts"] == true), "{name}: {hosts:?}");
        let schema: Value = serde_json::from_str(
            &std::fs::read_to_string(root().join(format!("plugins/{name}/schema.json"))).unwrap(),
        )
        .unwrap();
        assert_eq!(inspected["configSchema"], schema, "{name}");
    }
}

#[test]
fn cases_pass_in_the_real_host() {
    if module("noop", "cases of the shipped plugins").is_none() {
        return;
    }
    for (name, _) in PLUGINS {
        let output = gateway(&["test", &format!("plugins/{name}")]);
        assert!(output.contains(" 0 failed"), "{name}: {output}");
    }
}

/// Returns the requests of the case files of a plugin with this configuration, and the configuration.
fn case(name: &'static str, module: &Path, config: &Value, requests: Vec<Sent>) -> Case {
    Case::with(name, vec![(module.to_owned(), config.to_string())], requests)
}

fn jwt_vectors() -> Value {
    let path = root().join("plugins/jwt/vectors/tokens.json");
    serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap()
}

#[test]
fn answers_equal_those_of_envoy() {
    let name = "shipped plugins beside Envoy";
    if envoy_config::program().is_none() {
        return skipped(&format!("{name}: not installed: envoy (conformance/test installs it)"));
    }
    let Some(hello) = built("hello") else { return };
    let [rewrite, key, auth, jwt] =
        ["header-rewrite", "api-key", "ext-auth", "jwt"].map(|name| built(name).unwrap());
    // SHA-256 of `secret`.
    let keys = json!({"keys": [{"name": "ann", "headers": [{"name": "x-user", "value": "ann"}],
        "sha256": "2bb80d537b1da3e38bd30361aa855686bde0eacd7162fef6a25fe97bf527a25b"}],
        "from": [{"in": "header", "name": "x-api-key"}, {"in": "query", "name": "key"}]});
    let rules = json!({"rules": [
        {"when": {"methods": ["POST"]}, "request": [
            {"action": "set", "name": "x-was", "value": "${request.method} ${request.path}"},
            {"action": "rename", "name": "x-old", "to": "x-new"}, {"action": "remove", "name": "x-secret"}],
         "response": [{"action": "set", "name": "x-code", "value": "${response.code}"}]},
        {"request": [{"action": "append", "name": "x-list", "value": "2"}]}]});
    let check = json!({"upstream": CHECK, "path": "/", "requestHeaders": ["x-token"],
        "upstreamHeaders": ["x-user"], "deniedHeaders": ["content-type"]});
    let vectors = jwt_vectors();
    let issuers = json!({"issuers": [{"issuer": "https://id.example", "audiences": ["api"],
        "jwks": {"keys": vectors["keys"]}, "claimsToHeaders": [{"claim": "sub", "header": "x-user"}],
        "algorithms": ["RS256", "RS384", "RS512", "PS256", "ES256", "ES384", "EdDSA"]}]});
    let token = |text: &Value| get("/").field("authorization", &format!("Bearer {}", text.as_str().unwrap()));
    let valid = vectors["valid"].as_object().unwrap().values().map(token);
    let refused = vectors["refused"].as_object().unwrap().values().map(|pair| token(&pair[0]));
    compare(&[
        case("hello", &hello, &json!({"greeting": "hi"}), vec![get("/"), post("/a", "body")]),
        case(
            "api-key",
            &key,
            &keys,
            vec![
                get("/"),
                get("/").field("x-api-key", "secret").field("x-user", "root"),
                get("/").field("x-api-key", "wrong"),
                get("/a?b=1&key=secret&c=2"),
                post("/", "body").field("x-api-key", "secret").field("x-api-key", "secret"),
            ],
        ),
        case(
            "header-rewrite",
            &rewrite,
            &rules,
            vec![
                get("/a?b").field("x-list", "1"),
                post("/a?b", "body").field("x-old", "1").field("x-secret", "2").field("x-list", "1"),
            ],
        ),
        case(
            "ext-auth",
            &auth,
            &check,
            vec![get("/a").field("x-token", "1").field("x-user", "root"), post("/", "body")],
        ),
        case("ext-auth without service", &auth, &check, vec![get("/a")]).check_down(),
        case("jwt", &jwt, &issuers, std::iter::once(get("/")).chain(valid).chain(refused).collect()),
    ]);
}
