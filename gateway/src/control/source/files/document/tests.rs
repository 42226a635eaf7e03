//! Objects and Problems of a text.

use super::*;

const INGRESS: &str = "apiVersion: networking.k8s.io/v1\nkind: Ingress\nmetadata:\n  name: web\n";

fn parsed(text: &str) -> ParsedFile {
    parse(Path::new("/yaml"), Path::new("a.yaml"), text).unwrap()
}

fn parse_failure(text: &str) -> ParseFailure {
    parse(Path::new("/yaml"), Path::new("a.yaml"), text).unwrap_err()
}

fn references(content: &ParsedFile) -> Vec<String> {
    content.objects.iter().map(|entry| entry.object.reference().to_string()).collect()
}

fn lines(problems: &[LocatedProblem]) -> Vec<String> {
    problems.iter().map(|found| format!("{}: {}", found.location.as_ref().unwrap(), found.problem)).collect()
}

#[test]
fn other_kinds_are_skipped_and_lists_are_opened() {
    let text = format!(
        "apiVersion: apps/v1\nkind: Deployment\nmetadata: {{name: x}}\n---\n{INGRESS}---\n\
         apiVersion: v1\nkind: List\nitems:\n- apiVersion: v1\n  kind: Service\n  metadata: {{name: s, namespace: shop}}\n\
         - apiVersion: v1\n  kind: LimitRange\n  metadata: {{name: c}}\n---\n\
         apiVersion: serving.knative.dev/v1\nkind: Service\nmetadata: {{name: k}}\n---\n\
         apiVersion: networking.k8s.io/v1\nkind: IngressClassList\nitems: [{{metadata: {{name: c, namespace: other}}}}]\n"
    );
    let content = parsed(&text);
    assert_eq!(references(&content), ["Ingress default/web", "Service shop/s", "IngressClass c"]);
    assert_eq!(lines(&content.problems), [""; 0]);
}

#[test]
fn unknown_field_is_a_problem_and_the_object_is_used() {
    let content = parsed(&format!("{INGRESS}spec:\n  ingresClassName: x\n"));
    assert_eq!(references(&content), ["Ingress default/web"]);
    assert_eq!(
        lines(&content.problems),
        [
            "a.yaml:6: Ingress default/web spec.ingresClassName: UnknownField: there is no such field; it has no effect"
        ]
    );
}

#[test]
fn invalid_value_is_a_problem_with_file_and_line() {
    let content = parsed(
        "apiVersion: v1\nkind: Service\nmetadata: {name: s}\nspec:\n  ports:\n  - port: 1\n  - port: 70000\n",
    );
    assert_eq!(
        lines(&content.problems),
        ["a.yaml:7: Service default/s spec.ports[1].port: InvalidValue: 70000 is not a port from 1 to 65535"]
    );
}

#[test]
fn wrong_type_rejects_only_its_document() {
    let failure =
        parse_failure(&format!("{INGRESS}spec:\n  rules: 5\n---\n{}", INGRESS.replace("web", "other")));
    assert_eq!(
        lines(&failure.problems),
        [
            "a.yaml:6: File a.yaml: Unreadable: Ingress web: spec.rules: invalid type: integer `5`, expected a sequence"
        ]
    );
    assert_eq!(references(&failure.partial.unwrap()), ["Ingress default/other"]);
}

#[test]
fn invalid_yaml_rejects_the_whole_file() {
    let failure = parse_failure(&format!("{INGRESS}---\n{INGRESS}spec:\n  rules: [\n"));
    assert!(failure.partial.is_none());
    assert!(lines(&failure.problems)[0].starts_with("a.yaml:1"), "{:?}", failure.problems);
}

#[test]
fn documents_without_an_object_are_rejected() {
    for (text, message) in [
        ("apiVersion: v1\n", "line 1: kind: missing, or not a string"),
        ("kind: Service\n", "line 1: apiVersion: missing, or not a string"),
        ("apiVersion: v1\nkind: Service\n", "line 1: metadata.name: an object needs a name"),
        ("apiVersion: v1\nkind: List\nitems: 5\n", "line 3: items: expected a list"),
        (
            "apiVersion: v1\nkind: Service\nmetadata:\n  name: a/b\n",
            "line 4: Service a/b: metadata.name: not a name: up to 253 of a-z, 0-9, - and . are allowed",
        ),
        (
            "kind: Ingress\napiVersion: extensions/v1beta1\nmetadata: {name: old}\n",
            "line 2: Ingress old: apiVersion: \"extensions/v1beta1\" is not supported; write networking.k8s.io/v1",
        ),
    ] {
        let (line, message) = message.split_once(": ").unwrap();
        let found = &parse_failure(text).problems[0];
        assert_eq!(
            (found.location.as_ref().unwrap().to_string(), found.problem.message.as_str()),
            (line.replace("line ", "a.yaml:"), message)
        );
    }
}

