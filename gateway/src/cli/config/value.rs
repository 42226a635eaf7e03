//! How one value is written: durations, sizes, numbers, addresses, words.
//!
//! A written value parses to the same value again. Not here: which setting has which form (`keys`).

use std::fmt::Display;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::rc::Rc;
use std::str::FromStr;
use std::time::Duration;

use api::Switch;
use api::byte_size::ByteSize;
use ipnet::IpNet;
use routing::object::Name;
use routing::suggest::most_similar;

use super::error::ValueError;
use crate::observe::access_log::{Field, Format, FormatError};

/// The text form of values of one type: how they are parsed and printed.
pub(super) struct Form<T> {
    read: Box<Read<T>>,
    write: Box<Write<T>>,
}

type Read<T> = dyn Fn(&str) -> Result<T, ValueError>;
type Write<T> = dyn Fn(&T) -> String;

impl<T: 'static> Form<T> {
    pub(super) fn new(
        read: impl Fn(&str) -> Result<T, ValueError> + 'static,
        write: impl Fn(&T) -> String + 'static,
    ) -> Self {
        Self { read: Box::new(read), write: Box::new(write) }
    }

    /// Parses a value.
    ///
    /// # Errors
    /// Returns a [`ValueError`] that says what is expected.
    pub(super) fn read(&self, text: &str) -> Result<T, ValueError> {
        (self.read)(text)
    }

    /// Prints a value.
    pub(super) fn write(&self, value: &T) -> String {
        (self.write)(value)
    }

    /// Restricts the form to values within bounds.
    pub(super) fn within(self, bounds: RangeInclusive<T>) -> Self
    where
        T: PartialOrd,
    {
        let Self { read, write } = self;
        let write: Rc<Write<T>> = Rc::from(write);
        let print = Rc::clone(&write);
        let read = move |text: &str| {
            let value = read(text)?;
            if bounds.contains(&value) {
                return Ok(value);
            }
            let [value, min, max] = [&value, bounds.start(), bounds.end()].map(|value| print(value));
            Err(ValueError::OutOfBounds { value, min, max })
        };
        Self::new(read, move |value| write(value))
    }

    /// Makes the value optional. `absent` is the text for no value.
    pub(super) fn or(self, absent: &'static str) -> Form<Option<T>> {
        let Self { read, write } = self;
        Form::new(
            move |text| if text == absent { Ok(None) } else { read(text).map(Some) },
            move |value| value.as_ref().map_or_else(|| absent.to_owned(), &write),
        )
    }
}

/// Durations as RoutePolicy has them: `800ms`, `10s`, `1h30m`.
pub(super) fn time() -> Form<Duration> {
    Form::new(read_time, write_time)
}

/// Sizes in bytes: `32Ki`, `32KiB`, `1048576`.
pub(super) fn bytes() -> Form<usize> {
    Form::new(read_bytes, write_bytes)
}

/// Whole numbers.
pub(super) fn count() -> Form<usize> {
    Form::new(read_number, usize::to_string)
}

/// Names, separated by commas.
pub(super) fn names() -> Form<Vec<String>> {
    Form::new(read_names, |names| names.join(","))
}

/// IP networks, separated by commas. An address is the network of that address alone.
pub(super) fn networks() -> Form<Vec<IpNet>> {
    Form::new(read_networks, |networks: &Vec<IpNet>| join(networks))
}

/// Names of Services: `NAMESPACE/NAME`.
pub(super) fn service_name() -> Form<Name> {
    Form::new(read_service_name, Name::to_string)
}

/// IP addresses and DNS names, separated by commas.
pub(super) fn addresses() -> Form<Vec<String>> {
    Form::new(read_addresses, |addresses| addresses.join(","))
}

/// Addresses to listen on: `127.0.0.1:8080`, `:8080` for all interfaces, and a port alone.
pub(super) fn listen(port_alone: PortAlone) -> Form<SocketAddr> {
    let read = move |text: &str| {
        let all = IpAddr::V6(Ipv6Addr::UNSPECIFIED);
        let (ip, port) = match (text.strip_prefix(':'), port_alone) {
            (Some(port), _) => (all, port),
            (None, PortAlone::AllInterfaces) => (all, text),
            (None, PortAlone::Loopback) => (IpAddr::V4(Ipv4Addr::LOCALHOST), text),
        };
        port.parse().map(|port| SocketAddr::new(ip, port)).or_else(|_| text.parse()).map_err(|_| {
            ValueError::Unreadable {
                text: text.to_owned(),
                cause: "an address such as 127.0.0.1:8080, [::1]:8080, :8080 or 8080 is expected".to_owned(),
            }
        })
    };
    Form::new(read, SocketAddr::to_string)
}

