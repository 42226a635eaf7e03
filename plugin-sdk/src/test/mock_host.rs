//! Prepares a mock host and starts a plugin in it.

use std::cell::RefCell;
use std::fmt;
use std::rc::Rc;
use std::time::Duration;

use super::host_calls::HostCalls;
use super::state::Failure;
use super::state::State;
use super::test_plugin::TestPlugin;
use crate::plugin::Plugin;

/// A host before its plugin starts.
///
/// ```
/// # use plugin_sdk::prelude::*;
/// # struct Hello;
/// # #[plugin]
/// # impl Plugin for Hello {
/// #     fn new(_: NoConfig, _: &RootContext) -> Result<Self, Error> {
/// #         Ok(Self)
/// #     }
/// # }
/// use plugin_sdk::test::MockHost;
///
/// let host = MockHost::new()
///     .property(["route_name"], "shop")
///     .now(Duration::from_secs(1_800_000_000))
///     .upstream("shop/authz:8080");
/// let plugin = host.start::<Hello>("{}").unwrap();
/// ```
pub struct MockHost {
    state: State,
}

/// The plugin refused its configuration: the lines that it logged.
#[derive(Debug)]
pub struct StartError(String);

impl MockHost {
    /// Creates a host. The time is 2026-01-01T00:00:00Z.
    #[expect(clippy::new_without_default, reason = "the builder begins here")]
    pub fn new() -> Self {
        Self { state: State::new() }
    }

    /// Sets a property. Numbers are those of Envoy: [`i64::to_le_bytes`], and one byte for true or false.
    #[must_use]
    pub fn property<const N: usize>(mut self, path: [&str; N], value: impl AsRef<[u8]>) -> Self {
        self.set_property(&path, value.as_ref());
        self
    }

    pub(super) fn set_property(&mut self, path: &[&str], value: &[u8]) {
        self.state.properties.insert(path.join("\0").into_bytes(), value.to_vec());
    }

    /// Sets the time since the Unix epoch.
    #[must_use]
    pub fn now(mut self, now: Duration) -> Self {
        self.state.now = now;
        self
    }

    /// Allows callouts to an upstream. Without any, all upstreams are allowed.
    #[must_use]
    pub fn upstream(mut self, name: &str) -> Self {
        self.state.upstreams.get_or_insert_default().push(name.to_owned());
        self
    }

    /// Sets a value of the shared data.
    #[must_use]
    pub fn shared_data(mut self, key: &str, value: impl Into<Vec<u8>>) -> Self {
        self.state.write_shared_data(key, value.into());
        self
    }

    /// Sets the configuration of the virtual machine.
    #[must_use]
    pub fn vm_configuration(mut self, text: &str) -> Self {
        self.state.vm_configuration = text.as_bytes().to_vec();
        self
    }

    /// Adds a function beyond the ABI. It fails if it returns `None`.
    #[must_use]
    pub fn function(mut self, name: &str, function: impl Fn(&[u8]) -> Option<Vec<u8>> + 'static) -> Self {
        self.state.functions.insert(name.to_owned(), Box::new(function));
        self
    }

    /// Goes on without the plugin when it fails, as with `failStrategy: FAIL_OPEN`. By default the client receives a 503.
    #[must_use]
    pub fn fail_open(mut self) -> Self {
        self.state.failure = Failure::Open;
        self
    }

    /// Behaves as Envoy when the plugin fails: the plugin replies itself.
    #[must_use]
    pub fn without_fail_function(mut self) -> Self {
        self.state.failure = Failure::Unknown;
        self
    }

    /// Starts a plugin with its configuration as JSON.
    ///
    /// # Errors
    /// The plugin refuses the configuration.
    pub fn start<P: Plugin>(mut self, configuration: &str) -> Result<TestPlugin<P>, StartError> {
        self.state.configuration = configuration.as_bytes().to_vec();
        let plugin = TestPlugin::new(Rc::new(HostCalls(RefCell::new(self.state))));
        if plugin.configure() { Ok(plugin) } else { Err(StartError(plugin.log().join("\n"))) }
    }
}

impl fmt::Debug for MockHost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MockHost").finish_non_exhaustive()
    }
}

impl fmt::Display for StartError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for StartError {}

#[cfg(test)]
mod tests {
    use crate::prelude::*;
    use crate::test::MockRequest;
    use crate::test::MockResponse;

    use super::*;

    struct Refusing;

    #[plugin]
    impl Plugin for Refusing {
        fn new(_: NoConfig, _: &RootContext) -> Result<Self, Error> {
            Err(Error::new("never"))
        }

        async fn on_request(&self, _: &mut (), _: &mut Request) -> Result<Flow, Error> {
            Ok(Flow::Continue)
        }
    }

    #[test]
    fn streams_of_a_refused_configuration_fail_closed() {
        // A host that goes on after the refusal must not serve without the plugin.
        let host = MockHost::new().without_fail_function();
        let plugin = TestPlugin::<Refusing>::new(Rc::new(HostCalls(RefCell::new(host.state))));
        assert!(!plugin.configure());
        let exchange = plugin.exchange(MockRequest::get("/"), MockResponse::new(200));
        assert_eq!((exchange.request, exchange.response.map(|reply| reply.status())), (None, Some(503)));
        let expected = ["error: new: never", "error: on_request: the plugin has no valid configuration"];
        assert_eq!(plugin.log(), expected);
    }
}
