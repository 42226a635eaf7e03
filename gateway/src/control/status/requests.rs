//! The requests to the API: statuses, Events, conditions, and the list of nodes.

use std::time::Duration;

use k8s_openapi::api::core::v1::{Node, ObjectReference};
use k8s_openapi::api::events::v1::{Event, EventSeries};
use k8s_openapi::api::networking::v1::Ingress;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, MicroTime, ObjectMeta};
use k8s_openapi::jiff::Timestamp;
use kube::api::{ApiResource, DynamicObject, GroupVersionKind, ListParams, Patch, PatchParams, PostParams};
use kube::{Api, Client};
use routing::object::{Kind, ObjectRef, ResourceVersion};
use serde::Deserialize as _;
use serde_json::json;

use super::addresses::AddressList;
use super::conditions::{ObjectState, are_equal, conditions, has_effect};
use super::desired::StatusWrite;
use super::events::EventWrite;
use super::nodes;
use crate::control::source::identity::{FIELD_MANAGER, Uid};

/// Maximum duration of one request.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(10);

/// Namespace of the Events about cluster-scoped objects, as for client-go.
const CLUSTER_EVENT_NAMESPACE: &str = "default";

/// Maximum bytes of the note of an Event.
const MAX_NOTE_BYTES: usize = 1024;

/// `action` of all Events.
const ACTION: &str = "Publish";

/// Why a write failed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum WriteError {
    /// Another field manager owns the field. Holds the message of the API server.
    #[error("{0}")]
    Conflict(String),
    /// The object does not exist any more, or its namespace is being deleted.
    #[error("the object does not exist any more")]
    Missing,
    /// The gateway lacks the right. Holds the message of the API server.
    #[error("{0}")]
    Forbidden(String),
    /// The API server does not accept the content.
    #[error("{0}")]
    Invalid(String),
    /// The API server does not answer, or is overloaded.
    #[error("{0}")]
    Unavailable(String),
}

impl From<kube::Error> for WriteError {
    fn from(error: kube::Error) -> Self {
        let kube::Error::Api(status) = &error else { return Self::Unavailable(error.to_string()) };
        let message = status.message.clone();
        match status.code {
            403 if message.contains("because it is being terminated") => Self::Missing,
            403 => Self::Forbidden(message),
            404 => Self::Missing,
            409 => Self::Conflict(message),
            400 | 422 => Self::Invalid(message),
            _ => Self::Unavailable(message),
        }
    }
}

async fn within_timeout<T>(request: impl Future<Output = kube::Result<T>>) -> Result<T, WriteError> {
    match tokio::time::timeout(REQUEST_TIMEOUT, request).await {
        Ok(result) => Ok(result?),
        Err(elapsed) => Err(WriteError::Unavailable(elapsed.to_string())),
    }
}

/// Applies the addresses of an Ingress without force, so that the list of another manager stays. Returns the version of the
/// written object.
///
/// # Errors
/// Returns a [`WriteError`]; [`WriteError::Conflict`] if another manager owns the list.
pub(super) async fn apply_status(
    client: Client,
    write: &StatusWrite,
) -> Result<Option<ResourceVersion>, WriteError> {
    let api: Api<Ingress> = Api::namespaced(client, &write.name.namespace);
    let points: Vec<_> = write
        .addresses
        .iter()
        .map(|address| match address.parse::<std::net::IpAddr>() {
            Ok(_) => json!({ "ip": address }),
            Err(_) => json!({ "hostname": address }),
        })
        .collect();
    // A list that is left out is removed, if no other manager owns it.
    let status = if points.is_empty() { json!({}) } else { json!({ "loadBalancer": { "ingress": points } }) };
    let body = json!({
        "apiVersion": "networking.k8s.io/v1",
        "kind": "Ingress",
        "metadata": { "name": write.name.name },
        "status": status,
    });
    let params = PatchParams::apply(FIELD_MANAGER);
    let written = within_timeout(api.patch_status(&write.name.name, &params, &Patch::Apply(body))).await?;
    Ok(written.metadata.resource_version.and_then(|version| version.parse().ok()))
}

