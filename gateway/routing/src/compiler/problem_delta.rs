//! Which Problems came and which went, whatever the order in which they are reported.

use std::cmp::Ordering;
use std::collections::BTreeMap;

use crate::problem::Problem;

/// The Problems that an apply changed; both lists are sorted, and no Problem is in both.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ProblemDelta {
    /// Problems that were not there before.
    pub added: Vec<Problem>,
    /// Problems that are not there any more.
    pub removed: Vec<Problem>,
}

/// Counts reports and withdrawals, so that a Problem withdrawn and reported again does not show.
#[derive(Debug, Default)]
pub(super) struct ProblemDeltaBuilder {
    balance: BTreeMap<Problem, i64>,
}

impl ProblemDeltaBuilder {
    pub(super) fn add(&mut self, problems: impl IntoIterator<Item = Problem>) {
        for problem in problems {
            *self.balance.entry(problem).or_default() += 1;
        }
    }

    pub(super) fn remove(&mut self, problems: impl IntoIterator<Item = Problem>) {
        for problem in problems {
            *self.balance.entry(problem).or_default() -= 1;
        }
    }

    pub(super) fn close(self) -> ProblemDelta {
        let mut delta = ProblemDelta::default();
        for (problem, balance) in self.balance {
            match balance.cmp(&0) {
                Ordering::Less => delta.removed.push(problem),
                Ordering::Equal => {}
                Ordering::Greater => delta.added.push(problem),
            }
        }
        delta
    }
}
