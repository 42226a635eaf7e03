//! Hosts: which Ingresses speak about each, and who wins where two of them disagree.
//!
//! Not here: the tree of a host (`table`), and what an Ingress says (`lower`).

use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::collections::btree_map;
use std::sync::Arc;

use super::Entry;
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
use crate::table::Host;
use crate::table::HostParts;
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
    claimants: BTreeSet<Seniority>,
    /// The conflicts of the last rebuild.
    problems: Vec<Problem>,
}

impl Hosts {
    pub(super) fn join(&mut self, host: &HostName, ingress: &Seniority) {
        self.entries.entry(host.clone()).or_default().claimants.insert(ingress.clone());
    }

    /// The Ingresses that speak about a host, oldest first.
    pub(super) fn claimants(&self, host: &HostName) -> impl Iterator<Item = &Seniority> {
        self.entries.get(host).into_iter().flat_map(|entry| &entry.claimants)
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
        ingresses: &BTreeMap<Name, Entry>,
        ledger: &mut Ledger,
    ) -> Vec<(HostName, Option<Arc<Host>>)> {
        let mut rebuilt = Vec::with_capacity(dirty.len());
        for host in dirty {
            let Some(entry) = self.entries.get_mut(&host) else { continue };
            ledger.remove(std::mem::take(&mut entry.problems));
            if entry.claimants.is_empty() {
                self.entries.remove(&host);
                rebuilt.push((host, None));
                continue;
            }
            let mut merge = Merge::default();
            for claimant in &entry.claimants {
                let Some(known) = ingresses.get(&claimant.name) else { continue };
                if let Some(claims) = known.lowered.hosts.get(&host) {
                    merge.take(claimant, claims);
                    merge.take_default(&host, claims, known.lowered.default.as_ref());
                }
            }
            ledger.add(merge.problems.iter().cloned());
            entry.problems = merge.problems;
            let built = Host::new(HostParts {
                name: host.clone(),
                standing: merge.standing,
                routes: merge.routes.into_values().collect(),
                default: merge.default,
                tls: merge.tls.map(|(_, claim)| claim.secret),
            });
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
    problems: Vec<Problem>,
}

impl Merge {
    /// The default backend of whoever names the host counts for it. Rules without a host name none.
    fn take_default(&mut self, host: &HostName, claims: &HostClaims, default: Option<&Arc<Route>>) {
        if claims.standing == Standing::Named && *host != HostName::Any && self.default.is_none() {
            self.default = default.cloned();
        }
    }

    fn take(&mut self, owner: &Seniority, claims: &HostClaims) {
        self.standing = self.standing.max(claims.standing);
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
    conflict(&owner.name, &loser.origin.field, message)
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
    conflict(&owner.name, &loser.field, message)
}

fn conflict(owner: &Name, field: &str, message: String) -> Problem {
    Problem {
        object: ObjectRef { kind: Kind::Ingress, name: owner.clone() },
        field: field.to_owned(),
        reason: Reason::Conflict,
        message,
    }
}
