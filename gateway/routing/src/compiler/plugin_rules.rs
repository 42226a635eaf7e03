//! The configuration of one WasmPlugin by Route: `matchRules`, `pluginConfig` and `defaultConfig`.
//!
//! Not here: which Routes the plugin may apply to at all (`plugin_merge`).

use std::cmp::Reverse;
use std::sync::Arc;

use api::MatchRule;
use api::PluginConfig;
use api::PluginPhase;
use api::WasmPluginSpec;

use super::policy_target;
use crate::host::HostName;
use crate::object::Name;
use crate::object::ObjectRef;
use crate::problem::Problem;
use crate::problem::Reason;

/// The order and the configurations of a plugin.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct PluginRules {
    pub(super) phase: PluginPhase,
    pub(super) priority: i32,
    rules: Vec<ParsedRule>,
    /// On Routes that no rule matches. `None`: the plugin is off there.
    unmatched: Option<RuleConfig>,
    /// Where neither a rule nor a RoutePolicy gives a configuration.
    pub(super) default: RuleConfig,
}

/// A configuration, and the field that gives it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct RuleConfig {
    pub(super) text: Arc<str>,
    pub(super) field: Arc<str>,
}

/// One entry of `matchRules`. A dimension that is `None` matches everything.
#[derive(Debug, PartialEq, Eq)]
struct ParsedRule {
    ingresses: Option<Vec<Name>>,
    hosts: Option<Vec<HostName>>,
    services: Option<Vec<Name>>,
    /// `None`: the plugin is off.
    config: Option<RuleConfig>,
}

/// The parts of a Route that rules match.
#[derive(Clone, Copy, Debug)]
pub(super) struct RuleSubject<'a> {
    /// `None` for the default backend of a class.
    pub(super) ingress: Option<&'a Name>,
    /// `None` for default backends.
    pub(super) host: Option<&'a HostName>,
    /// Namespace of `services`.
    pub(super) namespace: &'a str,
    pub(super) services: &'a [&'a str],
}

// ===== impl PluginRules =====

impl PluginRules {
    /// Parses the rules of a plugin. An invalid entry matches nothing and is a Problem.
    pub(super) fn parse(plugin: &ObjectRef, spec: &WasmPluginSpec, problems: &mut Vec<Problem>) -> Self {
        let plugin_config = rule_config(spec.plugin_config.as_ref(), "spec.pluginConfig");
        let default_config = rule_config(spec.default_config.as_ref(), "spec.defaultConfig");
        let none = || RuleConfig { text: "".into(), field: "spec".into() };
        let default = plugin_config.or_else(|| default_config.clone()).unwrap_or_else(none);
        let unmatched = match (default_config, spec.match_rules.is_empty()) {
            _ if spec.default_config_disable => None,
            (Some(config), _) => Some(config),
            (None, true) => Some(default.clone()),
            (None, false) => None,
        };
        let mut parser = RuleParser { plugin, default: &default, problems };
        let rules = spec.match_rules.iter().enumerate();
        let rules = rules.map(|(index, rule)| parser.parse(&format!("spec.matchRules[{index}]"), rule));
        let rules = rules.collect();
        Self { phase: spec.phase, priority: spec.priority, rules, unmatched, default }
    }

    /// Returns the configuration on a Route. Returns `None` if the plugin is off there.
    pub(super) fn select(&self, subject: RuleSubject<'_>) -> Option<&RuleConfig> {
        match self.rules.iter().find(|rule| rule.matches(subject)) {
            Some(rule) => rule.config.as_ref(),
            None => self.unmatched.as_ref(),
        }
    }

    /// Returns the place among the plugins of a Route. The lesser one is first.
    pub(super) fn order(&self) -> (PluginPhase, Reverse<i32>) {
        (self.phase, Reverse(self.priority))
    }
}

fn rule_config(from: Option<&PluginConfig>, field: &str) -> Option<RuleConfig> {
    from.map(|config| RuleConfig { text: config.text().into(), field: field.into() })
}

// ===== impl ParsedRule =====

impl ParsedRule {
    fn matches(&self, subject: RuleSubject<'_>) -> bool {
        let is_service = |name: &Name| {
            *name.namespace == *subject.namespace && subject.services.contains(&name.name.as_ref())
        };
        self.ingresses
            .as_ref()
            .is_none_or(|names| subject.ingress.is_some_and(|ingress| names.contains(ingress)))
            && self
                .hosts
                .as_ref()
                .is_none_or(|hosts| subject.host.is_some_and(|host| hosts.iter().any(|own| own.covers(host))))
            && self.services.as_ref().is_none_or(|names| names.iter().any(is_service))
    }
}

/// Parses the rules of one plugin.
struct RuleParser<'a> {
    plugin: &'a ObjectRef,
    /// Configuration of rules without their own.
    default: &'a RuleConfig,
    problems: &'a mut Vec<Problem>,
}

impl RuleParser<'_> {
    fn parse(&mut self, field: &str, from: &MatchRule) -> ParsedRule {
        let own = rule_config(from.config.as_ref(), &format!("{field}.config"));
        let inherited = || RuleConfig { text: Arc::clone(&self.default.text), field: field.into() };
        let config = (!from.config_disable).then(|| own.unwrap_or_else(inherited));
        ParsedRule {
            ingresses: self.names(&format!("{field}.ingress"), &from.ingress),
            hosts: self.hosts(field, from),
            services: self.names(&format!("{field}.service"), &from.service),
            config,
        }
    }

    fn names(&mut self, field: &str, from: &[String]) -> Option<Vec<Name>> {
        let mut names = Vec::with_capacity(from.len());
        for (index, text) in from.iter().enumerate() {
            match parse_name(text, &self.plugin.name.namespace) {
                Some(name) => names.push(name),
                None => {
                    let message = format!("\"{}\" is not NAME or NAMESPACE/NAME", text.escape_debug());
                    self.report(format!("{field}[{index}]"), Reason::InvalidValue, message);
                }
            }
        }
        (!from.is_empty()).then_some(names)
    }

    fn hosts(&mut self, field: &str, from: &MatchRule) -> Option<Vec<HostName>> {
        let mut hosts = Vec::with_capacity(from.host.len() + from.domain.len());
        for (list, entries) in [("host", &from.host), ("domain", &from.domain)] {
            for (index, text) in entries.iter().enumerate() {
                match HostName::parse(text) {
                    Ok(host) => hosts.push(host),
                    Err(error) => {
                        let message = format!("\"{}\" is not a DNS name: {error}", text.escape_debug());
                        self.report(format!("{field}.{list}[{index}]"), Reason::InvalidHost, message);
                    }
                }
            }
        }
        (!from.host.is_empty() || !from.domain.is_empty()).then_some(hosts)
    }

    fn report(&mut self, field: String, reason: Reason, message: String) {
        self.problems.push(policy_target::problem(self.plugin, field, reason, message));
    }
}

/// Parses `NAME` or `NAMESPACE/NAME`.
fn parse_name(text: &str, namespace: &Arc<str>) -> Option<Name> {
    let (namespace, name) = match text.split_once('/') {
        Some((namespace, name)) => (namespace.into(), name),
        None => (Arc::clone(namespace), text),
    };
    let is_valid = !namespace.is_empty() && !name.is_empty() && !name.contains('/');
    is_valid.then(|| Name { namespace, name: name.into() })
}
