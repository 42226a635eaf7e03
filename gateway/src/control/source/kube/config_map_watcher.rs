//! Watches the ConfigMaps that WasmPlugins refer to: one watch each, by name. Others are never listed.

use std::collections::{BTreeMap, BTreeSet};

use futures::StreamExt as _;
use futures::stream::{self, AbortHandle, BoxStream, SelectAll};
use k8s_openapi::api::core::v1 as core;
use kube::{Api, Client};
use routing::object::{ConfigMap, Name, Object};

use super::event::{TrimmedObject, WatchEvent};
use super::watch;

/// An event of the watch of one ConfigMap.
pub(super) type ConfigMapEvent = (Name, WatchEvent);

/// The watches of ConfigMaps.
pub(super) struct ConfigMapWatcher {
    client: Client,
    events: SelectAll<BoxStream<'static, ConfigMapEvent>>,
    handles: BTreeMap<Name, AbortHandle>,
}

impl ConfigMapWatcher {
    /// Returns a watcher without watches.
    pub(super) fn new(client: Client) -> Self {
        Self { client, events: SelectAll::new(), handles: BTreeMap::new() }
    }

    /// Starts and ends watches, so that exactly these ConfigMaps are watched.
    pub(super) fn set(&mut self, names: &BTreeSet<&Name>) {
        self.handles.retain(|name, handle| {
            let is_kept = names.contains(name);
            if !is_kept {
                handle.abort();
            }
            is_kept
        });
        for name in names {
            if !self.handles.contains_key(*name) {
                self.start(Name::clone(name));
            }
        }
    }

    fn start(&mut self, name: Name) {
        let api = Api::<core::ConfigMap>::namespaced(self.client.clone(), &name.namespace);
        let config = watch::config().fields(&format!("metadata.name={}", name.name));
        let events = watch::events(api, config, |map| {
            TrimmedObject::converted(ConfigMap::from_kubernetes(map), Object::ConfigMap)
        });
        let owner = name.clone();
        let (events, handle) = stream::abortable(events.map(move |event| (owner.clone(), event)));
        self.events.push(events.boxed());
        self.handles.insert(name, handle);
    }

    /// Returns the next event; `None` if there is no watch.
    ///
    /// # Cancellation
    /// Safe: no event is lost.
    pub(super) async fn next(&mut self) -> Option<ConfigMapEvent> {
        self.events.next().await
    }
}
