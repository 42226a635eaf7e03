//! The state of one request in a chain.

use std::sync::Arc;
use std::task::{Context, Poll, ready};

use futures::future::LocalBoxFuture;
use http1::{BodyLength, Head};

use super::body::{BodyPath, Filters, Pull};
use super::chain::ChainedFilter;
use super::{
    BodyError, BodyPiece, Chain, Direction, Filter, FilterContext, Resumed, SharedFacts, Slot, Step,
};
use crate::message::{LocalReply, Patch, RequestHead, ResponseHead};

/// State of one request in a chain: the filters that it reached, their slots, and the edits of both heads.
#[derive(Debug)]
pub struct Progress {
    slots: Slots,
    /// Number of filters that the response has still to pass: the first ones of the chain.
    before_response: usize,
    /// Position of the filter that holds a head.
    holding: Option<usize>,
    request: Half,
    response: Half,
    /// What the plugins of the chain share.
    facts: SharedFacts,
}

/// One direction.
#[derive(Debug)]
struct Half {
    patch: Patch,
    body: BodyPath,
}

#[derive(Debug)]
struct Slots {
    chain: Arc<Chain>,
    slots: Box<[Slot]>,
    /// Number of filters that the request has reached: the first ones of the chain.
    reached: usize,
}

impl Slots {
    fn entry(&mut self, position: usize) -> Option<(&ChainedFilter, &mut Slot)> {
        let is_reached = position < self.reached;
        self.chain.filters.get(position).zip(self.slots.get_mut(position)).filter(|_| is_reached)
    }
}

impl Filters for Slots {
    fn get(&mut self, position: usize) -> Option<(&dyn Filter, &mut Slot)> {
        self.entry(position).map(|(entry, slot)| (&*entry.filter, slot))
    }
}

/// Result of the filters that ran on a head.
pub enum Outcome {
    /// All filters let it pass.
    Pass,
    /// A filter replied.
    Reply(Box<LocalReply>),
    /// A filter waits; hand the result to [`Progress::resume`], then go on.
    Wait(LocalBoxFuture<'static, Resumed>),
    /// A filter holds the head; use [`Progress::poll_release`], then go on.
    Hold,
}

impl Outcome {
    /// Returns what a step means for the head; `None` if the next filter follows.
    fn from_step(step: Step, position: usize, holding: &mut Option<usize>) -> Option<Self> {
        match step {
            Step::Continue => None,
            Step::Reply(reply) => Some(Self::Reply(reply)),
            Step::Wait(future) => Some(Self::Wait(future)),
            Step::Hold => {
                *holding = Some(position);
                Some(Self::Hold)
            }
        }
    }
}

impl Progress {
    /// Begins before the first filter. `length` is what the request's head declares.
    pub fn new(chain: Arc<Chain>, length: BodyLength) -> Self {
        let slots = std::iter::repeat_with(Slot::default).take(chain.filters.len()).collect();
        let takes_request = if length.has_no_body() { &[] } else { chain.takes_body(Direction::Request) };
        let half = |positions: &[usize]| Half {
            patch: Patch::default(),
            body: BodyPath::new(positions.iter().copied()),
        };
        let (mut request, response) = (half(takes_request), half(chain.takes_body(Direction::Response)));
        request.body.declare(length);
        let slots = Slots { chain, slots, reached: 0 };
        Self { slots, before_response: 0, holding: None, request, response, facts: SharedFacts::default() }
    }

    /// Sets the length that the response's head declares, so that filters get the end of its body with the last bytes.
    pub fn declare_response_length(&mut self, length: BodyLength) {
        self.response.body.declare(length);
    }

    /// Runs filters on the request, from the one behind those that ran, until one does not continue.
    pub fn request(&mut self, cx: &FilterContext<'_>) -> Outcome {
        let cx = &FilterContext { facts: Some(&self.facts), ..*cx };
        loop {
            let position = self.slots.reached;
            self.slots.reached += 1;
            self.before_response = self.slots.reached;
            let Some((entry, slot)) = self.slots.entry(position) else {
                self.slots.reached = position;
                self.before_response = position;
                return Outcome::Pass;
            };
            if !entry.phases.request {
                continue;
            }
            let mut head = RequestHead::new(cx.request, &mut self.request.patch);
            let step = entry.filter.request(slot, &mut head, cx);
            if let Some(outcome) = Outcome::from_step(step, position, &mut self.holding) {
                return outcome;
            }
        }
    }

    /// Runs the response half of the filters that the request reached on an endpoint's head, in reverse order, until
    /// one does not continue. `is_end`: neither a body nor trailers follow.
    pub fn response(&mut self, head: &Head, is_end: bool, cx: &FilterContext<'_>) -> Outcome {
        self.respond(cx, |patch| ResponseHead::upstream(head, is_end, patch))
    }

    /// Prepares for a local reply in place of the endpoint's response: the edits of that are forgotten, and the reply
    /// passes the filters that it has not passed.
    pub fn begin_local_reply(&mut self) {
        let left = self.before_response;
        let takes = self.slots.chain.takes_body(Direction::Response).iter().copied();
        let body = BodyPath::new(takes.filter(|position| *position < left));
        self.response = Half { patch: Patch::default(), body };
        self.facts.forget_response();
        self.holding = None;
    }

