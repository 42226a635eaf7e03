//! Handlers that wait for callouts.
#![allow(clippy::unwrap_used, reason = "tests fail by panicking")]

use std::cell::RefCell;
use std::future::poll_fn;
use std::task::Poll;
use std::task::Waker;

use plugin_sdk::SingleFlight;
use plugin_sdk::prelude::*;
use plugin_sdk::test::Answer;
use plugin_sdk::test::Direction;
use plugin_sdk::test::MockHost;
use plugin_sdk::test::MockRequest;
use plugin_sdk::test::MockResponse;
use plugin_sdk::test::TestPlugin;

/// Asks an upstream in the handlers that the configuration names.
struct Ask {
    settings: Settings,
}

/// Configuration.
#[derive(Deserialize, Config)]
struct Settings {
    handlers: Vec<String>,
}

#[derive(Default)]
struct Count(u32);

impl Ask {
    async fn ask(&self, handler: &str, count: &mut Count) -> Result<Flow, Error> {
        count.0 += 1;
        if !self.settings.handlers.iter().any(|name| name == handler) {
            return Ok(Flow::Continue);
        }
        let call = callout::http("shop/authz:8080").method("POST").path(["/", handler].concat());
        let call = call.header("x-count", count.0.to_string()).body("ask").trailer("x-sum", "1");
        match call.timeout(Duration::from_millis(250)).send().await {
            Ok(answer) if answer.status() == 200 => {
                log::info!(
                    "{handler}: {} {:?} {:?}",
                    String::from_utf8_lossy(answer.body()),
                    answer.headers().get("x-user"),
                    answer.trailers().get("x-end")
                );
                Ok(Flow::Continue)
            }
            Ok(answer) => Ok(Reply::new(answer.status()).into()),
            Err(error) => {
                log::warn!("{handler}: {error}");
                Ok(Reply::new(504).into())
            }
        }
    }
}

#[plugin]
impl Plugin for Ask {
    type Config = Settings;
    type Stream = Count;

    fn new(settings: Settings, _: &RootContext) -> Result<Self, Error> {
        Ok(Self { settings })
    }

    async fn on_request(&self, stream: &mut Count, _: &mut Request) -> Result<Flow, Error> {
        self.ask("request", stream).await
    }

    async fn on_request_body(&self, stream: &mut Count, _: &mut Body) -> Result<Flow, Error> {
        self.ask("request_body", stream).await
    }

    async fn on_response(&self, stream: &mut Count, _: &mut Response) -> Result<Flow, Error> {
        self.ask("response", stream).await
    }

    async fn on_response_body(&self, stream: &mut Count, _: &mut Body) -> Result<Flow, Error> {
        self.ask("response_body", stream).await
    }
}

fn start(handlers: &str) -> TestPlugin<Ask> {
    MockHost::new().start::<Ask>(&format!("{{\"handlers\": {handlers}}}")).unwrap()
}

fn request() -> MockRequest {
    MockRequest::new("POST", "/").body("body")
}

#[test]
fn stream_waits_for_the_answer_in_every_handler() {
    for handler in ["request", "request_body", "response", "response_body"] {
        let plugin = start(&format!("[{handler:?}]"));
        plugin.answer(MockResponse::new(200).header("x-user", "ann").body("yes").trailer("x-end", "2"));
        let exchange = plugin.exchange(request(), MockResponse::new(200).body("ok"));
        assert_eq!(exchange.request.unwrap().text(), "body", "{handler}");
        let response = exchange.response.unwrap();
        assert_eq!((response.status(), response.text()), (200, "ok".into()), "{handler}");
        let [(upstream, call)] = &exchange.callouts[..] else { panic!("{:?}", exchange.callouts) };
        assert_eq!(upstream, "shop/authz:8080");
        assert_eq!(call.header(":method").unwrap(), "POST");
        assert_eq!(call.header(":path").unwrap(), format!("/{handler}"));
        assert_eq!(call.header(":authority").unwrap(), "authz:8080");
        assert_eq!(
            (call.text(), &call.trailers[..]),
            ("ask".into(), &[("x-sum".to_owned(), b"1".to_vec())][..])
        );
        assert_eq!(plugin.log(), [format!("info: {handler}: yes Some(\"ann\") Some(\"2\")")]);
    }
}

