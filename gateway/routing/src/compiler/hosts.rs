//! Hosts: which Ingresses speak about each, and who wins where two of them disagree.
//!
//! Not here: the tree of a host (`table`), and what an Ingress says (`lower`).

use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::collections::btree_map;
use std::sync::Arc;

use super::ledger::Ledger;
use super::lower::HostClaims;
use super::seniority::Seniority;
use super::tls::TlsClaim;
use crate::host::HostName;
use crate::object::Kind;
use crate::object::Name;
use crate::object::ObjectRef;
use crate::problem::Problem;
use crate::problem::Reason;
use crate::table::ByOwners;
use crate::table::Field;
use crate::table::Host;
use crate::table::HostParts;
use crate::table::Owners;
use crate::table::Ownership;
use crate::table::PathMatch;
use crate::table::Route;
use crate::table::Standing;

/// All hosts that any of our Ingresses names.
#[derive(Debug, Default)]
pub(super) struct Hosts {
    entries: BTreeMap<HostName, HostEntry>,
}

#[derive(Debug, Default)]
struct HostEntry {
    claimants: Claimants,
    /// The conflicts of the last rebuild.
    problems: Box<[Problem]>,
}

/// Who speaks about a host, oldest first. Most hosts have one claimant, and the smallest map has room for 11.
#[derive(Debug, Default)]
enum Claimants {
    #[default]
    None,
    One(Seniority, HostClaims),
    Many(BTreeMap<Seniority, HostClaims>),
}

impl Claimants {
    fn insert(&mut self, ingress: Seniority, claims: HostClaims) {
        *self = match std::mem::take(self) {
            Self::None => Self::One(ingress, claims),
            Self::One(first, its) => Self::Many(BTreeMap::from([(first, its), (ingress, claims)])),
            Self::Many(mut all) => {
                all.insert(ingress, claims);
                Self::Many(all)
            }
        };
    }

    fn remove(&mut self, ingress: &Seniority) {
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

    fn iter(&self) -> impl Iterator<Item = (&Seniority, &HostClaims)> {
        let (one, many) = match self {
            Self::None => (None, None),
            Self::One(ingress, claims) => (Some((ingress, claims)), None),
            Self::Many(all) => (None, Some(all)),
        };
        one.into_iter().chain(many.into_iter().flatten())
    }

    /// The host as each of these would have it, if there were no other Ingresses.
    fn of_owners<'a>(
        &self,
        host: &HostName,
        owners: impl Iterator<Item = &'a Owners>,
    ) -> ByOwners<Arc<Host>> {
        let mut by_namespace: BTreeMap<&str, Vec<(&Seniority, &HostClaims)>> = BTreeMap::new();
        let mut built = BTreeMap::new();
        for owners in owners {
            // Most hosts have no owned ones below them and never come here.
            if by_namespace.is_empty() {
                for (claimant, claims) in self.iter() {
                    by_namespace.entry(&claimant.name.namespace).or_default().push((claimant, claims));
                }
            }
            let its = owners.iter().filter_map(|namespace| by_namespace.get(&**namespace)).flatten();
            let its: BTreeMap<&Seniority, &HostClaims> = its.copied().collect();
            if !its.is_empty() {
                // Who lost to whom was told for the host as a whole.
                let (parts, _) = Merge::of(host, its.into_iter());
                built.insert(Arc::clone(owners), Arc::new(Host::new(parts)));
            }
        }
        ByOwners::new(built)
    }
}

impl Hosts {
    pub(super) fn join(&mut self, host: HostName, ingress: &Seniority, claims: HostClaims) {
        self.entries.entry(host).or_default().claimants.insert(ingress.clone(), claims);
    }

    /// The Routes that Ingresses ask for under a host, oldest Ingress first.
    pub(super) fn claims(&self, host: &HostName) -> impl Iterator<Item = &Arc<Route>> {
        let claims = self.entries.get(host).into_iter().flat_map(|entry| entry.claimants.iter());
        claims.flat_map(|(_, claims)| &claims.routes)
    }