#[test]
fn files_of_other_tools_are_notes() {
    let template = "kind: Ingress\nmetadata:\n  name: {{ .Values.name }}\n";
    for (text, message) in [
        ("just text\n", "no Kubernetes object: it has no keys and values"),
        ("- hosts: all\n", "no Kubernetes object: it is a list"),
        ("image: web\n", "no Kubernetes object: it has neither apiVersion nor kind"),
    ] {
        let content = parsed(text);
        assert_eq!(lines(&content.problems), [format!("a.yaml:1: File a.yaml: NoObject: {message}")]);
        // Among objects it is a mistake.
        let mixed = parse_failure(&format!("{text}---\n{INGRESS}"));
        assert_eq!(lines(&mixed.problems), [format!("a.yaml:1: File a.yaml: Unreadable: {message}")]);
        assert_eq!(references(&mixed.partial.unwrap()), ["Ingress default/web"]);
    }
    let content = parsed(template);
    assert!(lines(&content.problems)[0].contains("NoObject: a Helm template"), "{:?}", content.problems);
}

#[test]
fn secrets_that_other_controllers_make_are_known() {
    let text = "apiVersion: cert-manager.io/v1\nkind: Certificate\nmetadata: {name: c, namespace: ns}\n\
                spec: {secretName: a}\n---\n\
                apiVersion: external-secrets.io/v1\nkind: ExternalSecret\nmetadata: {name: b}\nspec: {}\n---\n\
                apiVersion: bitnami.com/v1alpha1\nkind: SealedSecret\nmetadata: {name: c}\n";
    let names: Vec<_> = parsed(text).promised_secrets.iter().map(ToString::to_string).collect();
    assert_eq!(names, ["ns/a", "default/b", "default/c"]);
}

#[test]
fn ingress_without_class_field_or_annotation_is_marked() {
    let entry = |text: &str| parsed(text).objects.remove(0).names_no_class;
    assert!(entry(INGRESS));
    assert!(!entry(&format!("{INGRESS}spec: {{ingressClassName: x}}\n")));
    assert!(!entry(&format!("{INGRESS}  annotations: {{kubernetes.io/ingress.class: \"\"}}\n")));
    assert!(!entry("apiVersion: v1\nkind: Service\nmetadata: {name: s}\n"));
}

#[test]
fn secret_has_its_pair_and_never_prints_it() {
    let text = "apiVersion: v1\nkind: Secret\nmetadata: {name: s}\ndata:\n  tls.crt: Y2hhaW4=\n  tls.key: b2xk\n\
                stringData:\n  tls.key: hush\n";
    let content = parsed(text);
    let pair = content.objects[0].pair.as_ref().unwrap();
    assert_eq!((pair.chain.as_slice(), pair.key.as_slice()), (&b"chain"[..], &b"hush"[..]));
    let wrapped = parsed(
        "apiVersion: v1\nkind: Secret\nmetadata: {name: s}\ndata:\n  tls.crt: |\n    Y2hh\n    aW4=\n  tls.key: b2xk\n",
    );
    assert_eq!(wrapped.objects[0].pair.as_ref().unwrap().chain, b"chain");
    let printed = format!("{content:?}");
    assert!(!printed.contains("hush") && !printed.contains("104, 117"), "{printed}");
    for value in ["12345678", "hu!!sh", "{hush: hush}", "[hush]"] {
        let failure = parse_failure(&format!(
            "apiVersion: v1\nkind: Secret\nmetadata: {{name: s}}\ndata:\n  tls.key: {value}\n"
        ));
        let message = &lines(&failure.problems)[0];
        assert!(
            message.starts_with("a.yaml:5: File a.yaml: Unreadable: Secret s: data[tls.key]: "),
            "{message}"
        );
        assert!(!message.contains("sh") || !message.contains("hu"), "{message}");
        assert!(!message.contains("1234"), "{message}");
    }
}

#[test]
fn our_kinds_are_read_in_their_own_version() {
    let text = "apiVersion: wasm-gateway.dev/v1alpha1\nkind: RoutePolicy\nmetadata: {namespace: shop, name: p}\n\
                spec:\n  targetRefs: [{group: networking.k8s.io, kind: Ingress, name: web}]\n  bodySize: 10Mi\n---\n\
                apiVersion: wasm-gateway.dev/v1alpha1\nkind: IngressClassConfig\nmetadata: {name: c}\nspec: {}\n---\n\
                apiVersion: v1\nkind: Namespace\nmetadata: {name: shop}\n";
    let content = parsed(text);
    assert_eq!(references(&content), ["RoutePolicy shop/p", "IngressClassConfig c", "Namespace shop"]);
    assert_eq!(lines(&content.problems), [""; 0]);
    let Object::RoutePolicy(policy) = &content.objects[0].object else { panic!("a RoutePolicy comes first") };
    assert_eq!(policy.spec.body_size, Some(api::ByteSize(10 << 20)));
    let failure =
        parse_failure("apiVersion: wasm-gateway.dev/v1\nkind: RoutePolicy\nmetadata: {name: p}\nspec: {}\n");
    assert_eq!(
        lines(&failure.problems),
        [
            "a.yaml:1: File a.yaml: Unreadable: RoutePolicy p: apiVersion: \"wasm-gateway.dev/v1\" is not supported; \
             write wasm-gateway.dev/v1alpha1"
        ]
    );
}

