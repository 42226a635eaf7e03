//! The ConfigMaps that WasmPlugins and class handlers load modules from: which are referenced, and which were read. Pure.
//!
//! Not here: their watches (`config_map_watcher`), and the modules (`routing`, `control::plugin`).

use std::collections::{BTreeMap, BTreeSet};

use routing::object::{Name, Object, ObjectRef, PluginSpec};

/// All ConfigMaps with at least one reference.
#[derive(Default)]
pub(super) struct ConfigMapTracker {
    /// The gateway's own namespace, in which ConfigMaps of class handlers are.
    namespace: String,
    /// The ConfigMap of each WasmPlugin and IngressClassConfig.
    by_plugin: BTreeMap<ObjectRef, Name>,
    tracked: BTreeMap<Name, TrackedConfigMap>,
}

#[derive(Default)]
struct TrackedConfigMap {
    ref_count: usize,
    /// Whether it was read, is known to be missing, or may not be read.
    is_resolved: bool,
    /// Whether the list in progress, or the last one, contains it.
    is_listed: bool,
}

impl ConfigMapTracker {
    /// Creates a tracker without references. `namespace` is the gateway's own.
    pub(super) fn new(namespace: &str) -> Self {
        Self { namespace: namespace.to_owned(), ..Self::default() }
    }

    /// Returns the namespace and the URL of the module that an object loads. Returns `None` for other kinds.
    fn module<'a>(&'a self, object: &'a Object) -> Option<(&'a str, &'a str)> {
        match object {
            Object::WasmPlugin(plugin) => {
                let url = match &plugin.spec {
                    PluginSpec::Valid(spec) => spec.url.as_str(),
                    PluginSpec::Malformed { .. } => "",
                };
                Some((&plugin.name.namespace, url))
            }
            Object::IngressClassConfig(config) => {
                let handler = config.spec.handler.as_ref();
                Some((&self.namespace, handler.map(|handler| handler.url.as_str()).unwrap_or_default()))
            }
            _ => None,
        }
    }

    /// Records the present version of an object. Returns the ConfigMap that lost its last reference.
    pub(super) fn apply(&mut self, object: &Object) -> Option<Name> {
        let (namespace, url) = self.module(object)?;
        let parts = url.strip_prefix("configmap://").and_then(|path| path.split_once('/'));
        // The compiler refuses other forms. They cause no watch.
        let is_name = |(name, key): &(&str, &str)| !name.is_empty() && !key.is_empty() && !key.contains('/');
        let map = parts.filter(is_name).map(|(name, _)| Name::new(namespace, name));
        let reference = object.reference();
        if self.by_plugin.get(&reference) == map.as_ref() {
            return None;
        }
        if let Some(map) = &map {
            self.tracked.entry(map.clone()).or_default().ref_count += 1;
        }
        let orphan = self.remove(&reference);
        if let Some(map) = map {
            self.by_plugin.insert(reference, map);
        }
        orphan
    }

    /// Records that an object was deleted. Returns the ConfigMap that lost its last reference.
    pub(super) fn remove(&mut self, reference: &ObjectRef) -> Option<Name> {
        let map = self.by_plugin.remove(reference)?;
        let tracked = self.tracked.get_mut(&map)?;
        tracked.ref_count -= 1;
        if tracked.ref_count > 0 {
            return None;
        }
        self.tracked.remove(&map);
        Some(map)
    }

    /// Returns all referenced ConfigMaps. Each needs a watch.
    pub(super) fn names(&self) -> BTreeSet<&Name> {
        self.tracked.keys().collect()
    }

    /// Returns true if the ConfigMap has a reference.
    pub(super) fn is_tracked(&self, name: &Name) -> bool {
        self.tracked.contains_key(name)
    }

    /// Records that the watch of a ConfigMap lists it again.
    pub(super) fn start_list(&mut self, name: &Name) {
        self.set_listed(name, false);
    }

    /// Records that the list contains the ConfigMap.
    pub(super) fn add_listed(&mut self, name: &Name) {
        self.set_listed(name, true);
    }

    fn set_listed(&mut self, name: &Name, is_listed: bool) {
        if let Some(tracked) = self.tracked.get_mut(name) {
            tracked.is_listed = is_listed;
        }
    }

    /// Returns true if the last list contains the ConfigMap.
    pub(super) fn is_listed(&self, name: &Name) -> bool {
        self.tracked.get(name).is_some_and(|tracked| tracked.is_listed)
    }

    /// Records that a ConfigMap was read, is missing, or may not be read.
    pub(super) fn resolve(&mut self, name: &Name) {
        if let Some(tracked) = self.tracked.get_mut(name) {
            tracked.is_resolved = true;
        }
    }

    /// Returns true if an object refers to a ConfigMap that was not read yet.
    pub(super) fn is_waiting(&self, reference: &ObjectRef) -> bool {
        let map = self.by_plugin.get(reference).and_then(|map| self.tracked.get(map));
        map.is_some_and(|map| !map.is_resolved)
    }

    /// Returns true while a ConfigMap waits for its first read.
    pub(super) fn has_pending_reads(&self) -> bool {
        self.tracked.values().any(|map| !map.is_resolved)
    }
}
