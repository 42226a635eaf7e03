//! Has all callbacks, and does nothing in any of them.

use std::rc::Rc;

use guests::Guest;
use proxy_wasm::traits::Context;
use proxy_wasm::traits::HttpContext;

proxy_wasm::main! {{
    guests::register::<Noop>();
}}

struct Noop;

impl Guest for Noop {
    fn parse(_: &str) -> Result<Self, String> {
        Ok(Self)
    }

    fn stream(self: &Rc<Self>) -> Box<dyn HttpContext> {
        Box::new(Stream)
    }
}

struct Stream;

impl Context for Stream {}

impl HttpContext for Stream {}
