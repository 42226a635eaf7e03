//! The leaf fields of RoutePolicy: one row each, in the order of the kind's fields.
//!
//! A row drives merging, provenance, printing, `explain` and the reference page. A new field is its type in
//! `api::policy`, a row here, and the code that implements it. Not here: which policy wins (`compiler::policy_merge`), and
//! `spec.backends`, which names objects and is not merged by value.

use std::fmt;
use std::sync::LazyLock;

use api::RoutePolicySpec;
use api::policy::Cors;
use api::policy::Fault;
use api::policy::HeaderEdits;
use api::policy::Redirect;

use crate::host::HostName;
use crate::path;

/// All rows.
pub static FIELDS: LazyLock<Vec<PolicyField>> = LazyLock::new(|| {
    vec![
        value("spec.bodySize", at!(body_size)),
        value("spec.timeouts.request", at!(timeouts.request)),
        value("spec.timeouts.connect", at!(timeouts.connect)),
        value("spec.timeouts.connectTotal", at!(timeouts.connect_total)),
        value("spec.timeouts.firstByte", at!(timeouts.first_byte)),
        value("spec.timeouts.stall", at!(timeouts.stall)),
        value("spec.timeouts.tunnelIdle", at!(timeouts.tunnel_idle)),
        value("spec.retries.attempts", at!(retries.attempts)),
        list("spec.retries.on", at!(retries.on)),
        list("spec.retries.methods", at!(retries.methods)),
        value("spec.loadBalancing.type", at!(load_balancing.kind)),
        value("spec.limits.upstreamConnections", at!(limits.upstream_connections)),
        value("spec.limits.pendingRequests", at!(limits.pending_requests)),
        value("spec.redirect.https", at!(redirect.https)),
        value("spec.redirect.acmeChallenges", at!(redirect.acme_challenges)),
        value("spec.redirect.scheme", at!(redirect.scheme)),
        checked("spec.redirect.host", at!(redirect.host), |host| Redirect::host_faults(host, is_exact_host)),
        value("spec.redirect.port", at!(redirect.port)),
        checked("spec.redirect.path", at!(redirect.path), |path| {
            Redirect::path_faults(path, is_canonical_path)
        }),
        value("spec.redirect.status", at!(redirect.status)),
        checked_list("spec.cors.allowOrigins", at!(cors.allow_origins), Cors::origin_faults),
        checked_list("spec.cors.allowMethods", at!(cors.allow_methods), Cors::method_faults),
        checked_list("spec.cors.allowHeaders", at!(cors.allow_headers), Cors::name_faults),
        checked_list("spec.cors.exposeHeaders", at!(cors.expose_headers), Cors::name_faults),
        value("spec.cors.allowCredentials", at!(cors.allow_credentials)),
        checked("spec.cors.maxAge", at!(cors.max_age), Cors::max_age_faults),
        checked_list("spec.requestHeaders.set", at!(request_headers.set), HeaderEdits::field_faults),
        checked_list("spec.requestHeaders.add", at!(request_headers.add), HeaderEdits::field_faults),
        checked_list("spec.requestHeaders.remove", at!(request_headers.remove), HeaderEdits::name_faults),
        checked_list("spec.responseHeaders.set", at!(response_headers.set), HeaderEdits::field_faults),
        checked_list("spec.responseHeaders.add", at!(response_headers.add), HeaderEdits::field_faults),
        checked_list("spec.responseHeaders.remove", at!(response_headers.remove), HeaderEdits::name_faults),
    ]
});

fn is_exact_host(host: &str) -> bool {
    !host.is_empty() && matches!(HostName::parse(host), Ok(HostName::Exact(_)))
}

fn is_canonical_path(path: &str) -> bool {
    path::canonical(path.as_bytes()).is_ok_and(|canonical| canonical == path)
}

/// One leaf field.
pub struct PolicyField {
    /// The path in the object: `spec.timeouts.request`.
    pub path: &'static str,
    accessor: Box<dyn Accessor + Send + Sync>,
}

/// What a row can do with its field, whatever the type.
trait Accessor {
    fn is_set(&self, spec: &RoutePolicySpec) -> bool;
    fn copy(&self, from: &RoutePolicySpec, to: &mut RoutePolicySpec);
    fn show(&self, spec: &RoutePolicySpec) -> Option<String>;
    fn take_faults(&self, spec: &mut RoutePolicySpec) -> Vec<Fault>;
    fn clear(&self, spec: &mut RoutePolicySpec);
}

impl PolicyField {
    /// Does a policy set the field?
    pub fn is_set(&self, spec: &RoutePolicySpec) -> bool {
        self.accessor.is_set(spec)
    }

    /// Copies the value, if there is one.
    pub(crate) fn copy(&self, from: &RoutePolicySpec, to: &mut RoutePolicySpec) {
        self.accessor.copy(from, to);
    }

