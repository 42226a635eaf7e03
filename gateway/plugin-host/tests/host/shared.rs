//! Shared data and queues.

use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering;

use bytes::Bytes;
use plugin_host::Event;
use plugin_host::Instance;
use plugin_host::InstanceConfig;
use plugin_host::RootIndex;
use plugin_host::StreamId;
use plugin_host::TrapKind;
use plugin_host::Waker;

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

#[test]
fn arguments_are_checked() {
    let rows = [
        Row::new("missing", "proxy_get_shared_data 1024 1 264 268 272", Status(1)).data(&["k"]),
        Row::new("key outside", "proxy_get_shared_data -1 1 264 268 272", Trap(TrapKind::Memory)),
        Row::new("set", "proxy_set_shared_data 1024 1 1024 1 0", Status(0)).data(&["k"]),
        Row::new("set a missing one by version", "proxy_set_shared_data 1024 1 1024 1 7", Status(0))
            .data(&["k"]),
        Row::new("value outside", "proxy_set_shared_data 1024 1 -1 1 0", Trap(TrapKind::Memory)),
        Row::new("register", "proxy_register_shared_queue 1024 1 264", Number(1)).data(&["q"]),
        Row::new("name outside", "proxy_register_shared_queue -1 1 264", Trap(TrapKind::Memory)),
        Row::new("id outside", "proxy_register_shared_queue 1024 1 -1", Trap(TrapKind::Memory)).data(&["q"]),
        Row::new("resolve an unknown", "proxy_resolve_shared_queue 1024 2 1024 1 264", Status(1))
            .data(&["vm"]),
        Row::new("vm outside", "proxy_resolve_shared_queue -1 2 1024 1 264", Trap(TrapKind::Memory)),
        Row::new("enqueue to an unknown", "proxy_enqueue_shared_queue 1 1024 1", Status(1)),
        Row::new("item outside", "proxy_enqueue_shared_queue 1 -1 1", Trap(TrapKind::Memory)),
        Row::new("dequeue from an unknown", "proxy_dequeue_shared_queue 0 264 268", Status(1)),
    ];
    run_rows(&rows, TestView::default);
}

/// A guest whose headers callback sets `k` to the byte `b` if the version fits what it read before, whose body callback
/// reads `k`, whose trailers callback enqueues, and which dequeues when a queue is ready.
const SHARING: &str = r#"
  (data (i32.const 1024) "k") (data (i32.const 1026) "vm") (data (i32.const 1030) "ready ")
  (global $version (mut i32) (i32.const 0))
  (global $queue (mut i32) (i32.const 0))
  (func (export "proxy_on_request_headers") (param i32 i32 i32) (result i32)
    (call $report_status (call $proxy_set_shared_data
      (i32.const 1024) (i32.const 1) (i32.const 1026) (i32.const 2) (global.get $version)))
    (i32.const 0))
  (func (export "proxy_on_request_body") (param i32 i32 i32) (result i32)
    (call $report_status (call $proxy_get_shared_data
      (i32.const 1024) (i32.const 1) (i32.const 264) (i32.const 268) (i32.const 272)))
    (call $report_data)
    (global.set $version (i32.load (i32.const 272)))
    (i32.const 0))
  (func (export "proxy_on_configure") (param i32 i32) (result i32)
    (if (local.get 1) (then
      (if (call $proxy_register_shared_queue (i32.const 1024) (i32.const 1) (i32.const 264)) (then unreachable))))
    (i32.const 1))
  (func (export "proxy_on_request_trailers") (param i32 i32) (result i32)
    (call $report_status (call $proxy_resolve_shared_queue
      (i32.const 1026) (i32.const 2) (i32.const 1024) (i32.const 1) (i32.const 264)))
    (if (i32.eqz (i32.load (i32.const 256))) (then
      (call $report_status (call $proxy_enqueue_shared_queue
        (i32.load (i32.const 264)) (i32.const 1026) (i32.const 2)))))
    (i32.const 0))
  (func (export "proxy_on_queue_ready") (param $root i32) (param $queue i32)
    (call $trace (i32.const 1030) (i32.const 6) (local.get $root))
    (if (call $proxy_dequeue_shared_queue (local.get $queue) (i32.const 264) (i32.const 268)) (then unreachable))
    (if (i32.ne (i32.load (i32.const 268)) (i32.const 2)) (then unreachable)))"#;

const SET: Event = Event::RequestHeaders { fields: 6, is_end: true };
const GET: Event = Event::RequestBody { bytes: 0, is_end: true };
const ENQUEUE: Event = Event::RequestTrailers { fields: 0 };

struct Sharer {
    instance: Instance<TestView>,
    stream: StreamId,
}

impl Sharer {
    fn new(config: InstanceConfig) -> Self {
        let mut instance = try_start(&Guest::new(SHARING), config).unwrap();
        let stream = instance.open(RootIndex(0), TestView::default()).ok().unwrap();
        Self { instance, stream }
    }

    /// Returns the status of an event's callback.
    fn call(&mut self, event: Event) -> u32 {
        self.instance.call(self.stream, event).unwrap();
        self.instance.view(self.stream).unwrap().status().unwrap()
    }