#[test]
fn unknown_field_rejects_an_object_of_our_kinds() {
    let text = "apiVersion: wasm-gateway.dev/v1alpha1\nkind: RoutePolicy\nmetadata: {name: p}\nspec:\n  \
                targetRefs: []\n  bodysize: 1\n---\n";
    let failure = parse_failure(&format!("{text}{INGRESS}"));
    let problems = lines(&failure.problems);
    assert_eq!(problems.len(), 1, "{problems:?}");
    let wanted = "a.yaml:6: File a.yaml: Unreadable: RoutePolicy p: spec.bodysize: unknown field `bodysize`";
    assert!(problems[0].starts_with(wanted), "{problems:?}");
    assert_eq!(references(&failure.partial.unwrap()), ["Ingress default/web"]);
    let kind = text.replace("targetRefs: []", "targetRefs: [{group: g, kind: Gateway, name: web}]");
    let wanted = "a.yaml:5: File a.yaml: Unreadable: RoutePolicy p: spec.targetRefs[0].kind: unknown variant `Gateway`";
    assert!(lines(&parse_failure(&kind).problems)[0].contains(wanted), "{kind}");
    let failure = parse_failure(&text.replace("bodysize: 1", "bodySize: 1.5"));
    assert!(
        lines(&failure.problems)[0]
            .starts_with("a.yaml:6: File a.yaml: Unreadable: RoutePolicy p: spec.bodySize: "),
        "{failure:?}"
    );
}

const PLUGIN: &str =
    "apiVersion: wasm-gateway.dev/v1alpha1\nkind: WasmPlugin\nmetadata: {namespace: shop, name: p}\nspec:\n";

fn plugin(content: &ParsedFile) -> &WasmPlugin {
    let Some(Object::WasmPlugin(plugin)) = content.objects.first().map(|parsed| &parsed.object) else {
        panic!("a WasmPlugin comes first: {content:?}")
    };
    plugin
}

#[test]
fn plugin_has_the_folder_of_its_file() {
    for (path, folder) in [("a.yaml", "/yaml"), ("sub/deep/a.yaml", "/yaml/sub/deep")] {
        let text = format!("{PLUGIN}  url: file://a.wasm\n  pluginConfig: {{b: [1, x], a: null}}\n");
        let content = parse(Path::new("/yaml"), Path::new(path), &text).unwrap();
        assert_eq!(lines(&content.problems), [""; 0]);
        let plugin = plugin(&content);
        assert_eq!(plugin.folder.as_deref(), Some(Path::new(folder)));
        let PluginSpec::Valid(spec) = &plugin.spec else { panic!("the spec is valid") };
        assert_eq!(spec.plugin_config.as_ref().unwrap().text(), r#"{"a":null,"b":[1,"x"]}"#);
    }
}

#[test]
fn malformed_plugin_keeps_its_targets_if_they_parse() {
    let target = "{group: networking.k8s.io, kind: Ingress, name: web}";
    for (spec, count, message) in [
        (format!("  targetRefs: [{target}]\n"), Some(1), "spec: missing field `url`"),
        (
            format!("  url: file://a\n  match: []\n  targetRefs: [{target}]\n"),
            Some(1),
            "spec.match: unknown field",
        ),
        (
            "  url: file://a\n  targetRefs: [{kind: Ingress}]\n".to_owned(),
            None,
            "spec.targetRefs[0]: missing field",
        ),
        ("  url: 5\n".to_owned(), None, "spec.url: invalid type"),
        ("  []\n".to_owned(), None, "spec: "),
    ] {
        let failure = parse_failure(&format!("{PLUGIN}{spec}"));
        let problems = lines(&failure.problems);
        assert!(
            problems.len() == 1 && problems[0].contains(&format!("WasmPlugin shop/p: {message}")),
            "{problems:?}"
        );
        let content = failure.partial.unwrap();
        let PluginSpec::Malformed { target_refs } = &plugin(&content).spec else { panic!("{spec}") };
        assert_eq!(target_refs.as_ref().map(Vec::len), count, "{spec}");
    }
}

#[test]
fn config_map_has_texts_and_binary_values() {
    let content = parsed(
        "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: m}\ndata: {a: text}\nbinaryData: {b: AGFzbQ==}\n",
    );
    let Object::ConfigMap(map) = &content.objects[0].object else { panic!("a ConfigMap") };
    let values: Vec<_> = map.data.iter().map(|(key, value)| (&**key, &**value)).collect();
    assert_eq!(values, [("a", &b"text"[..]), ("b", &b"\0asm"[..])]);
}
