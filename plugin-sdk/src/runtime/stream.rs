//! A stream: its state, what has arrived of it, and the handler that runs.

use std::cell::Cell;
use std::cell::RefCell;
use std::future::Future;
use std::mem;
use std::pin::Pin;
use std::rc::Rc;
use std::task::Context;
use std::task::Poll;

use super::half::Half;
use super::half::Stage;
use super::root;
use crate::body::Body;
use crate::current_host::host;
use crate::error::Error;
use crate::executor;
use crate::host::Action;
use crate::host::Direction;
use crate::message::Exchange;
use crate::message::Request;
use crate::message::Response;
use crate::message::Trailers;
use crate::plugin::Plugin;
use crate::reply::Flow;
use crate::reply::Reply;

/// Function of the gateway that answers a stream as the plugin's `failStrategy` says.
const FAIL_FUNCTION: &str = "wasm_gateway.fail";

type StreamFuture = Pin<Box<dyn Future<Output = Result<Flow, Error>>>>;

/// A handler that waits.
struct Running {
    direction: Direction,
    stage: Stage,
    future: StreamFuture,
}

/// How a stream ended for the plugin.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Exit {
    /// The request has its response: a reply of the plugin, or one that came early. Handlers of the response run.
    Request,
    /// The plugin replied to a response, or failed. No handler runs.
    Stream,
    /// The plugin failed, and the gateway goes on without it.
    TakenOver,
}

/// A stream.
pub(super) struct Stream<P: Plugin> {
    context: u32,
    /// `None`: the configuration is not valid.
    plugin: Option<Rc<P>>,
    state: Rc<Cell<P::Stream>>,
    halves: RefCell<[Half; 2]>,
    running: RefCell<Option<Running>>,
    exit: Cell<Option<Exit>>,
    /// Whether it ended in the present callback.
    has_just_ended: Cell<bool>,
}

impl<P: Plugin> Stream<P> {
    pub(super) fn new(context: u32, plugin: Option<Rc<P>>) -> Self {
        Self {
            context,
            plugin,
            state: Rc::default(),
            halves: RefCell::default(),
            running: RefCell::new(None),
            exit: Cell::new(None),
            has_just_ended: Cell::new(false),
        }
    }

    pub(super) fn receive_headers(&self, direction: Direction, is_end: bool) {
        if self.accepts(direction) {
            self.with_half(direction, |half| half.receive_headers(is_end));
        }
    }

    pub(super) fn receive_body(&self, direction: Direction, size: usize, is_end: bool) {
        if self.accepts(direction) {
            let progress = self.with_half(direction, Half::body);
            progress.update(size, is_end);
        }
    }

    pub(super) fn receive_trailers(&self, direction: Direction) {
        if self.accepts(direction) {
            let progress = self.with_half(direction, |half| {
                half.receive_trailers();
                half.body()
            });
            progress.end(true);
        }
    }

    /// Returns whether handlers of a direction still run. A part of the response ends handlers that it makes pointless.
    fn accepts(&self, direction: Direction) -> bool {
        if direction == Direction::Response {
            self.cancel_request();
        }
        !self.is_over(direction)
    }

    /// Runs handlers until one waits or none is left.
    pub(super) fn run(&self) {
        executor::clear_ready(self.context, P::CALLBACKS.waits);
        loop {
            let running = self.running.take();
            let Some(mut running) = running.or_else(|| self.next()) else { return };
            let waker = executor::waker(self.context, P::CALLBACKS.waits);
            match running.future.as_mut().poll(&mut Context::from_waker(&waker)) {
                Poll::Pending if P::CALLBACKS.waits => {
                    *self.running.borrow_mut() = Some(running);
                    return;
                }
                Poll::Pending => {
                    let error =
                        Error::new("a handler waits in a macro that the attribute `plugin` does not know");
                    self.finish(running.direction, running.stage, Err(error));
                }
                Poll::Ready(result) => self.finish(running.direction, running.stage, result),
            }
        }
    }

    /// Continues the directions that wait for nothing any more. Returns the action for the direction of the callback.
    pub(super) fn settle(&self, callback: Option<Direction>) -> Action {
        let mut action = Action::Continue;
        for direction in [Direction::Request, Direction::Response] {
            let is_callback = callback == Some(direction);
            let is_blocked = self.is_blocked(direction);
            let was_paused = self.with_half(direction, |half| {
                let was_paused = half.is_paused;
                half.is_paused = is_blocked && (was_paused || is_callback);
                was_paused
            });
            if is_blocked {
                if is_callback {
                    action = Action::Pause;
                }
                continue;
            }
            if is_callback || was_paused {
                self.with_half(direction, |half| half.flush_body());
            }
            if was_paused && !is_callback {
                self.resume(direction);
            }
        }
        // The host sends a reply, so nothing may go on.
        if self.has_just_ended.take() { Action::Pause } else { action }
    }

    fn resume(&self, direction: Direction) {
        if let Err(error) = host().continue_stream(direction) {
            root::log("continue_stream", &error.into());
        }
    }

    /// Ends the stream for the plugin: drops the handler that waits, and runs that of the log.
    pub(super) fn log(&self) {
        self.running.take();
        if let Some(plugin) = &self.plugin {
            let lease = Lease::new(&self.state);
            plugin.on_log(&lease.state, &Exchange::new());
        }
    }

    /// Drops a handler of the request that a response makes pointless: the request has not left, or its body does not come.
    fn cancel_request(&self) {
        let is_pointless = self.running.borrow().as_ref().is_some_and(|running| {
            running.direction == Direction::Request
                && match running.stage {
                    Stage::Headers(_) => true,
                    Stage::Body => self.with_half(Direction::Request, |half| half.is_body_awaited()),
                    Stage::Trailers => false,
                }
        });
        if is_pointless {
            drop(self.running.take());
            self.with_half(Direction::Request, Half::clear);
            self.exit.set(Some(Exit::Request));
        }
    }

