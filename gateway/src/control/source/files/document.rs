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
    EndpointSlice, Ingress, IngressClass, IngressClassConfig, Kind, Name, Namespace, Object, ObjectRef,
    RoutePolicy, Secret, Service, Texts, Unreadable,
};
use routing::problem::{Problem, Reason};
use serde::Deserialize;
use serde::de::DeserializeOwned;

use super::node::{Fault, Node, Unknown, Value};
use super::yaml;
use crate::control::source::PemPair;
use crate::control::source::place::{Located, Location, Place};

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
pub(super) struct Content {
    /// In the order of the file.
    pub(super) entries: Vec<Entry>,
    /// What is wrong with the objects but does not stop them.
    pub(super) problems: Vec<Located>,
}

/// One object and what the other stages need to know of it.
#[derive(Debug)]
pub(super) struct Entry {
    pub(super) object: Object,
    /// Where it stands.
    pub(super) place: Place,
    /// Whether it is an Ingress that names its class neither by field nor by annotation.
    pub(super) names_no_class: bool,
    /// Seconds since 1970 of `metadata.creationTimestamp`.
    pub(super) created: Option<i64>,
    /// A Secret's certificate and key.
    pub(super) pair: Option<PemPair>,
}

/// Why a file as it stands is not taken.
#[derive(Debug)]
pub(super) struct Failure {
    /// One for every document that cannot be read.
    pub(super) problems: Vec<Located>,
    /// The other documents; nothing if the file is no YAML, because then it is not known where it ends.
    pub(super) readable: Option<Content>,
}

