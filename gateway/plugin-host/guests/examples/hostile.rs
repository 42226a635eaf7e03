//! Misbehaves. Configuration, one a line: `PHASE ACTION`, and `if NAME VALUE` for requests with this field only.
//!
//! Phases: `vm_start`, `configure`, `create`, `request_headers`, `request_body`, `request_trailers`, `response_headers`,
//! `response_body`, `response_trailers`, `done`, `log`, `delete`, `tick`. Actions: `panic`, `loop`, `grab` (memory until
//! none is left, then a panic), `deep` (recursion), `hostcalls` (a million), `exit`, `refuse` (of a start), `reset` (of the
//! stream), `pause` (without an end), `logs` (a million lines), `busy` (5 ms), `fail` (of the stream, by the gateway's
//! foreign function).

use std::rc::Rc;
use std::time::Duration;

use proxy_wasm::hostcalls;
use proxy_wasm::traits::Context;
use proxy_wasm::traits::HttpContext;
use proxy_wasm::traits::RootContext;
use proxy_wasm::types::Action;
use proxy_wasm::types::ContextType;
use proxy_wasm::types::LogLevel;

proxy_wasm::main! {{
    proxy_wasm::set_log_level(LogLevel::Info);
    proxy_wasm::set_root_context(|_| Box::new(Root(Rc::default())));
}}

#[derive(Default)]
struct Hostile {
    faults: Vec<(String, String)>,
    /// Streams that misbehave have this field.
    condition: Option<(String, String)>,
}

impl Hostile {
    fn parse(text: &str) -> Self {
        let mut hostile = Self::default();
        for words in guests::lines(text) {
            match words[..] {
                ["if", name, value] => hostile.condition = Some((name.to_owned(), value.to_owned())),
                [phase, action] => hostile.faults.push((phase.to_owned(), action.to_owned())),
                _ => log::warn!("{}", guests::unknown(&words)),
            }
        }
        hostile
    }

    /// Carries out the action of a phase. Returns false if it refuses.
    fn act(&self, phase: &str) -> bool {
        self.faults.iter().filter(|(of, _)| of == phase).all(|(_, action)| act(action))
    }

    fn pauses(&self, phase: &str) -> Action {
        let is_paused = self.faults.iter().any(|(of, action)| of == phase && action == "pause");
        if is_paused {
            Action::Pause
        } else {
            Action::Continue
        }
    }
}

fn act(action: &str) -> bool {
    match action {
        "panic" => panic!("as configured"),
        "loop" => spin(),
        "grab" => grab(),
        "deep" => log::info!("{}", deep(std::hint::black_box(u64::MAX))),
        "hostcalls" => {
            for _ in 0..1_000_000 {
                let _ = hostcalls::get_current_time();
            }
        }
        "logs" => (0..1_000_000).for_each(|number| log::info!("line {number}")),
        "busy" => {
            let began_at = std::time::Instant::now();
            while began_at.elapsed() < Duration::from_millis(5) {}
        }
        "fail" => {
            let _ = hostcalls::call_foreign_function("wasm_gateway.fail", Some(b"as configured"));
        }
        "exit" => std::process::exit(3),
        "reset" => return hostcalls::reset_http_request().is_ok(),
        "refuse" => {
            log::error!("refused as configured");
            return false;
        }
        _ => {}
    }
    true
}

fn spin() {
    let mut number = 0_u64;
    while std::hint::black_box(number) < u64::MAX {
        number += 1;
    }
}

fn grab() {
    let mut memory = Vec::new();
    loop {
        memory.push(std::hint::black_box(vec![1_u8; 1 << 20]));
    }
}

/// Recurs without an end that a compiler could see.
fn deep(depth: u64) -> u64 {
    if std::hint::black_box(depth) == 0 {
        return 0;
    }
    std::hint::black_box(deep(depth - 1)) + depth % 2
}

struct Root(Rc<Hostile>);

impl Context for Root {}

impl RootContext for Root {
    fn on_vm_start(&mut self, _: usize) -> bool {
        let text = String::from_utf8(self.get_vm_configuration().unwrap_or_default()).unwrap_or_default();
        Hostile::parse(&text).act("vm_start")
    }

    fn on_configure(&mut self, _: usize) -> bool {
        self.0 = Rc::new(Hostile::parse(&guests::configuration(self)));
        if self.0.faults.iter().any(|(phase, _)| phase == "tick") {
            self.set_tick_period(Duration::from_millis(20));
        }
        self.0.act("configure")
    }

    fn on_tick(&mut self) {
        self.0.act("tick");
    }

    fn create_http_context(&self, _: u32) -> Option<Box<dyn HttpContext>> {
        self.0.act("create");
        Some(Box::new(Stream { hostile: Rc::clone(&self.0), is_meant: self.0.condition.is_none() }))
    }

    fn get_type(&self) -> Option<ContextType> {
        Some(ContextType::HttpContext)
    }
}

struct Stream {
    hostile: Rc<Hostile>,
    /// Whether the stream meets the condition.
    is_meant: bool,
}

impl Stream {
    fn act(&self, phase: &str) -> Action {
        if !self.is_meant {
            return Action::Continue;
        }
        self.hostile.act(phase);
        self.hostile.pauses(phase)
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        self.act("delete");
    }
}

impl Context for Stream {
    fn on_done(&mut self) -> bool {
        self.act("done");
        true
    }
}

impl HttpContext for Stream {
    fn on_http_request_headers(&mut self, _: usize, _: bool) -> Action {
        if let Some((name, value)) = &self.hostile.condition {
            self.is_meant = self.get_http_request_header(name).as_ref() == Some(value);
        }
        self.act("request_headers")
    }

    fn on_http_request_body(&mut self, _: usize, _: bool) -> Action {
        self.act("request_body")
    }

    fn on_http_request_trailers(&mut self, _: usize) -> Action {
        self.act("request_trailers")
    }

    fn on_http_response_headers(&mut self, _: usize, _: bool) -> Action {
        self.act("response_headers")
    }

    fn on_http_response_body(&mut self, _: usize, _: bool) -> Action {
        self.act("response_body")
    }

    fn on_http_response_trailers(&mut self, _: usize) -> Action {
        self.act("response_trailers")
    }

    fn on_log(&mut self) {
        self.act("log");
    }
}
