//! Running the filters of a plan on a request and its response.
//!
//! Not here: what filters do (`crate::filter`). Filters run once, above all attempts.

use std::convert::Infallible;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use futures::future::LocalBoxFuture;
use http1::{BodyLength, Head};

use super::attempt::AttemptError;
use super::client::{Codec, tls_version};
use super::downstream::Downstream;
use super::filtered::{Filtered, poll_source};
use super::metered::{BodyReadError, Metered};
use super::reply_reason::ReplyReason;
use super::request_body::RequestBody;
use super::{Exchange, ExchangeError, unless_cancelled};
use crate::data::upstream::Stream;
use crate::data::wire::{BodyReader, CopyError};
use crate::filter::{
    BodyEnd, BodyError, BodyPiece, BodyStart, Direction, ExchangeContext, FilterContext, Outcome, Progress,
    Resumed,
};
use crate::message::{LocalReply, Patch};
use crate::plan::{Plan, effective_timeout};

/// Returns the next piece of a body that filters read.
type Source<'a> = &'a mut dyn FnMut(&mut Context<'_>) -> Poll<Result<BodyPiece, BodyReadError>>;

/// What the head of a response waits for.
enum Pending {
    /// A filter's future.
    Resumed(LocalBoxFuture<'static, Resumed>),
    /// The filter that holds the head.
    Release,
    /// The first bytes of the body behind all filters.
    First,
}

/// How such a wait ends.
enum Waited {
    Resumed(Resumed),
    Released,
    First(BodyStart),
}

/// The endpoint's side of an exchange whose response has begun.
pub(super) struct EndpointSide<'a> {
    pub(super) stream: &'a mut Stream,
    pub(super) request_body: &'a mut RequestBody,
    pub(super) plan: &'a Plan,
}

/// A body that is in memory, read once.
struct ReplyBody {
    data: Bytes,
}

impl ReplyBody {
    fn next(&mut self) -> Poll<Result<BodyPiece, Infallible>> {
        let data = std::mem::take(&mut self.data);
        Poll::Ready(Ok(if data.is_empty() { BodyPiece::End(BodyEnd::Plain) } else { BodyPiece::Data(data) }))
    }
}

impl<D: Downstream> Exchange<'_, D> {
    /// Runs the filters on the request, and waits where one of them does. Then decides the framing of the request for
    /// the endpoint.
    pub(super) async fn filter_request(&mut self, plan: &Plan) -> Result<(), ExchangeError> {
        let Some(chain) = &plan.chain else { return Ok(()) };
        self.filters = Some(Box::new(Progress::new(Arc::clone(chain), self.request.length)));
        loop {
            let Some(outcome) = self.run_filters(Progress::request) else { return Ok(()) };
            let future = match outcome {
                Outcome::Pass => return self.frame_request(plan).await,
                Outcome::Reply(reply) => return Err(ExchangeError::Reply(reply)),
                Outcome::Hold => {
                    let poll = |filters: &mut Progress, source: Source<'_>, cx: &mut Context<'_>| {
                        filters.poll_release(Direction::Request, source, cx)
                    };
                    self.filter_request_body(plan, poll).await?;
                    continue;
                }
                Outcome::Wait(future) => future,
            };
            let resumed = unless_cancelled(&mut *self.down, self.timer, future).await?;
            let Some(filters) = &mut self.filters else { return Ok(()) };
            if let Some(reply) = filters.resume(Direction::Request, resumed) {
                return Err(ExchangeError::Reply(reply));
            }
        }
    }

    /// Decides the framing of the request for the endpoint. A declared length stays only if the first bytes pass the
    /// filters as they came, or if the whole body has passed.
    async fn frame_request(&mut self, plan: &Plan) -> Result<(), ExchangeError> {
        if matches!(self.request.length, BodyLength::Exact(1..)) && self.takes_body(Direction::Request) {
            let poll = |filters: &mut Progress, source: Source<'_>, cx: &mut Context<'_>| {
                filters.poll_first(Direction::Request, source, cx)
            };
            let start = self.filter_request_body(plan, poll).await?;
            self.forwarded_length = framing(self.request.length, start);
        }
        Ok(())
    }

    /// Reads the request's body for filters until `poll` is ready, before an endpoint is chosen.
    async fn filter_request_body<T>(
        &mut self,
        plan: &Plan,
        poll: impl Fn(&mut Progress, Source<'_>, &mut Context<'_>) -> Poll<Result<T, BodyError<BodyReadError>>>,
    ) -> Result<T, ExchangeError> {
        let Some(filters) = self.filters.as_deref_mut() else { return Err(ReplyReason::BodyTimeout.into()) };
        let (down, timer, received) = (&mut *self.down, self.timer, &mut self.received);
        let stall = plan.timeouts.stall;
        timer.set(stall);
        let waited = timer.limit(std::future::poll_fn(|cx| {
            let mut read = |cx: &mut Context<'_>| {
                let piece = poll_source(&mut Metered { source: &mut *down, meter: &mut *received }, cx);
                if piece.is_ready() {
                    timer.set(stall);
                }
                piece
            };
            match poll(filters, &mut read, cx) {
                Poll::Ready(result) => Poll::Ready(result.map_err(|error| request_error(error.into()))),
                Poll::Pending => down.poll_cancelled(cx).map(|abort| Err(ExchangeError::Abort(abort))),
            }
        }));
        match waited.await {
            Ok(result) => result,
            Err(_elapsed) if timer.is_total_elapsed() => Err(ReplyReason::RequestTimeout.into()),
            Err(_elapsed) => Err(ReplyReason::BodyTimeout.into()),
        }
    }

    /// Runs the response half of the filters that the request reached on an endpoint's head, and waits where one of
    /// them does. Meanwhile the rest of the request is sent. Returns the framing of the response for the client.
    pub(super) async fn filter_response(
        &mut self,
        endpoint: &mut EndpointSide<'_>,
        head: &Head,
        length: BodyLength,
    ) -> Result<BodyLength, ExchangeError> {
        if let Some(filters) = &mut self.filters {
            filters.declare_response_length(length);
        }
        loop {
            let is_end = length.has_no_body();
            let outcome = self.run_filters(|filters, cx| filters.response(head, is_end, cx));
            let Some(outcome) = outcome else { return Ok(length) };
            let pending = match outcome {
                Outcome::Pass => break,
                Outcome::Reply(reply) => return Err(ExchangeError::Reply(reply)),
                Outcome::Wait(future) => Pending::Resumed(future),
                Outcome::Hold => Pending::Release,
            };
            let waited = self.await_filters(endpoint, pending).await?;
            let Some(filters) = &mut self.filters else { return Ok(length) };
            if let Waited::Resumed(resumed) = waited
                && let Some(reply) = filters.resume(Direction::Response, resumed)
            {
                return Err(ExchangeError::Reply(reply));
            }
        }
        if !matches!(length, BodyLength::Exact(1..)) || !self.takes_body(Direction::Response) {
            return Ok(length);
        }
        match self.await_filters(endpoint, Pending::First).await? {
            Waited::First(start) => Ok(framing(length, start)),
            Waited::Resumed(_) | Waited::Released => Ok(length),
        }
    }

    /// Waits for filters of the response, and meanwhile sends the rest of the request.
    async fn await_filters(
        &mut self,
        endpoint: &mut EndpointSide<'_>,
        mut pending: Pending,
    ) -> Result<Waited, ExchangeError> {
        let EndpointSide { stream: up, request_body, plan } = endpoint;
        let limit = match pending {
            // A filter that waits for something else than bytes has only the request's total deadline.
            Pending::Resumed(_) => effective_timeout(Duration::ZERO),
            Pending::Release | Pending::First => plan.timeouts.stall,
        };
        self.timer.set(limit);
        let (down, timer) = (&mut *self.down, self.timer);
        let (received, sent) = (&mut self.received, &mut self.sent);
        let mut filters = self.filters.as_deref_mut();
        let mut is_sending = !request_body.is_sent();
        let waited = timer.limit(std::future::poll_fn(|cx| {
            if is_sending {
                let metered = Metered { source: &mut *down, meter: &mut *received };
                let direction = Direction::Request;
                let mut source = Filtered { source: metered, filters: filters.as_deref_mut(), direction };
                match request_body.poll(&mut source, up, || timer.set(limit), cx) {
                    Poll::Pending => {}
                    Poll::Ready(Ok(()) | Err(CopyError::Write(_))) => is_sending = false,
                    Poll::Ready(Err(CopyError::Read(error))) => {
                        return Poll::Ready(Err(request_error(error)));
                    }
                }
            }
            let mut source = Metered { source: &mut **up, meter: &mut *sent };
            match poll_pending(&mut pending, filters.as_deref_mut(), &mut source, cx) {
                Poll::Ready(result) => Poll::Ready(result.map_err(|error| response_error(error.into()))),
                Poll::Pending => down.poll_cancelled(cx).map(|abort| Err(ExchangeError::Abort(abort))),
            }
        }));
        match waited.await {
            Ok(result) => result,
            Err(_elapsed) if timer.is_total_elapsed() => Err(ReplyReason::RequestTimeout.into()),
            Err(_elapsed) => Err(ReplyReason::FirstByteTimeout.into()),
        }
    }

    /// Runs the response half of the filters that the request reached on a local reply, its body included, within the
    /// time of the timer. Returns the reply that results. A filter that is late does not see it.
    pub(super) async fn filter_local_reply(&mut self, mut reply: LocalReply) -> LocalReply {
        'reply: loop {
            let Some(filters) = &mut self.filters else { return reply };
            filters.begin_local_reply();
            let mut body = ReplyBody { data: reply.body().clone() };
            loop {
                let outcome = self.run_filters(|filters, cx| filters.local_reply(&reply, cx));
                let (Some(outcome), Some(filters)) = (outcome, &mut self.filters) else { return reply };
                let replaced = match outcome {
                    Outcome::Pass => break,
                    Outcome::Reply(replaced) => Some(replaced),
                    Outcome::Wait(future) => match self.timer.limit(future).await {
                        Ok(resumed) => filters.resume(Direction::Response, resumed),
                        Err(_elapsed) => continue,
                    },
                    Outcome::Hold => {
                        let released = std::future::poll_fn(|cx| {
                            filters.poll_release(Direction::Response, &mut |_| body.next(), cx)
                        });
                        match self.timer.limit(released).await {
                            Ok(Err(BodyError::Reply(replaced))) => Some(replaced),
                            Ok(_) | Err(_) => None,
                        }
                    }
                };
                if let Some(replaced) = replaced {
                    reply = *replaced;
                    continue 'reply;
                }
            }
            match self.filter_reply_body(&mut body).await {
                Ok(Some(filtered)) => return reply.with_body(filtered),
                Ok(None) => return reply,
                Err(replaced) => reply = *replaced,
            }
        }
    }

    /// Reads the body of a local reply through filters. Returns `None` if none takes it, or in time.
    async fn filter_reply_body(&mut self, body: &mut ReplyBody) -> Result<Option<Bytes>, Box<LocalReply>> {
        let filters = self.filters.as_deref_mut();
        let Some(filters) = filters.filter(|filters| filters.takes_body(Direction::Response)) else {
            return Ok(None);
        };
        let mut filtered = Vec::new();
        let collected = std::future::poll_fn(|cx| {
            loop {
                let piece = filters.poll_piece(Direction::Response, &mut |_| body.next(), cx);
                match std::task::ready!(piece) {
                    Ok(BodyPiece::Data(data)) => filtered.extend_from_slice(&data),
                    Ok(BodyPiece::End(_)) => return Poll::Ready(Ok(())),
                    Err(BodyError::Reply(replaced)) => return Poll::Ready(Err(replaced)),
                    Err(BodyError::Source(never)) => match never {},
                }
            }
        });
        match self.timer.limit(collected).await {
            Ok(collected) => collected.map(|()| Some(filtered.into())),
            Err(_elapsed) => Ok(None),
        }
    }

    fn run_filters(
        &mut self,
        run: impl FnOnce(&mut Progress, &FilterContext<'_>) -> Outcome,
    ) -> Option<Outcome> {
        // Taken, since the context borrows the exchange.
        let mut filters = self.filters.take()?;
        let outcome = run(&mut filters, &self.filter_context());
        self.filters = Some(filters);
        Some(outcome)
    }

    fn filter_context(&self) -> FilterContext<'_> {
        let destination = self.destination.ok();
        FilterContext {
            scheme: self.source.scheme,
            client: self.source.address,
            host: destination.map_or("", |destination| &destination.host),
            path: destination.map_or("", |destination| &destination.path),
            request: self.request.head,
            is_request_end: self.request.length.has_no_body(),
            exchange: Some(ExchangeContext {
                route: self.route.as_ref(),
                request_id: self.source.id.as_bytes(),
                is_http2: self.request.client.codec == Codec::Http2,
                tls: tls_version(self.request.client.tls),
                plugins: &self.worker.plugins,
            }),
            facts: None,
        }
    }
}

