//! Which Events are due: a Warning for each Problem, and one when an Ingress is live. Pure.
//!
//! A Problem that is mended within [`SETTLE_TIME`] causes no Event. One that comes back is counted in its Event. An object
//! with many Problems gets one Event for the rest. Not here: the requests (`writer`).

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use routing::Problem;
use routing::object::ObjectRef;
use sha2::{Digest as _, Sha256};
use tokio::time::Instant;

use crate::control::source::identity::Uid;

/// Time for which a Problem must last. `kubectl apply` may write a Service after the Ingress that names it.
const SETTLE_TIME: Duration = Duration::from_secs(2);

/// Minimum time between two writes of one Event. A Problem that comes and goes is counted once in it.
const REPEAT_INTERVAL: Duration = Duration::from_secs(5 * 60);

/// Interval at which the Event of a lasting Problem is written again. The API server deletes Events after an hour.
const REFRESH_INTERVAL: Duration = Duration::from_secs(30 * 60);

/// Delay before a failed write is tried again, and the number of tries.
const FAILURE_DELAY: Duration = Duration::from_secs(10);
const MAX_FAILURES: u32 = 3;

/// Maximum Events of the Problems of one object. The rest share one.
const MAX_EVENTS_PER_OBJECT: usize = 8;

/// Maximum Events that are remembered after their Problem was mended.
const MAX_REMEMBERED: usize = 4096;

/// Age at which a replica that is not the leader forgets what is due: the leader has written it.
const HANDOVER_TIME: Duration = Duration::from_secs(60);

/// Reason of the Event about further Problems.
const MORE_PROBLEMS: &str = "MoreProblems";

/// Reason of the Event of a live Ingress.
const LIVE: &str = "Live";

/// `type` of an Event.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum EventType {
    /// Nothing is wrong.
    Normal,
    /// A Problem.
    Warning,
}

impl EventType {
    /// Returns the text in the API.
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::Normal => "Normal",
            Self::Warning => "Warning",
        }
    }
}

/// The parts of an Event that do not change when it is repeated.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct EventContent {
    pub(super) regarding: ObjectRef,
    pub(super) event_type: EventType,
    pub(super) reason: String,
    pub(super) note: String,
}

impl EventContent {
    /// Returns the Event of a Problem.
    pub(super) fn of_problem(problem: &Problem) -> Self {
        let separator = if problem.field.is_empty() { "" } else { ": " };
        Self {
            regarding: problem.object.clone(),
            event_type: EventType::Warning,
            reason: problem.reason.to_string(),
            note: format!("{}{separator}{}", problem.field, problem.message),
        }
    }

    /// Returns the Event of an Ingress that is live.
    pub(super) fn of_live(ingress: ObjectRef) -> Self {
        let note = "all hosts and paths of the Ingress are served".to_owned();
        Self { regarding: ingress, event_type: EventType::Normal, reason: LIVE.to_owned(), note }
    }

    fn of_more(object: ObjectRef) -> Self {
        let note = format!(
            "the object has more than {MAX_EVENTS_PER_OBJECT} Problems; gateway check and the admin page /problems show all"
        );
        Self { regarding: object, event_type: EventType::Warning, reason: MORE_PROBLEMS.to_owned(), note }
    }

    /// Returns the name of the Event. It is the same for all replicas, so that a new leader does not repeat an Event.
    pub(super) fn name(&self, uid: Option<Uid>) -> String {
        let mut hash = Sha256::new();
        for part in [&*uid.map(|uid| uid.to_string()).unwrap_or_default(), &self.reason, &self.note] {
            hash.update(part);
            hash.update([0]);
        }
        let digest: String = hash.finalize().iter().take(8).map(|byte| format!("{byte:02x}")).collect();
        // The name of an object has up to 253 characters, and that of an Event too.
        let object: String = self.regarding.name.name.chars().take(236).collect();
        format!("{}.{digest}", object.trim_end_matches(['.', '-']))
    }
}

/// A write of one Event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct EventWrite {
    pub(super) content: Arc<EventContent>,
    /// How often it has occurred, at least 1.
    pub(super) count: u32,
}

#[derive(Debug)]
struct EventEntry {
    is_present: bool,
    count: u32,
    sent_at: Option<Instant>,
    failures: u32,
    due_at: Option<Instant>,
}

/// All Events that are due or were written.
#[derive(Debug, Default)]
pub(super) struct EventQueue {
    entries: BTreeMap<Arc<EventContent>, EventEntry>,
    due: BTreeSet<(Instant, Arc<EventContent>)>,
    /// Written Events of the present Problems of each object.
    written: BTreeMap<ObjectRef, usize>,
    /// Number of entries above which some are forgotten.
    prune_above: usize,
}

