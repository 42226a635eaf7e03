//! Environment variables of the process.

use std::hash::{BuildHasher as _, RandomState};

/// Returns the variables whose name and value are UTF-8.
pub(crate) fn variables() -> impl Iterator<Item = (String, String)> {
    std::env::vars_os()
        .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
}

/// Returns the namespace of this pod (`POD_NAMESPACE`), or the default namespace of gateways.
pub(crate) fn own_namespace() -> String {
    let namespace = std::env::var("POD_NAMESPACE").ok().filter(|namespace| !namespace.is_empty());
    namespace.unwrap_or_else(|| routing::Config::default().namespace)
}

/// Returns a unique name of this replica: that of the pod (`POD_NAME`) or host, and a random part.
pub(crate) fn replica_name() -> String {
    let variable = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
    let host = variable("POD_NAME").or_else(|| variable("HOSTNAME")).unwrap_or_else(|| "gateway".to_owned());
    let random = RandomState::new().hash_one(std::process::id()) % (1 << 32);
    format!("{host}-{random:08x}")
}
