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
