//! Properties that follow from the messages, as a host has them.

use crate::host::MapKind;

/// Returns a property of the request or response. `field` finds the first value of a field. Returns `None` for others.
pub(super) fn of_messages(path: &[u8], field: impl Fn(MapKind, &[u8]) -> Option<Vec<u8>>) -> Option<Vec<u8>> {
    let segments: Vec<&[u8]> = path.split(|byte| *byte == 0).collect();
    let request = |name: &[u8]| field(MapKind::RequestHeaders, name);
    match segments[..] {
        [b"request", b"method"] => request(b":method"),
        [b"request", b"path"] => request(b":path"),
        [b"request", b"url_path"] => Some(split(&request(b":path")?).0.to_vec()),
        [b"request", b"query"] => Some(split(&request(b":path")?).1.to_vec()),
        [b"request", b"host"] => request(b":authority"),
        [b"request", b"scheme"] => request(b":scheme"),
        [b"request", b"headers", name] => request(name),
        [b"response", b"headers", name] => field(MapKind::ResponseHeaders, name),
        [b"response", b"code"] => {
            let status = String::from_utf8(field(MapKind::ResponseHeaders, b":status")?).ok()?;
            Some(status.parse::<i64>().ok()?.to_le_bytes().to_vec())
        }
        _ => None,
    }
}

/// Splits path and query.
fn split(target: &[u8]) -> (&[u8], &[u8]) {
    let mut parts = target.splitn(2, |byte| *byte == b'?');
    (parts.next().unwrap_or_default(), parts.next().unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn properties_follow_from_the_messages() {
        let field = |map: MapKind, name: &[u8]| match (map, name) {
            (MapKind::RequestHeaders, b":path") => Some(b"/a?b?c".to_vec()),
            (MapKind::RequestHeaders, b"x-a") => Some(b"1".to_vec()),
            (MapKind::ResponseHeaders, b":status") => Some(b"201".to_vec()),
            _ => None,
        };
        for (path, expected) in [
            ("request.url_path", Some(&b"/a"[..])),
            ("request.query", Some(b"b?c")),
            ("request.headers.x-a", Some(b"1")),
            ("request.headers.x-b", None),
            ("response.code", Some(&[201, 0, 0, 0, 0, 0, 0, 0])),
            ("route_name", None),
        ] {
            let segments = path.replace('.', "\0");
            assert_eq!(of_messages(segments.as_bytes(), field).as_deref(), expected, "{path}");
        }
    }
}
