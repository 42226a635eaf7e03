//! How one value is written: durations, sizes, numbers, addresses, words.
//!
//! What is read from a written value is that value again. Not here: which setting has which form (`keys`).

use std::fmt::Display;
use std::net::IpAddr;
use std::str::FromStr;
use std::time::Duration;

use api::byte_size::ByteSize;
use ipnet::IpNet;

use super::nearest;
use crate::observe::access_log::{Field, Format, FormatError};

/// A way of writing values of one type.
pub(super) struct Form<T> {
    /// Says what is expected, if the text is something else.
    pub(super) read: fn(&str) -> Result<T, String>,
    pub(super) write: fn(&T) -> String,
}

/// `800ms`, `10s`, `1h30m`: as RoutePolicies have it.
pub(super) const TIME: Form<Duration> = Form { read: read_time, write: write_time };

/// `32Ki`, `32KiB`, `1048576`.
pub(super) const BYTES: Form<usize> = Form { read: read_bytes, write: write_bytes };

/// A whole number.
pub(super) const COUNT: Form<usize> = Form { read: read_number, write: usize::to_string };

/// Names with commas between; the file may also have them as a list.
pub(super) const NAMES: Form<Vec<String>> = Form { read: read_names, write: |names| names.join(",") };

/// Networks with commas between; an address alone is the network of that address.
pub(super) const NETWORKS: Form<Vec<IpNet>> = Form {
    read: read_networks,
    write: |networks| networks.iter().map(IpNet::to_string).collect::<Vec<_>>().join(","),
};

/// `json`, or a template.
pub(super) const LOG_FORMAT: Form<Format> = Form { read: read_log_format, write: Format::to_string };

/// What the type itself reads and prints.
pub(super) fn plain<T: FromStr<Err: Display> + Display>() -> Form<T> {
    Form {
        read: |text| text.parse().map_err(|error: T::Err| format!("{text:?} cannot be read: {error}")),
        write: T::to_string,
    }
}

/// Values with commas between, each as its type reads and prints it.
pub(super) fn list<T: FromStr<Err: Display> + Display>() -> Form<Vec<T>> {
    Form {
        read: |text| {
            let one = |text: &String| {
                text.parse().map_err(|error: T::Err| format!("{text:?} cannot be read: {error}"))
            };
            read_names(text)?.iter().map(one).collect()
        },
        write: |values| values.iter().map(T::to_string).collect::<Vec<_>>().join(","),
    }
}

fn read_names(text: &str) -> Result<Vec<String>, String> {
    let names: Vec<_> = text.split(',').map(|name| name.trim().to_owned()).collect();
    match names.as_slice() {
        [only] if only.is_empty() => Ok(Vec::new()),
        names if names.iter().any(String::is_empty) => Err(format!("an empty name is among {text:?}")),
        _ => Ok(names),
    }
}

fn read_networks(text: &str) -> Result<Vec<IpNet>, String> {
    let network = |name: String| {
        let network = name.parse().or_else(|_| name.parse::<IpAddr>().map(IpNet::from));
        network.map_err(|_| format!("networks such as 10.0.0.0/8 are expected, not {name:?}"))
    };
    read_names(text)?.into_iter().map(network).collect()
}

fn read_log_format(text: &str) -> Result<Format, String> {
    text.parse().map_err(|error| match error {
        FormatError::Unknown(name) => {
            let near = nearest(&name, Field::ALL.iter().map(|field| field.name()));
            format!("{{{name}}} is no field{near}")
        }
        error => error.to_string(),
    })
}

fn read_number(text: &str) -> Result<usize, String> {
    // `parse` would take a plus sign.
    let is_number = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let number = if is_number { text.parse().ok() } else { None };
    number.ok_or_else(|| format!("a whole number is expected, not {text:?}"))
}

fn read_bytes(text: &str) -> Result<usize, String> {
    let size = text.strip_suffix('B').unwrap_or(text).parse::<ByteSize>();
    let size = size.ok().and_then(|size| usize::try_from(size.0).ok());
    size.ok_or_else(|| format!("a size such as 1048576 or 32Ki is expected, not {text:?}"))
}

fn write_bytes(bytes: &usize) -> String {
    ByteSize(*bytes as u64).to_string()
}

pub(crate) fn read_time(text: &str) -> Result<Duration, String> {
    let time = text.parse::<api::Duration>().map(Duration::from);
    time.map_err(|_| format!("a duration such as 800ms, 10s or 1h30m is expected, not {text:?}"))
}

fn write_time(time: &Duration) -> String {
    api::Duration::from(*time).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_read_and_written() {
        for (text, millis, written) in [
            ("800ms", 800, "800ms"),
            ("10s", 10_000, "10s"),
            ("90s", 90_000, "1m30s"),
            ("60s", 60_000, "1m"),
            ("1h30m", 5_400_000, "1h30m"),
            ("1h0m1s1ms", 3_601_001, "1h1s1ms"),
            ("0s", 0, "0s"),
        ] {
            let read = read_time(text).unwrap();
            assert_eq!(read, Duration::from_millis(millis), "{text}");
            assert_eq!(write_time(&read), written, "{text}");
            assert_eq!(read_time(written), Ok(read), "{text}");
        }
        for text in ["", "10", "s", "1.5s", "-1s", "+1s", "1d", "1 s", "10S", "99999999999999999h"] {
            assert!(read_time(text).is_err(), "{text}");
        }
    }

    #[test]
    fn networks_are_read_and_written() {
        for (text, written) in [
            ("10.0.0.0/8, 2001:db8::/32", "10.0.0.0/8,2001:db8::/32"),
            ("10.0.0.1", "10.0.0.1/32"),
            ("::1", "::1/128"),
            ("", ""),
        ] {
            let read = read_networks(text).unwrap();
            assert_eq!((NETWORKS.write)(&read), written);
            assert_eq!(read_networks(written), Ok(read));
        }
        for text in ["10.0.0.0/33", "example.com", "10.0.0.0/8,", "10/8"] {
            assert!(read_networks(text).is_err(), "{text}");
        }
    }

    #[test]
    fn sizes_are_read_and_written() {
        for (text, bytes, written) in [
            ("32Ki", 32768, "32Ki"),
            ("32KiB", 32768, "32Ki"),
            ("1000", 1000, "1000"),
            ("32k", 32000, "32000"),
        ] {
            assert_eq!(read_bytes(text), Ok(bytes), "{text}");
            assert_eq!(write_bytes(&bytes), written, "{text}");
        }
        for text in ["", "B", "-1", "+1", "1.5Ki", "1 Ki", "32ki"] {
            assert!(read_bytes(text).is_err(), "{text}");
            assert!(read_number(text).is_err(), "{text}");
        }
    }
}