#[test]
fn failures_of_a_callout_are_told_apart_by_time() {
    for (answer, status, line) in [
        (Answer::Reset, 504, "warn: request: the connection failed"),
        (Answer::Timeout, 504, "warn: request: no response within the timeout"),
        (Answer::Response(MockResponse::new(401)), 401, ""),
    ] {
        let plugin = start("[\"request\"]");
        plugin.answer(answer);
        let exchange = plugin.exchange(request(), MockResponse::new(200));
        assert_eq!(exchange.response.unwrap().status(), status);
        assert_eq!(exchange.request, None);
        assert_eq!(plugin.log().join("\n"), line);
    }
}

#[test]
fn callout_to_an_upstream_that_is_not_allowed_is_refused() {
    let host = MockHost::new().upstream("shop/other:80");
    let plugin = host.start::<Ask>("{\"handlers\": [\"request\"]}").unwrap();
    let exchange = plugin.exchange(request(), MockResponse::new(200));
    assert_eq!(exchange.response.unwrap().status(), 504);
    assert_eq!(plugin.log(), ["warn: request: the host refused http_call: bad argument"]);
}

#[test]
fn state_survives_waiting() {
    let plugin = start("[\"request\", \"request_body\", \"response\"]");
    for _ in 0..3 {
        plugin.answer(MockResponse::new(200));
    }
    let exchange = plugin.exchange(request(), MockResponse::new(200));
    let counts: Vec<_> = exchange.callouts.iter().map(|(_, call)| call.header("x-count").unwrap()).collect();
    assert_eq!(counts, ["1", "2", "3"]);
}

#[test]
fn answers_in_any_order_go_to_their_streams() {
    let plugin = start("[\"request\"]");
    let (mut one, mut other) = (plugin.stream(), plugin.stream());
    one.request(request());
    other.request(request());
    assert!(one.deliver(MockResponse::new(200)));
    assert!(!one.is_waiting(Direction::Request));
    assert!(other.is_waiting(Direction::Request));
    assert!(other.deliver(MockResponse::new(403)));
    one.respond(MockResponse::new(200));
    assert_eq!(one.finish().response.unwrap().status(), 200);
    assert_eq!(other.finish().response.unwrap().status(), 403);
    assert_eq!(plugin.misuse(), [""; 0]);
}

#[test]
fn response_of_the_host_ends_a_handler_of_the_request() {
    let plugin = start("[\"request\"]");
    let mut stream = plugin.stream();
    stream.request(request());
    stream.respond(MockResponse::new(504).body("late"));
    assert!(!stream.is_waiting(Direction::Response));
    assert!(stream.deliver(MockResponse::new(403)), "the answer comes, and no handler waits for it");
    let exchange = stream.finish();
    assert_eq!(exchange.response.unwrap().status(), 504);
    assert_eq!((plugin.misuse(), plugin.log()), (vec![], vec![]));
}

#[test]
fn early_response_waits_for_the_handler_of_a_body_piece() {
    let plugin = start("[\"request_body\"]");
    let mut stream = plugin.stream();
    stream.request_head(MockRequest::new("POST", "/"));
    stream.request_body("one", false);
    stream.respond(MockResponse::new(200).body("ok"));
    assert!(stream.is_waiting(Direction::Request) && stream.is_waiting(Direction::Response));
    assert!(stream.deliver(MockResponse::new(200)));
    assert!(!stream.is_waiting(Direction::Request) && !stream.is_waiting(Direction::Response));
    assert_eq!(stream.finish().response.unwrap().text(), "ok");
    assert_eq!(plugin.misuse(), [""; 0]);
}

/// One stream loads, the others wait for it.
struct Shared {
    loading: SingleFlight<Option<String>>,
}

#[plugin]
impl Plugin for Shared {
    fn new(_: NoConfig, _: &RootContext) -> Result<Self, Error> {
        Ok(Self { loading: SingleFlight::new() })
    }

