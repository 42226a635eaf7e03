//! Golden cases: `testdata/compile/<area>-<topic>.in.yaml` holds objects as for `kubectl apply -f`, and the `.out.txt`
//! beside it the table and the Problems. `UPDATE_EXPECT=1` rewrites the latter.
//!
//! Each case is compiled in file order, in reverse order, and one object at a time in both. All results must be equal.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests fail by panicking")]

use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::fs;
use std::path::Path;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

use api::class_handler::ClassOutput;
use k8s_openapi::api::core::v1 as core;
use k8s_openapi::api::discovery::v1 as discovery;
use k8s_openapi::api::networking::v1 as networking;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use libtest_mimic::Arguments;
use libtest_mimic::Failed;
use libtest_mimic::Trial;
use routing::CertificateChoice;
use routing::Compiler;
use routing::Config;
use routing::HostName;
use routing::PluginDefinition;
use routing::PluginSource;
use routing::Problem;
use routing::ProblemDelta;
use routing::RoutingTable;
use routing::WeightedBackend;
use routing::handler::HandlerAnswer;
use routing::handler::HandlerCall;
use routing::handler::HandlerOutcome;
use routing::handler::split;
use routing::host;
use routing::object::Change;
use routing::object::ConfigMap;
use routing::object::EndpointSlice;
use routing::object::FallbackCertificate;
use routing::object::FieldError;
use routing::object::Ingress;
use routing::object::IngressClass;
use routing::object::IngressClassConfig;
use routing::object::Name;
use routing::object::Namespace;
use routing::object::Object;
use routing::object::PluginSpec;
use routing::object::RoutePolicy;
use routing::object::Secret;
use routing::object::SecretContent;
use routing::object::Service;
use routing::object::Validity;
use routing::object::WasmPlugin;
use routing::path;
use serde::Deserialize;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

fn main() -> ExitCode {
    let arguments = Arguments::from_args();
    let mut trials = vec![
        Trial::test("every_reason_has_a_case", every_reason_has_a_case),
        Trial::test("every_row_of_the_reference_has_a_case", every_row_of_the_reference_has_a_case),
        Trial::test("there_are_at_least_eighty_cases", there_are_at_least_eighty_cases),
    ];
    for case in cases() {
        let name = case.file_name().unwrap().to_str().unwrap().trim_end_matches(".in.yaml").to_owned();
        trials.push(Trial::test(name, move || check(&case)));
    }
    libtest_mimic::run(&arguments, trials).exit_code()
}

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

fn cases() -> Vec<PathBuf> {
    let entries = fs::read_dir(root().join("testdata/compile")).unwrap();
    let mut cases: Vec<PathBuf> = entries.map(|entry| entry.unwrap().path()).collect();
    cases.retain(|path| path.to_str().unwrap().ends_with(".in.yaml"));
    cases.sort();
    cases
}

fn expected_file(case: &Path) -> PathBuf {
    PathBuf::from(case.to_str().unwrap().replace(".in.yaml", ".out.txt"))
}

fn check(case: &Path) -> Result<(), Failed> {
    let Case { config, requests, handshakes, objects, answers, unreadable } =
        read(&fs::read_to_string(case)?);
    let (table, problems) = compile(config.clone(), objects.clone(), &answers);
    let mut actual = table.to_string();
    section(&mut actual, "Plugins", plugins(&config, &objects).into_iter());
    section(&mut actual, "Requests", requests.iter().map(|request| describe_request(&table, request)));
    section(&mut actual, "Handshakes", handshakes.iter().map(|host| describe_handshake(&table, host)));
    section(&mut actual, "Problems", problems.iter().map(ToString::to_string));
    section(&mut actual, "Left out while reading", unreadable.into_iter());

    let mut backwards = objects.clone();
    backwards.reverse();
    let (other, other_problems) = compile(config.clone(), backwards.clone(), &answers);
    same("backwards", (&table.to_string(), &problems), (&other.to_string(), &other_problems))?;
    for (way, objects) in [("one by one", objects), ("one by one, backwards", backwards)] {
        let (other, other_problems) = one_by_one(config.clone(), objects, &answers);
        same(way, (&table.to_string(), &problems), (&other, &other_problems))?;
    }

    let file = expected_file(case);
    if std::env::var_os("UPDATE_EXPECT").is_some() {
        fs::write(&file, &actual)?;
        return Ok(());
    }
    let expected = fs::read_to_string(&file).unwrap_or_default();
    if expected != actual {
        return Err(format!("--- expected\n{expected}\n--- actual\n{actual}").into());
    }
    Ok(())
}

