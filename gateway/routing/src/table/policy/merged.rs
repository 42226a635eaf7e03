//! The merged RoutePolicies of a Route, with the origin of each value.
//!
//! Not here: which policy wins (`compiler::policy_merge`), and what holds where no policy sets a field (the data
//! plane's settings).

use std::fmt;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

use api::RoutePolicySpec;
use api::policy::HttpsRedirect;

use super::fields::FIELDS;
use super::fields::PolicyField;
use crate::object::Name;
use crate::table::plugin::{PluginName, PluginUse};

/// The field that names Services in place of the rule's own backend.
pub(crate) const BACKENDS: &str = "spec.backends";

/// The field whose value `TlsHosts` depends on the Route.
const HTTPS: &str = "spec.redirect.https";

/// A small number of a merged policy. No two policies of one RoutingTable have the same; 0 is the one in which no
/// policy sets a field. A later table may use the number of a policy that is gone.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PolicyId(pub u32);

impl PolicyId {
    /// Returns the number as an index.
    pub fn index(self) -> usize {
        self.0 as usize
    }
}

/// The merged RoutePolicies of a Route: for each field the value of highest precedence, and its origin.
///
/// Two are equal if their values and origins are, whatever their numbers.
#[derive(Clone, Debug, Default)]
pub struct Policy {
    /// The number of this value in its table.
    pub id: PolicyId,
    /// The merged fields. `targetRefs`, `backends` and `plugins` are empty.
    pub spec: RoutePolicySpec,
    /// The policy that set the Route's Backends in place of the rule's own one.
    pub backends: Option<PolicyOrigin>,
    /// Whether the Route's host is named by `spec.tls` of its Ingress. Always false where no field depends on it.
    pub is_tls_host: bool,
    /// The plugins, in the order of requests.
    pub plugins: Box<[PluginUse]>,
    /// A plugin that applies to the Route, but does not exist or has no valid spec. Requests get a 503.
    pub missing_plugin: Option<PluginName>,
    /// One for each field that is set, in the order of [`FIELDS`].
    pub(crate) origins: Vec<PolicyOrigin>,
}

/// A field of a RoutePolicy.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct PolicyOrigin {
    /// The RoutePolicy.
    pub policy: Name,
    /// The field: `spec.bodySize`.
    pub field: &'static str,
    /// The target that covers the Route, as a field path: `spec.targetRefs[0]`.
    pub target: String,
    /// The annotations from which a class handler made the policy. It is no object then. `None` for a RoutePolicy.
    pub annotations: Option<Arc<str>>,
}

impl fmt::Display for PolicyOrigin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.annotations.as_deref() {
            None => write!(f, "RoutePolicy {}", self.policy),
            Some("") => f.write_str("the class handler"),
            Some(keys) => write!(f, "annotation {keys}"),
        }
    }
}

/// A field that a policy sets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SetField<'a> {
    /// The value in the format of RoutePolicy.
    pub value: String,
    /// The field.
    pub origin: &'a PolicyOrigin,
}

impl Policy {
    /// Takes a field's value from a policy that won.
    pub(crate) fn set(&mut self, field: &PolicyField, from: &RoutePolicySpec, origin: PolicyOrigin) {
        field.copy(from, &mut self.spec);
        self.origins.push(origin);
    }

    /// Removes a field's value, and returns where it came from.
    pub(crate) fn unset(&mut self, path: &str) -> Option<PolicyOrigin> {
        let field = FIELDS.iter().find(|field| field.path == path)?;
        field.clear(&mut self.spec);
        let at = self.origins.iter().position(|origin| origin.field == path)?;
        Some(self.origins.remove(at))
    }

    /// Does the value depend on whether the Route's host is named by `spec.tls`?
    pub(crate) fn depends_on_tls(&self) -> bool {
        self.spec.redirect.as_ref().is_some_and(|redirect| redirect.https == Some(HttpsRedirect::TlsHosts))
    }

    /// Do plaintext requests of the Route go to HTTPS?
    pub fn redirects_to_https(&self) -> bool {
        match self.spec.redirect.as_ref().and_then(|redirect| redirect.https) {
            Some(HttpsRedirect::Always) => true,
            Some(HttpsRedirect::TlsHosts) => self.is_tls_host,
            Some(HttpsRedirect::Never) | None => false,
        }
    }

    /// Returns all set fields in the order of the kind's fields, with values in the format of RoutePolicy. The value of
    /// `backends` is in the Route itself.
    pub fn fields(&self) -> Vec<SetField<'_>> {
        let by_weight = |origin| SetField { value: "by weight".to_owned(), origin };
        let backends = self.backends.iter().map(by_weight);
        let rest = self.origins.iter().filter_map(|origin| {
            let field = FIELDS.iter().find(|field| field.path == origin.field)?;
            let value = field.show(&self.spec)?;
            Some(SetField { value: self.with_reason(origin.field, value), origin })
        });
        backends.chain(rest).collect()
    }

    /// Adds what a value that depends on the Route means for it.
    fn with_reason(&self, path: &str, value: String) -> String {
        if path != HTTPS || !self.depends_on_tls() {
            return value;
        }
        let meaning =
            if self.is_tls_host { "spec.tls names this host" } else { "spec.tls does not name this host" };
        format!("{value} ({meaning})")
    }
}

impl PartialEq for Policy {
    fn eq(&self, other: &Self) -> bool {
        let Self { id: _, spec, backends, is_tls_host, plugins, missing_plugin, origins } = self;
        *spec == other.spec
            && *backends == other.backends
            && *is_tls_host == other.is_tls_host
            && *plugins == other.plugins
            && *missing_plugin == other.missing_plugin
            && *origins == other.origins
    }
}

impl Eq for Policy {}

impl Hash for Policy {
    fn hash<H: Hasher>(&self, state: &mut H) {
        let Self { id: _, spec, backends, is_tls_host, plugins, missing_plugin, origins } = self;
        (spec, backends, is_tls_host, plugins, missing_plugin, origins).hash(state);
    }
}
