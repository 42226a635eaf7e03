//! The events of ConfigMaps, and the references to them.

use std::collections::BTreeSet;

use routing::object::{Change, Kind, Name, Object, ObjectRef, PluginSpec};
use routing::problem::{Problem, Reason};
use tokio::time::Instant;

use super::ClusterState;
use crate::control::source::kube::event::{TrimmedObject, WatchEvent, WatchFailure};

impl ClusterState {
    /// Returns the ConfigMaps that must be watched.
    pub(in super::super) fn config_maps(&self) -> BTreeSet<&Name> {
        self.config_map_tracker.names()
    }

    /// Returns true if the ConfigMaps that must be watched may have changed since the last call.
    pub(in super::super) fn take_config_maps_changed(&mut self) -> bool {
        std::mem::take(&mut self.have_config_maps_changed)
    }

    /// Handles an event of the watch of one ConfigMap.
    pub(in super::super) fn handle_config_map(&mut self, name: Name, event: WatchEvent, now: Instant) {
        // The last event of a watch that has ended may be late.
        if !self.config_map_tracker.is_tracked(&name) {
            return;
        }
        let reference = ObjectRef { kind: Kind::ConfigMap, name: name.clone() };
        match event {
            WatchEvent::ListStarted => self.config_map_tracker.start_list(&name),
            WatchEvent::Listed(object) => {
                self.config_map_tracker.add_listed(&name);
                self.set_config_map(reference, Some(object));
            }
            WatchEvent::ListCompleted if self.config_map_tracker.is_listed(&name) => {}
            WatchEvent::ListCompleted => self.set_config_map(reference, None),
            WatchEvent::Applied(object) => self.set_config_map(reference, Some(object)),
            WatchEvent::Deleted(_) => self.set_config_map(reference, None),
            // The feeds of other kinds report it.
            WatchEvent::VersionsWentBack { .. } => {}
            WatchEvent::Failed(failure) => self.fail_config_map(reference, failure),
        }
        self.release_ready(now);
    }

    fn set_config_map(&mut self, reference: ObjectRef, object: Option<TrimmedObject>) {
        let change = match object {
            Some(TrimmedObject::Object { object, .. }) => Change::Apply(object),
            _ => Change::Delete(reference.clone()),
        };
        self.config_map_tracker.resolve(&reference.name);
        self.set_problems(reference.clone(), Vec::new());
        self.pending.objects.insert(reference, change);
    }

    /// Keeps the last known content. Reports a Problem if the gateway may not read the ConfigMap.
    fn fail_config_map(&mut self, reference: ObjectRef, failure: WatchFailure) {
        let WatchFailure { code, message } = failure;
        tracing::debug!(object = %reference, code, message, "watch failed");
        if code == Some(403) {
            self.config_map_tracker.resolve(&reference.name);
            let problem = Problem {
                object: reference.clone(),
                field: String::new(),
                reason: Reason::NotPermitted,
                message: format!("the gateway may not read this ConfigMap: {message}"),
            };
            self.set_problems(reference, vec![problem]);
        }
    }

    /// Records the ConfigMap of a plugin or a class handler. Returns the one that lost its last reference.
    pub(super) fn apply_to_config_maps(&mut self, object: &Object) -> Option<Name> {
        if let Object::WasmPlugin(plugin) = object {
            self.have_config_maps_changed = true;
            if let PluginSpec::Valid(_) = plugin.spec {
                self.valid_plugins.insert(plugin.name.clone());
            }
        }
        if let Object::IngressClassConfig(_) = object {
            self.have_config_maps_changed = true;
        }
        self.config_map_tracker.apply(object)
    }

    /// Records that an object was deleted. Returns the ConfigMap that lost its last reference.
    pub(super) fn remove_from_config_maps(&mut self, reference: &ObjectRef) -> Option<Name> {
        if reference.kind == Kind::IngressClassConfig {
            self.have_config_maps_changed = true;
        }
        if reference.kind == Kind::WasmPlugin {
            self.have_config_maps_changed = true;
            self.valid_plugins.remove(&reference.name);
        }
        self.config_map_tracker.remove(reference)
    }

    /// Removes ConfigMaps without references.
    pub(super) fn remove_unreferenced_maps(&mut self, orphans: Vec<Name>) {
        for name in orphans {
            // An orphan of a held plugin may have got a new reference since.
            if !self.config_map_tracker.is_tracked(&name) {
                let reference = ObjectRef { kind: Kind::ConfigMap, name };
                self.set_problems(reference.clone(), Vec::new());
                self.pending.objects.insert(reference.clone(), Change::Delete(reference));
            }
        }
    }
}
