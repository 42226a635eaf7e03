//! One direction of a stream: what has arrived and which handler is next.

use std::mem;
use std::rc::Rc;

use crate::body::Progress;
use crate::host::Direction;
use crate::plugin::Callbacks;

/// What a handler is for.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Stage {
    /// The head. True: the message has nothing else.
    Headers(bool),
    Body,
    Trailers,
}

/// One direction of a stream.
#[derive(Debug, Default)]
pub(super) struct Half {
    /// The head, until its handler begins.
    headers: Option<bool>,
    /// Whether there are trailers whose handler has not begun.
    has_trailers: bool,
    /// Whether the host waits for the plugin.
    pub(super) is_paused: bool,
    /// The body, once there is one.
    body: Option<Rc<Progress>>,
}

impl Half {
    pub(super) fn receive_headers(&mut self, is_end: bool) {
        self.headers = Some(is_end);
    }

    pub(super) fn receive_trailers(&mut self) {
        self.has_trailers = true;
    }

    /// Returns the body, and creates it if it is new.
    pub(super) fn body(&mut self) -> Rc<Progress> {
        Rc::clone(self.body.get_or_insert_default())
    }

    /// Notes that the host has sent the body on.
    pub(super) fn flush_body(&self) {
        if let Some(body) = &self.body {
            body.flush();
        }
    }

    /// Returns whether a handler waits for more of the body.
    pub(super) fn is_body_awaited(&self) -> bool {
        self.body.as_ref().is_some_and(|body| body.is_awaited())
    }

    fn has_news(&self) -> bool {
        self.body.as_ref().is_some_and(|body| body.has_news())
    }

    /// Returns the next handler that the plugin defines, and forgets what it is for.
    pub(super) fn next(&mut self, direction: Direction, callbacks: Callbacks) -> Option<Stage> {
        let [on_headers, on_body, on_trailers] = defined(direction, callbacks);
        if let Some(is_end) = self.headers.take().filter(|_| on_headers) {
            return Some(Stage::Headers(is_end));
        }
        if on_body && self.has_news() {
            return Some(Stage::Body);
        }
        (mem::take(&mut self.has_trailers) && on_trailers).then_some(Stage::Trailers)
    }

    /// Returns whether there is something for a handler.
    pub(super) fn has_next(&self, direction: Direction, callbacks: Callbacks) -> bool {
        let [on_headers, on_body, on_trailers] = defined(direction, callbacks);
        on_headers && self.headers.is_some() || on_body && self.has_news() || on_trailers && self.has_trailers
    }

    /// Forgets all that has arrived.
    pub(super) fn clear(&mut self) {
        *self = Self::default();
    }
}

/// Returns whether the plugin handles headers, body and trailers of a direction.
fn defined(direction: Direction, callbacks: Callbacks) -> [bool; 3] {
    match direction {
        Direction::Request => {
            [callbacks.on_request, callbacks.on_request_body, callbacks.on_request_trailers]
        }
        Direction::Response => {
            [callbacks.on_response, callbacks.on_response_body, callbacks.on_response_trailers]
        }
    }
}
