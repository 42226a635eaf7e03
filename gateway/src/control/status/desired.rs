//! Which Ingresses are live, and which need another status than they have. Pure.
//!
//! An Ingress is written when its class is served with status on, its table is live, and the addresses are known. A status
//! of ours is withdrawn when the Ingress leaves the class. Not here: the requests (`writer`) and the addresses
//! (`addresses`).

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use routing::Reporting;
use routing::object::{Name, ResourceVersion};
use tokio::time::Instant;

use super::addresses::AddressList;
use crate::control::source::identity::{Identity, PublishedAddresses, Uid};

/// Delay before a conflict is tried again. Each further one doubles it, up to [`MAX_CONFLICT_DELAY`].
const CONFLICT_DELAY: Duration = Duration::from_secs(60);

/// Maximum delay before a conflict is tried again. A change of the status by its owner ends the delay.
const MAX_CONFLICT_DELAY: Duration = Duration::from_secs(60 * 60);

/// How often another gateway may replace what this one wrote, before it counts as a conflict. Two gateways of one class
/// with different addresses would otherwise write without an end.
const MAX_OVERWRITTEN: u32 = 2;

/// A write of one status.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct StatusWrite {
    /// The Ingress.
    pub(super) name: Name,
    /// The addresses. Empty: the status is withdrawn.
    pub(super) addresses: AddressList,
}

/// The statuses that Ingresses have and should have.
#[derive(Debug, Default)]
pub(super) struct DesiredStatuses {
    ingresses: BTreeMap<Name, StatusEntry>,
    /// `None` if they are not known.
    addresses: Option<AddressList>,
    /// Ingresses that may need a write now, each once, in the order in which they became due.
    due: VecDeque<Name>,
    /// Ingresses that may need a write later, because another manager owns their status.
    delayed: BTreeSet<(Instant, Name)>,
    /// Ingresses whose status another gateway replaces again and again.
    fights: Vec<Name>,
}

#[derive(Debug, Default)]
struct StatusEntry {
    uid: Option<Uid>,
    published: Option<PublishedAddresses>,
    /// Version of the object that the last write of ours created. The watch may report older ones after it.
    written: Option<ResourceVersion>,
    /// The addresses of the last write of ours.
    written_addresses: Option<AddressList>,
    /// How often another gateway replaced what this one wrote.
    overwritten: u32,
    reporting: Option<Reporting>,
    /// Whether it is in the queue of writes.
    is_due: bool,
    /// Whether a request is under way.
    is_in_flight: bool,
    /// Whether all of it is served.
    is_live: bool,
    conflict: Option<Conflict>,
}

/// Another manager owns the status.
#[derive(Clone, Copy, Debug)]
struct Conflict {
    retry_at: Instant,
    delay: Duration,
}

impl DesiredStatuses {
    /// Sets the addresses of the gateway; `None` if they are not known. An empty list withdraws all statuses.
    pub(super) fn set_addresses(&mut self, addresses: Option<&AddressList>) {
        if self.addresses.as_ref() != addresses {
            self.addresses = addresses.cloned();
            for (name, entry) in &mut self.ingresses {
                entry.overwritten = 0;
                entry.enqueue(name, &mut self.due);
            }
        }
    }

    /// Sets the identity and status of an Ingress. A changed status ends the delay after a conflict.
    pub(super) fn set_identity(&mut self, name: &Name, identity: Identity) {
        let Identity { uid, version, published, generation: _ } = identity;
        let entry = self.ingresses.entry(name.clone()).or_default();
        entry.uid = uid;
        if version.is_some() && version < entry.written {
            return;
        }
        // Most Ingresses have the same list.
        let published = published.map(|mut published| {
            let equal = self.addresses.as_ref().filter(|addresses| **addresses == published.addresses);
            if let Some(addresses) = equal {
                published.addresses = Arc::clone(addresses);
            }
            published
        });
        if entry.published == published {
            return;
        }
        entry.published = published;
        let is_ours = entry.published.as_ref().is_some_and(|published| published.is_ours);
        let is_fight = is_ours && entry.written.is_some() && entry.needed(self.addresses.as_ref()).is_some();
        entry.overwritten = if is_fight { entry.overwritten.saturating_add(1) } else { entry.overwritten };
        if is_fight && entry.overwritten > MAX_OVERWRITTEN {
            self.fights.push(name.clone());
        } else {
            entry.conflict = None;
            entry.enqueue(name, &mut self.due);
        }
    }

