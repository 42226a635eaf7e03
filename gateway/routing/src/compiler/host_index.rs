//! Hosts: which Ingresses speak about each, and who wins where two of them disagree.
//!
//! Not here: the tree of a host (`table`), and what an Ingress says (`lower`).

use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::collections::btree_map;
use std::sync::Arc;

use super::precedence::Precedence;
use super::problem_delta::ProblemDeltaBuilder;
use super::route_builder::HostContribution;
use super::tls::CertificateRef;
use crate::host::HostName;
use crate::object::Kind;
use crate::object::Name;
use crate::object::ObjectRef;
use crate::problem::Problem;
use crate::problem::Reason;
use crate::table::FieldPath;
use crate::table::Host;
use crate::table::HostParts;
use crate::table::HostRole;
use crate::table::OwnerMap;
use crate::table::OwnerSet;
use crate::table::Ownership;
use crate::table::PathMatch;
use crate::table::Route;

/// All hosts that any of our Ingresses names.
#[derive(Debug, Default)]
pub(super) struct HostIndex {
    entries: BTreeMap<HostName, HostEntry>,
}

#[derive(Debug, Default)]
struct HostEntry {
    contributors: Contributors,
    /// The conflicts of the last rebuild.
    problems: Box<[Problem]>,
}

/// Who speaks about a host, oldest first. Most hosts have one contributor, and the smallest map has room for 11.
#[derive(Debug, Default)]
enum Contributors {
    #[default]
    None,
    One(Precedence, HostContribution),
    Many(BTreeMap<Precedence, HostContribution>),
}

impl Contributors {
    fn insert(&mut self, ingress: Precedence, claims: HostContribution) {
        *self = match std::mem::take(self) {
            Self::None => Self::One(ingress, claims),
            Self::One(first, its) => Self::Many(BTreeMap::from([(first, its), (ingress, claims)])),
            Self::Many(mut all) => {
                all.insert(ingress, claims);
                Self::Many(all)
            }
        };
    }

    fn remove(&mut self, ingress: &Precedence) {
        match self {
            Self::One(known, _) if known == ingress => *self = Self::None,
            Self::None | Self::One(..) => {}
            Self::Many(all) => {
                all.remove(ingress);
                if all.len() < 2 {
                    *self = all.pop_first().map_or(Self::None, |(last, claims)| Self::One(last, claims));
                }
            }
        }
    }

    fn iter(&self) -> impl Iterator<Item = (&Precedence, &HostContribution)> {
        let (one, many) = match self {
            Self::None => (None, None),
            Self::One(ingress, claims) => (Some((ingress, claims)), None),
            Self::Many(all) => (None, Some(all)),
        };
        one.into_iter().chain(many.into_iter().flatten())
    }

    /// The host as each of these would have it, if there were no other Ingresses.
    fn for_owners<'a>(
        &self,
        host: &HostName,
        owners: impl Iterator<Item = &'a OwnerSet>,
    ) -> OwnerMap<Arc<Host>> {
        let mut by_namespace: BTreeMap<&str, Vec<(&Precedence, &HostContribution)>> = BTreeMap::new();
        let mut built = BTreeMap::new();
        for owners in owners {
            // Most hosts have no owned ones below them and never come here.
            if by_namespace.is_empty() {
                for (contributor, claims) in self.iter() {
                    by_namespace.entry(&contributor.name.namespace).or_default().push((contributor, claims));
                }
            }
            let its = owners.iter().filter_map(|namespace| by_namespace.get(&**namespace)).flatten();
            let its: BTreeMap<&Precedence, &HostContribution> = its.copied().collect();
            if !its.is_empty() {
                // Who lost to whom was told for the host as a whole.
                let (parts, _) = HostMerger::merge(host, its.into_iter());
                built.insert(Arc::clone(owners), Arc::new(Host::new(parts)));
            }
        }
        OwnerMap::new(built)
    }
}

impl HostIndex {
    pub(super) fn insert(&mut self, host: HostName, ingress: &Precedence, claims: HostContribution) {
        self.entries.entry(host).or_default().contributors.insert(ingress.clone(), claims);
    }

    /// The Routes that Ingresses ask for under a host, oldest Ingress first.
    pub(super) fn candidate_routes(&self, host: &HostName) -> impl Iterator<Item = &Arc<Route>> {
        let claims = self.entries.get(host).into_iter().flat_map(|entry| entry.contributors.iter());
        claims.flat_map(|(_, claims)| &claims.routes)
    }

    /// The host itself stays until it is rebuilt.
    pub(super) fn remove(&mut self, host: &HostName, ingress: &Precedence) {
        if let Some(entry) = self.entries.get_mut(host) {
            entry.contributors.remove(ingress);
        }
    }

