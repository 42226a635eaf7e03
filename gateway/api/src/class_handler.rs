//! The contract of class handlers: a module that says what the Ingresses of another controller's dialect mean.
//!
//! A handler is a WASI preview-1 command. It reads a [`ClassInput`] from its standard input and writes a [`ClassOutput`] to
//! its standard output, both as JSON. Each is a KRM `ResourceList`. One call is about one host. Not here: running a handler
//! (`plugin-host`), and compiling its output (`routing`).

mod input;
mod output;

pub use input::ClassBackendPort;
pub use input::ClassContext;
pub use input::ClassContextKind;
pub use input::ClassIngress;
pub use input::ClassIngressBackend;
pub use input::ClassIngressHttp;
pub use input::ClassIngressPath;
pub use input::ClassIngressRule;
pub use input::ClassIngressSpec;
pub use input::ClassIngressTls;
pub use input::ClassInput;
pub use input::ClassItem;
pub use input::ClassPath;
pub use input::ClassResource;
pub use input::ClassService;
pub use input::ClassServiceBackend;
pub use input::ClassServicePort;
pub use input::ClassServiceSpec;
pub use input::ItemMetadata;
pub use input::ListKind;
pub use input::ListVersion;
pub use input::RequiredConfigMap;
pub use input::RequiredSecret;
pub use output::AnnotationResult;
pub use output::AnnotationVerdict;
pub use output::ClassOutput;
pub use output::EmittedItem;
pub use output::EmittedMetadata;
pub use output::EmittedPolicy;
pub use output::EmittedRoute;
pub use output::IngressRef;
pub use output::Requirement;
pub use output::RequirementKind;

/// Annotation of an emitted item: the name of the Ingress that it comes from, in its namespace.
pub const SOURCE_INGRESS_ANNOTATION: &str = "wasm-gateway.dev/source-ingress";

/// Annotation of an emitted item: the keys of the annotations that made it what it is, separated by commas.
pub const SOURCE_KEYS_ANNOTATION: &str = "wasm-gateway.dev/source-annotations";

/// Returns the name of the HTTPRoute rule for a path of an Ingress. The indexes are those of the input.
pub fn rule_name(rule: usize, path: usize) -> String {
    format!("rules-{rule}-paths-{path}")
}

/// Returns the indexes of the rule and the path in a name that [`rule_name`] returned. Returns `None` for other names.
pub fn parse_rule_name(name: &str) -> Option<(usize, usize)> {
    let (rule, path) = name.strip_prefix("rules-")?.split_once("-paths-")?;
    let is_number = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    (is_number(rule) && is_number(path)).then_some(())?;
    Some((rule.parse().ok()?, path.parse().ok()?))
}
