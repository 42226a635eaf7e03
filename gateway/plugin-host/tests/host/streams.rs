//! Host functions that act on a stream.

use bytes::Bytes;
use plugin_host::Direction;
use plugin_host::Event;
use plugin_host::GuestAction;
use plugin_host::Reply;
use plugin_host::RootIndex;
use plugin_host::StreamId;
use plugin_host::TrapKind;

use crate::support::Expect::Data;
use crate::support::Expect::Status;
use crate::support::Expect::Trap;
use crate::support::Guest;
use crate::support::Row;
use crate::support::TestView;
use crate::support::run_rows;
use crate::support::start;

#[test]
fn arguments_are_checked() {
    let rows = [
        Row::new("request", "proxy_continue_stream 0", Status(0)),
        Row::new("response", "proxy_continue_stream 1", Status(0)),
        Row::new("tcp", "proxy_continue_stream 2", Status(2)),
        Row::new("unknown", "proxy_continue_stream -1", Status(2)),
        Row::new("close", "proxy_close_stream 0", Status(0)),
        Row::new("close tcp", "proxy_close_stream 3", Status(2)),
        Row::new("no grpc status", "proxy_get_status 272 264 268", Data(b"")),
        Row::new("status outside", "proxy_get_status -1 264 268", Trap(TrapKind::Memory)),
        Row::new("reply", "proxy_send_local_response 200 0 0 0 0 0 0 -1", Status(0)),
        Row::new("details outside", "proxy_send_local_response 200 -1 1 0 0 0 0 -1", Trap(TrapKind::Memory)),
        Row::new("body outside", "proxy_send_local_response 200 0 0 -1 1 0 0 -1", Trap(TrapKind::Memory)),
        Row::new("fields outside", "proxy_send_local_response 200 0 0 0 0 -1 1 -1", Trap(TrapKind::Memory)),
        Row::new("malformed fields", "proxy_send_local_response 200 0 0 0 0 1024 3 -1", Status(2))
            .data(&["abc"]),
        Row::new("old continue", "proxy_continue_request", Status(0)),
        Row::new("old clear", "proxy_clear_route_cache", Status(0)),
    ];
    run_rows(&rows, TestView::default);
}

#[test]
fn actions_name_the_stream() {
    let guest = Guest::new(
        r#"(data (i32.const 1024) "details")
           (data (i32.const 1040) "body")
           (data (i32.const 1056) "\01\00\00\00\01\00\00\00\01\00\00\00k\00v\00")
           (func (export "proxy_on_request_headers") (param i32 i32 i32) (result i32)
             (drop (call $proxy_continue_stream (i32.const 1)))
             (drop (call $proxy_close_stream (i32.const 0)))
             (drop (call $reply (i32.const 401)))
             ;; Only the first one counts.
             (call $reply (i32.const 402)))
           (func $reply (param $code i32) (result i32)
             (call $proxy_send_local_response (local.get $code) (i32.const 1024) (i32.const 7)
               (i32.const 1040) (i32.const 4) (i32.const 1056) (i32.const 16) (i32.const 7)))"#,
    );
    let mut instance = start(&guest);
    let stream = instance.open(RootIndex(0), TestView::default()).ok().unwrap();
    instance.call(stream, Event::RequestHeaders { fields: 6, is_end: true }).unwrap();
    let expected = Reply {
        status: 401,
        details: Bytes::from_static(b"details"),
        body: Bytes::from_static(b"body"),
        fields: vec![(Bytes::from_static(b"k"), Bytes::from_static(b"v"))],
        grpc_status: Some(7),
    };
    match &instance.take_actions()[..] {
        [
            GuestAction::Resume(first, Direction::Response),
            GuestAction::Close(second),
            GuestAction::Reply(third, reply),
        ] => {
            assert_eq!([*first, *second, *third], [stream; 3]);
            assert_eq!(**reply, expected);
        }
        actions => panic!("{actions:?}"),
    }
    assert_eq!(stream, StreamId(2));
}

#[test]
fn pending_actions_are_bounded() {
    // 200 bytes a reply need more than the 32 MiB of a guest only after many; resumptions count too.
    let guest = Guest::new(
        r#"(func (export "proxy_on_request_headers") (param i32 i32 i32) (result i32)
             (local $count i32)
             (loop $next
               (local.set $count (i32.add (local.get $count) (i32.const 1)))
               (br_if $next (i32.eqz (call $proxy_continue_stream (i32.const 0)))))
             (call $report_status (local.get $count))
             (i32.const 0))"#,
    );
    let mut instance = start(&guest);
    let stream = instance.open(RootIndex(0), TestView::default()).ok().unwrap();
    instance.call(stream, Event::RequestHeaders { fields: 6, is_end: true }).unwrap();
    let count = instance.view(stream).unwrap().status().unwrap() as usize;
    assert_eq!(instance.take_actions().len(), count - 1);
    assert!(count <= (32 << 20) / 256 + 1, "{count}");
}
