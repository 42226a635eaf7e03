//! Decides when waiting ends, from the statuses that all gateways report in each poll. Pure.

use std::time::{Duration, Instant};

use super::{IngressState, IngressStatus};

/// Time for which Problems must stay the same before they count. `kubectl apply` may write a Service after the Ingress
/// that names it, and the API server reports each kind on a separate watch.
pub(super) const SETTLE_TIME: Duration = Duration::from_secs(1);

/// The result of waiting.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// All gateways serve the Ingress.
    Live,
    /// All gateways have the Ingress, and at least one refuses it or a part of it.
    Refused(Vec<IngressStatus>),
}

/// The polls up to now.
#[derive(Debug, Default)]
pub(super) struct PollHistory {
    /// The refusing statuses, and since when they have been the same while all gateways had the Ingress.
    refused: Option<(Instant, Vec<IngressStatus>)>,
}

impl PollHistory {
    /// Adds one poll: the status of each gateway. Returns the verdict once it is certain. No gateway, no verdict.
    pub(super) fn add(&mut self, now: Instant, statuses: &[IngressStatus]) -> Option<Verdict> {
        let are_all = |state| statuses.iter().all(|status| status.state == state);
        let has_ingress =
            |status: &IngressStatus| matches!(status.state, IngressState::Live | IngressState::Refused);
        if statuses.is_empty() || !statuses.iter().all(has_ingress) {
            self.refused = None;
            return None;
        }
        if are_all(IngressState::Live) {
            return Some(Verdict::Live);
        }
        let refusing: Vec<_> =
            statuses.iter().filter(|status| status.state == IngressState::Refused).cloned().collect();
        match &self.refused {
            Some((since, before)) if is_equal(before, &refusing) => {
                (now.duration_since(*since) >= SETTLE_TIME).then_some(Verdict::Refused(refusing))
            }
            _ => {
                self.refused = Some((now, refusing));
                None
            }
        }
    }

    /// Returns the verdict at the timeout: refused, if the last poll was.
    pub(super) fn finish(self) -> Option<Verdict> {
        self.refused.map(|(_, refusing)| Verdict::Refused(refusing))
    }
}

/// Returns true if two polls are equal except for the generation, which also counts changes of other objects.
fn is_equal(before: &[IngressStatus], now: &[IngressStatus]) -> bool {
    let without_generation = |status: &IngressStatus| IngressStatus { generation: 0, ..status.clone() };
    before.iter().map(without_generation).eq(now.iter().map(without_generation))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn status(state: IngressState, why: &str) -> IngressStatus {
        let why = Some(why.to_owned());
        IngressStatus { state, resource_version: None, generation: 1, why, problems: Vec::new() }
    }

    #[test]
    fn live_counts_at_once_if_all_agree() {
        let (live, older) = (status(IngressState::Live, ""), status(IngressState::Older, ""));
        let now = Instant::now();
        assert_eq!(PollHistory::default().add(now, &[]), None, "no gateway");
        assert_eq!(PollHistory::default().add(now, &[live.clone(), older]), None);
        assert_eq!(PollHistory::default().add(now, &[live.clone(), live]), Some(Verdict::Live));
    }

    #[test]
    fn problems_count_after_the_settle_time() {
        let live = status(IngressState::Live, "");
        let (one, other) =
            (status(IngressState::Refused, "no Service"), status(IngressState::Refused, "no port"));
        let start = Instant::now();
        let mut history = PollHistory::default();
        assert_eq!(history.add(start, std::slice::from_ref(&one)), None);
        assert_eq!(
            history.add(start + SETTLE_TIME / 2, std::slice::from_ref(&other)),
            None,
            "a change starts the time again"
        );
        assert_eq!(history.add(start + SETTLE_TIME, std::slice::from_ref(&other)), None);
        let later = IngressStatus { generation: 7, ..other.clone() };
        let refused = Verdict::Refused(vec![later.clone()]);
        assert_eq!(history.add(start + SETTLE_TIME * 3 / 2, &[live, later]), Some(refused));
        assert_eq!(history.finish(), Some(Verdict::Refused(vec![other])));
    }

    #[test]
    fn gateway_without_the_ingress_delays_the_verdict() {
        let refused = status(IngressState::Refused, "no Service");
        let start = Instant::now();
        let mut history = PollHistory::default();
        assert_eq!(history.add(start, std::slice::from_ref(&refused)), None);
        assert_eq!(
            history.add(start + SETTLE_TIME, &[refused.clone(), status(IngressState::Missing, "")]),
            None
        );
        assert_eq!(
            history.add(start + SETTLE_TIME * 2, &[refused]),
            None,
            "an interruption starts the time again"
        );
        let mut history = PollHistory::default();
        assert_eq!(history.add(start, &[status(IngressState::Missing, "")]), None);
        assert_eq!(history.finish(), None);
    }
}