impl EventQueue {
    /// Adds an occurrence.
    pub(super) fn add(&mut self, content: EventContent, now: Instant) {
        let content = Arc::new(content);
        let entry = self.entries.entry(Arc::clone(&content)).or_insert(EventEntry {
            is_present: false,
            count: 0,
            sent_at: None,
            failures: 0,
            due_at: None,
        });
        if entry.is_present {
            return;
        }
        entry.is_present = true;
        entry.count = entry.count.saturating_add(1);
        let was_sent = entry.sent_at.is_some();
        let repeated = entry.sent_at.map(|sent| sent + REPEAT_INTERVAL);
        let due = repeated.map_or(now + SETTLE_TIME, |repeated| repeated.max(now + SETTLE_TIME));
        self.set_due(&content, Some(due));
        if was_sent {
            self.count_written(&content.regarding, true);
        }
        self.prune();
    }

    /// Ends an occurrence. What is not written yet never is.
    pub(super) fn remove(&mut self, content: &EventContent) {
        let Some((content, entry)) = self.entries.get_key_value(content) else { return };
        let (content, was_sent) = (Arc::clone(content), entry.sent_at.is_some());
        self.set_due(&content, None);
        if was_sent {
            self.count_written(&content.regarding, false);
        }
        match self.entries.get_mut(&content) {
            Some(entry) if was_sent => entry.is_present = false,
            _ => drop(self.entries.remove(&content)),
        }
    }

    /// Returns the next write that is due.
    pub(super) fn next(&mut self, now: Instant) -> Option<EventWrite> {
        while let Some((at, content)) = self.due.first().cloned() {
            if at > now {
                return None;
            }
            self.set_due(&content, None);
            let Some(entry) = self.entries.get_mut(&content) else { continue };
            let is_first = entry.sent_at.is_none();
            let has_limit = content.event_type == EventType::Warning && content.reason != MORE_PROBLEMS;
            let written = self.written.get(&content.regarding).copied().unwrap_or_default();
            if is_first && has_limit && written >= MAX_EVENTS_PER_OBJECT {
                let more = EventContent::of_more(content.regarding.clone());
                if !self.entries.contains_key(&more) {
                    self.add(more, now);
                }
                continue;
            }
            entry.sent_at = Some(now);
            let count = entry.count;
            if is_first {
                self.count_written(&content.regarding, true);
            }
            return Some(EventWrite { content, count });
        }
        None
    }

    /// Returns when the next write is due.
    pub(super) fn next_due_at(&self) -> Option<Instant> {
        self.due.first().map(|(at, _)| *at)
    }

    /// Records that an Event was written. That of a lasting Problem is due again later.
    pub(super) fn on_written(&mut self, content: &Arc<EventContent>, now: Instant) {
        let Some(entry) = self.entries.get_mut(content) else { return };
        entry.failures = 0;
        if entry.is_present && content.event_type == EventType::Warning && entry.due_at.is_none() {
            entry.count = entry.count.saturating_add(1);
            self.set_due(content, Some(now + REFRESH_INTERVAL));
        }
    }

    /// Records that a write failed. It is tried again some times.
    pub(super) fn on_failed(&mut self, content: &Arc<EventContent>, now: Instant) {
        let Some(entry) = self.entries.get_mut(content) else { return };
        entry.failures += 1;
        if entry.failures < MAX_FAILURES {
            self.set_due(content, Some(now + FAILURE_DELAY));
        }
    }

    /// Forgets what has been due for some time: another replica is the leader.
    pub(super) fn skip_old(&mut self, now: Instant) {
        while let Some((at, content)) = self.due.first().cloned() {
            if at + HANDOVER_TIME > now {
                return;
            }
            self.set_due(&content, None);
            if let Some(entry) = self.entries.get_mut(&content)
                && entry.sent_at.replace(now).is_none()
            {
                self.count_written(&content.regarding, true);
            }
        }
    }

    fn set_due(&mut self, content: &Arc<EventContent>, at: Option<Instant>) {
        let Some(entry) = self.entries.get_mut(content) else { return };
        if let Some(before) = std::mem::replace(&mut entry.due_at, at) {
            self.due.remove(&(before, Arc::clone(content)));
        }
        if let Some(at) = at {
            self.due.insert((at, Arc::clone(content)));
        }
    }

    fn count_written(&mut self, object: &ObjectRef, is_added: bool) {
        let count = self.written.entry(object.clone()).or_default();
        *count = if is_added { count.saturating_add(1) } else { count.saturating_sub(1) };
        if *count == 0 {
            self.written.remove(object);
        }
    }

    /// Forgets mended Problems and live Ingresses if there are too many of them. They are counted from 1 if they come back.
    fn prune(&mut self) {
        if self.entries.len() <= self.prune_above.max(MAX_REMEMBERED) {
            return;
        }
        self.entries.retain(|content, entry| {
            let is_done = content.event_type == EventType::Normal && entry.sent_at.is_some();
            entry.due_at.is_some() || (entry.is_present && !is_done)
        });
        self.prune_above = 2 * self.entries.len();
    }
}

#[cfg(test)]
mod tests {
    use routing::Reason;
    use routing::object::{Kind, Name};

    use super::*;

    fn object() -> ObjectRef {
        ObjectRef { kind: Kind::Ingress, name: Name::new("shop", "web") }
    }

