//! The Services that a plugin may call: `allowedUpstreams`.
//!
//! Not here: their Backends (`backend_registry`).

use std::num::NonZeroU16;
use std::sync::Arc;

use crate::object::Name;
use crate::problem::Reason;

/// A Service port that a plugin may call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct UpstreamRef {
    pub(super) service: Name,
    pub(super) port: NonZeroU16,
    /// Index of the entry.
    pub(super) entry: u32,
}

/// An entry that is left out.
#[derive(Debug)]
pub(super) struct UpstreamFault {
    pub(super) entry: u32,
    pub(super) reason: Reason,
    pub(super) message: String,
}

/// Parses the entries of a plugin in `namespace`. A plugin of another namespace than `own_namespace` reaches only its
/// own. Leaves out duplicates.
pub(super) fn parse(
    entries: &[String],
    namespace: &Arc<str>,
    own_namespace: &str,
) -> (Vec<UpstreamRef>, Vec<UpstreamFault>) {
    let (mut found, mut faults) = (Vec::<UpstreamRef>::new(), Vec::new());
    for (entry, text) in (0..).zip(entries) {
        let Some((service, port)) = parse_upstream(text, namespace) else {
            let message = format!(
                "\"{}\" is not NAME:PORT, NAMESPACE/NAME:PORT or outbound|PORT||NAME.NAMESPACE.svc.cluster.local",
                text.escape_debug()
            );
            faults.push(UpstreamFault { entry, reason: Reason::InvalidValue, message });
            continue;
        };
        if service.namespace != *namespace && **namespace != *own_namespace {
            let message = format!(
                "a plugin of namespace {namespace} may not call Service {}; use a Service of {namespace}, or move the \
                 plugin to {own_namespace}",
                service.to_string().escape_debug()
            );
            faults.push(UpstreamFault { entry, reason: Reason::NotPermitted, message });
        } else if !found.iter().any(|known| known.service == service && known.port == port) {
            found.push(UpstreamRef { service, port, entry });
        }
    }
    (found, faults)
}

/// Parses one entry of a plugin in `namespace`: a Service, and its port. Returns `None` if it is malformed.
pub fn parse_upstream(text: &str, namespace: &Arc<str>) -> Option<(Name, NonZeroU16)> {
    let (service, port) = match text.strip_prefix("outbound|") {
        Some(rest) => {
            let (port, host) = rest.split_once("||")?;
            let mut labels = host.split('.');
            let (name, namespace) = (labels.next()?, labels.next()?);
            (labels.next()? == "svc").then_some((Name::new(namespace, name), port))?
        }
        None => {
            let (service, port) = text.rsplit_once(':')?;
            let service = match service.split_once('/') {
                Some((namespace, name)) => Name::new(namespace, name),
                None => Name { namespace: Arc::clone(namespace), name: service.into() },
            };
            (service, port)
        }
    };
    let is_digits = port.bytes().all(|byte| byte.is_ascii_digit());
    let port = port.parse().ok().filter(|_| is_digits)?;
    (is_label(&service.namespace) && is_label(&service.name)).then_some((service, port))
}

/// Returns true for a name of a Service or a Namespace (RFC 1123 label).
fn is_label(text: &str) -> bool {
    let is_inner = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    (1..=63).contains(&text.len()) && text.bytes().all(is_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse_one(text: &str, namespace: &str) -> Result<String, Reason> {
        let (found, faults) = parse(&[text.to_owned()], &namespace.into(), "gateway-system");
        match (found.first(), faults.first()) {
            (Some(upstream), None) => Ok(format!("{}:{}", upstream.service, upstream.port)),
            (None, Some(fault)) => Err(fault.reason),
            _ => panic!("{text}: one of both"),
        }
    }

    #[test]
    fn entries_are_parsed_within_the_namespace() {
        for (namespace, text, expected) in [
            ("shop", "authz:8080", Ok("shop/authz:8080")),
            ("shop", "shop/authz:8080", Ok("shop/authz:8080")),
            ("shop", "outbound|80||authz.shop.svc.cluster.local", Ok("shop/authz:80")),
            ("shop", "outbound|80||authz.shop.svc", Ok("shop/authz:80")),
            ("shop", "other/authz:8080", Err(Reason::NotPermitted)),
            ("shop", "outbound|80||authz.other.svc.cluster.local", Err(Reason::NotPermitted)),
            ("gateway-system", "other/authz:8080", Ok("other/authz:8080")),
            ("shop", "authz", Err(Reason::InvalidValue)),
            ("shop", "authz:http", Err(Reason::InvalidValue)),
            ("shop", "authz:0", Err(Reason::InvalidValue)),
            ("shop", "authz:+80", Err(Reason::InvalidValue)),
            ("shop", "authz:65536", Err(Reason::InvalidValue)),
            ("shop", "/authz:80", Err(Reason::InvalidValue)),
            ("shop", "a/b/c:80", Err(Reason::InvalidValue)),
            ("shop", "outbound|80|v1|authz.shop.svc.cluster.local", Err(Reason::InvalidValue)),
            ("shop", "outbound|80||authz.example.com", Err(Reason::InvalidValue)),
            ("shop", "", Err(Reason::InvalidValue)),
        ] {
            assert_eq!(parse_one(text, namespace), expected.map(str::to_owned), "{text}");
        }
    }

    #[test]
    fn duplicates_are_left_out() {
        let entries = ["a:80", "shop/a:80", "a:81"].map(str::to_owned);
        let (found, faults) = parse(&entries, &"shop".into(), "gateway-system");
        let entries: Vec<_> = found.iter().map(|upstream| upstream.entry).collect();
        assert_eq!((entries, faults.len()), (vec![0, 2], 0));
    }
}
