//! Default backends: the Routes of requests that match no rule.
//!
//! Not here: the default backend of a host, which comes from the Ingresses that name it (`host_index`).

use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::sync::Arc;

use api::ClassBackend;
use api::HttpBackendRef;

use super::backend_registry::BackendReference;
use super::backend_registry::BackendRegistry;
use super::backend_registry::BackendTarget;
use super::class_index::ClassIndex;
use super::class_index::ClassParameters;
use super::endpoints::PortKey;
use super::endpoints::PortUser;
use super::plugin_index::PluginIndex;
use super::plugin_index::UsedConfig;
use super::policy_index::PolicyIndex;
use super::policy_merge::RouteServices;
use super::precedence::Precedence;
use super::problem_delta::ProblemDeltaBuilder;
use super::referrer::Referrer;
use super::route_builder;
use super::secret_registry::SecretReference;
use super::secret_registry::SecretRegistry;
use crate::object::Ingress;
use crate::object::Kind;
use crate::object::Name;
use crate::object::ObjectRef;
use crate::problem::Problem;
use crate::problem::Reason;
use crate::table::Defaults;
use crate::table::FieldPath;
use crate::table::IngressOrigin;
use crate::table::NamespaceDefaults;
use crate::table::OwnerDefaults;
use crate::table::OwnerMap;
use crate::table::OwnerSet;
use crate::table::Ownership;
use crate::table::PathMatch;
use crate::table::RankedRoute;
use crate::table::Route;
use crate::table::RouteOrigin;
use crate::table::WeightedBackend;

/// All default backends, and the last [`Defaults`] built from them.
#[derive(Debug, Default)]
pub(super) struct DefaultBackends {
    without_rules: DefaultRoutes,
    with_rules: DefaultRoutes,
    classes: Vec<ClassDefaults>,
    problems: Vec<Problem>,
    built: Arc<Defaults>,
    is_dirty: bool,
}

/// The default Routes of Ingresses by namespace and precedence. Owned hosts look only at their owners' namespaces.
#[derive(Debug, Default)]
struct DefaultRoutes {
    by_namespace: BTreeMap<Arc<str>, BTreeMap<Precedence, Arc<Route>>>,
}

/// The default Route of one Ingress.
#[derive(Clone, Copy)]
struct DefaultRoute<'a> {
    ingress: &'a Precedence,
    route: &'a Arc<Route>,
}

/// The default backend and certificate of one class.
#[derive(Debug)]
struct ClassDefaults {
    class: Arc<str>,
    backend: Option<ClassBackendRoute>,
    certificate: Option<SecretReference>,
}

#[derive(Debug)]
struct ClassBackendRoute {
    reference: BackendReference,
    route: Arc<Route>,
    /// Configurations of plugins on the Route.
    used_configs: Box<[UsedConfig]>,
}

/// Inputs and registries of [`DefaultBackends::set_classes`].
pub(super) struct ClassContext<'a> {
    pub(super) classes: &'a ClassIndex,
    pub(super) policies: &'a mut PolicyIndex,
    pub(super) plugins: &'a mut PluginIndex,
    pub(super) own_namespace: &'a str,
    pub(super) backends: &'a mut BackendRegistry,
    pub(super) secrets: &'a mut SecretRegistry,
    /// Number of the next [`IngressOrigin`].
    pub(super) next_origin: &'a mut u64,
    pub(super) problem_delta: &'a mut ProblemDeltaBuilder,
}

// ===== impl DefaultBackends =====

impl DefaultBackends {
    pub(super) fn insert(&mut self, ingress: &Ingress, precedence: &Precedence, route: &Arc<Route>) {
        let namespace = Arc::clone(&precedence.name.namespace);
        let routes = self.routes_mut(ingress).by_namespace.entry(namespace).or_default();
        routes.insert(precedence.clone(), Arc::clone(route));
    }

    pub(super) fn remove(&mut self, ingress: &Ingress, precedence: &Precedence) {
        let namespaces = &mut self.routes_mut(ingress).by_namespace;
        let Some(routes) = namespaces.get_mut(&precedence.name.namespace) else { return };
        routes.remove(precedence);
        if routes.is_empty() {
            namespaces.remove(&precedence.name.namespace);
        }
    }

    /// Makes the next [`DefaultBackends::build`] build again. Must be called when the ownership of hosts changes.
    pub(super) fn mark_dirty(&mut self) {
        self.is_dirty = true;
    }

    fn routes_mut(&mut self, ingress: &Ingress) -> &mut DefaultRoutes {
        self.is_dirty = true;
        if ingress.rules.is_empty() { &mut self.without_rules } else { &mut self.with_rules }
    }

