//! HTTP and gRPC callouts: what is asked for, and what is delivered.

use std::time::Duration;

use bytes::Bytes;
use plugin_host::CallToken;
use plugin_host::Event;
use plugin_host::Fields;
use plugin_host::GrpcEvent;
use plugin_host::GuestAction;
use plugin_host::HttpResponse;
use plugin_host::Instance;
use plugin_host::InstanceConfig;
use plugin_host::Limits;
use plugin_host::RootIndex;
use plugin_host::StreamId;
use plugin_host::TrapKind;

use crate::support::Expect::Number;
use crate::support::Expect::Status;
use crate::support::Expect::Trap;
use crate::support::Guest;
use crate::support::Row;
use crate::support::TestView;
use crate::support::captured;
use crate::support::config;
use crate::support::run_rows;
use crate::support::try_start;

const HEADERS: Event = Event::RequestHeaders { fields: 6, is_end: true };

/// Fields of a request as a block of 78 bytes.
const FIELDS: &str = "\\03\\00\\00\\00\\0a\\00\\00\\00\\01\\00\\00\\00\\07\\00\\00\\00\\03\\00\\00\\00\\05\\00\\00\\00\\01\\00\\00\\00\
    :authority\\00x\\00:method\\00GET\\00:path\\00/\\00";

/// Length of [`FIELDS`].
const LEN: usize = 28 + 33;

#[test]
fn arguments_of_http_calls_are_checked() {
    const FEW: &str = "\\01\\00\\00\\00\\05\\00\\00\\00\\01\\00\\00\\00:path\\00/\\00";
    const UPSTREAM: &str = "authz.shop.svc.cluster.local:8080";
    let rows = [
        Row::new("good", "proxy_http_call 1024 33 2048 61 0 0 0 0 100 264", Number(1))
            .data(&[UPSTREAM, FIELDS]),
        Row::new("unknown upstream", "proxy_http_call 1024 33 2048 61 0 0 0 0 100 264", Status(2))
            .data(&["authz.else.svc.cluster.local:8080", FIELDS]),
        Row::new("no method", "proxy_http_call 1024 33 2048 20 0 0 0 0 100 264", Status(2))
            .data(&[UPSTREAM, FEW]),
        Row::new("no fields", "proxy_http_call 1024 33 2048 0 0 0 0 0 100 264", Status(2)).data(&[UPSTREAM]),
        Row::new("malformed fields", "proxy_http_call 1024 33 2048 60 0 0 0 0 100 264", Status(2))
            .data(&[UPSTREAM, FIELDS]),
        Row::new("malformed trailers", "proxy_http_call 1024 33 2048 61 0 0 1024 9 100 264", Status(2))
            .data(&[UPSTREAM, FIELDS]),
        Row::new("upstream outside", "proxy_http_call -1 33 2048 61 0 0 0 0 100 264", Trap(TrapKind::Memory)),
        Row::new("body outside", "proxy_http_call 1024 33 2048 61 -1 -1 0 0 1 264", Trap(TrapKind::Memory)),
        Row::new(
            "trailers outside",
            "proxy_http_call 1024 33 2048 61 0 0 -1 9 1 264",
            Trap(TrapKind::Memory),
        ),
        Row::new("token outside", "proxy_http_call 1024 33 2048 61 0 0 0 0 1 -1", Trap(TrapKind::Memory))
            .data(&[UPSTREAM, FIELDS]),
    ];
    run_rows(&rows, TestView::default);
}

