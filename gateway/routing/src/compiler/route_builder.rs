//! From the shape of HTTPRoute to Routes that share Backends.
//!
//! Purpose: the one way in which any door's rules become Routes, with what policies say about them. Not here:
//! Ingress (`translate`), and choosing between Routes with the same condition (`hosts`).

use std::collections::BTreeMap;
use std::sync::Arc;

use api::ExternalNames;
use api::HttpBackendRef;
use api::HttpRouteRule;
use api::PathMatchType;
use api::Port;

use super::backend_registry::BackendReference;
use super::backend_registry::BackendRegistry;
use super::backend_registry::BackendTarget;
use super::backend_registry::Referrer;
use super::policy_merge::BackendOverride;
use super::policy_merge::PolicyMerger;
use super::secret_registry::SecretReference;
use super::tls::CertificateRef;
use super::tls::SecretRef;
use super::translate::TranslatedRoute;
use super::translate::Translation;
use crate::host::HostName;
use crate::object::Name;
use crate::object::PortRef;
use crate::problem::Problem;
use crate::table::FieldPath;
use crate::table::HostRole;
use crate::table::IngressOrigin;
use crate::table::PathMatch;
use crate::table::Policy;
use crate::table::Route;
use crate::table::RouteOrigin;
use crate::table::WeightedBackend;

/// What one Ingress brings into the indexes, as it is kept to be taken out again.
#[derive(Debug, Default)]
pub(super) struct IngressContribution {
    pub(super) hosts: Box<[HostName]>,
    /// The Route of the default backend.
    pub(super) default: Option<Arc<Route>>,
    pub(super) backend_uses: Box<[BackendReference]>,
    pub(super) secret_uses: Box<[SecretReference]>,
    /// What is wrong with the Ingress alone.
    pub(super) problems: Box<[Problem]>,
    /// What is wrong with policies about it.
    pub(super) policy_problems: Box<[Problem]>,
}

/// What one Ingress says about one host, in its own order.
#[derive(Debug, Default)]
pub(super) struct HostContribution {
    pub(super) role: HostRole,
    pub(super) routes: Vec<Arc<Route>>,
    pub(super) tls: Vec<CertificateRef>,
    /// The Secret of the class's default certificate.
    pub(super) class_certificate: Option<Arc<Name>>,
    /// The Ingress's default backend.
    pub(super) default: Option<Arc<Route>>,
}

/// The claims of one Ingress while they grow.
#[derive(Debug, Default)]
struct Contributions {
    hosts: BTreeMap<HostName, HostContribution>,
    backend_uses: Vec<BackendReference>,
}

/// What lowering needs beside the rules.
#[derive(Debug)]
pub(super) struct RouteBuilder<'a> {
    pub(super) origin: &'a Arc<IngressOrigin>,
    pub(super) external_names: ExternalNames,
    /// The Secret of the class's default certificate.
    pub(super) class_certificate: Option<Arc<Name>>,
    pub(super) backends: &'a mut BackendRegistry,
    pub(super) merger: PolicyMerger<'a>,
}

/// Gives what is kept, and what goes to the hosts.
pub(super) fn build(
    from: Translation,
    mut context: RouteBuilder<'_>,
) -> (IngressContribution, BTreeMap<HostName, HostContribution>) {
    let mut claims = Contributions::default();
    for route in from.routes {
        build_routes(&mut claims, route, &mut context);
    }
    let default = from.default.map(|(rule, field)| {
        let (policy, backend_override) = context.merger.merge_for_route(None);
        let backends = context.backends(&mut claims.backend_uses, (&rule, field), backend_override);
        context.route(PathMatch::prefix("/"), field, backends, policy)
    });
    for claim in from.tls {
        claims.hosts.entry(claim.host.clone()).or_default().tls.push(claim);
    }
    if context.class_certificate.is_some() {
        for host in from.default_certificate {
            claims.hosts.entry(host).or_default();
        }
    }
    for claimed in claims.hosts.values_mut() {
        claimed.routes.shrink_to_fit();
        claimed.tls.shrink_to_fit();
        claimed.default.clone_from(&default);
        claimed.class_certificate.clone_from(&context.class_certificate);
    }
    let user = |field| Referrer { owner: Arc::clone(context.origin), field, by: None };
    let secret = |SecretRef { secret, field, hosts }| {
        // A client of no host in particular cannot be shown the wrong certificate.
        let hosts = hosts.into_iter().filter(|(host, _)| *host != HostName::Any).collect();
        SecretReference { user: user(field), secret, hosts }
    };
    let lowered = IngressContribution {
        hosts: claims.hosts.keys().cloned().collect(),
        default,
        backend_uses: claims.backend_uses.into(),
        secret_uses: from.secret_uses.into_iter().map(secret).collect(),
        problems: from.problems.into(),
        policy_problems: context.merger.into_problems().into(),
    };
    (lowered, claims.hosts)
}

