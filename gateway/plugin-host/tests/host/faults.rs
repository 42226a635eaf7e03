//! Guests that fail: each ends its own instance, with a report.

use std::sync::Arc;
use std::time::Duration;
use std::time::Instant;

use plugin_host::CallError;
use plugin_host::Event;
use plugin_host::HttpResponse;
use plugin_host::Instance;
use plugin_host::InstanceConfig;
use plugin_host::Limits;
use plugin_host::RootIndex;
use plugin_host::StartError;
use plugin_host::TrapKind;
use plugin_host::TrapReport;
use plugin_host::Verdict;

use crate::support::Guest;
use crate::support::TestView;
use crate::support::config;
use crate::support::start;
use crate::support::try_start;

const HEADERS: Event = Event::RequestHeaders { fields: 6, is_end: true };

/// Returns a guest with a callback of one parameter list.
fn guest(name: &str, ty: &str, body: &str) -> Guest {
    Guest::new(&format!("(func $callback (export \"{name}\") {ty} {body})"))
}

/// Calls the headers callback with a body, and returns the report of its trap.
fn trap(items: &str, body: &str) -> TrapReport {
    let ty = "(param i32 i32 i32) (result i32)";
    let guest = guest("proxy_on_request_headers", ty, &format!("{body} (i32.const 0)")).with(items);
    let mut instance = start(&guest);
    let stream = instance.open(RootIndex(0), TestView::default()).ok().unwrap();
    let Err(CallError::Trapped(report)) = instance.call(stream, HEADERS) else { panic!("no trap: {body}") };
    assert!(instance.is_dead());
    assert_eq!(instance.take_trap().as_ref(), Some(&*report));
    assert_eq!(instance.take_trap(), None);
    *report
}

#[test]
fn traps_have_a_kind_and_frames() {
    let recursion = "(func $deep (param i32) (result i32)
        (i32.add (i32.const 1) (call $deep (i32.add (local.get 0) (i32.const 1)))))";
    for (items, body, kind, message) in [
        ("", "unreachable", TrapKind::Trap, "unreachable"),
        ("", "(drop (i32.div_u (i32.const 1) (i32.const 0)))", TrapKind::Trap, "divide by zero"),
        ("", "(drop (i32.load (i32.const -1)))", TrapKind::Trap, "out of bounds"),
        ("", "(loop $l (br $l))", TrapKind::Deadline, "longer than 500ms"),
        (recursion, "(drop (call $deep (i32.const 0)))", TrapKind::Stack, "stack"),
        (
            "",
            "(call $abort (i32.const 0) (i32.const 0) (i32.const 7) (i32.const 2))",
            TrapKind::Trap,
            "line 7",
        ),
        ("", "(call $wasi_proc_exit (i32.const 3))", TrapKind::Exit, "code 3"),
    ] {
        let report = trap(items, body);
        assert_eq!(report.kind, kind, "{body}: {report}");
        assert!(report.message.contains(message), "{report}");
        assert!(!report.message.contains('\n'));
        let innermost = if items.is_empty() { "callback" } else { "deep" };
        assert_eq!(report.frames[0], innermost);
        assert!(report.frames.len() <= 20);
    }
}

#[test]
fn reports_repeat_what_the_guest_logged() {
    let text = r#"(data (i32.const 1024) "panicked at lib.rs:\nno luck\n")"#;
    let body = "(i32.store (i32.const 280) (i32.const 1024)) (i32.store (i32.const 284) (i32.const 28))
        (drop (call $wasi_fd_write (i32.const 2) (i32.const 280) (i32.const 1) (i32.const 264))) unreachable";
    let report = trap(text, body);
    assert!(report.message.ends_with("executed: panicked at lib.rs: no luck"), "{report}");
}

#[test]
fn allocators_that_fail_are_faults() {
    let read = r#"(func (export "proxy_on_request_headers") (param i32 i32 i32) (result i32)
        (call $proxy_get_header_map_pairs (i32.const 0) (i32.const 264) (i32.const 268)))"#;
    for (body, kind) in [
        ("(i32.const 0)", TrapKind::Allocator),
        ("(i32.const -1)", TrapKind::Allocator),
        ("(i32.const 131070)", TrapKind::Allocator),
        ("unreachable", TrapKind::Trap),
        ("(loop $l (br $l)) (i32.const 8)", TrapKind::Deadline),
        ("(drop (call $proxy_get_log_level (i32.const 264))) (i32.const 1024)", TrapKind::Trap),
    ] {
        let allocator = format!("(func (export \"malloc\") (param i32) (result i32) {body})");
        let mut instance = start(&Guest::new(read).with(&allocator).without_allocator());
        let stream = instance.open(RootIndex(0), TestView::default()).ok().unwrap();
        match instance.call(stream, HEADERS) {
            Err(CallError::Trapped(report)) => assert_eq!(report.kind, kind, "{body}"),
            result => panic!("{body}: {result:?}"),
        }
    }
}

