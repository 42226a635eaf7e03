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
use crate::object::Kind;
use crate::object::Name;
use crate::object::ObjectRef;
use crate::problem::Problem;
use crate::problem::Reason;
use crate::table::FieldPath;
use crate::table::Host;
use crate::table::HostChange;
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
}

#[derive(Debug, Default)]
struct HostEntry {
    contributions: Contributions,
    /// Conflicts found by the last rebuild.
    problems: Box<[Problem]>,
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
        for name in dirty {
            let Some(entry) = self.entries.get_mut(&name) else { continue };
            problem_delta.remove(std::mem::take(&mut entry.problems));
            if matches!(entry.contributions, Contributions::None) {
                self.entries.remove(&name);
                changes.push(HostChange { name, host: None });
                continue;
            }
            let for_owners = entry.contributions.build_for_owners(&name, ownership.owners_within(&name));
            let MergedHost { parts, problems } = HostMerger::merge(&name, entry.contributions.iter());
            problem_delta.add(problems.iter().cloned());
            entry.problems = problems.into();
            let host = Host::new(HostParts { for_owners, ..parts });
            changes.push(HostChange { name, host: Some(Arc::new(host)) });
        }
        changes
    }
}

// ===== merging =====

/// Merges the contributions to one host, in the order of precedence.
#[derive(Debug)]
struct HostMerger<'a> {
    name: &'a HostName,
    role: HostRole,
    default_route: Option<Arc<Route>>,
    /// Sorted by match precedence.
    routes: BTreeMap<MatchKey, Arc<Route>>,
    certificate: Option<HostCertificate>,
    class_certificate: Option<Arc<Name>>,
    problems: Vec<Problem>,
}

/// The certificate of a host, and the Ingress that names it.
#[derive(Debug)]
struct HostCertificate {
    ingress: Name,
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
            default_route: None,
            routes: BTreeMap::new(),
            certificate: None,
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
        let parts = HostParts {
            name: name.clone(),
            role: merger.role,
            routes: merger.routes.into_values().collect(),
            default: merger.default_route,
            tls: merger.certificate.map(|host| host.certificate.secret),
            class_certificate: merger.class_certificate,
            for_owners: OwnerMap::default(),
        };
        MergedHost { parts, problems: merger.problems }
    }

    fn add(&mut self, ContributionRef { ingress, host }: ContributionRef<'_>) {
        self.role = self.role.max(host.role);
        if self.class_certificate.is_none() {
            self.class_certificate.clone_from(&host.class_certificate);
        }
        for route in &host.routes {
            self.add_route(ingress, route);
        }
        for certificate in &host.certificates {
            self.add_certificate(ingress, certificate);
        }
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

    fn add_certificate(&mut self, ingress: &Precedence, certificate: &CertificateRef) {
        match &self.certificate {
            None => {
                let (ingress, certificate) = (ingress.name.clone(), certificate.clone());
                self.certificate = Some(HostCertificate { ingress, certificate });
            }
            Some(winner) if winner.certificate.secret != certificate.secret => {
                self.problems.push(certificate_conflict(ingress, certificate, winner));
            }
            Some(_) => {}
        }
    }
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

fn certificate_conflict(ingress: &Precedence, loser: &CertificateRef, winner: &HostCertificate) -> Problem {
    let CertificateRef { host, secret, field } = &winner.certificate;
    let message = if winner.ingress == ingress.name {
        format!(
            "{host} already uses the certificate in Secret {secret}, by {field} of this Ingress; use one Secret for \
             the host"
        )
    } else {
        format!(
            "{host} already uses the certificate in Secret {secret}, by {field} of Ingress {}, which takes precedence \
             ({}); use one Secret for the host",
            winner.ingress,
            ingress.loss_reason()
        )
    };
    conflict(&ingress.name, loser.field, message)
}

fn conflict(ingress: &Name, field: FieldPath, message: String) -> Problem {
    Problem {
        object: ObjectRef { kind: Kind::Ingress, name: ingress.clone() },
        field: field.to_string(),
        reason: Reason::Conflict,
        message,
    }
}