    /// Starts the next handler.
    fn next(&self) -> Option<Running> {
        [Direction::Request, Direction::Response].into_iter().find_map(|direction| {
            let stage = self.with_half(direction, |half| half.next(direction, P::CALLBACKS))?;
            Some(Running { direction, stage, future: self.start(direction, stage) })
        })
    }

    fn start(&self, direction: Direction, stage: Stage) -> StreamFuture {
        let Some(plugin) = self.plugin.clone() else {
            return Box::pin(async { Err(Error::new("the plugin has no valid configuration")) });
        };
        let mut lease = Lease::new(&self.state);
        let callbacks = P::CALLBACKS;
        match (direction, stage) {
            (Direction::Request, Stage::Headers(is_end)) if callbacks.on_request => {
                let mut request = Request::new(is_end);
                Box::pin(async move { plugin.on_request(&mut lease.state, &mut request).await })
            }
            (Direction::Response, Stage::Headers(is_end)) if callbacks.on_response => {
                let mut response = Response::new(is_end);
                Box::pin(async move { plugin.on_response(&mut lease.state, &mut response).await })
            }
            (Direction::Request, Stage::Body) if callbacks.on_request_body => {
                let mut body = self.body(direction);
                Box::pin(async move { plugin.on_request_body(&mut lease.state, &mut body).await })
            }
            (Direction::Response, Stage::Body) if callbacks.on_response_body => {
                let mut body = self.body(direction);
                Box::pin(async move { plugin.on_response_body(&mut lease.state, &mut body).await })
            }
            (Direction::Request, Stage::Trailers) if callbacks.on_request_trailers => {
                let mut trailers = Trailers::new(direction);
                Box::pin(async move { plugin.on_request_trailers(&mut lease.state, &mut trailers).await })
            }
            (Direction::Response, Stage::Trailers) if callbacks.on_response_trailers => {
                let mut trailers = Trailers::new(direction);
                Box::pin(async move { plugin.on_response_trailers(&mut lease.state, &mut trailers).await })
            }
            // `Half::next` returns stages with a handler only.
            _ => Box::pin(async { Ok(Flow::Continue) }),
        }
    }

    fn body(&self, direction: Direction) -> Body {
        Body::new(direction, self.with_half(direction, Half::body))
    }

    fn finish(&self, direction: Direction, stage: Stage, result: Result<Flow, Error>) {
        let reply = match result {
            Ok(Flow::Continue) => return,
            Ok(Flow::Reply(reply)) => reply.send().map_err(Error::from),
            Err(error) => Err(error),
        };
        let exit = match reply {
            Ok(()) if direction == Direction::Request => Exit::Request,
            Ok(()) => Exit::Stream,
            Err(error) => fail(handler_name(direction, stage), &error),
        };
        self.exit.set(Some(exit));
        self.has_just_ended.set(true);
        // The host does not wait for the plugin any more.
        self.with_half(Direction::Request, Half::clear);
        self.with_half(Direction::Response, Half::clear);
    }

    /// Returns whether handlers of a direction do not run any more.
    fn is_over(&self, direction: Direction) -> bool {
        match self.exit.get() {
            None => false,
            Some(Exit::Request) => direction == Direction::Request,
            Some(Exit::Stream | Exit::TakenOver) => true,
        }
    }

    /// Returns whether a direction waits for a handler, or stays stopped because it has its response.
    fn is_blocked(&self, direction: Direction) -> bool {
        if self.is_over(direction) {
            return direction == Direction::Request && self.exit.get() != Some(Exit::TakenOver);
        }
        let is_running = self.running.borrow().as_ref().is_some_and(|running| running.direction == direction);
        is_running || self.with_half(direction, |half| half.has_next(direction, P::CALLBACKS))
    }

    fn with_half<T>(&self, direction: Direction, run: impl FnOnce(&mut Half) -> T) -> T {
        let [request, response] = &mut *self.halves.borrow_mut();
        run(match direction {
            Direction::Request => request,
            Direction::Response => response,
        })
    }
}

/// Logs the error of a handler and lets the host answer.
fn fail(handler: &str, error: &Error) -> Exit {
    root::log(handler, error);
    if host().call_foreign_function(FAIL_FUNCTION, error.to_string().as_bytes()).is_ok() {
        return Exit::TakenOver;
    }
    // The host is not the gateway: fail closed.
    if let Err(error) = Reply::new(503).details("plugin_error").send() {
        root::log(handler, &error.into());
    }
    Exit::Stream
}

fn handler_name(direction: Direction, stage: Stage) -> &'static str {
    match (direction, stage) {
        (Direction::Request, Stage::Headers(_)) => "on_request",
        (Direction::Request, Stage::Body) => "on_request_body",
        (Direction::Request, Stage::Trailers) => "on_request_trailers",
        (Direction::Response, Stage::Headers(_)) => "on_response",
        (Direction::Response, Stage::Body) => "on_response_body",
        (Direction::Response, Stage::Trailers) => "on_response_trailers",
    }
}

/// The state of a stream while a handler uses it. Dropping it returns the state, also if the handler's future is dropped.
struct Lease<S: Default> {
    home: Rc<Cell<S>>,
    state: S,
}

impl<S: Default> Lease<S> {
    fn new(home: &Rc<Cell<S>>) -> Self {
        Self { home: Rc::clone(home), state: home.take() }
    }
}

impl<S: Default> Drop for Lease<S> {
    fn drop(&mut self) {
        self.home.set(mem::take(&mut self.state));
    }
}
