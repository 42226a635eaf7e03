//! How guests name an upstream.

use crate::config::AllowedUpstream;

/// The parts of a name. A part that is missing fits any upstream, except for the namespace.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct UpstreamName<'a> {
    namespace: Option<&'a str>,
    name: &'a str,
    port: Option<u16>,
}

/// Finds the upstream that a guest names: `name`, `name.namespace` or `name.namespace.svc.cluster.local`, each with
/// `:port`; `namespace/name:port`; or `outbound|port||host` as Istio names clusters. Without a namespace, it is the
/// plugin's own. Without a port, the Service must have one port that is allowed.
pub fn find(upstreams: &[AllowedUpstream], namespace: &str, text: &[u8]) -> Option<usize> {
    let wanted = parse(std::str::from_utf8(text).ok()?)?;
    let fits = |upstream: &AllowedUpstream| {
        upstream.name == wanted.name
            && upstream.namespace == wanted.namespace.unwrap_or(namespace)
            && wanted.port.is_none_or(|port| port == upstream.port)
    };
    let index = upstreams.iter().position(fits)?;
    let is_unique = wanted.port.is_some() || upstreams.iter().filter(|upstream| fits(upstream)).count() == 1;
    is_unique.then_some(index)
}

/// Returns the cluster name in a serialized `GrpcService` of Envoy, which older SDKs give: field 1 of its field 1.
pub(crate) fn grpc_cluster(service: &[u8]) -> Option<&[u8]> {
    first_field(first_field(service)?)
}

/// Returns the first field of a protobuf message, if it has number 1 and a length of at most 127.
fn first_field(message: &[u8]) -> Option<&[u8]> {
    const FIELD_1_BYTES: u8 = 0x0a;
    let [FIELD_1_BYTES, len @ 0..=127, rest @ ..] = message else { return None };
    rest.get(..usize::from(*len))
}

fn parse(text: &str) -> Option<UpstreamName<'_>> {
    if let Some(cluster) = text.strip_prefix("outbound|") {
        let mut parts = cluster.split('|');
        let port = parts.next()?.parse().ok()?;
        let _subset = parts.next()?;
        let host = parts.next()?;
        return parts.next().is_none().then(|| parse_host(host, Some(port)))?;
    }
    let (host, port) = match text.rsplit_once(':') {
        Some((host, port)) => (host, Some(port.parse().ok()?)),
        None => (text, None),
    };
    match host.split_once('/') {
        Some((namespace, name)) => Some(UpstreamName { namespace: Some(namespace), name, port }),
        None => parse_host(host, port),
    }
}

/// Parses the host name of a Service.
fn parse_host(host: &str, port: Option<u16>) -> Option<UpstreamName<'_>> {
    let mut labels = host.trim_end_matches('.').splitn(3, '.');
    let name = labels.next().filter(|name| !name.is_empty())?;
    let namespace = labels.next();
    let is_service = labels.next().is_none_or(|rest| rest == "svc" || rest.starts_with("svc."));
    is_service.then_some(UpstreamName { namespace, name, port })
}
