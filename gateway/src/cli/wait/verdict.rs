//! When there is nothing more to wait for: a decision over what gateways said, one look after another. Pure.

use std::time::{Duration, Instant};

use super::{Standing, State};

/// How long Problems must stay as they are before they count. `kubectl apply` writes a Service after the Ingress that
/// names it, and the API server tells of each kind on a watch of its own: what is missing may be on its way.
pub(super) const SETTLING: Duration = Duration::from_secs(1);

/// What came of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// All gateways serve it.
    Live,
    /// At least one refuses it or a part of it, and none is still to hear of it.
    Refused(Vec<Standing>),
}

/// The looks so far.
#[derive(Debug, Default)]
pub(super) struct Looks {
    /// Since when all have known it and the same has been wrong with it.
    refused: Option<(Instant, Vec<Standing>)>,
}

impl Looks {
    /// Takes in what each gateway says; none is there: nothing can be said. Gives the verdict once it is certain.
    pub(super) fn take(&mut self, now: Instant, standings: &[Standing]) -> Option<Verdict> {
        let are_all = |state| standings.iter().all(|standing| standing.state == state);
        let knows = |standing: &Standing| matches!(standing.state, State::Live | State::Refused);
        if standings.is_empty() || !standings.iter().all(knows) {
            self.refused = None;
            return None;
        }
        if are_all(State::Live) {
            return Some(Verdict::Live);
        }
        let refusing: Vec<_> =
            standings.iter().filter(|standing| standing.state == State::Refused).cloned().collect();
        match &self.refused {
            Some((since, before)) if is_same(before, &refusing) => {
                (now.duration_since(*since) >= SETTLING).then_some(Verdict::Refused(refusing))
            }
            _ => {
                self.refused = Some((now, refusing));
                None
            }
        }
    }

    /// No time is left. What was refused until now is refused.
    pub(super) fn close(self) -> Option<Verdict> {
        self.refused.map(|(_, refusing)| Verdict::Refused(refusing))
    }
}

/// Whether the same is wrong. The generation goes up with everybody's changes.
fn is_same(before: &[Standing], now: &[Standing]) -> bool {
    let what = |standing: &Standing| Standing { generation: 0, ..standing.clone() };
    before.iter().map(what).eq(now.iter().map(what))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn standing(state: State, why: &str) -> Standing {
        let why = Some(why.to_owned());
        Standing { state, resource_version: None, generation: 1, why, problems: Vec::new() }
    }

    #[test]
    fn live_counts_at_once_if_all_say_so() {
        let (live, older) = (standing(State::Live, ""), standing(State::Older, ""));
        let now = Instant::now();
        assert_eq!(Looks::default().take(now, &[]), None, "nobody was asked");
        assert_eq!(Looks::default().take(now, &[live.clone(), older]), None);
        assert_eq!(Looks::default().take(now, &[live.clone(), live]), Some(Verdict::Live));
    }

    #[test]
    fn problems_count_when_they_have_settled() {
        let live = standing(State::Live, "");
        let (one, other) = (standing(State::Refused, "no Service"), standing(State::Refused, "no port"));
        let start = Instant::now();
        let mut looks = Looks::default();
        assert_eq!(looks.take(start, std::slice::from_ref(&one)), None);
        assert_eq!(
            looks.take(start + SETTLING / 2, std::slice::from_ref(&other)),
            None,
            "another one begins anew"
        );
        assert_eq!(looks.take(start + SETTLING, std::slice::from_ref(&other)), None);
        let later = Standing { generation: 7, ..other.clone() };
        let refused = Verdict::Refused(vec![later.clone()]);
        assert_eq!(looks.take(start + SETTLING * 3 / 2, &[live, later]), Some(refused));
        assert_eq!(looks.close(), Some(Verdict::Refused(vec![other])));
    }

    #[test]
    fn one_that_has_not_heard_of_it_keeps_all_waiting() {
        let refused = standing(State::Refused, "no Service");
        let start = Instant::now();
        let mut looks = Looks::default();
        assert_eq!(looks.take(start, std::slice::from_ref(&refused)), None);
        assert_eq!(looks.take(start + SETTLING, &[refused.clone(), standing(State::Missing, "")]), None);
        assert_eq!(
            looks.take(start + SETTLING * 2, &[refused]),
            None,
            "settled is what stands without a break"
        );
        let mut looks = Looks::default();
        assert_eq!(looks.take(start, &[standing(State::Missing, "")]), None);
        assert_eq!(looks.close(), None);
    }
}
