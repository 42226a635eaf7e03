//! Parses a file into objects and Problems.
//!
//! Reads the kinds that routing knows, opens Lists, and skips all other kinds: a folder may contain Deployments too.
//! Not here: duplicates and the default class (`folder_state`).

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::Arc;

use k8s_openapi::Metadata;
use k8s_openapi::api::core::v1 as core;
use k8s_openapi::api::discovery::v1 as discovery;
use k8s_openapi::api::networking::v1 as networking;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use routing::object::{
    ConfigMap, EndpointSlice, FieldError, Ingress, IngressClass, IngressClassConfig, Kind, Name, Namespace,
    Object, ObjectRef, PluginSpec, RoutePolicy, Secret, Service, StringInterner, WasmPlugin,
};
use routing::problem::{Problem, Reason};
use serde::Deserialize;
use serde::de::{DeserializeOwned, IgnoredAny};

use super::node::{Deserialized, Node, ParseError, UnknownField, Value};
use super::yaml;
use crate::control::source::PemPair;
use crate::control::source::location::{LocatedProblem, Location, SourceMap};

mod api_rules;
mod repository;
mod secret_data;

/// The deprecated annotation that names a class. An Ingress with it gets no default class.
const CLASS_ANNOTATION: &str = "kubernetes.io/ingress.class";

/// The API group that Ingress had before Kubernetes 1.22.
const OLD_INGRESS_GROUP: &str = "extensions";

/// Maximum length of an object's name, from RFC 1123 (a DNS subdomain).
const MAX_NAME_BYTES: usize = 253;

/// Maximum length of a namespace, from RFC 1123 (a DNS label).
const MAX_NAMESPACE_BYTES: usize = 63;

/// The kinds that are read. Those of Kubernetes in version `v1`, ours in [`api::VERSION`].
const KINDS: [KnownKind; 10] = [
    KnownKind { group: "", name: "ConfigMap", kind: Kind::ConfigMap },
    KnownKind { group: "", name: "Namespace", kind: Kind::Namespace },
    KnownKind { group: "", name: "Secret", kind: Kind::Secret },
    KnownKind { group: "", name: "Service", kind: Kind::Service },
    KnownKind { group: "discovery.k8s.io", name: "EndpointSlice", kind: Kind::EndpointSlice },
    KnownKind { group: "networking.k8s.io", name: "Ingress", kind: Kind::Ingress },
    KnownKind { group: "networking.k8s.io", name: "IngressClass", kind: Kind::IngressClass },
    KnownKind { group: api::GROUP, name: "IngressClassConfig", kind: Kind::IngressClassConfig },
    KnownKind { group: api::GROUP, name: "RoutePolicy", kind: Kind::RoutePolicy },
    KnownKind { group: api::GROUP, name: "WasmPlugin", kind: Kind::WasmPlugin },
];

struct KnownKind {
    group: &'static str,
    name: &'static str,
    kind: Kind,
}

/// The objects of a file.
#[derive(Debug, Default)]
pub(super) struct ParsedFile {
    /// In the order of the file.
    pub(super) objects: Vec<ParsedObject>,
    /// Problems that leave the objects in use.
    pub(super) problems: Vec<LocatedProblem>,
    /// Secrets that other controllers make from objects of the file.
    pub(super) promised_secrets: Vec<Name>,
}

/// An object, and what later stages need besides it.
#[derive(Debug)]
pub(super) struct ParsedObject {
    pub(super) object: Object,
    pub(super) source_map: SourceMap,
    /// Whether it is an Ingress that names its class neither by field nor by annotation.
    pub(super) names_no_class: bool,
    /// `metadata.creationTimestamp` in seconds since 1970.
    pub(super) created: Option<i64>,
    /// The certificate and key of a Secret.
    pub(super) pair: Option<PemPair>,
}

/// Why a version of a file is rejected.
#[derive(Debug)]
pub(super) struct ParseFailure {
    /// One Problem for each invalid document.
    pub(super) problems: Vec<LocatedProblem>,
    /// The valid documents. `None` if the file is no YAML: then the end of the documents is unknown.
    pub(super) partial: Option<ParsedFile>,
}