/// What a port without an address listens on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum PortAlone {
    /// All interfaces.
    AllInterfaces,
    /// The loopback interface, for pages that show what clients must not see.
    Loopback,
}

/// `on` and `off`, which YAML may read as booleans.
pub(super) fn switch() -> Form<Switch> {
    Form::new(read_switch, |value| if value.is_on() { "on" } else { "off" }.to_owned())
}

/// Names of Leases.
pub(super) fn lease_name() -> Form<String> {
    Form::new(read_lease_name, String::clone)
}

/// Absolute paths of folders.
pub(super) fn folder() -> Form<PathBuf> {
    Form::new(read_folder, |folder: &PathBuf| folder.display().to_string())
}

/// An absolute path of a request target, without query.
pub(super) fn path() -> Form<String> {
    Form::new(read_path, String::clone)
}

/// Formats of the access log: `json`, or a text with placeholders.
pub(super) fn log_format() -> Form<Format> {
    Form::new(read_log_format, Format::to_string)
}

/// The form that the type itself has by `FromStr` and `Display`.
pub(super) fn plain<T: FromStr<Err: Display> + Display + 'static>() -> Form<T> {
    Form::new(read_plain, T::to_string)
}

/// Values in the form of their type, separated by commas.
pub(super) fn list<T: FromStr<Err: Display> + Display + 'static>() -> Form<Vec<T>> {
    Form::new(
        |text| read_names(text)?.iter().map(|text| read_plain(text)).collect(),
        |values: &Vec<T>| join(values),
    )
}

/// One of several words, each of which is a value.
pub(super) fn words<T: Copy + PartialEq + 'static, const N: usize>(words: [(&'static str, T); N]) -> Form<T> {
    let read = move |text: &str| {
        let found = words.into_iter().find(|(word, _)| *word == text);
        found.map(|(_, value)| value).ok_or_else(|| ValueError::NotAWord {
            words: words.map(|(word, _)| word).join(" or "),
            text: text.to_owned(),
        })
    };
    let write = move |value: &T| {
        words.into_iter().find(|(_, known)| known == value).map_or("", |(word, _)| word).to_owned()
    };
    Form::new(read, write)
}

fn join<T: Display>(values: &[T]) -> String {
    values.iter().map(T::to_string).collect::<Vec<_>>().join(",")
}

fn read_plain<T: FromStr<Err: Display>>(text: &str) -> Result<T, ValueError> {
    text.parse()
        .map_err(|error: T::Err| ValueError::Unreadable { text: text.to_owned(), cause: error.to_string() })
}

fn read_names(text: &str) -> Result<Vec<String>, ValueError> {
    let names: Vec<_> = text.split(',').map(|name| name.trim().to_owned()).collect();
    match names.as_slice() {
        [only] if only.is_empty() => Ok(Vec::new()),
        names if names.iter().any(String::is_empty) => Err(ValueError::EmptyName(text.to_owned())),
        _ => Ok(names),
    }
}

fn read_networks(text: &str) -> Result<Vec<IpNet>, ValueError> {
    let network = |name: String| {
        let network = name.parse().or_else(|_| name.parse::<IpAddr>().map(IpNet::from));
        network.map_err(|_| ValueError::NotANetwork(name))
    };
    read_names(text)?.into_iter().map(network).collect()
}

fn read_log_format(text: &str) -> Result<Format, ValueError> {
    text.parse().map_err(|error| match error {
        FormatError::Unknown(name) => {
            let similar = most_similar(&name, Field::ALL.iter().map(|field| field.name()));
            ValueError::UnknownField { similar: similar.map(str::to_owned), name }
        }
        error => ValueError::Format(error.to_string()),
    })
}

fn read_number(text: &str) -> Result<usize, ValueError> {
    // `parse` also accepts a plus sign.
    let is_number = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let number = if is_number { text.parse().ok() } else { None };
    number.ok_or_else(|| ValueError::NotANumber(text.to_owned()))
}

fn read_bytes(text: &str) -> Result<usize, ValueError> {
    let size = text.strip_suffix('B').unwrap_or(text).parse::<ByteSize>();
    let size = size.ok().and_then(|size| usize::try_from(size.0).ok());
    size.ok_or_else(|| ValueError::NotASize(text.to_owned()))
}

