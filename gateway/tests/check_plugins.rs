//! `gateway check` of folders with plugins: each module is read, compiled, started and configured.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests fail by panicking")]

mod support;

use std::path::Path;
use std::process::Command;

use serde_json::Value;
use support::{ingress, service};
use tempfile::TempDir;

/// The line of `url` in the YAML of [`plugin`].
const URL_LINE: u64 = 5;

/// A valid module, before further items.
const BASE: &str = r#"
    (import "env" "proxy_log" (func $log (param i32 i32 i32) (result i32)))
    (memory (export "memory") 1)
    (data (i32.const 64) "no key given")
    (func (export "proxy_on_memory_allocate") (param i32) (result i32) (i32.const 1024))"#;

const MARKER: &str = r#"(func (export "proxy_abi_version_0_2_1"))"#;

/// Refuses empty configurations with a line in the log.
const CONFIGURE: &str = r#"(func (export "proxy_on_configure") (param i32 i32) (result i32)
    (if (i32.eqz (local.get 1)) (then (drop (call $log (i32.const 4) (i32.const 64) (i32.const 12)))))
    (i32.ne (local.get 1) (i32.const 0)))"#;

fn module(items: &str) -> Vec<u8> {
    wat::parse_str(format!("(module {BASE} {items})")).unwrap()
}

/// Returns a WasmPlugin `default/guest` with further lines of its spec.
fn plugin(spec: &str) -> String {
    let head = "apiVersion: wasm-gateway.dev/v1alpha1\nkind: WasmPlugin\nmetadata: {name: guest}\nspec:\n";
    format!("{head}  url: file://guest.wasm\n{spec}")
}

/// Creates a folder with a route, a plugin and a module.
fn folder(plugin: &str, module: Option<&[u8]>) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    let endpoint = "127.0.0.1:9001".parse().unwrap();
    let route = ingress("i", "a.example", &[("/", "a")]) + &service("a", &[endpoint]);
    std::fs::write(folder.path().join("route.yaml"), route).unwrap();
    std::fs::write(folder.path().join("plugin.yaml"), plugin).unwrap();
    if let Some(module) = module {
        std::fs::write(folder.path().join("guest.wasm"), module).unwrap();
    }
    folder
}

fn run(folder: &Path, arguments: &[&str]) -> (Option<i32>, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_gateway"));
    let output = command.current_dir(folder).args(["check", "."]).args(arguments).output().unwrap();
    (output.status.code(), String::from_utf8(output.stdout).unwrap())
}

/// Returns the only Problem in JSON.
fn problem(folder: &TempDir) -> Value {
    let (code, json) = run(folder.path(), &["--output", "json"]);
    let json: Value = serde_json::from_str(&json).unwrap();
    let problems = json["problems"].as_array().unwrap();
    assert_eq!((code, problems.len()), (Some(1), 1), "{problems:?}");
    problems[0].clone()
}

#[test]
fn plugin_that_loads_is_no_problem() {
    let good = module(&format!("{MARKER} {CONFIGURE}"));
    let digest = {
        use sha2::Digest as _;
        sha2::Sha256::digest(&good).iter().map(|byte| format!("{byte:02x}")).collect::<String>()
    };
    let good = folder(&plugin(&format!("  sha256: {digest}\n  pluginConfig: {{key: a}}\n")), Some(&good));
    assert_eq!(run(good.path(), &[]), (Some(0), "no problems; 1 Ingress served\n".to_owned()));
}

