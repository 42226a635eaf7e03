//! One kind's watch: list, follow, begin anew; and what is taken of each object.
//!
//! A watch ends itself after [`WATCH_SECONDS`] and goes on where it was, so that one that is stalled or half-open is
//! noticed. What fails is tried again within 30 s.

use std::fmt::Debug;
use std::time::Duration;

use futures::StreamExt as _;
use futures::stream::BoxStream;
use k8s_openapi::api::core::v1 as core;
use k8s_openapi::api::discovery::v1::EndpointSlice;
use k8s_openapi::api::networking::v1 as networking;
use kube::api::{ApiResource, DynamicObject, GroupVersionKind};
use kube::core::{PartialObjectMeta, Status};
use kube::runtime::WatchStreamExt as _;
use kube::runtime::utils::Backoff;
use kube::runtime::watcher::{self, Event};
use kube::{Api, Client, Resource, ResourceExt as _};
use routing::object::{self, FieldError, Kind, Name, Object, ObjectRef};
use serde::de::DeserializeOwned;
use tokio::time::Instant;

use super::{Purpose, WatchScope, WatchSpec};

/// After so many seconds a watch is begun anew where it was. With the 5 s that the library adds, a stalled one is
/// noticed within 45 s.
const WATCH_SECONDS: u32 = 40;

/// Where a node says in which zone it is.
const ZONE_LABEL: &str = "topology.kubernetes.io/zone";

/// Waits between tries: from half a second, doubling, to 10 s and at most a quarter more. An API server that starts
/// anew also refuses everything for a moment, so two of the longest waits are to stay below 30 s.
pub(super) const INITIAL_BACKOFF: Duration = Duration::from_millis(500);
pub(super) const MAX_BACKOFF: Duration = Duration::from_secs(10);

/// A try after so long without a failure is a first one. Longer than a wait and a list that is given up.
const BACKOFF_RESET_AFTER: Duration = Duration::from_secs(90);

/// What a feed is, and whether the gateway can do without it.
#[derive(Clone, Debug)]
pub(super) struct FeedSpec {
    pub(super) kind: Kind,
    /// Whose objects; empty: those of all namespaces, or of none.
    pub(super) namespace: String,
    pub(super) requirement: Requirement,
}

/// Whether the gateway serves without a feed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Requirement {
    /// Not at all.
    Required,
    /// Yes if the kind does not exist here: its CRD is not installed (yet).
    IfInstalled,
    /// Yes if it may not be read or does not exist.
    IfAllowed,
}

/// What happened on a feed.
#[derive(Debug)]
pub(super) enum WatchEvent {
    /// A new list begins.
    ListStarted,
    /// The list holds this.
    Listed(TrimmedObject),
    /// The list is complete: what it did not hold is gone.
    ListCompleted,
    /// This was added or changed.
    Applied(TrimmedObject),
    /// This is gone.
    Deleted(Name),
    /// It did not work, and is tried again.
    Failed { code: Option<u16>, message: String },
}

/// What is taken of an object.
#[derive(Debug)]
pub(super) enum TrimmedObject {
    /// All that routing reads, and what of it cannot be used.
    Object(Object, Vec<FieldError>),
    /// One of our kinds whose spec cannot be read.
    Invalid(ObjectRef, String),
    /// A Secret exists in this version; its bytes are read only if somebody names it.
    Secret(Name, String),
    /// A node is in this zone, if it says so.
    Node(Name, Option<String>),
}

impl TrimmedObject {
    fn converted<T>((value, unreadable): (T, Vec<FieldError>), wrap: fn(T) -> Object) -> Self {
        Self::Object(wrap(value), unreadable)
    }
}

/// A feed by its place among the plans, and what happened on it.
pub(super) type Stream = BoxStream<'static, (usize, WatchEvent)>;

/// What is needed of the kinds that not everybody may read.
#[derive(Clone, Copy)]
struct Requirements {
    secrets: Requirement,
    classes: Requirement,
    configs: Requirement,
    policies: Requirement,
}

impl Requirements {
    fn for_spec(spec: &WatchSpec) -> Self {
        match (spec.purpose, &spec.scope) {
            (Purpose::Explain, _) => Self {
                secrets: Requirement::IfAllowed,
                classes: Requirement::IfAllowed,
                configs: Requirement::IfAllowed,
                policies: Requirement::IfAllowed,
            },
            (Purpose::Serve, WatchScope::Cluster) => Self {
                secrets: Requirement::Required,
                classes: Requirement::Required,
                configs: Requirement::IfInstalled,
                policies: Requirement::IfInstalled,
            },
            // What has no namespace needs rights in the cluster.
            (Purpose::Serve, WatchScope::Namespaces(_)) => Self {
                secrets: Requirement::Required,
                classes: Requirement::IfAllowed,
                configs: Requirement::IfAllowed,
                policies: Requirement::IfInstalled,
            },
        }
    }
}

