//! The text of one file to objects and Problems.
//!
//! Purpose: the kinds that routing knows are read, Lists are opened, other kinds are passed over (a folder
//! may hold Deployments too). Not here: which of two equal objects counts, and default classes (`merge`).

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::Arc;

use k8s_openapi::Metadata;
use k8s_openapi::api::core::v1 as core;
use k8s_openapi::api::discovery::v1 as discovery;
use k8s_openapi::api::networking::v1 as networking;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use routing::object::{
    EndpointSlice, FieldError, Ingress, IngressClass, IngressClassConfig, Kind, Name, Namespace, Object,
    ObjectRef, RoutePolicy, Secret, Service, StringInterner,
};
use routing::problem::{Problem, Reason};
use serde::Deserialize;
use serde::de::DeserializeOwned;

use super::node::{Node, ParseError, UnknownField, Value};
use super::yaml;
use crate::control::source::PemPair;
use crate::control::source::location::{LocatedProblem, Location, SourceMap};

/// The annotation that named a class before there was a field. An Ingress that has it gets no default class.
const CLASS_ANNOTATION: &str = "kubernetes.io/ingress.class";
/// The kinds that are read, with their groups and names. Kubernetes' own are read in version `v1`, ours in `api::VERSION`.
const KINDS: [(&str, &str, Kind); 8] = [
    ("", "Namespace", Kind::Namespace),
    ("", "Secret", Kind::Secret),
    ("", "Service", Kind::Service),
    ("discovery.k8s.io", "EndpointSlice", Kind::EndpointSlice),
    ("networking.k8s.io", "Ingress", Kind::Ingress),
    ("networking.k8s.io", "IngressClass", Kind::IngressClass),
    (api::GROUP, "IngressClassConfig", Kind::IngressClassConfig),
    (api::GROUP, "RoutePolicy", Kind::RoutePolicy),
];

/// What a file holds.
#[derive(Debug, Default)]
pub(super) struct ParsedFile {
    /// In the order of the file.
    pub(super) objects: Vec<ParsedObject>,
    /// What is wrong with the objects but does not stop them.
    pub(super) problems: Vec<LocatedProblem>,
}

/// One object and what the other stages need to know of it.
#[derive(Debug)]
pub(super) struct ParsedObject {
    pub(super) object: Object,
    /// Where it stands.
    pub(super) source_map: SourceMap,
    /// Whether it is an Ingress that names its class neither by field nor by annotation.
    pub(super) names_no_class: bool,
    /// Seconds since 1970 of `metadata.creationTimestamp`.
    pub(super) created: Option<i64>,
    /// A Secret's certificate and key.
    pub(super) pair: Option<PemPair>,
}

/// Why a file as it stands is not taken.
#[derive(Debug)]
pub(super) struct ParseFailure {
    /// One for every document that cannot be read.
    pub(super) problems: Vec<LocatedProblem>,
    /// The other documents; nothing if the file is no YAML, because then it is not known where it ends.
    pub(super) partial: Option<ParsedFile>,
}

/// Makes the Problem of a file that cannot be read. The path is relative to the folder.
pub(super) fn file_problem(path: &Path, line: Option<u64>, reason: &str) -> LocatedProblem {
    let file = file_name(path);
    let problem = Problem {
        object: ObjectRef { kind: Kind::File, name: Name::new("", &file) },
        field: String::new(),
        reason: Reason::Unreadable,
        message: reason.to_owned(),
    };
    LocatedProblem { problem, location: Some(Location::new(&file, line.unwrap_or(0))) }
}

/// A file as Problems name it; the folder itself is a dot.
fn file_name(path: &Path) -> Arc<str> {
    let path = path.to_string_lossy();
    if path.is_empty() { ".".into() } else { path.into() }
}

