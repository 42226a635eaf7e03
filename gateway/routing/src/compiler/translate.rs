//! An Ingress in the shape of HTTPRoute, with a field path on every rule.
//!
//! Purpose: everything that can be judged by looking at one Ingress alone. Not here: what it refers to
//! (`backend`, `secret`), and other Ingresses (`hosts`).

use std::sync::Arc;

use api::HttpBackendRef;
use api::HttpPathMatch;
use api::HttpRoute;
use api::HttpRouteMatch;
use api::HttpRouteRule;
use api::PathMatchType;
use api::Port;

use super::tls;
use super::tls::TlsClaim;
use crate::host::HostName;
use crate::object::Ingress;
use crate::object::IngressBackend;
use crate::object::IngressPath;
use crate::object::IngressRule;
use crate::object::Kind;
use crate::object::Name;
use crate::object::ObjectRef;
use crate::object::PortRef;
use crate::path;
use crate::problem::Problem;
use crate::problem::Reason;
use crate::table::Ownership;

/// What one Ingress says.
#[derive(Debug)]
pub(super) struct Translation {
    pub(super) name: Name,
    pub(super) routes: Vec<TranslatedRoute>,
    /// The default backend, with its field path.
    pub(super) default: Option<(HttpRouteRule, String)>,
    pub(super) tls: Vec<TlsClaim>,
    /// Fields that name a Secret, and which one.
    pub(super) secret_uses: Vec<(String, Name)>,
    pub(super) problems: Vec<Problem>,
    ownership: Arc<Ownership>,
}

/// One entry of `spec.rules`.
#[derive(Debug)]
pub(super) struct TranslatedRoute {
    /// The one host in `route.hostnames`, parsed.
    pub(super) host: HostName,
    pub(super) route: HttpRoute,
    /// The field path of each of `route.rules`.
    pub(super) fields: Vec<String>,
}

pub(super) fn translate(ingress: &Ingress, ownership: &Arc<Ownership>) -> Translation {
    let mut translation = Translation {
        name: ingress.name.clone(),
        routes: Vec::with_capacity(ingress.rules.len()),
        default: None,
        tls: Vec::new(),
        secret_uses: Vec::new(),
        problems: Vec::new(),
        ownership: Arc::clone(ownership),
    };
    if let Some(backend) = &ingress.default_backend {
        let field = "spec.defaultBackend";
        let backend_refs = translation.backend(field, backend).into_iter().collect();
        translation.default = Some((HttpRouteRule { matches: Vec::new(), backend_refs }, field.to_owned()));
    }
    for (index, rule) in ingress.rules.iter().enumerate() {
        translation.rule(&format!("spec.rules[{index}]"), rule);
    }
    for (index, entry) in ingress.tls.iter().enumerate() {
        tls::translate(&mut translation, &format!("spec.tls[{index}]"), entry);
    }
    translation
}

impl Translation {
    pub(super) fn report(&mut self, field: String, reason: Reason, message: impl Into<String>) {
        let object = ObjectRef { kind: Kind::Ingress, name: self.name.clone() };
        self.problems.push(Problem { object, field, reason, message: message.into() });
    }

    /// Parses a host, or reports why it cannot be served.
    pub(super) fn host(&mut self, field: String, text: &str) -> Option<HostName> {
        match HostName::parse(text) {
            Ok(host) => {
                let owner = self.ownership.of_rule(&host);
                let Some(owner) = owner.filter(|owner| !owner.is(&self.name.namespace)) else {
                    return Some(host);
                };
                let message = format!(
                    "{} belongs to other namespaces, says the hostOwnership of IngressClassConfig {}",
                    owner.host(),
                    owner.config()
                );
                self.report(field, Reason::HostNotOwned, message);
            }
            Err(error) => {
                let message = format!("\"{}\" is not a DNS name: {error}", text.escape_debug());
                self.report(field, Reason::InvalidHost, message);
            }
        }
        None
    }

    fn rule(&mut self, field: &str, rule: &IngressRule) {
        let host = match &rule.host {
            None => HostName::Any,
            Some(text) => match self.host(format!("{field}.host"), text) {
                Some(host) => host,
                None => return,
            },
        };
        let mut route =
            HttpRoute { hostnames: vec![host.to_string()], rules: Vec::with_capacity(rule.paths.len()) };
        let mut fields = Vec::with_capacity(rule.paths.len());
        for (index, path) in rule.paths.iter().enumerate() {
            let field = format!("{field}.http.paths[{index}]");
            if let Some(rule) = self.path(&field, path) {
                route.rules.push(rule);
                fields.push(field);
            }
        }
        self.routes.push(TranslatedRoute { host, route, fields });
    }

    fn path(&mut self, field: &str, from: &IngressPath) -> Option<HttpRouteRule> {
        let kind = self.path_type(field, from)?;
        let value = self.path_value(field, from)?;
        let backend_refs = self.backend(&format!("{field}.backend"), &from.backend).into_iter().collect();
        Some(HttpRouteRule {
            matches: vec![HttpRouteMatch { path: HttpPathMatch { kind, value } }],
            backend_refs,
        })
    }

    fn path_type(&mut self, field: &str, from: &IngressPath) -> Option<PathMatchType> {
        let message = match from.path_type.as_deref() {
            Some("Exact") => return Some(PathMatchType::Exact),
            // What the class makes of its own type is up to the class: as Prefix, like most controllers.
            Some("Prefix" | "ImplementationSpecific") => return Some(PathMatchType::PathPrefix),
            Some(other) => {
                format!("\"{}\" is not one of Exact, Prefix and ImplementationSpecific", other.escape_debug())
            }
            None => {
                "it is missing; add \"pathType: Prefix\", or \"pathType: Exact\" to match this one path only"
                    .to_owned()
            }
        };
        self.report(format!("{field}.pathType"), Reason::InvalidPathType, message);
        None
    }

    fn path_value(&mut self, field: &str, from: &IngressPath) -> Option<String> {
        // The API allows an absent path for ImplementationSpecific alone, where it means all paths.
        let is_own_type = from.path_type.as_deref() == Some("ImplementationSpecific");
        let text = if from.path.is_empty() && is_own_type { "/" } else { &from.path };
        match path::rule_path(text) {
            Ok(path) => Some(path.into_owned()),
            Err(error) => {
                let message = format!("\"{}\" cannot be matched: {error}", text.escape_debug());
                self.report(format!("{field}.path"), Reason::InvalidPath, message);
                None
            }
        }
    }

    /// A rule without a usable backend keeps its path: nobody else is to get its requests.
    fn backend(&mut self, field: &str, from: &IngressBackend) -> Option<HttpBackendRef> {
        match from {
            IngressBackend::Invalid(message) => {
                self.report(field.to_owned(), Reason::InvalidBackend, *message);
                None
            }
            IngressBackend::Resource(kind) => {
                let message = format!("resource backends are not served (kind {})", kind.escape_debug());
                self.report(format!("{field}.resource"), Reason::Unsupported, message);
                None
            }
            IngressBackend::Service { name, port } => {
                let port = match port {
                    PortRef::Name(name) => Port::Name(name.as_ref().to_owned()),
                    PortRef::Number(number) => Port::Number(*number),
                };
                Some(HttpBackendRef { name: name.as_ref().to_owned(), port, weight: 1 })
            }
        }
    }
}