/// All feeds that are wanted.
pub(super) fn start_feeds(client: &Client, spec: &WatchSpec) -> (Vec<FeedSpec>, Vec<Stream>) {
    let requirements = Requirements::for_spec(spec);
    let mut builder = FeedBuilder {
        client,
        namespace: String::new(),
        requirements,
        specs: Vec::new(),
        streams: Vec::new(),
    };
    builder.add_cluster_kind(Kind::IngressClass, requirements.classes, |class: networking::IngressClass| {
        TrimmedObject::converted(object::IngressClass::from_kubernetes(&class), Object::IngressClass)
    });
    let configs = Api::all_with(client.clone(), &own_resource("IngressClassConfig"));
    builder.add_own_kind(Kind::IngressClassConfig, (requirements.configs, configs));
    builder.add_metadata_kind::<core::Namespace>(
        Kind::Namespace,
        (Requirement::IfAllowed, Api::all(client.clone())),
        |found| {
            let name = Name::new("", &found.name_any());
            let terminating = found.metadata.deletion_timestamp.is_some();
            TrimmedObject::Object(Object::Namespace(object::Namespace { name, terminating }), Vec::new())
        },
    );
    if let Some(node) = &spec.node {
        builder.add_node(node);
    }
    match &spec.scope {
        WatchScope::Cluster => builder.add_namespace(None),
        WatchScope::Namespaces(namespaces) => {
            for namespace in namespaces {
                builder.add_namespace(Some(namespace));
            }
        }
    }
    (builder.specs, builder.streams)
}

struct FeedBuilder<'a> {
    client: &'a Client,
    requirements: Requirements,
    /// The namespace of the feeds that are being made; empty: all, or none.
    namespace: String,
    specs: Vec<FeedSpec>,
    streams: Vec<Stream>,
}

impl FeedBuilder<'_> {
    /// The kinds that live in namespaces: of one namespace, or of all.
    fn add_namespace(&mut self, namespace: Option<&str>) {
        self.namespace = namespace.unwrap_or_default().to_owned();
        self.add_namespaced_kind(namespace, Kind::Ingress, |ingress: networking::Ingress| {
            TrimmedObject::converted(object::Ingress::from_kubernetes(&ingress), Object::Ingress)
        });
        self.add_namespaced_kind(namespace, Kind::Service, |service: core::Service| {
            let (mut service, unreadable) = object::Service::from_kubernetes(&service);
            // The annotation is for folders of YAML: here it would let anybody name addresses to dial.
            service.fixed_endpoints = None;
            TrimmedObject::Object(Object::Service(service), unreadable)
        });
        self.add_namespaced_kind(namespace, Kind::EndpointSlice, |slice: EndpointSlice| {
            TrimmedObject::converted(object::EndpointSlice::from_kubernetes(&slice), Object::EndpointSlice)
        });
        let policies = own_resource("RoutePolicy");
        let policies = match namespace {
            Some(namespace) => Api::namespaced_with(self.client.clone(), namespace, &policies),
            None => Api::all_with(self.client.clone(), &policies),
        };
        self.add_own_kind(Kind::RoutePolicy, (self.requirements.policies, policies));
        let secrets = api::<PartialObjectMeta<core::Secret>>(self.client, namespace);
        self.add_metadata_kind(Kind::Secret, (self.requirements.secrets, secrets), |secret| {
            let name = Name::new(&secret.namespace().unwrap_or_default(), &secret.name_any());
            TrimmedObject::Secret(name, secret.resource_version().unwrap_or_default())
        });
    }

    /// One node's metadata.
    fn add_node(&mut self, name: &str) {
        let api = Api::<PartialObjectMeta<core::Node>>::all(self.client.clone());
        let events = watch(api, watch_config().fields(&format!("metadata.name={name}")));
        self.push((Kind::Node, Requirement::IfAllowed), events, |node| {
            let zone = node.metadata.labels.as_ref().and_then(|labels| labels.get(ZONE_LABEL));
            TrimmedObject::Node(Name::new("", &node.name_any()), zone.cloned())
        });
    }

    fn add_namespaced_kind<K>(&mut self, namespace: Option<&str>, kind: Kind, trim: fn(K) -> TrimmedObject)
    where
        K: Resource<DynamicType = (), Scope = k8s_openapi::NamespaceResourceScope>,
        K: Clone + Debug + DeserializeOwned + Send + 'static,
    {
        let events = watch(api::<K>(self.client, namespace), watch_config());
        self.push((kind, Requirement::Required), events, trim);
    }

    fn add_cluster_kind<K>(&mut self, kind: Kind, requirement: Requirement, trim: fn(K) -> TrimmedObject)
    where
        K: Resource<DynamicType = ()> + Clone + Debug + DeserializeOwned + Send + 'static,
    {
        let events = watch(Api::<K>::all(self.client.clone()), watch_config());
        self.push((kind, requirement), events, trim);
    }

    fn add_metadata_kind<K>(
        &mut self,
        kind: Kind,
        (requirement, api): (Requirement, Api<PartialObjectMeta<K>>),
        trim: fn(PartialObjectMeta<K>) -> TrimmedObject,
    ) where
        K: Resource<DynamicType = ()> + Clone + Debug + DeserializeOwned + Send + 'static,
    {
        self.push((kind, requirement), watch(api, watch_config()), trim);
    }

    fn add_own_kind(&mut self, kind: Kind, (requirement, api): (Requirement, Api<DynamicObject>)) {
        let trim = match kind {
            Kind::RoutePolicy => trim_policy,
            _ => trim_class_config,
        };
        self.push((kind, requirement), watch(api, watch_config()), trim);
    }

    fn push<K, S>(
        &mut self,
        (kind, requirement): (Kind, Requirement),
        events: S,
        trim: fn(K) -> TrimmedObject,
    ) where
        K: kube::ResourceExt + Send + 'static,
        S: futures::Stream<Item = watcher::Result<Event<K>>> + Send + 'static,
    {
        let index = self.specs.len();
        self.specs.push(FeedSpec { kind, namespace: self.namespace.clone(), requirement });
        let mut expired = ExpiredWatches::default();
        let events = events
            .filter(move |event| std::future::ready(!expired.is_suppressed(event)))
            .backoff(WatchBackoff::default())
            .map(move |event| (index, convert(event, trim)));
        self.streams.push(events.boxed());
    }
}

