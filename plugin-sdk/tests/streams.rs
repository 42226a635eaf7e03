//! Order of handlers, replies, failures and state of streams.
#![allow(clippy::unwrap_used, reason = "tests fail by panicking")]

use std::cell::Cell;
use std::rc::Rc;

use plugin_sdk::prelude::*;
use plugin_sdk::test::Direction;
use plugin_sdk::test::MockHost;
use plugin_sdk::test::MockRequest;
use plugin_sdk::test::MockResponse;

/// What handlers do, by the request header `do`: words `HANDLER=ACTION`.
struct Script;

/// Handlers that ran, in order.
#[derive(Default)]
struct Steps {
    script: String,
    steps: Vec<&'static str>,
}

impl Steps {
    /// Notes a handler and does what the script says.
    fn run(&mut self, handler: &'static str) -> Result<Flow, Error> {
        self.steps.push(handler);
        let mut words = self.script.split(' ').filter_map(|word| word.split_once('='));
        match words.find(|(of, _)| *of == handler).map(|(_, action)| action) {
            Some("reply") => Ok(Reply::new(418).header("x-by", handler).body("short").details("test").into()),
            Some("fail") => Err(Error::new("as the script says")),
            Some("badreply") => Ok(Reply::new(200).into()),
            _ => Ok(Flow::Continue),
        }
    }
}

#[plugin]
impl Plugin for Script {
    type Stream = Steps;

    fn new(_: NoConfig, _: &RootContext) -> Result<Self, Error> {
        Ok(Self)
    }

    async fn on_request(&self, stream: &mut Steps, request: &mut Request) -> Result<Flow, Error> {
        stream.script = request.get("do")?.unwrap_or_default();
        request.remove("do")?;
        stream.run("request")
    }

    async fn on_request_body(&self, stream: &mut Steps, _: &mut Body) -> Result<Flow, Error> {
        stream.run("request_body")
    }

    async fn on_request_trailers(&self, stream: &mut Steps, trailers: &mut Trailers) -> Result<Flow, Error> {
        trailers.set("x-seen", "1")?;
        stream.run("request_trailers")
    }

    async fn on_response(&self, stream: &mut Steps, response: &mut Response) -> Result<Flow, Error> {
        response.append("x-passed", "1")?;
        stream.run("response")
    }

    async fn on_response_body(&self, stream: &mut Steps, _: &mut Body) -> Result<Flow, Error> {
        stream.run("response_body")
    }

    async fn on_response_trailers(&self, stream: &mut Steps, _: &mut Trailers) -> Result<Flow, Error> {
        stream.run("response_trailers")
    }

    fn on_log(&self, stream: &Steps, exchange: &Exchange) {
        let status = exchange.response().status().unwrap_or_default();
        log::info!("{}: {status}", stream.steps.join(","));
    }
}

/// A request with body and trailers.
fn request(script: &str) -> MockRequest {
    MockRequest::new("POST", "/").header("do", script).body("one").body("two").trailer("x-sum", "1")
}

fn response() -> MockResponse {
    MockResponse::new(200).body("ok").trailer("x-sum", "2")
}

#[test]
fn handlers_run_in_the_order_of_the_exchange() {
    let plugin = MockHost::new().start::<Script>("").unwrap();
    let exchange = plugin.exchange(request(""), response());
    let expected = "info: request,request_body,request_body,request_body,request_trailers,response,response_body,\
                    response_body,response_trailers: 200";
    assert_eq!(plugin.log(), [expected]);
    let (request, response) = (exchange.request.unwrap(), exchange.response.unwrap());
    assert_eq!((request.text(), request.header("do")), ("onetwo".into(), None));
    assert_eq!(request.trailers.last().unwrap(), &("x-seen".to_owned(), b"1".to_vec()));
    assert_eq!(response.header("x-passed").unwrap(), "1");
}

#[test]
fn message_without_body_runs_the_handler_of_its_head_only() {
    let plugin = MockHost::new().start::<Script>("").unwrap();
    plugin.exchange(MockRequest::get("/"), MockResponse::new(204));
    assert_eq!(plugin.log(), ["info: request,response: 204"]);
}

#[test]
fn reply_ends_the_message_and_passes_the_response_handlers() {
    struct Row {
        script: &'static str,
        steps: &'static str,
        reaches_endpoint: bool,
        passes_response: bool,
    }
    for Row { script, steps, reaches_endpoint, passes_response } in [
        Row {
            script: "request=reply",
            steps: "request,response,response_body",
            reaches_endpoint: false,
            passes_response: true,
        },
        Row {
            script: "request_body=reply",
            steps: "request,request_body,response,response_body",
            reaches_endpoint: false,
            passes_response: true,
        },
        Row {
            script: "request_trailers=reply",
            steps: "request,request_body,request_body,request_body,request_trailers,response,response_body",
            reaches_endpoint: false,
            passes_response: true,
        },
        Row {
            script: "response=reply",
            steps: "request,request_body,request_body,request_body,request_trailers,response",
            reaches_endpoint: true,
            passes_response: false,
        },
    ] {
        let plugin = MockHost::new().start::<Script>("").unwrap();
        let exchange = plugin.exchange(request(script), response());
        assert_eq!(plugin.log(), [format!("info: {steps}: 418")], "{script}");
        assert_eq!(exchange.request.is_some(), reaches_endpoint, "{script}");
        let reply = exchange.response.unwrap();
        assert_eq!((reply.status(), reply.text()), (418, "short".into()), "{script}");
        assert_eq!(reply.header("x-passed").is_some(), passes_response, "{script}");
        assert_eq!(plugin.misuse(), [""; 0], "{script}");
    }
}