/// Returns the Problem of a file that cannot be read. The path is relative to the folder.
pub(super) fn file_problem(path: &Path, line: Option<u64>, message: &str) -> LocatedProblem {
    located(path, line, Reason::Unreadable, message)
}

fn located(path: &Path, line: Option<u64>, reason: Reason, message: &str) -> LocatedProblem {
    let file = display_name(path);
    let problem = Problem {
        object: ObjectRef { kind: Kind::File, name: Name::new("", &file) },
        field: String::new(),
        reason,
        message: message.to_owned(),
    };
    LocatedProblem { problem, location: Some(Location::new(&file, line.unwrap_or(0))) }
}

/// Returns a file's name in Problems. The folder itself is a dot.
fn display_name(path: &Path) -> Arc<str> {
    let path = path.to_string_lossy();
    if path.is_empty() { ".".into() } else { path.into() }
}

/// Parses the text of a file. The path is relative to the folder `root`, which is absolute.
///
/// # Errors
/// Returns a [`ParseFailure`] if any document is invalid.
pub(super) fn parse(root: &Path, path: &Path, text: &str) -> Result<ParsedFile, ParseFailure> {
    let mut parser = FileParser {
        root,
        path,
        file: display_name(path),
        strings: StringInterner::default(),
        content: ParsedFile::default(),
        failures: Vec::new(),
        without_object: Vec::new(),
        has_objects: false,
    };
    // No text is known to cause a panic in the YAML library. If one does, only this file is lost.
    let outcome = catch_unwind(AssertUnwindSafe(|| {
        yaml::for_each_document(text, |document| parser.add_document(document, None))
    }));
    let FileParser { mut content, failures: mut problems, mut without_object, has_objects, .. } = parser;
    if has_objects {
        // A file of objects: the others are mistakes.
        without_object.iter_mut().for_each(|found| found.problem.reason = Reason::Unreadable);
        problems.append(&mut without_object);
    }
    content.problems.append(&mut without_object);
    let error = match outcome {
        Ok(Ok(())) if problems.is_empty() => return Ok(content),
        Ok(Ok(())) => return Err(ParseFailure { problems, partial: Some(content) }),
        Ok(Err(error)) if repository::is_helm_template(text) => {
            let note = located(path, error.line, Reason::NoObject, repository::HELM_TEMPLATE);
            return Ok(ParsedFile { problems: vec![note], ..content });
        }
        Ok(Err(error)) => error,
        Err(_) => ParseError::new(None, "the YAML library failed on this file".to_owned()),
    };
    problems.push(file_problem(path, error.line, &error.message));
    Err(ParseFailure { problems, partial: None })
}

// ===== types with metadata =====

/// A type of Kubernetes or of ours with `metadata`.
trait HasMetadata {
    fn metadata(&self) -> &ObjectMeta;
}

impl<T: Metadata<Ty = ObjectMeta>> HasMetadata for T {
    fn metadata(&self) -> &ObjectMeta {
        Metadata::metadata(self)
    }
}

/// An object of our own kinds. An unknown field in its `spec` invalidates the object: a part of a policy may be worse
/// than none.
#[derive(Deserialize)]
struct CustomResource<S> {
    metadata: ObjectMeta,
    spec: S,
    /// Declared, like the kind, so that it is no unknown field. Both were checked before.
    #[serde(rename = "apiVersion")]
    _api_version: Option<String>,
    #[serde(rename = "kind")]
    _kind: Option<String>,
}

impl<S> HasMetadata for CustomResource<S> {
    fn metadata(&self) -> &ObjectMeta {
        &self.metadata
    }
}

/// The part of a malformed WasmPlugin that decides which routes are closed.
#[derive(Deserialize)]
struct PluginTargets {
    #[serde(rename = "targetRefs")]
    target_refs: Option<Vec<api::TargetRef>>,
}

// ===== documents =====

