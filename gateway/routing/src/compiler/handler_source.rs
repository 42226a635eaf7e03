//! The handler of a class: where its module is, and what its calls have in common.
//!
//! A handler that cannot be loaded closes the paths of its class. It does not stop the class from being served: its hosts
//! would fall to others. Not here: loading (the control plane).

use api::class_handler::ClassContext;

use super::config::Config;
use super::plugin_source;
use crate::handler::HandlerDefinition;
use crate::object::IngressClass;
use crate::object::IngressClassConfig;
use crate::object::Name;
use crate::object::WasmPlugin;
use crate::table::PluginSource;

/// The handler of a class, and what its calls have in common.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct HandlerSettings {
    /// The bytes of a ConfigMap are absent.
    pub(super) definition: HandlerDefinition,
    pub(super) context: ClassContext,
}

/// Returns the handler that an IngressClassConfig gives a class.
pub(super) fn settings(
    class: &IngressClass,
    parameters: &IngressClassConfig,
    config: &Config,
) -> Option<HandlerSettings> {
    let from = parameters.spec.handler.as_ref()?;
    // The sources of modules are those of a plugin in the gateway's own namespace.
    let plugin = WasmPlugin {
        name: Name::new(&config.namespace, &parameters.name.name),
        folder: parameters.folder.clone(),
        ..WasmPlugin::default()
    };
    let sha256 = from.sha256.as_deref().map(plugin_source::sha256);
    let source = match plugin_source::parse(&plugin, &from.url, config) {
        Err(fault) => PluginSource::Refused(fault.message),
        Ok(_) if sha256 == Some(None) => {
            PluginSource::Refused("spec.handler.sha256 is not 64 hexadecimal digits".to_owned())
        }
        Ok(_) if from.dialect.is_empty() || from.dialect.iter().any(String::is_empty) => {
            let message =
                "spec.handler.dialect names no prefix of annotations, such as nginx.ingress.kubernetes.io/";
            PluginSource::Refused(message.to_owned())
        }
        Ok(source) => source,
    };
    let definition = HandlerDefinition {
        class: class.name.name.clone(),
        config: parameters.name.name.clone(),
        source,
        sha256: sha256.flatten(),
        dialect: from.dialect.iter().map(|prefix| prefix.as_str().into()).collect(),
    };
    let context = ClassContext::new(&class.name.name, &class.controller, &parameters.spec);
    Some(HandlerSettings { definition, context })
}
