//! Parts that the guests share: a root context that parses the configuration and creates streams with it.

use std::rc::Rc;

use proxy_wasm::traits::Context;
use proxy_wasm::traits::HttpContext;
use proxy_wasm::traits::RootContext;
use proxy_wasm::types::ContextType;
use proxy_wasm::types::LogLevel;

/// A guest without state in its root context, apart from its configuration.
pub trait Guest: Sized + 'static {
    /// Parses the configuration of the plugin.
    ///
    /// # Errors
    /// A message for the log. The host refuses the plugin.
    fn parse(text: &str) -> Result<Self, String>;

    /// Creates the context of a stream.
    fn stream(self: &Rc<Self>) -> Box<dyn HttpContext>;
}

/// Registers a guest. Called from `_initialize`.
pub fn register<G: Guest>() {
    proxy_wasm::set_log_level(LogLevel::Info);
    proxy_wasm::set_root_context(|_| Box::new(Root::<G>(None)));
}

/// The root context: its configuration, once it is parsed.
struct Root<G>(Option<Rc<G>>);

impl<G: Guest> Context for Root<G> {}

impl<G: Guest> RootContext for Root<G> {
    fn on_configure(&mut self, _: usize) -> bool {
        match G::parse(&configuration(self)) {
            Ok(guest) => {
                self.0 = Some(Rc::new(guest));
                true
            }
            Err(message) => {
                log::error!("{message}");
                false
            }
        }
    }

    fn create_http_context(&self, _: u32) -> Option<Box<dyn HttpContext>> {
        self.0.as_ref().map(Guest::stream)
    }

    fn get_type(&self) -> Option<ContextType> {
        Some(ContextType::HttpContext)
    }
}

/// Returns the configuration of a plugin as text. Empty if there is none.
pub fn configuration(root: &dyn RootContext) -> String {
    String::from_utf8(root.get_plugin_configuration().unwrap_or_default()).unwrap_or_default()
}

/// Returns the words of each line that is not empty.
pub fn lines(text: &str) -> impl Iterator<Item = Vec<&str>> {
    text.lines().map(|line| line.split_whitespace().collect::<Vec<_>>()).filter(|words| !words.is_empty())
}

/// Returns the message for a line that a guest does not understand.
pub fn unknown(words: &[&str]) -> String {
    format!("unknown line in the configuration: {}", words.join(" "))
}
