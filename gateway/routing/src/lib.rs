//! Objects in, routing table and Problems out: no I/O, no clock, no Kubernetes client.
//!
//! The modules stand in the order in which things flow: objects are compiled into a table, and what could
//! not be compiled comes out beside it as Problems. Not here: where objects come from, and who serves the table.

pub mod object;
pub mod problem;

pub mod host;
pub mod path;

pub mod table;

pub mod compiler;

mod interner;

pub use compiler::Compiler;
pub use compiler::Config;
pub use compiler::ProblemDelta;
pub use compiler::compile;
pub use host::HostName;
pub use object::FieldError;
pub use problem::Problem;
pub use problem::Reason;
pub use problem::Severity;
pub use table::Backend;
pub use table::CertificateChoice;
pub use table::Endpoints;
pub use table::ExternalName;
pub use table::FieldPath;
pub use table::IngressOrigin;
pub use table::MatchReport;
pub use table::PathMatch;
pub use table::Policy;
pub use table::PolicyOrigin;
pub use table::PolicyValue;
pub use table::Route;
pub use table::RouteOrigin;
pub use table::RoutingTable;
pub use table::WeightedBackend;
