//! How guests name upstreams.

use bytes::Bytes;
use plugin_host::AllowedUpstream;
use plugin_host::Event;
use plugin_host::GuestAction;
use plugin_host::Instance;
use plugin_host::InstanceConfig;
use plugin_host::RootIndex;

use crate::support::Guest;
use crate::support::TestView;
use crate::support::config;
use crate::support::try_start;

/// A guest that calls the upstream that its configuration names, as a gRPC stream.
const CALLER: &str = r#"(func (export "proxy_on_request_headers") (param i32 i32 i32) (result i32)
    (drop (call $proxy_get_buffer_bytes
      (i32.const 7) (i32.const 0) (i32.const 999) (i32.const 264) (i32.const 268)))
    (call $report_status (call $proxy_grpc_stream (i32.load (i32.const 264)) (i32.load (i32.const 268))
      (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 272)))
    (i32.const 0))"#;

/// Returns the index of the upstream that each name finds.
fn find(names: &[&'static str]) -> Vec<Option<usize>> {
    let upstream = |namespace: &str, name: &str, port| AllowedUpstream {
        namespace: namespace.to_owned(),
        name: name.to_owned(),
        port,
    };
    let config = InstanceConfig {
        upstreams: vec![
            upstream("shop", "a", 80),
            upstream("shop", "b", 80),
            upstream("shop", "b", 81),
            upstream("else", "a", 80),
        ],
        roots: names.iter().map(|name| Bytes::from_static(name.as_bytes())).collect(),
        ..config()
    };
    let mut instance: Instance<TestView> = try_start(&Guest::new(CALLER), config).unwrap();
    let mut call = |root| {
        let stream = instance.open(RootIndex(root), TestView::default()).ok().unwrap();
        instance.call(stream, Event::RequestHeaders { fields: 6, is_end: true }).unwrap();
        match instance.take_actions().pop() {
            Some(GuestAction::Grpc(_, request)) => Some(request.upstream),
            _ => None,
        }
    };
    (0..names.len()).map(&mut call).collect()
}

#[test]
fn upstreams_have_several_names() {
    for (name, expected) in [
        ("a", Some(0)),
        ("a:80", Some(0)),
        ("a:81", None),
        ("a.shop", Some(0)),
        ("a.else:80", Some(3)),
        ("else/a:80", Some(3)),
        ("else/a", Some(3)),
        ("a.else.svc", Some(3)),
        ("a.shop.svc.cluster.local", Some(0)),
        ("a.shop.svc.cluster.local.:80", Some(0)),
        ("outbound|80||a.else.svc.cluster.local", Some(3)),
        ("outbound|81|v1|b.shop.svc.cluster.local", Some(2)),
        ("outbound|82||b.shop.svc.cluster.local", None),
        // Two ports are allowed.
        ("b", None),
        ("b:81", Some(2)),
        ("", None),
        (":80", None),
        ("a.", Some(0)),
        ("a.shop.pod", None),
        ("a:port", None),
        ("a:99999", None),
        ("/a", None),
        ("outbound|80|a", None),
        ("outbound|80||a|", None),
        ("169.254.169.254", None),
        ("\0", None),
    ] {
        assert_eq!(find(&[name]), [expected], "{name}");
    }
}
