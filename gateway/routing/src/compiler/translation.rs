//! The rules and certificates of one Ingress in the shape of HTTPRoute, with a field path on each.
//!
//! Not here: reading the fields of the Ingress (`translate`, `tls`).

use std::collections::BTreeSet;
use std::fmt::Display;
use std::sync::Arc;

use api::HttpRouteRule;

use super::rule_filters::RuleFilters;
use crate::host::HostName;
use crate::object::Kind;
use crate::object::Name;
use crate::object::ObjectRef;
use crate::problem::Problem;
use crate::problem::Reason;
use crate::table::FieldPath;
use crate::table::Ownership;
use crate::table::PathMatch;

/// One Ingress, translated.
#[derive(Debug)]
pub(super) struct Translation {
    pub(super) name: Name,
    pub(super) routes: Vec<TranslatedRoute>,
    pub(super) default_backend: Option<TranslatedRule>,
    pub(super) certificates: Vec<CertificateRef>,
    /// Hosts that `spec.tls` lists without a Secret.
    pub(super) default_certificate_hosts: Vec<HostName>,
    pub(super) secrets: Vec<SecretRef>,
    pub(super) problems: Vec<Problem>,
    ownership: Arc<Ownership>,
}

/// One entry of `spec.rules`, or the routes of a class handler for one host.
#[derive(Debug)]
pub(super) struct TranslatedRoute {
    pub(super) host: HostName,
    pub(super) rules: Vec<TranslatedRule>,
    /// The host of the handler's call. `None` without a handler.
    pub(super) answer: Option<HostName>,
    /// Whether it serves only if no rule of an Ingress names the host.
    pub(super) is_alias: bool,
}

/// A rule and the field it comes from.
#[derive(Clone, Debug)]
pub(super) struct TranslatedRule {
    pub(super) rule: HttpRouteRule,
    pub(super) field: FieldPath,
    /// The condition by which policies select it. Absent: that of the rule itself.
    pub(super) source: Option<PathMatch>,
    /// Filters of the rule.
    pub(super) filters: Option<RuleFilters>,
    pub(super) closure: Closure,
    /// The annotations that a class handler made it from.
    pub(super) annotations: Option<Arc<str>>,
}

/// Whether the requests of a rule get a 503, whatever its backends are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Closure {
    /// The backends serve them.
    #[default]
    Open,
    /// The class handler has no usable answer, or its rule names no backend. Filters still answer.
    NoBackends,
    /// The class handler does not honour an annotation that restricts access. Filters do not answer.
    NotHonoured,
}

/// The Secret of a host's certificate.
#[derive(Clone, Debug)]
pub(super) struct CertificateRef {
    pub(super) host: HostName,
    pub(super) secret: Name,
    /// The field that names the host or, without hosts, the Secret.
    pub(super) field: FieldPath,
}

/// A field that names a Secret, and the hosts that its certificate must cover.
#[derive(Debug)]
pub(super) struct SecretRef {
    pub(super) secret: Name,
    pub(super) field: FieldPath,
    pub(super) hosts: Vec<TlsHost>,
}

/// A host that needs a certificate.
#[derive(Clone, Debug)]
pub(super) struct TlsHost {
    pub(super) host: HostName,
    /// The field that names the host or, without hosts, the Secret.
    pub(super) field: FieldPath,
}

impl TranslatedRoute {
    pub(super) fn new(host: HostName) -> Self {
        Self { host, rules: Vec::new(), answer: None, is_alias: false }
    }
}

impl TranslatedRule {
    pub(super) fn new(rule: HttpRouteRule, field: FieldPath) -> Self {
        Self { rule, field, source: None, filters: None, closure: Closure::Open, annotations: None }
    }
}

impl Translation {
    pub(super) fn new(name: Name, ownership: Arc<Ownership>) -> Self {
        Self {
            name,
            routes: Vec::new(),
            default_backend: None,
            certificates: Vec::new(),
            default_certificate_hosts: Vec::new(),
            secrets: Vec::new(),
            problems: Vec::new(),
            ownership,
        }
    }

    pub(super) fn report(&mut self, field: String, reason: Reason, message: impl Into<String>) {
        let object = ObjectRef { kind: Kind::Ingress, name: self.name.clone() };
        self.problems.push(Problem { object, field, reason, message: message.into() });
    }

    /// Returns the hosts of the rules.
    pub(super) fn rule_hosts(&self) -> BTreeSet<HostName> {
        self.routes.iter().map(|route| route.host.clone()).collect()
    }

    /// Parses a host. Reports a Problem and returns `None` if the host is invalid or other namespaces own it.
    pub(super) fn parse_host(&mut self, field: impl Display, text: &Arc<str>) -> Option<HostName> {
        let host = match HostName::parse_shared(text) {
            Ok(host) => host,
            Err(error) => {
                let message = format!("\"{}\" is not a DNS name: {error}", text.escape_debug());
                self.report(field.to_string(), Reason::InvalidHost, message);
                return None;
            }
        };
        let namespace = &self.name.namespace;
        let owner = self.ownership.owner_of_rule(&host);
        let Some(owner) = owner.filter(|owner| !owner.includes(namespace)) else { return Some(host) };
        let message = format!(
            "{} belongs to other namespaces than {namespace}; change the host, or add the namespace to \
             spec.hostOwnership of IngressClassConfig {}",
            owner.host(),
            owner.config()
        );
        self.report(field.to_string(), Reason::HostNotOwned, message);
        None
    }
}
