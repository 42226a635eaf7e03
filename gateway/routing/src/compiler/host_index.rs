//! Index of all hosts: the contributions of Ingresses to each, and their conflicts.
//!
//! Not here: lookup within a host (`table`), and the Routes of an Ingress (`route_builder`).

use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::collections::btree_map;
use std::sync::Arc;

use super::precedence::Precedence;
use super::problem_delta::ProblemDeltaBuilder;
use super::route_builder::HostContribution;
use super::translation::CertificateRef;
use crate::host::HostName;
use crate::host::parent;
use crate::interner::Interner;
use crate::object::Kind;
use crate::object::Name;
use crate::object::ObjectRef;
use crate::problem::Problem;
use crate::problem::Reason;
use crate::table::FieldPath;
use crate::table::Host;
use crate::table::HostChange;
use crate::table::HostNamers;
use crate::table::HostParts;
use crate::table::HostRole;
use crate::table::MatchKey;
use crate::table::OwnerMap;
use crate::table::OwnerSet;
use crate::table::Ownership;
use crate::table::Route;

/// All hosts of served Ingresses.
#[derive(Debug, Default)]
pub(super) struct HostIndex {
    entries: BTreeMap<HostName, HostEntry>,
    /// Most hosts of a namespace share one value.
    namers: Interner<HostNamers, MIN_SWEEP>,
}

/// Number of sets of namers below which unused ones are not removed.
const MIN_SWEEP: usize = 1024;

#[derive(Debug, Default)]
struct HostEntry {
    contributions: Contributions,
    /// Conflicts found by the last rebuild.
    problems: Box<[Problem]>,
    /// The note about rules of the wildcard that do not serve this host.
    hidden: Option<Box<Problem>>,
}

/// The contributions to one host by precedence. Most hosts have one, and the smallest map allocates 11.
#[derive(Debug, Default)]
enum Contributions {
    #[default]
    None,
    One(Contribution),
    Many(BTreeMap<Precedence, HostContribution>),
}

#[derive(Debug)]
struct Contribution {
    ingress: Precedence,
    host: HostContribution,
}

/// A borrowed [`Contribution`].
#[derive(Clone, Copy)]
struct ContributionRef<'a> {
    ingress: &'a Precedence,
    host: &'a HostContribution,
}

impl Contributions {
    fn insert(&mut self, ingress: Precedence, host: HostContribution) {
        *self = match std::mem::take(self) {
            Self::None => Self::One(Contribution { ingress, host }),
            Self::One(first) => Self::Many(BTreeMap::from([(first.ingress, first.host), (ingress, host)])),
            Self::Many(mut all) => {
                all.insert(ingress, host);
                Self::Many(all)
            }
        };
    }

    fn remove(&mut self, ingress: &Precedence) {
        match self {
            Self::One(known) if known.ingress == *ingress => *self = Self::None,
            Self::None | Self::One(_) => {}
            Self::Many(all) => {
                all.remove(ingress);
                if all.len() < 2 {
                    let last = all.pop_first();
                    *self =
                        last.map_or(Self::None, |(ingress, host)| Self::One(Contribution { ingress, host }));
                }
            }
        }
    }

    fn iter(&self) -> impl Iterator<Item = ContributionRef<'_>> {
        let (one, many) = match self {
            Self::None => (None, None),
            Self::One(Contribution { ingress, host }) => (Some((ingress, host)), None),
            Self::Many(all) => (None, Some(all)),
        };
        let all = one.into_iter().chain(many.into_iter().flatten());
        all.map(|(ingress, host)| ContributionRef { ingress, host })
    }

    /// Builds the host once for each set of owners, as if only they had Ingresses.
    fn build_for_owners<'a>(
        &self,
        host: &HostName,
        owners: impl Iterator<Item = &'a OwnerSet>,
    ) -> OwnerMap<Arc<Host>> {
        let mut by_namespace: BTreeMap<&str, Vec<ContributionRef<'_>>> = BTreeMap::new();
        let mut built = BTreeMap::new();
        for owners in owners {
            // Filled on demand: most hosts have no owned hosts below them.
            if by_namespace.is_empty() {
                for contribution in self.iter() {
                    let namespace = &*contribution.ingress.name.namespace;
                    by_namespace.entry(namespace).or_default().push(contribution);
                }
            }
            let owned = owners.iter().filter_map(|namespace| by_namespace.get(&**namespace)).flatten();
            let mut owned: Vec<ContributionRef<'_>> = owned.copied().collect();
            owned.sort_by_key(|contribution| contribution.ingress);
            if !owned.is_empty() {
                // The conflicts are the same as those of the host as a whole.
                let MergedHost { parts, .. } = HostMerger::merge(host, owned.into_iter());
                built.insert(Arc::clone(owners), Arc::new(Host::new(parts)));
            }
        }
        OwnerMap::new(built)
    }
}