    /// Replaces the defaults of all classes. Backends that stay in use keep their cells.
    pub(super) fn set_classes(&mut self, context: ClassContext<'_>) {
        let mut context = context;
        self.is_dirty = true;
        for old in std::mem::take(&mut self.classes) {
            if let Some(backend) = old.backend {
                context.backends.release(&backend.reference, context.problem_delta);
                context.plugins.release_configs(&backend.used_configs);
            }
            if let Some(certificate) = old.certificate {
                context.secrets.release(&certificate, context.problem_delta);
            }
        }
        for (precedence, parameters) in context.classes.served_by_age() {
            self.classes.push(ClassDefaults::new(precedence.name, &parameters, &mut context));
        }
    }

    /// Returns the defaults for the table. Returns the last ones if nothing changed.
    pub(super) fn build(
        &mut self,
        ownership: &Ownership,
        problem_delta: &mut ProblemDeltaBuilder,
    ) -> Arc<Defaults> {
        if !std::mem::take(&mut self.is_dirty) {
            return Arc::clone(&self.built);
        }
        let class = self.classes.iter().find_map(|class| class.backend.as_ref());
        let certificate = self.classes.iter().find_map(|class| class.certificate.as_ref());
        self.built = Arc::new(Defaults {
            without_rules: self.without_rules.oldest().map(|default| Arc::clone(default.route)),
            with_rules: self.with_rules.oldest().map(|default| Arc::clone(default.route)),
            class: class.map(|backend| Arc::clone(&backend.route)),
            certificate: certificate.map(|reference| reference.secret.clone()),
            for_owners: self.build_for_owners(ownership),
            by_namespace: self.build_by_namespace(),
            by_class: self.classes.iter().filter_map(ClassDefaults::route).collect(),
        });
        problem_delta.remove(std::mem::take(&mut self.problems));
        self.problems = self.conflicts(ownership);
        problem_delta.add(self.problems.iter().cloned());
        Arc::clone(&self.built)
    }

    fn build_for_owners(&self, ownership: &Ownership) -> OwnerMap<OwnerDefaults> {
        let route = |default: DefaultRoute<'_>| Arc::clone(default.route);
        let defaults = |owners: &OwnerSet| OwnerDefaults {
            without_rules: self.without_rules.oldest_of(owners).map(route),
            with_rules: self.with_rules.oldest_of(owners).map(route),
        };
        OwnerMap::new(ownership.owners().map(|owners| (Arc::clone(owners), defaults(owners))).collect())
    }

    /// Returns the default backends of each namespace, ranked over all of them.
    fn build_by_namespace(&self) -> BTreeMap<Arc<str>, NamespaceDefaults> {
        let mut built: BTreeMap<Arc<str>, NamespaceDefaults> = BTreeMap::new();
        for (rank, (namespace, route)) in self.without_rules.ranked().into_iter().enumerate() {
            let of = built.entry(Arc::clone(namespace)).or_default();
            of.without_rules = Some(RankedRoute { rank, route: Arc::clone(route) });
        }
        for (rank, (namespace, route)) in self.with_rules.ranked().into_iter().enumerate() {
            let of = built.entry(Arc::clone(namespace)).or_default();
            of.with_rules = Some(RankedRoute { rank, route: Arc::clone(route) });
        }
        built
    }

    /// Returns a Problem for each Ingress without rules whose default backend does not serve all hosts that no rule names:
    /// it is not the oldest, and not the oldest of any owners. The oldest of a namespace still serves the hosts that the
    /// namespace names. The default backend of an Ingress with rules serves at least its hosts.
    fn conflicts(&self, ownership: &Ownership) -> Vec<Problem> {
        let Some(winner) = self.without_rules.oldest() else { return Vec::new() };
        let oldest_of = |owners| self.without_rules.oldest_of(owners).map(|default| default.ingress);
        let serving: BTreeSet<&Precedence> =
            ownership.owners().filter_map(oldest_of).chain([winner.ingress]).collect();
        let problem = |loser: &Precedence, reason, message| Problem {
            object: ObjectRef { kind: Kind::Ingress, name: loser.name.clone() },
            field: "spec.defaultBackend".to_owned(),
            reason,
            message,
        };
        let mut problems = Vec::new();
        for ingresses in self.without_rules.by_namespace.values() {
            let mut losers = ingresses.keys();
            let Some(first) = losers.next() else { continue };
            if !serving.contains(first) {
                let message = format!(
                    "it serves only hosts that Ingresses of namespace {} name; requests for other hosts go to the \
                     default backend of Ingress {}, which takes precedence ({})",
                    first.name.namespace,
                    winner.ingress.name,
                    first.loss_reason()
                );
                problems.push(problem(first, Reason::DefaultLimited, message));
            }
            for loser in losers {
                let message = format!(
                    "requests that match no rule go to the default backend of Ingress {}, which takes precedence ({}); \
                     remove one of them",
                    first.name,
                    loser.loss_reason()
                );
                problems.push(problem(loser, Reason::Conflict, message));
            }
        }
        problems
    }
}

