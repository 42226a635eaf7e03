//! Functions of WASI.

use plugin_host::Event;
use plugin_host::InstanceConfig;
use plugin_host::RootIndex;
use plugin_host::TrapKind;

use crate::support::Expect::Data;
use crate::support::Expect::Number;
use crate::support::Expect::Status;
use crate::support::Expect::Trap;
use crate::support::Guest;
use crate::support::Row;
use crate::support::TestView;
use crate::support::config;
use crate::support::run_rows;
use crate::support::try_start;

#[test]
fn functions_answer() {
    let rows = [
        Row::new("no arguments", "wasi_args_sizes_get 264 268", Number(0)),
        Row::new("sizes outside", "wasi_args_sizes_get 264 -1", Trap(TrapKind::Memory)),
        Row::new("arguments", "wasi_args_get 264 268", Status(0)),
        Row::new("resolution", "wasi_clock_res_get 0 264", Number(1)),
        Row::new("unknown resolution", "wasi_clock_res_get 2 264", Status(58)),
        Row::new("real time", "wasi_clock_time_get 0 0L 264", Status(0)),
        Row::new("monotonic time", "wasi_clock_time_get 1 0L 264", Status(0)),
        Row::new("processor time", "wasi_clock_time_get 2 0L 264", Status(58)),
        Row::new("time outside", "wasi_clock_time_get 0 0L -7", Trap(TrapKind::Memory)),
        Row::new("random", "wasi_random_get 264 8", Status(0)),
        Row::new("no random", "wasi_random_get -1 0", Status(0)),
        Row::new("much random", "wasi_random_get 0 65537", Status(28)),
        Row::new("random outside", "wasi_random_get -1 2", Trap(TrapKind::Memory)),
        Row::new("no environment", "wasi_environ_sizes_get 264 268", Number(0)),
        Row::new("environment of nothing", "wasi_environ_get -1 -1", Status(0)),
        Row::new("yield", "wasi_sched_yield", Status(0)),
        Row::new("raise", "wasi_proc_raise 6", Status(52)),
        Row::new("read standard input", "wasi_fd_read 0 0 0 264", Status(0)),
        Row::new("read a file", "wasi_fd_read 3 0 0 264", Status(8)),
        Row::new("write to a file", "wasi_fd_write 3 0 0 264", Status(8)),
        Row::new("write nothing", "wasi_fd_write 1 0 0 264", Number(0)),
        Row::new("write many", "wasi_fd_write 1 0 1025 264", Status(28)),
        Row::new("list outside", "wasi_fd_write 1 131070 1 264", Trap(TrapKind::Memory)),
        Row::new("list overflows", "wasi_fd_write 1 -4 2 264", Trap(TrapKind::Memory)),
        Row::new("buffer outside", "wasi_fd_write 1 1024 1 264", Trap(TrapKind::Memory))
            .data(&["\\ff\\ff\\ff\\ff\\01\\00\\00\\00"]),
        Row::new("close standard output", "wasi_fd_close 1", Status(0)),
        Row::new("close a file", "wasi_fd_close 3", Status(8)),
        Row::new("flags", "wasi_fd_fdstat_set_flags 2 0", Status(0)),
        Row::new("status of a file", "wasi_fd_fdstat_get 3 264", Status(8)),
        Row::new("status", "wasi_fd_fdstat_get 1 264", Number(2)),
        Row::new("status outside", "wasi_fd_fdstat_get 1 131060", Trap(TrapKind::Memory)),
        Row::new("seek", "wasi_fd_seek 1 0L 0 264", Status(70)),
        Row::new("seek a file", "wasi_fd_seek 5 0L 0 264", Status(8)),
        Row::new("tell", "wasi_fd_tell 1 264", Status(70)),
        Row::new("no folder", "wasi_fd_prestat_get 3 264", Status(8)),
        Row::new("no folder name", "wasi_fd_prestat_dir_name 3 0 0", Status(8)),
        Row::new("open", "wasi_path_open 3 0 0 0 0 0L 0L 0 264", Status(44)),
        Row::new("stat", "wasi_path_filestat_get 3 0 0 0 264", Status(44)),
        Row::new("folder", "wasi_path_create_directory 3 0 0", Status(52)),
        Row::new("socket", "wasi_sock_accept 3 0 264", Status(52)),
        Row::new("poll nothing", "wasi_poll_oneoff 1024 2048 0 264", Status(28)),
        Row::new("poll many", "wasi_poll_oneoff 1024 2048 1025 264", Status(28)),
        Row::new("poll outside", "wasi_poll_oneoff 131071 2048 1 264", Trap(TrapKind::Memory)),
        Row::new("events outside", "wasi_poll_oneoff 1024 131071 1 264", Trap(TrapKind::Memory)),
        Row::new("poll", "wasi_poll_oneoff 1024 2048 2 264", Number(2)),
    ];
    run_rows(&rows, TestView::default);
}

#[test]
fn clocks_expire_at_once_when_polled() {
    const EVENTS: &[u8] = b"userdata\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\
                            filedata\x3a\0\x01\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0";
    // Events are written to 2048, and reported from there.
    let guest = Guest::new(
        r#"(data (i32.const 1024) "userdata\00") (data (i32.const 1072) "filedata\01")
           (func (export "proxy_on_request_headers") (param i32 i32 i32) (result i32)
             (call $report_status (call $wasi_poll_oneoff
               (i32.const 1024) (i32.const 2048) (i32.const 2) (i32.const 264)))
             (i32.store (i32.const 264) (i32.const 2048)) (i32.store (i32.const 268) (i32.const 64))
             (call $report_data) (i32.const 0))"#,
    );
    check(&guest, config(), Data(EVENTS));
}

#[test]
fn environment_is_that_of_the_plugin() {
    let guest = Guest::new(
        r#"(func (export "proxy_on_request_headers") (param i32 i32 i32) (result i32)
             (if (call $wasi_environ_sizes_get (i32.const 264) (i32.const 268)) (then unreachable))
             (if (i32.ne (i32.load (i32.const 264)) (i32.const 2)) (then unreachable))
             (call $report_status (call $wasi_environ_get (i32.const 1024) (i32.const 1040)))
             ;; The second pointer.
             (if (i32.ne (i32.load (i32.const 1028)) (i32.const 1044)) (then unreachable))
             (i32.store (i32.const 264) (i32.const 1040))
             (call $report_data) (i32.const 0))"#,
    );
    let environment = vec![("A".to_owned(), "1".to_owned()), ("LONG".to_owned(), String::new())];
    check(&guest, InstanceConfig { environment, ..config() }, Data(b"A=1\0LONG=\0"));
}

/// Checks what the headers callback of a guest reports.
fn check(guest: &Guest, config: InstanceConfig, expect: crate::support::Expect) {
    let mut instance = try_start(guest, config).unwrap();
    let stream = instance.open(RootIndex(0), TestView::default()).ok().unwrap();
    instance.call(stream, Event::RequestHeaders { fields: 6, is_end: true }).unwrap();
    let view = instance.view(stream).unwrap();
    assert_eq!(view.status(), Some(0));
    assert_eq!(Data(view.property("data").unwrap().to_vec().leak()), expect);
}
