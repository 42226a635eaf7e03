//! Writes Proxy-Wasm plugins for the gateway and for Envoy, and class handlers of the gateway (module `class`).
//!
//! A plugin is a type that implements [`Plugin`]. Handlers are `async`: they wait for callouts and for bodies with `.await`, and
//! the stream waits with them. Built for `wasm32-wasip1`, the crate of the plugin is a Proxy-Wasm module of ABI 0.2.1. Built
//! natively, its tests run it in the mock host of `plugin_sdk::test`.
//!
//! The README of this crate has a quick start and an example of each capability.
//!
//! ```
//! use plugin_sdk::prelude::*;
//!
//! struct Hello;
//!
//! #[plugin]
//! impl Plugin for Hello {
//!     fn new(_: NoConfig, _: &RootContext) -> Result<Self, Error> {
//!         Ok(Self)
//!     }
//!
//!     async fn on_response(&self, _: &mut (), response: &mut Response) -> Result<Flow, Error> {
//!         response.set("x-greeting", "hello")?;
//!         Ok(Flow::Continue)
//!     }
//! }
//! ```

#![cfg_attr(
    not(any(target_arch = "wasm32", feature = "test")),
    allow(dead_code, reason = "a native build without the mock has no host to pass arguments to")
)]

// The macros name this crate as its users do.
extern crate self as plugin_sdk;

mod abi;
mod body;
mod callout_error;
mod checked_text;
mod config;
mod contexts;
mod current_host;
mod error;
mod executor;
#[cfg(feature = "grpc")]
mod grpc;
mod headers;
mod host;
mod json;
mod message;
#[cfg(not(target_arch = "wasm32"))]
mod no_host;
mod pairs;
#[cfg(any(target_arch = "wasm32", feature = "test"))]
mod panic_hook;
mod pending_call;
mod plugin;
mod reply;
mod runtime;
mod schema_text;
mod single_flight;
mod time_span;

pub mod callout;
#[cfg(feature = "class")]
pub mod class;
pub mod clock;
pub mod credential;
pub mod foreign;
pub mod log;
pub mod metrics;
pub mod property;
pub mod shared_data;
#[cfg(all(feature = "test", not(target_arch = "wasm32")))]
pub mod test;

pub use body::Body;
pub use checked_text::CalloutAuthority;
pub use checked_text::CalloutPath;
pub use checked_text::HeaderName;
pub use checked_text::HeaderValue;
pub use checked_text::RequestField;
pub use checked_text::Upstream;
pub use config::Config;
pub use config::NoConfig;
pub use config::schema;
pub use error::Error;
pub use headers::Headers;
pub use host::HostError;
pub use host::HostResult;
pub use host::Status;
pub use message::Exchange;
pub use message::Request;
pub use message::Response;
pub use message::Trailers;
pub use pairs::Fields;
pub use plugin::Plugin;
pub use plugin::RootContext;
pub use plugin_sdk_macros::Config;
pub use plugin_sdk_macros::plugin;
pub use reply::Flow;
pub use reply::Reply;
pub use schema_text::SchemaText;
pub use single_flight::SingleFlight;
pub use time_span::TimeSpan;

/// What most plugins use.
pub mod prelude {
    pub use std::time::Duration;

    pub use serde::Deserialize;

    pub use crate::Body;
    pub use crate::CalloutAuthority;
    pub use crate::CalloutPath;
    pub use crate::Config;
    pub use crate::Error;
    pub use crate::Exchange;
    pub use crate::Fields;
    pub use crate::Flow;
    pub use crate::HeaderName;
    pub use crate::HeaderValue;
    pub use crate::Headers;
    pub use crate::NoConfig;
    pub use crate::Plugin;
    pub use crate::Reply;
    pub use crate::Request;
    pub use crate::RequestField;
    pub use crate::Response;
    pub use crate::RootContext;
    pub use crate::TimeSpan;
    pub use crate::Trailers;
    pub use crate::Upstream;
    pub use crate::callout;
    pub use crate::callout::CalloutError;
    pub use crate::callout::CalloutResponse;
    pub use crate::clock;
    pub use crate::foreign;
    pub use crate::log;
    pub use crate::metrics::Counter;
    pub use crate::metrics::Gauge;
    pub use crate::metrics::Histogram;
    pub use crate::plugin;
    pub use crate::property;
    pub use crate::shared_data;
}

/// The examples of README.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;

/// What the macros name.
#[doc(hidden)]
pub mod __private {
    #[cfg(target_arch = "wasm32")]
    pub use crate::abi::allocate;
    #[cfg(target_arch = "wasm32")]
    pub use crate::abi::initialize;
    #[cfg(all(feature = "class", target_arch = "wasm32"))]
    pub use crate::class::run as run_class_handler;
    pub use crate::host::Action;
    pub use crate::host::Direction;
    pub use crate::host::MapKind;
    #[cfg(any(target_arch = "wasm32", feature = "test"))]
    pub use crate::panic_hook::install as install_panic_hook;
    pub use crate::plugin::Callbacks;
    pub use crate::runtime::Runtime;
    pub use crate::schema_text::first_of;
    pub use crate::schema_text::to_array;
}
