//! Lines that guests log.

use plugin_host::Event;
use plugin_host::RootIndex;

use crate::support::Guest;
use crate::support::TestView;
use crate::support::captured;
use crate::support::start;

/// Runs a body in the headers callback and returns the lines.
fn lines(items: &str, body: &str) -> Vec<String> {
    let guest = Guest::new(&format!(
        r#"{items} (func (export "proxy_on_request_headers") (param i32 i32 i32) (result i32)
             (local $at i32) {body} (i32.const 0))"#
    ));
    captured(|| {
        let mut instance = start(&guest);
        let stream = instance.open(RootIndex(0), TestView::default()).ok().unwrap();
        instance.call(stream, Event::RequestHeaders { fields: 6, is_end: true }).unwrap();
    })
    .1
}

#[test]
fn lines_have_level_plugin_version_and_route() {
    let text = r#"(data (i32.const 1024) "text\0a\1b\ff")"#;
    let fields = r#"plugin="shop/test" version="v1" route="shop/web /a""#;
    for (level, expected) in [
        (2, Some(format!("INFO text {fields}"))),
        (3, Some(format!("WARN text {fields}"))),
        (4, Some(format!("ERROR text {fields}"))),
        (5, Some(format!("ERROR text {fields} critical=true"))),
        (1, None),
        (0, None),
    ] {
        let body = format!("(drop (call $proxy_log (i32.const {level}) (i32.const 1024) (i32.const 4)))");
        assert_eq!(lines(text, &body), expected.into_iter().collect::<Vec<_>>());
    }
    let body = "(drop (call $proxy_log (i32.const 2) (i32.const 1024) (i32.const 7)))";
    assert_eq!(lines(text, body), [format!("INFO text\\n\\u{{1b}}\u{fffd} {fields}")]);
}

#[test]
fn standard_output_and_error_are_logged() {
    // Two buffers of one line.
    let text = r#"(data (i32.const 1024) "one two\0a")
        (data (i32.const 280) "\00\04\00\00\04\00\00\00\04\04\00\00\04\00\00\00")"#;
    for (fd, expected) in [(1, Some("INFO one two ")), (2, Some("ERROR one two ")), (3, None), (0, None)] {
        let body = format!(
            "(call $report_status (call $wasi_fd_write
               (i32.const {fd}) (i32.const 280) (i32.const 2) (i32.const 264)))
             (if (i32.eqz (i32.load (i32.const 256)))
               (then (if (i32.ne (i32.load (i32.const 264)) (i32.const 8)) (then unreachable))))"
        );
        let lines = lines(text, &body);
        assert_eq!(lines.len(), usize::from(expected.is_some()), "{lines:?}");
        assert!(expected.is_none_or(|expected| lines[0].starts_with(expected)), "{lines:?}");
    }
}

#[test]
fn lines_are_cut_and_their_number_is_limited() {
    let body = "(memory.fill (i32.const 1024) (i32.const 65) (i32.const 20000))
        (loop $next
          (if (call $proxy_log (i32.const 2) (i32.const 1024) (i32.const 20000)) (then unreachable))
          (local.set $at (i32.add (local.get $at) (i32.const 1)))
          (br_if $next (i32.lt_u (local.get $at) (i32.const 1500))))";
    let lines = lines("", body);
    // A slow machine may pass into the next second.
    assert!(lines.len() >= 1000 && lines.len() < 1500, "{}", lines.len());
    assert!(lines[0].starts_with("INFO A") && lines[0].len() < (8 << 10) + 100);
}

#[test]
fn ignored_edits_warn_once_for_each_stream() {
    let text = r#"(data (i32.const 1024) "content-length")"#;
    let edit = "(drop (call $proxy_remove_header_map_value (i32.const 0) (i32.const 1024) (i32.const 14)))";
    let lines = lines(text, &format!("{edit} {edit}"));
    assert_eq!(lines.len(), 1, "{lines:?}");
    assert!(lines[0].starts_with("WARN the plugin edited a field that only the gateway writes"), "{lines:?}");
}
