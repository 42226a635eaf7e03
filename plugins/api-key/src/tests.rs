//! The plugin in the mock host.

use plugin_sdk::test::{MockHost, MockRequest, MockResponse, run_cases};

use super::ApiKey;
use super::Settings;

/// SHA-256 of `secret`.
const SECRET: &str = "2bb80d537b1da3e38bd30361aa855686bde0eacd7162fef6a25fe97bf527a25b";

#[test]
fn cases_pass() {
    run_cases::<ApiKey>("cases");
}

#[test]
fn schema_is_the_documented_one() {
    assert_eq!(include_str!("../schema.json").trim_end(), plugin_sdk::schema::<Settings>());
}

#[test]
fn wrong_configuration_is_refused_with_the_field() {
    for (config, expected) in [
        (r#"{"keys": []}"#.to_owned(), "keys: name at least one key"),
        (
            format!(r#"{{"keys": [{{"name": "a", "sha256": "{SECRET}"}}], "from": []}}"#),
            "from: name at least",
        ),
        (r#"{"keys": [{"name": "a", "sha256": "secret"}]}"#.to_owned(), "keys[0].sha256"),
        (
            format!(
                r#"{{"keys": [{{"name": "a", "sha256": "{SECRET}"}}, {{"name": "b", "sha256": "{SECRET}"}}]}}"#
            ),
            "keys[1]: b has the key of a",
        ),
    ] {
        let error = MockHost::new().start::<ApiKey>(&config).unwrap_err().to_string();
        assert!(error.contains(expected), "{config}: {error}");
    }
}

#[test]
fn no_log_line_has_a_key() {
    let config = format!(r#"{{"keys": [{{"name": "ann", "sha256": "{SECRET}"}}]}}"#);
    let plugin = MockHost::new().start::<ApiKey>(&config).unwrap();
    for key in ["secret", "wrong-secret"] {
        plugin.exchange(MockRequest::get("/").header("x-api-key", key), MockResponse::new(200));
    }
    let log = plugin.log();
    assert!(
        log.iter().any(|line| line.contains("ann")) && !log.iter().any(|line| line.contains("secret")),
        "{log:?}"
    );
}
