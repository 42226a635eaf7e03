//! Our kinds as serde and schemars types: what a file, a class handler or the API server hands over.
//!
//! Today: the subset of Gateway API's HTTPRoute that routing compiles through. Not here: what the types
//! mean (`routing`), and trimmed Kubernetes objects (`routing::object`). No I/O, so plugins can use it too.

pub mod http_route;

pub use http_route::HttpBackendRef;
pub use http_route::HttpPathMatch;
pub use http_route::HttpRoute;
pub use http_route::HttpRouteMatch;
pub use http_route::HttpRouteRule;
pub use http_route::PathMatchType;
pub use http_route::Port;
