//! Shared code of the programs and the tests of this package.
//!
//! - [`http`]: a blocking HTTP/1.1 client that shows failures instead of hiding them
//! - [`echo`]: the app behind the tested Ingresses
//! - [`suite`]: the Ingress conformance suite, for any controller

pub mod echo;
pub mod http;
pub mod suite;
