//! Modules that load, and modules that are refused.

use plugin_host::Abi;
use plugin_host::Callback;
use plugin_host::MAX_MODULE_BYTES;
use plugin_host::ModuleError;
use plugin_host::inspect;
use proptest::collection::vec;
use proptest::prelude::any;
use proptest::proptest;

use crate::support::ENGINE;
use crate::support::FUNCTIONS;
use crate::support::Guest;

const BASE: &str = r#"(memory (export "memory") 1) (func (export "proxy_abi_version_0_2_1"))
    (func (export "malloc") (param i32) (result i32) (i32.const 8))"#;

fn check(items: &str) -> Result<plugin_host::ModuleInfo, ModuleError> {
    inspect(&wat::parse_str(format!("(module {items})")).unwrap())
}

#[test]
fn every_function_can_be_imported() {
    let mut imports = String::new();
    for (name, params) in FUNCTIONS {
        let modules = match name.strip_prefix("wasi ") {
            Some(name) => vec![("wasi_snapshot_preview1", name), ("wasi_unstable", name)],
            None => vec![("env", *name)],
        };
        for (module, name) in modules {
            imports += &format!("(import \"{module}\" \"{name}\" (func (param {params}) (result i32)))");
        }
    }
    let bytes = wat::parse_str(format!("(module {imports} {imports} {BASE})")).unwrap();
    ENGINE.compile(&bytes).unwrap();
}

#[test]
fn old_functions_may_return_nothing() {
    for name in ["proxy_continue_request", "proxy_continue_response", "proxy_clear_route_cache"] {
        let text = format!("(module (import \"env\" \"{name}\" (func)) {BASE})");
        ENGINE.compile(&wat::parse_str(text).unwrap()).unwrap();
    }
}

#[test]
fn functions_of_runtimes_can_be_imported() {
    for (name, ty) in [
        ("emscripten_notify_memory_growth", "(param i32)"),
        ("pthread_equal", "(param i32 i32) (result i32)"),
        ("abort", "(param i32 i32 i32 i32)"),
    ] {
        let text = format!("(module (import \"env\" \"{name}\" (func {ty})) {BASE})");
        ENGINE.compile(&wat::parse_str(text).unwrap()).unwrap();
    }
}

#[test]
fn information_names_abi_and_callbacks() {
    for (marker, abi) in
        [("0_1_0", Abi::V0_1_0), ("0_2_0", Abi::V0_2_0), ("0_2_1", Abi::V0_2_1), ("0_2_100", Abi::V0_2_100)]
    {
        let binary = Guest::new(r#"(func (export "proxy_on_log") (param i32))"#).abi(marker).binary();
        let info = inspect(&binary).unwrap();
        assert_eq!((info.abi, info.size), (abi, binary.len()));
        assert!(info.callbacks.has(Callback::Log) && !info.callbacks.has(Callback::Done));
        assert_eq!(ENGINE.compile(&binary).unwrap().info(), &info);
    }
    let newest = check(&format!("{BASE} (func (export \"proxy_abi_version_0_1_0\"))")).unwrap();
    assert_eq!(newest.abi, Abi::V0_2_1);
    assert_eq!(Callback::Configure.name(), "proxy_on_configure");
}

#[test]
fn modules_that_break_the_abi_are_refused() {
    for (items, expected) in [
        ("", "no ABI marker"),
        (r#"(import "env" "proxy_none" (func (param i32))) "#, "the import env.proxy_none (i32) -> ()"),
        (r#"(import "env" "proxy_log" (func (param i32) (result i64))) "#, "env.proxy_log (i32) -> (i64)"),
        (r#"(import "wasi_snapshot_preview2" "fd_write" (func)) "#, "wasi_snapshot_preview2.fd_write"),
        (r#"(import "env" "memory" (memory 1)) "#, "env.memory, which is no function"),
        (r#"(func (export "proxy_abi_version_0_2_1")) "#, "memory is missing"),
        (
            r#"(func (export "proxy_abi_version_0_2_1")) (memory (export "memory") 1) "#,
            "proxy_on_memory_allocate is missing",
        ),
        (r#"(func (export "malloc") (result i32) (i32.const 0)) "#, "malloc has the type () -> (i32)"),
        (r#"(func (export "_start") (param i32)) "#, "_start has the type (i32) -> ()"),
        (r#"(func (export "proxy_on_tick") (param i64)) "#, "proxy_on_tick has the type (i64) -> ()"),
        (r#"(func (export "proxy_on_new_connection") (param i32)) "#, "proxy_on_new_connection has"),
    ] {
        let error = check(items).unwrap_err().to_string();
        assert!(error.contains(expected), "{items}: {error}");
    }
}

#[test]
fn bytes_that_are_no_module_are_refused() {
    assert_eq!(inspect(&vec![0; 50 << 20]), Err(ModuleError::TooLarge(50 << 20)));
    assert!(matches!(inspect(&vec![0; MAX_MODULE_BYTES]), Err(ModuleError::Malformed(_))));
    assert_eq!(inspect(b"\x7fELF\x02\x01\x01"), Err(ModuleError::Precompiled));
    for bytes in [&b""[..], b"\0asm", b"\0asm\x01\0\0\0", b"\0asm\x0d\0\x01\0", b"MZ"] {
        let error = inspect(bytes).unwrap_err();
        assert!(matches!(error, ModuleError::Malformed(_) | ModuleError::NoAbi), "{bytes:?}: {error}");
    }
}

#[test]
fn modules_that_bring_compiled_code_are_refused() {
    for (section, expected) in [
        ("precompiled_wasmtime", Err(ModuleError::Precompiled)),
        ("precompiled_v8_v12_linux_x86_64", Err(ModuleError::Precompiled)),
        ("name", Ok(())),
        ("not_precompiled_", Ok(())),
    ] {
        let mut bytes = Guest::new("").binary();
        let name_len = u8::try_from(section.len()).unwrap();
        bytes.extend([0, name_len + 1, name_len]);
        bytes.extend(section.as_bytes());
        assert_eq!(inspect(&bytes).map(drop), expected, "{section}");
    }
}

#[test]
fn features_beyond_the_engine_are_refused() {
    for items in [
        "(memory i64 1)",
        "(memory 1) (memory 1)",
        "(memory 1 2 shared)",
        "(type (struct))",
        "(tag)",
        "(func (param externref))",
    ] {
        assert!(matches!(check(items), Err(ModuleError::Malformed(_))), "{items}");
    }
    let simd = format!(
        "{BASE} (func (result v128) (i8x16.splat (i32.const 1))) (func (return_call 0 (i32.const 1)))"
    );
    let simd = simd.replace("(return_call 0 (i32.const 1))", "(return_call 0)");
    ENGINE.compile(&wat::parse_str(format!("(module {simd})")).unwrap()).unwrap();
}

#[test]
fn compiled_code_is_cached() {
    let folder = tempfile::tempdir().unwrap();
    let engine = plugin_host::Engine::new(Some(folder.path())).unwrap();
    engine.compile(&Guest::new("").binary()).unwrap();
    assert!(std::fs::read_dir(&folder).unwrap().next().is_some());
    assert!(plugin_host::Engine::new(Some(std::path::Path::new("relative"))).is_err());
}

proptest! {
    #[test]
    fn damaged_modules_never_panic(damage in vec((any::<usize>(), any::<u8>()), 1..8), len in any::<usize>()) {
        let mut bytes = Guest::new("").binary();
        for (at, byte) in damage {
            let at = at % bytes.len();
            bytes[at] = byte;
        }
        bytes.truncate(len % (bytes.len() * 2));
        let _ = inspect(&bytes);
    }
}