/// Compiles all objects at once, and applies the answers of class handlers.
fn compile(config: Config, objects: Vec<Object>, answers: &[Answer]) -> (RoutingTable, Vec<Problem>) {
    let mut compiler = Compiler::new(config);
    let mut problems = BTreeSet::new();
    let (table, delta) = compiler.apply(objects.into_iter().map(Change::Apply).collect());
    add_up(&mut problems, delta);
    let table = answer(&mut compiler, answers, &mut problems).unwrap_or(table);
    (table, problems.into_iter().collect())
}

/// Answers all calls of class handlers that a case has an answer for. Returns the table afterwards.
fn answer(
    compiler: &mut Compiler,
    answers: &[Answer],
    problems: &mut BTreeSet<Problem>,
) -> Option<RoutingTable> {
    let mut found = Vec::new();
    for HandlerCall { subject, input, .. } in compiler.take_handler_calls() {
        let host = &input.function_config.host;
        let is_about = |answer: &&Answer| answer.class == *subject.class && answer.host == *host;
        for Answer { output, failed, .. } in answers.iter().filter(is_about) {
            let outcomes: Vec<_> = match failed {
                None => split(&input, output.clone())
                    .unwrap()
                    .into_iter()
                    .map(|(name, part)| (name, HandlerOutcome::Translated(part)))
                    .collect(),
                Some(reason) => input
                    .ingresses()
                    .map(|from| Name::new(&from.metadata.namespace, &from.metadata.name))
                    .map(|name| (name, HandlerOutcome::Failed(reason.as_str().into())))
                    .collect(),
            };
            let host = subject.host.clone();
            found.extend(outcomes.into_iter().map(|(ingress, outcome)| HandlerAnswer {
                ingress,
                host: host.clone(),
                outcome,
            }));
        }
    }
    if found.is_empty() {
        return None;
    }
    let (table, delta) = compiler.apply_answers(found);
    add_up(problems, delta);
    Some(table)
}

fn add_up(problems: &mut BTreeSet<Problem>, delta: ProblemDelta) {
    for problem in delta.removed {
        assert!(problems.remove(&problem), "removed, but never added: {problem}");
    }
    for problem in delta.added {
        assert!(problems.insert(problem.clone()), "added twice: {problem}");
    }
}

/// Describes the definition of each plugin, and its configurations.
fn plugins(config: &Config, objects: &[Object]) -> Vec<String> {
    let mut compiler = Compiler::new(config.clone());
    compiler.apply(objects.iter().cloned().map(Change::Apply).collect());
    compiler.plugins().map(|plugin| describe_plugin(plugin, &compiler.plugin_configs(&plugin.name))).collect()
}

fn describe_plugin(plugin: &PluginDefinition, configs: &[Arc<str>]) -> String {
    let source = match &plugin.source {
        PluginSource::File { path, folder } => format!("{} in {}", path.display(), folder.display()),
        PluginSource::ConfigMap { name, key, bytes } => {
            format!("{} bytes of ConfigMap {name} {key}", bytes.as_ref().map_or(0, |bytes| bytes.len()))
        }
        PluginSource::Refused(_) => "refused".to_owned(),
    };
    let mut text = format!("{} {:?} {}, {source}", plugin.name, plugin.phase, plugin.priority);
    for upstream in &plugin.upstreams {
        let count = upstream.backend.endpoints.load().ready().len();
        write!(text, ", may call {}/{}:{} ({count} ready)", upstream.namespace, upstream.name, upstream.port)
            .unwrap();
    }
    write!(text, ", default {:?}, configurations {configs:?}", plugin.default_config).unwrap();
    text
}

/// Describes the Route of a request.
fn describe_request(table: &RoutingTable, request: &str) -> String {
    let (host, path) = request.split_at(request.find('/').unwrap());
    let Ok(path) = path::canonical(path.as_bytes()) else { return format!("{request} → 400") };
    let host = host::normalise(host.as_bytes()).unwrap_or_default();
    let Some(route) = table.find(&host, &path) else { return format!("{request} → 404") };
    let (name, field) = (&route.origin.ingress.name, &route.origin.field);
    let is_ready = |backend: &WeightedBackend| !backend.backend.endpoints.load().ready().is_empty();
    let status = if route.backends.iter().any(is_ready) { "" } else { " 503" };
    format!("{request} →{status} {name} {field}")
}

