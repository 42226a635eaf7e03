//! What results of callbacks mean.

use plugin_host::Event;
use plugin_host::InstanceConfig;
use plugin_host::RootIndex;
use plugin_host::Verdict;

use crate::support::Guest;
use crate::support::TestView;
use crate::support::config;
use crate::support::start;
use crate::support::try_start;

const REQUEST_HEADERS: Event = Event::RequestHeaders { fields: 6, is_end: false };
const RESPONSE_HEADERS: Event = Event::ResponseHeaders { fields: 6, is_end: false };
const REQUEST_BODY: Event = Event::RequestBody { bytes: 5, is_end: true };
const RESPONSE_BODY: Event = Event::ResponseBody { bytes: 5, is_end: true };
const REQUEST_TRAILERS: Event = Event::RequestTrailers { fields: 1 };
const RESPONSE_TRAILERS: Event = Event::ResponseTrailers { fields: 1 };

/// Returns a guest whose stream callbacks return an action.
fn guest(action: i32) -> Guest {
    let mut items = String::new();
    for name in ["request", "response"] {
        items += &format!(
            r#"(func (export "proxy_on_{name}_headers") (param i32 i32 i32) (result i32) (i32.const {action}))
               (func (export "proxy_on_{name}_body") (param i32 i32 i32) (result i32) (i32.const {action}))
               (func (export "proxy_on_{name}_trailers") (param i32 i32) (result i32) (i32.const {action}))"#
        );
    }
    Guest::new(&items)
}

/// Returns the verdicts on the events of a request, which are those on the same events of a response.
fn verdicts(guest: &Guest, config: InstanceConfig) -> [Verdict; 3] {
    let mut instance = try_start(guest, config).unwrap();
    let stream = instance.open(RootIndex(0), TestView::default()).ok().unwrap();
    let pairs = [
        (REQUEST_HEADERS, RESPONSE_HEADERS),
        (REQUEST_BODY, RESPONSE_BODY),
        (REQUEST_TRAILERS, RESPONSE_TRAILERS),
    ];
    pairs.map(|(request, response)| {
        let verdict = instance.call(stream, request).unwrap();
        assert_eq!(instance.call(stream, response), Ok(verdict));
        verdict
    })
}

#[test]
fn actions_have_verdicts() {
    use Verdict::Buffer;
    use Verdict::Continue;
    use Verdict::Discard;
    use Verdict::StopAll;
    use Verdict::StopHead;
    use Verdict::Watermark;
    for (action, expected) in [
        (0, [Continue, Continue, Continue]),
        (1, [StopAll, Buffer, StopAll]),
        (2, [StopAll, Watermark, StopAll]),
        (3, [StopAll, Discard, StopAll]),
        (4, [StopAll, Buffer, StopAll]),
        (-1, [StopAll, Buffer, StopAll]),
    ] {
        assert_eq!(verdicts(&guest(action), config()), expected, "{action}");
        let opted = InstanceConfig { allow_on_headers_stop_iteration: true, ..config() };
        let higress = guest(action).abi("0_2_100");
        let mut expected = expected;
        if action == 1 {
            expected[0] = StopHead;
        }
        assert_eq!(verdicts(&guest(action), opted), expected, "{action}");
        assert_eq!(verdicts(&higress, config()), expected, "{action}");
    }
}

#[test]
fn missing_callbacks_continue() {
    assert_eq!(verdicts(&Guest::new(""), config()), [Verdict::Continue; 3]);
}

#[test]
fn callbacks_get_their_arguments() {
    // Returns 0 if the arguments are as expected.
    let guest = Guest::new(
        r#"(func (export "proxy_on_request_headers") (param i32 i32 i32) (result i32)
             (i32.eqz (i32.and (i32.eq (local.get 0) (i32.const 2))
               (i32.and (i32.eq (local.get 1) (i32.const 6)) (i32.eqz (local.get 2))))))
           (func (export "proxy_on_response_body") (param i32 i32 i32) (result i32)
             (i32.eqz (i32.and (i32.eq (local.get 0) (i32.const 2))
               (i32.and (i32.eq (local.get 1) (i32.const 5)) (i32.eq (local.get 2) (i32.const 1))))))
           (func (export "proxy_on_request_trailers") (param i32 i32) (result i32)
             (i32.eqz (i32.and (i32.eq (local.get 0) (i32.const 2)) (i32.eq (local.get 1) (i32.const 1)))))"#,
    );
    let mut instance = start(&guest);
    let stream = instance.open(RootIndex(0), TestView::default()).ok().unwrap();
    for event in [REQUEST_HEADERS, RESPONSE_BODY, REQUEST_TRAILERS] {
        assert_eq!(instance.call(stream, event), Ok(Verdict::Continue), "{event:?}");
    }
}

#[test]
fn abi_0_1_0_has_no_end_of_stream_and_no_missing_values() {
    let guest = Guest::new(
        r#"(func (export "proxy_on_request_headers") (param i32 i32) (result i32)
             (call $report_status (call $proxy_get_header_map_value
               (i32.const 0) (i32.const 16) (i32.const 6) (i32.const 264) (i32.const 268)))
             (call $report_data)
             (drop (call $proxy_continue_request)) (drop (call $proxy_continue_response))
             (call $proxy_clear_route_cache))"#,
    );
    let mut instance = start(&guest.abi("0_1_0"));
    let stream = instance.open(RootIndex(0), TestView::default()).ok().unwrap();
    assert_eq!(instance.call(stream, REQUEST_HEADERS), Ok(Verdict::Continue));
    let view = instance.view(stream).unwrap();
    assert_eq!((view.status(), view.property("data")), (Some(0), Some(&b""[..])));
    assert_eq!(instance.take_actions().len(), 2);
}

#[test]
fn further_reply_of_a_stream_does_not_stop_it() {
    // A guest that replies returns a pause, for its own reply too.
    let reply = r#"(drop (call $proxy_send_local_response (i32.const 403) (i32.const 0) (i32.const 0)
        (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 0) (i32.const -1))) (i32.const 1)"#;
    let guest = Guest::new(&format!(
        r#"(func (export "proxy_on_request_headers") (param i32 i32 i32) (result i32) {reply})
           (func (export "proxy_on_response_headers") (param i32 i32 i32) (result i32) {reply})"#
    ));
    let mut instance = start(&guest);
    let stream = instance.open(RootIndex(0), TestView::default()).ok().unwrap();
    assert_eq!(instance.call(stream, REQUEST_HEADERS), Ok(Verdict::StopAll));
    assert_eq!(instance.call(stream, RESPONSE_HEADERS), Ok(Verdict::Continue));
}

#[test]
fn verdict_of_a_call_that_replied_is_void() {
    let guest = Guest::new(
        r#"(func (export "proxy_on_request_headers") (param i32 i32 i32) (result i32)
             (drop (call $proxy_send_local_response (i32.const 403) (i32.const 0) (i32.const 0)
               (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 0) (i32.const -1)))
             (i32.const 0))
           (func (export "proxy_on_response_headers") (param i32 i32 i32) (result i32) (i32.const 0))"#,
    );
    let mut instance = start(&guest);
    let stream = instance.open(RootIndex(0), TestView::default()).ok().unwrap();
    assert_eq!(instance.call(stream, REQUEST_HEADERS), Ok(Verdict::StopAll));
    assert_eq!(instance.call(stream, RESPONSE_HEADERS), Ok(Verdict::Continue));
}