/// Reads a file's text.
///
/// # Errors
/// Any document that cannot be read.
pub(super) fn parse(path: &Path, text: &str) -> Result<ParsedFile, ParseFailure> {
    let file = file_name(path);
    let mut parser = FileParser {
        path,
        file,
        texts: StringInterner::default(),
        content: ParsedFile::default(),
        errors: Vec::new(),
    };
    // No text is known to make the YAML library panic. If there is one, it costs this file only.
    let outcome = catch_unwind(AssertUnwindSafe(|| {
        yaml::for_each_document(text, |document| parser.add_document(document, None))
    }));
    let FileParser { content, errors: mut problems, .. } = parser;
    let error = match outcome {
        Ok(Ok(())) if problems.is_empty() => return Ok(content),
        Ok(Ok(())) => return Err(ParseFailure { problems, partial: Some(content) }),
        Ok(Err(error)) => error,
        Err(_) => ParseError::new(None, "the YAML library failed on this file".to_owned()),
    };
    problems.push(file_problem(path, error.line, &error.message));
    Err(ParseFailure { problems, partial: None })
}

/// A file while it is read.
struct FileParser<'a> {
    path: &'a Path,
    /// The path as Problems name it.
    file: Arc<str>,
    texts: StringInterner,
    content: ParsedFile,
    errors: Vec<LocatedProblem>,
}

/// Objects with metadata: Kubernetes' own types, and ours.
trait HasMetadata {
    fn metadata(&self) -> &ObjectMeta;
}

impl<T: Metadata<Ty = ObjectMeta>> HasMetadata for T {
    fn metadata(&self) -> &ObjectMeta {
        Metadata::metadata(self)
    }
}

/// An object of one of our own kinds, whose specs `api` has. Fields that these do not have refuse the object: half
/// a policy may be worse than none.
#[derive(Deserialize)]
struct CustomResource<S> {
    metadata: ObjectMeta,
    spec: S,
    /// This and the kind were looked at already; they are here so that they do not count as unknown.
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

/// The type of a List's items that do not name theirs.
type ItemType<'a> = (&'a str, &'a str);

impl FileParser<'_> {
    fn add_document(&mut self, node: &Node, item_type: Option<ItemType<'_>>) {
        if let Err(error) = self.parse_document(node, item_type) {
            let message = if error.field.is_empty() {
                error.message
            } else {
                format!("{}: {}", error.field, error.message)
            };
            let object = object_label(node).map(|object| format!("{object}: ")).unwrap_or_default();
            let line = error.line.unwrap_or(node.line);
            self.errors.push(file_problem(self.path, Some(line), &format!("{object}{message}")));
        }
    }

    fn parse_document(&mut self, node: &Node, item_type: Option<ItemType<'_>>) -> Result<(), ParseError> {
        if !matches!(node.value, Value::Map(_)) {
            return Err(ParseError::new(
                Some(node.line),
                "not an object: expected keys and values".to_owned(),
            ));
        }
        let missing = |field: &str| ParseError {
            line: Some(node.line),
            field: field.to_owned(),
            message: "missing, or not a text".to_owned(),
        };
        let api_version = node.text("apiVersion").or(item_type.map(|(version, _)| version));
        let kind = node.text("kind").or(item_type.map(|(_, kind)| kind));
        let kind = kind.ok_or_else(|| missing("kind"))?;
        let api_version = api_version.ok_or_else(|| missing("apiVersion"))?;
        if let Some(item_kind) = kind.strip_suffix("List") {
            return self.parse_list(node, (api_version, item_kind));
        }
        match known_kind(api_version, kind) {
            Some(Ok(kind)) => self.parse_object(node, kind),
            Some(Err(wanted)) => Err(ParseError {
                line: node.get("apiVersion").map(|entry| entry.line),
                field: "apiVersion".to_owned(),
                message: format!("\"{}\" is not read; write {wanted}", api_version.escape_debug()),
            }),
            None => Ok(()),
        }
    }