#[test]
fn arguments_of_grpc_calls_are_checked() {
    const UPSTREAM: &str = "shop/authz:8080";
    // Envoy's GrpcService with a cluster name.
    const SERVICE: &str = "\\0a\\11\\0a\\0fshop/authz:8080";
    let rows = [
        Row::new("call", "proxy_grpc_call 1024 15 2048 3 2048 3 0 0 2048 2 100 264", Number(1))
            .data(&[UPSTREAM, "svc"]),
        Row::new("service of Envoy", "proxy_grpc_call 1024 19 2048 3 2048 3 0 0 2048 2 100 264", Number(1))
            .data(&[SERVICE, "svc"]),
        Row::new("stream", "proxy_grpc_stream 1024 15 2048 3 2048 3 0 0 264", Number(1))
            .data(&[UPSTREAM, "svc"]),
        Row::new("unknown upstream", "proxy_grpc_call 1024 14 2048 3 2048 3 0 0 2048 2 100 264", Status(4))
            .data(&[UPSTREAM, "svc"]),
        Row::new("malformed metadata", "proxy_grpc_stream 1024 15 0 0 0 0 1024 9 264", Status(4))
            .data(&[UPSTREAM]),
        Row::new("service outside", "proxy_grpc_stream 1024 15 -1 1 0 0 0 0 264", Trap(TrapKind::Memory)),
        Row::new("method outside", "proxy_grpc_stream 1024 15 0 0 -1 1 0 0 264", Trap(TrapKind::Memory)),
        Row::new("message outside", "proxy_grpc_call 1024 15 0 0 0 0 0 0 -1 2 0 264", Trap(TrapKind::Memory)),
        Row::new("token outside", "proxy_grpc_stream 1024 15 0 0 0 0 0 0 -2", Trap(TrapKind::Memory))
            .data(&[UPSTREAM]),
        Row::new("send to an unknown", "proxy_grpc_send 1 0 0 0", Status(1)),
        Row::new("send from outside", "proxy_grpc_send 1 -1 1 0", Trap(TrapKind::Memory)),
        Row::new("close an unknown", "proxy_grpc_close 7", Status(1)),
        Row::new("cancel an unknown", "proxy_grpc_cancel 7", Status(1)),
    ];
    run_rows(&rows, TestView::default);
}

/// A guest that begins an HTTP call on request headers, a gRPC stream on response headers and a gRPC call on request
/// trailers, and logs what is delivered. `extra` has further items.
fn calling_guest(extra: &str) -> Guest {
    Guest::new(&format!(
        r#"(data (i32.const 1024) "shop/authz:8080")
           (data (i32.const 1056) "{FIELDS}")
           (data (i32.const 1152) "body")
           (data (i32.const 1160) "http ") (data (i32.const 1168) "init ") (data (i32.const 1176) "msg  ")
           (data (i32.const 1184) "trail ") (data (i32.const 1192) "close ")
           (global $token (mut i32) (i32.const 0))
           (func (export "proxy_on_request_headers") (param i32 i32 i32) (result i32)
             (call $report_status (call $proxy_http_call (i32.const 1024) (i32.const 15)
               (i32.const 1056) (i32.const {LEN}) (i32.const 1152) (i32.const 4)
               (i32.const 0) (i32.const 0) (i32.const 70) (i32.const 264)))
             (i32.const 1))
           (func (export "proxy_on_response_headers") (param i32 i32 i32) (result i32)
             (call $report_status (call $proxy_grpc_stream (i32.const 1024) (i32.const 15)
               (i32.const 1152) (i32.const 1) (i32.const 1153) (i32.const 1)
               (i32.const 0) (i32.const 0) (i32.const 264)))
             (global.set $token (i32.load (i32.const 264)))
             (i32.const 0))
           (func (export "proxy_on_request_trailers") (param i32 i32) (result i32)
             (call $report_status (call $proxy_grpc_call (i32.const 1024) (i32.const 15)
               (i32.const 1152) (i32.const 1) (i32.const 1153) (i32.const 1)
               (i32.const 0) (i32.const 0) (i32.const 1152) (i32.const 4) (i32.const 80) (i32.const 264)))
             (i32.const 0))
           (func (export "proxy_on_http_call_response") (param i32 i32 i32 i32 i32)
             (call $trace (i32.const 1160) (i32.const 5) (i32.add (i32.mul (local.get 2) (i32.const 3)) (local.get 3)))
             (drop (call $proxy_get_header_map_value
               (i32.const 6) (i32.const 1056) (i32.const 0) (i32.const 264) (i32.const 268)))
             (drop (call $proxy_get_buffer_bytes
               (i32.const 4) (i32.const 0) (i32.const 99) (i32.const 264) (i32.const 268)))
             (if (call $proxy_set_effective_context (i32.const 2)) (then return))
             (call $report_data) (drop (call $proxy_continue_stream (i32.const 0))))
           (func (export "proxy_on_grpc_receive_initial_metadata") (param i32 i32 i32)
             (call $trace (i32.const 1168) (i32.const 5) (local.get 2)))
           (func (export "proxy_on_grpc_receive") (param i32 i32 i32)
             (call $trace (i32.const 1176) (i32.const 5) (local.get 2)))
           (func (export "proxy_on_grpc_receive_trailing_metadata") (param i32 i32 i32)
             (call $trace (i32.const 1184) (i32.const 6) (local.get 2)))
           (func (export "proxy_on_grpc_close") (param i32 i32 i32)
             (call $trace (i32.const 1192) (i32.const 6) (local.get 2)))
           {extra}"#
    ))
}