#[test]
fn logging_and_wasi_are_allowed_while_memory_is_allocated() {
    let items = r#"
        (func (export "malloc") (param i32) (result i32)
          (drop (call $proxy_log (i32.const 2) (i32.const 0) (i32.const 6)))
          (drop (call $wasi_clock_time_get (i32.const 1) (i64.const 0) (i32.const 264)))
          (drop (call $wasi_sched_yield))
          (i32.const 1024))
        (func (export "proxy_on_request_headers") (param i32 i32 i32) (result i32)
          (call $proxy_get_header_map_pairs (i32.const 0) (i32.const 264) (i32.const 268)))"#;
    let mut instance = start(&Guest::new(items).without_allocator());
    let stream = instance.open(RootIndex(0), TestView::default()).ok().unwrap();
    assert_eq!(instance.call(stream, HEADERS), Ok(Verdict::Continue));
}

#[test]
fn traps_of_the_start_name_the_function() {
    let one = "(param i32 i32) (result i32)";
    for (name, ty, expected) in [
        ("_initialize", "", "_initialize"),
        ("_start", "", "_start"),
        ("proxy_on_context_create", "(param i32 i32)", "proxy_on_context_create"),
        ("proxy_on_vm_start", one, "proxy_on_vm_start"),
        ("proxy_on_configure", one, "proxy_on_configure"),
    ] {
        match try_start(&guest(name, ty, "unreachable"), config()) {
            Err(StartError::Trapped { callback, report }) => {
                assert_eq!((callback, report.kind), (expected, TrapKind::Trap));
                assert_eq!(report.frames, ["callback"]);
            }
            result => panic!("{name}: {result:?}"),
        }
    }
    let start_section = Guest::new("(func $s unreachable) (start $s)");
    match try_start(&start_section, config()) {
        Err(StartError::Trapped { callback, .. }) => assert_eq!(callback, "the start section"),
        result => panic!("{result:?}"),
    }
    let refused = guest("_initialize", "", "(drop (call $proxy_done))");
    match try_start(&refused, config()) {
        Err(StartError::Trapped { report, .. }) => assert!(report.message.contains("proxy_done"), "{report}"),
        result => panic!("{result:?}"),
    }
}

#[test]
fn start_has_a_deadline_of_its_own() {
    let limits = Limits { configure: Duration::from_millis(20), ..Limits::default() };
    let config = InstanceConfig { limits, ..config() };
    let begin = Instant::now();
    let looping =
        guest("proxy_on_configure", "(param i32 i32) (result i32)", "(loop $l (br $l)) (i32.const 1)");
    match try_start(&looping, config) {
        Err(StartError::Trapped { report, .. }) => assert!(report.message.contains("20ms"), "{report}"),
        result => panic!("{result:?}"),
    }
    assert!(begin.elapsed() < Duration::from_secs(5));
}

#[test]
fn instances_that_do_not_fit_are_refused() {
    let limits = Limits { memory: 65536, table: 10, ..Limits::default() };
    let config = InstanceConfig { limits, ..config() };
    for items in ["", "(table 11 funcref)", r#"(data (i32.const 131070) "abc")"#] {
        let config = if items.starts_with("(data") { crate::support::config() } else { config.clone() };
        let error = try_start(&Guest::new(items), config).unwrap_err();
        assert!(matches!(error, StartError::Instantiate(_)), "{items}: {error:?}");
    }
}

#[test]
fn memory_and_table_stop_growing_at_their_limits() {
    let items = r#"(table $t 1 funcref)
        (func (export "proxy_on_request_headers") (param i32 i32 i32) (result i32)
          (loop $l (br_if $l (i32.ge_s (memory.grow (i32.const 1)) (i32.const 0))))
          (loop $t (br_if $t (i32.ge_s (table.grow $t (ref.null func) (i32.const 100)) (i32.const 0))))
          (call $report_status (table.size $t))
          (i32.const 0))"#;
    let mut instance = start(&Guest::new(items));
    let stream = instance.open(RootIndex(0), TestView::default()).ok().unwrap();
    assert_eq!(instance.call(stream, HEADERS), Ok(Verdict::Continue));
    assert_eq!(instance.memory_bytes(), 32 << 20);
    assert_eq!(instance.view(stream).unwrap().status(), Some(9901));
}