    /// Runs the response half of filters on a local reply, as [`Progress::response`] does.
    pub fn local_reply(&mut self, reply: &LocalReply, cx: &FilterContext<'_>) -> Outcome {
        self.respond(cx, |patch| ResponseHead::local(reply, patch))
    }

    fn respond<'a>(
        &'a mut self,
        cx: &FilterContext<'_>,
        head: impl FnOnce(&'a mut Patch) -> ResponseHead<'a>,
    ) -> Outcome {
        let cx = &FilterContext { facts: Some(&self.facts), ..*cx };
        let mut head = head(&mut self.response.patch);
        while let Some(position) = self.before_response.checked_sub(1) {
            self.before_response = position;
            let Some((entry, slot)) = self.slots.entry(position) else { continue };
            if !entry.phases.response {
                continue;
            }
            let step = entry.filter.response(slot, &mut head, cx);
            if let Some(outcome) = Outcome::from_step(step, position, &mut self.holding) {
                return outcome;
            }
        }
        Outcome::Pass
    }

    /// Takes the result of a wait: edits, or the reply that it returns.
    pub fn resume(&mut self, direction: Direction, resumed: Resumed) -> Option<Box<LocalReply>> {
        match resumed {
            Resumed::Continue(edits) => self.half(direction).patch.append(&edits),
            Resumed::Bypass(edits) => {
                let waiting = match direction {
                    Direction::Request => self.slots.reached.saturating_sub(1),
                    Direction::Response => self.before_response,
                };
                if let Some((_, slot)) = self.slots.entry(waiting) {
                    slot.is_bypassed = true;
                }
                self.half(direction).patch.append(&edits);
            }
            Resumed::Again if direction == Direction::Request => self.slots.reached -= 1,
            Resumed::Again => self.before_response += 1,
            Resumed::Reply(reply) => return Some(reply),
        }
        None
    }

    /// Gives the body to the filter that holds the head of this direction, until it lets the head go.
    pub fn poll_release<E>(
        &mut self,
        direction: Direction,
        source: &mut dyn FnMut(&mut Context<'_>) -> Poll<Result<BodyPiece, E>>,
        task: &mut Context<'_>,
    ) -> Poll<Result<(), BodyError<E>>> {
        let Some(position) = self.holding else { return Poll::Ready(Ok(())) };
        let (slots, half) = self.split(direction);
        if let Some(stage) = half.body.stage_of(position) {
            let mut pull = Pull { direction, filters: slots, source };
            ready!(half.body.poll_passed(stage, &mut pull, task))?;
        }
        if let Some((filter, slot)) = slots.get(position) {
            let edits = filter.take_edits(slot, direction);
            half.patch.append(&edits);
        }
        self.holding = None;
        Poll::Ready(Ok(()))
    }

    /// Do filters take the body of this direction?
    pub fn takes_body(&self, direction: Direction) -> bool {
        !self.half_ref(direction).body.is_empty()
    }

    /// Waits until the first bytes or the end of a body have passed all filters.
    pub fn poll_first<E>(
        &mut self,
        direction: Direction,
        source: &mut dyn FnMut(&mut Context<'_>) -> Poll<Result<BodyPiece, E>>,
        task: &mut Context<'_>,
    ) -> Poll<Result<BodyStart, BodyError<E>>> {
        let (slots, half) = self.split(direction);
        let mut pull = Pull { direction, filters: slots, source };
        ready!(half.body.poll_last_released(&mut pull, task))?;
        Poll::Ready(Ok(match half.body.whole_length() {
            Some(length) => BodyStart::Whole(length),
            None if half.body.is_unchanged() && !half.patch.changes_length() => BodyStart::Unchanged,
            None => BodyStart::Changed,
        }))
    }

    /// Takes the next piece of a body behind all filters.
    pub fn poll_piece<E>(
        &mut self,
        direction: Direction,
        source: &mut dyn FnMut(&mut Context<'_>) -> Poll<Result<BodyPiece, E>>,
        task: &mut Context<'_>,
    ) -> Poll<Result<BodyPiece, BodyError<E>>> {
        let (slots, half) = self.split(direction);
        half.body.poll_piece(&mut Pull { direction, filters: slots, source }, task)
    }

    /// Returns the edits of the request head.
    pub fn request_patch(&self) -> &Patch {
        &self.request.patch
    }

    /// Returns the edits of the response head.
    pub fn response_patch(&self) -> &Patch {
        &self.response.patch
    }

    fn half(&mut self, direction: Direction) -> &mut Half {
        self.split(direction).1
    }

    fn half_ref(&self, direction: Direction) -> &Half {
        match direction {
            Direction::Request => &self.request,
            Direction::Response => &self.response,
        }
    }

    fn split(&mut self, direction: Direction) -> (&mut Slots, &mut Half) {
        let half = match direction {
            Direction::Request => &mut self.request,
            Direction::Response => &mut self.response,
        };
        (&mut self.slots, half)
    }
}

/// What is known of a body when its first bytes have passed all filters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BodyStart {
    /// The whole body is there, with this many bytes and no trailers.
    Whole(u64),
    /// So far, what came has passed.
    Unchanged,
    /// Filters change the length.
    Changed,
}

impl Drop for Progress {
    fn drop(&mut self) {
        for position in 0..self.slots.reached {
            if let Some((entry, slot)) = self.slots.entry(position) {
                entry.filter.end(slot);
            }
        }
    }
}
