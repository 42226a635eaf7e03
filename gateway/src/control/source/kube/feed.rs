//! The feeds of a cluster: one per kind, and one per namespace if the scope lists namespaces.
//!
//! Objects are trimmed as they arrive. Not here: restarts of a watch (`watch`), and what events mean
//! (`cluster_state`).

use std::fmt::Debug;

use futures::StreamExt as _;
use futures::stream::BoxStream;
use k8s_openapi::api::core::v1 as core;
use k8s_openapi::api::discovery::v1 as discovery;
use k8s_openapi::api::networking::v1 as networking;
use kube::api::{ApiResource, DynamicObject, GroupVersionKind};
use kube::core::PartialObjectMeta;
use kube::{Api, Client, Resource, ResourceExt as _};
use routing::object::{
    ENDPOINTS_ANNOTATION, EndpointSlice, FieldError, Ingress, IngressClass, IngressClassConfig, Kind, Name,
    Namespace, Object, ObjectRef, PluginSpec, RoutePolicy, Service, WasmPlugin,
};
use serde::de::{Deserialize as _, DeserializeOwned};

use super::event::{FeedSpec, Requirement, TrimmedObject, WatchEvent};
use super::spec::{Purpose, WatchScope, WatchSpec};
use super::watch::{self, WatchConfig};
use crate::control::source::identity::Identity;

/// The label of a Node that names its zone.
const ZONE_LABEL: &str = "topology.kubernetes.io/zone";

/// The events of one feed, each with the index of its [`FeedSpec`].
pub(super) type FeedStream = BoxStream<'static, (usize, WatchEvent)>;

/// All feeds of a cluster.
pub(super) struct Feeds {
    pub(super) specs: Vec<FeedSpec>,
    /// In the order of `specs`.
    pub(super) streams: Vec<FeedStream>,
}

/// Returns all feeds that a spec needs. Requests start when a stream is polled.
pub(super) fn feeds(client: &Client, spec: &WatchSpec) -> Feeds {
    let mut builder = FeedBuilder {
        client,
        requirements: Requirements::for_spec(spec),
        namespace: None,
        feeds: Feeds { specs: Vec::new(), streams: Vec::new() },
    };
    builder.add_cluster_kinds();
    if let Some(node) = &spec.node {
        builder.add_node(node);
    }
    match &spec.scope {
        WatchScope::Cluster => builder.add_namespaced_kinds(),
        WatchScope::Namespaces(namespaces) => {
            for namespace in namespaces {
                builder.namespace = Some(namespace);
                builder.add_namespaced_kinds();
            }
        }
    }
    builder.feeds
}

/// The requirements of the kinds that a reader may lack the rights for.
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
            // Cluster-scoped kinds need a ClusterRole, which a gateway of some namespaces may lack.
            (Purpose::Serve, WatchScope::Namespaces(_)) => Self {
                secrets: Requirement::Required,
                classes: Requirement::IfAllowed,
                configs: Requirement::IfAllowed,
                policies: Requirement::IfInstalled,
            },
        }
    }
}

struct FeedBuilder<'a> {
    client: &'a Client,
    requirements: Requirements,
    /// The namespace of the feeds that are added; `None` for all namespaces and for cluster-scoped kinds.
    namespace: Option<&'a str>,
    feeds: Feeds,
}