#[test]
fn a_million_host_calls_work() {
    let items = r#"(func (export "proxy_on_request_headers") (param i32 i32 i32) (result i32)
        (local $count i32)
        (loop $next
          (drop (call $proxy_get_log_level (i32.const 264)))
          (local.set $count (i32.add (local.get $count) (i32.const 1)))
          (br_if $next (i32.lt_u (local.get $count) (i32.const 1000000))))
        (i32.const 0))"#;
    let limits = Limits { call: Duration::from_secs(60), ..Limits::default() };
    let mut instance = try_start(&Guest::new(items), InstanceConfig { limits, ..config() }).unwrap();
    let stream = instance.open(RootIndex(0), TestView::default()).ok().unwrap();
    assert_eq!(instance.call(stream, HEADERS), Ok(Verdict::Continue));
}

/// Checks that a dead instance calls nothing and lets go of its streams.
fn check_dead(mut instance: Instance<TestView>) {
    assert!(instance.is_dead());
    assert!(instance.take_trap().is_some());
    assert!(instance.take_actions().is_empty());
    let (error, _) = instance.open(RootIndex(0), TestView::default()).unwrap_err();
    assert_eq!(error, CallError::Dead);
    assert_eq!(instance.tick(RootIndex(0)), Err(CallError::Dead));
    assert_eq!(instance.http_response(plugin_host::CallToken(1), HttpResponse::default()), Ok(()));
    assert!(instance.stop());
}

#[test]
fn traps_of_each_callback_end_the_instance() {
    let three = "(param i32 i32 i32) (result i32)";
    let two = "(param i32 i32) (result i32)";
    for (name, ty) in [
        ("proxy_on_request_headers", three),
        ("proxy_on_request_body", three),
        ("proxy_on_request_trailers", two),
        ("proxy_on_response_headers", three),
        ("proxy_on_response_body", three),
        ("proxy_on_response_trailers", two),
        ("proxy_on_done", "(param i32) (result i32)"),
        ("proxy_on_log", "(param i32)"),
        ("proxy_on_delete", "(param i32)"),
        ("proxy_on_tick", "(param i32)"),
    ] {
        // Actions of the call that traps are dropped.
        let tick = "(drop (call $proxy_set_tick_period_milliseconds (i32.const 1)))";
        let mut instance = start(&guest(name, ty, &format!("{tick} unreachable")));
        let stream = instance.open(RootIndex(0), TestView::default()).ok().unwrap();
        let other = instance.open(RootIndex(0), TestView::default()).ok().unwrap();
        let events = [
            HEADERS,
            Event::RequestBody { bytes: 0, is_end: false },
            Event::RequestTrailers { fields: 0 },
            Event::ResponseHeaders { fields: 0, is_end: false },
            Event::ResponseBody { bytes: 0, is_end: false },
            Event::ResponseTrailers { fields: 0 },
        ];
        let results = events.map(|event| instance.call(stream, event));
        let _ = instance.tick(RootIndex(0));
        instance.close(stream);
        assert!(instance.is_dead(), "{name}: {results:?}");
        assert!(instance.view(stream).is_none());
        assert!(instance.view(other).is_some() && instance.has_streams());
        assert_eq!(instance.call(other, HEADERS), Err(CallError::Dead));
        instance.close(other);
        assert!(!instance.has_streams());
        check_dead(instance);
    }
}

#[test]
fn trap_at_open_returns_the_view() {
    let body = "(if (local.get 1) (then unreachable))";
    let mut instance = start(&guest("proxy_on_context_create", "(param i32 i32)", body));
    let view = TestView { bodies: [Some(b"mine".to_vec()), None], ..TestView::default() };
    let (error, view) = instance.open(RootIndex(0), view).unwrap_err();
    assert!(matches!(error, CallError::Trapped(_)));
    assert_eq!(view.bodies[0].as_deref(), Some(&b"mine"[..]));
    check_dead(instance);
}

#[test]
fn dropped_instances_drop_their_views() {
    // A kept stream, an open one, and one in a dead instance.
    let items = r#"(func (export "proxy_on_done") (param i32) (result i32) (i32.const 0))
        (func (export "proxy_on_tick") (param i32) unreachable)"#;
    let alive = Arc::new(());
    for is_dead in [false, true] {
        let mut instance = start(&Guest::new(items));
        for is_closed in [false, true] {
            let view = TestView { alive: Arc::clone(&alive), ..TestView::default() };
            let stream = instance.open(RootIndex(0), view).ok().unwrap();
            if is_closed {
                instance.close(stream);
            }
        }
        assert_eq!(Arc::strong_count(&alive), 3);
        assert_eq!(is_dead && instance.tick(RootIndex(0)).is_err(), is_dead);
        drop(instance);
        assert_eq!(Arc::strong_count(&alive), 1);
    }
}

#[test]
fn instances_move_between_threads() {
    fn is_send<T: Send>() {}
    fn is_shared<T: Send + Sync + Clone>() {}
    is_send::<Instance<TestView>>();
    is_shared::<plugin_host::Engine>();
    is_shared::<plugin_host::Module>();
}
