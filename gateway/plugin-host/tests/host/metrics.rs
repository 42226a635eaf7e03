//! Host functions about metrics.

use plugin_host::Event;
use plugin_host::GuestMetric;
use plugin_host::GuestMetricValue;
use plugin_host::HISTOGRAM_BOUNDS;
use plugin_host::InstanceConfig;
use plugin_host::RootIndex;
use plugin_host::TrapKind;

use crate::support::Expect::Number;
use crate::support::Expect::Status;
use crate::support::Expect::Trap;
use crate::support::Guest;
use crate::support::Row;
use crate::support::TestView;
use crate::support::config;
use crate::support::run_rows;
use crate::support::try_start;

#[test]
fn arguments_are_checked() {
    let rows = [
        Row::new("counter", "proxy_define_metric 0 1024 1 264", Number(1)).data(&["c"]),
        Row::new("histogram", "proxy_define_metric 2 1024 1 264", Number(1)).data(&["c"]),
        Row::new("unknown kind", "proxy_define_metric 3 1024 1 264", Status(2)).data(&["c"]),
        Row::new("long name", "proxy_define_metric 0 1024 1025 264", Status(10)).data(&["c"]),
        Row::new("name outside", "proxy_define_metric 0 -1 1 264", Trap(TrapKind::Memory)),
        Row::new("slot outside", "proxy_define_metric 0 1024 1 -1", Trap(TrapKind::Memory)).data(&["c"]),
        Row::new("increment of an unknown", "proxy_increment_metric 1 1L", Status(1)),
        Row::new("increment of 0", "proxy_increment_metric 0 1L", Status(1)),
        Row::new("record of an unknown", "proxy_record_metric -1 1L", Status(1)),
        Row::new("get of an unknown", "proxy_get_metric 5 264", Status(1)),
    ];
    run_rows(&rows, TestView::default);
}

/// Defines a counter, a gauge and a histogram, and changes each.
const KINDS: &str = r#"
  (data (i32.const 1024) "cgh")
  (func $define (param $kind i32) (result i32)
    (if (call $proxy_define_metric
          (local.get $kind) (i32.add (i32.const 1024) (local.get $kind)) (i32.const 1) (i32.const 264))
      (then unreachable))
    (i32.load (i32.const 264)))
  (func $check (param $expected i32) (param $found i32)
    (if (i32.ne (local.get $expected) (local.get $found)) (then unreachable)))
  (func (export "proxy_on_request_headers") (param i32 i32 i32) (result i32)
    (local $c i32) (local $g i32) (local $h i32)
    (local.set $c (call $define (i32.const 0)))
    (local.set $g (call $define (i32.const 1)))
    (local.set $h (call $define (i32.const 2)))
    (call $check (local.get $c) (call $define (i32.const 0)))
    (call $check (i32.const 0) (call $proxy_increment_metric (local.get $c) (i64.const 2)))
    (call $check (i32.const 0) (call $proxy_record_metric (local.get $c) (i64.const 3)))
    (call $check (i32.const 2) (call $proxy_increment_metric (local.get $c) (i64.const -1)))
    (call $check (i32.const 0) (call $proxy_record_metric (local.get $g) (i64.const 10)))
    (call $check (i32.const 0) (call $proxy_increment_metric (local.get $g) (i64.const -3)))
    (call $check (i32.const 0) (call $proxy_increment_metric (local.get $g) (i64.const 1)))
    (call $check (i32.const 0) (call $proxy_record_metric (local.get $h) (i64.const 5)))
    (call $check (i32.const 0) (call $proxy_record_metric (local.get $h) (i64.const 3600001)))
    (call $check (i32.const 2) (call $proxy_increment_metric (local.get $h) (i64.const 1)))
    (call $check (i32.const 2) (call $proxy_get_metric (local.get $h) (i32.const 264)))
    (call $check (i32.const 0) (call $proxy_get_metric (local.get $g) (i32.const 264)))
    (call $report_number)
    (i32.const 0))"#;

#[test]
fn instances_of_a_plugin_share_metrics() {
    let config = config();
    let shared = config.shared.clone();
    let mut numbers = Vec::new();
    for _ in 0..2 {
        let mut instance = try_start(&Guest::new(KINDS), config.clone()).unwrap();
        let stream = instance.open(RootIndex(0), TestView::default()).ok().unwrap();
        instance.call(stream, Event::RequestHeaders { fields: 6, is_end: true }).unwrap();
        numbers.push(instance.view(stream).unwrap().property("number").unwrap()[0]);
    }
    assert_eq!(numbers, [8, 8]);
    let mut buckets = [0; HISTOGRAM_BOUNDS.len()];
    buckets[1] = 2;
    let metric = |name: &str, value| GuestMetric { plugin: "shop/test".into(), name: name.into(), value };
    assert_eq!(
        shared.metrics(),
        [
            metric("c", GuestMetricValue::Counter(10)),
            metric("g", GuestMetricValue::Gauge(8)),
            metric("h", GuestMetricValue::Histogram { buckets, count: 4, sum: 2 * 3_600_006 }),
        ]
    );
    let other = InstanceConfig { plugin: "shop/other".into(), ..config };
    try_start(&Guest::new(KINDS), other).unwrap();
    shared.forget("shop/test");
    assert!(shared.metrics().is_empty(), "the other plugin has defined none");
}

#[test]
fn a_plugin_has_at_most_1024_metrics() {
    let guest = Guest::new(
        r#"(func (export "proxy_on_request_headers") (param i32 i32 i32) (result i32)
             (local $at i32)
             (loop $next
               (i32.store (i32.const 1024) (local.get $at))
               (call $report_status (call $proxy_define_metric
                 (i32.const 0) (i32.const 1024) (i32.const 4) (i32.const 264)))
               (local.set $at (i32.add (local.get $at) (i32.const 1)))
               (br_if $next (i32.and
                 (i32.eqz (i32.load (i32.const 256))) (i32.lt_u (local.get $at) (i32.const 9999)))))
             (local.get $at))"#,
    );
    let config = config();
    let shared = config.shared.clone();
    let mut instance = try_start(&guest, config).unwrap();
    let stream = instance.open(RootIndex(0), TestView::default()).ok().unwrap();
    instance.call(stream, Event::RequestHeaders { fields: 6, is_end: true }).unwrap();
    assert_eq!(instance.view(stream).unwrap().status(), Some(10));
    // Names that are no UTF-8 fall together.
    assert!(shared.metrics().len() <= 1024);
}
