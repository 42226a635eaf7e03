//! Properties by their path, as Envoy names them.

use std::borrow::Cow;

use plugin_host::{HttpView, MapKind, PropertyValue};

use super::StreamView;

/// Returns a property. `path` has NUL between its segments, and perhaps one behind the last.
pub(super) fn get<'a>(view: &'a StreamView, path: &[u8]) -> Option<PropertyValue<'a>> {
    let path = path.strip_suffix(b"\0").unwrap_or(path);
    let mut segments = path.split(|byte| *byte == 0);
    let value = match (segments.next()?, segments.next(), segments.next()) {
        (b"request", Some(name), key) => request(view, name, key),
        (b"response", Some(name), key) => response(view, name, key),
        (b"source", Some(b"address"), None) => Some(text(view.facts.client.to_string())),
        (b"connection", Some(b"mtls"), None) => Some(PropertyValue::Bool(false)),
        (b"connection", Some(b"tls_version"), None) => {
            view.facts.tls.map(|version| text(format!("TLSv{version}")))
        }
        (b"route_name", None, None) => Some(borrowed(view.route())),
        (b"cluster_name", None, None) => cluster_name(view),
        _ => None,
    };
    let stored = || view.facts.stored.get(path);
    value.or_else(|| stored().map(|value| PropertyValue::Bytes(Cow::Owned(value))))
}

fn request<'a>(view: &'a StreamView, name: &[u8], key: Option<&[u8]>) -> Option<PropertyValue<'a>> {
    let line = view.request_line();
    let header = |name: &[u8]| Some(bytes(view.field(MapKind::RequestHeaders, name)?));
    match (name, key) {
        (b"path", None) => Some(bytes(Cow::Borrowed(line.target))),
        (b"url_path", None) => Some(bytes(Cow::Borrowed(parts(line.target).0))),
        (b"query", None) => Some(bytes(Cow::Borrowed(parts(line.target).1))),
        (b"host", None) => Some(bytes(Cow::Borrowed(line.authority))),
        (b"method", None) => Some(bytes(Cow::Borrowed(line.method))),
        (b"scheme", None) => Some(borrowed(view.facts.scheme.as_str())),
        (b"protocol", None) => Some(borrowed(protocol(view))),
        (b"id", None) => Some(bytes(Cow::Borrowed(view.facts.request_id.as_bytes()))),
        (b"time", None) => Some(PropertyValue::Time(view.facts.received_at)),
        (b"duration", None) => Some(PropertyValue::Duration(view.facts.received_at.elapsed().ok()?)),
        (b"referer", None) => header(b"referer"),
        (b"useragent", None) => header(b"user-agent"),
        (b"size", None) => Some(size(view.field(MapKind::RequestHeaders, b"content-length")?)),
        (b"headers", Some(key)) => header(key),
        (b"headers", None) => Some(map(view, MapKind::RequestHeaders)),
        _ => None,
    }
}

fn response<'a>(view: &'a StreamView, name: &[u8], key: Option<&[u8]>) -> Option<PropertyValue<'a>> {
    match (name, key) {
        (b"code", None) => Some(PropertyValue::Int(view.status()?.into())),
        (b"headers", Some(key)) => Some(bytes(view.field(MapKind::ResponseHeaders, key)?)),
        (b"headers", None) => Some(map(view, MapKind::ResponseHeaders)),
        (b"trailers", Some(key)) => Some(bytes(view.field(MapKind::ResponseTrailers, key)?)),
        (b"trailers", None) => Some(map(view, MapKind::ResponseTrailers)),
        (b"size", None) => Some(size(view.field(MapKind::ResponseHeaders, b"content-length")?)),
        _ => None,
    }
}

/// Returns the Service of a route with one backend.
fn cluster_name(view: &StreamView) -> Option<PropertyValue<'static>> {
    let backends = &view.facts.route.as_ref()?.backends;
    let [only] = &**backends else { return None };
    Some(text(only.backend.service.to_string()))
}

fn protocol(view: &StreamView) -> &'static str {
    match view.facts.request.version() {
        _ if view.facts.is_http2 => "HTTP/2",
        http1::Version::Http10 => "HTTP/1.0",
        http1::Version::Http11 => "HTTP/1.1",
    }
}

/// Splits a target into path and query.
fn parts(target: &[u8]) -> (&[u8], &[u8]) {
    let mut parts = target.splitn(2, |byte| *byte == b'?');
    (parts.next().unwrap_or_default(), parts.next().unwrap_or_default())
}

fn size(value: Cow<'_, [u8]>) -> PropertyValue<'static> {
    PropertyValue::Int(str::from_utf8(&value).ok().and_then(|text| text.parse().ok()).unwrap_or(0))
}

fn map(view: &StreamView, kind: MapKind) -> PropertyValue<'static> {
    let mut pairs = Vec::new();
    view.for_each_field(kind, &mut |name, value| {
        pairs.push((Cow::Owned(name.to_vec()), Cow::Owned(value.to_vec())));
    });
    PropertyValue::Map(pairs)
}

fn borrowed(text: &str) -> PropertyValue<'_> {
    PropertyValue::Bytes(Cow::Borrowed(text.as_bytes()))
}

fn text(text: String) -> PropertyValue<'static> {
    PropertyValue::Bytes(Cow::Owned(text.into_bytes()))
}

fn bytes(value: Cow<'_, [u8]>) -> PropertyValue<'_> {
    PropertyValue::Bytes(value)
}