    /// Sets the reports about an Ingress; `None` if it belongs to another controller. Without an identity, the Ingress was
    /// deleted.
    pub(super) fn set_reporting(&mut self, name: &Name, reporting: Option<Reporting>) {
        let Some(entry) = self.ingresses.get_mut(name) else { return };
        if entry.reporting != reporting {
            entry.reporting = reporting;
            entry.enqueue(name, &mut self.due);
        }
    }

    /// Forgets a deleted Ingress.
    pub(super) fn remove(&mut self, name: &Name) {
        self.ingresses.remove(name);
    }

    /// Sets whether all of an Ingress is served. Returns true if that changed.
    pub(super) fn set_live(&mut self, name: &Name, is_live: bool) -> bool {
        let Some(entry) = self.ingresses.get_mut(name) else { return false };
        std::mem::replace(&mut entry.is_live, is_live) != is_live
    }

    /// Returns the uid of an Ingress, if it is known.
    pub(super) fn uid(&self, name: &Name) -> Option<Uid> {
        self.ingresses.get(name).and_then(|entry| entry.uid)
    }

    /// Returns the reports about an Ingress.
    pub(super) fn reporting(&self, name: &Name) -> Option<Reporting> {
        self.ingresses.get(name).and_then(|entry| entry.reporting)
    }

    /// Returns true if a status with addresses must be written for an Ingress without one.
    pub(super) fn is_first_write(&self, name: &Name) -> bool {
        let Some(entry) = self.ingresses.get(name) else { return false };
        let has_addresses = self.addresses.as_ref().is_some_and(|addresses| !addresses.is_empty());
        has_addresses && entry.wants_status() && entry.published.is_none()
    }

    /// Returns the next write, and marks it as in flight.
    pub(super) fn next(&mut self, now: Instant) -> Option<StatusWrite> {
        while let Some(first) = self.delayed.first().filter(|(at, _)| *at <= now).cloned() {
            self.delayed.remove(&first);
            if let Some(entry) = self.ingresses.get_mut(&first.1) {
                entry.enqueue(&first.1, &mut self.due);
            }
        }
        while let Some(name) = self.due.pop_front() {
            let Some(entry) = self.ingresses.get_mut(&name) else { continue };
            entry.is_due = false;
            if entry.is_in_flight || entry.conflict.is_some_and(|conflict| conflict.retry_at > now) {
                // The end of the request, or of the delay, makes it due again.
                continue;
            }
            if let Some(addresses) = entry.needed(self.addresses.as_ref()) {
                entry.is_in_flight = true;
                return Some(StatusWrite { name, addresses });
            }
        }
        None
    }

    /// Returns true if [`Self::next`] may return a write now.
    pub(super) fn has_due(&self) -> bool {
        !self.due.is_empty()
    }

    /// Returns when the next delay ends.
    pub(super) fn next_retry_at(&self) -> Option<Instant> {
        self.delayed.first().map(|(at, _)| *at)
    }

    /// Returns the Ingresses whose status another gateway of the same kind writes too, since the last call. The caller
    /// reports a conflict for each.
    pub(super) fn take_fights(&mut self) -> Vec<Name> {
        std::mem::take(&mut self.fights)
    }

    /// Records that a status was written, as this version of the object. The watch may report it later.
    pub(super) fn on_written(&mut self, write: &StatusWrite, version: Option<ResourceVersion>) {
        let Some(entry) = self.ingresses.get_mut(&write.name) else { return };
        entry.is_in_flight = false;
        entry.conflict = None;
        entry.written = version.or(entry.written);
        let addresses = Arc::clone(&write.addresses);
        entry.written_addresses = Some(Arc::clone(&addresses));
        entry.published = (!addresses.is_empty()).then_some(PublishedAddresses { addresses, is_ours: true });
        entry.enqueue(&write.name, &mut self.due);
    }

    /// Records that another manager owns the status. It is left as it is for some time.
    pub(super) fn on_conflict(&mut self, name: &Name, now: Instant) {
        let Some(entry) = self.ingresses.get_mut(name) else { return };
        let delay =
            entry.conflict.map_or(CONFLICT_DELAY, |conflict| conflict.delay * 2).min(MAX_CONFLICT_DELAY);
        let retry_at = now + delay;
        entry.is_in_flight = false;
        entry.conflict = Some(Conflict { retry_at, delay });
        self.delayed.insert((retry_at, name.clone()));
    }

    /// Records that a request failed. It is due again at once; the caller waits.
    pub(super) fn on_failed(&mut self, name: &Name) {
        let Some(entry) = self.ingresses.get_mut(name) else { return };
        entry.is_in_flight = false;
        entry.enqueue(name, &mut self.due);
    }
}

impl StatusEntry {
    fn enqueue(&mut self, name: &Name, due: &mut VecDeque<Name>) {
        if !std::mem::replace(&mut self.is_due, true) {
            due.push_back(name.clone());
        }
    }

