//! Edits fields of heads and trailer sections, as its configuration lists: one edit a line, `MAP ACTION NAME VALUE…`.
//!
//! `MAP` is `request`, `response`, `request_trailers` or `response_trailers`. `ACTION` is `set`, `add`, `remove` (without
//! value), or `join`: the value is the name of a field that receives all values of `NAME`, joined by `|`.

use std::rc::Rc;

use guests::Guest;
use proxy_wasm::hostcalls;
use proxy_wasm::traits::Context;
use proxy_wasm::traits::HttpContext;
use proxy_wasm::types::Action;
use proxy_wasm::types::MapType;

proxy_wasm::main! {{
    guests::register::<Headers>();
}}

struct Headers(Vec<Edit>);

/// One edit of a map.
struct Edit {
    map: MapType,
    name: String,
    change: Change,
}

/// What happens to the field.
enum Change {
    Set(String),
    Add(String),
    Remove,
    Join(String),
}

impl Guest for Headers {
    fn parse(text: &str) -> Result<Self, String> {
        guests::lines(text)
            .map(|words| edit(&words).ok_or_else(|| guests::unknown(&words)))
            .collect::<Result<_, _>>()
            .map(Self)
    }

    fn stream(self: &Rc<Self>) -> Box<dyn HttpContext> {
        Box::new(Stream(Rc::clone(self)))
    }
}

fn edit(words: &[&str]) -> Option<Edit> {
    let [map, action, name, value @ ..] = words else { return None };
    let map = match *map {
        "request" => MapType::HttpRequestHeaders,
        "request_trailers" => MapType::HttpRequestTrailers,
        "response" => MapType::HttpResponseHeaders,
        "response_trailers" => MapType::HttpResponseTrailers,
        _ => return None,
    };
    let value = value.join(" ");
    let change = match *action {
        "set" => Change::Set(value),
        "add" => Change::Add(value),
        "remove" => Change::Remove,
        "join" => Change::Join(value),
        _ => return None,
    };
    Some(Edit { map, name: (*name).to_owned(), change })
}

struct Stream(Rc<Headers>);

impl Stream {
    fn apply(&self, map: MapType) -> Action {
        for edit in self.0 .0.iter().filter(|edit| edit.map == map) {
            let name = edit.name.as_str();
            let done = match &edit.change {
                Change::Set(value) => hostcalls::set_map_value(map, name, Some(value)),
                Change::Add(value) => hostcalls::add_map_value(map, name, value),
                Change::Remove => hostcalls::remove_map_value(map, name),
                Change::Join(into) => hostcalls::get_map(map).and_then(|fields| {
                    let values = fields.iter().filter(|(given, _)| given == name);
                    let values: Vec<_> = values.map(|(_, value)| value.as_str()).collect();
                    hostcalls::set_map_value(map, into, Some(&values.join("|")))
                }),
            };
            if let Err(status) = done {
                log::warn!("{map:?} {name}: {status:?}");
            }
        }
        Action::Continue
    }
}

impl Context for Stream {}

impl HttpContext for Stream {
    fn on_http_request_headers(&mut self, _: usize, _: bool) -> Action {
        self.apply(MapType::HttpRequestHeaders)
    }

    fn on_http_request_trailers(&mut self, _: usize) -> Action {
        self.apply(MapType::HttpRequestTrailers)
    }

    fn on_http_response_headers(&mut self, _: usize, _: bool) -> Action {
        self.apply(MapType::HttpResponseHeaders)
    }

    fn on_http_response_trailers(&mut self, _: usize) -> Action {
        self.apply(MapType::HttpResponseTrailers)
    }
}
