//! A small module that shows which version of it serves.

/// Returns a module that sets the field `x-version` of responses. It compiles fast in debug builds.
///
/// `functions` are further ones, as WebAssembly text.
pub(crate) fn version_module(version: usize, functions: &str) -> Vec<u8> {
    let version = version.to_string();
    let size = version.len();
    let text = format!(
        r#"(module
            (import "env" "proxy_replace_header_map_value" (func $set
                (param i32 i32 i32 i32 i32) (result i32)))
            (memory (export "memory") 1)
            (data (i32.const 0) "x-version{version}")
            (func (export "proxy_abi_version_0_2_1"))
            (func (export "proxy_on_memory_allocate") (param i32) (result i32) (i32.const 1024))
            (func (export "proxy_on_context_create") (param i32 i32))
            (func (export "proxy_on_response_headers") (param i32 i32 i32) (result i32)
                (call $set (i32.const 2) (i32.const 0) (i32.const 9) (i32.const 9) (i32.const {size})))
            {functions})"#
    );
    wat::parse_str(text).unwrap()
}
