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
use routing::object::{self, Kind, Name, Object, ObjectRef, Unreadable};
use serde::de::DeserializeOwned;
use tokio::time::Instant;

use super::{Purpose, Scope, Wanted};

/// After so many seconds a watch is begun anew where it was. With the 5 s that the library adds, a stalled one is
/// noticed within 45 s.
const WATCH_SECONDS: u32 = 40;

/// Where a node says in which zone it is.
const ZONE_LABEL: &str = "topology.kubernetes.io/zone";

/// Waits between tries: from half a second, doubling, to 10 s and at most a quarter more. An API server that starts
/// anew also refuses everything for a moment, so two of the longest waits are to stay below 30 s.
pub(super) const FIRST_WAIT: Duration = Duration::from_millis(500);
pub(super) const LONGEST_WAIT: Duration = Duration::from_secs(10);

/// A try after so long without a failure is a first one. Longer than a wait and a list that is given up.
const PEACE: Duration = Duration::from_secs(90);

/// What a feed is, and whether the gateway can do without it.
#[derive(Clone, Debug)]
pub(super) struct Plan {
    pub(super) kind: Kind,
    /// Whose objects; empty: those of all namespaces, or of none.
    pub(super) namespace: String,
    pub(super) need: Need,
}

/// Whether the gateway serves without a feed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Need {
    /// Not at all.
    Always,
    /// Yes if the kind does not exist here: its CRD is not installed (yet).
    IfInstalled,
    /// Yes if it may not be read or does not exist.
    IfAllowed,
}

/// What happened on a feed.
#[derive(Debug)]
pub(super) enum Seen {
    /// A new list begins.
    Begin,
    /// The list holds this.
    Listed(Taken),
    /// The list is complete: what it did not hold is gone.
    Complete,
    /// This was added or changed.
    Applied(Taken),
    /// This is gone.
    Deleted(Name),
    /// It did not work, and is tried again.
    Failed { code: Option<u16>, message: String },
}

/// What is taken of an object.
#[derive(Debug)]
pub(super) enum Taken {
    /// All that routing reads, and what of it cannot be used.
    Object(Object, Vec<Unreadable>),
    /// One of our kinds whose spec cannot be read.
    Bad(ObjectRef, String),
    /// A Secret exists in this version; its bytes are read only if somebody names it.
    Secret(Name, String),
    /// A node is in this zone, if it says so.
    Node(Name, Option<String>),
}

impl Taken {
    fn converted<T>((value, unreadable): (T, Vec<Unreadable>), wrap: fn(T) -> Object) -> Self {
        Self::Object(wrap(value), unreadable)
    }
}

/// A feed by its place among the plans, and what happened on it.
pub(super) type Stream = BoxStream<'static, (usize, Seen)>;

/// What is needed of the kinds that not everybody may read.
#[derive(Clone, Copy)]
struct Needs {
    secrets: Need,
    classes: Need,
    configs: Need,
    policies: Need,
}

impl Needs {
    fn of(wanted: &Wanted) -> Self {
        match (wanted.purpose, &wanted.scope) {
            (Purpose::Explain, _) => Self {
                secrets: Need::IfAllowed,
                classes: Need::IfAllowed,
                configs: Need::IfAllowed,
                policies: Need::IfAllowed,
            },
            (Purpose::Serve, Scope::Cluster) => Self {
                secrets: Need::Always,
                classes: Need::Always,
                configs: Need::IfInstalled,
                policies: Need::IfInstalled,
            },
            // What has no namespace needs rights in the cluster.
            (Purpose::Serve, Scope::Namespaces(_)) => Self {
                secrets: Need::Always,
                classes: Need::IfAllowed,
                configs: Need::IfAllowed,
                policies: Need::IfInstalled,
            },
        }
    }
}

