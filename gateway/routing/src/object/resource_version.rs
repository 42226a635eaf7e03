//! The order of the versions of an object, for `gateway wait`.
//!
//! Not here: versions that a source only compares for equality.

use std::fmt;
use std::num::NonZeroU64;
use std::str::FromStr;

/// A `metadata.resourceVersion` that has an order.
///
/// Since Kubernetes 1.35 the API guarantees that the versions of a kind are decimal numbers without leading zeros, and
/// grow with every write (KEP-5504). Their length is open. Those of built-in kinds are etcd revisions of 63 bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ResourceVersion(NonZeroU64);

/// The text is not a version with an order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ResourceVersionError;

impl fmt::Display for ResourceVersionError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(
            "a resource version is a decimal number from 1 to 18446744073709551615, without leading zeros",
        )
    }
}

impl std::error::Error for ResourceVersionError {}

impl FromStr for ResourceVersion {
    type Err = ResourceVersionError;

    fn from_str(text: &str) -> Result<Self, ResourceVersionError> {
        let is_decimal = text.bytes().all(|byte| byte.is_ascii_digit()) && !text.starts_with('0');
        text.parse().ok().filter(|_| is_decimal).map(Self).ok_or(ResourceVersionError)
    }
}

impl fmt::Display for ResourceVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn version_orders_as_a_number() {
        let read = |text: &str| text.parse::<ResourceVersion>().ok();
        assert!(read("9") < read("10"));
        assert!(read("9").is_some() && read("99999") < read("18446744073709551615"));
        assert_eq!(read("184").map(|version| version.to_string()).as_deref(), Some("184"));
    }

    #[test]
    fn version_without_order_is_rejected() {
        for text in ["", "0", "007", "+7", "-7", " 7", "7a", "18446744073709551616", "v1"] {
            assert_eq!(text.parse::<ResourceVersion>(), Err(ResourceVersionError), "{text:?}");
        }
    }

    #[test]
    fn optional_version_has_8_bytes() {
        assert_eq!(size_of::<Option<ResourceVersion>>(), 8);
    }
}
