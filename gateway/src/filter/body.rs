//! A body on its way through the filters that take it.

use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http1::BodyLength;

use super::{BodyEnd, BodyPiece, BodyStep, Direction, Filter, Slot};
use crate::message::LocalReply;

/// Why a body ends early.
#[derive(Debug)]
pub enum BodyError<E> {
    /// The source failed.
    Source(E),
    /// A filter replied.
    Reply(Box<LocalReply>),
}

/// The filters that take a body, in the order in which it passes, and what each has released.
#[derive(Debug, Default)]
pub(super) struct BodyPath {
    stages: Vec<BodyStage>,
    /// Bytes that the source has given.
    received: u64,
    /// Bytes that the source declared.
    declared: Option<u64>,
    /// A piece that was read before its time.
    ahead: Option<BodyPiece>,
}

#[derive(Debug)]
struct BodyStage {
    /// Position of the filter in the chain.
    filter: usize,
    flow: Flow,
    /// Bytes that the next filter has not taken yet.
    released: Bytes,
    end: Option<BodyEnd>,
    /// Whether the filter has let anything pass, or would have.
    has_passed: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Flow {
    /// The next piece goes to the filter.
    Open,
    /// The filter holds bytes, and takes more.
    Held,
    /// The filter holds bytes, and takes no more.
    Stopped,
    /// The end has left the filter.
    Ended,
}

/// Finds the filter at a position of the chain.
pub(super) trait Filters {
    /// Returns the filter and its slot; `None` if the request has not reached it.
    fn get(&mut self, position: usize) -> Option<(&dyn Filter, &mut Slot)>;
}

/// What a body path works with during one poll.
pub(super) struct Pull<'a, E> {
    pub(super) direction: Direction,
    pub(super) filters: &'a mut dyn Filters,
    /// Returns the next piece of the body. Not called after the end.
    pub(super) source: &'a mut dyn FnMut(&mut Context<'_>) -> Poll<Result<BodyPiece, E>>,
}

impl BodyPath {
    /// Begins in front of the filters at these positions of the chain.
    pub(super) fn new(positions: impl Iterator<Item = usize>) -> Self {
        let stage = |filter| BodyStage {
            filter,
            flow: Flow::Open,
            released: Bytes::new(),
            end: None,
            has_passed: false,
        };
        Self { stages: positions.map(stage).collect(), ..Self::default() }
    }

    /// Sets the length that the source declared.
    pub(super) fn declare(&mut self, length: BodyLength) {
        if let BodyLength::Exact(bytes) = length {
            self.declared = Some(bytes);
        }
    }

    /// Does the body pass no filter?
    pub(super) fn is_empty(&self) -> bool {
        self.stages.is_empty()
    }

    /// Returns the number of the stage of a filter.
    pub(super) fn stage_of(&self, filter: usize) -> Option<usize> {
        self.stages.iter().position(|stage| stage.filter == filter)
    }

    /// Returns the length of the whole body, once the last filter has released its end and nothing was taken before.
    pub(super) fn whole_length(&self) -> Option<u64> {
        let last = self.stages.last()?;
        matches!(last.end, Some(BodyEnd::Plain)).then_some(last.released.len() as u64)
    }

    /// Have all bytes that the source gave left the last filter, as many as came?
    pub(super) fn is_unchanged(&self) -> bool {
        self.stages.last().is_some_and(|last| last.released.len() as u64 == self.received)
    }

    /// Records that a filter holds the head: it may go on before a piece has come.
    fn hold(&mut self, stage: usize) {
        if let Some(stage) = self.stages.get_mut(stage)
            && stage.flow == Flow::Open
        {
            stage.flow = Flow::Held;
        }
    }

    /// Waits until a filter that holds the head lets it go.
    pub(super) fn poll_passed<E>(
        &mut self,
        stage: usize,
        pull: &mut Pull<'_, E>,
        task: &mut Context<'_>,
    ) -> Poll<Result<(), BodyError<E>>> {
        while self.stages.get(stage).is_some_and(|stage| !stage.has_passed) {
            self.hold(stage);
            ready!(self.poll_next(stage, pull, task))?;
        }
        Poll::Ready(Ok(()))
    }

    /// Waits until a filter releases something.
    pub(super) fn poll_released<E>(
        &mut self,
        stage: usize,
        pull: &mut Pull<'_, E>,
        task: &mut Context<'_>,
    ) -> Poll<Result<(), BodyError<E>>> {
        loop {
            let Some(BodyStage { flow, released, end, .. }) = self.stages.get(stage) else {
                return Poll::Ready(Ok(()));
            };
            if !released.is_empty() || end.is_some() || *flow == Flow::Ended {
                return Poll::Ready(Ok(()));
            }
            ready!(self.poll_next(stage, pull, task))?;
        }
    }

