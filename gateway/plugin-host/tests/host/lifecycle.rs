//! The order of callbacks, and the ends of contexts.

use bytes::Bytes;
use plugin_host::CallError;
use plugin_host::Event;
use plugin_host::InstanceConfig;
use plugin_host::LastLog;
use plugin_host::RootIndex;
use plugin_host::StartError;
use plugin_host::StreamId;

use crate::support::Guest;
use crate::support::TestView;
use crate::support::captured;
use crate::support::config;
use crate::support::start;
use crate::support::try_start;

const HEADERS: Event = Event::RequestHeaders { fields: 6, is_end: true };

/// Logs each callback with its context. `proxy_on_done` returns what the global says.
fn tracing_guest(done: u32) -> Guest {
    let mut items = format!("(global $done (mut i32) (i32.const {done}))");
    let callbacks = [
        ("context_create", "i32 i32", ""),
        ("vm_start", "i32 i32", "1"),
        ("configure", "i32 i32", "1"),
        ("request_headers", "i32 i32 i32", "0"),
        ("done", "i32", "done"),
        ("log", "i32", ""),
        ("delete", "i32", ""),
    ];
    for (at, (name, params, result)) in callbacks.into_iter().enumerate() {
        let address = 1024 + at * 32;
        let (ty, value) = match result {
            "" => ("", String::new()),
            "done" => ("(result i32)", "(global.get $done)".to_owned()),
            value => ("(result i32)", format!("(i32.const {value})")),
        };
        items += &format!(
            r#"(data (i32.const {address}) "{name} ")
               (func (export "proxy_on_{name}") (param {params}) {ty}
                 (call $trace (i32.const {address}) (i32.const {}) (local.get 0)) {value})"#,
            name.len() + 1
        );
    }
    Guest::new(&items)
}

/// Runs and returns the logged texts.
fn traced<R>(run: impl FnOnce() -> R) -> (R, Vec<String>) {
    let (result, lines) = captured(run);
    let text = |line: String| line.trim_start_matches("INFO ").split(" plugin=").next().unwrap().to_owned();
    (result, lines.into_iter().map(text).collect())
}

#[test]
fn callbacks_come_in_order() {
    let config = InstanceConfig { roots: vec![Bytes::new(), Bytes::new()], ..config() };
    let (mut instance, lines) = traced(|| try_start(&tracing_guest(1), config).unwrap());
    let start = ["context_create 1", "vm_start 1", "configure 1"];
    assert_eq!(lines[..3], start);
    assert_eq!(lines[3..], start.map(|line| line.replace('1', "2")));
    let (stream, lines) = traced(|| {
        let stream = instance.open(RootIndex(1), TestView::default()).ok().unwrap();
        instance.call(stream, HEADERS).unwrap();
        instance.close(stream);
        // It is gone: nothing happens.
        instance.close(stream);
        stream
    });
    assert_eq!(stream, StreamId(3));
    assert_eq!(lines, ["context_create 3", "request_headers 3", "done 3", "log 3", "delete 3"]);
    assert_eq!(instance.call(stream, HEADERS), Err(CallError::UnknownStream));
    assert!(instance.view(stream).is_none() && !instance.has_streams());
    let (is_stopped, lines) = traced(|| instance.stop());
    assert!(is_stopped);
    assert_eq!(lines, ["done 1", "log 1", "delete 1", "done 2", "log 2", "delete 2"]);
    let (is_stopped, lines) = traced(|| instance.stop());
    assert!(is_stopped && lines.is_empty());
}

#[test]
fn stream_ids_grow() {
    let mut instance = start(&tracing_guest(1));
    let mut last = StreamId(0);
    for _ in 0..3 {
        let stream = instance.open(RootIndex(0), TestView::default()).ok().unwrap();
        assert!(stream.0 > last.0);
        instance.close(stream);
        last = stream;
    }
    let (error, view) = instance.open(RootIndex(1), TestView::default()).unwrap_err();
    assert_eq!((error, view.request.len()), (CallError::UnknownStream, 6));
}

#[test]
fn kept_stream_ends_with_proxy_done() {
    // A tick ends stream 2.
    let guest = tracing_guest(0).with(
        r#"(func (export "proxy_on_tick") (param i32)
             (drop (call $proxy_set_effective_context (i32.const 2)))
             (drop (call $proxy_done))
             (if (i32.ne (i32.const 1) (call $proxy_done)) (then unreachable)))"#,
    );
    let mut instance = start(&guest);
    let stream = instance.open(RootIndex(0), TestView::default()).ok().unwrap();
    let (_, lines) = traced(|| instance.close(stream));
    assert_eq!(lines, ["done 2"]);
    assert!(instance.has_streams() && instance.view(stream).is_some());
    assert_eq!(instance.call(stream, HEADERS), Err(CallError::UnknownStream));
    let (_, lines) = traced(|| instance.tick(RootIndex(0)).unwrap());
    assert_eq!(lines, ["log 2", "delete 2"]);
    assert!(!instance.has_streams());
}

