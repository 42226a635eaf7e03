//! Translates an Ingress to the shape of HTTPRoute, and judges everything that needs no other object.
//!
//! Not here: the objects it refers to (`backend_registry`, `secret_registry`), and other Ingresses (`host_index`).

use std::fmt::Display;
use std::sync::Arc;

use api::HttpBackendRef;
use api::HttpPathMatch;
use api::HttpRouteMatch;
use api::HttpRouteRule;
use api::PathMatchType;
use api::Port;

use super::pattern;
use super::tls;
use super::translation::TranslatedRoute;
use super::translation::TranslatedRule;
use super::translation::Translation;
use crate::host::HostName;
use crate::object::Ingress;
use crate::object::IngressBackend;
use crate::object::IngressPath;
use crate::object::IngressRule;
use crate::object::PortRef;
use crate::path;
use crate::problem::Reason;
use crate::table::FieldPath;
use crate::table::Ownership;

pub(super) fn translate(ingress: &Ingress, ownership: &Arc<Ownership>) -> Translation {
    let mut translation = Translation::new(ingress.name.clone(), Arc::clone(ownership));
    if let Some(backend) = &ingress.default_backend {
        translation.default_backend = Some(default_backend(&mut translation, backend));
    }
    translation.routes.reserve_exact(ingress.rules.len());
    for (index, rule) in (0..).zip(&*ingress.rules) {
        translate_rule(&mut translation, index, rule);
    }
    tls::translate(&mut translation, ingress);
    report_empty(&mut translation, ingress);
    translation
}

/// Reports an Ingress that can serve no request.
pub(super) fn report_empty(translation: &mut Translation, ingress: &Ingress) {
    if ingress.rules.is_empty() && ingress.default_backend.is_none() {
        let message = "neither rules nor defaultBackend is given, so it serves no request; add one of them";
        translation.report("spec".to_owned(), Reason::InvalidValue, message);
    }
}

/// Translates `spec.defaultBackend`.
pub(super) fn default_backend(translation: &mut Translation, from: &IngressBackend) -> TranslatedRule {
    let field = FieldPath::DefaultBackend;
    let backend_refs = translate_backend(translation, &field, from).into_iter().collect();
    TranslatedRule::new(HttpRouteRule { backend_refs, ..HttpRouteRule::default() }, field)
}

fn translate_rule(translation: &mut Translation, index: u32, from: &IngressRule) {
    let host = match &from.host {
        None => HostName::Any,
        Some(text) => {
            let field = format_args!("spec.rules[{index}].host");
            let Some(host) = translation.parse_host(field, text) else { return };
            host
        }
    };
    let mut rules = Vec::with_capacity(from.paths.len());
    for (path, from) in (0..).zip(&from.paths) {
        let field = FieldPath::Path { rule: index, path };
        let rule = translate_path(translation, field, from);
        rules.extend(rule.map(|rule| TranslatedRule::new(rule, field)));
    }
    translation.routes.push(TranslatedRoute { rules, ..TranslatedRoute::new(host) });
}

/// Translates a path. Returns `None`, and reports why, if it cannot be matched.
pub(super) fn translate_path(
    translation: &mut Translation,
    field: FieldPath,
    from: &IngressPath,
) -> Option<HttpRouteRule> {
    let kind = path_type(translation, field, from)?;
    let advice = pattern::advice(&from.path);
    if let Some(advice) = &advice {
        let message =
            format!("\"{}\" is no pattern here, but a literal path; {advice}", from.path.escape_debug());
        translation.report(format!("{field}.path"), Reason::PatternPath, message);
    }
    let value = path_value(translation, field, from)?;
    let is_ambiguous =
        || kind == PathMatchType::PathPrefix && path::alternative_readings(&value).next().is_some();
    if advice.is_none() && is_ambiguous() {
        // The rule stays, so that no other rule receives its requests.
        let message = format!(
            "every request under \"{}\" gets a 400, because an endpoint may read %2F, %5C or a backslash as a slash \
             and serve another path; write a slash, or use pathType: Exact",
            value.escape_debug()
        );
        translation.report(format!("{field}.path"), Reason::InvalidPath, message);
    }
    let backend_refs = translate_backend(translation, &format_args!("{field}.backend"), &from.backend);
    Some(HttpRouteRule {
        matches: vec![HttpRouteMatch::path(HttpPathMatch { kind, value })],
        backend_refs: backend_refs.into_iter().collect(),
        ..HttpRouteRule::default()
    })
}

fn path_type(translation: &mut Translation, field: FieldPath, from: &IngressPath) -> Option<PathMatchType> {
    let message = match from.path_type.as_deref() {
        Some("Exact") => return Some(PathMatchType::Exact),
        // The API leaves ImplementationSpecific to the controller. Most controllers match it as Prefix.
        Some("Prefix" | "ImplementationSpecific") => return Some(PathMatchType::PathPrefix),
        Some(other) => {
            format!("\"{}\" is not one of Exact, Prefix and ImplementationSpecific", other.escape_debug())
        }
        None => {
            "pathType is missing; add \"pathType: Prefix\", or \"pathType: Exact\" to match only this path"
                .to_owned()
        }
    };
    translation.report(format!("{field}.pathType"), Reason::InvalidPathType, message);
    None
}

fn path_value(translation: &mut Translation, field: FieldPath, from: &IngressPath) -> Option<Arc<str>> {
    // The API allows an absent path only for ImplementationSpecific, where it means all paths.
    let is_implementation_specific = from.path_type.as_deref() == Some("ImplementationSpecific");
    let text = if from.path.is_empty() && is_implementation_specific { "/" } else { &from.path };
    match path::rule_path(text) {
        // Usually the path is canonical, and its text is shared.
        Ok(path) if *path == *from.path => Some(Arc::clone(&from.path)),
        Ok(path) => Some(path.as_ref().into()),
        // Its Problem is that of a pattern.
        Err(_) if pattern::advice(text).is_some() => None,
        Err(error) => {
            let message = format!("\"{}\" cannot be matched: {error}", text.escape_debug());
            translation.report(format!("{field}.path"), Reason::InvalidPath, message);
            None
        }
    }
}

/// Translates a backend. A rule without a valid backend keeps its path, so that no other rule receives its requests.
fn translate_backend(
    translation: &mut Translation,
    field: &dyn Display,
    from: &IngressBackend,
) -> Option<HttpBackendRef> {
    match from {
        IngressBackend::Invalid(error) => {
            translation.report(field.to_string(), Reason::InvalidBackend, error.to_string());
            None
        }
        IngressBackend::Resource(kind) => {
            let message =
                format!("resource backends (kind {}) are not supported; use a Service", kind.escape_debug());
            translation.report(format!("{field}.resource"), Reason::Unsupported, message);
            None
        }
        IngressBackend::Service { name, port } => {
            let port = match port {
                PortRef::Name(name) => Port::Name(Arc::clone(name)),
                PortRef::Number(number) => Port::Number(*number),
            };
            Some(HttpBackendRef { name: Arc::clone(name), port, weight: 1 })
        }
    }
}
