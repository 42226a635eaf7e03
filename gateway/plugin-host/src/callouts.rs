//! Callouts in flight.

use std::collections::BTreeMap;

use crate::action::CallToken;
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
}

/// The callouts in flight of an instance, at most a limit.
pub(crate) struct Callouts {
    in_flight: BTreeMap<CallToken, Callout>,
    next: u32,
    limit: usize,
}

impl Callouts {
    pub(crate) fn new(limit: usize) -> Self {
        Self { in_flight: BTreeMap::new(), next: 1, limit }
    }

    /// Returns a token that is not in flight, for [`Self::insert`]. Returns `None` if the limit is reached.
    pub(crate) fn next_token(&mut self) -> Option<CallToken> {
        if self.in_flight.len() >= self.limit {
            return None;
        }
        while self.next == 0 || self.in_flight.contains_key(&CallToken(self.next)) {
            self.next = self.next.wrapping_add(1);
        }
        let token = CallToken(self.next);
        self.next = self.next.wrapping_add(1);
        Some(token)
    }

    pub(crate) fn insert(&mut self, token: CallToken, callout: Callout) {
        self.in_flight.insert(token, callout);
    }

    pub(crate) fn get(&self, token: CallToken) -> Option<Callout> {
        self.in_flight.get(&token).copied()
    }

    pub(crate) fn get_mut(&mut self, token: CallToken) -> Option<&mut Callout> {
        self.in_flight.get_mut(&token)
    }

    pub(crate) fn remove(&mut self, token: CallToken) -> Option<Callout> {
        self.in_flight.remove(&token)
    }

    /// Removes the callouts that were begun for a stream.
    pub(crate) fn remove_of(&mut self, stream: StreamId) -> Vec<(CallToken, Callout)> {
        self.in_flight.extract_if(.., |_, callout| callout.stream == Some(stream)).collect()
    }
}