/// Describes the Secrets that may hold the certificate of a host, best first.
fn describe_handshake(table: &RoutingTable, host: &str) -> String {
    let host = &*host::normalise(host.as_bytes()).unwrap_or_default();
    let choices = table.certificates((!host.is_empty()).then_some(host)).map(|choice| match choice {
        CertificateChoice::Named(secret) => format!("{secret} if it is for it"),
        CertificateChoice::Default(secret) => secret.to_string(),
    });
    let choices: Vec<_> = choices.chain(["the gateway's own".to_owned()]).collect();
    format!("{} → {}", if host.is_empty() { "(no host)" } else { host }, choices.join(", "))
}

fn section(text: &mut String, title: &str, lines: impl Iterator<Item = String>) {
    for (index, line) in lines.enumerate() {
        if index == 0 {
            write!(text, "\n{title}:\n").unwrap();
        }
        writeln!(text, "  {line}").unwrap();
    }
}

fn same(way: &str, left: (&str, &[Problem]), right: (&str, &[Problem])) -> Result<(), Failed> {
    if left == right { Ok(()) } else { Err(format!("{way} gives\n{right:#?}\ninstead of\n{left:#?}").into()) }
}

/// Applies each object in a separate delta, and sums up the changes of Problems.
fn one_by_one(config: Config, objects: Vec<Object>, answers: &[Answer]) -> (String, Vec<Problem>) {
    let mut compiler = Compiler::new(config);
    let mut problems = BTreeSet::new();
    let mut table = compiler.apply(Vec::new()).0;
    for object in objects {
        let (next, delta) = compiler.apply(vec![Change::Apply(object)]);
        add_up(&mut problems, delta);
        table = next;
    }
    let table = answer(&mut compiler, answers, &mut problems).unwrap_or(table);
    (table.to_string(), problems.into_iter().collect())
}

/// A case file.
struct Case {
    config: Config,
    requests: Vec<String>,
    handshakes: Vec<String>,
    objects: Vec<Object>,
    answers: Vec<Answer>,
    unreadable: Vec<String>,
}

/// The answer of a class handler about one host: a document of kind `Answer`, which is no Kubernetes kind.
#[derive(Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
struct Answer {
    kind: String,
    class: String,
    host: Option<String>,
    #[serde(default)]
    output: ClassOutput,
    failed: Option<String>,
}

/// The settings of a case: a document of kind `Config`, which is no Kubernetes kind.
#[derive(Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
struct Settings {
    kind: String,
    #[serde(default)]
    classes: Vec<String>,
    zone: Option<String>,
    /// Requests as `host/path`. The output lists their Routes.
    #[serde(default)]
    requests: Vec<String>,
    /// Hosts that clients name in a TLS handshake. The output lists their Secrets. Empty: the client names no host.
    #[serde(default)]
    handshakes: Vec<String>,
    /// Certificates in Secrets, by namespace/name.
    #[serde(default)]
    certificates: BTreeMap<String, TestCertificate>,
}

/// The certificate in a Secret.
#[derive(Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
struct TestCertificate {
    #[serde(default)]
    hosts: Vec<String>,
    /// Seconds since 1970.
    expired_at: Option<i64>,
    /// Seconds since 1970.
    valid_from: Option<i64>,
    malformed: Option<String>,
    #[serde(default)]
    last_good: bool,
    /// `unread` or `forbidden`.
    access: Option<String>,
}

impl TestCertificate {
    fn content(&self) -> SecretContent {
        match self.access.as_deref() {
            Some("unread") => return SecretContent::Unread,
            Some("forbidden") => return SecretContent::Forbidden,
            other => assert_eq!(other, None),
        }
        if let Some(fault) = &self.malformed {
            let fallback =
                if self.last_good { FallbackCertificate::LastGood } else { FallbackCertificate::Default };
            return SecretContent::Malformed { fault: fault.as_str().into(), fallback };
        }
        let validity = match (self.valid_from, self.expired_at) {
            (Some(from), _) => Validity::NotYet { from },
            (None, Some(at)) => Validity::Expired { at },
            (None, None) => Validity::Valid,
        };
        let hosts = self.hosts.iter().map(|host| HostName::parse(host).unwrap()).collect();
        SecretContent::Certificate { hosts, validity }
    }
}

/// An object of one of our kinds.
#[derive(Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
struct Custom<S> {
    api_version: String,
    kind: String,
    metadata: ObjectMeta,
    spec: S,
}