/// Makes the Problem of a file that cannot be read. The path is relative to the folder.
pub(super) fn file_problem(path: &Path, line: Option<u64>, reason: &str) -> Located {
    let file = file_name(path);
    let problem = Problem {
        object: ObjectRef { kind: Kind::File, name: Name::new("", &file) },
        field: String::new(),
        reason: Reason::Unreadable,
        message: reason.to_owned(),
    };
    Located { problem, location: Some(Location::new(&file, line.unwrap_or(0))) }
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
pub(super) fn read(path: &Path, text: &str) -> Result<Content, Failure> {
    let file = file_name(path);
    let mut reading =
        Reading { path, file, texts: Texts::default(), content: Content::default(), faults: Vec::new() };
    // No text is known to make the YAML library panic. If there is one, it costs this file only.
    let outcome =
        catch_unwind(AssertUnwindSafe(|| yaml::documents(text, |document| reading.document(document, None))));
    let Reading { content, faults: mut problems, .. } = reading;
    let fault = match outcome {
        Ok(Ok(())) if problems.is_empty() => return Ok(content),
        Ok(Ok(())) => return Err(Failure { problems, readable: Some(content) }),
        Ok(Err(fault)) => fault,
        Err(_) => Fault::new(None, "the YAML library failed on this file".to_owned()),
    };
    problems.push(file_problem(path, fault.line, &fault.message));
    Err(Failure { problems, readable: None })
}

/// A file while it is read.
struct Reading<'a> {
    path: &'a Path,
    /// The path as Problems name it.
    file: Arc<str>,
    texts: Texts,
    content: Content,
    faults: Vec<Located>,
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
struct Custom<S> {
    metadata: ObjectMeta,
    spec: S,
    /// This and the kind were looked at already; they are here so that they do not count as unknown.
    #[serde(rename = "apiVersion")]
    _api_version: Option<String>,
    #[serde(rename = "kind")]
    _kind: Option<String>,
}

impl<S> HasMetadata for Custom<S> {
    fn metadata(&self) -> &ObjectMeta {
        &self.metadata
    }
}

/// The type of a List's items that do not name theirs.
type ItemType<'a> = (&'a str, &'a str);

impl Reading<'_> {
    fn document(&mut self, node: &Node, item_type: Option<ItemType<'_>>) {
        if let Err(fault) = self.try_document(node, item_type) {
            let message = if fault.field.is_empty() {
                fault.message
            } else {
                format!("{}: {}", fault.field, fault.message)
            };
            let object = describe(node).map(|object| format!("{object}: ")).unwrap_or_default();
            let line = fault.line.unwrap_or(node.line);
            self.faults.push(file_problem(self.path, Some(line), &format!("{object}{message}")));
        }
    }

    fn try_document(&mut self, node: &Node, item_type: Option<ItemType<'_>>) -> Result<(), Fault> {
        if !matches!(node.value, Value::Map(_)) {
            return Err(Fault::new(Some(node.line), "not an object: expected keys and values".to_owned()));
        }
        let missing = |field: &str| Fault {
            line: Some(node.line),
            field: field.to_owned(),
            message: "missing, or not a text".to_owned(),
        };
        let api_version = node.text("apiVersion").or(item_type.map(|(version, _)| version));
        let kind = node.text("kind").or(item_type.map(|(_, kind)| kind));
        let kind = kind.ok_or_else(|| missing("kind"))?;
        let api_version = api_version.ok_or_else(|| missing("apiVersion"))?;
        if let Some(item_kind) = kind.strip_suffix("List") {
            return self.list(node, (api_version, item_kind));
        }
        match our_kind(api_version, kind) {
            Some(Ok(kind)) => self.object(node, kind),
            Some(Err(wanted)) => Err(Fault {
                line: node.get("apiVersion").map(|entry| entry.line),
                field: "apiVersion".to_owned(),
                message: format!("\"{}\" is not read; write {wanted}", api_version.escape_debug()),
            }),
            None => Ok(()),
        }
    }

    fn list(&mut self, node: &Node, (api_version, item_kind): ItemType<'_>) -> Result<(), Fault> {
        if item_kind.is_empty() && api_version != "v1" {
            return Ok(());
        }
        let typed =
            matches!(our_kind(api_version, item_kind), Some(Ok(_))).then_some((api_version, item_kind));
        if typed.is_none() && !item_kind.is_empty() {
            return Ok(());
        }
        match node.get("items").map(|entry| (entry.line, &entry.value.value)) {
            None | Some((_, Value::Null)) => Ok(()),
            Some((_, Value::List(items))) => {
                for item in items {
                    self.document(item, typed);
                }
                Ok(())
            }
            Some((line, _)) => Err(Fault {
                line: Some(line),
                field: "items".to_owned(),
                message: "expected a list".to_owned(),
            }),
        }
    }

    fn object(&mut self, node: &Node, kind: Kind) -> Result<(), Fault> {
        match kind {
            Kind::Ingress => {
                let (ingress, unknown) = read_object::<networking::Ingress>(node)?;
                let names_no_class = names_no_class(&ingress);
                let (mut object, unreadable) = Ingress::from_kubernetes(&ingress);
                self.texts.share(&mut object);
                let entry = Entry { names_no_class, ..self.entry(Object::Ingress(object), node, &ingress) };
                self.take(entry, (unknown, unreadable));
            }
            Kind::IngressClass => {
                let (class, unknown) = read_object::<networking::IngressClass>(node)?;
                let (object, unreadable) = IngressClass::from_kubernetes(&class);
                self.take(self.entry(Object::IngressClass(object), node, &class), (unknown, unreadable));
            }
            Kind::Service => {
                let (service, unknown) = read_object::<core::Service>(node)?;
                let (object, unreadable) = Service::from_kubernetes(&service);
                self.take(self.entry(Object::Service(object), node, &service), (unknown, unreadable));
            }
            Kind::EndpointSlice => {
                let (slice, unknown) = read_object::<discovery::EndpointSlice>(node)?;
                let (object, unreadable) = EndpointSlice::from_kubernetes(&slice);
                self.take(self.entry(Object::EndpointSlice(object), node, &slice), (unknown, unreadable));
            }
            Kind::Secret => {
                let (mut secret, unknown) = read_object::<core::Secret>(node).map_err(redacted)?;
                store_texts(&mut secret);
                let (object, unreadable) = Secret::from_kubernetes(&secret);
                let entry = self.entry(Object::Secret(object), node, &secret);
                self.take(Entry { pair: pair(secret), ..entry }, (unknown, unreadable));
            }
            Kind::Namespace => {
                let (namespace, unknown) = read_object::<core::Namespace>(node)?;
                let (object, unreadable) = Namespace::from_kubernetes(&namespace);
                self.take(self.entry(Object::Namespace(object), node, &namespace), (unknown, unreadable));
            }
            Kind::IngressClassConfig => {
                let (config, unknown) = read_object::<Custom<api::IngressClassConfigSpec>>(node)?;
                let (object, unreadable) =
                    IngressClassConfig::from_parts(&config.metadata, config.spec.clone());
                let entry = self.entry(Object::IngressClassConfig(object), node, &config);
                self.take(entry, (unknown, unreadable));
            }
            Kind::RoutePolicy => {
                let (policy, unknown) = read_object::<Custom<api::RoutePolicySpec>>(node)?;
                let (object, unreadable) = RoutePolicy::from_parts(&policy.metadata, policy.spec.clone());
                let entry = self.entry(Object::RoutePolicy(object), node, &policy);
                self.take(entry, (unknown, unreadable));
            }
            Kind::File | Kind::Node => {}
        }
        Ok(())
    }

    fn entry(&self, object: Object, node: &Node, from: &impl HasMetadata) -> Entry {
        let created = from.metadata().creation_timestamp.as_ref().map(|time| time.0.as_second());
        let place = Place::new(Location::new(&self.file, node.line), node.lines());
        Entry { object, place, names_no_class: false, created, pair: None }
    }

    fn take(&mut self, entry: Entry, (unknown, unreadable): (Vec<Unknown>, Vec<Unreadable>)) {
        let object = entry.object.reference();
        let problem = |field, reason, message| Problem { object: object.clone(), field, reason, message };
        let unknown = unknown.into_iter().map(|Unknown { field, line }| {
            let message = "there is no such field; it has no effect".to_owned();
            let location = Location::new(&self.file, line);
            Located { problem: problem(field, Reason::UnknownField, message), location: Some(location) }
        });
        let unreadable = unreadable.into_iter().map(|Unreadable { field, message }| {
            let location = entry.place.of_field(&field);
            Located { problem: problem(field, Reason::InvalidValue, message), location: Some(location) }
        });
        self.content.problems.extend(unknown.chain(unreadable));
        self.content.entries.push(entry);
    }
}

