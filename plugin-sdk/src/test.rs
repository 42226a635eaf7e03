//! Runs a plugin natively in a mock host, with feature `test`.
//!
//! [`MockHost`] starts a plugin with a configuration. [`TestPlugin::exchange`] sends a request through it and returns what
//! endpoint, client and log received. Callouts take the answers of [`TestPlugin::answer`] in order. [`TestPlugin::stream`] sends
//! the parts of an exchange one by one. [`run_cases`] runs the case files of a folder.
//!
//! ```
//! use plugin_sdk::prelude::*;
//! use plugin_sdk::test::MockHost;
//! use plugin_sdk::test::MockRequest;
//! use plugin_sdk::test::MockResponse;
//!
//! struct Guard;
//!
//! #[plugin]
//! impl Plugin for Guard {
//!     fn new(_: NoConfig, _: &RootContext) -> Result<Self, Error> {
//!         Ok(Self)
//!     }
//!
//!     async fn on_request(&self, _: &mut (), request: &mut Request) -> Result<Flow, Error> {
//!         let check = callout::http("shop/authz:8080").path(request.path()?);
//!         let answer = check.send().await?;
//!         Ok(if answer.status() == 200 { Flow::Continue } else { Reply::new(403).into() })
//!     }
//! }
//!
//! let plugin = MockHost::new().start::<Guard>("").unwrap();
//! plugin.answer(MockResponse::new(404));
//! let exchange = plugin.exchange(MockRequest::get("/admin"), MockResponse::new(200));
//! assert_eq!(exchange.response.unwrap().status(), 403);
//! assert_eq!(exchange.request, None, "the endpoint receives nothing");
//! assert_eq!(exchange.callouts[0].1.header(":path").unwrap(), "/admin");
//! ```

mod answer;
mod cases;
mod host_calls;
mod message;
mod mock_host;
mod mock_stream;
mod properties;
mod state;
mod test_plugin;
mod test_stream;

pub use api::CaseRecord;
pub use api::RecordedMessage;

pub use self::answer::Answer;
pub use self::cases::run_cases;
pub use self::message::MockRequest;
pub use self::message::MockResponse;
pub use self::mock_host::MockHost;
pub use self::mock_host::StartError;
pub use self::test_plugin::TestPlugin;
pub use self::test_stream::TestStream;
pub use crate::host::Direction;
