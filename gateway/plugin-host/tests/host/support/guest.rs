//! Builds guests from WebAssembly text.

use std::collections::BTreeSet;
use std::fmt::Write;

use super::FUNCTIONS;

/// A module under construction. Calls of `$proxy_…` and `$wasi_…` import the function.
#[derive(Clone)]
pub(crate) struct Guest {
    abi: &'static str,
    has_allocator: bool,
    items: String,
}

/// Memory of a guest: strings and results at fixed addresses. The heap begins at 64 KiB.
const LAYOUT: &str = r#"
  (memory (export "memory") 2)
  (global $heap (mut i32) (i32.const 65536))
  (data (i32.const 0) "status")
  (data (i32.const 8) "data")
  (data (i32.const 16) "number")
  ;; Reports a status, the bytes of the return slot at 264, or the number there, as properties of the stream.
  (func $report_status (param $status i32)
    (i32.store (i32.const 256) (local.get $status))
    (drop (call $proxy_set_property (i32.const 0) (i32.const 6) (i32.const 256) (i32.const 4))))
  (func $report_data
    (drop (call $proxy_set_property
      (i32.const 8) (i32.const 4) (i32.load (i32.const 264)) (i32.load (i32.const 268)))))
  (func $report_number
    (drop (call $proxy_set_property (i32.const 16) (i32.const 6) (i32.const 264) (i32.const 8))))
  ;; Sets the gauge that is named by a string.
  (func $gauge (param $name i32) (param $len i32) (param $value i32)
    (if (call $proxy_define_metric
          (i32.const 1) (local.get $name) (local.get $len) (i32.const 272)) (then unreachable))
    (if (call $proxy_record_metric
          (i32.load (i32.const 272)) (i64.extend_i32_u (local.get $value))) (then unreachable)))
  ;; Logs a string and a one-digit number at level info.
  (func $trace (param $text i32) (param $len i32) (param $digit i32)
    (memory.copy (i32.const 512) (local.get $text) (local.get $len))
    (i32.store8 (i32.add (i32.const 512) (local.get $len)) (i32.add (i32.const 48) (local.get $digit)))
    (drop (call $proxy_log
      (i32.const 2) (i32.const 512) (i32.add (local.get $len) (i32.const 1)))))
"#;

/// Functions without a result: name, import, parameters.
const VOID: &[(&str, &str, &str)] = &[
    ("wasi_proc_exit", r#""wasi_snapshot_preview1" "proc_exit""#, "i32"),
    ("abort", r#""env" "abort""#, "i32 i32 i32 i32"),
];

const ALLOCATOR: &str = r#"
  (func (export "proxy_on_memory_allocate") (param $size i32) (result i32)
    (local $address i32)
    (local.set $address (global.get $heap))
    (global.set $heap (i32.add (global.get $heap) (local.get $size)))
    (if (i32.gt_u (global.get $heap) (i32.mul (memory.size) (i32.const 65536)))
      (then (drop (memory.grow (i32.shr_u (i32.add (local.get $size) (i32.const 65535)) (i32.const 16))))))
    (local.get $address))
"#;

impl Guest {
    /// Creates a guest from its items: functions, data, globals.
    pub(crate) fn new(items: &str) -> Self {
        Self { abi: "0_2_1", has_allocator: true, items: items.to_owned() }
    }

    pub(crate) fn abi(mut self, abi: &'static str) -> Self {
        self.abi = abi;
        self
    }

    /// Leaves the allocator to the items.
    pub(crate) fn without_allocator(mut self) -> Self {
        self.has_allocator = false;
        self
    }

    /// Adds more items.
    pub(crate) fn with(mut self, items: &str) -> Self {
        self.items.push_str(items);
        self
    }

    pub(crate) fn text(&self) -> String {
        let body = format!("{LAYOUT}{}{}", if self.has_allocator { ALLOCATOR } else { "" }, self.items);
        let mut text = String::from("(module\n");
        for name in called(&body) {
            write!(text, "{}", import(&name)).unwrap();
        }
        write!(text, "{body}\n(func (export \"proxy_abi_version_{}\")))", self.abi).unwrap();
        text
    }

    pub(crate) fn binary(&self) -> Vec<u8> {
        let text = self.text();
        wat::parse_str(&text).unwrap_or_else(|error| panic!("{error}\n{text}"))
    }
}

/// Returns the names of the host functions that are called.
fn called(body: &str) -> BTreeSet<String> {
    let calls = body.split("call $").skip(1);
    let names = calls.map(|rest| rest.split([' ', ')', '\n']).next().unwrap().to_owned());
    let is_imported = |name: &String| {
        name.starts_with("proxy_")
            || name.starts_with("wasi_")
            || VOID.iter().any(|(known, ..)| known == name)
    };
    names.filter(is_imported).collect()
}

fn import(name: &str) -> String {
    let entry = name.strip_prefix("wasi_").map_or_else(|| name.to_owned(), |name| format!("wasi {name}"));
    if let Some((_, imported, params)) = VOID.iter().find(|(known, ..)| *known == name) {
        return format!("(import {imported} (func ${name} (param {params})))");
    }
    let (_, params) = FUNCTIONS.iter().find(|(known, _)| *known == entry).expect(name);
    let (module, imported) = match entry.strip_prefix("wasi ") {
        Some(name) => ("wasi_snapshot_preview1", name),
        None => ("env", name),
    };
    format!("(import \"{module}\" \"{imported}\" (func ${name} (param {params}) (result i32)))\n")
}
