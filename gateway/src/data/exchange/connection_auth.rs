//! Authentication that belongs to a connection: NTLM, and Negotiate over it.
//!
//! The endpoint authenticates the connection and takes each later request on it for one of that user (RFC 4559 §6). Such
//! a connection must carry no other client's requests.

use http1::{Head, KnownName};

use crate::message::Patch;

/// First letters of the schemes, in lower case. Windows also has `Nego2`.
const SCHEMES: [&[u8]; 2] = [b"ntlm", b"nego"];

/// Returns true if the request has credentials of such a scheme, or the response asks for them. `patch` has the fields
/// that filters add to the request.
pub(super) fn is_used(request: &Head, patch: Option<&Patch>, response: &Head) -> bool {
    let added = patch.into_iter().flat_map(Patch::added);
    let added = added.filter(|(name, _)| name.eq_ignore_ascii_case(b"authorization")).map(|(_, value)| value);
    request.get_all(KnownName::Authorization).chain(added).any(has_scheme)
        || response.get_all(KnownName::WwwAuthenticate).any(has_scheme)
}

/// Returns true if a challenge or credentials of a list are of such a scheme.
fn has_scheme(value: &[u8]) -> bool {
    value.split(|byte| *byte == b',').any(|part| {
        let part = part.trim_ascii_start();
        SCHEMES
            .iter()
            .any(|scheme| part.get(..scheme.len()).is_some_and(|start| start.eq_ignore_ascii_case(scheme)))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn schemes_are_found_in_every_spelling_and_position() {
        for (value, expected) in [
            ("NTLM", true),
            ("ntlm TlRMTVNTUAAB", true),
            ("Negotiate", true),
            ("Nego2 x", true),
            ("Basic realm=\"a\", Negotiate, NTLM", true),
            ("Basic realm=\"a\",NTLM", true),
            ("Basic bnRsbQ==", false),
            ("Bearer negotiate", false),
            ("", false),
            (", ,", false),
        ] {
            assert_eq!(has_scheme(value.as_bytes()), expected, "{value:?}");
        }
    }
}
