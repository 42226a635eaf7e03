//! The target of a request on its way to the endpoint.

use http1::Head;

/// Returns the request target for the endpoint, in two parts. It is the client's unless its path has dot segments.
///
/// An endpoint would resolve dot segments to a path that may belong to another rule. `canonical` is the path that was
/// matched.
pub fn forwarded_target<'a>(request: &'a Head, canonical: &'a str) -> (&'a [u8], &'a [u8]) {
    let (target, path) = (request.target(), request.path());
    if path == canonical.as_bytes() || !has_dot_segment(path) {
        return (target, b"");
    }
    (canonical.as_bytes(), target.get(path.len()..).unwrap_or_default())
}

/// Returns true if a segment begins with a dot, plain or encoded. That includes all dot segments.
fn has_dot_segment(path: &[u8]) -> bool {
    path.windows(2).any(|pair| pair == b"/.")
        || path.windows(4).any(|four| four.eq_ignore_ascii_case(b"/%2e"))
}

#[cfg(test)]
mod tests {
    use http1::HeadBuilder;

    use super::*;

    #[test]
    fn only_targets_with_dot_segments_are_replaced() {
        for (target, canonical, expected) in [
            ("/a/b?c", "/a/b", "/a/b?c"),
            ("/a//b", "/a/b", "/a//b"),
            ("/a/../b?c=/../", "/b", "/b?c=/../"),
            ("/a/%2E%2e/b", "/b", "/b"),
            ("/a/.b", "/a/.b", "/a/.b"),
        ] {
            let head = HeadBuilder::request(b"GET", target.as_bytes(), 0).build();
            let (path, rest) = forwarded_target(&head, canonical);
            assert_eq!([path, rest].concat(), expected.as_bytes(), "{target}");
        }
    }
}
