//! Demands a key in the field `x-api-key`. Configuration: `{"key": "…", "consumer": "…"}`.
//!
//! With the key, the endpoint gets `x-consumer` instead. Without it, the client gets 401.

use std::rc::Rc;

use guests::Guest;
use proxy_wasm::traits::Context;
use proxy_wasm::traits::HttpContext;
use proxy_wasm::types::Action;
use serde::Deserialize;

proxy_wasm::main! {{
    guests::register::<Auth>();
}}

#[derive(Deserialize)]
struct Auth {
    key: String,
    consumer: String,
}

impl Guest for Auth {
    fn parse(text: &str) -> Result<Self, String> {
        serde_json::from_str(text).map_err(|error| error.to_string())
    }

    fn stream(self: &Rc<Self>) -> Box<dyn HttpContext> {
        Box::new(Stream(Rc::clone(self)))
    }
}

struct Stream(Rc<Auth>);

impl Context for Stream {}

impl HttpContext for Stream {
    fn on_http_request_headers(&mut self, _: usize, _: bool) -> Action {
        // The whole map: a second field of the name must not pass unseen.
        let fields = self.get_http_request_headers_bytes();
        let mut keys = fields.iter().filter(|(name, _)| name == "x-api-key").map(|(_, value)| value);
        let is_valid =
            keys.next().is_some_and(|key| key.as_slice() == self.0.key.as_bytes()) && keys.next().is_none();
        if !is_valid {
            self.send_http_response(
                401,
                vec![("www-authenticate", "Key"), ("x-auth", "refused")],
                Some(b"no valid key\n"),
            );
            return Action::Pause;
        }
        self.set_http_request_header("x-api-key", None);
        self.set_http_request_header("x-consumer", Some(&self.0.consumer));
        Action::Continue
    }
}
