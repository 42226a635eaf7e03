//! A panic is logged with its place before the module traps.
#![allow(clippy::panic, reason = "the plugin panics")]

use std::panic::AssertUnwindSafe;
use std::panic::catch_unwind;

use plugin_sdk::prelude::*;
use plugin_sdk::test::MockHost;
use plugin_sdk::test::MockRequest;
use plugin_sdk::test::MockResponse;

struct Panics;

#[plugin]
impl Plugin for Panics {
    fn new(_: NoConfig, _: &RootContext) -> Result<Self, Error> {
        Ok(Self)
    }

    async fn on_request(&self, _: &mut (), request: &mut Request) -> Result<Flow, Error> {
        panic!("no such path: {}", request.path()?)
    }
}

#[test]
fn panic_is_logged_with_message_and_place() {
    let plugin = MockHost::new().start::<Panics>("").unwrap();
    plugin_sdk::__private::install_panic_hook();
    let exchange = AssertUnwindSafe(|| plugin.exchange(MockRequest::get("/a"), MockResponse::new(200)));
    let result = catch_unwind(exchange);
    drop(std::panic::take_hook());
    assert!(result.is_err());
    let log = plugin.log();
    let place = log.first().and_then(|line| line.strip_suffix(": no such path: /a")).unwrap_or_default();
    let expected = format!("critical: panic at {}:21:9", file!());
    assert_eq!(place, expected, "{log:?}");
}
