//! The filters of one plan in their order, and the state of one request in them.

use std::fmt;
use std::sync::Arc;

use futures::future::LocalBoxFuture;
use http1::Head;

use super::{Filter, FilterContext, Phases, Resumed, Slot, Step};
use crate::message::{LocalReply, Patch, RequestHead, ResponseHead};

/// Filters sorted by [`super::Stage`]; never empty.
#[derive(Debug)]
pub struct Chain {
    filters: Box<[ChainedFilter]>,
}

struct ChainedFilter {
    filter: Arc<dyn Filter>,
    phases: Phases,
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
        (!filters.is_empty()).then_some(Self { filters })
    }
}

/// State of one request in a chain: the filters that it reached, their slots and their edits.
#[derive(Debug)]
pub struct Progress {
    chain: Arc<Chain>,
    slots: Box<[Slot]>,
    /// Filters that the request has reached: the first ones of the chain.
    reached: usize,
    request: Patch,
    response: Patch,
}

/// Result of the filters that ran.
pub enum Outcome {
    /// All filters let it pass.
    Pass,
    /// A filter replied.
    Reply(Box<LocalReply>),
    /// A filter waits; hand the result to [`Progress::resume`].
    Wait(LocalBoxFuture<'static, Resumed>),
}

impl Progress {
    /// Begins before the first filter.
    pub fn new(chain: Arc<Chain>) -> Self {
        let slots = vec![Slot::default(); chain.filters.len()].into();
        Self { chain, slots, reached: 0, request: Patch::default(), response: Patch::default() }
    }

    /// Runs filters on the request, from the one behind those that ran, until one replies or waits.
    pub fn request(&mut self, cx: &FilterContext<'_>) -> Outcome {
        while let (Some(entry), Some(slot)) =
            (self.chain.filters.get(self.reached), self.slots.get_mut(self.reached))
        {
            self.reached += 1;
            if !entry.phases.request {
                continue;
            }
            let mut head = RequestHead::new(cx.request, &mut self.request);
            match entry.filter.request(slot, &mut head, cx) {
                Step::Continue => {}
                Step::Reply(reply) => return Outcome::Reply(reply),
                Step::Wait(future) => return Outcome::Wait(future),
            }
        }
        Outcome::Pass
    }

    /// Takes the result of a wait: edits, or the reply that it returns.
    pub fn resume(&mut self, resumed: Resumed) -> Option<Box<LocalReply>> {
        match resumed {
            Resumed::Continue(edits) => {
                self.request.append(&edits);
                None
            }
            Resumed::Reply(reply) => Some(reply),
        }
    }

    /// Runs the response half of the filters that the request reached on an endpoint's head, in reverse order.
    pub fn response(&mut self, head: &Head, cx: &FilterContext<'_>) {
        self.respond(cx, |patch| ResponseHead::upstream(head, patch));
    }

    /// Runs the response half of the filters that the request reached on a local reply, in reverse order.
    pub fn local_reply(&mut self, reply: &LocalReply, cx: &FilterContext<'_>) {
        self.respond(cx, |patch| ResponseHead::local(reply, patch));
    }

    fn respond<'a>(
        &'a mut self,
        cx: &FilterContext<'_>,
        mut head: impl FnMut(&'a mut Patch) -> ResponseHead<'a>,
    ) {
        let reached = self.chain.filters.iter().zip(&mut self.slots).take(self.reached);
        let mut head = head(&mut self.response);
        for (entry, slot) in reached.rev().filter(|(entry, _)| entry.phases.response) {
            entry.filter.response(slot, &mut head, cx);
        }
    }

    /// Returns the edits of the request head.
    pub fn request_patch(&self) -> &Patch {
        &self.request
    }

    /// Returns the edits of the response head.
    pub fn response_patch(&self) -> &Patch {
        &self.response
    }
}
