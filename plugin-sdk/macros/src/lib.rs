//! The macros of `plugin-sdk`: the attribute `plugin` and the derive macro `Config`.
//!
//! They are documented where `plugin-sdk` exports them. They write no unsafe code: exports are a macro of its ABI file.

mod config;
mod docs;
mod members;
mod plugin;
mod rename;
mod schema;
mod serde_attributes;

use proc_macro::TokenStream;

/// Exports an implementation of `Plugin` from the module, with the callbacks whose handlers it defines.
///
/// It stays a normal implementation in native builds. Without `type Config` the plugin has no configuration, without
/// `type Stream` no state of streams.
#[proc_macro_attribute]
pub fn plugin(arguments: TokenStream, item: TokenStream) -> TokenStream {
    plugin::expand(&arguments.into(), item.into()).unwrap_or_else(|error| error.into_compile_error()).into()
}

/// Derives the JSON schema of a configuration from its fields, comments and attributes of serde.
///
/// Structs with named fields, newtypes, and enums (external, internal or no tag) are supported. `#[config(schema = "…")]` on
/// a field gives its schema as JSON, for instance if it has a `deserialize_with`.
#[proc_macro_derive(Config, attributes(config, serde))]
pub fn config(item: TokenStream) -> TokenStream {
    config::expand(item.into()).unwrap_or_else(|error| error.into_compile_error()).into()
}
