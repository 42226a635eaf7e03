//! Default backends: who serves what no rule takes.
//!
//! Not here: the default backend of a host, which comes from the Ingresses that name it (`hosts`).

use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::sync::Arc;

use super::backend_registry::BackendReference;
use super::backend_registry::BackendRegistry;
use super::backend_registry::BackendTarget;
use super::backend_registry::Referrer;
use super::class_index::ClassIndex;
use super::class_index::ClassParameters;
use super::policy_index::PolicyIndex;
use super::precedence::Precedence;
use super::problem_delta::ProblemDeltaBuilder;
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
use crate::table::OwnerDefaults;
use crate::table::OwnerMap;
use crate::table::OwnerSet;
use crate::table::Ownership;
use crate::table::PathMatch;
use crate::table::Route;
use crate::table::RouteOrigin;
use crate::table::WeightedBackend;

/// All default backends, and what the table was told of them last.
#[derive(Debug, Default)]
pub(super) struct DefaultBackends {
    without_rules: IngressDefaults,
    with_rules: IngressDefaults,
    classes: Vec<ClassDefaults>,
    problems: Vec<Problem>,
    built: Arc<Defaults>,
    freshness: Freshness,
}

/// The default backends of Ingresses by namespace, oldest first, since those of an owned host are of its owners.
#[derive(Debug, Default)]
struct IngressDefaults {
    by_namespace: BTreeMap<Arc<str>, BTreeMap<Precedence, Arc<Route>>>,
}

/// Whether the table knows the latest.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Freshness {
    #[default]
    Clean,
    Dirty,
}

/// What the parameters of one class bring in.
#[derive(Debug)]
struct ClassDefaults {
    backend: Option<(BackendReference, Arc<Route>)>,
    certificate: Option<SecretReference>,
}

impl DefaultBackends {
    pub(super) fn insert(&mut self, ingress: &Ingress, precedence: &Precedence, route: &Arc<Route>) {
        let namespace = Arc::clone(&precedence.name.namespace);
        let queue = self.queue(ingress).by_namespace.entry(namespace).or_default();
        queue.insert(precedence.clone(), Arc::clone(route));
    }

    pub(super) fn remove(&mut self, ingress: &Ingress, precedence: &Precedence) {
        let namespaces = &mut self.queue(ingress).by_namespace;
        let Some(queue) = namespaces.get_mut(&precedence.name.namespace) else { return };
        queue.remove(precedence);
        if queue.is_empty() {
            namespaces.remove(&precedence.name.namespace);
        }
    }

    /// Who owns which host is another matter now.
    pub(super) fn mark_dirty(&mut self) {
        self.freshness = Freshness::Dirty;
    }

    fn queue(&mut self, ingress: &Ingress) -> &mut IngressDefaults {
        self.freshness = Freshness::Dirty;
        if ingress.rules.is_empty() { &mut self.without_rules } else { &mut self.with_rules }
    }

    /// Takes the parameters of all our classes anew. Backends that stay in use keep their cells.
    pub(super) fn set_classes(
        &mut self,
        (classes, policies): (&ClassIndex, &mut PolicyIndex),
        own_namespace: &str,
        (backends, secrets): (&mut BackendRegistry, &mut SecretRegistry),
        (next_origin, problem_delta): (&mut u64, &mut ProblemDeltaBuilder),
    ) {
        self.freshness = Freshness::Dirty;
        for old in std::mem::take(&mut self.classes) {
            if let Some((claim, _)) = old.backend {
                backends.release(&claim, problem_delta);
            }
            if let Some(claim) = old.certificate {
                secrets.release(&claim, problem_delta);
            }
        }
        for (precedence, rules) in classes.served_by_age() {
            let class = precedence.name;
            let origin = IngressOrigin { kind: Kind::IngressClass, name: class.clone(), id: *next_origin };
            *next_origin += 1;
            let origin = Arc::new(origin);
            let backend = backend_target(&rules, own_namespace).map(|wanted| {
                let claim = backends.acquire(wanted, user(&origin, &rules, "spec.defaultBackend"));
                let weighted = WeightedBackend { backend: Arc::clone(&claim.backend), weight: 1 };
                backends.report_fault(&claim, problem_delta);
                let origin = RouteOrigin { ingress: Arc::clone(&origin), field: FieldPath::Parameters };
                let (policy, _) = policies.merger(None, Some(&class.name)).merge_for_route(None);
                let path = PathMatch::prefix("/");
                (claim, Arc::new(Route { path, backends: Box::new([weighted]), policy, origin }))
            });
            let certificate = certificate_reference(&origin, &rules);
            if let Some(claim) = &certificate {
                secrets.acquire(claim, problem_delta);
            }
            self.classes.push(ClassDefaults { backend, certificate });
        }
    }