    /// Takes the next step of a filter.
    fn poll_next<E>(
        &mut self,
        stage: usize,
        pull: &mut Pull<'_, E>,
        task: &mut Context<'_>,
    ) -> Poll<Result<(), BodyError<E>>> {
        let step = ready!(self.poll_step(stage, pull, task))?;
        let Some(entry) = self.stages.get_mut(stage) else { return Poll::Ready(Ok(())) };
        match step {
            BodyStep::Pass { data, end } => {
                entry.flow = if end.is_some() { Flow::Ended } else { Flow::Open };
                entry.released = data;
                entry.end = end;
                entry.has_passed = true;
            }
            BodyStep::Hold => entry.flow = Flow::Held,
            BodyStep::Stop => entry.flow = Flow::Stopped,
            BodyStep::Reply(reply) => return Poll::Ready(Err(BodyError::Reply(reply))),
        }
        Poll::Ready(Ok(()))
    }

    /// Waits until the last filter releases something.
    pub(super) fn poll_last_released<E>(
        &mut self,
        pull: &mut Pull<'_, E>,
        task: &mut Context<'_>,
    ) -> Poll<Result<(), BodyError<E>>> {
        self.poll_released(self.stages.len().saturating_sub(1), pull, task)
    }

    /// Takes the next piece behind the last filter.
    pub(super) fn poll_piece<E>(
        &mut self,
        pull: &mut Pull<'_, E>,
        task: &mut Context<'_>,
    ) -> Poll<Result<BodyPiece, BodyError<E>>> {
        self.poll_taken(self.stages.len(), pull, task)
    }

    /// Takes the next piece in front of a stage.
    fn poll_taken<E>(
        &mut self,
        stage: usize,
        pull: &mut Pull<'_, E>,
        task: &mut Context<'_>,
    ) -> Poll<Result<BodyPiece, BodyError<E>>> {
        let Some(before) = stage.checked_sub(1) else {
            let piece = match self.ahead.take() {
                Some(piece) => piece,
                None => ready!((pull.source)(task)).map_err(BodyError::Source)?,
            };
            if let BodyPiece::Data(data) = &piece {
                self.received = self.received.saturating_add(data.len() as u64);
            }
            return Poll::Ready(Ok(piece));
        };
        ready!(self.poll_released(before, pull, task))?;
        let Some(BodyStage { released, end, .. }) = self.stages.get_mut(before) else {
            return Poll::Ready(Ok(BodyPiece::End(BodyEnd::Plain)));
        };
        let data = std::mem::take(released);
        Poll::Ready(Ok(if data.is_empty() {
            BodyPiece::End(end.take().unwrap_or(BodyEnd::Plain))
        } else {
            BodyPiece::Data(data)
        }))
    }

    /// Asks the filter that holds bytes, and gives it the next piece if it takes one.
    fn poll_step<E>(
        &mut self,
        stage: usize,
        pull: &mut Pull<'_, E>,
        task: &mut Context<'_>,
    ) -> Poll<Result<BodyStep, BodyError<E>>> {
        let Some(&BodyStage { filter: position, flow, .. }) = self.stages.get(stage) else {
            return Poll::Pending;
        };
        let direction = pull.direction;
        if matches!(flow, Flow::Held | Flow::Stopped) {
            let Some((filter, slot)) = pull.filters.get(position) else { return Poll::Pending };
            if let Poll::Ready(step) = filter.poll_held(slot, direction, task) {
                return Poll::Ready(Ok(step));
            }
            if flow == Flow::Stopped {
                return Poll::Pending;
            }
        }
        let (data, end) = match ready!(self.poll_taken(stage, pull, task))? {
            BodyPiece::Data(data) => (data, self.take_end(stage, pull, task)?),
            BodyPiece::End(end) => (Bytes::new(), Some(end)),
        };
        let step = match pull.filters.get(position) {
            Some((filter, slot)) => filter.body(slot, direction, data, end),
            None => BodyStep::Pass { data, end },
        };
        Poll::Ready(Ok(step))
    }

    /// Takes an end without trailers that is known to follow the bytes that a stage has just taken. One call of the
    /// filter less.
    fn take_end<E>(
        &mut self,
        stage: usize,
        pull: &mut Pull<'_, E>,
        task: &mut Context<'_>,
    ) -> Result<Option<BodyEnd>, BodyError<E>> {
        let Some(before) = stage.checked_sub(1) else {
            if self.declared == Some(self.received)
                && let Poll::Ready(piece) = (pull.source)(task).map_err(BodyError::Source)?
            {
                self.ahead = Some(piece);
            }
            let end = self.ahead.take_if(|piece| matches!(piece, BodyPiece::End(BodyEnd::Plain)));
            return Ok(end.map(|_| BodyEnd::Plain));
        };
        let before = self.stages.get_mut(before);
        Ok(before.and_then(|stage| stage.end.take_if(|end| matches!(end, BodyEnd::Plain))))
    }
}
