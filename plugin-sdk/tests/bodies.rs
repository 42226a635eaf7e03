//! Bodies: piece by piece, as a whole, replaced, and with a handler that waits.
#![allow(clippy::unwrap_used, reason = "tests fail by panicking")]

use plugin_sdk::prelude::*;
use plugin_sdk::test::Direction;
use plugin_sdk::test::MockHost;
use plugin_sdk::test::MockRequest;
use plugin_sdk::test::MockResponse;
use plugin_sdk::test::TestPlugin;

/// Configuration.
#[derive(Deserialize, Config)]
#[serde(rename_all = "kebab-case", tag = "mode")]
enum Settings {
    /// Writes each piece in brackets.
    Pieces,
    /// Reads the whole body.
    Whole { limit: usize },
    /// Asks about each piece.
    Ask { replace: Option<String> },
    /// Adds an end.
    Append,
}

struct Bodies {
    settings: Settings,
}

impl Bodies {
    async fn handle(&self, body: &mut Body) -> Result<Flow, Error> {
        match &self.settings {
            Settings::Pieces => {
                let end = if body.is_end() { "!" } else { "" };
                let piece = ["[", &String::from_utf8_lossy(&body.bytes()?), end, "]"].concat();
                body.replace(piece)?;
            }
            Settings::Whole { limit } => match body.buffered(*limit).await? {
                Some(bytes) => {
                    assert!(body.is_end() && body.len() == bytes.len());
                    body.replace(String::from_utf8_lossy(&bytes).to_uppercase())?;
                }
                None => return Ok(Reply::new(413).into()),
            },
            Settings::Ask { replace } => {
                callout::http("scan:80").body(body.bytes()?).send().await?;
                if let Some(replace) = replace {
                    body.replace(replace)?;
                }
            }
            Settings::Append if body.is_end() => body.append("<end>")?,
            Settings::Append => {}
        }
        Ok(Flow::Continue)
    }
}

#[plugin]
impl Plugin for Bodies {
    type Config = Settings;

    fn new(settings: Settings, _: &RootContext) -> Result<Self, Error> {
        Ok(Self { settings })
    }

    async fn on_request_body(&self, _: &mut (), body: &mut Body) -> Result<Flow, Error> {
        self.handle(body).await
    }

    async fn on_response_body(&self, _: &mut (), body: &mut Body) -> Result<Flow, Error> {
        self.handle(body).await
    }
}

fn start(settings: &str) -> TestPlugin<Bodies> {
    MockHost::new().start::<Bodies>(settings).unwrap()
}

#[test]
fn each_piece_is_handled_alone() {
    let plugin = start(r#"{"mode": "pieces"}"#);
    let request = MockRequest::new("POST", "/").body("one").body("two").body("three");
    let response = MockResponse::new(200).body("a").body("b").trailer("x-end", "1");
    let exchange = plugin.exchange(request, response);
    assert_eq!(exchange.request.unwrap().text(), "[one][two][three!]");
    // Trailers end the body, and the handler learns it without another piece.
    assert_eq!(exchange.response.unwrap().text(), "[a][b][!]");
}

#[test]
fn whole_body_is_read_up_to_the_limit() {
    for (limit, pieces, expected) in [
        (9, &["one", "two", "end"][..], Some("ONETWOEND")),
        (8, &["one", "two", "end"], None),
        (3, &["one"], Some("ONE")),
        (2, &["one"], None),
    ] {
        for has_trailers in [false, true] {
            let plugin = start(&format!(r#"{{"mode": "whole", "limit": {limit}}}"#));
            let mut request = MockRequest::new("POST", "/");
            for piece in pieces {
                request = request.body(*piece);
            }
            if has_trailers {
                request = request.trailer("x-sum", "1");
            }
            let exchange = plugin.exchange(request, MockResponse::new(200));
            let text = exchange.request.map(|request| request.text().into_owned());
            assert_eq!(text.as_deref(), expected, "{limit} {pieces:?}");
            let status = if expected.is_some() { 200 } else { 413 };
            assert_eq!(exchange.response.unwrap().status(), status, "{limit} {pieces:?}");
        }
    }
}

#[test]
fn message_waits_for_its_whole_body() {
    let plugin = start(r#"{"mode": "whole", "limit": 100}"#);
    let mut stream = plugin.stream();
    stream.request_head(MockRequest::new("POST", "/"));
    for piece in ["a", "b"] {
        stream.request_body(piece, false);
        assert!(stream.is_waiting(Direction::Request));
    }
    stream.request_body("", true);
    assert!(!stream.is_waiting(Direction::Request));
    assert_eq!(stream.finish().request.unwrap().text(), "AB");
}

#[test]
fn early_response_ends_a_handler_that_waits_for_the_body() {
    let plugin = start(r#"{"mode": "whole", "limit": 100}"#);
    let mut stream = plugin.stream();
    stream.request_head(MockRequest::new("POST", "/"));
    stream.request_body("a", false);
    stream.respond(MockResponse::new(413).body("no"));
    assert!(!stream.is_waiting(Direction::Response));
    let response = stream.finish().response.unwrap();
    assert_eq!((response.status(), response.text()), (413, "NO".into()));
    assert_eq!(plugin.misuse(), [""; 0]);
}

#[test]
fn pieces_that_arrive_while_a_handler_waits_are_handled_after_it() {
    for (settings, expected) in
        [(r#"{"mode": "ask"}"#, "onetwothree"), (r#"{"mode": "ask", "replace": "<x>"}"#, "<x><x>")]
    {
        let plugin = start(settings);
        let mut stream = plugin.stream();
        stream.request_head(MockRequest::new("POST", "/"));
        stream.request_body("one", false);
        stream.request_body("two", false);
        stream.request_body("three", true);
        assert!(stream.deliver(MockResponse::new(200)));
        assert!(stream.is_waiting(Direction::Request), "the handler runs again for what arrived");
        assert!(stream.deliver(MockResponse::new(200)));
        assert!(!stream.is_waiting(Direction::Request));
        let exchange = stream.finish();
        let asked: Vec<_> = exchange.callouts.iter().map(|(_, call)| call.text().into_owned()).collect();
        assert_eq!(asked, ["one", "twothree"], "{settings}");
        assert_eq!(exchange.request.unwrap().text(), expected, "{settings}");
        assert_eq!(plugin.misuse(), [""; 0]);
    }
}

#[test]
fn bytes_are_appended_behind_the_last_piece() {
    let plugin = start(r#"{"mode": "append"}"#);
    let request = MockRequest::new("POST", "/").body("one").body("two");
    let exchange = plugin.exchange(request, MockResponse::new(200).body("a").trailer("x-sum", "1"));
    assert_eq!(exchange.request.unwrap().text(), "onetwo<end>");
    assert_eq!(exchange.response.unwrap().text(), "a<end>");
}
