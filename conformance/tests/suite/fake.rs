//! A driver with a small Ingress controller in this process, which may have one fault.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::Mutex;
use std::time::Duration;
use std::time::Instant;

use conformance::suite::backends::EchoPool;
use conformance::suite::case::Need;
use conformance::suite::client::Addresses;
use conformance::suite::driver::Driver;
use conformance::suite::driver::ObjectKey;
use conformance::suite::driver::TimeLimits;
use serde_json::Value;

use crate::data_plane;

/// The class of the fake controller.
pub(crate) const CLASS: &str = "fake";

/// Its controller.
pub(crate) const CONTROLLER: &str = "example.com/fake";

/// Requests that a fake without drain fails after a change of endpoints.
const DISTURBED_REQUESTS: usize = 10;

/// What a fake controller does wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    /// Prefix paths are compared as strings.
    StringPrefix,
    /// The first matching path of an Ingress is used.
    FirstPath,
    /// Prefix is used before Exact of the same length.
    PrefixBeforeExact,
    /// Paths are compared without case.
    CaselessPaths,
    /// A trailing slash of the request is dropped.
    DroppedSlash,
    /// A wildcard covers several labels.
    DeepWildcard,
    /// A path that a precise host does not have is looked up in its wildcard.
    FallThrough,
    /// A rule without host is not served.
    NoHostlessRules,
    /// The default backend of an Ingress with rules is ignored.
    NoDefaultBesideRules,
    /// A default backend serves all namespaces.
    DefaultForAllTenants,
    /// The class is ignored.
    AnyClass,
    /// The deprecated annotation is ignored.
    NoAnnotation,
    /// The first port of the Service is used.
    FirstPort,
    /// Only the first slice of a Service is read.
    FirstSlice,
    /// An absent ready condition is taken for false.
    NilReadyIsUnready,
    /// Unready endpoints are used.
    UnreadyEndpoints,
    /// Changes of EndpointSlices are ignored.
    StaleEndpoints,
    /// The first endpoint receives all requests.
    OneEndpoint,
    /// Requests fail for a moment after a change of endpoints.
    NoDrain,
    /// Deletions are ignored.
    NoDeletion,
    /// The younger of two Ingresses wins.
    YoungestWins,
    /// The first Secret is the certificate of all hosts.
    WrongCertificate,
    /// The first version of a Secret is used.
    StaleSecret,
    /// Secrets are looked up in all namespaces.
    ForeignSecret,
    /// A Host that differs from the server name is refused.
    ServerNameRoutes,
    /// Status is written before routes take effect.
    EarlyStatus,
    /// Responses have no Server field.
    NoServerField,
    /// Responses are held until they are complete.
    Buffering,
    /// Upgrades are refused.
    NoUpgrade,
}

impl Fault {
    /// All faults.
    pub(crate) const ALL: &[Self] = &[
        Self::StringPrefix,
        Self::FirstPath,
        Self::PrefixBeforeExact,
        Self::CaselessPaths,
        Self::DroppedSlash,
        Self::DeepWildcard,
        Self::FallThrough,
        Self::NoHostlessRules,
        Self::NoDefaultBesideRules,
        Self::DefaultForAllTenants,
        Self::AnyClass,
        Self::NoAnnotation,
        Self::FirstPort,
        Self::FirstSlice,
        Self::NilReadyIsUnready,
        Self::UnreadyEndpoints,
        Self::StaleEndpoints,
        Self::OneEndpoint,
        Self::NoDrain,
        Self::NoDeletion,
        Self::YoungestWins,
        Self::WrongCertificate,
        Self::StaleSecret,
        Self::ForeignSecret,
        Self::ServerNameRoutes,
        Self::EarlyStatus,
        Self::NoServerField,
        Self::Buffering,
        Self::NoUpgrade,
    ];
}

/// An object and when it was created.
#[derive(Clone, Debug)]
pub(crate) struct StoredObject {
    pub(crate) value: Value,
    /// Rises with each created object.
    pub(crate) age: usize,
    pub(crate) created_at: Instant,
}

