//! Filters of a rule (HTTPRoute), as fields of a policy that precede those of all policies.
//!
//! Not here: merging (`policy_merge`).

use std::sync::Arc;

use api::HttpRouteFilterType;
use api::HttpRouteRule;
use api::RoutePolicySpec;
use api::policy::Redirect;

use crate::object::Name;
use crate::table::FIELDS;
use crate::table::PolicyOrigin;

/// The fields that filters of a rule set.
#[derive(Clone, Debug)]
pub(super) struct RuleFilters {
    pub(super) spec: Box<RoutePolicySpec>,
    /// The annotations from which a class handler made the rule. Empty if it named none.
    annotations: Arc<str>,
}

/// Parses the filters of a rule. Returns also the reasons of those that cannot be honoured. Returns `None` if there are no
/// filters.
pub(super) fn parse(
    rule: &HttpRouteRule,
    annotations: Option<&Arc<str>>,
) -> (Option<RuleFilters>, Vec<String>) {
    if rule.filters.is_empty() {
        return (None, Vec::new());
    }
    let mut spec = Box::<RoutePolicySpec>::default();
    let mut faults = Vec::new();
    for filter in &rule.filters {
        let is_set = match filter.kind {
            HttpRouteFilterType::RequestHeaderModifier => {
                spec.request_headers.clone_from(&filter.request_header_modifier);
                filter.request_header_modifier.is_some()
            }
            HttpRouteFilterType::ResponseHeaderModifier => {
                spec.response_headers.clone_from(&filter.response_header_modifier);
                filter.response_header_modifier.is_some()
            }
            HttpRouteFilterType::RequestRedirect => {
                spec.redirect = filter.request_redirect.as_ref().map(Redirect::from);
                filter.request_redirect.is_some()
            }
        };
        if !is_set {
            faults.push(format!("a filter of type {:?} has no field of this name", filter.kind));
        }
    }
    for field in FIELDS.iter() {
        let found = field.take_faults(&mut spec).into_iter();
        faults.extend(found.map(|fault| format!("{}{}: {}", field.path, fault.place(), fault.message)));
    }
    (Some(RuleFilters { spec, annotations: annotations.cloned().unwrap_or_default() }), faults)
}

impl RuleFilters {
    /// Returns the origin of a field.
    pub(super) fn origin(&self, ingress: Option<&Name>, field: &'static str) -> PolicyOrigin {
        PolicyOrigin {
            policy: ingress.cloned().unwrap_or_default(),
            field,
            target: String::new(),
            annotations: Some(Arc::clone(&self.annotations)),
        }
    }
}
