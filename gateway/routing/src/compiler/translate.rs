//! An Ingress in the shape of HTTPRoute, with a field path on every rule.
//!
//! Purpose: everything that can be judged by looking at one Ingress alone. Not here: what it refers to
//! (`backend`, `secret`), and other Ingresses (`hosts`).

use std::collections::BTreeSet;
use std::fmt::Display;
use std::sync::Arc;

use api::HttpBackendRef;
use api::HttpPathMatch;
use api::HttpRoute;
use api::HttpRouteMatch;
use api::HttpRouteRule;
use api::PathMatchType;
use api::Port;

use super::tls;
use super::tls::CertificateRef;
use super::tls::SecretRef;
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
use crate::table::FieldPath;
use crate::table::Ownership;

/// What one Ingress says.
#[derive(Debug)]
pub(super) struct Translation {
    pub(super) name: Name,
    pub(super) routes: Vec<TranslatedRoute>,
    /// The default backend, with its field path.
    pub(super) default: Option<(HttpRouteRule, FieldPath)>,
    pub(super) tls: Vec<CertificateRef>,
    /// Hosts for which the default certificate is asked for.
    pub(super) default_certificate: Vec<HostName>,
    /// Fields that name a Secret.
    pub(super) secret_uses: Vec<SecretRef>,
    pub(super) problems: Vec<Problem>,
    ownership: Arc<Ownership>,
    is_rule_less: bool,
}

/// One entry of `spec.rules`.
#[derive(Debug)]
pub(super) struct TranslatedRoute {
    /// The host, in place of `route.hostnames`.
    pub(super) host: HostName,
    pub(super) route: HttpRoute,
    /// The field of each of `route.rules`.
    pub(super) fields: Vec<FieldPath>,
}

pub(super) fn translate(ingress: &Ingress, ownership: &Arc<Ownership>) -> Translation {
    let mut translation = Translation {
        name: ingress.name.clone(),
        routes: Vec::with_capacity(ingress.rules.len()),
        default: None,
        tls: Vec::new(),
        default_certificate: Vec::new(),
        secret_uses: Vec::new(),
        problems: Vec::new(),
        ownership: Arc::clone(ownership),
        is_rule_less: ingress.rules.is_empty(),
    };
    if let Some(backend) = &ingress.default_backend {
        let field = FieldPath::DefaultBackend;
        let backend_refs = translation.backend(&field, backend).into_iter().collect();
        translation.default = Some((HttpRouteRule { matches: Vec::new(), backend_refs }, field));
    }
    for (index, rule) in (0..).zip(&*ingress.rules) {
        translation.rule(index, rule);
    }
    tls::translate(&mut translation, &ingress.tls);
    translation
}

impl Translation {
    pub(super) fn report(&mut self, field: String, reason: Reason, message: impl Into<String>) {
        let object = ObjectRef { kind: Kind::Ingress, name: self.name.clone() };
        self.problems.push(Problem { object, field, reason, message: message.into() });
    }

    /// The hosts of the rules; of an Ingress without rules, all that nobody names.
    pub(super) fn rule_hosts(&self) -> BTreeSet<HostName> {
        match self.is_rule_less {
            true => BTreeSet::from([HostName::Any]),
            false => self.routes.iter().map(|route| route.host.clone()).collect(),
        }
    }

    /// Parses a host, or reports why it cannot be served.
    pub(super) fn host(&mut self, field: impl Display, text: &Arc<str>) -> Option<HostName> {
        match HostName::parse_shared(text) {
            Ok(host) => {
                let owner = self.ownership.owner_of_rule(&host);
                let Some(owner) = owner.filter(|owner| !owner.includes(&self.name.namespace)) else {
                    return Some(host);
                };
                let message = format!(
                    "{} belongs to other namespaces, says the hostOwnership of IngressClassConfig {}",
                    owner.host(),
                    owner.config()
                );
                self.report(field.to_string(), Reason::HostNotOwned, message);
            }
            Err(error) => {
                let message = format!("\"{}\" is not a DNS name: {error}", text.escape_debug());
                self.report(field.to_string(), Reason::InvalidHost, message);
            }
        }
        None
    }

    fn rule(&mut self, index: u32, rule: &IngressRule) {
        let host = match &rule.host {
            None => HostName::Any,
            Some(text) => match self.host(format_args!("spec.rules[{index}].host"), text) {
                Some(host) => host,
                None => return,
            },
        };
        // The one host stays beside the route, parsed: as a text it would be parsed again.
        let mut route = HttpRoute { hostnames: Vec::new(), rules: Vec::with_capacity(rule.paths.len()) };
        let mut fields = Vec::with_capacity(rule.paths.len());
        for (path, from) in (0..).zip(&rule.paths) {
            let field = FieldPath::Path { rule: index, path };
            if let Some(rule) = self.path(field, from) {
                route.rules.push(rule);
                fields.push(field);
            }
        }
        self.routes.push(TranslatedRoute { host, route, fields });
    }

    fn path(&mut self, field: FieldPath, from: &IngressPath) -> Option<HttpRouteRule> {
        let kind = self.path_type(field, from)?;
        let value = self.path_value(field, from)?;
        if kind == PathMatchType::PathPrefix && path::alternative_readings(&value).next().is_some() {
            // The rule stays: its requests are refused, and no other rule gets them.
            let message = format!(
                "every request under \"{}\" is refused (400), because an endpoint may read %2F, %5C or a \
                 backslash as a slash, and so serve another path; write the slash, or make it pathType: Exact",
                value.escape_debug()
            );
            self.report(format!("{field}.path"), Reason::InvalidPath, message);
        }
        let backend_refs =
            self.backend(&format_args!("{field}.backend"), &from.backend).into_iter().collect();
        Some(HttpRouteRule {
            matches: vec![HttpRouteMatch { path: HttpPathMatch { kind, value } }],
            backend_refs,
        })
    }

    fn path_type(&mut self, field: FieldPath, from: &IngressPath) -> Option<PathMatchType> {
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

    fn path_value(&mut self, field: FieldPath, from: &IngressPath) -> Option<Arc<str>> {
        // The API allows an absent path for ImplementationSpecific alone, where it means all paths.
        let is_own_type = from.path_type.as_deref() == Some("ImplementationSpecific");
        let text = if from.path.is_empty() && is_own_type { "/" } else { &from.path };
        match path::rule_path(text) {
            // The usual case, and then nothing is copied.
            Ok(path) if *path == *from.path => Some(Arc::clone(&from.path)),
            Ok(path) => Some(path.as_ref().into()),
            Err(error) => {
                let message = format!("\"{}\" cannot be matched: {error}", text.escape_debug());
                self.report(format!("{field}.path"), Reason::InvalidPath, message);
                None
            }
        }
    }

    /// A rule without a usable backend keeps its path: nobody else is to get its requests.
    fn backend(&mut self, field: &dyn Display, from: &IngressBackend) -> Option<HttpBackendRef> {
        match from {
            IngressBackend::Invalid(message) => {
                self.report(field.to_string(), Reason::InvalidBackend, *message);
                None
            }
            IngressBackend::Resource(kind) => {
                let message = format!("resource backends are not served (kind {})", kind.escape_debug());
                self.report(format!("{field}.resource"), Reason::Unsupported, message);
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
}