impl<D> Exchange<'_, D> {
    /// Returns the edits of the request head; `None` without filters.
    pub(super) fn request_patch(&self) -> Option<&Patch> {
        self.filters.as_deref().map(Progress::request_patch)
    }

    fn takes_body(&self, direction: Direction) -> bool {
        self.filters.as_deref().is_some_and(|filters| filters.takes_body(direction))
    }
}

fn poll_pending<R: BodyReader>(
    pending: &mut Pending,
    filters: Option<&mut Progress>,
    source: &mut R,
    cx: &mut Context<'_>,
) -> Poll<Result<Waited, BodyError<R::Error>>> {
    let mut read = |cx: &mut Context<'_>| poll_source(source, cx);
    match (pending, filters) {
        (Pending::Resumed(future), _) => future.as_mut().poll(cx).map(|resumed| Ok(Waited::Resumed(resumed))),
        (Pending::Release, Some(filters)) => {
            filters.poll_release(Direction::Response, &mut read, cx).map_ok(|()| Waited::Released)
        }
        (Pending::First, Some(filters)) => {
            filters.poll_first(Direction::Response, &mut read, cx).map_ok(Waited::First)
        }
        (Pending::Release | Pending::First, None) => Poll::Ready(Ok(Waited::Released)),
    }
}

/// Returns the framing behind filters of a body whose length was declared.
fn framing(declared: BodyLength, start: BodyStart) -> BodyLength {
    match start {
        BodyStart::Whole(length) => BodyLength::Exact(length),
        BodyStart::Unchanged => declared,
        BodyStart::Changed => BodyLength::Chunked,
    }
}

fn request_error(error: BodyReadError) -> ExchangeError {
    AttemptError::RequestBody(error).into()
}

fn response_error(error: BodyReadError) -> ExchangeError {
    match error {
        BodyReadError::Refused(reply) => ExchangeError::Reply(reply),
        BodyReadError::Stream(error) => AttemptError::Upstream(error).into(),
        BodyReadError::TooLarge | BodyReadError::TooSlow => ReplyReason::UpstreamMalformed.into(),
    }
}
