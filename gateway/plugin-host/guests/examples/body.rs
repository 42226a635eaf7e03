//! Converts ASCII letters of bodies to upper case. Configuration, one a line: `request MODE`, `response MODE`.
//!
//! `stream` changes each chunk and forwards it. `buffer` waits for the whole body. `replace` waits too, and replaces it
//! by its length in decimal. `verdict` holds the head until the whole body has arrived: a body that contains `secret`
//! becomes `451 blocked` (response) or a 403 of the plugin (request), and the head gets the field `x-body-size`. It needs
//! the option `allowOnHeadersStopIteration`.

use std::rc::Rc;

use guests::Guest;
use proxy_wasm::hostcalls;
use proxy_wasm::traits::Context;
use proxy_wasm::traits::HttpContext;
use proxy_wasm::types::Action;
use proxy_wasm::types::BufferType;
use proxy_wasm::types::MapType;

proxy_wasm::main! {{
    guests::register::<Body>();
}}

#[derive(Clone, Copy, Default, PartialEq)]
enum Mode {
    #[default]
    Off,
    Stream,
    Buffer,
    Replace,
    Verdict,
}

#[derive(Default)]
struct Body {
    request: Mode,
    response: Mode,
}

impl Guest for Body {
    fn parse(text: &str) -> Result<Self, String> {
        let mut body = Self::default();
        for words in guests::lines(text) {
            let (direction, mode) = match words[..] {
                ["request", mode] => (&mut body.request, mode),
                ["response", mode] => (&mut body.response, mode),
                _ => return Err(guests::unknown(&words)),
            };
            *direction = match mode {
                "stream" => Mode::Stream,
                "buffer" => Mode::Buffer,
                "replace" => Mode::Replace,
                "verdict" => Mode::Verdict,
                _ => return Err(guests::unknown(&words)),
            };
        }
        Ok(body)
    }

    fn stream(self: &Rc<Self>) -> Box<dyn HttpContext> {
        Box::new(Stream(Rc::clone(self)))
    }
}

struct Stream(Rc<Body>);

/// The maps and buffers of a direction.
#[derive(Clone, Copy)]
struct Side {
    headers: MapType,
    body: BufferType,
    mode: Mode,
}

impl Stream {
    fn request(&self) -> Side {
        Side { headers: MapType::HttpRequestHeaders, body: BufferType::HttpRequestBody, mode: self.0.request }
    }

    fn response(&self) -> Side {
        Side {
            headers: MapType::HttpResponseHeaders,
            body: BufferType::HttpResponseBody,
            mode: self.0.response,
        }
    }

    fn block(&self, side: Side) {
        if side.headers == MapType::HttpRequestHeaders {
            self.send_http_response(403, vec![("x-body", "blocked")], Some(b"blocked\n"));
        } else {
            self.set_http_response_header(":status", Some("451"));
            self.set_http_response_header("x-body", Some("blocked"));
            replace(side, b"blocked\n");
        }
    }
}

fn on_headers(side: Side, is_end: bool) -> Action {
    if side.mode == Mode::Off || is_end {
        return Action::Continue;
    }
    // Hosts keep a length that the guest does not remove.
    let _ = hostcalls::remove_map_value(side.headers, "content-length");
    if side.mode == Mode::Verdict {
        Action::Pause
    } else {
        Action::Continue
    }
}

fn replace(side: Side, body: &[u8]) {
    let _ = hostcalls::set_buffer(side.body, 0, usize::MAX, body);
}

fn bytes(side: Side, size: usize) -> Vec<u8> {
    hostcalls::get_buffer(side.body, 0, size).ok().flatten().unwrap_or_default()
}

fn on_body(stream: &Stream, side: Side, size: usize, is_end: bool) -> Action {
    if side.mode == Mode::Off {
        return Action::Continue;
    }
    if side.mode != Mode::Stream && !is_end {
        return Action::Pause;
    }
    let mut body = bytes(side, size);
    if side.mode == Mode::Replace {
        replace(side, body.len().to_string().as_bytes());
        return Action::Continue;
    }
    if side.mode == Mode::Verdict {
        let _ = hostcalls::set_map_value(side.headers, "x-body-size", Some(&body.len().to_string()));
        if body.windows(6).any(|bytes| bytes == b"secret") {
            stream.block(side);
            return Action::Continue;
        }
    }
    body.make_ascii_uppercase();
    // A body that ends without another byte has nothing to replace.
    if size > 0 {
        replace(side, &body);
    }
    Action::Continue
}

/// A body before a trailer section has no callback with its end. It is buffered until here.
fn on_trailers(stream: &Stream, side: Side) -> Action {
    if side.mode == Mode::Stream {
        return Action::Continue;
    }
    on_body(stream, side, usize::MAX, true)
}

impl Context for Stream {}

impl HttpContext for Stream {
    fn on_http_request_headers(&mut self, _: usize, is_end: bool) -> Action {
        on_headers(self.request(), is_end)
    }

    fn on_http_request_body(&mut self, size: usize, is_end: bool) -> Action {
        on_body(self, self.request(), size, is_end)
    }

    fn on_http_request_trailers(&mut self, _: usize) -> Action {
        on_trailers(self, self.request())
    }

    fn on_http_response_headers(&mut self, _: usize, is_end: bool) -> Action {
        on_headers(self.response(), is_end)
    }

    fn on_http_response_body(&mut self, size: usize, is_end: bool) -> Action {
        on_body(self, self.response(), size, is_end)
    }

    fn on_http_response_trailers(&mut self, _: usize) -> Action {
        on_trailers(self, self.response())
    }
}