fn fields(pairs: &[(&'static str, &'static str)]) -> Fields {
    pairs.iter().map(|(name, value)| (Bytes::from(*name), Bytes::from(*value))).collect()
}

/// Runs and returns the logged texts, without spaces.
fn traced(run: impl FnOnce()) -> Vec<String> {
    let (_, lines) = captured(run);
    let text = |line: String| {
        let text = line.trim_start_matches("INFO ").split(" plugin=").next().unwrap();
        text.split_whitespace().collect::<Vec<_>>().join(" ")
    };
    lines.into_iter().map(text).collect()
}

struct Caller {
    instance: Instance<TestView>,
    stream: StreamId,
}

impl Caller {
    fn new(extra: &str, config: InstanceConfig) -> Self {
        let mut instance = try_start(&calling_guest(extra), config).unwrap();
        let stream = instance.open(RootIndex(0), TestView::default()).ok().unwrap();
        Self { instance, stream }
    }

    /// Makes the guest begin a callout. Returns its action.
    fn begin(&mut self, event: Event) -> GuestAction {
        self.instance.call(self.stream, event).unwrap();
        assert_eq!(self.instance.view(self.stream).unwrap().status(), Some(0));
        let mut actions = self.instance.take_actions();
        assert_eq!(actions.len(), 1);
        actions.remove(0)
    }

    fn begin_http(&mut self) -> CallToken {
        match self.begin(HEADERS) {
            GuestAction::Http(token, _) => token,
            action => panic!("{action:?}"),
        }
    }

    fn begin_grpc(&mut self, event: Event) -> CallToken {
        match self.begin(event) {
            GuestAction::Grpc(token, _) => token,
            action => panic!("{action:?}"),
        }
    }
}

const STREAM: Event = Event::ResponseHeaders { fields: 1, is_end: true };
const CALL: Event = Event::RequestTrailers { fields: 1 };

#[test]
fn http_call_is_delivered_exactly_once() {
    let mut caller = Caller::new("", config());
    let GuestAction::Http(token, request) = caller.begin(HEADERS) else { panic!("no call") };
    assert_eq!((request.root, request.stream, request.upstream), (RootIndex(0), Some(caller.stream), 0));
    assert_eq!(request.fields, fields(&[(":authority", "x"), (":method", "GET"), (":path", "/")]));
    assert_eq!((&request.body[..], request.timeout), (&b"body"[..], Duration::from_millis(70)));
    let response = HttpResponse {
        fields: fields(&[(":status", "200"), ("A", "b")]),
        body: Bytes::from_static(b"ok"),
        trailers: Fields::new(),
    };
    let lines = traced(|| {
        for _ in 0..2 {
            caller.instance.http_response(token, response.clone()).unwrap();
            caller.instance.http_response(CallToken(99), response.clone()).unwrap();
        }
    });
    // Twice 3 fields and 2 bytes.
    assert_eq!(lines, ["http 8"]);
    assert_eq!(caller.instance.view(caller.stream).unwrap().property("data"), Some(&b"ok"[..]));
    assert!(matches!(caller.instance.take_actions()[..], [GuestAction::Resume(..)]));
}

#[test]
fn tokens_differ_over_all_kinds() {
    let mut caller = Caller::new("", config());
    let tokens =
        [caller.begin_http(), caller.begin_grpc(STREAM), caller.begin_grpc(CALL), caller.begin_http()];
    assert_eq!(tokens, [1, 2, 3, 4].map(CallToken));
    // An event of another kind than the token's is ignored.
    let lines = traced(|| {
        caller.instance.grpc_event(tokens[0], GrpcEvent::Message(Bytes::new())).unwrap();
        caller.instance.http_response(tokens[1], HttpResponse::default()).unwrap();
    });
    assert!(lines.is_empty());
}

