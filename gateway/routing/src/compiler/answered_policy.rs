//! Policies that a class handler emits, as the merger of RoutePolicies reads them.

use std::sync::Arc;

use api::class_handler::EmittedMetadata;
use api::class_handler::EmittedPolicy;

use super::policy_entry::PolicyEntry;
use crate::object::Name;
use crate::object::RoutePolicy;

/// A policy of an answer.
#[derive(Debug)]
pub(super) struct AnsweredPolicy {
    pub(super) entry: PolicyEntry,
    /// The annotations that it comes from. `None` if the handler named none.
    pub(super) keys: Option<Arc<str>>,
}

/// Parses a policy of an answer. Its targets select by path alone: the merger knows the host.
pub(super) fn parse(ingress: &Name, mut from: EmittedPolicy, own_namespace: &str) -> AnsweredPolicy {
    let keys = keys(&from.metadata);
    from.set_default_target(&ingress.name);
    let mut spec = from.spec;
    for target in &mut spec.target_refs {
        target.host = None;
    }
    let name = Name { namespace: Arc::clone(&ingress.namespace), name: from.metadata.name.as_str().into() };
    let policy = RoutePolicy { name, created: None, spec: Box::new(spec) };
    AnsweredPolicy { entry: PolicyEntry::parse(policy, own_namespace), keys }
}

/// Returns the annotations that an emitted item comes from, for people.
pub(super) fn keys(metadata: &EmittedMetadata) -> Option<Arc<str>> {
    let keys: Vec<_> = metadata.source_keys().collect();
    (!keys.is_empty()).then(|| keys.join(", ").into())
}
