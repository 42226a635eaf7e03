//! The merged RoutePolicies of a Route, and the fields that a RoutePolicy can set.
//!
//! Not here: merging (`compiler::policy_merge`), and defaults (the data plane's settings).

mod conflicts;
mod fields;
mod merged;

pub(crate) use conflicts::FieldConflict;
pub(crate) use conflicts::SelfRedirect;
pub(crate) use conflicts::conflicts;
pub(crate) use conflicts::redirect_to_itself;
pub use fields::FIELDS;
pub use fields::PolicyField;
pub(crate) use merged::BACKENDS;
pub use merged::Policy;
pub use merged::PolicyId;
pub use merged::PolicyOrigin;
pub use merged::SetField;