    fn parse_list(&mut self, node: &Node, (api_version, item_kind): ItemType<'_>) -> Result<(), ParseError> {
        if item_kind.is_empty() && api_version != "v1" {
            return Ok(());
        }
        let typed =
            matches!(known_kind(api_version, item_kind), Some(Ok(_))).then_some((api_version, item_kind));
        if typed.is_none() && !item_kind.is_empty() {
            return Ok(());
        }
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

    fn parse_object(&mut self, node: &Node, kind: Kind) -> Result<(), ParseError> {
        match kind {
            Kind::Ingress => {
                let (ingress, unknown) = deserialize_object::<networking::Ingress>(node)?;
                let names_no_class = names_no_class(&ingress);
                let (mut object, unreadable) = Ingress::from_kubernetes(&ingress);
                self.texts.intern_ingress(&mut object);
                let entry = ParsedObject {
                    names_no_class,
                    ..self.parsed_object(Object::Ingress(object), node, &ingress)
                };
                self.push(entry, (unknown, unreadable));
            }
            Kind::IngressClass => {
                let (class, unknown) = deserialize_object::<networking::IngressClass>(node)?;
                let (object, unreadable) = IngressClass::from_kubernetes(&class);
                self.push(
                    self.parsed_object(Object::IngressClass(object), node, &class),
                    (unknown, unreadable),
                );
            }
            Kind::Service => {
                let (service, unknown) = deserialize_object::<core::Service>(node)?;
                let (object, unreadable) = Service::from_kubernetes(&service);
                self.push(self.parsed_object(Object::Service(object), node, &service), (unknown, unreadable));
            }
            Kind::EndpointSlice => {
                let (slice, unknown) = deserialize_object::<discovery::EndpointSlice>(node)?;
                let (object, unreadable) = EndpointSlice::from_kubernetes(&slice);
                self.push(
                    self.parsed_object(Object::EndpointSlice(object), node, &slice),
                    (unknown, unreadable),
                );
            }
            Kind::Secret => {
                let (mut secret, unknown) = deserialize_object::<core::Secret>(node).map_err(redacted)?;
                merge_string_data(&mut secret);
                let (object, unreadable) = Secret::from_kubernetes(&secret);
                let entry = self.parsed_object(Object::Secret(object), node, &secret);
                self.push(ParsedObject { pair: pem_pair(secret), ..entry }, (unknown, unreadable));
            }
            Kind::Namespace => {
                let (namespace, unknown) = deserialize_object::<core::Namespace>(node)?;
                let (object, unreadable) = Namespace::from_kubernetes(&namespace);
                self.push(
                    self.parsed_object(Object::Namespace(object), node, &namespace),
                    (unknown, unreadable),
                );
            }
            Kind::IngressClassConfig => {
                let (config, unknown) =
                    deserialize_object::<CustomResource<api::IngressClassConfigSpec>>(node)?;
                let (object, unreadable) =
                    IngressClassConfig::from_parts(&config.metadata, config.spec.clone());
                let entry = self.parsed_object(Object::IngressClassConfig(object), node, &config);
                self.push(entry, (unknown, unreadable));
            }
            Kind::RoutePolicy => {
                let (policy, unknown) = deserialize_object::<CustomResource<api::RoutePolicySpec>>(node)?;
                let (object, unreadable) = RoutePolicy::from_parts(&policy.metadata, policy.spec.clone());
                let entry = self.parsed_object(Object::RoutePolicy(object), node, &policy);
                self.push(entry, (unknown, unreadable));
            }
            Kind::File | Kind::Node => {}
        }
        Ok(())
    }

    fn parsed_object(&self, object: Object, node: &Node, from: &impl HasMetadata) -> ParsedObject {
        let created = from.metadata().creation_timestamp.as_ref().map(|time| time.0.as_second());
        let source_map = SourceMap::new(Location::new(&self.file, node.line), node.lines());
        ParsedObject { object, source_map, names_no_class: false, created, pair: None }
    }

    fn push(&mut self, entry: ParsedObject, (unknown, unreadable): (Vec<UnknownField>, Vec<FieldError>)) {
        let object = entry.object.reference();
        let problem = |field, reason, message| Problem { object: object.clone(), field, reason, message };
        let unknown = unknown.into_iter().map(|UnknownField { field, line }| {
            let message = "there is no such field; it has no effect".to_owned();
            let location = Location::new(&self.file, line);
            LocatedProblem {
                problem: problem(field, Reason::UnknownField, message),
                location: Some(location),
            }
        });
        let unreadable = unreadable.into_iter().map(|FieldError { field, message }| {
            let location = entry.source_map.locate(&field);
            LocatedProblem {
                problem: problem(field, Reason::InvalidValue, message),
                location: Some(location),
            }
        });
        self.content.problems.extend(unknown.chain(unreadable));
        self.content.objects.push(entry);
    }
}

/// Says which of our kinds this is; in a version that is not read, which one to write; or that it is none.
fn known_kind(api_version: &str, kind: &str) -> Option<Result<Kind, String>> {
    let (group, version) = api_version.split_once('/').unwrap_or(("", api_version));
    // The group in which Ingress was born; Kubernetes 1.22 took it away.
    let group = if (group, kind) == ("extensions", "Ingress") { "networking.k8s.io" } else { group };
    let (group, _, kind) = KINDS.into_iter().find(|(ours, name, _)| (*ours, *name) == (group, kind))?;
    let ours = if group == api::GROUP { api::VERSION } else { "v1" };
    let wanted = if group.is_empty() { ours.to_owned() } else { format!("{group}/{ours}") };
    Some(if version == ours && api_version == wanted { Ok(kind) } else { Err(wanted) })
}

/// Names a document by what can be read of it: `Ingress shop/web`.
fn object_label(node: &Node) -> Option<String> {
    let kind = node.text("kind")?;
    let metadata = &node.get("metadata")?.value;
    let name = metadata.text("name")?;
    Some(match metadata.text("namespace") {
        Some(namespace) => format!("{kind} {namespace}/{name}"),
        None => format!("{kind} {name}"),
    })
}

fn deserialize_object<T: DeserializeOwned + HasMetadata>(
    node: &Node,
) -> Result<(T, Vec<UnknownField>), ParseError> {
    let (object, unknown) = node.deserialize_as::<T>()?;
    let ObjectMeta { name, namespace, .. } = object.metadata();
    let bad = |field: &str, message: &str| ParseError {
        line: Some(node.line_of(field)),
        field: field.to_owned(),
        message: message.to_owned(),
    };
    match name.as_deref() {
        None | Some("") => return Err(bad("metadata.name", "an object needs a name")),
        Some(name) if !is_valid_name(name, 253) => {
            return Err(bad("metadata.name", "not a name: up to 253 of a-z, 0-9, - and . are allowed"));
        }
        Some(_) => {}
    }
    if namespace.as_deref().is_some_and(|namespace| !namespace.is_empty() && !is_valid_name(namespace, 63)) {
        return Err(bad("metadata.namespace", "not a name: up to 63 of a-z, 0-9 and - are allowed"));
    }
    Ok((object, unknown))
}

/// Checks what all names have in common, so that `namespace/name` can be told apart again.
fn is_valid_name(name: &str, max_len: usize) -> bool {
    name.len() <= max_len
        && name
            .bytes()
            .all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"-.".contains(&byte))
}

