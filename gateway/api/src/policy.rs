//! What a RoutePolicy can say about a route, one file per policy.
//!
//! Not here: which of several policies wins (`routing`), and the values that apply where no policy sets a field,
//! which are the gateway's configuration.

mod cors;
mod fault;
mod field;
mod headers;
mod limits;
mod load_balancing;
mod redirect;
mod retries;
mod timeouts;

pub use cors::Cors;
pub use fault::Fault;
pub use field::is_field_name;
pub use field::is_field_value;
pub use field::is_framing_field;
pub use field::is_reserved_field;
pub use headers::HeaderEdits;
pub use headers::HeaderField;
pub use limits::Limits;
pub use load_balancing::LoadBalancing;
pub use load_balancing::LoadBalancingType;
pub use redirect::AcmeChallenges;
pub use redirect::HttpsRedirect;
pub use redirect::Redirect;
pub use redirect::RedirectScheme;
pub use redirect::RedirectStatus;
pub use retries::Attempts;
pub use retries::AttemptsError;
pub use retries::Retries;
pub use retries::RetryOn;
pub use retries::UnknownRetryOn;
pub use timeouts::Timeouts;