    async fn on_request(&self, _: &mut (), request: &mut Request) -> Result<Flow, Error> {
        let load = async || {
            let answer = callout::http("keys:80").send().await.ok()?;
            Some(String::from_utf8_lossy(answer.body()).into_owned())
        };
        request.set("x-loaded", self.loading.run(load).await.unwrap_or_default())?;
        Ok(Flow::Continue)
    }
}

#[test]
fn streams_can_wait_for_the_callout_of_another_one() {
    let plugin = MockHost::new().start::<Shared>("").unwrap();
    let mut streams = [plugin.stream(), plugin.stream(), plugin.stream()];
    for stream in &mut streams {
        stream.request(MockRequest::get("/"));
        assert!(stream.is_waiting(Direction::Request));
    }
    assert!(plugin.deliver(MockResponse::new(200).body("key")));
    for stream in streams {
        assert!(!stream.is_waiting(Direction::Request));
        assert_eq!(stream.finish().request.unwrap().header("x-loaded").unwrap(), "key");
    }
    assert_eq!(plugin.misuse(), [""; 0]);
}

#[test]
fn load_of_a_dropped_stream_is_taken_over() {
    let plugin = MockHost::new().start::<Shared>("").unwrap();
    let (mut one, mut two, mut three) = (plugin.stream(), plugin.stream(), plugin.stream());
    one.request(MockRequest::get("/"));
    two.request(MockRequest::get("/"));
    three.request(MockRequest::get("/"));
    drop(one);
    assert!(plugin.deliver(MockResponse::new(200).body("old")), "nothing waits for it");
    assert!(two.is_waiting(Direction::Request) && three.is_waiting(Direction::Request));
    assert!(plugin.deliver(MockResponse::new(200).body("new")));
    assert!(!plugin.deliver(Answer::Reset), "one stream loads");
    for stream in [two, three] {
        assert_eq!(stream.finish().request.unwrap().header("x-loaded").unwrap(), "new");
    }
    let mut next = plugin.stream();
    next.request(MockRequest::get("/"));
    assert!(next.deliver(Answer::Reset), "a load after the end is another one");
    assert_eq!(next.finish().request.unwrap().header("x-loaded").unwrap(), "");
    assert_eq!(plugin.misuse(), [""; 0]);
}

/// Wakes itself, and then the stream that came before.
struct Chain {
    last: RefCell<Option<Waker>>,
}

#[plugin]
impl Plugin for Chain {
    fn new(_: NoConfig, _: &RootContext) -> Result<Self, Error> {
        Ok(Self { last: RefCell::new(None) })
    }

    async fn on_request(&self, _: &mut (), request: &mut Request) -> Result<Flow, Error> {
        let mut polls = 0;
        let path = request.path()?;
        poll_fn(|context| {
            polls += 1;
            if let Some(last) = self.last.replace(Some(context.waker().clone())) {
                last.wake();
            }
            if path == "/yield" {
                context.waker().wake_by_ref();
            }
            if polls == 3 { Poll::Ready(()) } else { Poll::Pending }
        })
        .await;
        Ok(Flow::Continue)
    }
}

#[test]
fn handler_that_wakes_itself_does_not_wait() {
    let plugin = MockHost::new().start::<Chain>("").unwrap();
    let mut stream = plugin.stream();
    stream.request(MockRequest::get("/yield"));
    assert!(!stream.is_waiting(Direction::Request));
    assert_eq!(plugin.misuse(), [""; 0]);
}

#[test]
fn streams_that_wake_each_other_continue() {
    let plugin = MockHost::new().start::<Chain>("").unwrap();
    let (mut one, mut other) = (plugin.stream(), plugin.stream());
    one.request(MockRequest::get("/"));
    assert!(one.is_waiting(Direction::Request));
    other.request(MockRequest::get("/"));
    assert!(!one.is_waiting(Direction::Request) && !other.is_waiting(Direction::Request));
    assert_eq!(plugin.misuse(), [""; 0]);
}

/// Loads at its start and on each tick.
struct Refresh {
    value: RefCell<String>,
}

impl Refresh {
    async fn load(&self) -> Result<(), Error> {
        let answer = callout::http("keys:80").send().await?;
        self.value.replace(String::from_utf8_lossy(answer.body()).into_owned());
        Ok(())
    }
}

