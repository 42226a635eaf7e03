//! What a stream costs in a guest that does little.
//!
//! `cargo bench -p plugin-host --bench calls`.

#![allow(clippy::unwrap_used, reason = "a benchmark fails by panicking")]

use std::borrow::Cow;
use std::sync::Arc;

use bytes::Bytes;
use plugin_host::Direction;
use plugin_host::EditError;
use plugin_host::EditOutcome;
use plugin_host::Engine;
use plugin_host::Event;
use plugin_host::HttpView;
use plugin_host::Instance;
use plugin_host::InstanceConfig;
use plugin_host::Limits;
use plugin_host::MapEdit;
use plugin_host::MapKind;
use plugin_host::PropertyValue;
use plugin_host::RootIndex;
use plugin_host::Shared;
use plugin_host::Waker;

fn main() {
    divan::main();
}

/// A request head of ten fields.
struct BenchView(usize);

const FIELDS: [(&[u8], &[u8]); 10] = [
    (b":method", b"GET"),
    (b":scheme", b"https"),
    (b":authority", b"shop.example.com"),
    (b":path", b"/catalogue/items/42"),
    (b"user-agent", b"Mozilla/5.0 (X11; Linux x86_64; rv:128.0)"),
    (b"accept", b"*/*"),
    (b"accept-encoding", b"gzip, br"),
    (b"accept-language", b"en"),
    (b"cookie", b"session=0123456789abcdef"),
    (b"x-api-key", b"0123456789abcdef"),
];

impl HttpView for BenchView {
    fn for_each_field(&self, _: MapKind, on_field: &mut dyn FnMut(&[u8], &[u8])) -> bool {
        FIELDS.iter().for_each(|(name, value)| on_field(name, value));
        true
    }

    fn field(&self, _: MapKind, name: &[u8]) -> Option<Cow<'_, [u8]>> {
        FIELDS.iter().find(|(known, _)| *known == name).map(|(_, value)| Cow::Borrowed(*value))
    }

    fn edit(&mut self, _: MapKind, edit: MapEdit<'_>) -> Result<EditOutcome, EditError> {
        if let MapEdit::Set { name, value } = edit {
            self.0 += name.len() + value.len();
        }
        Ok(EditOutcome::Applied)
    }

    fn body(&self, _: Direction) -> Option<&[u8]> {
        None
    }

    fn edit_body(&mut self, _: Direction, _: usize, _: usize, _: &[u8]) -> Result<(), EditError> {
        Err(EditError::Unavailable)
    }

    fn property(&self, _: &[u8]) -> Option<PropertyValue<'_>> {
        None
    }

    fn set_property(&mut self, _: &[u8], _: &[u8]) -> bool {
        false
    }

    fn route(&self) -> &str {
        ""
    }
}

/// Callbacks of all phases of a stream without a body, and a bump allocator.
fn guest(on_request: &str) -> String {
    format!(
        r#"(module
          (import "env" "proxy_get_header_map_value" (func $get (param i32 i32 i32 i32 i32) (result i32)))
          (import "env" "proxy_get_header_map_pairs" (func $pairs (param i32 i32 i32) (result i32)))
          (import "env" "proxy_replace_header_map_value" (func $set (param i32 i32 i32 i32 i32) (result i32)))
          (memory (export "memory") 2)
          (data (i32.const 1024) "x-api-key")
          (func (export "proxy_abi_version_0_2_1"))
          (func (export "malloc") (param i32) (result i32) (i32.const 65536))
          (func (export "proxy_on_context_create") (param i32 i32))
          (func (export "proxy_on_request_headers") (param i32 i32 i32) (result i32) {on_request} (i32.const 0))
          (func (export "proxy_on_response_headers") (param i32 i32 i32) (result i32) (i32.const 0))
          (func (export "proxy_on_done") (param i32) (result i32) (i32.const 1))
          (func (export "proxy_on_log") (param i32))
          (func (export "proxy_on_delete") (param i32)))"#
    )
}

const SET: &str =
    "(drop (call $set (i32.const 0) (i32.const 1024) (i32.const 9) (i32.const 1024) (i32.const 9)))";
const GET: &str =
    "(drop (call $get (i32.const 0) (i32.const 1024) (i32.const 9) (i32.const 264) (i32.const 268)))";
const PAIRS: &str = "(drop (call $pairs (i32.const 0) (i32.const 264) (i32.const 268)))";

fn config() -> Arc<InstanceConfig> {
    Arc::new(InstanceConfig {
        plugin: "shop/bench".into(),
        version: "v1".into(),
        namespace: "shop".into(),
        root_id: Bytes::new(),
        vm_id: Bytes::new(),
        vm_configuration: Bytes::new(),
        environment: Vec::new(),
        roots: vec![Bytes::new()],
        upstreams: Vec::new(),
        limits: Limits::default(),
        allow_on_headers_stop_iteration: false,
        shared: Arc::new(Shared::new()),
        waker: Waker(Arc::new(|| {})),
        observer: None,
    })
}

/// Context creation, both heads, end, log and deletion.
#[divan::bench(args = [("nothing", ""), ("set", SET), ("get", GET), ("pairs", PAIRS)])]
fn stream(bencher: divan::Bencher<'_, '_>, (_, on_request): (&str, &str)) {
    let engine = Engine::new(None).unwrap();
    let module = engine.compile(&wat::parse_str(guest(on_request)).unwrap()).unwrap();
    let mut instance = Instance::start(&module, config()).unwrap();
    bencher.bench_local(|| {
        let stream = instance.open(RootIndex(0), BenchView(0)).ok().unwrap();
        instance.call(stream, Event::RequestHeaders { fields: 10, is_end: true }).unwrap();
        instance.call(stream, Event::ResponseHeaders { fields: 10, is_end: true }).unwrap();
        instance.close(stream);
        instance.take_actions()
    });
}

/// The start of an instance.
#[divan::bench]
fn start(bencher: divan::Bencher<'_, '_>) {
    let engine = Engine::new(None).unwrap();
    let module = engine.compile(&wat::parse_str(guest("")).unwrap()).unwrap();
    bencher.bench_local(|| Instance::<BenchView>::start(&module, config()).unwrap());
}