fn convert<K: kube::ResourceExt>(
    event: watcher::Result<Event<K>>,
    trim: fn(K) -> TrimmedObject,
) -> WatchEvent {
    match event {
        Ok(Event::Init) => WatchEvent::ListStarted,
        Ok(Event::InitApply(found)) => WatchEvent::Listed(trim(found)),
        Ok(Event::InitDone) => WatchEvent::ListCompleted,
        Ok(Event::Apply(found)) => WatchEvent::Applied(trim(found)),
        Ok(Event::Delete(found)) => {
            WatchEvent::Deleted(Name::new(&found.namespace().unwrap_or_default(), &found.name_any()))
        }
        Err(error) => {
            let status = api_status(&error);
            let message = status.map_or_else(|| with_causes(&error), |status| status.message.clone());
            WatchEvent::Failed { code: status.map(|status| status.code), message }
        }
    }
}

/// What the API server refused with, if it did.
fn api_status(error: &watcher::Error) -> Option<&Status> {
    match error {
        watcher::Error::InitialListFailed(kube::Error::Api(status))
        | watcher::Error::WatchStartFailed(kube::Error::Api(status))
        | watcher::Error::WatchError(status) => Some(status),
        _ => None,
    }
}

/// An error with its causes, of which the outermost one alone says little, and some repeat those that follow.
fn with_causes(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(error.source(), |error| error.source());
    causes.fold(error.to_string(), |text, cause| {
        let cause = cause.to_string();
        if text.contains(&cause) { text } else { format!("{text}: {cause}") }
    })
}

fn api<K>(client: &Client, namespace: Option<&str>) -> Api<K>
where
    K: Resource<DynamicType = (), Scope = k8s_openapi::NamespaceResourceScope>,
{
    match namespace {
        Some(namespace) => Api::namespaced(client.clone(), namespace),
        None => Api::all(client.clone()),
    }
}

/// Watches a kind for ever. Where the API server says that there is none it is listed anew: the library would go on
/// where it was, and if that was said in error nobody would tell again of what is there.
fn watch<K>(
    api: Api<K>,
    config: watcher::Config,
) -> impl futures::Stream<Item = watcher::Result<Event<K>>> + Send + 'static
where
    K: Resource + Clone + Debug + DeserializeOwned + Send + 'static,
{
    let begin = move || watcher::watcher(api.clone(), config.clone()).boxed();
    futures::stream::unfold((begin(), begin), |(mut watch, begin)| async move {
        let event = watch.next().await?;
        if event.as_ref().err().and_then(api_status).is_some_and(|status| status.code == 404) {
            watch = begin();
        }
        Some((event, (watch, begin)))
    })
}

fn watch_config() -> watcher::Config {
    watcher::Config::default().timeout(WATCH_SECONDS)
}

/// One of our kinds.
fn own_resource(kind: &str) -> ApiResource {
    ApiResource::from_gvk(&GroupVersionKind::gvk(api::GROUP, api::VERSION, kind))
}