#[test]
fn reply_has_its_details() {
    let plugin = MockHost::new().start::<Script>("").unwrap();
    let mut stream = plugin.stream();
    stream.request(MockRequest::get("/").header("do", "request=reply"));
    assert_eq!(stream.reply_details(), Some(("test".to_owned(), None)));
}

#[test]
fn failure_is_logged_and_left_to_the_gateway() {
    struct Row {
        host: fn() -> MockHost,
        status: u16,
        reaches_endpoint: bool,
    }
    for (name, Row { host, status, reaches_endpoint }) in [
        ("closed", Row { host: MockHost::new, status: 503, reaches_endpoint: false }),
        ("open", Row { host: || MockHost::new().fail_open(), status: 200, reaches_endpoint: true }),
        (
            "Envoy",
            Row { host: || MockHost::new().without_fail_function(), status: 503, reaches_endpoint: false },
        ),
    ] {
        for handler in ["request", "request_body", "request_trailers"] {
            let plugin = host().start::<Script>("").unwrap();
            let exchange = plugin.exchange(request(&format!("{handler}=fail")), response());
            let line = format!("error: on_{handler}: as the script says");
            assert_eq!(plugin.log().first(), Some(&line), "{name}");
            assert_eq!(exchange.request.is_some(), reaches_endpoint, "{name}: {handler}");
            assert_eq!(exchange.response.unwrap().status(), status, "{name}: {handler}");
            let steps = plugin.log().pop().unwrap();
            assert!(!steps.contains("response"), "no handler runs after a failure: {steps}");
        }
    }
}

#[test]
fn failure_without_the_gateway_replies_503_with_details() {
    let plugin = MockHost::new().without_fail_function().start::<Script>("").unwrap();
    let mut stream = plugin.stream();
    stream.request(MockRequest::get("/").header("do", "request=fail"));
    assert_eq!(stream.reply_details(), Some(("plugin_error".to_owned(), None)));
    assert_eq!(stream.finish().response.unwrap().status(), 503);
}

#[test]
fn failure_in_the_response_hides_the_response() {
    for host in [MockHost::new(), MockHost::new().without_fail_function()] {
        let plugin = host.start::<Script>("").unwrap();
        let exchange = plugin.exchange(request("response=fail"), response());
        let response = exchange.response.unwrap();
        assert_eq!((response.status(), response.text()), (503, "".into()));
    }
}

#[test]
fn state_belongs_to_its_stream() {
    let plugin = MockHost::new().start::<Script>("").unwrap();
    let (mut one, mut other) = (plugin.stream(), plugin.stream());
    one.request(MockRequest::get("/"));
    other.request(MockRequest::get("/"));
    one.respond(MockResponse::new(200));
    drop(one);
    drop(other);
    assert_eq!(plugin.log(), ["info: request,response: 200", "info: request: 0"]);
}

/// Counts its streams.
struct Counted {
    streams: Rc<Cell<u32>>,
}

#[derive(Default)]
struct Guard(Option<Rc<Cell<u32>>>);

impl Drop for Guard {
    fn drop(&mut self) {
        if let Some(streams) = &self.0 {
            streams.set(streams.get() - 1);
        }
    }
}

#[plugin]
impl Plugin for Counted {
    type Stream = Guard;

    fn new(_: NoConfig, _: &RootContext) -> Result<Self, Error> {
        Ok(Self { streams: Rc::default() })
    }

    async fn on_request(&self, stream: &mut Guard, request: &mut Request) -> Result<Flow, Error> {
        self.streams.set(self.streams.get() + 1);
        stream.0 = Some(Rc::clone(&self.streams));
        request.set("x-streams", self.streams.get().to_string())?;
        callout::http("a:1").send().await?;
        Ok(Flow::Continue)
    }
}

#[test]
fn state_is_dropped_with_a_stream_that_waits() {
    let plugin = MockHost::new().start::<Counted>("").unwrap();
    for _ in 0..3 {
        let mut stream = plugin.stream();
        stream.request(MockRequest::get("/"));
        assert!(stream.is_waiting(Direction::Request));
    }
    for _ in 0..3 {
        assert!(plugin.deliver(MockResponse::new(200)), "the host answers callouts of dropped streams too");
    }
    let exchange = plugin.exchange(MockRequest::get("/"), MockResponse::new(200));
    plugin.answer_callouts();
    assert_eq!(exchange.callouts.len(), 1);
    assert_eq!(plugin.log(), ["error: on_request: no response within the timeout"]);
}

#[test]
fn configuration_of_another_type_is_refused() {
    let error = MockHost::new().start::<Script>("[]").unwrap_err();
    assert_eq!(error.to_string(), "error: new: configuration: expected struct NoConfig, found an array");
}
