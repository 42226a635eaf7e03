//! What a run needs from the gateway or cluster under test.

use std::time::Duration;

use serde_json::Value;

use super::backends::EchoPool;
use super::case::Need;
use super::client::Addresses;

/// Time limits of a run.
#[derive(Clone, Copy, Debug)]
pub struct TimeLimits {
    /// Maximum time until a change takes effect. An expectation that is not met by then fails.
    pub settle: Duration,
    /// Consecutive responses that must match. One alone may come from a worker that is ahead of the others.
    pub matches: usize,
    /// Maximum time for which an absent address is watched.
    pub hold: Duration,
    /// Interval between two attempts.
    pub poll: Duration,
}

/// The kind, namespace and name of an object.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ObjectKey {
    /// The kind.
    pub kind: String,
    /// The namespace. Empty for cluster-scoped objects.
    pub namespace: String,
    /// The name.
    pub name: String,
}

impl ObjectKey {
    /// Returns the key of an object. Absent parts are empty.
    pub fn of(object: &Value) -> Self {
        let text =
            |pointer: &str| object.pointer(pointer).and_then(Value::as_str).unwrap_or_default().to_owned();
        Self { kind: text("/kind"), namespace: text("/metadata/namespace"), name: text("/metadata/name") }
    }
}

/// A gateway or cluster under test. Cases reach it through this interface only.
pub trait Driver: Send + Sync {
    /// Returns the addresses to which requests are sent.
    fn addresses(&self) -> Addresses;

    /// Returns the echo servers, which are the endpoints of all apps.
    fn pool(&self) -> &EchoPool;

    /// Returns the name of the IngressClass under test.
    fn class(&self) -> &str;

    /// Returns the `spec.controller` of that IngressClass.
    fn controller(&self) -> &str;

    /// Returns the time limits.
    fn limits(&self) -> TimeLimits;

    /// Returns true if the driver has what a case needs.
    fn has(&self, need: Need) -> bool;

    /// Returns true if changes take effect later. The runner then waits for a probe Ingress after each change.
    fn settles_later(&self) -> bool;

    /// Creates a namespace.
    ///
    /// # Errors
    /// The API server rejects it.
    fn create_namespace(&self, name: &str) -> impl Future<Output = anyhow::Result<()>> + Send;

    /// Creates or changes an object.
    ///
    /// # Errors
    /// The API server rejects it.
    fn apply(&self, object: &Value) -> impl Future<Output = anyhow::Result<()>> + Send;

    /// Deletes an object. It is no error if the object does not exist.
    ///
    /// # Errors
    /// The API server rejects the deletion.
    fn delete(&self, key: &ObjectKey) -> impl Future<Output = anyhow::Result<()>> + Send;

    /// Returns true if the status of an Ingress has an address.
    ///
    /// # Errors
    /// The Ingress cannot be read.
    fn has_address(
        &self,
        namespace: &str,
        ingress: &str,
    ) -> impl Future<Output = anyhow::Result<bool>> + Send;

    /// Deletes a namespace and all objects in it without waiting for the end of its termination.
    ///
    /// # Errors
    /// The API server rejects the deletion.
    fn delete_namespace(&self, name: &str) -> impl Future<Output = anyhow::Result<()>> + Send;
}
