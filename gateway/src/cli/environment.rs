//! Environment variables of the process.

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
