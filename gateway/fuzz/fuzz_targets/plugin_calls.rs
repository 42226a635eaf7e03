//! Fuzzes the arguments and the order of host calls. The guest interprets the input: each step names a host function,
//! then its arguments. Tokens of callouts must be unique, and every callout must end exactly once.
//!
//! An argument is one byte below 64 for the number itself, one below 128 for an address in the input, or any other byte
//! before four bytes of the number.

#![no_main]

#[path = "plugin/config.rs"]
mod config;
#[path = "../../plugin-host/tests/host/support/functions.rs"]
mod functions;
#[path = "../../plugin-host/tests/host/support/view.rs"]
#[allow(dead_code, reason = "the tests use more of it")]
mod view;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;
use plugin_host::CallError;
use plugin_host::CallToken;
use plugin_host::Engine;
use plugin_host::Event;
use plugin_host::GrpcEvent;
use plugin_host::GuestAction;
use plugin_host::HttpResponse;
use plugin_host::Instance;
use plugin_host::Module;
use plugin_host::RootIndex;

use functions::FUNCTIONS;
use view::TestView;

/// Where the input is in guest memory.
const INPUT: usize = 1024;

/// Bytes of an input that are used.
const MAX_INPUT: usize = 4096;

static MODULE: LazyLock<Module> = LazyLock::new(|| {
    let engine = Engine::new(None).expect("an engine");
    engine.compile(&wat::parse_str(guest()).expect("WebAssembly text")).expect("a module")
});

fuzz_target!(|input: &[u8]| {
    let input = &input[..input.len().min(MAX_INPUT)];
    let mut instance = Instance::start(&MODULE, Arc::new(config::config())).expect("an instance");
    let view = || TestView {
        bodies: [Some(input.to_vec()), Some(b"response".to_vec())],
        response: Some(vec![(b":status".to_vec(), b"200".to_vec())]),
        ..TestView::default()
    };
    let streams = [0, 1].map(|root| instance.open(RootIndex(root), view()).ok().expect("a stream"));
    let mut tokens = BTreeSet::new();
    for stream in streams {
        let result = instance.call(stream, Event::RequestBody { bytes: input.len(), is_end: true });
        if let Err(error) = result {
            assert!(matches!(error, CallError::Trapped(_)) || instance.is_dead(), "{error}");
        }
    }
    finish(&mut instance, &mut tokens);
    for stream in streams {
        let cancelled = instance.cancel_callouts(stream);
        instance.close(stream);
        for token in cancelled {
            assert!(tokens.remove(&token), "{token:?} ends twice");
        }
    }
    let _ = instance.deliver_queues();
    instance.stop();
    assert_eq!(instance.is_dead(), instance.take_trap().is_some());
});

/// Ends every second callout that the actions begin. The others stay in flight.
fn finish(instance: &mut Instance<TestView>, tokens: &mut BTreeSet<CallToken>) {
    let mut begun = Vec::new();
    for action in instance.take_actions() {
        match action {
            GuestAction::Http(token, _) => begun.push((token, true)),
            GuestAction::Grpc(token, _) => begun.push((token, false)),
            GuestAction::GrpcCancel(token) => begun.retain(|(known, _)| *known != token),
            _ => {}
        }
    }
    for (at, (token, is_http)) in begun.into_iter().enumerate() {
        assert!(tokens.insert(token), "{token:?} is used twice");
        if at % 2 == 0 {
            let _ = match is_http {
                true => instance.http_response(token, HttpResponse::default()),
                false => instance.grpc_event(token, GrpcEvent::Close(0, Default::default())),
            };
            tokens.remove(&token);
        }
    }
}

/// Returns the text of the interpreter.
fn guest() -> String {
    let mut imports = String::new();
    let mut steps = String::new();
    for (at, (name, params)) in FUNCTIONS.iter().enumerate() {
        let (module, name) = match name.strip_prefix("wasi ") {
            Some(name) => ("wasi_snapshot_preview1", name),
            None => ("env", *name),
        };
        imports += &format!("(import \"{module}\" \"{name}\" (func $f{at} (param {params}) (result i32)))");
        let arguments: String = params
            .split_whitespace()
            .map(|ty| if ty == "i64" { "(i64.extend_i32_s (call $argument))" } else { "(call $argument)" })
            .collect();
        steps += &format!(
            "(if (i32.eq (local.get $step) (i32.const {at})) (then (drop (call $f{at} {arguments}))))"
        );
    }
    format!(
        r#"(module {imports}
          (memory (export "memory") 3)
          (global $at (mut i32) (i32.const 0))
          (global $end (mut i32) (i32.const 0))
          (func (export "proxy_abi_version_0_2_1"))
          (func (export "malloc") (param i32) (result i32)
            (select (i32.const 0) (i32.const 131072) (i32.gt_u (local.get 0) (i32.const 65536))))
          (func $byte (result i32)
            (global.set $at (i32.add (global.get $at) (i32.const 1)))
            (i32.load8_u (i32.sub (global.get $at) (i32.const 1))))
          (func $argument (result i32)
            (local $tag i32)
            (local.set $tag (call $byte))
            (if (i32.lt_u (local.get $tag) (i32.const 64)) (then (return (local.get $tag))))
            (if (i32.lt_u (local.get $tag) (i32.const 128)) (then (return
              (i32.add (i32.const {INPUT}) (i32.mul (i32.const 16) (i32.and (local.get $tag) (i32.const 63)))))))
            (global.set $at (i32.add (global.get $at) (i32.const 4)))
            (i32.load (i32.sub (global.get $at) (i32.const 4))))
          (func (export "proxy_on_request_body") (param i32 i32 i32) (result i32)
            (local $step i32)
            (if (call $f6 (i32.const 0) (i32.const 0) (i32.const {MAX_INPUT}) (i32.const 8) (i32.const 12))
              (then unreachable))
            (memory.copy (i32.const {INPUT}) (i32.load (i32.const 8)) (i32.load (i32.const 12)))
            (global.set $at (i32.const {INPUT}))
            (global.set $end (i32.add (i32.const {INPUT}) (i32.load (i32.const 12))))
            (loop $next
              (if (i32.lt_u (global.get $at) (global.get $end)) (then
                (local.set $step (call $byte))
                {steps}
                (br $next))))
            (i32.const 0)))"#
    )
}
