//! One WasmPlugin: its scope and rules, and everything that can be judged without other objects.
//!
//! Not here: the index of plugins (`plugin_index`), and the plugins of a Route (`plugin_merge`).

use std::sync::Arc;
use std::time::Duration;

use api::EnvironmentVariable;
use api::PluginFailStrategy;
use api::PluginLimitsSpec;
use api::WasmPluginSpec;

use super::config::Config;
use super::plugin_rules::PluginRules;
use super::plugin_source;
use super::plugin_upstream;
use super::plugin_upstream::UpstreamRef;
use super::policy_target;
use super::policy_target::ParsedTargets;
use super::policy_target::PolicyTarget;
use crate::object::Kind;
use crate::object::Name;
use crate::object::ObjectRef;
use crate::object::PluginSpec;
use crate::object::WasmPlugin;
use crate::problem::Problem;
use crate::problem::Reason;
use crate::table::FailStrategy;
use crate::table::FieldPath;
use crate::table::PluginDefinition;
use crate::table::PluginLimits;
use crate::table::PluginSource;

const MIB: u64 = 1 << 20;

/// Limits of plugins that set none.
const DEFAULT_LIMITS: PluginLimits = PluginLimits {
    memory: 32 * MIB,
    call: Duration::from_millis(10),
    request_body: MIB,
    response_body: MIB,
    callouts: 8,
};

/// Greatest limits that a plugin may set. A call occupies a worker, and memory and bodies are held for each worker and
/// stream.
const MAX_LIMITS: PluginLimits = PluginLimits {
    memory: 1024 * MIB,
    call: Duration::from_secs(1),
    request_body: 64 * MIB,
    response_body: 64 * MIB,
    callouts: 64,
};

/// A plugin, parsed.
#[derive(Debug)]
pub(super) struct ParsedPlugin {
    pub(super) scope: PluginScope,
    /// `None` if the spec is malformed.
    pub(super) details: Option<PluginDetails>,
    pub(super) problems: Vec<Problem>,
}

/// The valid spec of a plugin.
#[derive(Debug)]
pub(super) struct PluginDetails {
    pub(super) rules: PluginRules,
    pub(super) upstreams: Vec<UpstreamRef>,
    /// Without upstreams, and without the bytes of a ConfigMap.
    pub(super) definition: PluginDefinition,
}

/// The Routes that a plugin may apply to, beside those whose RoutePolicy names it.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum PluginScope {
    /// All Ingresses of its namespace.
    Namespace,
    /// The targets. May be empty.
    Targets(Vec<PolicyTarget>),
}

impl PluginScope {
    pub(super) fn targets(&self) -> &[PolicyTarget] {
        match self {
            Self::Namespace => &[],
            Self::Targets(targets) => targets,
        }
    }
}

/// Returns the reference to a plugin.
pub(super) fn reference(plugin: &Name) -> ObjectRef {
    ObjectRef { kind: Kind::WasmPlugin, name: plugin.clone() }
}

/// Parses a plugin.
pub(super) fn parse(plugin: &WasmPlugin, config: &Config) -> ParsedPlugin {
    let owner = reference(&plugin.name);
    let target_refs = match &plugin.spec {
        PluginSpec::Malformed { target_refs } => target_refs.as_deref(),
        PluginSpec::Valid(spec) => spec.target_refs.as_deref(),
    };
    let (scope, mut problems) = match target_refs {
        None => (PluginScope::Namespace, Vec::new()),
        Some(references) => {
            let ParsedTargets { targets, problems } =
                policy_target::parse(&owner, references, &config.namespace);
            (PluginScope::Targets(targets), problems)
        }
    };
    let PluginSpec::Valid(spec) = &plugin.spec else {
        return ParsedPlugin { scope, details: None, problems };
    };
    let rules = PluginRules::parse(&owner, spec, &mut problems);
    let mut reader = SpecReader { owner: &owner, spec, problems: &mut problems };
    let upstreams = reader.upstreams(&config.namespace);
    let definition = reader.definition(plugin, &rules, config);
    ParsedPlugin { scope, details: Some(PluginDetails { rules, upstreams, definition }), problems }
}

/// Reads the fields of a spec and collects its Problems.
struct SpecReader<'a> {
    owner: &'a ObjectRef,
    spec: &'a WasmPluginSpec,
    problems: &'a mut Vec<Problem>,
}

