//! What a folder holds besides objects that are read: files of other tools, templates, and objects from which other
//! controllers make Secrets.
//!
//! Not here: the kinds that are read (`document`).

use routing::object::Name;
use routing::suggest;

use super::super::node::{Node, ParseError, Value};

/// Marks of Helm's template language. Other templates, such as those in dashboards, do not have them.
const HELM_MARKS: &[&str] = &[".Values", ".Release", ".Chart", "include \"", "{{- ", "template \""];

/// What a Helm template is reported as.
pub(super) const HELM_TEMPLATE: &str = "a Helm template, which is not read: render it first by helm template";

/// Returns true if a text that is no YAML is a Helm template.
pub(super) fn is_helm_template(text: &str) -> bool {
    text.contains("{{") && HELM_MARKS.iter().any(|mark| text.contains(mark))
}

/// Returns why a document is no Kubernetes object. Returns `None` if it is one, or is meant to be one.
pub(super) fn no_object(node: &Node) -> Option<&'static str> {
    match &node.value {
        Value::Map(_) if node.get("apiVersion").is_some() || node.get("kind").is_some() => None,
        Value::Map(_) => Some("no Kubernetes object: it has neither apiVersion nor kind"),
        Value::List(_) => Some("no Kubernetes object: it is a list"),
        Value::Null
        | Value::Bool(_)
        | Value::Signed(_)
        | Value::Unsigned(_)
        | Value::Float(_)
        | Value::Text(_) => Some("no Kubernetes object: it has no keys and values"),
    }
}

/// Returns the Secret that another controller makes from an object.
pub(super) fn promised_secret(node: &Node, api_version: &str, kind: &str) -> Option<Name> {
    let group = api_version.split('/').next().unwrap_or_default();
    let metadata = &node.get("metadata")?.value;
    let namespace = metadata.text("namespace").unwrap_or("default");
    let spec = || node.get("spec").map(|entry| &entry.value);
    let secret = match (group, kind) {
        ("cert-manager.io", "Certificate") => spec()?.text("secretName")?,
        ("external-secrets.io", "ExternalSecret") => {
            let target = spec().and_then(|spec| spec.get("target")).map(|entry| &entry.value);
            target.and_then(|target| target.text("name")).or_else(|| metadata.text("name"))?
        }
        ("bitnami.com", "SealedSecret") => metadata.text("name")?,
        _ => return None,
    };
    Some(Name::new(namespace, secret))
}

/// Returns the error of a kind that our group does not have. Kinds of other groups are skipped.
pub(super) fn unknown_kind<'a>(
    node: &Node,
    api_version: &str,
    kind: &str,
    known: impl Iterator<Item = &'a str>,
) -> Option<ParseError> {
    let group = api_version.split('/').next();
    (group == Some(api::GROUP)).then(|| ParseError {
        line: node.get("kind").map(|entry| entry.line),
        field: "kind".to_owned(),
        message: format!(
            "group {} has no kind \"{}\"{}",
            api::GROUP,
            kind.escape_debug(),
            suggest::did_you_mean(kind, known)
        ),
    })
}
