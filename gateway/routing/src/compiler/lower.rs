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

use super::backend::BackendUse;
use super::backend::Backends;
use super::backend::User;
use super::backend::Wanted;
use super::overlay::Overlay;
use super::overlay::Split;
use super::secret::SecretUse;
use super::tls::TlsClaim;
use super::tls::TlsSecret;
use super::translate::TranslatedRoute;
use super::translate::Translation;
use crate::host::HostName;
use crate::object::Name;
use crate::object::PortRef;
use crate::problem::Problem;
use crate::table::Field;
use crate::table::IngressOrigin;
use crate::table::Origin;
use crate::table::PathMatch;
use crate::table::Policy;
use crate::table::Route;
use crate::table::Standing;
use crate::table::WeightedBackend;

/// What one Ingress brings into the indexes, as it is kept to be taken out again.
#[derive(Debug, Default)]
pub(super) struct Lowered {
    pub(super) hosts: Box<[HostName]>,
    /// The Route of the default backend.
    pub(super) default: Option<Arc<Route>>,
    pub(super) backend_uses: Box<[BackendUse]>,
    pub(super) secret_uses: Box<[SecretUse]>,
    /// What is wrong with the Ingress alone.
    pub(super) problems: Box<[Problem]>,
    /// What is wrong with policies about it.
    pub(super) policy_problems: Box<[Problem]>,
}

/// What one Ingress says about one host, in its own order.
#[derive(Debug, Default)]
pub(super) struct HostClaims {
    pub(super) standing: Standing,
    pub(super) routes: Vec<Arc<Route>>,
    pub(super) tls: Vec<TlsClaim>,
    /// The Secret of the class's default certificate.
    pub(super) class_certificate: Option<Arc<Name>>,
    /// The Ingress's default backend.
    pub(super) default: Option<Arc<Route>>,
}

/// The claims of one Ingress while they grow.
#[derive(Debug, Default)]
struct Claims {
    hosts: BTreeMap<HostName, HostClaims>,
    backend_uses: Vec<BackendUse>,
}

/// What lowering needs beside the rules.
#[derive(Debug)]
pub(super) struct Lowering<'a> {
    pub(super) origin: &'a Arc<IngressOrigin>,
    pub(super) external_names: ExternalNames,
    /// The Secret of the class's default certificate.
    pub(super) class_certificate: Option<Arc<Name>>,
    pub(super) backends: &'a mut Backends,
    pub(super) overlay: Overlay<'a>,
}

/// Gives what is kept, and what goes to the hosts.
pub(super) fn lower(
    from: Translation,
    mut context: Lowering<'_>,
) -> (Lowered, BTreeMap<HostName, HostClaims>) {
    let mut claims = Claims::default();
    for route in from.routes {
        lower_route(&mut claims, route, &mut context);
    }
    let default = from.default.map(|(rule, field)| {
        let (policy, split) = context.overlay.of_route(None);
        let backends = context.backends(&mut claims.backend_uses, (&rule, field), split);
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
    let user = |field| User { owner: Arc::clone(context.origin), field, by: None };
    let secret = |TlsSecret { secret, field, hosts }| {
        // A client of no host in particular cannot be shown the wrong certificate.
        let hosts = hosts.into_iter().filter(|(host, _)| *host != HostName::Any).collect();
        SecretUse { user: user(field), secret, hosts }
    };
    let lowered = Lowered {
        hosts: claims.hosts.keys().cloned().collect(),
        default,
        backend_uses: claims.backend_uses.into(),
        secret_uses: from.secret_uses.into_iter().map(secret).collect(),
        problems: from.problems.into(),
        policy_problems: context.overlay.into_problems().into(),
    };
    (lowered, claims.hosts)
}

fn lower_route(lowered: &mut Claims, from: TranslatedRoute, context: &mut Lowering<'_>) {
    let claims = lowered.hosts.entry(from.host.clone()).or_default();
    claims.standing = Standing::Named;
    for (rule, field) in from.route.rules.into_iter().zip(from.fields) {
        for condition in &rule.matches {
            let path = match condition.path.kind {
                PathMatchType::Exact => PathMatch::Exact(Arc::clone(&condition.path.value)),
                PathMatchType::PathPrefix => PathMatch::shared_prefix(&condition.path.value),
            };
            let (policy, split) = context.overlay.of_route(Some((&from.host, &path)));
            let backends = context.backends(&mut lowered.backend_uses, (&rule, field), split);
            claims.routes.push(context.route(path, field, backends, policy));
        }
    }
}

impl Lowering<'_> {
    pub(super) fn route(
        &self,
        path: PathMatch,
        field: Field,
        backends: Vec<WeightedBackend>,
        policy: Arc<Policy>,
    ) -> Arc<Route> {
        let origin = Origin { ingress: Arc::clone(self.origin), field };
        Arc::new(Route { path, backends: backends.into(), policy, origin })
    }

    /// The Backends of a rule, or those that a policy puts in their place.
    fn backends(
        &mut self,
        uses: &mut Vec<BackendUse>,
        (rule, field): (&HttpRouteRule, Field),
        split: Option<Split<'_>>,
    ) -> Vec<WeightedBackend> {
        let mut weighted = Vec::with_capacity(rule.backend_refs.len());
        let Some(split) = split else {
            for reference in &rule.backend_refs {
                let user = User { owner: Arc::clone(self.origin), field: field.service(), by: None };
                weighted.push(self.claim(uses, user, reference));
            }
            return weighted;
        };
        // A Service port that is listed twice is one Backend with both shares.
        let mut shares: Vec<(HttpBackendRef, usize)> = Vec::new();
        for (index, from) in split.backends.iter().enumerate() {
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
            let by = format!("RoutePolicy {} spec.backends[{index}]", split.origin.policy);
            let user = User { owner: Arc::clone(self.origin), field, by: Some(by.into()) };
            weighted.push(self.claim(uses, user, &share));
        }
        weighted
    }

    fn claim(&mut self, uses: &mut Vec<BackendUse>, user: User, from: &HttpBackendRef) -> WeightedBackend {
        let service = Name { namespace: self.origin.name.namespace.clone(), name: Arc::clone(&from.name) };
        let wanted = Wanted { service, port: port_ref(&from.port), external_names: self.external_names };
        let claim = self.backends.claim(wanted, user);
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