fn build_routes(lowered: &mut Contributions, from: TranslatedRoute, context: &mut RouteBuilder<'_>) {
    let claims = lowered.hosts.entry(from.host.clone()).or_default();
    claims.role = HostRole::Routed;
    for (rule, field) in from.route.rules.into_iter().zip(from.fields) {
        for condition in &rule.matches {
            let path = match condition.path.kind {
                PathMatchType::Exact => PathMatch::Exact(Arc::clone(&condition.path.value)),
                PathMatchType::PathPrefix => PathMatch::shared_prefix(&condition.path.value),
            };
            let (policy, backend_override) = context.merger.merge_for_route(Some((&from.host, &path)));
            let backends = context.backends(&mut lowered.backend_uses, (&rule, field), backend_override);
            claims.routes.push(context.route(path, field, backends, policy));
        }
    }
}

impl RouteBuilder<'_> {
    pub(super) fn route(
        &self,
        path: PathMatch,
        field: FieldPath,
        backends: Vec<WeightedBackend>,
        policy: Arc<Policy>,
    ) -> Arc<Route> {
        let origin = RouteOrigin { ingress: Arc::clone(self.origin), field };
        Arc::new(Route { path, backends: backends.into(), policy, origin })
    }

    /// The Backends of a rule, or those that a policy puts in their place.
    fn backends(
        &mut self,
        uses: &mut Vec<BackendReference>,
        (rule, field): (&HttpRouteRule, FieldPath),
        backend_override: Option<BackendOverride<'_>>,
    ) -> Vec<WeightedBackend> {
        let mut weighted = Vec::with_capacity(rule.backend_refs.len());
        let Some(backend_override) = backend_override else {
            for reference in &rule.backend_refs {
                let user = Referrer { owner: Arc::clone(self.origin), field: field.service(), by: None };
                weighted.push(self.acquire(uses, user, reference));
            }
            return weighted;
        };
        // A Service port that is listed twice is one Backend with both shares.
        let mut shares: Vec<(HttpBackendRef, usize)> = Vec::new();
        for (index, from) in backend_override.backends.iter().enumerate() {
            let known =
                shares.iter_mut().find(|(share, _)| *share.name == *from.service && share.port == from.port);
            match known {
                Some((share, _)) => share.weight = share.weight.saturating_add(from.weight),
                None => {
                    let (name, port) = (from.service.as_str().into(), from.port.clone());
                    shares.push((HttpBackendRef { name, port, weight: from.weight }, index));
                }
            }
        }
        for (share, index) in shares {
            let by = format!("RoutePolicy {} spec.backends[{index}]", backend_override.origin.policy);
            let user = Referrer { owner: Arc::clone(self.origin), field, by: Some(by.into()) };
            weighted.push(self.acquire(uses, user, &share));
        }
        weighted
    }

    fn acquire(
        &mut self,
        uses: &mut Vec<BackendReference>,
        user: Referrer,
        from: &HttpBackendRef,
    ) -> WeightedBackend {
        let service = Name { namespace: self.origin.name.namespace.clone(), name: Arc::clone(&from.name) };
        let target =
            BackendTarget { service, port: port_ref(&from.port), external_names: self.external_names };
        let claim = self.backends.acquire(target, user);
        let backend = Arc::clone(&claim.backend);
        uses.push(claim);
        WeightedBackend { backend, weight: from.weight }
    }
}

pub(super) fn port_ref(from: &Port) -> PortRef {
    match from {
        Port::Name(name) => PortRef::Name(Arc::clone(name)),
        Port::Number(number) => PortRef::Number(*number),
    }
}
