//! From the shape of HTTPRoute to Routes that share Backends.
//!
//! Purpose: the one way in which any door's rules become Routes. Not here: Ingress (`translate`), and choosing
//! between Routes with the same condition (`hosts`).

use std::collections::BTreeMap;
use std::sync::Arc;

use api::HttpBackendRef;
use api::PathMatchType;
use api::Port;

use super::backend::BackendUse;
use super::backend::Backends;
use super::secret::SecretUse;
use super::tls::TlsClaim;
use super::translate::TranslatedRoute;
use super::translate::Translation;
use crate::host::HostName;
use crate::object::Name;
use crate::object::PortRef;
use crate::problem::Problem;
use crate::table::IngressOrigin;
use crate::table::Origin;
use crate::table::PathMatch;
use crate::table::Route;
use crate::table::WeightedBackend;

/// What one Ingress brings into the indexes.
#[derive(Debug, Default)]
pub(super) struct Lowered {
    pub(super) hosts: BTreeMap<HostName, HostClaims>,
    pub(super) backend_uses: Vec<BackendUse>,
    pub(super) secret_uses: Vec<SecretUse>,
    /// What is wrong with the Ingress alone.
    pub(super) problems: Vec<Problem>,
}

/// What one Ingress says about one host, in its own order.
#[derive(Debug, Default)]
pub(super) struct HostClaims {
    pub(super) routes: Vec<Arc<Route>>,
    pub(super) tls: Vec<TlsClaim>,
}

pub(super) fn lower(from: Translation, origin: &Arc<IngressOrigin>, backends: &mut Backends) -> Lowered {
    let mut lowered = Lowered { problems: from.problems, ..Lowered::default() };
    for route in from.routes {
        lower_route(&mut lowered, route, origin, backends);
    }
    for claim in from.tls {
        lowered.hosts.entry(claim.host.clone()).or_default().tls.push(claim);
    }
    lowered.secret_uses =
        from.secret_uses.into_iter().map(|(field, secret)| SecretUse { field, secret }).collect();
    lowered
}

fn lower_route(
    lowered: &mut Lowered,
    from: TranslatedRoute,
    origin: &Arc<IngressOrigin>,
    backends: &mut Backends,
) {
    let claims = lowered.hosts.entry(from.host).or_default();
    for (rule, field) in from.route.rules.into_iter().zip(from.fields) {
        let mut weighted = Vec::with_capacity(rule.backend_refs.len());
        for reference in rule.backend_refs {
            let user = backend_use(reference, &origin.name, &field);
            weighted.push(WeightedBackend { backend: backends.claim(&origin.name, &user.0), weight: user.1 });
            lowered.backend_uses.push(user.0);
        }
        for condition in rule.matches {
            let path = match condition.path.kind {
                PathMatchType::Exact => PathMatch::exact(&condition.path.value),
                PathMatchType::PathPrefix => PathMatch::prefix(&condition.path.value),
            };
            claims.routes.push(Arc::new(Route {
                path,
                backends: weighted.clone().into(),
                origin: Origin { ingress: Arc::clone(origin), field: field.clone() },
            }));
        }
    }
}

fn backend_use(from: HttpBackendRef, owner: &Name, field: &str) -> (BackendUse, u32) {
    let service = Name { namespace: owner.namespace.clone(), name: from.name.into() };
    let port = match from.port {
        Port::Name(name) => PortRef::Name(name.into()),
        Port::Number(number) => PortRef::Number(number),
    };
    (BackendUse { field: format!("{field}.backend.service"), service, port }, from.weight)
}