/// Follows admission: what is there counts, even if it is empty.
fn names_no_class(ingress: &networking::Ingress) -> bool {
    let by_field = ingress.spec.as_ref().is_some_and(|spec| spec.ingress_class_name.is_some());
    let annotations = ingress.metadata.annotations.as_ref();
    !by_field && !annotations.is_some_and(|annotations| annotations.contains_key(CLASS_ANNOTATION))
}

// ===== Secrets =====

/// Error texts quote the value that they are about.
fn redacted(error: ParseError) -> ParseError {
    if error.field.starts_with("metadata") {
        return error;
    }
    ParseError { message: "wrong type, or not base64 (values of Secrets are not shown)".to_owned(), ..error }
}

/// Does what an API server does with `stringData`: it goes into `data`, over what is there.
fn merge_string_data(secret: &mut core::Secret) {
    for (key, text) in secret.string_data.take().unwrap_or_default() {
        let bytes = k8s_openapi::ByteString(text.into_bytes());
        secret.data.get_or_insert_default().insert(key, bytes);
    }
}

fn pem_pair(secret: core::Secret) -> Option<PemPair> {
    let mut data = secret.data?;
    let mut take = |key: &str| data.remove(key).map(|value| value.0).filter(|bytes| !bytes.is_empty());
    Some(PemPair { chain: take("tls.crt")?, key: take("tls.key")? })
}

#[cfg(test)]
mod tests;
