//! Shared code of the benchmark and the tests of this package.
//!
//! - [`http`]: a blocking HTTP/1.1 client that shows failures instead of hiding them

pub mod http;