impl HostIndex {
    pub(super) fn insert(&mut self, host: HostName, ingress: &Precedence, contribution: HostContribution) {
        self.entries.entry(host).or_default().contributions.insert(ingress.clone(), contribution);
    }

    /// Removes the contribution of an Ingress. A host without contributions stays until it is rebuilt.
    pub(super) fn remove(&mut self, host: &HostName, ingress: &Precedence) {
        if let Some(entry) = self.entries.get_mut(host) {
            entry.contributions.remove(ingress);
        }
    }

    /// Returns the Routes that Ingresses define for a host, oldest Ingress first.
    pub(super) fn candidate_routes(&self, host: &HostName) -> impl Iterator<Item = &Arc<Route>> {
        let entry = self.entries.get(host).into_iter();
        entry.flat_map(|entry| entry.contributions.iter()).flat_map(|contribution| &contribution.host.routes)
    }

    /// Rebuilds hosts from their contributions.
    pub(super) fn rebuild(
        &mut self,
        dirty: BTreeSet<HostName>,
        ownership: &Ownership,
        problem_delta: &mut ProblemDeltaBuilder,
    ) -> Vec<HostChange> {
        let mut changes = Vec::with_capacity(dirty.len());
        let below = self.below_wildcards(&dirty);
        for name in &dirty {
            let (name, Some(entry)) = (name.clone(), self.entries.get_mut(name)) else { continue };
            problem_delta.remove(std::mem::take(&mut entry.problems));
            if matches!(entry.contributions, Contributions::None) {
                problem_delta.remove(entry.hidden.take().map(|problem| *problem));
                self.entries.remove(&name);
                changes.push(HostChange { name, host: None });
                continue;
            }
            let for_owners = entry.contributions.build_for_owners(&name, ownership.owners_within(&name));
            let MergedHost { parts, problems } = HostMerger::merge(&name, entry.contributions.iter());
            problem_delta.add(problems.iter().cloned());
            entry.problems = problems.into();
            let namers = shared_namers(&mut self.namers, parts.namers);
            let host = Host::new(HostParts { for_owners, namers, ..parts });
            changes.push(HostChange { name, host: Some(Arc::new(host)) });
        }
        for name in dirty.iter().chain(below.iter().filter(|name| !dirty.contains(name))) {
            self.update_hidden(name, ownership, problem_delta);
        }
        changes
    }

    /// Returns the exact hosts below wildcards, in one pass over all hosts.
    fn below_wildcards(&self, changed: &BTreeSet<HostName>) -> Vec<HostName> {
        let is_wildcard = |host: &&HostName| matches!(host, HostName::Wildcard(_));
        let parents: BTreeSet<&str> = changed.iter().filter(is_wildcard).map(HostName::key).collect();
        if parents.is_empty() {
            return Vec::new();
        }
        let is_below = |host: &&HostName| match host {
            HostName::Exact(name) => parent(name).is_some_and(|parent| parents.contains(parent)),
            HostName::Wildcard(_) | HostName::Any => false,
        };
        self.entries.keys().filter(is_below).cloned().collect()
    }

    /// Replaces the note about rules that do not serve an exact host, because it has rules of its own.
    fn update_hidden(
        &mut self,
        host: &HostName,
        ownership: &Ownership,
        problem_delta: &mut ProblemDeltaBuilder,
    ) {
        let hidden = self.find_hidden(host, ownership);
        let Some(entry) = self.entries.get_mut(host) else { return };
        if entry.hidden.as_deref() != hidden.as_ref() {
            problem_delta.remove(entry.hidden.take().map(|problem| *problem));
            problem_delta.add(hidden.clone());
            entry.hidden = hidden.map(Box::new);
        }
    }

