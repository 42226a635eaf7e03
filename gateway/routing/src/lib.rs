//! Compiles Kubernetes objects to a routing table and Problems. No I/O, no clock, no Kubernetes client.
//!
//! The modules are in the order of the data flow: objects, then the table and the Problems that compiling returns.
//! Not here: the source of the objects, and the data plane that serves the table.

pub mod object;
pub mod problem;

pub mod host;
pub mod path;

pub mod ledger;
pub mod suggest;

pub mod table;

pub mod handler;

pub mod compiler;

mod interner;

pub use compiler::Compiler;
pub use compiler::Config;
pub use compiler::ConfigState;
pub use compiler::IngressCounts;
pub use compiler::ProblemDelta;
pub use compiler::Reporting;
pub use compiler::compile;
pub use compiler::parse_upstream;
pub use host::HostName;
pub use object::FieldError;
pub use problem::Problem;
pub use problem::Reason;
pub use problem::Severity;
pub use table::Backend;
pub use table::CertificateChoice;
pub use table::Endpoints;
pub use table::ExternalName;
pub use table::FailStrategy;
pub use table::FieldPath;
pub use table::IngressOrigin;
pub use table::MatchReport;
pub use table::PathMatch;
pub use table::PluginDefinition;
pub use table::PluginLimits;
pub use table::PluginName;
pub use table::PluginOrigin;
pub use table::PluginSource;
pub use table::PluginUpstream;
pub use table::PluginUse;
pub use table::Policy;
pub use table::PolicyField;
pub use table::PolicyId;
pub use table::PolicyOrigin;
pub use table::Route;
pub use table::RouteOrigin;
pub use table::RoutingTable;
pub use table::WeightedBackend;
