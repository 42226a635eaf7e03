//! Host functions about properties.

use plugin_host::TrapKind;

use crate::support::Expect::Data;
use crate::support::Expect::Status;
use crate::support::Expect::Trap;
use crate::support::Row;
use crate::support::TestView;
use crate::support::run_rows;

#[test]
fn properties_are_encoded_as_envoy_does() {
    const MAP: &[u8] = b"\x01\0\0\0\x01\0\0\0\x01\0\0\0a\x001\0";
    let rows = [
        Row::new("text", "proxy_get_property 1024 12 264 268", Data(b"/a?b")).data(&["request\\00path"]),
        Row::new("NUL at the end", "proxy_get_property 1024 13 264 268", Data(b"/a?b"))
            .data(&["request\\00path\\00"]),
        Row::new("number", "proxy_get_property 1024 12 264 268", Data(b"\xfe\xff\xff\xff\xff\xff\xff\xff"))
            .data(&["request\\00size"]),
        Row::new("boolean", "proxy_get_property 1024 15 264 268", Data(b"\x01"))
            .data(&["connection\\00mtls"]),
        Row::new("duration", "proxy_get_property 1024 16 264 268", Data(b"\xb8\x0b\0\0\0\0\0\0"))
            .data(&["request\\00duration"]),
        Row::new("time", "proxy_get_property 1024 12 264 268", Data(b"\x07\0\0\0\0\0\0\0"))
            .data(&["request\\00time"]),
        Row::new("map", "proxy_get_property 1024 15 264 268", Data(MAP)).data(&["request\\00headers"]),
        Row::new("plugin", "proxy_get_property 1024 11 264 268", Data(b"shop/test")).data(&["plugin_name"]),
        Row::new("root", "proxy_get_property 1024 14 264 268", Data(b"root")).data(&["plugin_root_id"]),
        Row::new("vm", "proxy_get_property 1024 12 264 268", Data(b"vm")).data(&["plugin_vm_id"]),
        Row::new("unknown", "proxy_get_property 1024 7 264 268", Status(1)).data(&["request"]),
        Row::new("empty path", "proxy_get_property 0 0 264 268", Status(1)),
        Row::new("path outside", "proxy_get_property -1 2 264 268", Trap(TrapKind::Memory)),
        Row::new("slot outside", "proxy_get_property 1024 11 264 -1", Trap(TrapKind::Memory))
            .data(&["plugin_name"]),
    ];
    run_rows(&rows, TestView::default);
}

#[test]
fn properties_are_set() {
    let rows = [
        Row::new("own", "proxy_set_property 1024 4 1026 2", Status(0)).data(&["mine"]),
        Row::new("empty", "proxy_set_property 1024 4 0 0", Status(0)).data(&["mine"]),
        Row::new("built-in", "proxy_set_property 1024 10 1024 2", Status(2)).data(&["route_name"]),
        Row::new("path outside", "proxy_set_property -1 4 1024 2", Trap(TrapKind::Memory)),
        Row::new("value outside", "proxy_set_property 1024 4 1024 -1", Trap(TrapKind::Memory)),
    ];
    let views = run_rows(&rows, TestView::default);
    assert_eq!(views[0].property("mine"), Some(&b"ne"[..]));
    assert_eq!(views[1].property("mine"), Some(&b""[..]));
}