    /// Returns the note for an exact host that leaves paths of its wildcard without a rule.
    fn find_hidden(&self, host: &HostName, ownership: &Ownership) -> Option<Problem> {
        let HostName::Exact(name) = host else { return None };
        let wildcard = HostName::Wildcard(parent(name)?.into());
        let general = self.entries.get(&wildcard)?;
        let own = self.entries.get(host)?;
        let namer = own.contributions.iter().find(|found| found.host.role == HostRole::Routed)?;
        let serves = |path: &str| own.contributions.iter().any(|found| found.host.serves(path));
        let owner = ownership.owner_of(name);
        let may_serve =
            |ingress: &Precedence| owner.is_none_or(|owner| owner.includes(&ingress.name.namespace));
        let routes = general.contributions.iter().filter(|found| may_serve(found.ingress));
        let hidden = routes.flat_map(|found| &found.host.routes).find(|route| !serves(route.path.path()))?;
        let field = namer.host.routes.first().map(|route| route.origin.field.to_string());
        let message = format!(
            "host {host} has rules of its own, so {} of Ingress {} for {wildcard} does not serve it; if it should, add \
             that path for {host}",
            hidden.path, hidden.origin.ingress.name
        );
        Some(Problem {
            object: ObjectRef { kind: Kind::Ingress, name: namer.ingress.name.clone() },
            field: field.unwrap_or_else(|| "spec.rules".to_owned()),
            reason: Reason::WildcardHidden,
            message,
        })
    }
}

// ===== merging =====

/// Merges the contributions to one host, in the order of precedence.
#[derive(Debug)]
struct HostMerger<'a> {
    name: &'a HostName,
    role: HostRole,
    /// Namespaces and classes whose rules name the host, oldest Ingress first.
    namespaces: Vec<Arc<str>>,
    classes: Vec<Arc<str>>,
    default_route: Option<Arc<Route>>,
    /// Sorted by match precedence.
    routes: BTreeMap<MatchKey, Arc<Route>>,
    /// Of Ingresses with a rule for the host, and of others, each oldest first.
    certificates: [Vec<HostCertificate>; 2],
    class_certificate: Option<Arc<Name>>,
    problems: Vec<Problem>,
}

/// The certificate of a host, and the Ingress that names it.
#[derive(Debug)]
struct HostCertificate {
    ingress: Precedence,
    certificate: CertificateRef,
}

/// A merged host, and the conflicts of its contributions.
struct MergedHost {
    parts: HostParts,
    problems: Vec<Problem>,
}

impl<'a> HostMerger<'a> {
    fn merge<'b>(name: &'a HostName, contributions: impl Iterator<Item = ContributionRef<'b>>) -> MergedHost {
        let contributions: Vec<_> = contributions.collect();
        let is_own = |contribution: &ContributionRef<'_>| {
            contribution.host.role == HostRole::Routed && !contribution.host.is_alias
        };
        let owner = contributions.iter().find(|contribution| is_own(contribution)).map(|own| own.ingress);
        let mut merger = Self {
            name,
            role: HostRole::default(),
            namespaces: Vec::new(),
            classes: Vec::new(),
            default_route: None,
            routes: BTreeMap::new(),
            certificates: [Vec::new(), Vec::new()],
            class_certificate: None,
            problems: Vec::new(),
        };
        for contribution in contributions {
            match owner {
                Some(owner) if contribution.host.is_alias => {
                    merger.problems.push(alias_conflict(name, contribution.ingress, owner));
                }
                _ => merger.add(contribution),
            }
        }
        let secrets = merger.take_secrets();
        let parts = HostParts {
            name: name.clone(),
            role: merger.role,
            namers: Arc::new(HostNamers {
                namespaces: merger.namespaces.into(),
                classes: merger.classes.into(),
            }),
            routes: merger.routes.into_values().collect(),
            default: merger.default_route,
            tls: secrets,
            class_certificate: merger.class_certificate,
            for_owners: OwnerMap::default(),
        };
        MergedHost { parts, problems: merger.problems }
    }

    fn add(&mut self, ContributionRef { ingress, host }: ContributionRef<'_>) {
        self.role = self.role.max(host.role);
        if host.role == HostRole::Routed {
            insert_once(&mut self.namespaces, &ingress.name.namespace);
            insert_once(&mut self.classes, &host.class);
        }
        if self.class_certificate.is_none() {
            self.class_certificate.clone_from(&host.class_certificate);
        }
        for route in &host.routes {
            self.add_route(ingress, route);
        }
        let [with_rule, without_rule] = &mut self.certificates;
        let claims = if host.role == HostRole::Routed { with_rule } else { without_rule };
        claims.extend(host.certificates.iter().map(|certificate| HostCertificate {
            ingress: ingress.clone(),
            certificate: certificate.clone(),
        }));
        // The default backend of an Ingress serves the hosts of its rules. Rules without a host name none.
        let names_host = host.role == HostRole::Routed && *self.name != HostName::Any;
        if names_host && self.default_route.is_none() {
            self.default_route.clone_from(&host.default_route);
        }
    }

    fn add_route(&mut self, ingress: &Precedence, route: &Arc<Route>) {
        match self.routes.entry(route.match_key()) {
            btree_map::Entry::Vacant(slot) => {
                slot.insert(Arc::clone(route));
            }
            btree_map::Entry::Occupied(winner) => {
                self.problems.push(route_conflict(self.name, ingress, route, winner.get()));
            }
        }
    }

    /// Returns the Secrets, best first. Each that is not the first gets a Problem: it serves only in its place.
    fn take_secrets(&mut self) -> Vec<Name> {
        let mut claims = std::mem::take(&mut self.certificates).into_iter().flatten();
        let Some(winner) = claims.next() else { return Vec::new() };
        let mut secrets = vec![winner.certificate.secret.clone()];
        for claim in claims {
            if claim.certificate.secret != winner.certificate.secret {
                self.problems.push(certificate_conflict(&claim, &winner));
            }
            if !secrets.contains(&claim.certificate.secret) {
                secrets.push(claim.certificate.secret);
            }
        }
        secrets
    }
}