    /// The host itself stays until it is rebuilt.
    pub(super) fn leave(&mut self, host: &HostName, ingress: &Seniority) {
        if let Some(entry) = self.entries.get_mut(host) {
            entry.claimants.remove(ingress);
        }
    }

    /// Builds the given hosts anew from what the Ingresses say. `None` for those that nobody names any more.
    pub(super) fn rebuild(
        &mut self,
        dirty: BTreeSet<HostName>,
        ownership: &Ownership,
        ledger: &mut Ledger,
    ) -> Vec<(HostName, Option<Arc<Host>>)> {
        let mut rebuilt = Vec::with_capacity(dirty.len());
        for host in dirty {
            let Some(entry) = self.entries.get_mut(&host) else { continue };
            ledger.remove(std::mem::take(&mut entry.problems));
            if matches!(entry.claimants, Claimants::None) {
                self.entries.remove(&host);
                rebuilt.push((host, None));
                continue;
            }
            let of_owners = entry.claimants.of_owners(&host, ownership.owners_within(&host));
            let (parts, problems) = Merge::of(&host, entry.claimants.iter());
            ledger.add(problems.iter().cloned());
            entry.problems = problems.into();
            let built = Host::new(HostParts { of_owners, ..parts });
            rebuilt.push((host, Some(Arc::new(built))));
        }
        rebuilt
    }
}

/// One host in the making; claims are taken oldest first.
#[derive(Debug, Default)]
struct Merge {
    standing: Standing,
    default: Option<Arc<Route>>,
    /// Sorted by precedence, because that is the order of `PathMatch`.
    routes: BTreeMap<PathMatch, Arc<Route>>,
    tls: Option<(Name, TlsClaim)>,
    class_certificate: Option<Arc<Name>>,
    problems: Vec<Problem>,
}

impl Merge {
    /// What a host is built from, and the conflicts; claims come oldest first.
    fn of<'a>(
        host: &HostName,
        claims: impl Iterator<Item = (&'a Seniority, &'a HostClaims)>,
    ) -> (HostParts, Vec<Problem>) {
        let mut merge = Self::default();
        for (claimant, claims) in claims {
            merge.take(claimant, claims);
            merge.take_default(host, claims);
        }
        let parts = HostParts {
            name: host.clone(),
            standing: merge.standing,
            routes: merge.routes.into_values().collect(),
            default: merge.default,
            tls: merge.tls.map(|(_, claim)| claim.secret),
            class_certificate: merge.class_certificate,
            of_owners: ByOwners::default(),
        };
        (parts, merge.problems)
    }

    /// The default backend of whoever names the host counts for it. Rules without a host name none.
    fn take_default(&mut self, host: &HostName, claims: &HostClaims) {
        if claims.standing == Standing::Named && *host != HostName::Any && self.default.is_none() {
            self.default.clone_from(&claims.default);
        }
    }

    fn take(&mut self, owner: &Seniority, claims: &HostClaims) {
        self.standing = self.standing.max(claims.standing);
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

fn route_conflict(owner: &Seniority, loser: &Route, winner: &Route) -> Problem {
    let origin = &winner.origin;
    let message = match &origin.ingress.name {
        name if *name == owner.name => {
            format!("{} stands in this Ingress already, in {}", winner.path, origin.field)
        }
        name => format!(
            "{} of this host is taken by {} of Ingress {name} ({})",
            winner.path,
            origin.field,
            owner.why_last()
        ),
    };
    conflict(&owner.name, loser.origin.field, message)
}

fn tls_conflict(owner: &Seniority, loser: &TlsClaim, winner: &Name, first: &TlsClaim) -> Problem {
    let message = if *winner == owner.name {
        format!("{} has Secret {} already, by {}", first.host, first.secret, first.field)
    } else {
        format!(
            "{} has Secret {} by {} of Ingress {winner} ({})",
            first.host,
            first.secret,
            first.field,
            owner.why_last()
        )
    };
    conflict(&owner.name, loser.field, message)
}

fn conflict(owner: &Name, field: Field, message: String) -> Problem {
    Problem {
        object: ObjectRef { kind: Kind::Ingress, name: owner.clone() },
        field: field.to_string(),
        reason: Reason::Conflict,
        message,
    }
}
