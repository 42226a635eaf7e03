//! Replies with properties. Configuration, one a line: `request PATH`, `response PATH`, `set PATH VALUE`.
//!
//! Segments of a path are separated by dots. `request` lines are the body of a reply with status 200, one property a
//! line as `PATH=VALUE`; without them, the request continues. `response` lines become fields `x-property: PATH=VALUE` of
//! the response. `set` is done first. A value is text, or hexadecimal behind `0x`.

use std::rc::Rc;

use guests::Guest;
use proxy_wasm::traits::Context;
use proxy_wasm::traits::HttpContext;
use proxy_wasm::types::Action;

proxy_wasm::main! {{
    guests::register::<Properties>();
}}

#[derive(Default)]
struct Properties {
    request: Vec<String>,
    response: Vec<String>,
    set: Vec<(String, String)>,
}

impl Guest for Properties {
    fn parse(text: &str) -> Result<Self, String> {
        let mut properties = Self::default();
        for words in guests::lines(text) {
            match words[..] {
                ["request", path] => properties.request.push(path.to_owned()),
                ["response", path] => properties.response.push(path.to_owned()),
                ["set", path, value] => properties.set.push((path.to_owned(), value.to_owned())),
                _ => return Err(guests::unknown(&words)),
            }
        }
        Ok(properties)
    }

    fn stream(self: &Rc<Self>) -> Box<dyn HttpContext> {
        Box::new(Stream(Rc::clone(self)))
    }
}

struct Stream(Rc<Properties>);

impl Stream {
    fn line(&self, path: &str) -> String {
        let value = self.get_property(path.split('.').collect());
        let value = value.map_or_else(|| "(none)".to_owned(), |value| shown(&value));
        format!("{path}={value}")
    }
}

fn shown(value: &[u8]) -> String {
    match std::str::from_utf8(value) {
        Ok(text) if !text.is_empty() && text.chars().all(|c| (' '..='~').contains(&c)) => text.to_owned(),
        _ => value.iter().fold("0x".to_owned(), |text, byte| format!("{text}{byte:02x}")),
    }
}

impl Context for Stream {}

impl HttpContext for Stream {
    fn on_http_request_headers(&mut self, _: usize, _: bool) -> Action {
        for (path, value) in &self.0.set {
            self.set_property(path.split('.').collect(), Some(value.as_bytes()));
        }
        if self.0.request.is_empty() {
            return Action::Continue;
        }
        let body: String = self.0.request.iter().map(|path| self.line(path) + "\n").collect();
        self.send_http_response(200, vec![("content-type", "text/plain")], Some(body.as_bytes()));
        Action::Pause
    }

    fn on_http_response_headers(&mut self, _: usize, _: bool) -> Action {
        for path in &self.0.response {
            self.add_http_response_header("x-property", &self.line(path));
        }
        Action::Continue
    }
}
