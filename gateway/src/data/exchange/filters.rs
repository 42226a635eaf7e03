//! Running the filters of a plan on a request and its response.
//!
//! Not here: what filters do (`crate::filter`). Filters run once, above all attempts.

use std::sync::Arc;

use http1::Head;

use super::downstream::Downstream;
use super::{Exchange, ExchangeError, unless_cancelled};
use crate::filter::{Chain, FilterContext, Outcome, Progress};
use crate::message::{LocalReply, Patch};

impl<'a, D: Downstream> Exchange<'a, D> {
    /// Runs the filters on the request, and waits where one of them does. The request's body stays unread.
    pub(super) async fn filter_request(&mut self, chain: &Arc<Chain>) -> Result<(), ExchangeError> {
        self.filters = Some(Box::new(Progress::new(Arc::clone(chain))));
        loop {
            let cx = self.filter_context();
            let Some(filters) = &mut self.filters else { return Ok(()) };
            let future = match filters.request(&cx) {
                Outcome::Pass => return Ok(()),
                Outcome::Reply(reply) => return Err(ExchangeError::Reply(reply)),
                Outcome::Wait(future) => future,
            };
            let resumed = unless_cancelled(&mut *self.down, self.timer, future).await?;
            let Some(filters) = &mut self.filters else { return Ok(()) };
            if let Some(reply) = filters.resume(resumed) {
                return Err(ExchangeError::Reply(reply));
            }
        }
    }

    /// Runs the response half of the filters that the request reached on an endpoint's head.
    pub(super) fn filter_response(&mut self, head: &Head) {
        if self.filters.is_some() {
            let cx = self.filter_context();
            self.filters.iter_mut().for_each(|filters| filters.response(head, &cx));
        }
    }

    /// Runs the response half of the filters that the request reached on a local reply.
    pub(super) fn filter_local_reply(&mut self, reply: &LocalReply) {
        if self.filters.is_some() {
            let cx = self.filter_context();
            self.filters.iter_mut().for_each(|filters| filters.local_reply(reply, &cx));
        }
    }

    fn filter_context(&self) -> FilterContext<'a> {
        let destination = self.destination.ok();
        FilterContext {
            scheme: self.source.scheme(self.request.head),
            client: self.source.address,
            host: destination.map_or("", |destination| &destination.host),
            path: destination.map_or("", |destination| &destination.path),
            request: self.request.head,
        }
    }
}

impl<D> Exchange<'_, D> {
    /// Returns the edits of the request head; `None` without filters.
    pub(super) fn request_patch(&self) -> Option<&Patch> {
        self.filters.as_deref().map(Progress::request_patch)
    }
}
