//! Runs Proxy-Wasm plugins: compiles and checks modules, starts instances, and calls them for HTTP streams.
//!
//! The crate does no I/O. An [`Instance`] is used by one thread at a time; what its guest asks for beside the call, such
//! as an HTTP call, is an [`Action`] that the caller takes afterwards. Not here: how a module reaches this process, and
//! which requests a plugin sees.

mod action;
mod config;
mod error;
mod event;
mod shared;
mod view;

pub use action::Action;
pub use action::CallToken;
pub use action::Fields;
pub use action::GrpcEvent;
pub use action::GrpcRequest;
pub use action::HttpRequest;
pub use action::HttpResponse;
pub use action::Reply;
pub use config::AllowedUpstream;
pub use config::InstanceConfig;
pub use config::Limits;
pub use config::Waker;
pub use error::CallError;
pub use error::LastLog;
pub use error::ModuleError;
pub use error::StartError;
pub use error::TrapKind;
pub use error::TrapReport;
pub use event::Event;
pub use event::RootIndex;
pub use event::StreamId;
pub use event::Verdict;
pub use view::Direction;
pub use view::EditError;
pub use view::EditOutcome;
pub use view::HttpView;
pub use view::MapEdit;
pub use view::MapKind;
pub use view::PropertyValue;
