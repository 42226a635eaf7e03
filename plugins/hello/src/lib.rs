//! Adds a greeting to each response.

use plugin_sdk::prelude::*;

/// Configuration of the plugin.
#[derive(Deserialize, Config)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// Value of the response header `x-greeting`.
    greeting: String,
}

/// The plugin.
pub struct Hello {
    settings: Settings,
}

#[plugin]
impl Plugin for Hello {
    type Config = Settings;

    fn new(settings: Settings, _: &RootContext) -> Result<Self, Error> {
        Ok(Self { settings })
    }

    async fn on_response(&self, _: &mut (), response: &mut Response) -> Result<Flow, Error> {
        response.set("x-greeting", &self.settings.greeting)?;
        Ok(Flow::Continue)
    }
}

#[cfg(test)]
mod tests;
