//! The URL of a plugin's module.
//!
//! Not here: reading modules (the control plane), and ConfigMaps (`plugin_index`).

use std::path::Component;
use std::path::Path;
use std::sync::Arc;

use super::config::Config;
use crate::object::Name;
use crate::object::WasmPlugin;
use crate::problem::Reason;
use crate::table::PluginSource;

/// Why a module may not be loaded.
#[derive(Debug)]
pub(super) struct SourceFault {
    pub(super) reason: Reason,
    pub(super) message: String,
}

impl SourceFault {
    fn new(reason: Reason, message: impl Into<String>) -> Self {
        Self { reason, message: message.into() }
    }
}

/// Parses the URL of a plugin's or a class handler's module. The bytes of a ConfigMap are absent. A class handler has the
/// gateway's own namespace.
pub(super) fn parse(plugin: &WasmPlugin, url: &str, config: &Config) -> Result<PluginSource, SourceFault> {
    if let Some(path) = url.strip_prefix("file://") {
        return file(plugin, path, config);
    }
    if let Some(path) = url.strip_prefix("configmap://") {
        return config_map(plugin, path);
    }
    let text = url.escape_debug();
    if url.starts_with("oci://") || url.starts_with("https://") || url.starts_with("http://") {
        let message = format!("\"{text}\" is not supported yet: use file:// or configmap://");
        return Err(SourceFault::new(Reason::Unsupported, message));
    }
    let message = format!("\"{text}\" is not a URL of a module: write file://NAME or configmap://NAME/KEY");
    Err(SourceFault::new(Reason::InvalidValue, message))
}

fn file(plugin: &WasmPlugin, path: &str, config: &Config) -> Result<PluginSource, SourceFault> {
    let is_below = |component| matches!(component, Component::Normal(_));
    if path.is_empty() || path.contains('\0') || !Path::new(path).components().all(is_below) {
        let message = format!(
            "\"{}\" is not a path below the folder of plugins: write file://NAME, without .. or a leading slash",
            path.escape_debug()
        );
        return Err(SourceFault::new(Reason::InvalidValue, message));
    }
    if let Some(folder) = &plugin.folder {
        return Ok(PluginSource::File { path: folder.join(path), folder: Arc::clone(folder) });
    }
    // All namespaces of a cluster share the gateway's folder.
    if *plugin.name.namespace != *config.namespace {
        let message = format!(
            "only plugins in namespace {} may use file://; use configmap://NAME/KEY",
            config.namespace
        );
        return Err(SourceFault::new(Reason::NotPermitted, message));
    }
    let Some(folder) = &config.plugin_folder else {
        let message = "the gateway has no folder of plugins: start it with --plugin-dir, or use \
                       configmap://NAME/KEY";
        return Err(SourceFault::new(Reason::Unsupported, message));
    };
    let folder: Arc<Path> = Path::new(folder).into();
    Ok(PluginSource::File { path: folder.join(path), folder })
}

fn config_map(plugin: &WasmPlugin, path: &str) -> Result<PluginSource, SourceFault> {
    let parts: Vec<&str> = path.split('/').collect();
    match parts.as_slice() {
        [name, key] if !name.is_empty() && !key.is_empty() => {
            let name = Name { namespace: Arc::clone(&plugin.name.namespace), name: (*name).into() };
            Ok(PluginSource::ConfigMap { name, key: (*key).into(), bytes: None })
        }
        [_, _, _] => {
            let message = "a plugin loads ConfigMaps of its own namespace only: write configmap://NAME/KEY";
            Err(SourceFault::new(Reason::NotPermitted, message))
        }
        _ => {
            let message = format!("\"{}\" is not NAME/KEY of a ConfigMap", path.escape_debug());
            Err(SourceFault::new(Reason::InvalidValue, message))
        }
    }
}

/// Parses a SHA-256 in hexadecimal digits.
pub(super) fn sha256(text: &str) -> Option<[u8; 32]> {
    let mut digest = [0; 32];
    if text.len() != 2 * digest.len() || !text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return None;
    }
    for (index, byte) in digest.iter_mut().enumerate() {
        *byte = u8::from_str_radix(text.get(2 * index..2 * index + 2)?, 16).ok()?;
    }
    Some(digest)
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::*;

    struct Case {
        url: &'static str,
        /// Whether the plugin is in a file.
        in_file: bool,
        namespace: &'static str,
        expected: Result<&'static str, Reason>,
    }

    fn case(url: &'static str, expected: Result<&'static str, Reason>) -> Case {
        Case { url, in_file: true, namespace: "shop", expected }
    }

    fn in_cluster(namespace: &'static str, expected: Result<&'static str, Reason>) -> Case {
        Case { url: "file://a.wasm", in_file: false, namespace, expected }
    }

    #[test]
    fn urls_are_parsed_or_refused_with_a_reason() {
        let config = Config { plugin_folder: Some("/plugins".to_owned()), ..Config::default() };
        for Case { url, in_file, namespace, expected } in [
            case("file://a.wasm", Ok("/yaml/a.wasm")),
            case("file://sub/a.wasm", Ok("/yaml/sub/a.wasm")),
            case("file:///etc/passwd", Err(Reason::InvalidValue)),
            case("file://../a.wasm", Err(Reason::InvalidValue)),
            case("file://sub/../../a.wasm", Err(Reason::InvalidValue)),
            case("file://./a.wasm", Err(Reason::InvalidValue)),
            case("file://", Err(Reason::InvalidValue)),
            case("file://a\0b", Err(Reason::InvalidValue)),
            case("configmap://modules/a.wasm", Ok("shop/modules a.wasm")),
            case("configmap://other/modules/a.wasm", Err(Reason::NotPermitted)),
            case("configmap://modules", Err(Reason::InvalidValue)),
            case("configmap:///a", Err(Reason::InvalidValue)),
            case("oci://ghcr.io/a/b:1", Err(Reason::Unsupported)),
            case("https://a.example/b.wasm", Err(Reason::Unsupported)),
            case("a.wasm", Err(Reason::InvalidValue)),
            in_cluster("gateway-system", Ok("/plugins/a.wasm")),
            in_cluster("shop", Err(Reason::NotPermitted)),
        ] {
            let folder = in_file.then(|| Path::new("/yaml").into());
            let plugin = WasmPlugin { name: Name::new(namespace, "p"), folder, ..WasmPlugin::default() };
            let found = match parse(&plugin, url, &config) {
                Ok(PluginSource::File { path, .. }) => Ok(path),
                Ok(PluginSource::ConfigMap { name, key, .. }) => Ok(PathBuf::from(format!("{name} {key}"))),
                Ok(PluginSource::Refused(reason)) => panic!("{reason}"),
                Err(fault) => Err(fault.reason),
            };
            assert_eq!(found, expected.map(PathBuf::from), "{url}");
        }
    }

    #[test]
    fn file_in_a_cluster_without_a_folder_names_the_flag() {
        let plugin = WasmPlugin { name: Name::new("gateway-system", "p"), ..WasmPlugin::default() };
        let fault = parse(&plugin, "file://a.wasm", &Config::default()).unwrap_err();
        assert_eq!(fault.reason, Reason::Unsupported);
        assert!(fault.message.contains("--plugin-dir"), "{}", fault.message);
    }

    #[test]
    fn digest_needs_64_digits() {
        assert_eq!(sha256(&"0aF1".repeat(16)).unwrap()[..2], [0x0a, 0xf1]);
        for text in ["", "0a", &"0a".repeat(33), &"0g".repeat(32), &"é".repeat(32)] {
            assert_eq!(sha256(text), None, "{text}");
        }
    }
}