/// The state of a file's parsing.
struct FileParser<'a> {
    root: &'a Path,
    path: &'a Path,
    /// The file's name in Problems.
    file: Arc<str>,
    strings: StringInterner,
    content: ParsedFile,
    failures: Vec<LocatedProblem>,
    /// Documents that are no objects.
    without_object: Vec<LocatedProblem>,
    /// Whether a document is an object of any kind.
    has_objects: bool,
}

/// The type of a List's items, for items that do not name theirs.
#[derive(Clone, Copy)]
struct ItemType<'a> {
    api_version: &'a str,
    kind: &'a str,
}

impl FileParser<'_> {
    fn add_document(&mut self, node: &Node, item_type: Option<ItemType<'_>>) {
        if item_type.is_none()
            && let Some(message) = repository::no_object(node)
        {
            let note = located(self.path, Some(node.line), Reason::NoObject, message);
            return self.without_object.push(note);
        }
        self.has_objects = true;
        if let Err(error) = self.parse_document(node, item_type) {
            self.fail(node, error);
        }
    }

    fn fail(&mut self, node: &Node, error: ParseError) {
        let message = if error.field.is_empty() {
            error.message
        } else {
            format!("{}: {}", error.field, error.message)
        };
        let object = object_label(node).map(|object| format!("{object}: ")).unwrap_or_default();
        let line = error.line.unwrap_or(node.line);
        self.failures.push(file_problem(self.path, Some(line), &format!("{object}{message}")));
    }

    /// Deserializes an object. Reports all of its errors but the first, which it returns.
    fn read<T: DeserializeOwned + HasMetadata>(
        &mut self,
        node: &Node,
    ) -> Result<Deserialized<T>, ParseError> {
        deserialize_object::<T>(node).inspect_err(|first| {
            for error in node.type_errors::<T>() {
                if error != *first {
                    self.fail(node, error);
                }
            }
        })
    }

    fn parse_document(&mut self, node: &Node, item_type: Option<ItemType<'_>>) -> Result<(), ParseError> {
        if !matches!(node.value, Value::Map(_)) {
            let message = "not an object: expected keys and values".to_owned();
            return Err(ParseError::new(Some(node.line), message));
        }
        let missing = |field: &str| ParseError {
            line: Some(node.line),
            field: field.to_owned(),
            message: "missing, or not a string".to_owned(),
        };
        let api_version = node.text("apiVersion").or(item_type.map(|item| item.api_version));
        let kind = node.text("kind").or(item_type.map(|item| item.kind));
        let kind = kind.ok_or_else(|| missing("kind"))?;
        let api_version = api_version.ok_or_else(|| missing("apiVersion"))?;
        if let Some(kind) = kind.strip_suffix("List") {
            return self.parse_list(node, ItemType { api_version, kind });
        }
        match KindMatch::find(api_version, kind) {
            KindMatch::Readable(kind) => self.parse_object(node, kind),
            KindMatch::OtherVersion { expected } => Err(ParseError {
                line: node.get("apiVersion").map(|entry| entry.line),
                field: "apiVersion".to_owned(),
                message: format!("\"{}\" is not supported; write {expected}", api_version.escape_debug()),
            }),
            KindMatch::Foreign => {
                self.content.promised_secrets.extend(repository::promised_secret(node, api_version, kind));
                let ours = KINDS.iter().filter(|known| known.group == api::GROUP).map(|known| known.name);
                repository::unknown_kind(node, api_version, kind, ours).map_or(Ok(()), Err)
            }
        }
    }

    fn parse_list(&mut self, node: &Node, item_type: ItemType<'_>) -> Result<(), ParseError> {
        let ItemType { api_version, kind } = item_type;
        let typed = match KindMatch::find(api_version, kind) {
            KindMatch::Readable(_) => Some(item_type),
            // `v1 List`, whose items name their types.
            KindMatch::OtherVersion { .. } | KindMatch::Foreign if kind.is_empty() && api_version == "v1" => {
                None
            }
            KindMatch::OtherVersion { .. } | KindMatch::Foreign => return Ok(()),
        };
        match node.get("items").map(|entry| (entry.line, &entry.value.value)) {
            None | Some((_, Value::Null)) => Ok(()),
            Some((_, Value::List(items))) => {
                for item in items {
                    self.add_document(item, typed);
                }
                Ok(())
            }
            Some((line, _)) => Err(ParseError {
                line: Some(line),
                field: "items".to_owned(),
                message: "expected a list".to_owned(),
            }),
        }
    }
}

