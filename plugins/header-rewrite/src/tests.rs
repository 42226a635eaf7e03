//! The plugin in the mock host.

use plugin_sdk::test::{MockHost, MockRequest, MockResponse, run_cases};

use super::HeaderRewrite;
use super::Settings;

#[test]
fn cases_pass() {
    run_cases::<HeaderRewrite>("cases");
}

#[test]
fn schema_is_the_documented_one() {
    assert_eq!(include_str!("../schema.json").trim_end(), plugin_sdk::schema::<Settings>());
}

#[test]
fn wrong_configuration_is_refused_with_the_field() {
    for (config, expected) in [
        (r#"{"rules": [{}]}"#, "rules[0]: name an edit"),
        (r#"{"rules": [{"request": [{"action": "drop", "name": "a"}]}]}"#, "rules[0].request[0]"),
        (r#"{"rules": [{"request": [{"action": "set", "name": "a", "value": "$x"}]}]}"#, "`$$` for a dollar"),
        (r#"{"rules": [{"when": {"path": "/"}, "request": []}]}"#, "rules[0].when"),
        (
            r#"{"rules": [{"request": [{"action": "remove", "name": ":path"}]}]}"#,
            "rules[0].request[0]`: expected the name",
        ),
        (
            r#"{"rules": [{"request": [{"action": "rename", "name": "a", "to": "b c"}]}]}"#,
            "rules[0].request[0]`: expected the name",
        ),
        (
            r#"{"rules": [{"request": [{"action": "set", "name": "a", "value": "b\n"}]}]}"#,
            "no control characters",
        ),
        (
            r#"{"rules": [{"request": [{"action": "set", "name": "a", "value": "b "}]}]}"#,
            "no white space at its ends",
        ),
        (
            r#"{"rules": [{"when": {"headers": [{"name": "x y"}]}, "request": [{"action": "remove", "name": "a"}]}]}"#,
            "rules[0].when.headers[0].name`: expected the name",
        ),
    ] {
        let error = MockHost::new().start::<HeaderRewrite>(config).unwrap_err().to_string();
        assert!(error.contains(expected), "{config}: {error}");
    }
}

#[test]
fn conditions_see_the_request_as_it_came() {
    let config = r#"{"rules": [
        {"request": [{"action": "remove", "name": "x-a"}]},
        {"when": {"headers": [{"name": "x-a"}]}, "request": [{"action": "set", "name": "x-b", "value": "1"}]}]}"#;
    let plugin = MockHost::new().start::<HeaderRewrite>(config).unwrap();
    let exchange = plugin.exchange(MockRequest::get("/").header("x-a", "1"), MockResponse::new(200));
    let request = exchange.request.unwrap();
    assert_eq!((request.header("x-a"), request.header("x-b").as_deref()), (None, Some("1")));
}

#[test]
fn renamed_field_keeps_all_values() {
    let config = r#"{"rules": [{"request": [{"action": "rename", "name": "x-a", "to": "x-b"}]}]}"#;
    let plugin = MockHost::new().start::<HeaderRewrite>(config).unwrap();
    let request = MockRequest::get("/").header("x-a", "1").header("x-b", "old").header("x-a", "2");
    let request = plugin.exchange(request, MockResponse::new(200)).request.unwrap();
    let values: Vec<_> =
        request.headers.iter().filter(|(name, _)| name == "x-b").map(|(_, value)| &value[..]).collect();
    assert_eq!(values, [b"1", b"2"]);
}

#[test]
fn edits_beyond_64_kib_fail_by_the_strategy_of_the_plugin() {
    let config = r#"{"rules": [{"request": [
        {"action": "append", "name": "x-a", "value": "${request.path}"},
        {"action": "append", "name": "x-b", "value": "${request.path}"}]}]}"#;
    let request = MockRequest::get(&format!("/{}", "a".repeat(40_000)));
    let closed = MockHost::new().start::<HeaderRewrite>(config).unwrap();
    let exchange = closed.exchange(request.clone(), MockResponse::new(200));
    assert_eq!((exchange.request, exchange.response.unwrap().status()), (None, 503));
    assert_eq!(closed.log(), ["error: on_request: the host refused add_header_map_value: internal failure"]);
    let open = MockHost::new().fail_open().start::<HeaderRewrite>(config).unwrap();
    let exchange = open.exchange(request, MockResponse::new(200));
    // What was edited before stays.
    let request = exchange.request.unwrap();
    assert_eq!((request.header("x-a").is_some(), request.header("x-b").is_some()), (true, false));
    assert_eq!(exchange.response.unwrap().status(), 200);
}
