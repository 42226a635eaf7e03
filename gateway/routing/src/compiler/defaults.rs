//! Default backends: who serves what no rule takes.
//!
//! Not here: the default backend of a host, which comes from the Ingresses that name it (`hosts`).

use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::sync::Arc;

use super::backend::BackendUse;
use super::backend::Backends;
use super::backend::User;
use super::backend::Wanted;
use super::class::ClassRules;
use super::class::Classes;
use super::ledger::Ledger;
use super::lower;
use super::policy::Policies;
use super::secret::SecretUse;
use super::secret::Secrets;
use super::seniority::Seniority;
use crate::object::Ingress;
use crate::object::Kind;
use crate::object::Name;
use crate::object::ObjectRef;
use crate::problem::Problem;
use crate::problem::Reason;
use crate::table::ByOwners;
use crate::table::Defaults;
use crate::table::Field;
use crate::table::IngressOrigin;
use crate::table::Origin;
use crate::table::Owners;
use crate::table::OwnersDefaults;
use crate::table::Ownership;
use crate::table::PathMatch;
use crate::table::Route;
use crate::table::WeightedBackend;

/// All default backends, and what the table was told of them last.
#[derive(Debug, Default)]
pub(super) struct DefaultBackends {
    without_rules: Queue,
    with_rules: Queue,
    classes: Vec<ClassDefaults>,
    problems: Vec<Problem>,
    built: Arc<Defaults>,
    state: State,
}

/// The default backends of Ingresses by namespace, oldest first, since those of an owned host are of its owners.
#[derive(Debug, Default)]
struct Queue {
    by_namespace: BTreeMap<Arc<str>, BTreeMap<Seniority, Arc<Route>>>,
}

/// Whether the table knows the latest.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum State {
    #[default]
    Clean,
    Dirty,
}

/// What the parameters of one class bring in.
#[derive(Debug)]
struct ClassDefaults {
    backend: Option<(BackendUse, Arc<Route>)>,
    certificate: Option<SecretUse>,
}

impl DefaultBackends {
    pub(super) fn join(&mut self, ingress: &Ingress, seniority: &Seniority, route: &Arc<Route>) {
        let namespace = Arc::clone(&seniority.name.namespace);
        let queue = self.queue(ingress).by_namespace.entry(namespace).or_default();
        queue.insert(seniority.clone(), Arc::clone(route));
    }

    pub(super) fn leave(&mut self, ingress: &Ingress, seniority: &Seniority) {
        let namespaces = &mut self.queue(ingress).by_namespace;
        let Some(queue) = namespaces.get_mut(&seniority.name.namespace) else { return };
        queue.remove(seniority);
        if queue.is_empty() {
            namespaces.remove(&seniority.name.namespace);
        }
    }

    /// Who owns which host is another matter now.
    pub(super) fn forget(&mut self) {
        self.state = State::Dirty;
    }

    fn queue(&mut self, ingress: &Ingress) -> &mut Queue {
        self.state = State::Dirty;
        if ingress.rules.is_empty() { &mut self.without_rules } else { &mut self.with_rules }
    }

    /// Takes the parameters of all our classes anew. Backends that stay in use keep their cells.
    pub(super) fn set_classes(
        &mut self,
        (classes, policies): (&Classes, &mut Policies),
        own_namespace: &str,
        (backends, secrets): (&mut Backends, &mut Secrets),
        (next_origin, ledger): (&mut u64, &mut Ledger),
    ) {
        self.state = State::Dirty;
        for old in std::mem::take(&mut self.classes) {
            if let Some((claim, _)) = old.backend {
                backends.release(&claim, ledger);
            }
            if let Some(claim) = old.certificate {
                secrets.release(&claim, ledger);
            }
        }
        for (seniority, rules) in classes.by_age() {
            let class = seniority.name;
            let origin = IngressOrigin { kind: Kind::IngressClass, name: class.clone(), id: *next_origin };
            *next_origin += 1;
            let origin = Arc::new(origin);
            let backend = wanted_backend(&rules, own_namespace).map(|wanted| {
                let claim = backends.claim(wanted, user(&origin, &rules, "spec.defaultBackend"));
                let weighted = WeightedBackend { backend: Arc::clone(&claim.backend), weight: 1 };
                backends.report(&claim, ledger);
                let origin = Origin { ingress: Arc::clone(&origin), field: Field::Parameters };
                let (policy, _) = policies.overlay(None, Some(&class.name)).of_route(None);
                let path = PathMatch::prefix("/");
                (claim, Arc::new(Route { path, backends: Box::new([weighted]), policy, origin }))
            });
            let certificate = secret_use(&origin, &rules);
            if let Some(claim) = &certificate {
                secrets.claim(claim, ledger);
            }
            self.classes.push(ClassDefaults { backend, certificate });
        }
    }