    /// Returns the number of queue items that are announced.
    fn deliver(&mut self) -> usize {
        captured(|| self.instance.deliver_queues().unwrap()).1.len()
    }
}

#[test]
fn data_is_compared_and_swapped() {
    let config = config();
    let (mut first, mut second) = (Sharer::new(config.clone()), Sharer::new(config.clone()));
    assert_eq!(first.call(GET), 1);
    assert_eq!(first.call(SET), 0);
    assert_eq!(second.call(GET), 0);
    assert_eq!(second.instance.view(second.stream).unwrap().property("data"), Some(&b"vm"[..]));
    assert_eq!(first.call(SET), 0, "version 0 fits any");
    assert_eq!(second.call(SET), 8, "another one has set it");
    assert_eq!(second.call(GET), 0);
    assert_eq!(second.call(SET), 0);
    // Data lives as long as an instance that uses it.
    drop((first, second));
    assert_eq!(Sharer::new(config).call(GET), 1);
}

#[test]
fn namespaces_and_vm_ids_share_nothing() {
    let config = config();
    let mut first = Sharer::new(config.clone());
    first.call(SET);
    for other in [
        InstanceConfig { namespace: "else".into(), ..config.clone() },
        InstanceConfig { vm_id: Bytes::new(), ..config.clone() },
    ] {
        assert_eq!(Sharer::new(other).call(GET), 1);
    }
    let registering = InstanceConfig { roots: vec![Bytes::from_static(b"x")], ..config.clone() };
    let _owner = Sharer::new(registering);
    assert_eq!(first.call(ENQUEUE), 0);
    let mut other = Sharer::new(InstanceConfig { namespace: "else".into(), ..config.clone() });
    assert_eq!(other.call(ENQUEUE), 1);
    // The VM ID of the queue is an argument.
    let mut other = Sharer::new(InstanceConfig { vm_id: Bytes::new(), ..config });
    assert_eq!(other.call(ENQUEUE), 0);
}

#[test]
fn queue_items_are_announced_to_the_last_registrar() {
    let wakes = Arc::new(AtomicUsize::new(0));
    let counter = Arc::clone(&wakes);
    let waker = Waker(Arc::new(move || {
        counter.fetch_add(1, Ordering::SeqCst);
    }));
    let config = config();
    let registering = InstanceConfig { roots: vec![Bytes::from_static(b"x")], waker, ..config.clone() };
    let mut first = Sharer::new(registering.clone());
    let mut second = Sharer::new(registering);
    let mut sender = Sharer::new(config);
    assert_eq!((sender.call(ENQUEUE), sender.call(ENQUEUE)), (0, 0));
    assert_eq!(wakes.load(Ordering::SeqCst), 2);
    assert_eq!((first.deliver(), second.deliver(), second.deliver()), (0, 2, 0));
    // The other one takes over.
    sender.call(ENQUEUE);
    drop(second);
    assert_eq!(wakes.load(Ordering::SeqCst), 4);
    assert_eq!(first.deliver(), 1);
    // One turn has 64 calls, and wakes for the rest.
    for _ in 0..70 {
        sender.call(ENQUEUE);
    }
    assert_eq!((first.deliver(), first.deliver()), (64, 6));
    assert_eq!(wakes.load(Ordering::SeqCst), 4 + 70 + 1);
    for _ in 0..1024 {
        assert_eq!(sender.call(ENQUEUE), 0);
    }
    assert_eq!(sender.call(ENQUEUE), 10, "it is full");
}

#[test]
fn data_and_queues_are_bounded() {
    let guest = Guest::new(
        r#"(func (export "proxy_on_request_headers") (param i32 i32 i32) (result i32)
             (local $at i32)
             (drop (memory.grow (i32.const 20)))
             (loop $next
               (i32.store (i32.const 1024) (local.get $at))
               (call $report_status (call $proxy_set_shared_data
                 (i32.const 1024) (i32.const 4) (i32.const 2048) (i32.const 1048576) (i32.const 0)))
               (local.set $at (i32.add (local.get $at) (i32.const 1)))
               (br_if $next (i32.and
                 (i32.eqz (i32.load (i32.const 256))) (i32.lt_u (local.get $at) (i32.const 99)))))
             (local.get $at))
           (func (export "proxy_on_request_trailers") (param i32 i32) (result i32)
             (local $at i32)
             (loop $next
               (i32.store (i32.const 1024) (local.get $at))
               (call $report_status (call $proxy_register_shared_queue
                 (i32.const 1024) (i32.const 4) (i32.const 264)))
               (local.set $at (i32.add (local.get $at) (i32.const 1)))
               (br_if $next (i32.and
                 (i32.eqz (i32.load (i32.const 256))) (i32.lt_u (local.get $at) (i32.const 99)))))
             (call $report_status (local.get $at))
             (i32.const 0))"#,
    );
    let (mut instance, _) = captured(|| try_start(&guest, config()).unwrap());
    let stream = instance.open(RootIndex(0), TestView::default()).ok().unwrap();
    captured(|| instance.call(stream, SET).unwrap());
    assert_eq!(instance.view(stream).unwrap().status(), Some(10));
    instance.call(stream, ENQUEUE).unwrap();
    assert_eq!(instance.view(stream).unwrap().status(), Some(33));
}
