//! Makes a gRPC call for each request, and replies with its outcome. Configuration, one a line: `upstream NAME`,
//! `service NAME`, `method NAME`, `message TEXT`, `stream` (a stream instead of a unary call), `count NUMBER` (messages
//! that a stream sends).

use std::rc::Rc;
use std::time::Duration;

use guests::Guest;
use proxy_wasm::traits::Context;
use proxy_wasm::traits::HttpContext;
use proxy_wasm::types::Action;

proxy_wasm::main! {{
    guests::register::<Grpc>();
}}

#[derive(Default)]
struct Grpc {
    upstream: String,
    service: String,
    method: String,
    message: String,
    is_stream: bool,
    count: u32,
}

impl Guest for Grpc {
    fn parse(text: &str) -> Result<Self, String> {
        let mut grpc = Self { count: 1, ..Self::default() };
        for words in guests::lines(text) {
            match words[..] {
                ["upstream", name] => grpc.upstream = name.to_owned(),
                ["service", name] => grpc.service = name.to_owned(),
                ["method", name] => grpc.method = name.to_owned(),
                ["message", text] => grpc.message = text.to_owned(),
                ["stream"] => grpc.is_stream = true,
                ["count", count] => grpc.count = count.parse().map_err(|_| guests::unknown(&words))?,
                _ => return Err(guests::unknown(&words)),
            }
        }
        Ok(grpc)
    }

    fn stream(self: &Rc<Self>) -> Box<dyn HttpContext> {
        Box::new(Stream { grpc: Rc::clone(self), events: String::new() })
    }
}

struct Stream {
    grpc: Rc<Grpc>,
    /// Events of the call so far, one a line.
    events: String,
}

impl Stream {
    fn event(&mut self, text: &str) {
        self.events += text;
        self.events.push('\n');
    }

    fn reply(&mut self, status: u32) {
        self.send_http_response(status, vec![("x-grpc", "done")], Some(self.events.as_bytes()));
    }

    fn fields(fields: &[(String, Vec<u8>)]) -> String {
        let mut fields: Vec<_> = fields
            .iter()
            .filter(|(name, _)| name.starts_with("x-"))
            .map(|(name, value)| format!("{name}={}", String::from_utf8_lossy(value)))
            .collect();
        fields.sort();
        fields.join(",")
    }
}

impl Context for Stream {
    fn on_grpc_call_response(&mut self, _: u32, status: u32, size: usize) {
        let body = self.get_grpc_call_response_body(0, size).unwrap_or_default();
        let message = if status == 0 { None } else { self.get_grpc_status().1 };
        self.event(&format!(
            "response {status} {} {}",
            String::from_utf8_lossy(&body),
            message.unwrap_or_default()
        ));
        self.reply(if status == 0 { 200 } else { 502 });
    }

    fn on_grpc_stream_initial_metadata(&mut self, _: u32, _: u32) {
        let fields = Self::fields(&self.get_grpc_stream_initial_metadata());
        self.event(&format!("initial {fields}"));
    }

    fn on_grpc_stream_message(&mut self, _: u32, size: usize) {
        let message = self.get_grpc_stream_message(0, size).unwrap_or_default();
        self.event(&format!("message {}", String::from_utf8_lossy(&message)));
    }

    fn on_grpc_stream_trailing_metadata(&mut self, _: u32, _: u32) {
        let fields = Self::fields(&self.get_grpc_stream_trailing_metadata());
        self.event(&format!("trailing {fields}"));
    }

    fn on_grpc_stream_close(&mut self, _: u32, status: u32) {
        self.event(&format!("close {status}"));
        self.reply(if status == 0 { 200 } else { 502 });
    }
}

impl HttpContext for Stream {
    fn on_http_request_headers(&mut self, _: usize, _: bool) -> Action {
        let Grpc { upstream, service, method, message, is_stream, count } = &*self.grpc;
        let metadata = vec![("x-from", &b"guest"[..])];
        let message = Some(message.as_bytes());
        let begun = if *is_stream {
            self.open_grpc_stream(upstream, service, method, metadata)
        } else {
            self.dispatch_grpc_call(upstream, service, method, metadata, message, Duration::from_secs(2))
        };
        match begun {
            Ok(token) if *is_stream => {
                for number in 1..=*count {
                    self.send_grpc_stream_message(token, message, number == *count);
                }
            }
            Ok(_) => {}
            Err(status) => {
                self.send_http_response(503, Vec::new(), Some(format!("no call: {status:?}\n").as_bytes()))
            }
        }
        Action::Pause
    }
}
