//! Counts requests in shared data, passes their paths through a queue, and keeps metrics. Without configuration.
//!
//! The response gets `x-count` (requests of all instances so far), `x-last` (the last path that arrived by the queue) and
//! `x-ticks` (ticks of this instance). Metrics: the counter `requests`, the gauge `ticks`, the histogram `path_bytes`.

use std::cell::Cell;
use std::rc::Rc;
use std::time::Duration;

use proxy_wasm::hostcalls;
use proxy_wasm::traits::Context;
use proxy_wasm::traits::HttpContext;
use proxy_wasm::traits::RootContext;
use proxy_wasm::types::Action;
use proxy_wasm::types::ContextType;
use proxy_wasm::types::LogLevel;
use proxy_wasm::types::MetricType;
use proxy_wasm::types::Status;

proxy_wasm::main! {{
    proxy_wasm::set_log_level(LogLevel::Info);
    proxy_wasm::set_root_context(|_| Box::new(Root(Rc::default())));
}}

const QUEUE: &str = "paths";
const COUNT: &str = "count";
const LAST: &str = "last";
/// More attempts than instances that could win before this one.
const MAX_ATTEMPTS: u32 = 1000;

/// Identifiers of this instance.
#[derive(Default)]
struct State {
    queue: Cell<u32>,
    requests: Cell<u32>,
    ticks: Cell<u32>,
    path_bytes: Cell<u32>,
    tick_count: Cell<u64>,
}

struct Root(Rc<State>);

impl Context for Root {}

impl RootContext for Root {
    fn on_configure(&mut self, _: usize) -> bool {
        let metric = |kind, name| hostcalls::define_metric(kind, name).unwrap_or_default();
        self.0.queue.set(self.register_shared_queue(QUEUE));
        self.0.requests.set(metric(MetricType::Counter, "requests"));
        self.0.ticks.set(metric(MetricType::Gauge, "ticks"));
        self.0.path_bytes.set(metric(MetricType::Histogram, "path_bytes"));
        self.set_tick_period(Duration::from_millis(20));
        true
    }

    fn on_tick(&mut self) {
        let ticks = self.0.tick_count.get() + 1;
        self.0.tick_count.set(ticks);
        let _ = hostcalls::record_metric(self.0.ticks.get(), ticks);
    }

    fn on_queue_ready(&mut self, queue: u32) {
        while let Ok(Some(path)) = self.dequeue_shared_queue(queue) {
            let _ = self.set_shared_data(LAST, Some(&path), None);
        }
    }

    fn create_http_context(&self, _: u32) -> Option<Box<dyn HttpContext>> {
        Some(Box::new(Stream { state: Rc::clone(&self.0), count: 0 }))
    }

    fn get_type(&self) -> Option<ContextType> {
        Some(ContextType::HttpContext)
    }
}

struct Stream {
    state: Rc<State>,
    /// The number of this request.
    count: u64,
}

impl Stream {
    /// Increments the shared counter, and returns its value. 0 if other instances always won.
    fn increment(&self) -> u64 {
        for _ in 0..MAX_ATTEMPTS {
            let (value, version) = self.get_shared_data(COUNT);
            let count = value.and_then(|value| value.try_into().ok()).map_or(0, u64::from_le_bytes) + 1;
            match self.set_shared_data(COUNT, Some(&count.to_le_bytes()), version) {
                Ok(()) => return count,
                Err(Status::CasMismatch) => {}
                Err(status) => panic!("set_shared_data: {status:?}"),
            }
        }
        0
    }
}

impl Context for Stream {}

impl HttpContext for Stream {
    fn on_http_request_headers(&mut self, _: usize, _: bool) -> Action {
        self.count = self.increment();
        let path = self.get_http_request_header(":path").unwrap_or_default();
        let _ = self.enqueue_shared_queue(self.state.queue.get(), Some(path.as_bytes()));
        let _ = hostcalls::increment_metric(self.state.requests.get(), 1);
        let _ = hostcalls::record_metric(self.state.path_bytes.get(), path.len() as u64);
        Action::Continue
    }

    fn on_http_response_headers(&mut self, _: usize, _: bool) -> Action {
        let last = self.get_shared_data(LAST).0.unwrap_or_default();
        self.set_http_response_header("x-count", Some(&self.count.to_string()));
        self.set_http_response_header("x-last", Some(&String::from_utf8_lossy(&last)));
        self.set_http_response_header("x-ticks", Some(&self.state.tick_count.get().to_string()));
        Action::Continue
    }
}