/// All feeds that are wanted.
pub(super) fn all(client: &Client, wanted: &Wanted) -> (Vec<Plan>, Vec<Stream>) {
    let needs = Needs::of(wanted);
    let mut feeds = Feeds { client, namespace: String::new(), needs, plans: Vec::new(), streams: Vec::new() };
    feeds.whole(Kind::IngressClass, needs.classes, |class: networking::IngressClass| {
        Taken::converted(object::IngressClass::from_kubernetes(&class), Object::IngressClass)
    });
    let configs = Api::all_with(client.clone(), &resource("IngressClassConfig"));
    feeds.dynamic(Kind::IngressClassConfig, (needs.configs, configs));
    feeds.metadata::<core::Namespace>(
        Kind::Namespace,
        (Need::IfAllowed, Api::all(client.clone())),
        |found| {
            let name = Name::new("", &found.name_any());
            let terminating = found.metadata.deletion_timestamp.is_some();
            Taken::Object(Object::Namespace(object::Namespace { name, terminating }), Vec::new())
        },
    );
    if let Some(node) = &wanted.node {
        feeds.node(node);
    }
    match &wanted.scope {
        Scope::Cluster => feeds.namespaced(None),
        Scope::Namespaces(namespaces) => {
            for namespace in namespaces {
                feeds.namespaced(Some(namespace));
            }
        }
    }
    (feeds.plans, feeds.streams)
}

struct Feeds<'a> {
    client: &'a Client,
    needs: Needs,
    /// The namespace of the feeds that are being made; empty: all, or none.
    namespace: String,
    plans: Vec<Plan>,
    streams: Vec<Stream>,
}

impl Feeds<'_> {
    /// The kinds that live in namespaces: of one namespace, or of all.
    fn namespaced(&mut self, namespace: Option<&str>) {
        self.namespace = namespace.unwrap_or_default().to_owned();
        self.some(namespace, Kind::Ingress, |ingress: networking::Ingress| {
            Taken::converted(object::Ingress::from_kubernetes(&ingress), Object::Ingress)
        });
        self.some(namespace, Kind::Service, |service: core::Service| {
            let (mut service, unreadable) = object::Service::from_kubernetes(&service);
            // The annotation is for folders of YAML: here it would let anybody name addresses to dial.
            service.fixed_endpoints = None;
            Taken::Object(Object::Service(service), unreadable)
        });
        self.some(namespace, Kind::EndpointSlice, |slice: EndpointSlice| {
            Taken::converted(object::EndpointSlice::from_kubernetes(&slice), Object::EndpointSlice)
        });
        let policies = resource("RoutePolicy");
        let policies = match namespace {
            Some(namespace) => Api::namespaced_with(self.client.clone(), namespace, &policies),
            None => Api::all_with(self.client.clone(), &policies),
        };
        self.dynamic(Kind::RoutePolicy, (self.needs.policies, policies));
        let secrets = api::<PartialObjectMeta<core::Secret>>(self.client, namespace);
        self.metadata(Kind::Secret, (self.needs.secrets, secrets), |secret| {
            let name = Name::new(&secret.namespace().unwrap_or_default(), &secret.name_any());
            Taken::Secret(name, secret.resource_version().unwrap_or_default())
        });
    }

    /// One node's metadata.
    fn node(&mut self, name: &str) {
        let api = Api::<PartialObjectMeta<core::Node>>::all(self.client.clone());
        let watched = watch(api, config().fields(&format!("metadata.name={name}")));
        self.push((Kind::Node, Need::IfAllowed), watched, |node| {
            let zone = node.metadata.labels.as_ref().and_then(|labels| labels.get(ZONE_LABEL));
            Taken::Node(Name::new("", &node.name_any()), zone.cloned())
        });
    }

    fn some<K>(&mut self, namespace: Option<&str>, kind: Kind, take: fn(K) -> Taken)
    where
        K: Resource<DynamicType = (), Scope = k8s_openapi::NamespaceResourceScope>,
        K: Clone + Debug + DeserializeOwned + Send + 'static,
    {
        let watched = watch(api::<K>(self.client, namespace), config());
        self.push((kind, Need::Always), watched, take);
    }

    fn whole<K>(&mut self, kind: Kind, need: Need, take: fn(K) -> Taken)
    where
        K: Resource<DynamicType = ()> + Clone + Debug + DeserializeOwned + Send + 'static,
    {
        let watched = watch(Api::<K>::all(self.client.clone()), config());
        self.push((kind, need), watched, take);
    }

    fn metadata<K>(
        &mut self,
        kind: Kind,
        (need, api): (Need, Api<PartialObjectMeta<K>>),
        take: fn(PartialObjectMeta<K>) -> Taken,
    ) where
        K: Resource<DynamicType = ()> + Clone + Debug + DeserializeOwned + Send + 'static,
    {
        self.push((kind, need), watch(api, config()), take);
    }

    fn dynamic(&mut self, kind: Kind, (need, api): (Need, Api<DynamicObject>)) {
        let take = match kind {
            Kind::RoutePolicy => policy,
            _ => class_config,
        };
        self.push((kind, need), watch(api, config()), take);
    }

    fn push<K, S>(&mut self, (kind, need): (Kind, Need), watched: S, take: fn(K) -> Taken)
    where
        K: kube::ResourceExt + Send + 'static,
        S: futures::Stream<Item = watcher::Result<Event<K>>> + Send + 'static,
    {
        let place = self.plans.len();
        self.plans.push(Plan { kind, namespace: self.namespace.clone(), need });
        let mut expired = Expired::default();
        let seen = watched
            .filter(move |event| std::future::ready(!expired.is_excused(event)))
            .backoff(Retry::default())
            .map(move |event| (place, seen(event, take)));
        self.streams.push(seen.boxed());
    }
}