/// The objects of the fake controller.
#[derive(Debug)]
pub(crate) struct Store {
    pub(crate) fault: Option<Fault>,
    pub(crate) objects: BTreeMap<ObjectKey, StoredObject>,
    next_age: usize,
    /// Requests to each namespace that still fail.
    disturbed_requests: BTreeMap<String, usize>,
}

impl Store {
    pub(crate) fn has_fault(&self, fault: Fault) -> bool {
        self.fault == Some(fault)
    }

    /// Returns true if a request to a namespace fails because its endpoints changed, and counts it.
    pub(crate) fn take_disturbance(&mut self, namespace: &str) -> bool {
        let Some(left) = self.disturbed_requests.get_mut(namespace) else { return false };
        *left = left.saturating_sub(1);
        *left > 0
    }

    /// Returns the objects of a kind, oldest first.
    pub(crate) fn of_kind<'a>(&'a self, kind: &'a str) -> Vec<(&'a ObjectKey, &'a StoredObject)> {
        let mut found: Vec<_> = self.objects.iter().filter(|(key, _)| key.kind == kind).collect();
        found.sort_by_key(|(_, object)| object.age);
        found
    }

    fn apply(&mut self, object: &Value) {
        let key = ObjectKey::of(object);
        let old = self.objects.get(&key);
        let stale = (self.has_fault(Fault::StaleEndpoints) && key.kind == "EndpointSlice")
            || (self.has_fault(Fault::StaleSecret) && key.kind == "Secret");
        if stale && old.is_some() {
            return;
        }
        let (age, created_at) = old.map_or((self.next_age, Instant::now()), |old| (old.age, old.created_at));
        if self.has_fault(Fault::NoDrain) && key.kind == "EndpointSlice" && old.is_some() {
            self.disturbed_requests.insert(key.namespace.clone(), DISTURBED_REQUESTS);
        }
        self.next_age += 1;
        self.objects.insert(key, StoredObject { value: object.clone(), age, created_at });
    }
}

/// A running fake controller.
pub(crate) struct FakeDriver {
    store: Arc<Mutex<Store>>,
    addresses: Addresses,
    pool: EchoPool,
}

impl FakeDriver {
    /// Starts the controller's listeners.
    pub(crate) async fn start(fault: Option<Fault>, pool: EchoPool) -> Self {
        let store =
            Store { fault, objects: BTreeMap::new(), next_age: 0, disturbed_requests: BTreeMap::new() };
        let store = Arc::new(Mutex::new(store));
        let addresses = data_plane::start(&store).await;
        Self { store, addresses, pool }
    }
}

impl Driver for FakeDriver {
    fn addresses(&self) -> Addresses {
        self.addresses
    }

    fn pool(&self) -> &EchoPool {
        &self.pool
    }

    fn class(&self) -> &str {
        CLASS
    }

    fn controller(&self) -> &str {
        CONTROLLER
    }

    fn limits(&self) -> TimeLimits {
        let millis = Duration::from_millis;
        TimeLimits { settle: millis(4000), matches: 1, hold: millis(100), poll: millis(10) }
    }

    fn has(&self, need: Need) -> bool {
        match need {
            Need::Status => true,
        }
    }

    fn settles_later(&self) -> bool {
        false
    }

    async fn create_namespace(&self, _name: &str) -> anyhow::Result<()> {
        Ok(())
    }

    async fn apply(&self, object: &Value) -> anyhow::Result<()> {
        self.store.lock().unwrap().apply(object);
        Ok(())
    }

    async fn delete(&self, key: &ObjectKey) -> anyhow::Result<()> {
        let mut store = self.store.lock().unwrap();
        if !store.has_fault(Fault::NoDeletion) {
            store.objects.remove(key);
        }
        Ok(())
    }

    async fn has_address(&self, namespace: &str, ingress: &str) -> anyhow::Result<bool> {
        let store = self.store.lock().unwrap();
        let mut ingresses = store.of_kind("Ingress").into_iter();
        let found = ingresses.find(|(key, _)| key.namespace == namespace && key.name == ingress);
        Ok(found.is_some_and(|(_, object)| crate::routes::is_ours(&store, &object.value)))
    }

    async fn delete_namespace(&self, name: &str) -> anyhow::Result<()> {
        self.store.lock().unwrap().objects.retain(|key, _| key.namespace != name);
        Ok(())
    }
}
