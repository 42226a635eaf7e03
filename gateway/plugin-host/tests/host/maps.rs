//! Host functions about header maps.

use plugin_host::MapKind;
use plugin_host::TrapKind;

use crate::support::Expect::Data;
use crate::support::Expect::Number;
use crate::support::Expect::Status;
use crate::support::Expect::Trap;
use crate::support::Row;
use crate::support::TestView;
use crate::support::run_rows;

#[test]
fn values_are_read() {
    let rows = [
        Row::new("first value", "proxy_get_header_map_value 0 1024 1 264 268", Data(b"1")).data(&["a"]),
        Row::new("any case", "proxy_get_header_map_value 0 1024 5 264 268", Data(b"/a?b")).data(&[":PATH"]),
        Row::new("empty value", "proxy_get_header_map_value 0 1024 5 264 268", Data(b"")).data(&["empty"]),
        Row::new("missing field", "proxy_get_header_map_value 0 1024 1 264 268", Status(1)).data(&["z"]),
        Row::new("missing map", "proxy_get_header_map_value 2 1024 1 264 268", Status(1)).data(&["a"]),
        Row::new("map of a callout", "proxy_get_header_map_value 6 1024 1 264 268", Status(1)).data(&["a"]),
        Row::new("unknown map", "proxy_get_header_map_value 8 1024 1 264 268", Status(2)).data(&["a"]),
        Row::new("empty name anywhere", "proxy_get_header_map_value 0 -1 0 264 268", Status(1)),
        Row::new("name outside", "proxy_get_header_map_value 0 131072 1 264 268", Trap(TrapKind::Memory)),
        Row::new("name overflows", "proxy_get_header_map_value 0 -1 -1 264 268", Trap(TrapKind::Memory)),
        Row::new("slot outside", "proxy_get_header_map_value 0 1024 1 131069 268", Trap(TrapKind::Memory))
            .data(&["a"]),
        Row::new("slot overflows", "proxy_get_header_map_value 0 1024 1 264 -1", Trap(TrapKind::Memory))
            .data(&["a"]),
    ];
    run_rows(&rows, TestView::default);
}

#[test]
fn whole_maps_are_read() {
    const ALL: &[u8] = b"\x02\0\0\0\x01\0\0\0\x01\0\0\0\x01\0\0\0\0\0\0\0a\x001\0b\0\0";
    let view = || TestView {
        request: vec![(b"a".into(), b"1".into()), (b"b".into(), b"".into())],
        ..TestView::default()
    };
    let rows = [
        Row::new("pairs", "proxy_get_header_map_pairs 0 264 268", Data(ALL)),
        Row::new("missing map", "proxy_get_header_map_pairs 2 264 268", Data(b"")),
        Row::new("unknown map", "proxy_get_header_map_pairs 9 264 268", Status(2)),
        Row::new("slot outside", "proxy_get_header_map_pairs 0 264 -4", Trap(TrapKind::Memory)),
        Row::new("size", "proxy_get_header_map_size 0 264", Number(3)),
        Row::new("size of a missing map", "proxy_get_header_map_size 3 264", Number(0)),
        Row::new("size of an unknown map", "proxy_get_header_map_size 99 264", Status(2)),
        Row::new("size outside", "proxy_get_header_map_size 0 -2", Trap(TrapKind::Memory)),
    ];
    run_rows(&rows, view);
}

#[test]
fn maps_are_edited() {
    let edits = [
        ("proxy_add_header_map_value 0 1024 1 2048 1", "a=1;a=2;a=v;"),
        ("proxy_replace_header_map_value 0 1024 1 2048 1", "a=v;"),
        ("proxy_remove_header_map_value 0 1024 1", ""),
        ("proxy_remove_header_map_value 0 2048 1", "a=1;a=2;"),
        ("proxy_set_header_map_pairs 0 3072 17", "k=vw;"),
        ("proxy_set_header_map_pairs 0 0 0", ""),
        ("proxy_set_header_map_pairs 0 4096 4", ""),
    ];
    let view = || TestView {
        request: vec![(b"a".into(), b"1".into()), (b"a".into(), b"2".into())],
        ..TestView::default()
    };
    for (call, expected) in edits {
        let data =
            &["a", "v", "\\01\\00\\00\\00\\01\\00\\00\\00\\02\\00\\00\\00k\\00vw\\00", "\\00\\00\\00\\00"];
        let views = run_rows(&[Row::new("edit", call, Status(0)).data(data)], view);
        assert_eq!(views[0].text(MapKind::RequestHeaders), expected, "{call}");
    }
}

#[test]
fn impossible_edits_have_a_status() {
    let rows = [
        Row::new("response is not there", "proxy_add_header_map_value 2 1024 1 1024 1", Status(2))
            .data(&["a"]),
        Row::new("callout is constant", "proxy_add_header_map_value 6 1024 1 1024 1", Status(2)).data(&["a"]),
        Row::new("unknown map", "proxy_replace_header_map_value 8 1024 1 1024 1", Status(2)).data(&["a"]),
        Row::new("malformed value", "proxy_replace_header_map_value 0 1024 1 2048 2", Status(2))
            .data(&["a", "x\\0a"]),
        Row::new("value outside", "proxy_replace_header_map_value 0 1024 1 -1 2", Trap(TrapKind::Memory)),
        Row::new("name outside", "proxy_remove_header_map_value 0 -1 2", Trap(TrapKind::Memory)),
        Row::new("remove of an unknown map", "proxy_remove_header_map_value -1 1024 1", Status(2)),
        Row::new("malformed pairs", "proxy_set_header_map_pairs 0 1024 3", Status(2)).data(&["abc"]),
        Row::new("too many pairs", "proxy_set_header_map_pairs 0 1024 4", Status(2))
            .data(&["\\ff\\ff\\ff\\ff"]),
        Row::new("pairs outside", "proxy_set_header_map_pairs 0 1024 -1", Trap(TrapKind::Memory)),
        Row::new("pairs of an unknown map", "proxy_set_header_map_pairs 77 0 0", Status(2)),
    ];
    let views = run_rows(&rows, TestView::default);
    assert!(views.iter().all(|view| view.text(MapKind::RequestHeaders).contains("a=1;a=2;")));
}

#[test]
fn ignored_edits_succeed() {
    let rows = [
        Row::new("set", "proxy_replace_header_map_value 0 1024 14 1024 1", Status(0))
            .data(&["content-length"]),
        Row::new("remove", "proxy_remove_header_map_value 0 1024 14", Status(0)).data(&["Content-Length"]),
    ];
    let views = run_rows(&rows, TestView::default);
    assert_eq!(views.iter().map(|view| view.ignored).collect::<Vec<_>>(), [1, 1]);
}
