//! The plugin in the mock host.

use std::time::Duration;

use plugin_sdk::test::{Answer, MockHost, MockRequest, MockResponse, TestPlugin, run_cases};

use super::ExtAuth;
use super::Settings;

const CACHED: &str = r#"{"upstream": "authz:80", "upstreamHeaders": ["x-user"],
    "cache": {"ttl": "60s", "key": ["authorization"]}}"#;

fn start(config: &str) -> TestPlugin<ExtAuth> {
    MockHost::new().start::<ExtAuth>(config).unwrap()
}

fn request(token: &str) -> MockRequest {
    MockRequest::get("/").header("authorization", token)
}

#[test]
fn cases_pass() {
    run_cases::<ExtAuth>("cases");
}

#[test]
fn schema_is_the_documented_one() {
    assert_eq!(include_str!("../schema.json").trim_end(), plugin_sdk::schema::<Settings>());
}

#[test]
fn permit_is_kept_for_its_time_and_key() {
    let plugin = start(CACHED);
    for (token, seconds, is_asked) in [("a", 0, true), ("a", 59, false), ("b", 0, true), ("a", 2, true)] {
        plugin.advance(Duration::from_secs(seconds));
        if is_asked {
            plugin.answer(MockResponse::new(200).header("x-user", token));
        }
        let exchange = plugin.exchange(request(token), MockResponse::new(200));
        assert_eq!(exchange.callouts.len(), usize::from(is_asked), "{token} {seconds}");
        assert_eq!(exchange.request.unwrap().header("x-user").as_deref(), Some(token), "{token} {seconds}");
    }
}

#[test]
fn refusals_and_failures_are_not_kept() {
    let plugin = start(CACHED);
    for (answer, status) in
        [(Answer::from(MockResponse::new(401)), 401), (Answer::Reset, 503), (Answer::Timeout, 503)]
    {
        plugin.answer(answer);
        let exchange = plugin.exchange(request("a"), MockResponse::new(200));
        assert_eq!((exchange.response.unwrap().status(), exchange.callouts.len()), (status, 1));
        assert_eq!(exchange.request, None);
    }
}

#[test]
fn statuses_that_are_no_response_are_refusals() {
    let plugin = start(r#"{"upstream": "authz:80"}"#);
    for (answer, status) in
        [(200, 200), (204, 200), (299, 200), (300, 300), (401, 401), (499, 499), (0, 403), (700, 403)]
    {
        plugin.answer(MockResponse::new(answer));
        let exchange = plugin.exchange(request("a"), MockResponse::new(200));
        assert_eq!(exchange.response.unwrap().status(), status, "{answer}");
    }
}

#[test]
fn wrong_configuration_is_refused_with_the_field() {
    for (config, expected) in [
        ("{}", "upstream"),
        (r#"{"upstream": "a:80", "errorStatus": 99}"#, "errorStatus: 99"),
        (r#"{"upstream": "a:80", "timeout": "0s"}"#, "timeout: expected"),
        (r#"{"upstream": "a:80", "path": "auth"}"#, "path: expected a path"),
        (r#"{"upstream": "a:80", "cache": {"ttl": "1s", "key": []}}"#, "cache: name at least"),
    ] {
        let error = MockHost::new().start::<ExtAuth>(config).unwrap_err().to_string();
        assert!(error.contains(expected), "{config}: {error}");
    }
}
