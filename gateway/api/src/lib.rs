//! Serde and schemars types of the gateway's own kinds, as a file, a class handler or the API server delivers them.
//!
//! The crate holds the specs of RoutePolicy, WasmPlugin and IngressClassConfig, the subset of Gateway API's HTTPRoute that
//! routing compiles, the contract of class handlers, and the case files of plugins. Not here: the meaning of the types (`routing`), metadata, and trimmed Kubernetes objects
//! (`routing::object`). It does no I/O, so plugins can use it.

pub mod http_route;

pub mod byte_size;
pub mod class_config;
pub mod class_handler;
pub mod duration;
pub mod message_edit;
pub mod method;
pub mod plugin_case;
pub mod plugin_config;
pub mod policy;
pub mod route_policy;
pub mod switch;
pub mod wasm_plugin;

pub use byte_size::ByteSize;
pub use class_config::ClassBackend;
pub use class_config::ClassHandler;
pub use class_config::ClassSecret;
pub use class_config::ExternalNames;
pub use class_config::ForeignAnnotations;
pub use class_config::HostOwnership;
pub use class_config::IngressClassConfigSpec;
pub use duration::Duration;
pub use http_route::HttpBackendRef;
pub use http_route::HttpPathMatch;
pub use http_route::HttpPathModifier;
pub use http_route::HttpRequestRedirect;
pub use http_route::HttpRoute;
pub use http_route::HttpRouteFilter;
pub use http_route::HttpRouteFilterType;
pub use http_route::HttpRouteMatch;
pub use http_route::HttpRouteRule;
pub use http_route::HttpValueMatch;
pub use http_route::PathMatchType;
pub use http_route::Port;
pub use http_route::ValueMatchType;
pub use method::Method;
pub use method::UnknownMethod;
pub use plugin_case::CalloutFailure;
pub use plugin_case::CaseCallout;
pub use plugin_case::CaseExpectation;
pub use plugin_case::CaseRecord;
pub use plugin_case::CaseRequest;
pub use plugin_case::CaseResponse;
pub use plugin_case::FieldLine;
pub use plugin_case::GrpcAnswer;
pub use plugin_case::LogLine;
pub use plugin_case::MessageExpectation;
pub use plugin_case::PluginCase;
pub use plugin_case::PropertyValue;
pub use plugin_case::RecordedMessage;
pub use plugin_config::PluginConfig;
pub use policy::Attempts;
pub use policy::AttemptsError;
pub use policy::Limits;
pub use policy::LoadBalancing;
pub use policy::LoadBalancingType;
pub use policy::Retries;
pub use policy::RetryOn;
pub use policy::Timeouts;
pub use policy::UnknownRetryOn;
pub use route_policy::PolicyBackend;
pub use route_policy::PolicyPlugin;
pub use route_policy::RoutePolicySpec;
pub use route_policy::TargetKind;
pub use route_policy::TargetRef;
pub use switch::Switch;
pub use wasm_plugin::EnvironmentVariable;
pub use wasm_plugin::Isolation;
pub use wasm_plugin::MatchRule;
pub use wasm_plugin::PluginFailStrategy;
pub use wasm_plugin::PluginLimitsSpec;
pub use wasm_plugin::PluginPhase;
pub use wasm_plugin::WasmPluginSpec;

/// API group of the gateway's kinds.
pub const GROUP: &str = "wasm-gateway.dev";

/// API version of the gateway's kinds.
pub const VERSION: &str = "v1alpha1";

/// `spec.controller` of the IngressClasses that the gateway serves.
pub const CONTROLLER: &str = "wasm-gateway.dev/ingress-controller";