#[test]
fn grpc_stream_events_end_with_close() {
    let status = r#"(func (export "proxy_on_tick") (param i32)
        (drop (call $proxy_get_status (i32.const 272) (i32.const 264) (i32.const 268)))
        (drop (call $proxy_set_effective_context (i32.const 2)))
        (call $report_status (i32.load (i32.const 272)))
        (call $report_data))"#;
    let mut caller = Caller::new(status, config());
    let token = caller.begin_grpc(STREAM);
    let lines = traced(|| {
        for event in [
            GrpcEvent::InitialMetadata(fields(&[("a", "b")])),
            GrpcEvent::Message(Bytes::from_static(b"one")),
            GrpcEvent::Message(Bytes::new()),
            GrpcEvent::TrailingMetadata(fields(&[("a", "b"), ("c", "d")])),
            GrpcEvent::Close(5, Bytes::from_static(b"why")),
            GrpcEvent::Close(6, Bytes::new()),
            GrpcEvent::Message(Bytes::from_static(b"late")),
        ] {
            caller.instance.grpc_event(token, event).unwrap();
        }
    });
    assert_eq!(lines, ["init 1", "msg 3", "msg 0", "trail 2", "close 5"]);
    caller.instance.tick(RootIndex(0)).unwrap();
    let view = caller.instance.view(caller.stream).unwrap();
    assert_eq!((view.status(), view.property("data")), (Some(5), Some(&b"why"[..])));
}

#[test]
fn grpc_call_ends_with_its_message() {
    let mut caller = Caller::new("", config());
    let token = caller.begin_grpc(CALL);
    let lines = traced(|| {
        for event in [
            GrpcEvent::InitialMetadata(fields(&[("a", "b")])),
            GrpcEvent::Message(Bytes::from_static(b"one")),
            GrpcEvent::TrailingMetadata(fields(&[("a", "b")])),
            GrpcEvent::Close(0, Bytes::new()),
        ] {
            caller.instance.grpc_event(token, event).unwrap();
        }
    });
    assert_eq!(lines, ["msg 3"]);
    let token = caller.begin_grpc(CALL);
    let lines = traced(|| caller.instance.grpc_event(token, GrpcEvent::Close(4, Bytes::new())).unwrap());
    assert_eq!(lines, ["close 4"]);
}

#[test]
fn grpc_stream_is_written_closed_and_cancelled() {
    // Each tick makes the next of these calls.
    let extra = r#"(global $step (mut i32) (i32.const 0))
        (func (export "proxy_on_tick") (param i32)
          (local $status i32)
          (global.set $step (i32.add (global.get $step) (i32.const 1)))
          (if (i32.eq (global.get $step) (i32.const 1)) (then (local.set $status
            (call $proxy_grpc_send (global.get $token) (i32.const 1152) (i32.const 4) (i32.const 0)))))
          (if (i32.eq (global.get $step) (i32.const 2)) (then (local.set $status
            (call $proxy_grpc_close (global.get $token)))))
          (if (i32.eq (global.get $step) (i32.const 3)) (then (local.set $status
            (call $proxy_grpc_send (global.get $token) (i32.const 1152) (i32.const 4) (i32.const 0)))))
          (if (i32.eq (global.get $step) (i32.const 4)) (then (local.set $status
            (call $proxy_grpc_cancel (global.get $token)))))
          (if (i32.eq (global.get $step) (i32.const 5)) (then (local.set $status
            (call $proxy_grpc_cancel (global.get $token)))))
          (drop (call $proxy_set_effective_context (i32.const 2)))
          (call $report_status (local.get $status)))"#;
    let mut caller = Caller::new(extra, config());
    let token = caller.begin_grpc(STREAM);
    let mut steps = Vec::new();
    for _ in 0..5 {
        caller.instance.tick(RootIndex(0)).unwrap();
        let status = caller.instance.view(caller.stream).unwrap().status().unwrap();
        let action = match caller.instance.take_actions().pop() {
            None => "none",
            Some(GuestAction::GrpcSend { message, is_end: false, .. }) if message == "body" => "send",
            Some(GuestAction::GrpcClose(closed)) if closed == token => "close",
            Some(GuestAction::GrpcCancel(cancelled)) if cancelled == token => "cancel",
            action => panic!("{action:?}"),
        };
        steps.push((status, action));
    }
    assert_eq!(steps, [(0, "send"), (0, "close"), (2, "none"), (0, "cancel"), (1, "none")]);
    let lines = traced(|| caller.instance.grpc_event(token, GrpcEvent::Close(0, Bytes::new())).unwrap());
    assert!(lines.is_empty(), "nothing follows a cancellation");
}