impl FeedBuilder<'_> {
    fn add_cluster_kinds(&mut self) {
        let classes = self.spec(Kind::IngressClass, self.requirements.classes);
        self.add(classes, self.all(), |class: networking::IngressClass| {
            TrimmedObject::converted(IngressClass::from_kubernetes(&class), Object::IngressClass)
                .with_identity(Identity::new(&class.metadata))
        });
        let configs = self.spec(Kind::IngressClassConfig, self.requirements.configs);
        let api = Api::all_with(self.client.clone(), &own_resource("IngressClassConfig"));
        self.add(configs, api, trim_class_config);
        let namespaces = self.spec(Kind::Namespace, Requirement::IfAllowed);
        self.add(namespaces, self.all(), |namespace: PartialObjectMeta<core::Namespace>| {
            let name = Name::new("", &namespace.name_any());
            let terminating = namespace.metadata.deletion_timestamp.is_some();
            let object = Object::Namespace(Namespace { name, terminating });
            TrimmedObject::Object { object, field_errors: Vec::new(), identity: None }
        });
    }

    /// Adds the metadata of one Node.
    fn add_node(&mut self, name: &str) {
        let config = watch::config().fields(&format!("metadata.name={name}"));
        let trim = |node: PartialObjectMeta<core::Node>| {
            let zone = node.metadata.labels.as_ref().and_then(|labels| labels.get(ZONE_LABEL));
            TrimmedObject::Node { name: Name::new("", &node.name_any()), zone: zone.cloned() }
        };
        self.add_with(self.spec(Kind::Node, Requirement::IfAllowed), self.all(), config, trim);
    }

    /// Adds the namespaced kinds of the current namespace, or of all namespaces.
    fn add_namespaced_kinds(&mut self) {
        let required = |kind| self.spec(kind, Requirement::Required);
        let (ingresses, services) = (required(Kind::Ingress), required(Kind::Service));
        let slices = required(Kind::EndpointSlice);
        self.add(ingresses, self.namespaced(), |ingress: networking::Ingress| {
            TrimmedObject::converted(Ingress::from_kubernetes(&ingress), Object::Ingress)
                .with_identity(Identity::of_ingress(&ingress))
        });
        self.add(services, self.namespaced(), |service: core::Service| {
            let identity = Some(Identity::new(&service.metadata));
            let (mut service, mut field_errors) = Service::from_kubernetes(&service);
            // The annotation is for folders of YAML. In a cluster it would let every author of a Service choose
            // addresses that the gateway connects to.
            if service.fixed_endpoints.take().is_some() {
                field_errors.push(FieldError {
                    field: format!("metadata.annotations[{ENDPOINTS_ANNOTATION}]"),
                    message:
                        "it has an effect only with --files; in a cluster EndpointSlices name the endpoints"
                            .to_owned(),
                });
            }
            TrimmedObject::Object { object: Object::Service(service), field_errors, identity }
        });
        self.add(slices, self.namespaced(), |slice: discovery::EndpointSlice| {
            TrimmedObject::converted(EndpointSlice::from_kubernetes(&slice), Object::EndpointSlice)
        });
        let policies = self.spec(Kind::RoutePolicy, self.requirements.policies);
        self.add(policies, self.own("RoutePolicy"), trim_policy);
        let plugins = self.spec(Kind::WasmPlugin, self.requirements.policies);
        self.add(plugins, self.own("WasmPlugin"), trim_plugin);
        let secrets = self.spec(Kind::Secret, self.requirements.secrets);
        self.add(secrets, self.namespaced(), |secret: PartialObjectMeta<core::Secret>| {
            TrimmedObject::Secret {
                name: Name::new(&secret.namespace().unwrap_or_default(), &secret.name_any()),
                version: secret.resource_version().unwrap_or_default(),
            }
        });
    }

    fn spec(&self, kind: Kind, requirement: Requirement) -> FeedSpec {
        FeedSpec { kind, namespace: self.namespace.unwrap_or_default().to_owned(), requirement }
    }

    fn all<K: Resource<DynamicType = ()>>(&self) -> Api<K> {
        Api::all(self.client.clone())
    }

    fn namespaced<K>(&self) -> Api<K>
    where
        K: Resource<DynamicType = (), Scope = k8s_openapi::NamespaceResourceScope>,
    {
        match self.namespace {
            Some(namespace) => Api::namespaced(self.client.clone(), namespace),
            None => Api::all(self.client.clone()),
        }
    }

    /// Returns the API of a namespaced kind of ours.
    fn own(&self, kind: &str) -> Api<DynamicObject> {
        let resource = own_resource(kind);
        match self.namespace {
            Some(namespace) => Api::namespaced_with(self.client.clone(), namespace, &resource),
            None => Api::all_with(self.client.clone(), &resource),
        }
    }

    fn add<K>(&mut self, spec: FeedSpec, api: Api<K>, trim: fn(K) -> TrimmedObject)
    where
        K: Resource + Clone + Debug + DeserializeOwned + Send + 'static,
    {
        self.add_with(spec, api, watch::config(), trim);
    }

    fn add_with<K>(&mut self, spec: FeedSpec, api: Api<K>, config: WatchConfig, trim: fn(K) -> TrimmedObject)
    where
        K: Resource + Clone + Debug + DeserializeOwned + Send + 'static,
    {
        let index = self.feeds.specs.len();
        self.feeds.specs.push(spec);
        let events = watch::events(api, config, trim).map(move |event| (index, event));
        self.feeds.streams.push(events.boxed());
    }
}

// ===== our own kinds =====

fn own_resource(kind: &str) -> ApiResource {
    ApiResource::from_gvk(&GroupVersionKind::gvk(api::GROUP, api::VERSION, kind))
}

fn trim_policy(object: DynamicObject) -> TrimmedObject {
    let name = Name::new(&object.namespace().unwrap_or_default(), &object.name_any());
    match parse_spec(&object) {
        Ok(spec) => {
            TrimmedObject::converted(RoutePolicy::from_parts(&object.metadata, spec), Object::RoutePolicy)
                .with_identity(Identity::new(&object.metadata))
        }
        Err(error) => invalid(ObjectRef { kind: Kind::RoutePolicy, name }, &object, &error),
    }
}

fn trim_plugin(object: DynamicObject) -> TrimmedObject {
    let name = Name::new(&object.namespace().unwrap_or_default(), &object.name_any());
    let convert = |spec| {
        TrimmedObject::converted(WasmPlugin::from_parts(&object.metadata, spec, None), Object::WasmPlugin)
            .with_identity(Identity::new(&object.metadata))
    };
    match parse_spec(&object) {
        Ok(spec) => convert(PluginSpec::Valid(Box::new(spec))),
        Err(error) => {
            let target_refs = object.data.pointer("/spec/targetRefs");
            let target_refs = target_refs.and_then(|list| Option::deserialize(list).ok()).flatten();
            TrimmedObject::InvalidPlugin {
                reference: ObjectRef { kind: Kind::WasmPlugin, name: name.clone() },
                message: error.to_string(),
                closed: Box::new(WasmPlugin {
                    name,
                    folder: None,
                    spec: PluginSpec::Malformed { target_refs },
                }),
                identity: Identity::new(&object.metadata),
            }
        }
    }
}

fn trim_class_config(object: DynamicObject) -> TrimmedObject {
    let name = Name::new("", &object.name_any());
    match parse_spec(&object) {
        Ok(spec) => {
            let parts = IngressClassConfig::from_parts(&object.metadata, spec, None);
            TrimmedObject::converted(parts, Object::IngressClassConfig)
                .with_identity(Identity::new(&object.metadata))
        }
        Err(error) => invalid(ObjectRef { kind: Kind::IngressClassConfig, name }, &object, &error),
    }
}

fn parse_spec<T: DeserializeOwned>(object: &DynamicObject) -> serde_json::Result<T> {
    T::deserialize(object.data.get("spec").unwrap_or(&serde_json::Value::Null))
}

fn invalid(reference: ObjectRef, object: &DynamicObject, error: &serde_json::Error) -> TrimmedObject {
    let identity = Identity::new(&object.metadata);
    TrimmedObject::Invalid { reference, message: error.to_string(), identity }
}