fn trim_policy(found: DynamicObject) -> TrimmedObject {
    let name = Name::new(&found.namespace().unwrap_or_default(), &found.name_any());
    match spec(&found) {
        Ok(spec) => TrimmedObject::converted(
            object::RoutePolicy::from_parts(&found.metadata, spec),
            Object::RoutePolicy,
        ),
        Err(error) => TrimmedObject::Invalid(ObjectRef { kind: Kind::RoutePolicy, name }, error),
    }
}

fn trim_class_config(found: DynamicObject) -> TrimmedObject {
    let name = Name::new("", &found.name_any());
    match spec(&found) {
        Ok(spec) => {
            let parts = object::IngressClassConfig::from_parts(&found.metadata, spec);
            TrimmedObject::converted(parts, Object::IngressClassConfig)
        }
        Err(error) => TrimmedObject::Invalid(ObjectRef { kind: Kind::IngressClassConfig, name }, error),
    }
}

fn spec<T: DeserializeOwned>(found: &DynamicObject) -> Result<T, String> {
    let spec = found.data.get("spec").unwrap_or(&serde_json::Value::Null);
    T::deserialize(spec).map_err(|error| error.to_string())
}

/// Watches that asked for what the API server has forgotten: 410 Gone. The list that follows is no further try, so that
/// after an outage nobody waits twice; but only once in a while, should a server answer nothing else.
#[derive(Debug, Default)]
struct ExpiredWatches {
    last: Option<Instant>,
}

impl ExpiredWatches {
    /// Whether an event is such an answer, and is to be passed over.
    fn is_suppressed<T>(&mut self, event: &watcher::Result<T>) -> bool {
        let Err(watcher::Error::WatchError(status)) = event else { return false };
        if status.code != 410 {
            return false;
        }
        tracing::debug!(message = status.message, "watch expired");
        let now = Instant::now();
        let before = self.last.replace(now);
        before.is_none_or(|before| now.duration_since(before) > BACKOFF_RESET_AFTER)
    }
}

/// The waits between tries; they begin anew when nothing has failed for [`PEACE`].
///
/// Not by every success: the library counts the beginning of a list as one, before it has asked for anything.
#[derive(Debug)]
struct WatchBackoff {
    next: Duration,
    last_failure: Option<Instant>,
}

impl Default for WatchBackoff {
    fn default() -> Self {
        Self { next: INITIAL_BACKOFF, last_failure: None }
    }
}

impl Iterator for WatchBackoff {
    type Item = Duration;

    fn next(&mut self) -> Option<Duration> {
        let now = Instant::now();
        let before = self.last_failure.replace(now);
        if before.is_none_or(|before| now.duration_since(before) > BACKOFF_RESET_AFTER) {
            self.next = INITIAL_BACKOFF;
        }
        let wait = self.next;
        self.next = (wait * 2).min(MAX_BACKOFF);
        // Many gateways lose their API server at the same moment: a quarter of chance spreads them.
        let jitter = std::hash::BuildHasher::hash_one(&std::hash::RandomState::new(), 0) % 256;
        Some(wait + wait.mul_f64(f64::from(u32::try_from(jitter).unwrap_or(0)) / 1024.0))
    }
}

impl Backoff for WatchBackoff {
    fn reset(&mut self) {}
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn an_expired_watch_is_no_failure_unless_it_happens_again_and_again() {
        let gone = |code| {
            let status = Status { code, ..Status::default() };
            watcher::Result::<()>::Err(watcher::Error::WatchError(Box::new(status)))
        };
        let mut expired = ExpiredWatches::default();
        assert!(!expired.is_suppressed(&gone(500)));
        assert!(expired.is_suppressed(&gone(410)));
        assert!(!expired.is_suppressed(&gone(410)));
        tokio::time::advance(BACKOFF_RESET_AFTER * 2).await;
        assert!(expired.is_suppressed(&gone(410)));
        assert!(!expired.is_suppressed(&watcher::Result::Ok(())));
    }

    #[tokio::test(start_paused = true)]
    async fn waits_double_to_ten_seconds_and_begin_anew_after_a_time_of_peace() {
        let mut backoff = WatchBackoff::default();
        let mut fail = async |expected: u64, pause: Duration| {
            // A list begins.
            backoff.reset();
            let (wait, expected) = (backoff.next().unwrap(), Duration::from_millis(expected));
            assert!(wait >= expected && wait <= expected * 5 / 4, "{wait:?} instead of {expected:?}");
            tokio::time::advance(wait + pause).await;
        };
        for expected in [500, 1000, 2000, 4000, 8000, 10_000, 10_000] {
            fail(expected, Duration::ZERO).await;
        }
        fail(10_000, BACKOFF_RESET_AFTER).await;
        fail(500, Duration::ZERO).await;
        fail(1000, Duration::ZERO).await;
    }
}