#[test]
fn callouts_of_a_closed_stream_fail_once() {
    let mut caller = Caller::new("", config());
    let tokens = [caller.begin_http(), caller.begin_grpc(STREAM)];
    let lines = traced(|| assert_eq!(caller.instance.cancel_callouts(caller.stream), tokens));
    assert!(lines.is_empty(), "not while the stream is open: {lines:?}");
    let lines = traced(|| {
        caller.instance.close(caller.stream);
        assert!(caller.instance.cancel_callouts(caller.stream).is_empty());
        caller.instance.http_response(tokens[0], HttpResponse::default()).unwrap();
        caller.instance.grpc_event(tokens[1], GrpcEvent::Close(0, Bytes::new())).unwrap();
    });
    assert_eq!(lines, ["close 1", "http 0"]);
}

#[test]
fn callouts_outlive_their_stream_unless_cancelled() {
    let mut caller = Caller::new("", config());
    let token = caller.begin_http();
    caller.instance.close(caller.stream);
    let lines = traced(|| assert_eq!(caller.instance.cancel_callouts(caller.stream), [token]));
    assert_eq!(lines, ["http 0"]);
    caller.stream = caller.instance.open(RootIndex(0), TestView::default()).ok().unwrap();
    let token = caller.begin_http();
    caller.instance.close(caller.stream);
    let lines = traced(|| caller.instance.http_response(token, HttpResponse::default()).unwrap());
    assert_eq!(lines, ["http 0"]);
}

#[test]
fn callouts_in_flight_are_limited() {
    let limits = Limits { callouts: 2, ..config().limits };
    let mut caller = Caller::new("", InstanceConfig { limits, ..config() });
    let token = caller.begin_http();
    caller.begin_grpc(CALL);
    let lines = traced(|| {
        for _ in 0..2 {
            caller.instance.call(caller.stream, HEADERS).unwrap();
            assert_eq!(caller.instance.view(caller.stream).unwrap().status(), Some(10));
        }
    });
    assert_eq!(lines, ["WARN the plugin has too many callouts in flight; further ones fail"]);
    assert!(caller.instance.take_actions().is_empty());
    caller.instance.http_response(token, HttpResponse::default()).unwrap();
    caller.instance.take_actions();
    caller.begin_http();
}

#[test]
fn callouts_of_one_stream_are_limited() {
    let limits = Limits { callouts: 6, callouts_per_stream: 2, ..config().limits };
    let mut caller = Caller::new("", InstanceConfig { limits, ..config() });
    let first = caller.stream;
    let tokens = [caller.begin_http(), caller.begin_grpc(STREAM)];
    for event in [HEADERS, STREAM, CALL] {
        caller.instance.call(first, event).unwrap();
        assert_eq!(caller.instance.view(first).unwrap().status(), Some(10), "{event:?}");
    }
    assert!(caller.instance.take_actions().is_empty());
    caller.stream = caller.instance.open(RootIndex(0), TestView::default()).ok().unwrap();
    caller.begin_http();
    caller.begin_http();
    caller.stream = first;
    caller.instance.http_response(tokens[0], HttpResponse::default()).unwrap();
    caller.instance.take_actions();
    caller.begin_http();
}

#[test]
fn callouts_of_root_contexts_count_for_the_instance_alone() {
    let limits = Limits { callouts: 3, callouts_per_stream: 1, ..config().limits };
    let tick = format!(
        r#"(func (export "proxy_on_tick") (param i32)
             (drop (call $proxy_http_call (i32.const 1024) (i32.const 15)
               (i32.const 1056) (i32.const {LEN}) (i32.const 1152) (i32.const 4)
               (i32.const 0) (i32.const 0) (i32.const 70) (i32.const 264))))"#
    );
    let mut caller = Caller::new(&tick, InstanceConfig { limits, ..config() });
    caller.begin_http();
    for expected in [1, 1, 0] {
        caller.instance.tick(RootIndex(0)).unwrap();
        assert_eq!(caller.instance.take_actions().len(), expected);
    }
}
