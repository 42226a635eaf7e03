//! Settings of a Compiler.

use api::Switch;

/// Settings that decide which objects a Compiler serves, and how.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// `spec.controller` of the IngressClasses that are served.
    pub controller: String,
    /// Classes that are served whatever their controller is, even without an IngressClass object.
    pub classes: Vec<String>,
    /// The gateway's own namespace. Only its policies may target IngressClasses.
    pub namespace: String,
    /// The gateway's zone. Endpoints with a hint for it are preferred.
    pub zone: Option<String>,
    /// Folder of `file://` URLs of WasmPlugins that are not in a file. Absent: such URLs are refused.
    pub plugin_folder: Option<String>,
    /// Whether status is written for classes of other controllers in `classes`, unless their IngressClassConfig says it.
    pub taken_class_status: Switch,
}

impl Config {
    /// Returns true if a class is served. `controller` is that of its IngressClass object, if it exists.
    pub fn serves(&self, class: &str, controller: Option<&str>) -> bool {
        controller == Some(&self.controller) || self.classes.iter().any(|name| name == class)
    }
}

impl Default for Config {
    fn default() -> Self {
        Self {
            controller: api::CONTROLLER.to_owned(),
            classes: Vec::new(),
            namespace: "gateway-system".to_owned(),
            zone: None,
            plugin_folder: None,
            taken_class_status: Switch::Off,
        }
    }
}
