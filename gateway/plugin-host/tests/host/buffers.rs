//! Host functions about buffers.

use plugin_host::TrapKind;

use crate::support::Expect::Data;
use crate::support::Expect::Number;
use crate::support::Expect::Status;
use crate::support::Expect::Trap;
use crate::support::Row;
use crate::support::TestView;
use crate::support::run_rows;

fn view_with_body() -> TestView {
    TestView { bodies: [Some(b"hello".to_vec()), None], ..TestView::default() }
}

#[test]
fn buffers_are_read() {
    let rows = [
        Row::new("whole", "proxy_get_buffer_bytes 0 0 5 264 268", Data(b"hello")),
        Row::new("more than there is", "proxy_get_buffer_bytes 0 0 1000 264 268", Data(b"hello")),
        Row::new("part", "proxy_get_buffer_bytes 0 1 3 264 268", Data(b"ell")),
        Row::new("end", "proxy_get_buffer_bytes 0 4 9 264 268", Data(b"o")),
        Row::new("at the end", "proxy_get_buffer_bytes 0 5 1 264 268", Data(b"")),
        Row::new("behind the end", "proxy_get_buffer_bytes 0 6 1 264 268", Data(b"")),
        Row::new("nothing", "proxy_get_buffer_bytes 0 0 0 264 268", Data(b"")),
        Row::new("all bits", "proxy_get_buffer_bytes 0 0 -1 264 268", Data(b"hello")),
        Row::new("overflow", "proxy_get_buffer_bytes 0 1 -1 264 268", Status(2)),
        Row::new("response is not there", "proxy_get_buffer_bytes 1 0 5 264 268", Status(1)),
        Row::new("tcp", "proxy_get_buffer_bytes 2 0 5 264 268", Status(1)),
        Row::new("no callout", "proxy_get_buffer_bytes 4 0 5 264 268", Status(1)),
        Row::new("no grpc", "proxy_get_buffer_bytes 5 0 5 264 268", Status(1)),
        Row::new("vm configuration", "proxy_get_buffer_bytes 6 0 5 264 268", Data(b"")),
        Row::new("plugin configuration", "proxy_get_buffer_bytes 7 0 5 264 268", Data(b"")),
        Row::new("foreign function", "proxy_get_buffer_bytes 8 0 5 264 268", Status(1)),
        Row::new("unknown", "proxy_get_buffer_bytes 9 0 5 264 268", Status(2)),
        Row::new("slot outside", "proxy_get_buffer_bytes 0 0 5 -8 268", Trap(TrapKind::Memory)),
        Row::new("status", "proxy_get_buffer_status 0 264 268", Number(5)),
        Row::new("status of nothing", "proxy_get_buffer_status 1 264 268", Status(1)),
        Row::new("status of unknown", "proxy_get_buffer_status 99 264 268", Status(2)),
        Row::new("status outside", "proxy_get_buffer_status 0 264 131070", Trap(TrapKind::Memory)),
    ];
    run_rows(&rows, view_with_body);
}

#[test]
fn bodies_are_edited() {
    for (call, expected) in [
        ("proxy_set_buffer_bytes 0 0 0 1024 2", "XYhello"),
        ("proxy_set_buffer_bytes 0 5 0 1024 2", "helloXY"),
        ("proxy_set_buffer_bytes 0 900 7 1024 2", "helloXY"),
        ("proxy_set_buffer_bytes 0 0 5 1024 2", "XY"),
        ("proxy_set_buffer_bytes 0 0 -1 1024 2", "XY"),
        ("proxy_set_buffer_bytes 0 1 3 1024 2", "hXYo"),
        ("proxy_set_buffer_bytes 0 0 -1 1024 0", ""),
    ] {
        let views = run_rows(&[Row::new("edit", call, Status(0)).data(&["XY"])], view_with_body);
        assert_eq!(views[0].bodies[0].as_deref(), Some(expected.as_bytes()), "{call}");
    }
}

#[test]
fn impossible_edits_of_bodies_have_a_status() {
    let rows = [
        Row::new("response is not there", "proxy_set_buffer_bytes 1 0 0 1024 2", Status(2)),
        Row::new("callout", "proxy_set_buffer_bytes 4 0 0 1024 2", Status(2)),
        Row::new("configuration", "proxy_set_buffer_bytes 7 0 0 1024 2", Status(2)),
        Row::new("unknown", "proxy_set_buffer_bytes 77 0 0 1024 2", Status(2)),
        Row::new("value outside", "proxy_set_buffer_bytes 0 0 0 131071 2", Trap(TrapKind::Memory)),
        Row::new("value overflows", "proxy_set_buffer_bytes 0 0 0 -1 -1", Trap(TrapKind::Memory)),
    ];
    run_rows(&rows, view_with_body);
}
