use super::translate;

#[test]
fn cases_pass() {
    plugin_sdk::class::run_cases("cases", translate);
}