#[test]
fn module_that_does_not_load_is_a_problem_of_its_url() {
    let huge = vec![0; 50 << 20];
    let zeros = "0".repeat(64);
    let unknown = r#"(import "env" "proxy_none" (func (param i32)))"#;
    let trap = format!(r#"{MARKER} (func (export "_initialize") unreachable)"#);
    let start = format!("{MARKER} (func $start unreachable) (start $start)");
    let unknown = wat::parse_str(format!("(module {unknown} {BASE} {MARKER})")).unwrap();
    let marked = module(MARKER);
    let sha256 = format!("  sha256: '{zeros}'\n");
    for (name, spec, module, message) in [
        (
            "unknown import",
            "",
            Some(unknown),
            "the import env.proxy_none (i32) -> () is not one that the host has",
        ),
        (
            "no marker",
            "",
            Some(module("")),
            "no ABI marker: a Proxy-Wasm plugin exports proxy_abi_version_0_1_0",
        ),
        ("trap", "", Some(module(&trap)), "_initialize: wasm `unreachable` instruction executed"),
        ("start section", "", Some(module(&start)), "the start section: wasm `unreachable` instruction"),
        ("too large", "", Some(huge), "the module has 52428800 bytes, more than 10 MiB"),
        ("malformed", "", Some(b"\0asm but not quite".to_vec()), "not a valid WebAssembly module: "),
        ("empty", "", Some(Vec::new()), "not a valid WebAssembly module: "),
        ("missing", "", None, "guest.wasm does not exist"),
        ("other digest", sha256.as_str(), Some(marked), "not the one in spec.sha256: correct one of the two"),
    ] {
        let folder = folder(&plugin(spec), module.as_deref());
        let problem = problem(&folder);
        let text = problem["message"].as_str().unwrap();
        assert!(text.contains(message), "{name}: {text}");
        assert!(text.len() < 400, "{name}: {text}");
        let object = [&problem["kind"], &problem["name"], &problem["field"], &problem["reason"]];
        assert_eq!(object, ["WasmPlugin", "guest", "spec.url", "PluginRefused"], "{name}");
        assert_eq!((&problem["file"], &problem["line"]), (&"plugin.yaml".into(), &URL_LINE.into()), "{name}");
    }
}

#[test]
fn refused_configuration_is_a_problem_of_its_field() {
    let guest = module(&format!("{MARKER} {CONFIGURE}"));
    let rule = "  matchRules:\n  - ingress: [i]\n    config: ''\n";
    let policy = "---\napiVersion: wasm-gateway.dev/v1alpha1\nkind: RoutePolicy\nmetadata: {name: p}\nspec:\n  \
                  targetRefs: [{group: networking.k8s.io, kind: Ingress, name: i}]\n  \
                  plugins: [{name: guest, config: ''}]\n";
    let named = format!("  pluginConfig: full\n{policy}");
    let unused = "  targetRefs: []\n  pluginConfig: ''\n";
    for (name, spec, field, line, origin) in [
        ("default", "  pluginConfig: ''\n", "spec.pluginConfig", 6, ""),
        ("none given", "", "spec.pluginConfig", 4, ""),
        ("of no route", unused, "spec.pluginConfig", 7, ""),
        ("of a rule", rule, "spec.matchRules[0].config", 8, ""),
        (
            "of a policy",
            &*named,
            "spec.pluginConfig",
            6,
            " (the configuration of RoutePolicy default/p spec.plugins[0].config)",
        ),
    ] {
        let problem = problem(&folder(&plugin(spec), Some(&guest)));
        let expected = format!("proxy_on_configure refused the configuration: no key given{origin}");
        assert_eq!(problem["message"], *expected, "{name}");
        assert_eq!((&problem["field"], &problem["line"]), (&field.into(), &line.into()), "{name}");
    }
}

#[test]
fn refused_plugin_is_in_all_formats() {
    let folder = folder(&plugin(""), None);
    let (code, text) = run(folder.path(), &[]);
    let start = "plugin.yaml:5: WasmPlugin default/guest spec.url: PluginRefused: the file ";
    assert!(
        text.starts_with(start) && text.ends_with(" does not exist\n1 problem; 1 Ingress served\n"),
        "{text}"
    );
    let (_, sarif) = run(folder.path(), &["--output", "sarif"]);
    let sarif: Value = serde_json::from_str(&sarif).unwrap();
    let result = &sarif["runs"][0]["results"][0];
    assert_eq!(
        (code, &result["ruleId"], &result["level"]),
        (Some(1), &"PluginRefused".into(), &"error".into())
    );
    let place = &result["locations"][0]["physicalLocation"];
    assert_eq!(
        (&place["artifactLocation"]["uri"], &place["region"]["startLine"]),
        (&"plugin.yaml".into(), &5.into())
    );
}

#[test]
fn source_that_the_compiler_refuses_is_reported_once() {
    let yaml = plugin("").replace("file://guest.wasm", "ftp://guest.wasm");
    let problem = problem(&folder(&yaml, None));
    assert_eq!(problem["field"], "spec.url");
    assert_ne!(problem["reason"], "PluginRefused");
}

/// Returns a custom section with a schema, as the SDK writes it.
fn section(schema: &str) -> String {
    format!("(@custom \"wasm-gateway.config-schema\" {schema:?})")
}

fn settings_schema() -> String {
    let schema = serde_json::json!({
        "type": "object", "additionalProperties": false, "required": ["header"],
        "properties": {
            "header": {"type": "string", "description": "Name of the header."},
            "limits": {"type": "array", "items": {"type": "integer"}},
        },
    });
    schema.to_string()
}

#[test]
fn configuration_beside_the_schema_names_its_field() {
    let guest = module(&format!("{MARKER} {}", section(&settings_schema())));
    let policy = "---\napiVersion: wasm-gateway.dev/v1alpha1\nkind: RoutePolicy\nmetadata: {name: p}\nspec:\n  \
                  targetRefs: [{group: networking.k8s.io, kind: Ingress, name: i}]\n  \
                  plugins: [{name: guest, config: {header: 5}}]\n";
    let of_policy = format!("  pluginConfig: {{header: x}}\n{policy}");
    for (name, spec, field, line, message) in [
        (
            "wrong type",
            "  pluginConfig:\n    header: a\n    limits: [1, two]\n",
            "spec.pluginConfig.limits[1]",
            8,
            "found a string, expected an integer",
        ),
        (
            "missing",
            "  pluginConfig: {limits: []}\n",
            "spec.pluginConfig.header",
            6,
            "found nothing, expected a string (Name of the header)",
        ),
        (
            "none given",
            "",
            "spec.pluginConfig.header",
            4,
            "found nothing, expected a string (Name of the header)",
        ),
        (
            "unknown",
            "  pluginConfig:\n    header: a\n    hedaer: b\n",
            "spec.pluginConfig.hedaer",
            8,
            "found an unknown field, expected one of header, limits",
        ),
        (
            "of a rule",
            "  matchRules:\n  - ingress: [i]\n    config:\n      header: 5\n",
            "spec.matchRules[0].config.header",
            9,
            "found an integer, expected a string (Name of the header)",
        ),
        (
            "of a policy",
            &*of_policy,
            "spec.pluginConfig",
            6,
            "found an integer, expected a string (Name of the header) (the configuration of RoutePolicy default/p \
             spec.plugins[0].config.header)",
        ),
    ] {
        let problem = problem(&folder(&plugin(spec), Some(&guest)));
        assert_eq!(problem["message"], *message, "{name}");
        assert_eq!((&problem["field"], &problem["line"]), (&field.into(), &line.into()), "{name}");
        assert_eq!(problem["reason"], "PluginRefused", "{name}");
    }
}

#[test]
fn upstream_of_a_configuration_must_be_allowed() {
    let schema = r#"{"properties": {"upstream": {"type": "string", "format": "wasm-gateway-upstream"}}}"#;
    let guest = module(&format!("{MARKER} {}", section(schema)));
    let allowed = "  allowedUpstreams: [\"a:80\"]\n";
    for name in ["a:80", "default/a:80", "outbound|80||a.default.svc.cluster.local"] {
        let spec = format!("{allowed}  pluginConfig: {{upstream: {name:?}}}\n");
        assert_eq!(run(folder(&plugin(&spec), Some(&guest)).path(), &[]).0, Some(0), "{name}");
    }
    for spec in [
        "  pluginConfig: {upstream: \"a:80\"}\n".to_owned(),
        format!("{allowed}  pluginConfig: {{upstream: b}}\n"),
    ] {
        let problem = problem(&folder(&plugin(&spec), Some(&guest)));
        assert_eq!(problem["field"], "spec.pluginConfig.upstream", "{spec}");
        let expected =
            "found an upstream that the plugin may not call, expected one of spec.allowedUpstreams";
        assert_eq!(problem["message"], expected, "{spec}");
    }
}

#[test]
fn schema_that_is_none_refuses_the_module() {
    for (sections, expected) in [
        (section("[]"), "the configuration schema of the module is a list, not an object"),
        (section("{}") + &section("{}"), "the module has several custom sections"),
    ] {
        let guest = module(&format!("{MARKER} {sections}"));
        let problem = problem(&folder(&plugin(""), Some(&guest)));
        assert!(problem["message"].as_str().unwrap().starts_with(expected), "{}", problem["message"]);
    }
}

#[test]
fn configuration_that_fits_the_schema_is_no_problem() {
    let guest = module(&format!("{MARKER} {}", section(&settings_schema())));
    let good = folder(&plugin("  pluginConfig: {header: a, limits: [1]}\n"), Some(&guest));
    assert_eq!(run(good.path(), &[]), (Some(0), "no problems; 1 Ingress served\n".to_owned()));
}

#[test]
fn schema_that_is_refused_is_a_problem_of_the_url() {
    for (name, schema, message) in [
        ("remote", r#"{"$ref":"http://a.example/s"}"#, "refers to \"http://a.example/s\", which is not"),
        ("no JSON", "{", "the configuration schema of the module is no JSON: EOF"),
        ("endless", r##"{"$ref":"#"}"##, "needs too many steps to check a configuration"),
    ] {
        let guest = module(&format!("{MARKER} {}", section(schema)));
        let problem = problem(&folder(&plugin("  pluginConfig: {}\n"), Some(&guest)));
        let text = problem["message"].as_str().unwrap();
        assert!(text.contains(message), "{name}: {text}");
        assert_eq!(problem["field"], "spec.url", "{name}");
    }
}