fn seen<K: kube::ResourceExt>(event: watcher::Result<Event<K>>, take: fn(K) -> Taken) -> Seen {
    match event {
        Ok(Event::Init) => Seen::Begin,
        Ok(Event::InitApply(found)) => Seen::Listed(take(found)),
        Ok(Event::InitDone) => Seen::Complete,
        Ok(Event::Apply(found)) => Seen::Applied(take(found)),
        Ok(Event::Delete(found)) => {
            Seen::Deleted(Name::new(&found.namespace().unwrap_or_default(), &found.name_any()))
        }
        Err(error) => {
            let status = status(&error);
            let message = status.map_or_else(|| chain(&error), |status| status.message.clone());
            Seen::Failed { code: status.map(|status| status.code), message }
        }
    }
}

/// What the API server refused with, if it did.
fn status(error: &watcher::Error) -> Option<&Status> {
    match error {
        watcher::Error::InitialListFailed(kube::Error::Api(status))
        | watcher::Error::WatchStartFailed(kube::Error::Api(status))
        | watcher::Error::WatchError(status) => Some(status),
        _ => None,
    }
}

/// An error with its causes, of which the outermost one alone says little, and some repeat those that follow.
fn chain(error: &dyn std::error::Error) -> String {
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
        if event.as_ref().err().and_then(status).is_some_and(|status| status.code == 404) {
            watch = begin();
        }
        Some((event, (watch, begin)))
    })
}

fn config() -> watcher::Config {
    watcher::Config::default().timeout(WATCH_SECONDS)
}

/// One of our kinds.
fn resource(kind: &str) -> ApiResource {
    ApiResource::from_gvk(&GroupVersionKind::gvk(api::GROUP, api::VERSION, kind))
}

fn policy(found: DynamicObject) -> Taken {
    let name = Name::new(&found.namespace().unwrap_or_default(), &found.name_any());
    match spec(&found) {
        Ok(spec) => {
            Taken::converted(object::RoutePolicy::from_parts(&found.metadata, spec), Object::RoutePolicy)
        }
        Err(error) => Taken::Bad(ObjectRef { kind: Kind::RoutePolicy, name }, error),
    }
}