    /// Returns the value as people write it; `None` if it is not set.
    pub fn show(&self, spec: &RoutePolicySpec) -> Option<String> {
        self.accessor.show(spec)
    }

    /// Removes what cannot be honoured, entry by entry in lists, and returns why.
    pub(crate) fn take_faults(&self, spec: &mut RoutePolicySpec) -> Vec<Fault> {
        self.accessor.take_faults(spec)
    }

    /// Removes the value.
    pub(crate) fn clear(&self, spec: &mut RoutePolicySpec) {
        self.accessor.clear(spec);
    }
}

impl fmt::Debug for PolicyField {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.path)
    }
}

/// Accesses `spec.field` or `spec.section.field`.
macro_rules! at {
    ($field:ident) => {
        Place { read: |spec| spec.$field.as_ref(), write: |spec| &mut spec.$field }
    };
    ($section:ident.$field:ident) => {
        Place {
            read: |spec| spec.$section.as_ref()?.$field.as_ref(),
            write: |spec| &mut spec.$section.get_or_insert_default().$field,
        }
    };
}
use at;

/// Where a field is in the spec.
struct Place<T> {
    read: fn(&RoutePolicySpec) -> Option<&T>,
    write: fn(&mut RoutePolicySpec) -> &mut Option<T>,
}

/// A field with a single value.
struct SingleField<T> {
    place: Place<T>,
    check: fn(&T) -> Vec<Fault>,
}

/// A field with a list of values.
struct ListField<T> {
    place: Place<Vec<T>>,
    check: fn(&[T]) -> Vec<Fault>,
}

fn value<T: Clone + fmt::Display + 'static>(path: &'static str, place: Place<T>) -> PolicyField {
    PolicyField { path, accessor: Box::new(SingleField { place, check: |_| Vec::new() }) }
}

fn checked<T: Clone + fmt::Display + 'static>(
    path: &'static str,
    place: Place<T>,
    check: fn(&T) -> Vec<Fault>,
) -> PolicyField {
    PolicyField { path, accessor: Box::new(SingleField { place, check }) }
}

fn list<T: Clone + fmt::Display + 'static>(path: &'static str, place: Place<Vec<T>>) -> PolicyField {
    checked_list(path, place, |_| Vec::new())
}

fn checked_list<T: Clone + fmt::Display + 'static>(
    path: &'static str,
    place: Place<Vec<T>>,
    check: fn(&[T]) -> Vec<Fault>,
) -> PolicyField {
    PolicyField { path, accessor: Box::new(ListField { place, check }) }
}

impl<T: Clone + fmt::Display> Accessor for SingleField<T> {
    fn is_set(&self, spec: &RoutePolicySpec) -> bool {
        (self.place.read)(spec).is_some()
    }

    fn copy(&self, from: &RoutePolicySpec, to: &mut RoutePolicySpec) {
        if let Some(value) = (self.place.read)(from) {
            *(self.place.write)(to) = Some(value.clone());
        }
    }

    fn show(&self, spec: &RoutePolicySpec) -> Option<String> {
        (self.place.read)(spec).map(ToString::to_string)
    }

    fn take_faults(&self, spec: &mut RoutePolicySpec) -> Vec<Fault> {
        let faults = (self.place.read)(spec).map(self.check).unwrap_or_default();
        if !faults.is_empty() {
            self.clear(spec);
        }
        faults
    }

    fn clear(&self, spec: &mut RoutePolicySpec) {
        *(self.place.write)(spec) = None;
    }
}

impl<T: Clone + fmt::Display> Accessor for ListField<T> {
    fn is_set(&self, spec: &RoutePolicySpec) -> bool {
        (self.place.read)(spec).is_some()
    }

    fn copy(&self, from: &RoutePolicySpec, to: &mut RoutePolicySpec) {
        if let Some(values) = (self.place.read)(from) {
            *(self.place.write)(to) = Some(values.clone());
        }
    }

    fn show(&self, spec: &RoutePolicySpec) -> Option<String> {
        let texts: Vec<_> = (self.place.read)(spec)?.iter().map(ToString::to_string).collect();
        Some(if texts.is_empty() { "none".to_owned() } else { texts.join(", ") })
    }

    fn take_faults(&self, spec: &mut RoutePolicySpec) -> Vec<Fault> {
        let faults = (self.place.read)(spec).map(|values| (self.check)(values)).unwrap_or_default();
        if faults.is_empty() {
            return faults;
        }
        if let Some(values) = (self.place.write)(spec) {
            let mut index = 0..;
            values.retain(|_| {
                let index = index.next();
                !faults.iter().any(|fault| fault.entry == index)
            });
        }
        faults
    }

    fn clear(&self, spec: &mut RoutePolicySpec) {
        *(self.place.write)(spec) = None;
    }
}