    /// What the table is to hold. Nothing is made anew if nothing changed.
    pub(super) fn build(
        &mut self,
        ownership: &Ownership,
        problem_delta: &mut ProblemDeltaBuilder,
    ) -> Arc<Defaults> {
        if self.freshness == Freshness::Clean {
            return Arc::clone(&self.built);
        }
        self.freshness = Freshness::Clean;
        let class = self.classes.iter().find_map(|class| class.backend.as_ref());
        let certificate = self.classes.iter().find_map(|class| class.certificate.as_ref());
        self.built = Arc::new(Defaults {
            without_rules: self.without_rules.oldest().map(|(_, route)| Arc::clone(route)),
            with_rules: self.with_rules.oldest().map(|(_, route)| Arc::clone(route)),
            class: class.map(|(_, route)| Arc::clone(route)),
            certificate: certificate.map(|claim| claim.secret.clone()),
            for_owners: self.for_owners(ownership),
        });
        problem_delta.remove(std::mem::take(&mut self.problems));
        self.problems = self.conflicts(ownership);
        problem_delta.add(self.problems.iter().cloned());
        Arc::clone(&self.built)
    }

    fn for_owners(&self, ownership: &Ownership) -> OwnerMap<OwnerDefaults> {
        let route = |(_, route): (&Precedence, &Arc<Route>)| Arc::clone(route);
        let of = |owners: &OwnerSet| OwnerDefaults {
            without_rules: self.without_rules.oldest_of(owners).map(route),
            with_rules: self.with_rules.oldest_of(owners).map(route),
        };
        OwnerMap::new(ownership.owners().map(|owners| (Arc::clone(owners), of(owners))).collect())
    }

    /// An Ingress without rules that is not the first one, nor the first one of a host's owners, does nothing at all.
    /// One with rules has its own hosts.
    fn conflicts(&self, ownership: &Ownership) -> Vec<Problem> {
        let Some((winner, _)) = self.without_rules.oldest() else { return Vec::new() };
        let oldest_of = |owners| self.without_rules.oldest_of(owners).map(|(oldest, _)| oldest);
        let serving: BTreeSet<&Precedence> =
            ownership.owners().filter_map(oldest_of).chain([winner]).collect();
        let lost = |loser: &Precedence| Problem {
            object: ObjectRef { kind: Kind::Ingress, name: loser.name.clone() },
            field: "spec.defaultBackend".to_owned(),
            reason: Reason::Conflict,
            message: format!(
                "what no rule takes goes to the default backend of Ingress {} ({})",
                winner.name,
                loser.loss_reason()
            ),
        };
        let all = self.without_rules.by_namespace.values().flat_map(BTreeMap::keys);
        all.filter(|ingress| !serving.contains(ingress)).map(lost).collect()
    }
}

impl IngressDefaults {
    fn oldest(&self) -> Option<(&Precedence, &Arc<Route>)> {
        self.by_namespace.values().filter_map(BTreeMap::first_key_value).min_by_key(|(age, _)| *age)
    }

    fn oldest_of(&self, owners: &OwnerSet) -> Option<(&Precedence, &Arc<Route>)> {
        let queues = owners.iter().filter_map(|namespace| self.by_namespace.get(namespace));
        queues.filter_map(BTreeMap::first_key_value).min_by_key(|(age, _)| *age)
    }
}

fn user(class: &Arc<IngressOrigin>, rules: &ClassParameters, field: &str) -> Referrer {
    let by = format!("IngressClassConfig {} {field}", rules.config);
    Referrer { owner: Arc::clone(class), field: FieldPath::Parameters, by: Some(by.into()) }
}

fn backend_target(rules: &ClassParameters, own_namespace: &str) -> Option<BackendTarget> {
    let from = rules.default_backend.as_ref()?;
    let namespace = from.namespace.as_deref().unwrap_or(own_namespace);
    Some(BackendTarget {
        service: Name::new(namespace, &from.service),
        port: route_builder::port_ref(&from.port),
        external_names: rules.external_names,
    })
}

fn certificate_reference(class: &Arc<IngressOrigin>, rules: &ClassParameters) -> Option<SecretReference> {
    let secret = Name::clone(rules.default_certificate.as_ref()?);
    // It is for whatever has none, so there is no host that it could be wrong for.
    let hosts = Arc::default();
    Some(SecretReference { user: user(class, rules, "spec.defaultCertificate"), secret, hosts })
}