fn insert_once(list: &mut Vec<Arc<str>>, name: &Arc<str>) {
    if !list.contains(name) {
        list.push(Arc::clone(name));
    }
}

fn shared_namers(interner: &mut Interner<HostNamers, MIN_SWEEP>, namers: Arc<HostNamers>) -> Arc<HostNamers> {
    if let Some(known) = interner.get(&namers) {
        return Arc::clone(known);
    }
    interner.insert(Arc::clone(&namers));
    namers
}

fn route_conflict(host: &HostName, ingress: &Precedence, loser: &Route, winner: &Route) -> Problem {
    let (path, field) = (&winner.path, &winner.origin.field);
    let host = match host {
        HostName::Any => "rules without a host".to_owned(),
        HostName::Exact(_) | HostName::Wildcard(_) => format!("host {host}"),
    };
    let message = match &winner.origin.ingress.name {
        name if *name == ingress.name => {
            format!("{path} of {host} is already defined by {field} of this Ingress; remove one of them")
        }
        name => format!(
            "{path} of {host} is already defined by {field} of Ingress {name}, which takes precedence ({}); \
             remove one of them",
            ingress.loss_reason()
        ),
    };
    conflict(&ingress.name, loser.origin.field, message)
}

fn alias_conflict(host: &HostName, ingress: &Precedence, owner: &Precedence) -> Problem {
    let message = format!(
        "the class handler adds host {host} to this Ingress, but a rule of Ingress {} names it; the added routes are left \
         out",
        owner.name
    );
    Problem {
        object: ObjectRef { kind: Kind::Ingress, name: ingress.name.clone() },
        field: String::new(),
        reason: Reason::Conflict,
        message,
    }
}

fn certificate_conflict(loser: &HostCertificate, winner: &HostCertificate) -> Problem {
    let CertificateRef { host, secret, field } = &winner.certificate;
    let by = if winner.ingress.name == loser.ingress.name {
        "this Ingress".to_owned()
    } else {
        format!(
            "Ingress {}, which takes precedence (with a rule for the host, then {})",
            winner.ingress.name,
            loser.ingress.loss_reason()
        )
    };
    let message = format!(
        "{host} uses the certificate in Secret {secret}, by {field} of {by}; this one serves only while that one is not \
         usable, so use one Secret for the host"
    );
    conflict(&loser.ingress.name, loser.certificate.field, message)
}

fn conflict(ingress: &Name, field: FieldPath, message: String) -> Problem {
    Problem {
        object: ObjectRef { kind: Kind::Ingress, name: ingress.clone() },
        field: field.to_string(),
        reason: Reason::Conflict,
        message,
    }
}
