//! Builds the Routes of one Ingress from its translation.
//!
//! Routes share Backends, and policies apply here. Not here: translation (`translate`), and conflicts between the
//! Routes of several Ingresses (`host_index`).

use std::collections::BTreeMap;
use std::sync::Arc;

use api::ExternalNames;
use api::HttpBackendRef;
use api::PolicyBackend;
use api::Port;

use super::backend_registry::BackendReference;
use super::backend_registry::BackendRegistry;
use super::backend_registry::BackendTarget;
use super::endpoints::PortKey;
use super::endpoints::PortUser;
use super::pattern_interner::PatternInterner;
use super::plugin_index::UsedConfig;
use super::policy_merge::BackendOverride;
use super::policy_merge::MergeReport;
use super::policy_merge::MergedPolicy;
use super::policy_merge::PolicyMerger;
use super::policy_merge::RouteKey;
use super::policy_merge::RouteServices;
use super::policy_target::RouteCondition;
use super::referrer::Referrer;
use super::route_match;
use super::route_match::MatchFault;
use super::route_match::ParsedMatch;
use super::secret_registry::SecretReference;
use super::translation::CertificateRef;
use super::translation::Closure;
use super::translation::SecretRef;
use super::translation::TranslatedRoute;
use super::translation::TranslatedRule;
use super::translation::Translation;
use crate::host::HostName;
use crate::object::Kind;
use crate::object::Name;
use crate::object::ObjectRef;
use crate::object::PortRef;
use crate::problem::Problem;
use crate::table::FieldPath;
use crate::table::HostRole;
use crate::table::IngressOrigin;
use crate::table::PathMatch;
use crate::table::Route;
use crate::table::RouteOrigin;
use crate::table::WeightedBackend;

/// Everything that one Ingress adds to the indexes. It is kept so that it can be removed again.
#[derive(Debug, Default)]
pub(super) struct IngressContribution {
    pub(super) hosts: Box<[HostName]>,
    /// Route of the default backend.
    pub(super) default_route: Option<Arc<Route>>,
    pub(super) backends: Box<[BackendReference]>,
    pub(super) secrets: Box<[SecretReference]>,
    /// Problems of the Ingress alone.
    pub(super) problems: Box<[Problem]>,
    /// Problems of policies and plugins that target the Ingress.
    pub(super) policy_problems: Box<[Problem]>,
    /// Configurations of plugins on its Routes.
    pub(super) used_configs: Box<[UsedConfig]>,
}

/// Everything that one Ingress defines for one host, in the order of its fields.
#[derive(Debug, Default)]
pub(super) struct HostContribution {
    pub(super) role: HostRole,
    /// Class of the Ingress.
    pub(super) class: Arc<str>,
    /// Whether it counts only if no rule of another Ingress names the host.
    pub(super) is_alias: bool,
    pub(super) routes: Vec<Arc<Route>>,
    pub(super) certificates: Vec<CertificateRef>,
    /// Secret of the class's default certificate.
    pub(super) class_certificate: Option<Arc<Name>>,
    /// Route of the Ingress's default backend.
    pub(super) default_route: Option<Arc<Route>>,
}

impl HostContribution {
    /// Returns true if a rule or the default backend serves a path.
    pub(super) fn serves(&self, path: &str) -> bool {
        self.default_route.is_some() || self.routes.iter().any(|route| route.path.matches(path))
    }
}

/// The result of building one Ingress.
#[derive(Debug)]
pub(super) struct BuiltIngress {
    pub(super) contribution: IngressContribution,
    pub(super) hosts: BTreeMap<HostName, HostContribution>,
}

impl BuiltIngress {
    /// Returns the result for an Ingress that is not served.
    pub(super) fn unserved(problems: Vec<Problem>) -> Self {
        let contribution =
            IngressContribution { problems: problems.into(), ..IngressContribution::default() };
        Self { contribution, hosts: BTreeMap::new() }
    }
}

/// Inputs beside the translation, and the Backends acquired so far.
#[derive(Debug)]
pub(super) struct RouteBuilder<'a> {
    pub(super) origin: &'a Arc<IngressOrigin>,
    pub(super) class: Arc<str>,
    pub(super) external_names: ExternalNames,
    /// Whether an annotation closes all Routes.
    pub(super) is_closed: bool,
    /// Secret of the class's default certificate.
    pub(super) class_certificate: Option<Arc<Name>>,
    pub(super) registry: &'a mut BackendRegistry,
    pub(super) merger: PolicyMerger<'a>,
    pub(super) patterns: &'a mut PatternInterner,
    pub(super) acquired: Vec<BackendReference>,
    /// Conditions that cannot be honoured, with the rules that have them.
    pub(super) faults: Vec<(FieldPath, MatchFault)>,
}

