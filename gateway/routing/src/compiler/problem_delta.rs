//! The Problems that a compile added and removed.

use std::cmp::Ordering;
use std::collections::BTreeMap;

use crate::problem::Problem;

/// Problems that [`crate::Compiler::apply`] added and removed. Both lists are sorted, and no Problem is in both.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ProblemDelta {
    /// Problems that did not exist before.
    pub added: Vec<Problem>,
    /// Problems that no longer exist.
    pub removed: Vec<Problem>,
}

/// Collects added and removed Problems in any order. A Problem that is removed and added again cancels out.
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

    pub(super) fn build(self) -> ProblemDelta {
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