fn read(yaml: &str) -> Case {
    let mut config = Config::default();
    let (mut requests, mut handshakes, mut found) = (Vec::new(), Vec::new(), BTreeMap::new());
    let (mut objects, mut answers) = (Vec::new(), Vec::new());
    let mut unreadable = Vec::new();
    for document in serde_saphyr::from_multiple::<Value>(yaml).unwrap() {
        let kind = document.get("kind").and_then(Value::as_str).unwrap_or_default().to_owned();
        if kind == "Config" {
            let settings = parse::<Settings>(document);
            (config.classes, config.zone) = (settings.classes, settings.zone);
            (requests, handshakes, found) = (settings.requests, settings.handshakes, settings.certificates);
            continue;
        }
        if kind == "Answer" {
            answers.push(parse::<Answer>(document));
            continue;
        }
        let (mut object, left_out) = object(&kind, document);
        if let Object::Secret(secret) = &mut object
            && let Some(found) = found.get(&secret.name.to_string())
        {
            secret.content = found.content();
        }
        let reference = object.reference();
        for FieldError { field, message } in left_out {
            unreadable.push(format!("{reference} {field}: {message}"));
        }
        objects.push(object);
    }
    Case { config, requests, handshakes, objects, answers, unreadable }
}

/// Converts a document to an object, and returns its invalid values.
fn object(kind: &str, document: Value) -> (Object, Vec<FieldError>) {
    match kind {
        "ConfigMap" => {
            let (map, left_out) = ConfigMap::from_kubernetes(parse::<core::ConfigMap>(document));
            (Object::ConfigMap(map), left_out)
        }
        "EndpointSlice" => {
            let (slice, left_out) =
                EndpointSlice::from_kubernetes(&parse::<discovery::EndpointSlice>(document));
            (Object::EndpointSlice(slice), left_out)
        }
        "Ingress" => {
            let (ingress, left_out) = Ingress::from_kubernetes(&parse::<networking::Ingress>(document));
            (Object::Ingress(ingress), left_out)
        }
        "IngressClassConfig" => {
            let read = parse::<Custom<api::IngressClassConfigSpec>>(document);
            let (config, left_out) = IngressClassConfig::from_parts(&read.metadata, read.spec, None);
            (Object::IngressClassConfig(config), left_out)
        }
        "Namespace" => {
            let (namespace, left_out) = Namespace::from_kubernetes(&parse::<core::Namespace>(document));
            (Object::Namespace(namespace), left_out)
        }
        "RoutePolicy" => {
            let read = parse::<Custom<api::RoutePolicySpec>>(document);
            let (policy, left_out) = RoutePolicy::from_parts(&read.metadata, read.spec);
            (Object::RoutePolicy(policy), left_out)
        }
        "IngressClass" => {
            let (class, left_out) =
                IngressClass::from_kubernetes(&parse::<networking::IngressClass>(document));
            (Object::IngressClass(class), left_out)
        }
        "Secret" => {
            let (secret, left_out) = Secret::from_kubernetes(&parse::<core::Secret>(document));
            (Object::Secret(secret), left_out)
        }
        "Service" => {
            let (service, left_out) = Service::from_kubernetes(&parse::<core::Service>(document));
            (Object::Service(service), left_out)
        }
        "WasmPlugin" => {
            let (plugin, left_out) = wasm_plugin(document);
            (Object::WasmPlugin(plugin), left_out)
        }
        other => panic!("kind \"{other}\" is not read"),
    }
}

/// Converts a WasmPlugin in a file of folder `/yaml`. Without a URL it counts as malformed.
fn wasm_plugin(document: Value) -> (WasmPlugin, Vec<FieldError>) {
    let folder = Some(Path::new("/yaml").into());
    if document.pointer("/spec/url").is_none() {
        let read: Custom<Value> = serde_json::from_value(document).unwrap();
        let target_refs =
            read.spec.get("targetRefs").map(|list| serde_json::from_value(list.clone()).unwrap());
        return WasmPlugin::from_parts(&read.metadata, PluginSpec::Malformed { target_refs }, folder);
    }
    let read = parse::<Custom<api::WasmPluginSpec>>(document);
    WasmPlugin::from_parts(&read.metadata, PluginSpec::Valid(Box::new(read.spec)), folder)
}

/// Parses a document. Panics if the kind lacks one of its fields: that is a mistake in the case.
fn parse<T: DeserializeOwned + Serialize>(document: Value) -> T {
    let object = serde_json::from_value(document.clone()).unwrap();
    assert_holds(&serde_json::to_value(&object).unwrap(), &document, "");
    object
}

#[track_caller]
fn assert_holds(written: &Value, document: &Value, at: &str) {
    match document {
        Value::Object(fields) => {
            for (key, value) in fields {
                let Some(written) = written.get(key) else { panic!("unknown field {at}.{key}") };
                assert_holds(written, value, &format!("{at}.{key}"));
            }
        }
        Value::Array(items) => {
            for (index, item) in items.iter().enumerate() {
                assert_holds(written.get(index).unwrap(), item, &format!("{at}[{index}]"));
            }
        }
        _ => {}
    }
}

