//! Running the filters of a plan on a request and its response.
//!
//! Not here: what filters do (`crate::filter`). Filters run once, above all attempts.

use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use futures::future::LocalBoxFuture;
use http1::Head;

use super::downstream::Downstream;
use super::reply_reason::ReplyReason;
use super::{Exchange, ExchangeError};
use crate::filter::{Chain, FilterContext, Outcome, Progress, Resumed};
use crate::message::{LocalReply, Patch};
use crate::plan::effective_timeout;

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
            let resumed = self.wait(future).await?;
            let Some(filters) = &mut self.filters else { return Ok(()) };
            if let Some(reply) = filters.resume(resumed) {
                return Err(ExchangeError::Reply(reply));
            }
        }
    }

    /// Waits for a filter within the request's total deadline, unless the client abandons the request.
    async fn wait(&mut self, mut future: LocalBoxFuture<'static, Resumed>) -> Result<Resumed, ExchangeError> {
        self.timer.set(effective_timeout(Duration::ZERO));
        let down = &mut *self.down;
        let resumed = self.timer.limit(std::future::poll_fn(|cx| {
            if let Poll::Ready(resumed) = future.as_mut().poll(cx) {
                return Poll::Ready(Ok(resumed));
            }
            down.poll_cancelled_unread(cx).map(|abort| Err(ExchangeError::Abort(abort)))
        }));
        resumed.await.map_err(|_elapsed| ReplyReason::RequestTimeout)?
    }

    /// Runs the response half of the filters that the request reached on an endpoint's head.
    pub(super) fn filter_response(&mut self, head: &Head) {
        let cx = self.filter_context();
        if let Some(filters) = &mut self.filters {
            filters.response(head, &cx);
        }
    }

    /// Runs the response half of the filters that the request reached on a local reply.
    pub(super) fn filter_local_reply(&mut self, reply: &LocalReply) {
        let cx = self.filter_context();
        if let Some(filters) = &mut self.filters {
            filters.local_reply(reply, &cx);
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
