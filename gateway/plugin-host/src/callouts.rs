//! Callouts in flight.

use std::collections::BTreeMap;

use crate::action::CallToken;
use crate::config::Limits;
use crate::event::RootIndex;
use crate::event::StreamId;

/// What kind of callout a token is of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum CalloutKind {
    Http,
    /// One request message and one response message.
    GrpcCall,
    GrpcStream,
}

/// A callout in flight.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Callout {
    pub(crate) kind: CalloutKind,
    pub(crate) root: RootIndex,
    pub(crate) stream: Option<StreamId>,
    /// The guest has sent its last message.
    pub(crate) has_ended: bool,
    /// Bytes of the request, which the caller may hold until the callout ends.
    pub(crate) bytes: usize,
}

/// The callouts in flight of an instance: at most a number, for each stream and in total, and at most the bytes that fit
/// in the guest's memory.
pub(crate) struct Callouts {
    in_flight: BTreeMap<CallToken, Callout>,
    next: u32,
    bytes: usize,
    max_count: usize,
    max_per_stream: usize,
    max_bytes: usize,
}

impl Callouts {
    pub(crate) fn new(limits: &Limits) -> Self {
        Self {
            in_flight: BTreeMap::new(),
            next: 1,
            bytes: 0,
            max_count: limits.callouts,
            max_per_stream: limits.callouts_per_stream,
            max_bytes: limits.memory,
        }
    }

    /// Returns a token that is not in flight, for [`Self::insert`] of a request with these bytes. `stream` is `None` for a
    /// root context. Returns `None` if a limit is reached.
    pub(crate) fn next_token(&mut self, stream: Option<StreamId>, bytes: usize) -> Option<CallToken> {
        let is_full = self.in_flight.len() >= self.max_count
            || self.bytes.saturating_add(bytes) > self.max_bytes
            || stream.is_some_and(|stream| self.count_of(stream) >= self.max_per_stream);
        if is_full {
            return None;
        }
        while self.next == 0 || self.in_flight.contains_key(&CallToken(self.next)) {
            self.next = self.next.wrapping_add(1);
        }
        let token = CallToken(self.next);
        self.next = self.next.wrapping_add(1);
        Some(token)
    }

    fn count_of(&self, stream: StreamId) -> usize {
        self.in_flight.values().filter(|callout| callout.stream == Some(stream)).count()
    }

    pub(crate) fn insert(&mut self, token: CallToken, callout: Callout) {
        self.bytes += callout.bytes;
        self.in_flight.insert(token, callout);
    }

    pub(crate) fn get(&self, token: CallToken) -> Option<Callout> {
        self.in_flight.get(&token).copied()
    }

    pub(crate) fn get_mut(&mut self, token: CallToken) -> Option<&mut Callout> {
        self.in_flight.get_mut(&token)
    }

    pub(crate) fn remove(&mut self, token: CallToken) -> Option<Callout> {
        let callout = self.in_flight.remove(&token)?;
        self.bytes -= callout.bytes;
        Some(callout)
    }

    /// Removes the callouts that were begun for a stream.
    pub(crate) fn remove_of(&mut self, stream: StreamId) -> Vec<(CallToken, Callout)> {
        let of_stream = |_: &CallToken, callout: &mut Callout| callout.stream == Some(stream);
        let removed: Vec<_> = self.in_flight.extract_if(.., of_stream).collect();
        self.bytes -= removed.iter().map(|(_, callout)| callout.bytes).sum::<usize>();
        removed
    }
}