#[test]
fn proxy_done_within_on_done_ends_the_stream() {
    let guest = Guest::new(
        r#"(func (export "proxy_on_done") (param i32) (result i32)
             (if (call $proxy_done) (then unreachable)) (i32.const 0))"#,
    );
    let mut instance = start(&guest);
    let stream = instance.open(RootIndex(0), TestView::default()).ok().unwrap();
    instance.close(stream);
    assert!(!instance.has_streams() && !instance.is_dead());
}

#[test]
fn oldest_kept_stream_is_deleted_beyond_256() {
    let mut instance = start(&tracing_guest(0));
    let mut streams = Vec::new();
    let (_, lines) = traced(|| {
        for _ in 0..258 {
            let stream = instance.open(RootIndex(0), TestView::default()).ok().unwrap();
            instance.close(stream);
            streams.push(stream);
        }
    });
    let deleted = lines.iter().filter(|line| line.starts_with("delete")).count();
    assert_eq!(deleted, 2);
    let is_kept: Vec<_> = streams.iter().map(|stream| instance.view(*stream).is_some()).collect();
    assert_eq!(is_kept[..3], [false, false, true]);
}

#[test]
fn root_ends_with_proxy_done() {
    let guest = tracing_guest(0)
        .with(r#"(func (export "proxy_on_tick") (param i32) (if (call $proxy_done) (then unreachable)))"#);
    let mut instance = start(&guest);
    assert!(!instance.stop());
    assert!(!instance.stop());
    let (_, lines) = traced(|| instance.tick(RootIndex(0)).unwrap());
    assert_eq!(lines, ["log 1", "delete 1"]);
    assert!(instance.stop());
}

#[test]
fn initialization_runs_in_the_way_of_the_language() {
    let set = |name: &str, ty: &str, value: u32| {
        let result = if ty.contains("result") { "(i32.const 0)" } else { "" };
        format!(
            r#"(func (export "{name}") {ty}
                 (global.set $seen (i32.add (i32.mul (global.get $seen) (i32.const 10)) (i32.const {value})))
                 {result})"#
        )
    };
    let initialize = set("_initialize", "", 1);
    let main = set("main", "(param i32 i32) (result i32)", 2);
    let main_void = set("__main_void", "(result i32)", 3);
    let start = set("_start", "", 4);
    for (items, expected) in [
        (vec![&initialize, &main, &main_void, &start], 12),
        (vec![&initialize, &main_void, &start], 13),
        (vec![&initialize, &start], 1),
        (vec![&start, &main], 4),
        (vec![&main], 0),
        (vec![], 0),
    ] {
        let items: String = items.into_iter().map(String::as_str).collect();
        let guest = Guest::new(&format!(
            r#"(global $seen (mut i32) (i32.const 0)) {items}
               (func (export "proxy_on_vm_start") (param i32 i32) (result i32)
                 (i32.eq (global.get $seen) (i32.const {expected})))"#
        ));
        assert!(try_start(&guest, config()).is_ok(), "{expected}");
    }
}

#[test]
fn refusals_repeat_the_last_error() {
    let text = r#"(data (i32.const 1024) "no key\nat all")"#;
    let log = "(drop (call $proxy_log (i32.const 4) (i32.const 1024) (i32.const 13)))";
    let last = LastLog("no key at all".to_owned());
    for (items, expected) in [
        (
            format!("(func (export \"proxy_on_vm_start\") (param i32 i32) (result i32) {log} (i32.const 0))"),
            StartError::RefusedVm(last.clone()),
        ),
        (
            format!(
                "(func (export \"proxy_on_configure\") (param i32 i32) (result i32) {log} (i32.const 0))"
            ),
            StartError::RefusedConfiguration(RootIndex(0), last),
        ),
        (
            "(func (export \"proxy_on_configure\") (param i32 i32) (result i32) (i32.const 0))".to_owned(),
            StartError::RefusedConfiguration(RootIndex(0), LastLog::default()),
        ),
    ] {
        let error = try_start(&Guest::new(text).with(&items), config()).unwrap_err();
        assert_eq!(error, expected);
    }
}

#[test]
fn second_malloc_name_is_the_fallback() {
    let guest = Guest::new(
        r#"(func (export "malloc") (param i32) (result i32) (i32.const 4096))
           (func (export "proxy_on_request_headers") (param i32 i32 i32) (result i32)
             (call $report_status (call $proxy_get_header_map_value
               (i32.const 0) (i32.const 1024) (i32.const 1) (i32.const 264) (i32.const 268)))
             (i32.load (i32.const 264)))
           (data (i32.const 1024) "a")"#,
    );
    let mut instance = start(&guest.without_allocator());
    let stream = instance.open(RootIndex(0), TestView::default()).ok().unwrap();
    assert_eq!(instance.call(stream, HEADERS), Ok(plugin_host::Verdict::StopAll));
    assert_eq!(instance.memory_bytes(), 2 << 16);
}
