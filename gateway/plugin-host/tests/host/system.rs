//! Host functions about the instance.

use std::time::Duration;

use bytes::Bytes;
use plugin_host::Event;
use plugin_host::GuestAction;
use plugin_host::GuestMetricValue;
use plugin_host::InstanceConfig;
use plugin_host::RootIndex;
use plugin_host::TrapKind;

use crate::support::Expect::Status;
use crate::support::Expect::Trap;
use crate::support::Guest;
use crate::support::Row;
use crate::support::TestView;
use crate::support::config;
use crate::support::run_rows;
use crate::support::start;
use crate::support::try_start;

#[test]
fn functions_of_the_instance_answer() {
    let rows = [
        Row::new("time", "proxy_get_current_time_nanoseconds 264", Status(0)),
        Row::new("time outside", "proxy_get_current_time_nanoseconds 131065", Trap(TrapKind::Memory)),
        Row::new("log level", "proxy_get_log_level 264", Status(0)),
        Row::new("log level outside", "proxy_get_log_level -1", Trap(TrapKind::Memory)),
        Row::new("tick", "proxy_set_tick_period_milliseconds 100", Status(0)),
        Row::new("own context", "proxy_set_effective_context 2", Status(0)),
        Row::new("context 0", "proxy_set_effective_context 0", Status(2)),
        Row::new("unknown context", "proxy_set_effective_context 3", Status(2)),
        Row::new("all bits context", "proxy_set_effective_context -1", Status(2)),
        Row::new("done of an open stream", "proxy_done", Status(1)),
        Row::new("log", "proxy_log 2 1024 5", Status(0)),
        Row::new("log nothing", "proxy_log 5 0 0", Status(0)),
        Row::new("unknown level", "proxy_log 6 1024 5", Status(2)),
        Row::new("log outside", "proxy_log 2 131071 2", Trap(TrapKind::Memory)),
        Row::new("old configuration", "proxy_get_configuration 264 268", Status(0)),
        Row::new("foreign function", "proxy_call_foreign_function 0 0 0 0 0 0", Status(1)),
        Row::new("redis", "proxy_redis_call 0 0 0 0 0", Status(10)),
        Row::new("upstream hosts", "proxy_get_upstream_hosts 0 0", Status(10)),
        Row::new("override host", "proxy_set_upstream_override_host 0 0", Status(10)),
        Row::new("inject", "proxy_inject_encoded_data_to_filter_chain 0 0 0", Status(10)),
        Row::new("redis init", "proxy_redis_init 0 0 0 0 0 0 0", Status(10)),
    ];
    run_rows(&rows, TestView::default);
}

#[test]
fn ticks_belong_to_the_root_of_a_stream() {
    let guest = Guest::new(
        r#"(func (export "proxy_on_request_headers") (param i32 i32 i32) (result i32)
             (drop (call $proxy_set_tick_period_milliseconds (i32.const 250)))
             (drop (call $proxy_set_tick_period_milliseconds (i32.const 0))) (i32.const 0))
           (func (export "proxy_on_tick") (param $root i32)
             (call $gauge (i32.const 8) (i32.const 4) (local.get $root)))"#,
    );
    let config = InstanceConfig { roots: vec![Bytes::new(), Bytes::new()], ..config() };
    let shared = config.shared.clone();
    let mut instance = try_start(&guest, config).unwrap();
    let stream = instance.open(RootIndex(1), TestView::default()).ok().unwrap();
    instance.call(stream, Event::RequestHeaders { fields: 6, is_end: true }).unwrap();
    let periods: Vec<_> = instance
        .take_actions()
        .into_iter()
        .map(|action| match action {
            GuestAction::Tick(root, period) => (root, period),
            action => panic!("{action:?}"),
        })
        .collect();
    assert_eq!(periods, [(RootIndex(1), Some(Duration::from_millis(250))), (RootIndex(1), None)]);
    assert!(instance.take_actions().is_empty());
    instance.tick(RootIndex(1)).unwrap();
    assert_eq!(shared.metrics()[0].value, GuestMetricValue::Gauge(2));
}

#[test]
fn effective_context_redirects_until_the_end_of_the_call() {
    let guest = Guest::new(
        r#"(data (i32.const 1024) "mark")
           (func (export "proxy_on_tick") (param i32)
             ;; No stream: the property cannot be set.
             (if (i32.ne (i32.const 1) (call $mark)) (then unreachable))
             (if (call $proxy_set_effective_context (i32.const 2)) (then unreachable))
             (if (call $mark) (then unreachable))
             ;; An unknown context changes nothing.
             (if (i32.ne (i32.const 2) (call $proxy_set_effective_context (i32.const 9))) (then unreachable))
             (if (call $mark) (then unreachable)))
           (func (export "proxy_on_request_headers") (param i32 i32 i32) (result i32)
             (if (call $mark) (then unreachable)) (i32.const 0))
           (func $mark (result i32)
             (call $proxy_set_property (i32.const 1024) (i32.const 4) (i32.const 1024) (i32.const 4)))"#,
    );
    let mut instance = start(&guest);
    let first = instance.open(RootIndex(0), TestView::default()).ok().unwrap();
    let second = instance.open(RootIndex(0), TestView::default()).ok().unwrap();
    instance.tick(RootIndex(0)).unwrap();
    let has_mark = |stream| instance.view(stream).unwrap().property("mark").is_some();
    assert!(has_mark(first) && !has_mark(second));
    instance.call(second, Event::RequestHeaders { fields: 6, is_end: true }).unwrap();
    assert!(instance.view(second).unwrap().property("mark").is_some());
}

#[test]
fn configurations_are_buffers_of_their_callbacks() {
    // The first byte of each configuration goes to a gauge.
    let guest = Guest::new(
        r#"(func (export "proxy_on_vm_start") (param i32 i32) (result i32)
             (call $read (i32.const 6) (i32.const 0) (i32.const 6)) (i32.eq (local.get 1) (i32.const 2)))
           (func (export "proxy_on_configure") (param i32 i32) (result i32)
             (call $read (i32.const 7) (i32.const 8) (i32.const 4)) (i32.eq (local.get 1) (i32.const 3)))
           (func (export "proxy_on_context_create") (param i32 i32))
           (func $read (param $buffer i32) (param $name i32) (param $len i32)
             (if (call $proxy_get_buffer_bytes
                   (local.get $buffer) (i32.const 0) (i32.const 99) (i32.const 264) (i32.const 268))
               (then unreachable))
             (call $gauge (local.get $name) (local.get $len) (i32.load8_u (i32.load (i32.const 264))))
             ;; ABI 0.1.0 has one function for both.
             (if (call $proxy_get_configuration (i32.const 264) (i32.const 268)) (then unreachable))
             (call $gauge (i32.const 16) (i32.const 6) (i32.load8_u (i32.load (i32.const 264)))))"#,
    );
    let config = InstanceConfig {
        vm_configuration: Bytes::from_static(b"vm"),
        roots: vec![Bytes::from_static(b"one"), Bytes::from_static(b"two")],
        ..config()
    };
    let shared = config.shared.clone();
    try_start(&guest, config).unwrap();
    let metrics: Vec<_> =
        shared.metrics().into_iter().map(|metric| (metric.name.to_string(), metric.value)).collect();
    let gauge = |name: &str, value: u8| (name.to_owned(), GuestMetricValue::Gauge(value.into()));
    assert_eq!(metrics, [gauge("status", b'v'), gauge("number", b't'), gauge("data", b't')]);
}
