//! One exchange, part by part.

use std::collections::VecDeque;
use std::fmt;

use api::CaseRecord;

use super::answer::Answer;
use super::message::FieldList;
use super::message::MockMessage;
use super::message::MockRequest;
use super::message::MockResponse;
use super::mock_stream::MockStream;
use super::state::next_id;
use super::test_plugin::TestPlugin;
use crate::host::Action;
use crate::host::Direction;
use crate::plugin::Plugin;

/// A stream whose parts the test sends. At its end, or when it is dropped, the plugin's `on_log` runs.
pub struct TestStream<'a, P: Plugin> {
    plugin: &'a TestPlugin<P>,
    context: u32,
    request: VecDeque<Part>,
    response: VecDeque<Part>,
    /// Whether the response began before the plugin replied.
    has_response: bool,
    is_reply_sent: bool,
    first_callout: usize,
    first_line: usize,
}

/// A part of a message.
enum Part {
    Head(FieldList, bool),
    Piece(Vec<u8>, bool),
    Trailers(FieldList),
}

impl<P: Plugin> TestPlugin<P> {
    /// Sends a request through the plugin, and the response back, if the request gets that far. Callouts receive the answers
    /// of [`TestPlugin::answer`] in order, and then time out. The log is that of the exchange.
    ///
    /// # Panics
    /// A handler waits, but no callout is in flight; or the plugin makes a call that no host accepts.
    pub fn exchange(&self, request: MockRequest, response: MockResponse) -> CaseRecord {
        let mut stream = self.stream();
        stream.request(request);
        stream.answer_callouts();
        if !stream.has_replied() {
            stream.respond(response);
            stream.answer_callouts();
        }
        stream.finish()
    }

    /// Begins a stream whose parts the test sends.
    pub fn stream(&self) -> TestStream<'_, P> {
        TestStream::new(self)
    }
}

impl<'a, P: Plugin> TestStream<'a, P> {
    pub(super) fn new(plugin: &'a TestPlugin<P>) -> Self {
        let context = next_id();
        let (root, first_callout, first_line) = plugin.with_state(|state| {
            state.streams.insert(context, MockStream::default());
            (state.root, state.callouts.len(), state.log.len())
        });
        plugin.call(context, |runtime| runtime.on_context_create(context, root));
        Self {
            plugin,
            context,
            request: VecDeque::new(),
            response: VecDeque::new(),
            has_response: false,
            is_reply_sent: false,
            first_callout,
            first_line,
        }
    }

    /// Sends a request, until the plugin waits.
    pub fn request(&mut self, request: MockRequest) {
        self.request.extend(parts(request.0));
        self.advance();
    }

    /// Sends a piece of the request's body behind what was sent, until the plugin waits. Begin with [`TestStream::request_head`].
    pub fn request_body(&mut self, piece: impl Into<Vec<u8>>, is_end: bool) {
        self.request.push_back(Part::Piece(piece.into(), is_end));
        self.advance();
    }

    /// Sends the head of a request whose body follows. Body and trailers of the argument are not sent.
    pub fn request_head(&mut self, request: MockRequest) {
        self.request.push_back(Part::Head(request.0.headers, false));
        self.advance();
    }

    /// Sends the response of the endpoint, until the plugin waits.
    pub fn respond(&mut self, response: MockResponse) {
        self.has_response = true;
        self.response.extend(parts(response.0));
        self.advance();
    }

    /// Sends the head of a response whose body follows. Body and trailers of the argument are not sent.
    pub fn response_head(&mut self, response: MockResponse) {
        self.has_response = true;
        self.response.push_back(Part::Head(response.0.headers, false));
        self.advance();
    }

    /// Sends a piece of the response's body behind what was sent, until the plugin waits.
    pub fn response_body(&mut self, piece: impl Into<Vec<u8>>, is_end: bool) {
        self.response.push_back(Part::Piece(piece.into(), is_end));
        self.advance();
    }

    /// Answers the oldest callout of the plugin, and goes on until the plugin waits again. Returns false if none is in flight.
    pub fn deliver(&mut self, answer: impl Into<Answer>) -> bool {
        let is_delivered = self.plugin.deliver(answer);
        self.advance();
        is_delivered
    }

    /// Returns whether a direction waits for the plugin.
    pub fn is_waiting(&self, direction: Direction) -> bool {
        self.with_stream(|stream| {
            stream.half(direction).is_paused && !(stream.has_replied || stream.has_failed)
        })
    }

    /// Returns whether the plugin, or the host after its failure, replied.
    pub fn has_replied(&self) -> bool {
        self.with_stream(|stream| stream.has_replied)
    }

    /// Returns the reason of the plugin's reply, and its gRPC status. Returns `None` if the plugin did not reply.
    pub fn reply_details(&self) -> Option<(String, Option<u32>)> {
        self.with_stream(|stream| stream.reply_details.clone())
    }

    /// Ends the stream, and returns what endpoint, client and log received.
    pub fn finish(self) -> CaseRecord {
        let (request, response) = self.with_stream(|stream| {
            let request = stream.request.sent().filter(|_| !stream.request.is_paused);
            (request, stream.response.sent())
        });
        let plugin = self.plugin;
        let (first_callout, first_line) = (self.first_callout, self.first_line);
        drop(self);
        plugin.with_state(|state| CaseRecord {
            request,
            response,
            callouts: state
                .callouts
                .iter()
                .skip(first_callout)
                .map(|callout| (callout.upstream.clone(), callout.message.clone()))
                .collect(),
            log: state.log.iter().skip(first_line).cloned().collect(),
        })
    }

