//! The handler without the gateway.

use plugin_sdk::class::run_cases;

use super::translate;

#[test]
fn cases_pass() {
    run_cases("cases", translate);
}