    /// Builds the given hosts anew from what the Ingresses say. `None` for those that nobody names any more.
    pub(super) fn rebuild(
        &mut self,
        dirty: BTreeSet<HostName>,
        ownership: &Ownership,
        problem_delta: &mut ProblemDeltaBuilder,
    ) -> Vec<(HostName, Option<Arc<Host>>)> {
        let mut rebuilt = Vec::with_capacity(dirty.len());
        for host in dirty {
            let Some(entry) = self.entries.get_mut(&host) else { continue };
            problem_delta.remove(std::mem::take(&mut entry.problems));
            if matches!(entry.contributors, Contributors::None) {
                self.entries.remove(&host);
                rebuilt.push((host, None));
                continue;
            }
            let for_owners = entry.contributors.for_owners(&host, ownership.owners_within(&host));
            let (parts, problems) = HostMerger::merge(&host, entry.contributors.iter());
            problem_delta.add(problems.iter().cloned());
            entry.problems = problems.into();
            let built = Host::new(HostParts { for_owners, ..parts });
            rebuilt.push((host, Some(Arc::new(built))));
        }
        rebuilt
    }
}

/// One host in the making; claims are taken oldest first.
#[derive(Debug, Default)]
struct HostMerger {
    role: HostRole,
    default: Option<Arc<Route>>,
    /// Sorted by precedence, because that is the order of `PathMatch`.
    routes: BTreeMap<PathMatch, Arc<Route>>,
    tls: Option<(Name, CertificateRef)>,
    class_certificate: Option<Arc<Name>>,
    problems: Vec<Problem>,
}

impl HostMerger {
    /// What a host is built from, and the conflicts; claims come oldest first.
    fn merge<'a>(
        host: &HostName,
        claims: impl Iterator<Item = (&'a Precedence, &'a HostContribution)>,
    ) -> (HostParts, Vec<Problem>) {
        let mut merge = Self::default();
        for (contributor, claims) in claims {
            merge.add(contributor, claims);
            merge.add_default(host, claims);
        }
        let parts = HostParts {
            name: host.clone(),
            role: merge.role,
            routes: merge.routes.into_values().collect(),
            default: merge.default,
            tls: merge.tls.map(|(_, claim)| claim.secret),
            class_certificate: merge.class_certificate,
            for_owners: OwnerMap::default(),
        };
        (parts, merge.problems)
    }

    /// The default backend of whoever names the host counts for it. Rules without a host name none.
    fn add_default(&mut self, host: &HostName, claims: &HostContribution) {
        if claims.role == HostRole::Routed && *host != HostName::Any && self.default.is_none() {
            self.default.clone_from(&claims.default);
        }
    }

    fn add(&mut self, owner: &Precedence, claims: &HostContribution) {
        self.role = self.role.max(claims.role);
        if self.class_certificate.is_none() {
            self.class_certificate.clone_from(&claims.class_certificate);
        }
        for route in &claims.routes {
            match self.routes.entry(route.path.clone()) {
                btree_map::Entry::Vacant(slot) => {
                    slot.insert(Arc::clone(route));
                }
                btree_map::Entry::Occupied(winner) => {
                    self.problems.push(route_conflict(owner, route, winner.get()));
                }
            }
        }
        for claim in &claims.tls {
            match &self.tls {
                None => self.tls = Some((owner.name.clone(), claim.clone())),
                Some((winner, first)) if first.secret != claim.secret => {
                    self.problems.push(tls_conflict(owner, claim, winner, first));
                }
                Some(_) => {}
            }
        }
    }
}

fn route_conflict(owner: &Precedence, loser: &Route, winner: &Route) -> Problem {
    let origin = &winner.origin;
    let message = match &origin.ingress.name {
        name if *name == owner.name => {
            format!("{} stands in this Ingress already, in {}", winner.path, origin.field)
        }
        name => format!(
            "{} of this host is taken by {} of Ingress {name} ({})",
            winner.path,
            origin.field,
            owner.loss_reason()
        ),
    };
    conflict(&owner.name, loser.origin.field, message)
}

fn tls_conflict(
    owner: &Precedence,
    loser: &CertificateRef,
    winner: &Name,
    first: &CertificateRef,
) -> Problem {
    let message = if *winner == owner.name {
        format!("{} has Secret {} already, by {}", first.host, first.secret, first.field)
    } else {
        format!(
            "{} has Secret {} by {} of Ingress {winner} ({})",
            first.host,
            first.secret,
            first.field,
            owner.loss_reason()
        )
    };
    conflict(&owner.name, loser.field, message)
}

fn conflict(owner: &Name, field: FieldPath, message: String) -> Problem {
    Problem {
        object: ObjectRef { kind: Kind::Ingress, name: owner.clone() },
        field: field.to_string(),
        reason: Reason::Conflict,
        message,
    }
}
