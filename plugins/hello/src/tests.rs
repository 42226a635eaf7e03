//! The plugin in the mock host.

use plugin_sdk::test::MockHost;
use plugin_sdk::test::MockRequest;
use plugin_sdk::test::MockResponse;
use plugin_sdk::test::run_cases;

use super::Hello;
use super::Settings;

#[test]
fn cases_pass() {
    run_cases::<Hello>("cases");
}

#[test]
fn schema_is_the_documented_one() {
    assert_eq!(include_str!("../schema.json").trim_end(), plugin_sdk::schema::<Settings>());
}

#[test]
fn greeting_is_on_every_response() {
    let plugin = MockHost::new().start::<Hello>(r#"{"greeting": "hello"}"#).unwrap();
    let exchange =
        plugin.exchange(MockRequest::get("/"), MockResponse::new(500).header("x-greeting", "other"));
    let response = exchange.response.unwrap();
    assert_eq!((response.status(), response.header("x-greeting").as_deref()), (500, Some("hello")));
}

#[test]
fn wrong_configuration_is_refused_with_the_field() {
    for (config, expected) in [
        ("", "error: new: configuration: missing field `greeting`"),
        (
            r#"{"greeting": 5}"#,
            "error: new: configuration field `greeting`: expected a string, found a number",
        ),
        (
            r#"{"greeting": "a", "gretting": "b"}"#,
            "error: new: configuration field `gretting`: unknown field `gretting`, expected `greeting`",
        ),
    ] {
        let error = MockHost::new().start::<Hello>(config).unwrap_err();
        assert_eq!(error.to_string(), expected, "{config}");
    }
}