/// Whether a type of a document is read.
enum KindMatch {
    /// It is read.
    Readable(Kind),
    /// It is read in another version, the `apiVersion` of which is `expected`.
    OtherVersion { expected: String },
    /// It is not read in any version.
    Foreign,
}

impl KindMatch {
    fn find(api_version: &str, kind: &str) -> Self {
        let (group, version) = api_version.split_once('/').unwrap_or(("", api_version));
        let is_old_ingress = (group, kind) == (OLD_INGRESS_GROUP, "Ingress");
        let group = if is_old_ingress { "networking.k8s.io" } else { group };
        let Some(known) = KINDS.into_iter().find(|known| (known.group, known.name) == (group, kind)) else {
            return Self::Foreign;
        };
        let our_version = if known.group == api::GROUP { api::VERSION } else { "v1" };
        let expected = match known.group {
            "" => our_version.to_owned(),
            group => format!("{group}/{our_version}"),
        };
        if version == our_version && api_version == expected {
            Self::Readable(known.kind)
        } else {
            Self::OtherVersion { expected }
        }
    }
}

/// Names a document by its kind and name, as far as they can be read: `Ingress shop/web`.
fn object_label(node: &Node) -> Option<String> {
    let kind = node.text("kind")?;
    let metadata = &node.get("metadata")?.value;
    let name = metadata.text("name")?;
    Some(match metadata.text("namespace") {
        Some(namespace) => format!("{kind} {namespace}/{name}"),
        None => format!("{kind} {name}"),
    })
}

// ===== objects =====