    fn wants_status(&self) -> bool {
        self.reporting.is_some_and(|reporting| reporting.status.is_on())
    }

    /// Returns the addresses to write; `None` if the status is as it should be, or is not ours to change.
    fn needed(&self, addresses: Option<&AddressList>) -> Option<AddressList> {
        if !self.wants_status() {
            return self.is_published_by_us(addresses).then(AddressList::default);
        }
        // An Ingress that is served keeps the addresses that it has.
        let addresses = addresses?;
        let is_needed = match &self.published {
            Some(published) if addresses.is_empty() => published.is_ours,
            Some(published) => published.addresses != *addresses,
            None => !addresses.is_empty(),
        };
        is_needed.then(|| Arc::clone(addresses))
    }

    /// Returns true if this gateway wrote the status. Another gateway of the product in the cluster writes with the same
    /// field manager, so the addresses decide.
    fn is_published_by_us(&self, addresses: Option<&AddressList>) -> bool {
        let Some(published) = self.published.as_ref().filter(|published| published.is_ours) else {
            return false;
        };
        addresses == Some(&published.addresses)
            || self.written_addresses.as_ref() == Some(&published.addresses)
    }
}

#[cfg(test)]
mod tests {
    use api::Switch;

    use super::*;

    const ON: Option<Reporting> = Some(Reporting { status: Switch::On, events: Switch::On });
    const OFF: Option<Reporting> = Some(Reporting { status: Switch::Off, events: Switch::On });
    const OURS: bool = true;
    const THEIRS: bool = false;

    fn list(addresses: &[&str]) -> AddressList {
        addresses.iter().map(|address| Arc::from(*address)).collect()
    }

    fn published(addresses: &[&str], is_ours: bool) -> Option<PublishedAddresses> {
        Some(PublishedAddresses { addresses: list(addresses), is_ours })
    }

    fn set_published(statuses: &mut DesiredStatuses, published: Option<PublishedAddresses>) {
        statuses.set_identity(&name(), Identity { published, ..Identity::default() });
    }

    fn name() -> Name {
        Name::new("shop", "web")
    }

