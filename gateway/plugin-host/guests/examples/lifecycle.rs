//! Logs each callback with its context, at level info. Configuration: `tick MILLISECONDS` or nothing.
//!
//! With the field `x-done: later`, the stream ends by `proxy_done` at the next tick.

use std::time::Duration;

use proxy_wasm::hostcalls;
use proxy_wasm::traits::Context;
use proxy_wasm::traits::HttpContext;
use proxy_wasm::traits::RootContext;
use proxy_wasm::types::Action;
use proxy_wasm::types::ContextType;
use proxy_wasm::types::LogLevel;

use std::cell::RefCell;
use std::rc::Rc;

proxy_wasm::main! {{
    proxy_wasm::set_log_level(LogLevel::Info);
    proxy_wasm::set_root_context(|id| Box::new(Root { id, waiting: Rc::default() }));
}}

/// Streams whose end waits for a tick.
type Waiting = Rc<RefCell<Vec<u32>>>;

struct Root {
    id: u32,
    waiting: Waiting,
}

impl Root {
    fn log(&self, what: &str) {
        log::info!("root {}: {what}", self.id);
    }
}

impl Context for Root {
    fn on_done(&mut self) -> bool {
        self.log("on_done");
        true
    }
}

impl RootContext for Root {
    fn on_vm_start(&mut self, size: usize) -> bool {
        let text = String::from_utf8(self.get_vm_configuration().unwrap_or_default()).unwrap_or_default();
        self.log(&format!("on_vm_start {size} {text}"));
        true
    }

    fn on_configure(&mut self, size: usize) -> bool {
        let text = guests::configuration(self);
        self.log(&format!("on_configure {size} {text}"));
        if let Some(millis) = text.strip_prefix("tick ").and_then(|millis| millis.trim().parse().ok()) {
            self.set_tick_period(Duration::from_millis(millis));
        }
        true
    }

    fn on_tick(&mut self) {
        self.log("on_tick");
        for stream in self.waiting.take() {
            let done = hostcalls::set_effective_context(stream).and_then(|()| hostcalls::done());
            log::info!("stream {stream}: done {done:?}");
        }
    }

    fn on_log(&mut self) {
        self.log("on_log");
    }

    fn create_http_context(&self, id: u32) -> Option<Box<dyn HttpContext>> {
        log::info!("stream {id}: created by root {}", self.id);
        Some(Box::new(Stream { id, waiting: Rc::clone(&self.waiting), ends_later: false }))
    }

    fn get_type(&self) -> Option<ContextType> {
        Some(ContextType::HttpContext)
    }
}

struct Stream {
    id: u32,
    waiting: Waiting,
    ends_later: bool,
}

impl Stream {
    fn log(&self, what: &str) {
        log::info!("stream {}: {what}", self.id);
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        self.log("on_delete");
    }
}

impl Context for Stream {
    fn on_done(&mut self) -> bool {
        self.log("on_done");
        if self.ends_later {
            self.waiting.borrow_mut().push(self.id);
        }
        !self.ends_later
    }
}

impl HttpContext for Stream {
    fn on_http_request_headers(&mut self, _: usize, is_end: bool) -> Action {
        self.log(&format!("on_request_headers {is_end}"));
        self.ends_later = self.get_http_request_header("x-done").as_deref() == Some("later");
        Action::Continue
    }

    fn on_http_request_body(&mut self, size: usize, is_end: bool) -> Action {
        self.log(&format!("on_request_body {size} {is_end}"));
        Action::Continue
    }

    fn on_http_request_trailers(&mut self, fields: usize) -> Action {
        self.log(&format!("on_request_trailers {fields}"));
        Action::Continue
    }

    fn on_http_response_headers(&mut self, _: usize, is_end: bool) -> Action {
        self.log(&format!("on_response_headers {is_end}"));
        Action::Continue
    }

    fn on_http_response_body(&mut self, size: usize, is_end: bool) -> Action {
        self.log(&format!("on_response_body {size} {is_end}"));
        Action::Continue
    }

    fn on_http_response_trailers(&mut self, fields: usize) -> Action {
        self.log(&format!("on_response_trailers {fields}"));
        Action::Continue
    }

    fn on_log(&mut self) {
        let status = self.get_http_response_header(":status").unwrap_or_default();
        self.log(&format!("on_log {status}"));
    }
}
