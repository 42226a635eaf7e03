//! A plugin that runs in the mock host.

use std::fmt;
use std::rc::Rc;
use std::time::Duration;

use super::answer::Answer;
use super::host_calls::HostCalls;
use super::state::Delivered;
use super::state::State;
use crate::current_host::enter;
use crate::plugin::Plugin;
use crate::runtime::Runtime;

/// A plugin that runs in the mock host.
pub struct TestPlugin<P: Plugin> {
    host: Rc<HostCalls>,
    runtime: Runtime<P>,
}

impl<P: Plugin> TestPlugin<P> {
    pub(super) fn new(host: Rc<HostCalls>) -> Self {
        Self { host, runtime: Runtime::new() }
    }

    pub(super) fn configure(&self) -> bool {
        let (root, size) = self.with_state(|state| (state.root, state.configuration.len()));
        self.call(root, |runtime| {
            runtime.on_context_create(root, 0);
            runtime.on_configure(root, size)
        })
    }

    /// Adds the answer to a callout. The first callout receives the first answer.
    pub fn answer(&self, answer: impl Into<Answer>) {
        self.with_state(|state| state.answers.push_back(answer.into()));
    }

    /// Answers callouts until none is in flight, for instance those of `on_start`.
    pub fn answer_callouts(&self) {
        while self.answer_next() {}
    }

    /// Answers the oldest callout. Returns false if none is in flight.
    pub(super) fn answer_next(&self) -> bool {
        let answer = self.with_state(|state| {
            let is_waiting = state.callouts.iter().any(|callout| !callout.is_answered);
            is_waiting.then(|| state.answers.pop_front().unwrap_or(Answer::Timeout))
        });
        answer.is_some_and(|answer| self.deliver(answer))
    }

    /// Delivers an answer to the oldest callout. Returns false if none is in flight.
    pub fn deliver(&self, answer: impl Into<Answer>) -> bool {
        let answer = answer.into();
        let found = self.with_state(|state| {
            let callout = state.callouts.iter_mut().find(|callout| !callout.is_answered)?;
            callout.is_answered = true;
            if matches!(answer, Answer::Timeout) {
                state.now += callout.timeout;
            }
            let (token, root) = (callout.token, state.root);
            state.delivered = Some(delivered(&answer));
            Some((token, root))
        });
        let Some((token, root)) = found else { return false };
        self.call(root, |runtime| match answer {
            Answer::Response(response) => {
                let headers = u32::try_from(response.0.headers.len()).unwrap_or(u32::MAX);
                let size = response.0.pieces.iter().map(Vec::len).sum();
                runtime.on_http_call_response(root, token, headers, size);
            }
            Answer::Reset | Answer::Timeout => runtime.on_http_call_response(root, token, 0, 0),
            #[cfg(feature = "grpc")]
            Answer::GrpcMessage(message) => runtime.on_grpc_receive(root, token, message.len()),
            #[cfg(feature = "grpc")]
            Answer::GrpcStatus(status, _) => runtime.on_grpc_close(root, token, status),
        });
        self.with_state(|state| state.delivered = None);
        true
    }

    /// Advances the clock. The timer of the plugin runs as often as its period fits.
    pub fn advance(&self, duration: Duration) {
        let (mut rest, period) = (duration, self.tick_period());
        while !period.is_zero() && rest >= period {
            self.with_state(|state| state.now += period);
            self.tick();
            rest -= period;
        }
        self.with_state(|state| state.now += rest);
    }

    /// Runs the timer once.
    pub fn tick(&self) {
        let root = self.with_state(|state| state.root);
        self.call(root, |runtime| runtime.on_tick(root));
    }

    /// Returns the period of the timer. Zero: it does not run.
    pub fn tick_period(&self) -> Duration {
        self.with_state(|state| state.tick_period)
    }

    /// Returns all log lines, as `level: message`.
    pub fn log(&self) -> Vec<String> {
        self.with_state(|state| state.log.iter().map(ToString::to_string).collect())
    }

    /// Returns the value of a counter or gauge, or the last one of a histogram.
    pub fn metric(&self, name: &str) -> Option<u64> {
        self.with_state(|state| {
            state.metrics.iter().find(|metric| metric.name == name).map(|metric| metric.value)
        })
    }

    /// Returns a value of the shared data.
    pub fn shared_data(&self, key: &str) -> Option<Vec<u8>> {
        self.with_state(|state| state.shared_data.get(key).map(|(value, _)| value.clone()))
    }

    /// Lets another instance write a value just before the plugin's next write with a version. Several calls: before each.
    pub fn conflict(&self, key: &str, value: impl Into<Vec<u8>>) {
        let value = value.into();
        self.with_state(|state| state.conflicts.entry(key.to_owned()).or_default().push_back(value));
    }

    /// Returns a property, for instance one that the plugin set.
    pub fn property<const N: usize>(&self, path: [&str; N]) -> Option<Vec<u8>> {
        self.with_state(|state| state.properties.get(path.join("\0").as_bytes()).cloned())
    }

    /// Returns the calls that no host accepts, such as a second reply, with the reason.
    pub fn misuse(&self) -> Vec<String> {
        self.with_state(|state| state.misuse.clone())
    }

    pub(super) fn with_state<T>(&self, run: impl FnOnce(&mut State) -> T) -> T {
        run(&mut self.host.0.borrow_mut())
    }

    /// Calls the plugin as the host does: in a context.
    pub(super) fn call<T>(&self, context: u32, call: impl FnOnce(&Runtime<P>) -> T) -> T {
        self.with_state(|state| state.effective = context);
        let _entered = enter(Rc::clone(&self.host) as _);
        call(&self.runtime)
    }
}

impl<P: Plugin> fmt::Debug for TestPlugin<P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TestPlugin").finish_non_exhaustive()
    }
}

/// Returns what the host holds while it delivers an answer.
fn delivered(answer: &Answer) -> Delivered {
    match answer {
        #[cfg_attr(not(feature = "grpc"), expect(clippy::needless_update, reason = "gRPC has more fields"))]
        Answer::Response(response) => Delivered {
            headers: response.0.headers.clone(),
            body: response.0.pieces.concat(),
            trailers: response.0.trailers.clone(),
            ..Delivered::default()
        },
        Answer::Reset | Answer::Timeout => Delivered::default(),
        #[cfg(feature = "grpc")]
        Answer::GrpcMessage(message) => Delivered { body: message.clone(), ..Delivered::default() },
        #[cfg(feature = "grpc")]
        Answer::GrpcStatus(_, message) => Delivered { message: message.clone(), ..Delivered::default() },
    }
}