#[plugin]
impl Plugin for Refresh {
    fn new(_: NoConfig, context: &RootContext) -> Result<Self, Error> {
        context.set_tick_period(Duration::from_secs(10))?;
        Ok(Self { value: RefCell::default() })
    }

    async fn on_start(&self) -> Result<(), Error> {
        self.load().await
    }

    async fn on_tick(&self) -> Result<(), Error> {
        self.load().await
    }

    async fn on_request(&self, _: &mut (), request: &mut Request) -> Result<Flow, Error> {
        request.set("x-value", self.value.borrow().as_str())?;
        Ok(Flow::Continue)
    }
}

fn value(plugin: &TestPlugin<Refresh>) -> String {
    let exchange = plugin.exchange(MockRequest::get("/"), MockResponse::new(200));
    exchange.request.unwrap().header("x-value").unwrap().into_owned()
}

#[test]
fn root_context_makes_callouts_at_start_and_on_ticks() {
    let plugin = MockHost::new().start::<Refresh>("").unwrap();
    assert_eq!(value(&plugin), "");
    plugin.answer(MockResponse::new(200).body("one"));
    plugin.answer_callouts();
    assert_eq!((value(&plugin).as_str(), plugin.tick_period()), ("one", Duration::from_secs(10)));
    plugin.advance(Duration::from_secs(9));
    assert!(!plugin.deliver(Answer::Reset), "no tick yet");
    plugin.advance(Duration::from_secs(21));
    assert!(plugin.deliver(MockResponse::new(200).body("two")));
    assert!(!plugin.deliver(Answer::Reset), "ticks are skipped while one waits");
    assert_eq!(value(&plugin), "two");
}

#[test]
fn error_of_a_tick_is_logged_and_the_next_one_runs() {
    let plugin = MockHost::new().start::<Refresh>("").unwrap();
    assert!(plugin.deliver(Answer::Reset));
    plugin.tick();
    assert!(plugin.deliver(Answer::Timeout));
    plugin.tick();
    assert!(plugin.deliver(MockResponse::new(200).body("three")));
    let expected =
        ["error: on_start: the connection failed", "error: on_tick: no response within the timeout"];
    assert_eq!(plugin.log(), expected);
    assert_eq!(value(&plugin), "three");
}

/// Makes a gRPC call.
struct Rpc;

#[plugin]
impl Plugin for Rpc {
    fn new(_: NoConfig, _: &RootContext) -> Result<Self, Error> {
        Ok(Self)
    }

    async fn on_request(&self, _: &mut (), request: &mut Request) -> Result<Flow, Error> {
        let call = callout::grpc("authz:9000", "auth.v1.Authorization", "Check");
        match call.metadata("x-tenant", "shop").message(request.path()?).send().await {
            Ok(message) => {
                request.set("x-message", message)?;
                Ok(Flow::Continue)
            }
            Err(error) => Ok(Reply::new(403).body(error.to_string()).grpc_status(7).into()),
        }
    }
}

#[test]
fn grpc_callout_returns_its_message_or_status() {
    for (answer, status, text) in [
        (Answer::GrpcMessage(b"yes".to_vec()), 200, ""),
        (Answer::GrpcStatus(16, "who".to_owned()), 403, "gRPC status 16: who"),
        (Answer::GrpcStatus(0, String::new()), 403, "gRPC status 0: "),
    ] {
        let plugin = MockHost::new().start::<Rpc>("").unwrap();
        plugin.answer(answer);
        let exchange = plugin.exchange(MockRequest::get("/a"), MockResponse::new(200));
        let response = exchange.response.unwrap();
        assert_eq!((response.status(), response.text()), (status, text.into()));
        let (upstream, call) = &exchange.callouts[0];
        assert_eq!((upstream.as_str(), call.text()), ("authz:9000", "/a".into()));
        assert_eq!(call.header(":path").unwrap(), "/auth.v1.Authorization/Check");
        assert_eq!(call.header("x-tenant").unwrap(), "shop");
        if status == 200 {
            assert_eq!(exchange.request.unwrap().header("x-message").unwrap(), "yes");
        }
    }
}
