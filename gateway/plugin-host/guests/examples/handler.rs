//! A class handler whose behaviour annotations choose: `test.example/behave` says how it fails.
//!
//! Otherwise each path keeps its meaning. `test.example/body-size` becomes a policy, `test.example/alias` adds a host, and
//! `test.example/closed` closes the paths.

use std::io::Read;
use std::io::Write;

use serde_json::json;
use serde_json::Value;

/// Tests replace the bytes of this text in the module. With "version-two", all requests go to the Service `two`.
static VERSION: &str = "version-one";

fn main() {
    let mut text = String::new();
    std::io::stdin().read_to_string(&mut text).unwrap();
    let input: Value = serde_json::from_str(&text).unwrap();
    let mut output = json!({"items": [], "results": []});
    for ingress in input["items"].as_array().unwrap() {
        if ingress["kind"] == "Ingress" {
            translate(ingress, &mut output);
        }
    }
    std::io::stdout().write_all(output.to_string().as_bytes()).unwrap();
}

fn translate(ingress: &Value, output: &mut Value) {
    let annotations = &ingress["metadata"]["annotations"];
    misbehave(annotations["test.example/behave"].as_str().unwrap_or_default());
    let mut rules = Vec::new();
    for (rule, from) in list(&ingress["spec"]["rules"]).iter().enumerate() {
        for (path, from) in list(&from["http"]["paths"]).iter().enumerate() {
            rules.push(route_rule(format!("rules-{rule}-paths-{path}"), from));
        }
    }
    if annotations["test.example/behave"] == "drop" {
        rules.pop();
    }
    let mut hostnames = Vec::new();
    if let Some(alias) = annotations["test.example/alias"].as_str() {
        hostnames.extend(ingress["spec"]["rules"][0]["host"].as_str().map(str::to_owned));
        hostnames.push(alias.to_owned());
    }
    let mut metadata = json!({
        "namespace": ingress["metadata"]["namespace"],
        "name": ingress["metadata"]["name"],
        "annotations": {"wasm-gateway.dev/source-ingress": ingress["metadata"]["name"]},
    });
    if annotations["test.example/behave"] == "foreign" {
        metadata["namespace"] = json!("kube-system");
    }
    push(
        &mut output["items"],
        json!({
            "kind": "HTTPRoute",
            "metadata": metadata,
            "spec": {"hostnames": hostnames, "rules": rules},
        }),
    );
    for (key, value) in annotations.as_object().into_iter().flatten() {
        judge(ingress, key, value.as_str().unwrap_or_default(), &metadata, output);
    }
}

fn judge(ingress: &Value, key: &str, value: &str, metadata: &Value, output: &mut Value) {
    if !key.starts_with("test.example/") || key == "test.example/forgotten" {
        return;
    }
    let mut result = json!({
        "ingress": {"namespace": ingress["metadata"]["namespace"], "name": ingress["metadata"]["name"]},
        "annotation": key,
        "verdict": "Exact",
    });
    match key {
        "test.example/body-size" => {
            let mut metadata = metadata.clone();
            metadata["annotations"]["wasm-gateway.dev/source-annotations"] = json!(key);
            let spec = json!({"targetRefs": [], "bodySize": value});
            push(&mut output["items"], json!({"kind": "RoutePolicy", "metadata": metadata, "spec": spec}));
        }
        "test.example/closed" => {
            result["verdict"] = json!("Refused");
            result["message"] = json!("logins are not supported");
            result["closes"] = json!(true);
        }
        "test.example/differs" => {
            result["verdict"] = json!("Differs");
            result["message"] = json!(value);
        }
        _ => {}
    }
    push(&mut output["results"], result);
}

fn route_rule(name: String, from: &Value) -> Value {
    let kind = if from["pathType"] == "Exact" { "Exact" } else { "PathPrefix" };
    let service = &from["backend"]["service"];
    let is_second = std::hint::black_box(VERSION).ends_with("-two");
    let name_of_service = if is_second { json!("two") } else { service["name"].clone() };
    let port = if service["port"]["number"].is_null() {
        &service["port"]["name"]
    } else {
        &service["port"]["number"]
    };
    json!({
        "name": name,
        "matches": [{"path": {"type": kind, "value": from["path"]}}],
        "backendRefs": [{"name": name_of_service, "port": port}],
    })
}

/// Fails as an annotation says.
fn misbehave(how: &str) {
    match how {
        "loop" => loop {
            std::hint::black_box(how);
        },
        "allocate" => loop {
            std::mem::forget(std::hint::black_box(vec![1_u8; 1 << 20]));
        },
        "trap" => panic!("no luck"),
        "exit" => std::process::exit(7),
        "garbage" => {
            println!("{{\"items\": [{how}");
            std::process::exit(0);
        }
        "flood" => loop {
            std::io::stdout().write_all(&[b'x'; 1 << 16]).unwrap();
        },
        "file" => {
            std::fs::read("/etc/passwd").unwrap();
        }
        _ => {}
    }
}

fn list(value: &Value) -> &[Value] {
    value.as_array().map(Vec::as_slice).unwrap_or_default()
}

fn push(list: &mut Value, item: Value) {
    list.as_array_mut().unwrap().push(item);
}