    fn problem(message: &str) -> EventContent {
        EventContent::of_problem(&Problem {
            object: object(),
            field: "spec.rules[0].host".to_owned(),
            reason: Reason::InvalidHost,
            message: message.to_owned(),
        })
    }

    /// Takes all writes that are due, as notes and counts.
    fn writes(queue: &mut EventQueue, now: Instant) -> Vec<(String, u32)> {
        let mut found = Vec::new();
        while let Some(EventWrite { content, count }) = queue.next(now) {
            queue.on_written(&content, now);
            found.push((content.note.clone(), count));
        }
        found
    }

    fn note(message: &str) -> String {
        format!("spec.rules[0].host: {message}")
    }

    #[test]
    fn short_problem_causes_no_event() {
        let (mut queue, start) = (EventQueue::default(), Instant::now());
        queue.add(problem("a"), start);
        queue.add(problem("b"), start);
        assert_eq!(writes(&mut queue, start + SETTLE_TIME / 2), []);
        queue.remove(&problem("a"));
        assert_eq!(queue.next_due_at(), Some(start + SETTLE_TIME));
        assert_eq!(writes(&mut queue, start + SETTLE_TIME), [(note("b"), 1)]);
    }

    #[test]
    fn recurring_problem_is_counted_in_one_event() {
        let (mut queue, start) = (EventQueue::default(), Instant::now());
        queue.add(problem("a"), start);
        let first = start + SETTLE_TIME;
        assert_eq!(writes(&mut queue, first), [(note("a"), 1)]);
        for _ in 0..3 {
            queue.remove(&problem("a"));
            queue.add(problem("a"), first);
        }
        assert_eq!(writes(&mut queue, first + REPEAT_INTERVAL / 2), []);
        let found = writes(&mut queue, first + REPEAT_INTERVAL);
        assert!(matches!(&found[..], [(_, count)] if *count > 3), "{found:?}");
    }

    #[test]
    fn lasting_problem_is_written_again_before_its_event_expires() {
        let (mut queue, start) = (EventQueue::default(), Instant::now());
        queue.add(problem("a"), start);
        queue.add(EventContent::of_live(object()), start);
        assert_eq!(writes(&mut queue, start + SETTLE_TIME).len(), 2);
        let later = start + SETTLE_TIME + REFRESH_INTERVAL;
        assert_eq!(writes(&mut queue, later), [(note("a"), 2)]);
        queue.remove(&problem("a"));
        assert_eq!(writes(&mut queue, later + REFRESH_INTERVAL), []);
    }

    #[test]
    fn many_problems_of_an_object_share_an_event() {
        let (mut queue, start) = (EventQueue::default(), Instant::now());
        for number in 0..50 {
            queue.add(problem(&number.to_string()), start);
        }
        let mut found = writes(&mut queue, start + SETTLE_TIME);
        found.extend(writes(&mut queue, start + SETTLE_TIME * 2));
        assert_eq!(found.len(), MAX_EVENTS_PER_OBJECT + 1);
        assert!(found.last().is_some_and(|(note, _)| note.contains("more than 8 Problems")), "{found:?}");
    }

    #[test]
    fn failed_write_is_tried_again_some_times() {
        let (mut queue, mut now) = (EventQueue::default(), Instant::now() + SETTLE_TIME);
        queue.add(problem("a"), now - SETTLE_TIME);
        for _ in 0..MAX_FAILURES {
            let write = queue.next(now).unwrap();
            queue.on_failed(&write.content, now);
            now += FAILURE_DELAY;
        }
        assert_eq!(queue.next(now), None);
    }

    #[test]
    fn replica_that_is_not_the_leader_keeps_only_new_events() {
        let (mut queue, start) = (EventQueue::default(), Instant::now());
        queue.add(problem("old"), start);
        queue.add(problem("new"), start + HANDOVER_TIME);
        queue.skip_old(start + SETTLE_TIME + HANDOVER_TIME);
        assert_eq!(writes(&mut queue, start + HANDOVER_TIME * 2), [(note("new"), 1)]);
    }

    #[test]
    fn names_differ_by_object_and_note_only() {
        let uid = Uid::parse("0b5f0a6c-1d2e-4f30-8a1b-0c0d0e0f1011");
        let name = problem("a").name(uid);
        assert_eq!(problem("a").name(uid), name);
        assert!(name.starts_with("web.") && name.len() == 20, "{name}");
        assert_ne!(problem("b").name(uid), name);
        assert_ne!(problem("a").name(None), name);
        let mut long = problem("a");
        long.regarding.name = Name::new("shop", &"x".repeat(253));
        assert!(long.name(uid).len() <= 253);
    }

    #[test]
    fn mended_problems_are_forgotten_when_there_are_many() {
        let (mut queue, start) = (EventQueue::default(), Instant::now());
        for number in 0..3 * MAX_REMEMBERED {
            let content = problem(&number.to_string());
            queue.add(content.clone(), start);
            writes(&mut queue, start + SETTLE_TIME);
            queue.remove(&content);
        }
        assert!(queue.entries.len() <= MAX_REMEMBERED + 1, "{}", queue.entries.len());
        assert!(queue.written.is_empty());
    }
}
