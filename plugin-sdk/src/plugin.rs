//! The trait of a plugin.

use std::time::Duration;

use serde::de::DeserializeOwned;

use crate::body::Body;
use crate::config::Config;
use crate::current_host::host;
use crate::error::Error;
use crate::headers::into_text;
use crate::host::BufferKind;
use crate::host::HostResult;
use crate::host::optional;
use crate::message::Exchange;
use crate::message::Request;
use crate::message::Response;
use crate::message::Trailers;
use crate::property;
use crate::reply::Flow;

/// A plugin with one configuration. Its handlers run for the streams of the routes that have this configuration.
///
/// The attribute [`plugin`](macro@crate::plugin) on the implementation exports it from the module, with the callbacks whose
/// handlers it defines. The host does not call the others. The attribute also fills in `Config` and `Stream` if the
/// implementation does not name them.
///
/// One handler of a stream runs at a time. While it waits, the stream waits too. A response that the host creates itself ends a
/// waiting request handler: its future is dropped.
///
/// ```
/// use plugin_sdk::prelude::*;
///
/// /// Configuration of the plugin.
/// #[derive(Deserialize, Config)]
/// struct Settings {
///     /// Key that clients send in `x-api-key`.
///     key: String,
/// }
///
/// struct ApiKey {
///     settings: Settings,
/// }
///
/// #[plugin]
/// impl Plugin for ApiKey {
///     type Config = Settings;
///
///     fn new(settings: Settings, _: &RootContext) -> Result<Self, Error> {
///         Ok(Self { settings })
///     }
///
///     async fn on_request(&self, _: &mut (), request: &mut Request) -> Result<Flow, Error> {
///         match request.get("x-api-key")? {
///             Some(key) if key == self.settings.key => Ok(Flow::Continue),
///             _ => Ok(Reply::new(401).into()),
///         }
///     }
/// }
/// ```
#[expect(async_fn_in_trait, reason = "a plugin has one thread, so no future is sent to another")]
#[expect(unused_variables, reason = "the names document the arguments")]
pub trait Plugin: Sized + 'static {
    /// The configuration.
    type Config: Config + DeserializeOwned;

    /// State of one stream, from its request to its log line.
    type Stream: Default + 'static;

    /// The callbacks that the implementation defines.
    #[doc(hidden)]
    const CALLBACKS: Callbacks = Callbacks::ALL;

    /// Creates the plugin for a configuration.
    ///
    /// # Errors
    /// The configuration is not valid. The host refuses it and keeps the previous one.
    fn new(config: Self::Config, context: &RootContext) -> Result<Self, Error>;

    /// Runs once after [`Plugin::new`]. It may make callouts, for instance to load keys.
    ///
    /// # Errors
    /// They are logged.
    async fn on_start(&self) -> Result<(), Error> {
        Ok(())
    }

    /// Runs each time that the period of [`RootContext::set_tick_period`] has passed, unless the previous run still waits.
    ///
    /// # Errors
    /// They are logged.
    async fn on_tick(&self) -> Result<(), Error> {
        Ok(())
    }

    /// Handles the head of a request.
    ///
    /// # Errors
    /// The host answers as the plugin's `failStrategy` says.
    async fn on_request(&self, stream: &mut Self::Stream, request: &mut Request) -> Result<Flow, Error> {
        Ok(Flow::Continue)
    }

    /// Handles a piece of a request's body. Without body and trailers it does not run.
    ///
    /// # Errors
    /// The host answers as the plugin's `failStrategy` says.
    async fn on_request_body(&self, stream: &mut Self::Stream, body: &mut Body) -> Result<Flow, Error> {
        Ok(Flow::Continue)
    }

    /// Handles the trailers of a request.
    ///
    /// # Errors
    /// The host answers as the plugin's `failStrategy` says.
    async fn on_request_trailers(
        &self,
        stream: &mut Self::Stream,
        trailers: &mut Trailers,
    ) -> Result<Flow, Error> {
        Ok(Flow::Continue)
    }

    /// Handles the head of a response, also of a reply that a plugin or the host made.
    ///
    /// # Errors
    /// The host answers as the plugin's `failStrategy` says.
    async fn on_response(&self, stream: &mut Self::Stream, response: &mut Response) -> Result<Flow, Error> {
        Ok(Flow::Continue)
    }

    /// Handles a piece of a response's body.
    ///
    /// # Errors
    /// The host answers as the plugin's `failStrategy` says, if it has not sent the head yet.
    async fn on_response_body(&self, stream: &mut Self::Stream, body: &mut Body) -> Result<Flow, Error> {
        Ok(Flow::Continue)
    }

    /// Handles the trailers of a response.
    ///
    /// # Errors
    /// The host resets the stream, if it has sent the head already.
    async fn on_response_trailers(
        &self,
        stream: &mut Self::Stream,
        trailers: &mut Trailers,
    ) -> Result<Flow, Error> {
        Ok(Flow::Continue)
    }

    /// Runs at the end of a stream, also of one that the client left.
    fn on_log(&self, stream: &Self::Stream, exchange: &Exchange) {}
}

/// What a plugin can use when it is created.
#[derive(Debug)]
pub struct RootContext(());

/// Which callbacks a plugin defines.
#[doc(hidden)]
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Callbacks {
    pub on_start: bool,
    pub on_tick: bool,
    pub on_request: bool,
    pub on_request_body: bool,
    pub on_request_trailers: bool,
    pub on_response: bool,
    pub on_response_body: bool,
    pub on_response_trailers: bool,
    pub on_log: bool,
    /// Whether a handler can wait.
    pub waits: bool,
}

impl Callbacks {
    /// No callback.
    pub const NONE: Self = Self {
        on_start: false,
        on_tick: false,
        on_request: false,
        on_request_body: false,
        on_request_trailers: false,
        on_response: false,
        on_response_body: false,
        on_response_trailers: false,
        on_log: false,
        waits: false,
    };

    /// All callbacks.
    pub const ALL: Self = Self {
        on_start: true,
        on_tick: true,
        on_request: true,
        on_request_body: true,
        on_request_trailers: true,
        on_response: true,
        on_response_body: true,
        on_response_trailers: true,
        on_log: true,
        waits: true,
    };
}

impl RootContext {
    pub(crate) fn new() -> Self {
        Self(())
    }

    /// Sets the period of [`Plugin::on_tick`]. Zero: never.
    ///
    /// # Errors
    /// The host failed.
    pub fn set_tick_period(&self, period: Duration) -> HostResult<()> {
        let is_short = !period.is_zero() && period < Duration::from_millis(1);
        let milliseconds = if is_short { 1 } else { u32::try_from(period.as_millis()).unwrap_or(u32::MAX) };
        host().set_tick_period(milliseconds)
    }

    /// Returns the name of the plugin, which is `pluginName` of a WasmPlugin and the root ID of Envoy.
    ///
    /// # Errors
    /// The host failed.
    pub fn name(&self) -> HostResult<String> {
        Ok(property::string(["plugin_root_id"])?.unwrap_or_default())
    }

    /// Returns the configuration of the virtual machine, which Envoy has beside that of the plugin.
    ///
    /// # Errors
    /// The host failed.
    pub fn vm_configuration(&self) -> HostResult<String> {
        let bytes = host().buffer_bytes(BufferKind::VmConfiguration, 0, u32::MAX as usize);
        Ok(optional(bytes)?.map(into_text).unwrap_or_default())
    }
}
