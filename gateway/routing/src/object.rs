//! The objects that routing reads, trimmed to the fields that it needs, and their conversion from Kubernetes types.
//!
//! All sources convert to these types, so that compiling is independent of the source. Not here: the keys and
//! certificates in Secrets (`gateway::control`).

mod convert;
mod kinds;
mod name;
mod resource_version;
mod secret;
mod string_interner;

pub use convert::ENDPOINTS_ANNOTATION;
pub use convert::FieldError;
pub use kinds::Annotation;
pub use kinds::BackendError;
pub use kinds::Change;
pub use kinds::ConfigMap;
pub use kinds::Delta;
pub use kinds::Endpoint;
pub use kinds::EndpointSlice;
pub use kinds::ExternalAddresses;
pub use kinds::Ingress;
pub use kinds::IngressBackend;
pub use kinds::IngressClass;
pub use kinds::IngressClassConfig;
pub use kinds::IngressPath;
pub use kinds::IngressRule;
pub use kinds::IngressTls;
pub use kinds::Namespace;
pub use kinds::Object;
pub use kinds::ParametersRef;
pub use kinds::PluginSpec;
pub use kinds::PortRef;
pub use kinds::RoutePolicy;
pub use kinds::Service;
pub use kinds::ServicePort;
pub use kinds::SliceEndpoint;
pub use kinds::SlicePort;
pub use kinds::WasmPlugin;
pub use name::Kind;
pub use name::Name;
pub use name::ObjectRef;
pub use resource_version::ResourceVersion;
pub use resource_version::ResourceVersionError;
pub use secret::FallbackCertificate;
pub use secret::Secret;
pub use secret::SecretContent;
pub use secret::Validity;
pub use string_interner::StringInterner;