impl FileParser<'_> {
    fn parse_object(&mut self, node: &Node, kind: Kind) -> Result<(), ParseError> {
        match kind {
            Kind::Ingress => self.parse_ingress(node),
            Kind::IngressClass => self.parse_as::<networking::IngressClass, _>(
                node,
                IngressClass::from_kubernetes,
                Object::IngressClass,
            ),
            Kind::Service => {
                self.parse_as::<core::Service, _>(node, Service::from_kubernetes, Object::Service)
            }
            Kind::EndpointSlice => self.parse_as::<discovery::EndpointSlice, _>(
                node,
                EndpointSlice::from_kubernetes,
                Object::EndpointSlice,
            ),
            Kind::Secret => self.parse_secret(node),
            Kind::Namespace => {
                self.parse_as::<core::Namespace, _>(node, Namespace::from_kubernetes, Object::Namespace)
            }
            Kind::IngressClassConfig => {
                let folder = self.folder();
                let convert = |config: &CustomResource<api::IngressClassConfigSpec>| {
                    let folder = folder.clone();
                    IngressClassConfig::from_parts(&config.metadata, config.spec.clone(), folder)
                };
                self.parse_as(node, convert, Object::IngressClassConfig)
            }
            Kind::RoutePolicy => {
                let convert = |policy: &CustomResource<api::RoutePolicySpec>| {
                    RoutePolicy::from_parts(&policy.metadata, policy.spec.clone())
                };
                self.parse_as(node, convert, Object::RoutePolicy)
            }
            Kind::ConfigMap => self.parse_config_map(node),
            Kind::WasmPlugin => self.parse_wasm_plugin(node),
            Kind::File | Kind::Node => Ok(()),
        }
    }

    fn parse_as<T: DeserializeOwned + HasMetadata, O>(
        &mut self,
        node: &Node,
        convert: impl Fn(&T) -> (O, Vec<FieldError>),
        wrap: fn(O) -> Object,
    ) -> Result<(), ParseError> {
        let Deserialized { value, unknown_fields } = self.read::<T>(node)?;
        let (object, field_errors) = convert(&value);
        let parsed = self.parsed_object(wrap(object), node, value.metadata());
        self.push(parsed, unknown_fields, field_errors);
        Ok(())
    }

    fn parse_ingress(&mut self, node: &Node) -> Result<(), ParseError> {
        let Deserialized { value, unknown_fields } = self.read::<networking::Ingress>(node)?;
        let (mut ingress, field_errors) = Ingress::from_kubernetes(&value);
        self.strings.intern_ingress(&mut ingress);
        let parsed = self.parsed_object(Object::Ingress(ingress), node, &value.metadata);
        let parsed = ParsedObject { names_no_class: names_no_class(&value), ..parsed };
        let object = parsed.object.reference();
        self.content.problems.extend(api_rules::ingress_faults(&value).into_iter().map(|fault| {
            let location = Some(parsed.source_map.locate(&fault.field));
            let (field, message) = (fault.field, format!("the API server refuses this: {}", fault.message));
            let problem = Problem { object: object.clone(), field, reason: Reason::RefusedByApi, message };
            LocatedProblem { problem, location }
        }));
        self.push(parsed, unknown_fields, field_errors);
        Ok(())
    }

    fn parse_secret(&mut self, node: &Node) -> Result<(), ParseError> {
        let Deserialized { mut value, unknown_fields } =
            named(node, node.deserialize_secret::<core::Secret>()).map_err(secret_data::redacted)?;
        secret_data::merge_string_data(&mut value);
        let (secret, field_errors) = Secret::from_kubernetes(&value);
        let parsed = self.parsed_object(Object::Secret(secret), node, &value.metadata);
        let parsed = ParsedObject { pair: secret_data::pem_pair(value), ..parsed };
        self.push(parsed, unknown_fields, field_errors);
        Ok(())
    }

    fn parse_config_map(&mut self, node: &Node) -> Result<(), ParseError> {
        let Deserialized { value, unknown_fields } = self.read::<core::ConfigMap>(node)?;
        let metadata = value.metadata.clone();
        let (map, field_errors) = ConfigMap::from_kubernetes(value);
        let parsed = self.parsed_object(Object::ConfigMap(map), node, &metadata);
        self.push(parsed, unknown_fields, field_errors);
        Ok(())
    }

    /// Returns the folder of the file, which `file://` URLs of modules are relative to.
    fn folder(&self) -> Option<Arc<Path>> {
        self.root.join(self.path).parent().map(Arc::from)
    }

    fn parse_wasm_plugin(&mut self, node: &Node) -> Result<(), ParseError> {
        let strict = deserialize_object::<CustomResource<api::WasmPluginSpec>>(node);
        let (metadata, spec, unknown_fields) = match strict {
            Ok(Deserialized { value, unknown_fields }) => {
                (value.metadata, PluginSpec::Valid(Box::new(value.spec)), unknown_fields)
            }
            Err(error) => {
                // Its routes are closed, unless an earlier version of the file is in use.
                if let Some((metadata, spec)) = malformed_plugin(node) {
                    self.push_plugin(node, metadata, spec, Vec::new());
                }
                return Err(error);
            }
        };
        self.push_plugin(node, metadata, spec, unknown_fields);
        Ok(())
    }

    fn push_plugin(
        &mut self,
        node: &Node,
        metadata: ObjectMeta,
        spec: PluginSpec,
        unknown_fields: Vec<UnknownField>,
    ) {
        let folder = self.folder();
        let (plugin, field_errors) = WasmPlugin::from_parts(&metadata, spec, folder);
        let parsed = self.parsed_object(Object::WasmPlugin(plugin), node, &metadata);
        self.push(parsed, unknown_fields, field_errors);
    }

    fn parsed_object(&self, object: Object, node: &Node, metadata: &ObjectMeta) -> ParsedObject {
        let created = metadata.creation_timestamp.as_ref().map(|time| time.0.as_second());
        let source_map = SourceMap::new(Location::new(&self.file, node.line), node.lines());
        ParsedObject { object, source_map, names_no_class: false, created, pair: None }
    }

    fn push(
        &mut self,
        parsed: ParsedObject,
        unknown_fields: Vec<UnknownField>,
        field_errors: Vec<FieldError>,
    ) {
        let object = parsed.object.reference();
        let problem = |field, reason, message| Problem { object: object.clone(), field, reason, message };
        let unknown_fields = unknown_fields.into_iter().map(|UnknownField { field, line }| {
            let message = "there is no such field; it has no effect".to_owned();
            let location = Location::new(&self.file, line);
            LocatedProblem {
                problem: problem(field, Reason::UnknownField, message),
                location: Some(location),
            }
        });
        let field_errors = field_errors.into_iter().map(|FieldError { field, message }| {
            let location = parsed.source_map.locate(&field);
            LocatedProblem {
                problem: problem(field, Reason::InvalidValue, message),
                location: Some(location),
            }
        });
        self.content.problems.extend(unknown_fields.chain(field_errors));
        self.content.objects.push(parsed);
    }
}