// ===== impl DefaultRoutes =====

impl DefaultRoutes {
    /// Returns the default Route of each namespace's oldest Ingress, by precedence.
    fn ranked(&self) -> Vec<(&Arc<str>, &Arc<Route>)> {
        let firsts = self.by_namespace.iter().filter_map(|(namespace, routes)| {
            let (ingress, route) = routes.first_key_value()?;
            Some((ingress, (namespace, route)))
        });
        let by_precedence: BTreeMap<_, _> = firsts.collect();
        by_precedence.into_values().collect()
    }

    fn oldest(&self) -> Option<DefaultRoute<'_>> {
        oldest(self.by_namespace.values())
    }

    fn oldest_of(&self, owners: &OwnerSet) -> Option<DefaultRoute<'_>> {
        oldest(owners.iter().filter_map(|namespace| self.by_namespace.get(namespace)))
    }
}

fn oldest<'a>(
    namespaces: impl Iterator<Item = &'a BTreeMap<Precedence, Arc<Route>>>,
) -> Option<DefaultRoute<'a>> {
    let oldest = namespaces.filter_map(BTreeMap::first_key_value).min_by_key(|(ingress, _)| *ingress);
    oldest.map(|(ingress, route)| DefaultRoute { ingress, route })
}

// ===== impl ClassDefaults =====

impl ClassDefaults {
    /// Returns the class and the Route of its default backend.
    fn route(&self) -> Option<(Arc<str>, Arc<Route>)> {
        let backend = self.backend.as_ref()?;
        Some((Arc::clone(&self.class), Arc::clone(&backend.route)))
    }

    fn new(class: Name, parameters: &ClassParameters, context: &mut ClassContext<'_>) -> Self {
        let origin =
            IngressOrigin { kind: Kind::IngressClass, name: class.clone(), id: *context.next_origin };
        *context.next_origin += 1;
        let origin = Arc::new(origin);
        let backend = parameters.default_backend.as_ref();
        let backend = backend.map(|from| ClassBackendRoute::new(&origin, from, parameters, context));
        let certificate = certificate_reference(&origin, parameters);
        if let Some(certificate) = &certificate {
            context.secrets.acquire(certificate, context.problem_delta);
        }
        Self { class: class.name, backend, certificate }
    }
}

impl ClassBackendRoute {
    fn new(
        class: &Arc<IngressOrigin>,
        from: &ClassBackend,
        parameters: &ClassParameters,
        context: &mut ClassContext<'_>,
    ) -> Self {
        let namespace = from.namespace.as_deref().unwrap_or(context.own_namespace);
        let service = Name::new(namespace, &from.service);
        let rule = HttpBackendRef { name: Arc::clone(&service.name), port: from.port.clone(), weight: 1 };
        let services = RouteServices { namespace, references: &[rule] };
        let mut merger = context.policies.merger(context.plugins, None, Some(&class.name.name));
        let policy = merger.merge(None, services).policy;
        let used_configs = merger.finish().used_configs;
        context.plugins.acquire_configs(&used_configs);
        let port = route_builder::port_ref(&from.port);
        let external_names = parameters.external_names;
        let target = BackendTarget { service, key: PortKey { port, external_names, user: PortUser::Rule } };
        let reference = context.backends.acquire(target, referrer(class, parameters, "spec.defaultBackend"));
        context.backends.report_fault(&reference, context.problem_delta);
        let weighted = WeightedBackend { backend: Arc::clone(&reference.backend), weight: 1 };
        let origin = RouteOrigin { ingress: Arc::clone(class), field: FieldPath::Parameters };
        let path = PathMatch::prefix("/");
        let route = Arc::new(Route {
            path,
            conditions: None,
            backends: Box::new([weighted]),
            policy,
            is_closed: false,
            origin,
            annotations: None,
        });
        Self { reference, route, used_configs }
    }
}

fn referrer(class: &Arc<IngressOrigin>, parameters: &ClassParameters, field: &str) -> Referrer {
    let via = format!("IngressClassConfig {} {field}", parameters.config);
    Referrer { owner: Arc::clone(class), field: FieldPath::Parameters, via: Some(via.into()) }
}

/// The default certificate need not cover any host: clients get it where no other certificate does.
fn certificate_reference(
    class: &Arc<IngressOrigin>,
    parameters: &ClassParameters,
) -> Option<SecretReference> {
    let secret = Name::clone(parameters.default_certificate.as_ref()?);
    let referrer = referrer(class, parameters, "spec.defaultCertificate");
    Some(SecretReference { referrer, secret, hosts: Arc::default() })
}