/// Reads the reasons of the compiler from its sources.
fn every_reason_has_a_case() -> Result<(), Failed> {
    let mut sources = vec![root().join("src/compiler.rs")];
    sources.extend(fs::read_dir(root().join("src/compiler"))?.map(|entry| entry.unwrap().path()));
    let mut reasons = BTreeSet::new();
    for source in sources {
        let text = fs::read_to_string(source)?;
        for rest in text.split("Reason::").skip(1) {
            reasons.insert(rest.chars().take_while(char::is_ascii_alphanumeric).collect::<String>());
        }
    }
    assert!(reasons.contains("Conflict"), "found no reasons: {reasons:?}");
    let shown: String =
        cases().iter().map(|case| fs::read_to_string(expected_file(case)).unwrap_or_default()).collect();
    reasons.retain(|reason| !shown.contains(&format!(": {reason}: ")));
    if reasons.is_empty() { Ok(()) } else { Err(format!("no golden case shows {reasons:?}").into()) }
}

/// The rows of tables 1a to 1c of `reference/ingress-semantics.md` in its order, without status and Events. Each has a
/// case `row-…` for its rule, and further cases for its pitfalls.
const ROWS: [(&str, &str); 23] = [
    ("1a-exact", "path-types conflict-kinds-differ"),
    ("1a-prefix", "path-types path-same-after-canonical"),
    ("1a-precedence", "conflict-kinds-differ path-types"),
    ("1a-implementation-specific", "path-empty path-canonical"),
    ("1a-host", "host-wildcard host-invalid host-less host-normal-form host-named-hides-host-less"),
    ("1a-default-backend", "default-backend default-backend-order default-backend-invalid"),
    (
        "1a-backend",
        "backend-port-by-name backend-invalid backend-port-not-found backend-resource-unsupported",
    ),
    ("1a-tls", "tls-hosts tls-secret tls-secret-not-found class-default-certificate"),
    (
        "1a-class",
        "class-absent class-not-found class-of-another-controller class-taken-by-name class-without-controller",
    ),
    ("1a-parameters", "class-parameters-namespaced class-parameters-unknown-kind class-parameters-bad-owner"),
    ("1a-never-reaches-us", "path-invalid path-percent path-8-kib-of-slashes"),
    ("1b-conditions", "backend-conditions"),
    ("1b-good-policy", "backend-no-endpoints"),
    ("1b-ports", "backend-several-slices backend-unnamed-port backend-udp-twin read-bad-values"),
    ("1b-hints", "hints-for-another-zone hints-not-for-all hints-of-ready-ones-only hints-without-a-zone"),
    ("1b-app-protocol", "backend-port-by-name backend-app-protocol"),
    ("1b-external-name", "backend-external-name-allowed backend-external-name-per-class"),
    (
        "1c-same-host-and-path",
        "conflict-older-wins conflict-same-age-by-name conflict-no-timestamp-is-youngest namespace-terminating ingress-being-deleted",
    ),
    (
        "1c-cross-namespace-host-sharing",
        "ownership-catch-alls ownership-of-the-named ownership-of-another-class ownership-certificates",
    ),
    (
        "1c-default-backend-with-rules",
        "default-backend-order default-backend-of-a-wildcard default-backend-of-host-less-rules ownership-default-backends",
    ),
    ("1c-no-backend-no-endpoints", "backend-no-endpoints backend-service-not-found"),
    ("1c-path-normalisation", "path-canonical path-encoded-letters path-unicode"),
    ("1c-tls-missing", "tls-secret-not-found tls-secret-malformed"),
];

fn every_row_of_the_reference_has_a_case() -> Result<(), Failed> {
    let cases: BTreeSet<PathBuf> = cases().into_iter().collect();
    let wanted = ROWS.iter().flat_map(|(row, further)| {
        let further = further.split(' ').map(ToOwned::to_owned);
        std::iter::once(format!("row-{row}")).chain(further)
    });
    let has = |case: &String| cases.contains(&root().join(format!("testdata/compile/{case}.in.yaml")));
    let missing: Vec<_> = wanted.filter(|case| !has(case)).collect();
    if missing.is_empty() { Ok(()) } else { Err(format!("there is no case {missing:?}").into()) }
}

fn there_are_at_least_eighty_cases() -> Result<(), Failed> {
    let count = cases().len();
    if count >= 80 { Ok(()) } else { Err(format!("found {count}; is testdata/compile complete?").into()) }
}