    /// Answers callouts until the plugin waits no more.
    #[expect(clippy::panic, reason = "the test fails")]
    pub(super) fn answer_callouts(&mut self) {
        while self.is_waiting(Direction::Request) || self.is_waiting(Direction::Response) {
            if !self.plugin.answer_next() {
                panic!("a handler waits, but no callout is in flight; log: {:#?}", self.plugin.log());
            }
            self.advance();
        }
        let misuse = self.plugin.misuse();
        if !misuse.is_empty() {
            panic!("calls that no host accepts: {misuse:#?}");
        }
    }

    /// Sends parts until the plugin waits or none is left.
    fn advance(&mut self) {
        loop {
            self.accept_reply();
            let is_sent = self.send_next(Direction::Request) || self.send_next(Direction::Response);
            if !is_sent {
                return;
            }
        }
    }

    /// Begins the response half if the plugin replied, and lets the stream go on if it failed.
    fn accept_reply(&mut self) {
        let (has_replied, has_failed) = self.with_stream(|stream| (stream.has_replied, stream.has_failed));
        if has_replied && !self.is_reply_sent {
            self.is_reply_sent = true;
            self.request.clear();
            self.response.clear();
            let skips_plugin = has_failed || self.has_response;
            let had_response = self.has_response;
            let (headers, body) = self.with_stream(|stream| {
                // The endpoint receives no request, or an incomplete one.
                stream.request.is_head_sent &= had_response;
                let half = &mut stream.response;
                (half.headers.clone().unwrap_or_default(), std::mem::take(&mut half.buffer))
            });
            if skips_plugin {
                self.with_stream(|stream| {
                    stream.response.buffer = body;
                    stream.response.flush();
                });
            } else {
                self.response.extend(parts(MockMessage {
                    headers,
                    pieces: vec![body],
                    trailers: Vec::new(),
                }));
            }
        } else if has_failed && !has_replied {
            self.with_stream(|stream| {
                for direction in [Direction::Request, Direction::Response] {
                    let half = stream.half_mut(direction);
                    if half.headers.is_some() {
                        half.flush();
                    }
                }
            });
        }
    }

    /// Sends the next part of a direction. Returns false if there is none, or if the head waits.
    fn send_next(&mut self, direction: Direction) -> bool {
        if self.with_stream(|stream| stream.half(direction).is_head_paused) {
            return false;
        }
        let parts = match direction {
            Direction::Request => &mut self.request,
            Direction::Response => &mut self.response,
        };
        let Some(part) = parts.pop_front() else { return false };
        self.send(direction, part);
        true
    }

    fn send(&self, direction: Direction, part: Part) {
        let context = self.context;
        let is_head = matches!(part, Part::Head(..));
        let callbacks = P::CALLBACKS;
        let [on_headers, on_body, on_trailers] = match direction {
            Direction::Request => {
                [callbacks.on_request, callbacks.on_request_body, callbacks.on_request_trailers]
            }
            Direction::Response => {
                [callbacks.on_response, callbacks.on_response_body, callbacks.on_response_trailers]
            }
        };
        let call = self.with_stream(|stream| {
            let has_failed = stream.has_failed;
            let half = stream.half_mut(direction);
            let call = match part {
                Part::Head(headers, is_end) => {
                    half.headers = Some(headers);
                    on_headers.then_some(Call::Headers(is_end))
                }
                Part::Piece(piece, is_end) => {
                    half.buffer.extend(piece);
                    on_body.then_some(Call::Body(half.buffer.len(), is_end))
                }
                Part::Trailers(trailers) => {
                    half.trailers = Some(trailers);
                    (on_trailers || on_body).then_some(Call::Trailers)
                }
            };
            call.filter(|_| !has_failed)
        });
        let action = match call {
            None => Action::Continue,
            Some(call) => self.plugin.call(context, |runtime| match call {
                Call::Headers(is_end) => runtime.on_headers(context, direction, is_end),
                Call::Body(size, is_end) => runtime.on_body(context, direction, size, is_end),
                Call::Trailers => runtime.on_trailers(context, direction),
            }),
        };
        self.with_stream(|stream| {
            if stream.has_replied && !self.is_reply_sent {
                return;
            }
            let half = stream.half_mut(direction);
            match action {
                Action::Continue => half.flush(),
                Action::Pause => {
                    half.is_paused = true;
                    half.is_head_paused |= is_head;
                }
            }
        });
    }

    fn with_stream<T: Default>(&self, run: impl FnOnce(&mut MockStream) -> T) -> T {
        self.plugin.with_state(|state| state.streams.get_mut(&self.context).map(run)).unwrap_or_default()
    }
}

/// A callback about a part.
enum Call {
    Headers(bool),
    Body(usize, bool),
    Trailers,
}

impl<P: Plugin> Drop for TestStream<'_, P> {
    fn drop(&mut self) {
        let context = self.context;
        self.plugin.call(context, |runtime| {
            if P::CALLBACKS.on_log {
                runtime.on_log(context);
            }
            runtime.on_delete(context);
        });
        self.plugin.with_state(|state| state.streams.remove(&context));
    }
}

impl<P: Plugin> fmt::Debug for TestStream<'_, P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TestStream").finish_non_exhaustive()
    }
}

/// Splits a message into the parts that a host delivers.
fn parts(message: MockMessage) -> Vec<Part> {
    let MockMessage { headers, mut pieces, trailers } = message;
    pieces.retain(|piece| !piece.is_empty());
    let has_trailers = !trailers.is_empty();
    let last = pieces.len();
    let mut parts = vec![Part::Head(headers, last == 0 && !has_trailers)];
    let pieces = pieces.into_iter().enumerate();
    parts.extend(pieces.map(|(index, piece)| Part::Piece(piece, index + 1 == last && !has_trailers)));
    if has_trailers {
        parts.push(Part::Trailers(trailers));
    }
    parts
}
