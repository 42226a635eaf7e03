//! Class handlers: what a command may do, and how hostile ones end.

use std::time::Duration;
use std::time::Instant;

use bytes::Bytes;
use plugin_host::CommandError;
use plugin_host::CommandLimits;
use plugin_host::Engine;
use plugin_host::HandlerCommand;
use plugin_host::ModuleError;

/// Imports of the guests, a memory of one page, and helpers: `$out` and `$err` write bytes, `$in` reads some to an address.
const PRELUDE: &str = r#"
  (import "wasi_snapshot_preview1" "fd_read" (func $fd_read (param i32 i32 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "fd_write" (func $fd_write (param i32 i32 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "proc_exit" (func $exit (param i32)))
  (import "wasi_snapshot_preview1" "random_get" (func $random (param i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "clock_time_get" (func $clock (param i32 i64 i32) (result i32)))
  (import "wasi_snapshot_preview1" "environ_sizes_get" (func $environ (param i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "fd_prestat_get" (func $prestat (param i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "sock_send" (func $send (param i32 i32 i32 i32 i32) (result i32)))
  (memory (export "memory") 1)
  (func $write (param $fd i32) (param $at i32) (param $len i32)
    (i32.store (i32.const 0) (local.get $at)) (i32.store (i32.const 4) (local.get $len))
    (drop (call $fd_write (local.get $fd) (i32.const 0) (i32.const 1) (i32.const 8))))
  (func $read (param $at i32) (param $len i32) (result i32)
    (i32.store (i32.const 0) (local.get $at)) (i32.store (i32.const 4) (local.get $len))
    (drop (call $fd_read (i32.const 0) (i32.const 0) (i32.const 1) (i32.const 8)))
    (i32.load (i32.const 8)))
"#;

/// Copies standard input to standard output in pieces of 100 bytes.
const ECHO: &str = r#"(local $len i32)
  (loop $next
    (local.set $len (call $read (i32.const 1024) (i32.const 100)))
    (if (local.get $len) (then (call $write (i32.const 1) (i32.const 1024) (local.get $len)) (br $next))))"#;

fn compile(items: &str, body: &str) -> HandlerCommand {
    let text = format!("(module {PRELUDE} {items} (func (export \"_start\") {body}))");
    Engine::new(None).unwrap().compile_command(&wat::parse_str(text).unwrap()).unwrap()
}

fn limits() -> CommandLimits {
    CommandLimits { time: Duration::from_millis(300), memory: 1 << 20, output: 1 << 20 }
}

#[test]
fn echo_copies_input_of_any_size() {
    let echo = compile("", ECHO);
    for len in [0, 1, 99, 100, 101, 65_536, 1 << 20] {
        let input: Vec<u8> = (0..len).map(|at| (at % 251) as u8).collect();
        let output = echo.run(Bytes::from(input.clone()), &limits()).unwrap();
        assert!(output.stdout == input, "{len}");
        assert_eq!(output.memory, 65_536);
    }
}

#[test]
fn hostile_commands_end_with_a_reason() {
    let grow = "(loop $l (br_if $l (i32.ne (memory.grow (i32.const 1)) (i32.const -1)))) unreachable";
    let flood = "(loop $l (call $write (i32.const 1) (i32.const 0) (i32.const 65536)) (br $l))";
    let message = r#"(data (i32.const 1024) "no luck\n")"#;
    let complain = "(call $write (i32.const 2) (i32.const 1024) (i32.const 8)) (call $exit (i32.const 3))";
    let recursion = "(func $deep (param i32) (result i32)
        (i32.add (i32.const 1) (call $deep (i32.add (local.get 0) (i32.const 1)))))";
    for (items, body, expected) in [
        ("", "(loop $l (br $l))", "it took longer than 300ms"),
        (
            "",
            grow,
            "it trapped: wasm `unreachable` instruction executed (it reached its limit of 1048576 bytes",
        ),
        ("", flood, "it wrote more than 1048576 bytes"),
        ("", "unreachable", "it trapped: wasm `unreachable` instruction executed"),
        (recursion, "(drop (call $deep (i32.const 0)))", "it trapped: the stack is too deep"),
        (message, complain, "it ended with code 3: no luck"),
        ("", "(call $write (i32.const 1) (i32.const -8) (i32.const 8))", "memory outside of the guest's"),
        ("", "(drop (call $random (i32.const 65535) (i32.const 2)))", "memory outside of the guest's"),
    ] {
        let began = Instant::now();
        let error = compile(items, body).run(Bytes::new(), &limits()).unwrap_err().to_string();
        assert!(error.contains(expected), "{body}: {error}");
        assert!(began.elapsed() < Duration::from_secs(10), "{body}");
    }
}

#[test]
fn flood_of_errors_is_cut() {
    let body = "(local $n i32) (loop $l (call $write (i32.const 2) (i32.const 1024) (i32.const 60000))
        (local.set $n (i32.add (local.get $n) (i32.const 1))) (br_if $l (i32.lt_u (local.get $n) (i32.const 1000))))";
    let output = compile("", body).run(Bytes::new(), &limits()).unwrap();
    assert_eq!((output.stdout.len(), output.stderr.len()), (0, 8192));
}

#[test]
fn exit_with_code_0_is_no_error() {
    let body =
        "(call $write (i32.const 1) (i32.const 1024) (i32.const 2)) (call $exit (i32.const 0)) unreachable";
    let output = compile("(data (i32.const 1024) \"{}\")", body).run(Bytes::new(), &limits()).unwrap();
    assert_eq!(output.stdout, b"{}");
}

/// Writes 64 random bytes, the clock, and the results of functions that have no effect.
const SENSES: &str = r#"
  (drop (call $random (i32.const 1024) (i32.const 64)))
  (drop (call $clock (i32.const 0) (i64.const 1) (i32.const 1088)))
  (i32.store (i32.const 1096) (call $environ (i32.const 1100) (i32.const 1104)))
  (i32.store (i32.const 1108) (call $prestat (i32.const 3) (i32.const 0)))
  (i32.store (i32.const 1112) (call $send (i32.const 4) (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 0)))
  (call $write (i32.const 1) (i32.const 1024) (i32.const 92))"#;

#[test]
fn command_sees_nothing_of_its_surroundings() {
    let one = compile("", SENSES);
    let other = compile("", SENSES);
    let first = one.run(Bytes::new(), &limits()).unwrap();
    assert_eq!(first, one.run(Bytes::new(), &limits()).unwrap(), "a second run");
    assert_eq!(first, other.run(Bytes::new(), &limits()).unwrap(), "another engine");
    let (random, rest) = first.stdout.split_at(64);
    assert!(random.iter().any(|byte| *byte != random[0]));
    assert_eq!(rest[..8], 1_000_000_000_000_000_000_u64.to_le_bytes());
    let numbers: Vec<u32> =
        rest[8..].chunks(4).map(|bytes| u32::from_le_bytes(bytes.try_into().unwrap())).collect();
    assert_eq!(numbers, [0, 0, 0, 8, 52], "no environment, no folder, no socket");
}

#[test]
fn calls_share_no_memory() {
    let body = "(i32.store8 (i32.const 2048) (i32.add (i32.load8_u (i32.const 2048)) (i32.const 1)))
        (call $write (i32.const 1) (i32.const 2048) (i32.const 1))";
    let counter = compile("", body);
    for _ in 0..3 {
        assert_eq!(counter.run(Bytes::new(), &limits()).unwrap().stdout, [1]);
    }
}

#[test]
fn other_modules_are_refused() {
    let engine = Engine::new(None).unwrap();
    let memory = "(memory (export \"memory\") 1)";
    let start = "(func (export \"_start\"))";
    for (text, expected) in [
        (format!("(module {memory})"), "_start is missing"),
        (format!("(module {memory} (func (export \"_start\") (param i32)))"), "_start is missing"),
        (format!("(module {start})"), "memory is missing"),
        (format!("(module (import \"env\" \"proxy_log\" (func)) {memory} {start})"), "env.proxy_log"),
        (
            format!("(module (import \"wasi_snapshot_preview1\" \"a\" (global i32)) {memory} {start})"),
            "no function",
        ),
    ] {
        let error = engine.compile_command(&wat::parse_str(&text).unwrap()).unwrap_err();
        assert!(error.to_string().contains(expected), "{text}: {error}");
    }
    assert!(matches!(engine.compile_command(b"garbage"), Err(ModuleError::Malformed(_))));
}

#[test]
fn functions_with_another_type_are_refused() {
    let text = r#"(module (import "wasi_snapshot_preview1" "fd_write" (func (param i64)))
        (memory (export "memory") 1) (func (export "_start")))"#;
    let error = Engine::new(None).unwrap().compile_command(&wat::parse_str(text).unwrap()).unwrap_err();
    assert!(matches!(error, ModuleError::Compile(_)), "{error}");
}

#[test]
fn errors_are_typed() {
    let error = compile("", "(loop $l (br $l))").run(Bytes::new(), &limits()).unwrap_err();
    assert_eq!(error, CommandError::Deadline(Duration::from_millis(300)));
}