impl SpecReader<'_> {
    fn report(&mut self, field: impl Into<String>, reason: Reason, message: impl Into<String>) {
        self.problems.push(policy_target::problem(self.owner, field.into(), reason, message.into()));
    }

    fn definition(&mut self, plugin: &WasmPlugin, rules: &PluginRules, config: &Config) -> PluginDefinition {
        let digest = self.spec.sha256.as_deref().filter(|text| !text.is_empty());
        let sha256 = digest.and_then(plugin_source::sha256);
        let mut source = match plugin_source::parse(plugin, &self.spec.url, config) {
            Ok(source) => source,
            Err(fault) => {
                self.report("spec.url", fault.reason, fault.message.clone());
                PluginSource::Refused(fault.message)
            }
        };
        if digest.is_some() && sha256.is_none() {
            let message = "a SHA-256 has 64 hexadecimal digits";
            self.report("spec.sha256", Reason::InvalidValue, message);
            source = PluginSource::Refused(format!("spec.sha256: {message}"));
        }
        PluginDefinition {
            name: plugin.name.clone(),
            source,
            sha256,
            root_id: self.spec.plugin_name.clone().unwrap_or_default(),
            phase: rules.phase,
            priority: rules.priority,
            fail: match self.spec.fail_strategy {
                PluginFailStrategy::FailClose | PluginFailStrategy::FailReload => FailStrategy::Close,
                PluginFailStrategy::FailOpen => FailStrategy::Open,
            },
            isolation: self.spec.isolation,
            limits: self.limits(),
            upstreams: Vec::new(),
            environment: self.environment(),
            allow_on_headers_stop_iteration: self.spec.allow_on_headers_stop_iteration,
            default_config: Arc::clone(&rules.default.text),
        }
    }

    fn upstreams(&mut self, own_namespace: &str) -> Vec<UpstreamRef> {
        let namespace = &self.owner.name.namespace;
        let (upstreams, faults) =
            plugin_upstream::parse(&self.spec.allowed_upstreams, namespace, own_namespace);
        for fault in faults {
            self.report(FieldPath::Upstream { entry: fault.entry }.to_string(), fault.reason, fault.message);
        }
        upstreams
    }

    fn limits(&mut self) -> PluginLimits {
        let from = self.spec.limits.unwrap_or_default();
        let PluginLimitsSpec { memory, call_timeout, request_body, response_body, callouts } = from;
        let (default, max) = (DEFAULT_LIMITS, MAX_LIMITS);
        let millis = |span: Duration| u64::try_from(span.as_millis()).unwrap_or(u64::MAX);
        let call_millis = Setting { value: call_timeout.map(|span| span.as_millis()), min: 1 };
        let call = self.limit("callTimeout", call_millis, (millis(default.call), millis(max.call)));
        let memory = Setting { value: memory.map(|size| size.0), min: 1 };
        let request = Setting { value: request_body.map(|size| size.0), min: 0 };
        let response = Setting { value: response_body.map(|size| size.0), min: 0 };
        let callouts = Setting { value: callouts.map(u64::from), min: 0 };
        let callouts =
            self.limit("callouts", callouts, (u64::from(default.callouts), u64::from(max.callouts)));
        PluginLimits {
            memory: self.limit("memory", memory, (default.memory, max.memory)),
            call: Duration::from_millis(call),
            request_body: self.limit("requestBody", request, (default.request_body, max.request_body)),
            response_body: self.limit("responseBody", response, (default.response_body, max.response_body)),
            callouts: u32::try_from(callouts).unwrap_or(max.callouts),
        }
    }

    /// Returns a limit: the default if it is not set, and the nearest permitted value if it is out of range.
    fn limit(&mut self, name: &str, setting: Setting, (default, max): (u64, u64)) -> u64 {
        let Some(value) = setting.value else { return default };
        let used = value.clamp(setting.min, max);
        if used != value {
            let unit = if name == "callTimeout" { "ms" } else { "" };
            let message = format!(
                "{value}{unit} is not between {}{unit} and {max}{unit}; {used}{unit} is used",
                setting.min
            );
            self.report(format!("spec.limits.{name}"), Reason::InvalidValue, message);
        }
        used
    }

    fn environment(&mut self) -> Vec<(String, String)> {
        let mut variables = Vec::with_capacity(self.spec.env.len());
        for (index, EnvironmentVariable { name, value }) in self.spec.env.iter().enumerate() {
            if name.is_empty() || name.contains(['=', '\0']) {
                let message = "a name must not be empty, and must not contain '=' or NUL";
                self.report(format!("spec.env[{index}].name"), Reason::InvalidValue, message);
            } else if value.contains('\0') {
                let message = "a value must not contain NUL";
                self.report(format!("spec.env[{index}].value"), Reason::InvalidValue, message);
            } else {
                variables.push((name.clone(), value.clone()));
            }
        }
        variables
    }
}

/// A limit as the spec has it.
struct Setting {
    value: Option<u64>,
    min: u64,
}