    /// What the table is to hold. Nothing is made anew if nothing changed.
    pub(super) fn build(&mut self, ownership: &Ownership, ledger: &mut Ledger) -> Arc<Defaults> {
        if self.state == State::Clean {
            return Arc::clone(&self.built);
        }
        self.state = State::Clean;
        let class = self.classes.iter().find_map(|class| class.backend.as_ref());
        let certificate = self.classes.iter().find_map(|class| class.certificate.as_ref());
        self.built = Arc::new(Defaults {
            without_rules: self.without_rules.oldest().map(|(_, route)| Arc::clone(route)),
            with_rules: self.with_rules.oldest().map(|(_, route)| Arc::clone(route)),
            class: class.map(|(_, route)| Arc::clone(route)),
            certificate: certificate.map(|claim| claim.secret.clone()),
            of_owners: self.of_owners(ownership),
        });
        ledger.remove(std::mem::take(&mut self.problems));
        self.problems = self.conflicts(ownership);
        ledger.add(self.problems.iter().cloned());
        Arc::clone(&self.built)
    }

    fn of_owners(&self, ownership: &Ownership) -> ByOwners<OwnersDefaults> {
        let route = |(_, route): (&Seniority, &Arc<Route>)| Arc::clone(route);
        let of = |owners: &Owners| OwnersDefaults {
            without_rules: self.without_rules.oldest_of(owners).map(route),
            with_rules: self.with_rules.oldest_of(owners).map(route),
        };
        ByOwners::new(ownership.owners().map(|owners| (Arc::clone(owners), of(owners))).collect())
    }

    /// An Ingress without rules that is not the first one, nor the first one of a host's owners, does nothing at all.
    /// One with rules has its own hosts.
    fn conflicts(&self, ownership: &Ownership) -> Vec<Problem> {
        let Some((winner, _)) = self.without_rules.oldest() else { return Vec::new() };
        let oldest_of = |owners| self.without_rules.oldest_of(owners).map(|(oldest, _)| oldest);
        let serving: BTreeSet<&Seniority> =
            ownership.owners().filter_map(oldest_of).chain([winner]).collect();
        let lost = |loser: &Seniority| Problem {
            object: ObjectRef { kind: Kind::Ingress, name: loser.name.clone() },
            field: "spec.defaultBackend".to_owned(),
            reason: Reason::Conflict,
            message: format!(
                "what no rule takes goes to the default backend of Ingress {} ({})",
                winner.name,
                loser.why_last()
            ),
        };
        let all = self.without_rules.by_namespace.values().flat_map(BTreeMap::keys);
        all.filter(|ingress| !serving.contains(ingress)).map(lost).collect()
    }
}

impl Queue {
    fn oldest(&self) -> Option<(&Seniority, &Arc<Route>)> {
        self.by_namespace.values().filter_map(BTreeMap::first_key_value).min_by_key(|(age, _)| *age)
    }

    fn oldest_of(&self, owners: &Owners) -> Option<(&Seniority, &Arc<Route>)> {
        let queues = owners.iter().filter_map(|namespace| self.by_namespace.get(namespace));
        queues.filter_map(BTreeMap::first_key_value).min_by_key(|(age, _)| *age)
    }
}

fn user(class: &Arc<IngressOrigin>, rules: &ClassRules, field: &str) -> User {
    let by = format!("IngressClassConfig {} {field}", rules.config);
    User { owner: Arc::clone(class), field: Field::Parameters, by: Some(by.into()) }
}

fn wanted_backend(rules: &ClassRules, own_namespace: &str) -> Option<Wanted> {
    let from = rules.default_backend.as_ref()?;
    let namespace = from.namespace.as_deref().unwrap_or(own_namespace);
    Some(Wanted {
        service: Name::new(namespace, &from.service),
        port: lower::port_ref(&from.port),
        external_names: rules.external_names,
    })
}

fn secret_use(class: &Arc<IngressOrigin>, rules: &ClassRules) -> Option<SecretUse> {
    let secret = Name::clone(rules.default_certificate.as_ref()?);
    // It is for whatever has none, so there is no host that it could be wrong for.
    let hosts = Arc::default();
    Some(SecretUse { user: user(class, rules, "spec.defaultCertificate"), secret, hosts })
}
