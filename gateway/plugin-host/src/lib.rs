//! Runs Proxy-Wasm plugins: compiles and checks modules, starts instances, and calls them for HTTP streams. Runs class
//! handlers, too.
//!
//! The crate does no I/O. An [`Instance`] is used by one thread at a time; what its guest asks for beside the call, such
//! as an HTTP call, is an [`GuestAction`] that the caller takes afterwards. Not here: how a module reaches this process, and
//! which requests a plugin sees.
//!
//! `inspect` (is it a plugin?) → `module` (compiled, linked to `host`) → `runner` (start, streams, callouts) → `vm` (one
//! call of the guest: deadline, context, trap). `host` has the functions that guests import, one file a topic. Class handlers
//! are in `command` alone: a fresh instance for each call, bounded by [`CommandLimits`].
//!
//! # Bounds
//! What a guest can make this process hold:
//!
//! | what | bound | beyond it |
//! |---|---|---|
//! | linear memory, table | [`Limits::memory`], [`Limits::table`] | growing fails |
//! | native stack | 512 KiB | trap |
//! | actions that the caller has not taken | bytes of [`Limits::memory`] | status 10 |
//! | callouts in flight | [`Limits::callouts`], [`Limits::callouts_per_stream`], bytes of [`Limits::memory`] | status 10 |
//! | ended streams without `proxy_done` | 256 an instance | the oldest is deleted |
//! | shared data | 16 MiB for a namespace and VM ID | status 10 |
//! | queues | 32 for a namespace and VM ID, each of 1024 items and 512 KiB | status 10 |
//! | metrics | 1024 a plugin, names of 1 KiB | status 10 |
//! | log lines | 8 KiB, 1000 a second | cut; dropped and counted |
//! | header pairs from the guest | 1024 pairs, 1 MiB | status 2 |
//! | bodies and properties | those of [`HttpView`] | those of [`HttpView`] |

mod abi;
mod action;
mod action_queue;
mod callback;
mod callouts;
mod command;
mod config;
mod contexts;
mod deadline;
mod engine;
mod error;
mod event;
mod exports;
mod fault;
mod guest_log;
mod host;
mod inspect;
mod instance;
mod limiter;
mod metric;
mod module;
mod observer;
mod other_host;
pub mod pairs;
mod report;
mod runner;
mod shared;
mod signature;
mod ticker;
mod trap;
mod upstream;
mod view;
mod vm;
mod waker;

pub use abi::Abi;
pub use action::CallToken;
pub use action::Fields;
pub use action::GrpcEvent;
pub use action::GrpcRequest;
pub use action::GuestAction;
pub use action::HttpRequest;
pub use action::HttpResponse;
pub use action::Reply;
pub use callback::Callback;
pub use callback::Callbacks;
pub use command::CommandError;
pub use command::CommandLimits;
pub use command::CommandOutput;
pub use command::HandlerCommand;
pub use command::Stderr;
pub use config::AllowedUpstream;
pub use config::InstanceConfig;
pub use config::Limits;
pub use engine::Engine;
pub use error::CallError;
pub use error::EngineError;
pub use error::LastLog;
pub use error::ModuleError;
pub use error::StartError;
pub use error::TrapKind;
pub use error::TrapReport;
pub use event::Event;
pub use event::RootIndex;
pub use event::StreamId;
pub use event::Verdict;
pub use inspect::CONFIG_SCHEMA_SECTION;
pub use inspect::MAX_MODULE_BYTES;
pub use inspect::ModuleInfo;
pub use inspect::inspect;
pub use instance::Instance;
pub use metric::GuestMetric;
pub use metric::GuestMetricValue;
pub use metric::HISTOGRAM_BOUNDS;
pub use module::Module;
pub use observer::GuestCall;
pub use observer::GuestLine;
pub use observer::GuestObserver;
pub use other_host::OtherHost;
pub use report::CustomSection;
pub use report::ModuleExport;
pub use report::ModuleImport;
pub use report::ModuleReport;
pub use report::describe;
pub use shared::Shared;
pub use upstream::find as find_upstream;
pub use view::Direction;
pub use view::EditError;
pub use view::EditOutcome;
pub use view::HttpView;
pub use view::MapEdit;
pub use view::MapKind;
pub use view::PropertyMap;
pub use view::PropertyValue;
pub use waker::Waker;
