//! Asks an upstream about each request, and waits for its response.
//!
//! Configuration, one a line: `upstream NAME`, `path PATH`, `field NAME` (of the response, copied to the request),
//! `timeout MILLISECONDS`, `phase request_headers|request_body|response_headers` (default `request_headers`). Status 200
//! continues, 403 denies, anything else and a failed call is a 503.

use std::rc::Rc;
use std::time::Duration;

use guests::Guest;
use proxy_wasm::traits::Context;
use proxy_wasm::traits::HttpContext;
use proxy_wasm::types::Action;

proxy_wasm::main! {{
    guests::register::<Callout>();
}}

#[derive(Clone, Copy, PartialEq)]
enum Phase {
    RequestHeaders,
    RequestBody,
    ResponseHeaders,
}

struct Callout {
    upstream: String,
    path: String,
    field: String,
    timeout: Duration,
    phase: Phase,
}

impl Guest for Callout {
    fn parse(text: &str) -> Result<Self, String> {
        let mut callout = Self {
            upstream: String::new(),
            path: "/".to_owned(),
            field: "x-user".to_owned(),
            timeout: Duration::from_secs(1),
            phase: Phase::RequestHeaders,
        };
        for words in guests::lines(text) {
            match words[..] {
                ["upstream", name] => callout.upstream = name.to_owned(),
                ["path", path] => callout.path = path.to_owned(),
                ["field", name] => callout.field = name.to_owned(),
                ["timeout", millis] => {
                    callout.timeout =
                        Duration::from_millis(millis.parse().map_err(|_| guests::unknown(&words))?);
                }
                ["phase", "request_headers"] => callout.phase = Phase::RequestHeaders,
                ["phase", "request_body"] => callout.phase = Phase::RequestBody,
                ["phase", "response_headers"] => callout.phase = Phase::ResponseHeaders,
                _ => return Err(guests::unknown(&words)),
            }
        }
        Ok(callout)
    }

    fn stream(self: &Rc<Self>) -> Box<dyn HttpContext> {
        Box::new(Stream { callout: Rc::clone(self), path: String::new() })
    }
}

struct Stream {
    callout: Rc<Callout>,
    /// Path of the request.
    path: String,
}

impl Stream {
    fn ask(&mut self) -> Action {
        let Callout { upstream, path, timeout, .. } = &*self.callout;
        let fields = vec![
            (":method", "POST"),
            (":path", path.as_str()),
            (":authority", "check.example"),
            ("x-original-path", self.path.as_str()),
        ];
        if let Err(status) = self.dispatch_http_call(upstream, fields, Some(b"ask"), Vec::new(), *timeout) {
            self.refuse(503, &format!("no call: {status:?}\n"));
        }
        Action::Pause
    }

    fn refuse(&self, status: u32, body: &str) {
        self.send_http_response(status, vec![("x-callout", "refused")], Some(body.as_bytes()));
    }
}

impl Context for Stream {
    fn on_http_call_response(&mut self, _: u32, fields: usize, body_size: usize, _: usize) {
        if fields == 0 {
            return self.refuse(503, "the call failed\n");
        }
        let status = self.get_http_call_response_header(":status").unwrap_or_default();
        let body = self.get_http_call_response_body(0, body_size).unwrap_or_default();
        let body = String::from_utf8_lossy(&body);
        match status.as_str() {
            "200" => {
                let name = self.callout.field.as_str();
                let value = self.get_http_call_response_header(name);
                let value = value.as_deref();
                match self.callout.phase {
                    Phase::RequestHeaders => {
                        self.set_http_request_header(name, value);
                        self.resume_http_request();
                    }
                    Phase::RequestBody => self.resume_http_request(),
                    Phase::ResponseHeaders => {
                        self.set_http_response_header(name, value);
                        self.resume_http_response();
                    }
                }
            }
            "403" => self.refuse(403, &format!("denied: {body}\n")),
            _ => self.refuse(503, &format!("the upstream replied {status}\n")),
        }
    }
}

impl HttpContext for Stream {
    fn on_http_request_headers(&mut self, _: usize, _: bool) -> Action {
        self.path = self.get_http_request_header(":path").unwrap_or_default();
        if self.callout.phase == Phase::RequestHeaders {
            self.ask()
        } else {
            Action::Continue
        }
    }

    fn on_http_request_body(&mut self, _: usize, is_end: bool) -> Action {
        match self.callout.phase {
            Phase::RequestBody if is_end => self.ask(),
            Phase::RequestBody => Action::Pause,
            _ => Action::Continue,
        }
    }

    fn on_http_response_headers(&mut self, _: usize, _: bool) -> Action {
        // A local reply of this guest passes here too. It needs no second call.
        let is_own = self.get_http_response_header("x-callout").is_some();
        if self.callout.phase == Phase::ResponseHeaders && !is_own {
            self.ask()
        } else {
            Action::Continue
        }
    }
}