/// Creates an Event, or counts in it if it exists. `instance` is the name of this replica.
pub(super) async fn write_event(
    client: Client,
    write: &EventWrite,
    uid: Option<Uid>,
    instance: &str,
) -> Result<(), WriteError> {
    let regarding = &write.content.regarding;
    let namespace = match &*regarding.name.namespace {
        "" => CLUSTER_EVENT_NAMESPACE,
        namespace => namespace,
    };
    let api: Api<Event> = Api::namespaced(client, namespace);
    let event = event(write, uid, instance, namespace);
    match within_timeout(api.create(&PostParams::default(), &event)).await {
        Err(WriteError::Conflict(_)) => {}
        created => return created.map(drop),
    }
    // Events of version v1 have a count in their series only, from the second occurrence on.
    let series = EventSeries {
        count: i32::try_from(write.count).unwrap_or(i32::MAX).max(2),
        last_observed_time: MicroTime(Timestamp::now()),
    };
    let name = event.metadata.name.unwrap_or_default();
    let body = Patch::Merge(json!({ "series": series }));
    within_timeout(api.patch(&name, &PatchParams::default(), &body)).await.map(drop)
}

fn event(write: &EventWrite, uid: Option<Uid>, instance: &str, namespace: &str) -> Event {
    let content = &write.content;
    let object = &content.regarding;
    let mut note = content.note.clone();
    note.truncate(note.floor_char_boundary(MAX_NOTE_BYTES));
    Event {
        metadata: ObjectMeta {
            name: Some(content.name(uid)),
            namespace: Some(namespace.to_owned()),
            ..ObjectMeta::default()
        },
        event_time: Some(MicroTime(Timestamp::now())),
        action: Some(ACTION.to_owned()),
        reason: Some(content.reason.clone()),
        note: Some(note),
        type_: Some(content.event_type.as_str().to_owned()),
        regarding: Some(ObjectReference {
            api_version: Some(api_version(object.kind).to_owned()),
            kind: Some(object.kind.to_string()),
            namespace: (!object.name.namespace.is_empty()).then(|| object.name.namespace.to_string()),
            name: Some(object.name.name.to_string()),
            uid: uid.map(|uid| uid.to_string()),
            ..ObjectReference::default()
        }),
        reporting_controller: Some(api::CONTROLLER.to_owned()),
        reporting_instance: Some(instance.to_owned()),
        ..Event::default()
    }
}

fn api_version(kind: Kind) -> &'static str {
    match kind {
        Kind::ConfigMap | Kind::Namespace | Kind::Node | Kind::Secret | Kind::Service | Kind::File => "v1",
        Kind::EndpointSlice => "discovery.k8s.io/v1",
        Kind::Ingress | Kind::IngressClass => "networking.k8s.io/v1",
        Kind::IngressClassConfig | Kind::RoutePolicy | Kind::WasmPlugin => "wasm-gateway.dev/v1alpha1",
    }
}

/// Applies the conditions of an object of ours, if they differ from those that it has. The conditions of another manager are
/// replaced only if the object has an effect in this gateway.
pub(super) async fn apply_conditions(
    client: Client,
    manager: &str,
    object: &ObjectRef,
    state: &ObjectState,
) -> Result<(), WriteError> {
    let kind = object.kind.to_string();
    let resource = ApiResource::from_gvk(&GroupVersionKind::gvk(api::GROUP, api::VERSION, &kind));
    let api: Api<DynamicObject> = match &*object.name.namespace {
        "" => Api::all_with(client, &resource),
        namespace => Api::namespaced_with(client, namespace, &resource),
    };
    let found = within_timeout(api.get_status(&object.name.name)).await?;
    if found.metadata.generation.unwrap_or_default() != state.generation {
        // The watch reports the newer one, too.
        return Ok(());
    }
    let before = found.data.pointer("/status/conditions").map(Vec::<Condition>::deserialize);
    let before = before.and_then(Result::ok).unwrap_or_default();
    let after = conditions(state, &before, Timestamp::now());
    if are_equal(&before, &after) {
        return Ok(());
    }
    let body = json!({
        "apiVersion": resource.api_version,
        "kind": kind,
        "metadata": { "name": object.name.name },
        "status": { "conditions": after },
    });
    let params = PatchParams { force: has_effect(state), ..PatchParams::apply(manager) };
    within_timeout(api.patch_status(&object.name.name, &params, &Patch::Apply(body))).await.map(drop)
}

/// Returns the addresses of all ready nodes.
pub(super) async fn node_addresses(client: Client) -> Result<AddressList, WriteError> {
    let api: Api<Node> = Api::all(client);
    // The cache of the API server is good enough, and cheaper.
    let params = ListParams::default().match_any();
    let nodes = within_timeout(api.list(&params)).await?;
    Ok(nodes::addresses(&nodes.items))
}