fn deserialize_object<T: DeserializeOwned + HasMetadata>(node: &Node) -> Result<Deserialized<T>, ParseError> {
    named(node, node.deserialize_as::<T>())
}

/// Checks the name of an object.
fn named<T: HasMetadata>(
    node: &Node,
    deserialized: Result<Deserialized<T>, ParseError>,
) -> Result<Deserialized<T>, ParseError> {
    let deserialized = deserialized?;
    let ObjectMeta { name, namespace, .. } = deserialized.value.metadata();
    let error = |field: &str, message: &str| ParseError {
        line: Some(node.line_of(field)),
        field: field.to_owned(),
        message: message.to_owned(),
    };
    match name.as_deref() {
        None | Some("") => return Err(error("metadata.name", "an object needs a name")),
        Some(name) if !is_valid_name(name, MAX_NAME_BYTES) => {
            return Err(error("metadata.name", "not a name: up to 253 of a-z, 0-9, - and . are allowed"));
        }
        Some(_) => {}
    }
    let namespace = namespace.as_deref().filter(|namespace| !namespace.is_empty());
    if namespace.is_some_and(|namespace| !is_valid_name(namespace, MAX_NAMESPACE_BYTES)) {
        return Err(error("metadata.namespace", "not a name: up to 63 of a-z, 0-9 and - are allowed"));
    }
    Ok(deserialized)
}

/// Reads name and targets of a WasmPlugin whose spec does not parse. Without readable targets, it is about its whole
/// namespace. Returns `None` if the name is invalid too.
fn malformed_plugin(node: &Node) -> Option<(ObjectMeta, PluginSpec)> {
    if let Ok(Deserialized { value, .. }) = deserialize_object::<CustomResource<PluginTargets>>(node) {
        return Some((value.metadata, PluginSpec::Malformed { target_refs: value.spec.target_refs }));
    }
    let Deserialized { value, .. } = deserialize_object::<CustomResource<Option<IgnoredAny>>>(node).ok()?;
    Some((value.metadata, PluginSpec::Malformed { target_refs: None }))
}

/// Checks the rules that all names share. They exclude `/`, so that `namespace/name` is unambiguous.
fn is_valid_name(name: &str, max_bytes: usize) -> bool {
    name.len() <= max_bytes
        && name
            .bytes()
            .all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"-.".contains(&byte))
}

/// Returns true if admission would add the default class. An empty field or annotation counts as a class.
fn names_no_class(ingress: &networking::Ingress) -> bool {
    let by_field = ingress.spec.as_ref().is_some_and(|spec| spec.ingress_class_name.is_some());
    let annotations = ingress.metadata.annotations.as_ref();
    !by_field && !annotations.is_some_and(|annotations| annotations.contains_key(CLASS_ANNOTATION))
}

#[cfg(test)]
mod tests;