fn write_bytes(bytes: &usize) -> String {
    ByteSize(*bytes as u64).to_string()
}

/// Parses `NAMESPACE/NAME`.
///
/// # Errors
/// Returns [`ValueError::NotAService`].
pub(crate) fn read_service_name(text: &str) -> Result<Name, ValueError> {
    match text.split_once('/') {
        Some((namespace, name)) if !namespace.is_empty() && !name.is_empty() && !name.contains('/') => {
            Ok(Name::new(namespace, name))
        }
        _ => Err(ValueError::NotAService),
    }
}

fn read_addresses(text: &str) -> Result<Vec<String>, ValueError> {
    let address = |name: String| {
        if let Ok(address) = name.parse::<IpAddr>() {
            return Ok(address.to_string());
        }
        let host = name.to_ascii_lowercase();
        // The API server does not accept numbers that are no IP address either.
        let is_number =
            host.rsplit('.').next().is_some_and(|label| label.bytes().all(|byte| byte.is_ascii_digit()));
        if is_dns_name(&host) && !is_number { Ok(host) } else { Err(ValueError::NotAnAddress(name)) }
    };
    read_names(text)?.into_iter().map(address).collect()
}

fn read_switch(text: &str) -> Result<Switch, ValueError> {
    match text {
        "on" | "true" => Ok(Switch::On),
        "off" | "false" => Ok(Switch::Off),
        _ => Err(ValueError::NotAWord { words: "on or off".to_owned(), text: text.to_owned() }),
    }
}

fn read_lease_name(text: &str) -> Result<String, ValueError> {
    if is_dns_name(text) { Ok(text.to_owned()) } else { Err(ValueError::NotALease(text.to_owned())) }
}

/// Returns true for a DNS subdomain of RFC 1123, as names of objects are.
fn is_dns_name(text: &str) -> bool {
    let is_label = |label: &str| {
        let is_allowed = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
        !label.is_empty() && label.chars().all(is_allowed) && !label.starts_with('-') && !label.ends_with('-')
    };
    text.len() <= 253 && text.split('.').all(is_label)
}

fn read_folder(text: &str) -> Result<PathBuf, ValueError> {
    let folder = PathBuf::from(text);
    if folder.is_absolute() { Ok(folder) } else { Err(ValueError::NotAbsolute(text.to_owned())) }
}

fn read_path(text: &str) -> Result<String, ValueError> {
    let is_path_byte = |byte: u8| byte.is_ascii_graphic() && !b"?#\"<>\\^`{|}".contains(&byte);
    if text.starts_with('/') && text.bytes().all(is_path_byte) {
        Ok(text.to_owned())
    } else {
        Err(ValueError::NotAPath(text.to_owned()))
    }
}

/// Parses a duration with units.
///
/// # Errors
/// Returns [`ValueError::NotADuration`].
pub(crate) fn read_time(text: &str) -> Result<Duration, ValueError> {
    let time = text.parse::<api::Duration>().map(Duration::from);
    time.map_err(|_| ValueError::NotADuration(text.to_owned()))
}

fn write_time(time: &Duration) -> String {
    api::Duration::from(*time).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_of_requests_are_absolute_and_visible() {
        for (text, is_path) in
            [("/", true), ("/health-check", true), ("health", false), ("/a?b", false), ("/ä", false)]
        {
            assert_eq!(path().read(text).is_ok(), is_path, "{text}");
        }
    }

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
            assert_eq!(networks().write(&read), written);
            assert_eq!(read_networks(written), Ok(read));
        }
        for text in ["10.0.0.0/33", "example.com", "10.0.0.0/8,", "10/8"] {
            assert!(read_networks(text).is_err(), "{text}");
        }
    }

    #[test]
    fn addresses_are_read_and_written() {
        for (text, written) in [
            ("192.0.2.1, 2001:DB8::1", "192.0.2.1,2001:db8::1"),
            ("LB.example", "lb.example"),
            ("localhost", "localhost"),
            ("", ""),
        ] {
            let read = read_addresses(text).unwrap();
            assert_eq!(addresses().write(&read), written, "{text}");
            assert_eq!(read_addresses(written), Ok(read), "{text}");
        }
        for text in
            ["192.0.2.256", "192.0.2.1:80", "http://lb.example", "*.example", "lb_1.example", "a,", "-a"]
        {
            assert!(read_addresses(text).is_err(), "{text}");
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
