//! Hostile calls of a plugin, in the mock host. `gateway/tests/plugin_cases.rs` runs the same cases in the gateway.

#[path = "parity/lib.rs"]
mod plugin;

#[test]
fn hostile_calls_have_the_results_of_the_gateway() {
    plugin_sdk::test::run_cases::<plugin::Parity>("tests/parity/cases");
}