/// Says which of our kinds this is; in a version that is not read, which one to write; or that it is none.
fn our_kind(api_version: &str, kind: &str) -> Option<Result<Kind, String>> {
    let (group, version) = api_version.split_once('/').unwrap_or(("", api_version));
    // The group in which Ingress was born; Kubernetes 1.22 took it away.
    let group = if (group, kind) == ("extensions", "Ingress") { "networking.k8s.io" } else { group };
    let (group, _, kind) = KINDS.into_iter().find(|(ours, name, _)| (*ours, *name) == (group, kind))?;
    let ours = if group == api::GROUP { api::VERSION } else { "v1" };
    let wanted = if group.is_empty() { ours.to_owned() } else { format!("{group}/{ours}") };
    Some(if version == ours && api_version == wanted { Ok(kind) } else { Err(wanted) })
}

/// Names a document by what can be read of it: `Ingress shop/web`.
fn describe(node: &Node) -> Option<String> {
    let kind = node.text("kind")?;
    let metadata = &node.get("metadata")?.value;
    let name = metadata.text("name")?;
    Some(match metadata.text("namespace") {
        Some(namespace) => format!("{kind} {namespace}/{name}"),
        None => format!("{kind} {name}"),
    })
}

fn read_object<T: DeserializeOwned + HasMetadata>(node: &Node) -> Result<(T, Vec<Unknown>), Fault> {
    let (object, unknown) = node.read::<T>()?;
    let ObjectMeta { name, namespace, .. } = object.metadata();
    let bad = |field: &str, message: &str| Fault {
        line: Some(node.line_of(field)),
        field: field.to_owned(),
        message: message.to_owned(),
    };
    match name.as_deref() {
        None | Some("") => return Err(bad("metadata.name", "an object needs a name")),
        Some(name) if !is_name(name, 253) => {
            return Err(bad("metadata.name", "not a name: up to 253 of a-z, 0-9, - and . are allowed"));
        }
        Some(_) => {}
    }
    if namespace.as_deref().is_some_and(|namespace| !namespace.is_empty() && !is_name(namespace, 63)) {
        return Err(bad("metadata.namespace", "not a name: up to 63 of a-z, 0-9 and - are allowed"));
    }
    Ok((object, unknown))
}

/// Checks what all names have in common, so that `namespace/name` can be told apart again.
fn is_name(name: &str, longest: usize) -> bool {
    name.len() <= longest
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
fn redacted(fault: Fault) -> Fault {
    if fault.field.starts_with("metadata") {
        return fault;
    }
    Fault { message: "wrong type, or not base64 (values of Secrets are not shown)".to_owned(), ..fault }
}

/// Does what an API server does with `stringData`: it goes into `data`, over what is there.
fn store_texts(secret: &mut core::Secret) {
    for (key, text) in secret.string_data.take().unwrap_or_default() {
        let bytes = k8s_openapi::ByteString(text.into_bytes());
        secret.data.get_or_insert_default().insert(key, bytes);
    }
}

fn pair(secret: core::Secret) -> Option<PemPair> {
    let mut data = secret.data?;
    let mut take = |key: &str| data.remove(key).map(|value| value.0).filter(|bytes| !bytes.is_empty());
    Some(PemPair { chain: take("tls.crt")?, key: take("tls.key")? })
}

#[cfg(test)]
mod tests;