    #[test]
    fn status_follows_class_addresses_and_owner() {
        struct Case {
            what: &'static str,
            reporting: Option<Reporting>,
            has: Option<PublishedAddresses>,
            addresses: Option<&'static [&'static str]>,
            written: Option<&'static [&'static str]>,
        }
        let lb: &[&str] = &["192.0.2.1"];
        let (known, none) = (Some(lb), Some(&[][..]));
        let case =
            |what, reporting, has, addresses, written| Case { what, reporting, has, addresses, written };
        for case in [
            case("new", ON, None, known, Some(lb)),
            case("as it should be", ON, published(lb, OURS), known, None),
            case("as it should be, by another", ON, published(lb, THEIRS), known, None),
            case("other addresses", ON, published(&["192.0.2.2"], OURS), known, Some(lb)),
            case("other addresses of another", ON, published(&["192.0.2.2"], THEIRS), known, Some(lb)),
            case("addresses unknown", ON, None, None, None),
            case("addresses not known yet", ON, published(lb, OURS), None, None),
            case("no addresses any more", ON, published(lb, OURS), none, Some(&[])),
            case("no addresses, of another", ON, published(lb, THEIRS), none, None),
            case("status off", OFF, None, known, None),
            case("status switched off", OFF, published(lb, OURS), known, Some(&[])),
            case("status off, of another", OFF, published(lb, THEIRS), known, None),
            case("left the class", None, published(lb, OURS), known, Some(&[])),
            case("left the class, addresses unknown", None, published(lb, OURS), None, None),
            case("of another gateway's class", None, published(&["192.0.2.2"], OURS), known, None),
            case("of another gateway's class, no addresses", None, published(lb, OURS), none, None),
            case("never ours", None, published(lb, THEIRS), known, None),
        ] {
            let mut statuses = DesiredStatuses::default();
            statuses.set_addresses(case.addresses.map(list).as_ref());
            set_published(&mut statuses, case.has);
            statuses.set_reporting(&name(), case.reporting);
            let write = statuses.next(Instant::now());
            assert_eq!(write.map(|write| write.addresses), case.written.map(list), "{}", case.what);
        }
    }

    #[test]
    fn written_status_is_not_written_again() {
        let (mut statuses, now) = (DesiredStatuses::default(), Instant::now());
        statuses.set_addresses(Some(&list(&["192.0.2.1"])));
        set_published(&mut statuses, None);
        statuses.set_reporting(&name(), ON);
        let write = statuses.next(now).unwrap();
        statuses.set_reporting(&name(), None);
        statuses.set_reporting(&name(), ON);
        assert_eq!(statuses.next(now), None, "a request is under way");
        statuses.on_written(&write, None);
        assert_eq!(statuses.next(now), None);
        set_published(&mut statuses, published(&["192.0.2.1"], OURS));
        assert_eq!(statuses.next(now), None, "the watch reports what was written");
        statuses.set_addresses(Some(&list(&["192.0.2.7"])));
        assert_eq!(statuses.next(now).map(|write| write.addresses), Some(list(&["192.0.2.7"])));
    }

    #[test]
    fn change_during_a_request_is_written_after_it() {
        let (mut statuses, now) = (DesiredStatuses::default(), Instant::now());
        statuses.set_addresses(Some(&list(&["192.0.2.1"])));
        set_published(&mut statuses, None);
        statuses.set_reporting(&name(), ON);
        let write = statuses.next(now).unwrap();
        statuses.set_reporting(&name(), None);
        assert_eq!(statuses.next(now), None);
        statuses.on_written(&write, None);
        assert_eq!(statuses.next(now).map(|write| write.addresses), Some(list(&[])));
    }

    #[test]
    fn conflict_is_left_and_tried_again_later() {
        let (mut statuses, start) = (DesiredStatuses::default(), Instant::now());
        statuses.set_addresses(Some(&list(&["192.0.2.1"])));
        set_published(&mut statuses, published(&["192.0.2.2"], THEIRS));
        statuses.set_reporting(&name(), ON);
        let mut now = start;
        for minutes in [1, 2, 4, 8, 16, 32, 60, 60] {
            assert!(statuses.next(now).is_some());
            statuses.on_conflict(&name(), now);
            assert_eq!(statuses.next_retry_at(), Some(now + Duration::from_secs(60 * minutes)));
            now += Duration::from_secs(60 * minutes) - Duration::from_millis(1);
            assert_eq!(statuses.next(now), None);
            now += Duration::from_millis(1);
        }
        assert!(statuses.next(now).is_some());
        statuses.on_conflict(&name(), now);
        set_published(&mut statuses, None);
        assert!(statuses.next(now).is_some(), "its owner has withdrawn");
    }

    #[test]
    fn failed_and_deleted_ingresses_are_handled() {
        let (mut statuses, now) = (DesiredStatuses::default(), Instant::now());
        statuses.set_addresses(Some(&list(&["192.0.2.1"])));
        set_published(&mut statuses, None);
        statuses.set_reporting(&name(), ON);
        let write = statuses.next(now).unwrap();
        statuses.on_failed(&name());
        assert_eq!(statuses.next(now), Some(write.clone()));
        statuses.remove(&name());
        statuses.on_written(&write, None);
        assert_eq!(statuses.next(now), None);
    }

    #[test]
    fn late_report_of_an_older_version_is_ignored() {
        let (mut statuses, now) = (DesiredStatuses::default(), Instant::now());
        let version = |text: &str| text.parse::<ResourceVersion>().ok();
        let report = |statuses: &mut DesiredStatuses, number: &str, published| {
            let identity = Identity { version: version(number), published, ..Identity::default() };
            statuses.set_identity(&name(), identity);
        };
        statuses.set_addresses(Some(&list(&["192.0.2.1"])));
        report(&mut statuses, "5", None);
        statuses.set_reporting(&name(), ON);
        let write = statuses.next(now).unwrap();
        statuses.on_written(&write, version("7"));
        report(&mut statuses, "6", None);
        assert_eq!(statuses.next(now), None);
        report(&mut statuses, "8", None);
        assert!(statuses.next(now).is_some(), "it was removed later");
    }

    #[test]
    fn fight_with_another_gateway_becomes_a_conflict() {
        let (mut statuses, now) = (DesiredStatuses::default(), Instant::now());
        statuses.set_addresses(Some(&list(&["192.0.2.1"])));
        set_published(&mut statuses, None);
        statuses.set_reporting(&name(), ON);
        let mut writes = 0;
        while let Some(write) = statuses.next(now) {
            writes += 1;
            statuses.on_written(&write, "7".parse().ok());
            set_published(&mut statuses, published(&["192.0.2.2"], OURS));
            for name in statuses.take_fights() {
                statuses.on_conflict(&name, now);
            }
            assert!(writes < 10, "the fight has no end");
        }
        assert_eq!(writes, 3);
        assert_eq!(statuses.next(now + CONFLICT_DELAY - Duration::from_secs(1)), None);
        assert!(statuses.next(now + CONFLICT_DELAY).is_some());
    }
}