fn class_config(found: DynamicObject) -> Taken {
    let name = Name::new("", &found.name_any());
    match spec(&found) {
        Ok(spec) => {
            let parts = object::IngressClassConfig::from_parts(&found.metadata, spec);
            Taken::converted(parts, Object::IngressClassConfig)
        }
        Err(error) => Taken::Bad(ObjectRef { kind: Kind::IngressClassConfig, name }, error),
    }
}

fn spec<T: DeserializeOwned>(found: &DynamicObject) -> Result<T, String> {
    let spec = found.data.get("spec").unwrap_or(&serde_json::Value::Null);
    T::deserialize(spec).map_err(|error| error.to_string())
}

/// Watches that asked for what the API server has forgotten: 410 Gone. The list that follows is no further try, so that
/// after an outage nobody waits twice; but only once in a while, should a server answer nothing else.
#[derive(Debug, Default)]
struct Expired {
    last: Option<Instant>,
}

impl Expired {
    /// Whether an event is such an answer, and is to be passed over.
    fn is_excused<T>(&mut self, event: &watcher::Result<T>) -> bool {
        let Err(watcher::Error::WatchError(status)) = event else { return false };
        if status.code != 410 {
            return false;
        }
        tracing::debug!(message = status.message, "watch expired");
        let now = Instant::now();
        let before = self.last.replace(now);
        before.is_none_or(|before| now.duration_since(before) > PEACE)
    }
}

/// The waits between tries; they begin anew when nothing has failed for [`PEACE`].
///
/// Not by every success: the library counts the beginning of a list as one, before it has asked for anything.
#[derive(Debug)]
struct Retry {
    next: Duration,
    failed: Option<Instant>,
}

impl Default for Retry {
    fn default() -> Self {
        Self { next: FIRST_WAIT, failed: None }
    }
}

impl Iterator for Retry {
    type Item = Duration;

    fn next(&mut self) -> Option<Duration> {
        let now = Instant::now();
        let before = self.failed.replace(now);
        if before.is_none_or(|before| now.duration_since(before) > PEACE) {
            self.next = FIRST_WAIT;
        }
        let wait = self.next;
        self.next = (wait * 2).min(LONGEST_WAIT);
        // Many gateways lose their API server at the same moment: a quarter of chance spreads them.
        let chance = std::hash::BuildHasher::hash_one(&std::hash::RandomState::new(), 0) % 256;
        Some(wait + wait.mul_f64(f64::from(u32::try_from(chance).unwrap_or(0)) / 1024.0))
    }
}

impl Backoff for Retry {
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
        let mut expired = Expired::default();
        assert!(!expired.is_excused(&gone(500)));
        assert!(expired.is_excused(&gone(410)));
        assert!(!expired.is_excused(&gone(410)));
        tokio::time::advance(PEACE * 2).await;
        assert!(expired.is_excused(&gone(410)));
        assert!(!expired.is_excused(&watcher::Result::Ok(())));
    }

    #[tokio::test(start_paused = true)]
    async fn waits_double_to_ten_seconds_and_begin_anew_after_a_time_of_peace() {
        let mut retry = Retry::default();
        let mut fail = async |expected: u64, pause: Duration| {
            // A list begins.
            retry.reset();
            let (wait, expected) = (retry.next().unwrap(), Duration::from_millis(expected));
            assert!(wait >= expected && wait <= expected * 5 / 4, "{wait:?} instead of {expected:?}");
            tokio::time::advance(wait + pause).await;
        };
        for expected in [500, 1000, 2000, 4000, 8000, 10_000, 10_000] {
            fail(expected, Duration::ZERO).await;
        }
        fail(10_000, PEACE).await;
        fail(500, Duration::ZERO).await;
        fail(1000, Duration::ZERO).await;
    }
}
