//! The filters of one plan in their order.

use std::fmt;
use std::sync::Arc;

use super::{Direction, Filter, Phases};

/// Filters sorted by [`super::Stage`]; never empty.
#[derive(Debug)]
pub struct Chain {
    pub(super) filters: Box<[ChainedFilter]>,
    /// Positions of the filters that take request bodies, in the order in which these pass.
    request_body: Box<[usize]>,
    /// Positions of the filters that take response bodies, in the order in which these pass.
    response_body: Box<[usize]>,
}

pub(super) struct ChainedFilter {
    pub(super) filter: Arc<dyn Filter>,
    pub(super) phases: Phases,
}

impl fmt::Debug for ChainedFilter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.filter.fmt(f)
    }
}

impl Chain {
    /// Sorts filters; those of one stage keep their order. Returns `None` if there is none.
    pub fn new(mut filters: Vec<Arc<dyn Filter>>) -> Option<Self> {
        filters.sort_by_key(|filter| filter.stage());
        let entries = filters.into_iter().map(|filter| ChainedFilter { phases: filter.phases(), filter });
        let filters: Box<[_]> = entries.collect();
        let takes = |takes: fn(&Phases) -> bool| {
            let entries = filters.iter().enumerate();
            entries.filter(move |(_, entry)| takes(&entry.phases)).map(|(position, _)| position)
        };
        let request_body = takes(|phases| phases.request_body).collect();
        let response_body = takes(|phases| phases.response_body).rev().collect();
        (!filters.is_empty()).then_some(Self { filters, request_body, response_body })
    }

    /// Returns the positions of the filters that take bodies of this direction, in the order in which these pass.
    pub(super) fn takes_body(&self, direction: Direction) -> &[usize] {
        match direction {
            Direction::Request => &self.request_body,
            Direction::Response => &self.response_body,
        }
    }
}