/// A Service port of a BackendOverride with the sum of its weights.
struct OverrideShare {
    reference: HttpBackendRef,
    /// Index of its first entry.
    index: usize,
}

impl RouteBuilder<'_> {
    pub(super) fn build(mut self, from: Translation) -> BuiltIngress {
        let mut hosts: BTreeMap<HostName, HostContribution> = BTreeMap::new();
        let certificate_hosts = from.certificates.iter().map(|certificate| &certificate.host);
        let tls_hosts: Vec<_> = certificate_hosts.chain(&from.default_certificate_hosts).cloned().collect();
        for route in from.routes {
            let is_tls_host = tls_hosts.iter().any(|host| host.covers(&route.host));
            let host = hosts.entry(route.host.clone()).or_default();
            // Routes of the Ingress's own rules come first, whatever an alias adds.
            if host.role == HostRole::Routed && host.is_alias != route.is_alias {
                continue;
            }
            host.role = HostRole::Routed;
            host.is_alias = route.is_alias;
            self.build_routes(route, is_tls_host, &mut host.routes);
        }
        let (mut default_route, mut default_for_tls) = (None, None);
        if let Some(rule) = from.default_backend {
            let merged = self.merger.merge(None, services(self.origin, &rule));
            let matched = ParsedMatch::of_path(PathMatch::prefix("/"));
            let route = self.build_route(matched, &rule, merged);
            default_for_tls = Some(self.for_tls_hosts(&route, &rule));
            default_route = Some(route);
        }
        for certificate in from.certificates {
            hosts.entry(certificate.host.clone()).or_default().certificates.push(certificate);
        }
        if self.class_certificate.is_some() {
            for host in from.default_certificate_hosts {
                hosts.entry(host).or_default();
            }
        }
        for (name, host) in &mut hosts {
            host.routes.shrink_to_fit();
            host.certificates.shrink_to_fit();
            let is_tls_host = tls_hosts.iter().any(|tls| tls.covers(name));
            host.default_route.clone_from(if is_tls_host { &default_for_tls } else { &default_route });
            host.class_certificate.clone_from(&self.class_certificate);
            host.class = Arc::clone(&self.class);
        }
        let secrets = from.secrets.into_iter().map(|secret| self.secret_reference(secret)).collect();
        let faults = self.faults.into_iter().map(|(field, MatchFault { reason, message })| Problem {
            object: ObjectRef { kind: Kind::Ingress, name: from.name.clone() },
            field: field.to_string(),
            reason,
            message,
        });
        let MergeReport { problems: policy_problems, used_configs } = self.merger.finish();
        let contribution = IngressContribution {
            hosts: hosts.keys().cloned().collect(),
            default_route,
            backends: self.acquired.into(),
            secrets,
            problems: from.problems.into_iter().chain(faults).collect(),
            policy_problems,
            used_configs,
        };
        BuiltIngress { contribution, hosts }
    }

    /// Returns the Route of the default backend for hosts that `spec.tls` names. Usually it is the same.
    fn for_tls_hosts(&mut self, route: &Arc<Route>, rule: &TranslatedRule) -> Arc<Route> {
        let policy = self.merger.merge_default_for_tls(services(self.origin, rule));
        if Arc::ptr_eq(&policy, &route.policy) {
            return Arc::clone(route);
        }
        let Route { path, conditions, backends, is_closed, origin, annotations, .. } = &**route;
        let (path, conditions, backends) = (path.clone(), conditions.clone(), backends.clone());
        let (is_closed, origin, annotations) = (*is_closed, origin.clone(), annotations.clone());
        Arc::new(Route { path, conditions, backends, policy, is_closed, origin, annotations })
    }

    fn build_routes(&mut self, from: TranslatedRoute, is_tls_host: bool, routes: &mut Vec<Arc<Route>>) {
        for rule in &from.rules {
            for condition in &rule.rule.matches {
                let parsed = route_match::parse(condition, self.patterns);
                let path = rule.source.as_ref().unwrap_or(&parsed.path);
                let condition = RouteCondition { host: &from.host, path };
                let (answer, filters) = (from.answer.as_ref(), rule.filters.as_ref());
                let key = RouteKey { condition, matched: &parsed.path, is_tls_host, answer, filters };
                let merged = self.merger.merge(Some(key), services(self.origin, rule));
                routes.push(self.build_route(parsed, rule, merged));
            }
        }
    }

    fn build_route(
        &mut self,
        matched: ParsedMatch,
        rule: &TranslatedRule,
        merged: MergedPolicy<'_>,
    ) -> Arc<Route> {
        let backends = match merged.backends {
            _ if rule.closure != Closure::Open || !matched.faults.is_empty() => Vec::new(),
            Some(backends) => self.override_backends(rule.field, &backends),
            None => self.rule_backends(rule),
        };
        let ParsedMatch { path, conditions, faults } = matched;
        self.faults.extend(faults.into_iter().map(|fault| (rule.field, fault)));
        let origin = RouteOrigin { ingress: Arc::clone(self.origin), field: rule.field };
        let is_closed = self.is_closed || rule.closure == Closure::NotHonoured;
        let (backends, annotations) = (backends.into(), rule.annotations.clone().map(Box::new));
        Arc::new(Route { path, conditions, backends, policy: merged.policy, is_closed, origin, annotations })
    }

    /// Acquires the Backends of a rule.
    fn rule_backends(&mut self, rule: &TranslatedRule) -> Vec<WeightedBackend> {
        let mut weighted = Vec::with_capacity(rule.rule.backend_refs.len());
        for reference in &rule.rule.backend_refs {
            let referrer = self.referrer(rule.field.service(), None);
            weighted.push(self.acquire(referrer, reference));
        }
        weighted
    }

    /// Acquires the Backends that a policy sets for a rule.
    fn override_backends(&mut self, field: FieldPath, from: &BackendOverride<'_>) -> Vec<WeightedBackend> {
        let mut weighted = Vec::with_capacity(from.backends.len());
        for OverrideShare { reference, index } in shares(from.backends) {
            let via = format!("{} spec.backends[{index}]", from.origin);
            let referrer = self.referrer(field, Some(via.into()));
            weighted.push(self.acquire(referrer, &reference));
        }
        weighted
    }

    fn referrer(&self, field: FieldPath, via: Option<Arc<str>>) -> Referrer {
        Referrer { owner: Arc::clone(self.origin), field, via }
    }

    fn acquire(&mut self, referrer: Referrer, from: &HttpBackendRef) -> WeightedBackend {
        let service = Name { namespace: self.origin.name.namespace.clone(), name: Arc::clone(&from.name) };
        let key =
            PortKey { port: port_ref(&from.port), external_names: self.external_names, user: PortUser::Rule };
        let reference = self.registry.acquire(BackendTarget { service, key }, referrer);
        let backend = Arc::clone(&reference.backend);
        self.acquired.push(reference);
        WeightedBackend { backend, weight: from.weight }
    }

    /// Leaves out the hosts of rules without a host: a client that names no host accepts any certificate.
    fn secret_reference(&self, from: SecretRef) -> SecretReference {
        let hosts = from.hosts.into_iter().filter(|tls| tls.host != HostName::Any).collect();
        SecretReference { referrer: self.referrer(from.field, None), secret: from.secret, hosts }
    }
}

fn services<'a>(origin: &'a IngressOrigin, rule: &'a TranslatedRule) -> RouteServices<'a> {
    RouteServices { namespace: &origin.name.namespace, references: &rule.rule.backend_refs }
}

/// Adds up the weights of entries with the same Service port.
fn shares(backends: &[PolicyBackend]) -> Vec<OverrideShare> {
    let mut shares: Vec<OverrideShare> = Vec::new();
    for (index, from) in backends.iter().enumerate() {
        let is_same = |share: &&mut OverrideShare| {
            *share.reference.name == *from.service && share.reference.port == from.port
        };
        match shares.iter_mut().find(is_same) {
            Some(share) => share.reference.weight = share.reference.weight.saturating_add(from.weight),
            None => {
                let (name, port) = (from.service.as_str().into(), from.port.clone());
                let reference = HttpBackendRef { name, port, weight: from.weight };
                shares.push(OverrideShare { reference, index });
            }
        }
    }
    shares
}

/// Converts the port of our kinds to the port of a Backend.
pub(super) fn port_ref(from: &Port) -> PortRef {
    match from {
        Port::Name(name) => PortRef::Name(Arc::clone(name)),
        Port::Number(number) => PortRef::Number(*number),
    }
}
