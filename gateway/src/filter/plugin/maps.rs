//! Header maps as a guest sees them: a head with the edits so far, and pseudo-header fields.

use std::borrow::Cow;

use http1::name::is_forwarding_field;
use http1::{Head, HeadBuilder, KnownName};
use plugin_host::{EditError, EditOutcome, MapEdit};

use crate::message::{
    FieldError, FieldName, FieldValue, LocalReply, Original, Patch, RequestAuthority, RequestMethod,
    RequestTarget,
};

/// A response as a guest sees it.
#[derive(Debug)]
pub(super) enum ResponseSource {
    Upstream(Head),
    Local(LocalReply),
}

impl ResponseSource {
    pub(super) fn new(original: Original<'_>) -> Self {
        match original {
            Original::Upstream(head) => Self::Upstream(head.clone()),
            Original::Local(reply) => Self::Local(reply.clone()),
        }
    }

    /// Returns the status without edits.
    pub(super) fn status(&self) -> u16 {
        match self {
            Self::Upstream(head) => head.status(),
            Self::Local(reply) => reply.status(),
        }
    }
}

/// Calls `on_field` for the fields of a request that the client sent and that a plugin may see, then for those that
/// edits added. Framing, hop-by-hop and forwarding fields are the gateway's.
pub(super) fn for_each_request_field(head: &Head, patch: &Patch, mut on_field: impl FnMut(&[u8], &[u8])) {
    for (known, name, value) in head.fields() {
        let is_hidden = match known {
            Some(KnownName::Host) => true,
            Some(KnownName::ContentLength) => false,
            Some(known) => known.is_hop_by_hop() || is_forwarding_field(name),
            None => is_forwarding_field(name),
        };
        if !is_hidden && !patch.drops(name) {
            on_field(name, value);
        }
    }
    patch.added().for_each(|(name, value)| on_field(name, value));
}

/// As [`for_each_request_field`], for a response.
pub(super) fn for_each_response_field(
    response: &ResponseSource,
    patch: &Patch,
    mut on_field: impl FnMut(&[u8], &[u8]),
) {
    match response {
        ResponseSource::Upstream(head) => {
            for (known, name, value) in head.fields() {
                let is_hidden = known.is_some_and(KnownName::is_hop_by_hop);
                if !is_hidden && !patch.drops(name) {
                    on_field(name, value);
                }
            }
        }
        ResponseSource::Local(reply) => {
            reply
                .fields()
                .filter(|(name, _)| !patch.drops(name))
                .for_each(|(name, value)| on_field(name, value));
        }
    }
    patch.added().for_each(|(name, value)| on_field(name, value));
}

/// Folds a name to lower case. Borrows names that are.
pub(super) fn lower(name: &[u8]) -> Cow<'_, [u8]> {
    if name.iter().any(u8::is_ascii_uppercase) {
        Cow::Owned(name.to_ascii_lowercase())
    } else {
        Cow::Borrowed(name)
    }
}

/// Edits a request's map.
pub(super) fn edit_request(
    patch: &mut Patch,
    head: &Head,
    edit: MapEdit<'_>,
) -> Result<EditOutcome, EditError> {
    check_size(patch, &edit)?;
    let mut fields = Vec::new();
    if matches!(edit, MapEdit::ReplaceAll(_)) {
        for_each_request_field(head, patch, |name, _| fields.push(name.to_vec()));
    }
    edit_map(patch, edit, &fields, &|patch, name, value| set_request_pseudo(patch, head, name, value))
}

/// Edits a response's map.
pub(super) fn edit_response(
    patch: &mut Patch,
    response: &ResponseSource,
    edit: MapEdit<'_>,
) -> Result<EditOutcome, EditError> {
    check_size(patch, &edit)?;
    let mut fields = Vec::new();
    if matches!(edit, MapEdit::ReplaceAll(_)) {
        for_each_response_field(response, patch, |name, _| fields.push(name.to_vec()));
    }
    edit_map(patch, edit, &fields, &|patch, name, value| set_status(patch, response.status(), name, value))
}

/// Maximum bytes of the edits of one map. A guest that loops would otherwise fill the gateway's memory.
const MAX_EDIT_BYTES: usize = 64 * 1024;

/// Checks that an edit keeps a patch within [`MAX_EDIT_BYTES`].
fn check_size(patch: &Patch, edit: &MapEdit<'_>) -> Result<(), EditError> {
    let added = match edit {
        MapEdit::Set { name, value } | MapEdit::Add { name, value } => name.len() + value.len(),
        MapEdit::Remove { name } => name.len(),
        MapEdit::ReplaceAll(pairs) => pairs.iter().map(|(name, value)| name.len() + value.len()).sum(),
    };
    if patch.size() + added > MAX_EDIT_BYTES { Err(EditError::TooLarge) } else { Ok(()) }
}

type SetPseudo<'a> = &'a dyn Fn(&mut Patch, &[u8], &[u8]) -> Result<EditOutcome, EditError>;

fn edit_map(
    patch: &mut Patch,
    edit: MapEdit<'_>,
    present: &[Vec<u8>],
    set_pseudo: SetPseudo<'_>,
) -> Result<EditOutcome, EditError> {
    match edit {
        MapEdit::Set { name, value } | MapEdit::Add { name, value } if name.first() == Some(&b':') => {
            set_pseudo(patch, name, value)
        }
        MapEdit::Set { name, value } => {
            set_field(patch, name, value, |patch, name, value| patch.set(name, value))
        }
        MapEdit::Add { name, value } => {
            set_field(patch, name, value, |patch, name, value| patch.add(name, value))
        }
        // Each message has its pseudo-header fields.
        MapEdit::Remove { name } if name.first() == Some(&b':') => Ok(EditOutcome::Ignored),
        MapEdit::Remove { name } => remove_field(patch, name),
        MapEdit::ReplaceAll(pairs) => {
            for name in present {
                remove_field(patch, name)?;
            }
            let mut outcome = EditOutcome::Applied;
            for (name, value) in pairs {
                let added = edit_map(patch, MapEdit::Add { name, value }, &[], set_pseudo)?;
                if added == EditOutcome::Ignored {
                    outcome = added;
                }
            }
            Ok(outcome)
        }
    }
}

fn set_field(
    patch: &mut Patch,
    name: &[u8],
    value: &[u8],
    set: impl FnOnce(&mut Patch, FieldName, FieldValue),
) -> Result<EditOutcome, EditError> {
    let Some(name) = parse_name(patch, name)? else { return Ok(EditOutcome::Ignored) };
    let value = FieldValue::parse(value.to_vec()).map_err(|_| EditError::Malformed)?;
    set(patch, name, value);
    Ok(EditOutcome::Applied)
}

fn remove_field(patch: &mut Patch, name: &[u8]) -> Result<EditOutcome, EditError> {
    // How a plugin says that it will change the body, for other hosts too.
    if is_content_length(name) {
        patch.set_changes_length();
        return Ok(EditOutcome::Applied);
    }
    // A malformed name is in no map.
    let Ok(Some(name)) = parse_name(patch, name) else { return Ok(EditOutcome::Ignored) };
    patch.remove(name);
    Ok(EditOutcome::Applied)
}

/// Parses a name. Returns `None` for one that only the gateway writes. An edit of Content-Length says that the body
/// will have another length.
fn parse_name(patch: &mut Patch, name: &[u8]) -> Result<Option<FieldName>, EditError> {
    if is_content_length(name) {
        patch.set_changes_length();
    }
    let text = str::from_utf8(name).map_err(|_| EditError::Malformed)?;
    match FieldName::parse(text) {
        Ok(name) => Ok(Some(name)),
        Err(FieldError::Reserved) => Ok(None),
        Err(FieldError::Name | FieldError::Value) => Err(EditError::Malformed),
    }
}

fn is_content_length(name: &[u8]) -> bool {
    name.eq_ignore_ascii_case(b"content-length")
}

fn set_request_pseudo(
    patch: &mut Patch,
    head: &Head,
    name: &[u8],
    value: &[u8],
) -> Result<EditOutcome, EditError> {
    match name {
        b":path" => {
            let target = RequestTarget::parse(value).ok_or(EditError::Malformed)?;
            patch.line_mut().target = Some(target);
        }
        b":authority" => {
            let authority = RequestAuthority::parse(value).ok_or(EditError::Malformed)?;
            patch.line_mut().authority = Some(authority);
        }
        b":method" if value == head.method() => patch.line_mut().method = None,
        // A HEAD request has no response body, whatever the plugin makes of it.
        b":method" if head.method() == b"HEAD" => return Ok(EditOutcome::Ignored),
        b":method" => match RequestMethod::parse(value) {
            Some(method) => patch.line_mut().method = Some(method),
            None => return Ok(EditOutcome::Ignored),
        },
        _ => return Ok(EditOutcome::Ignored),
    }
    Ok(EditOutcome::Applied)
}

/// Sets `:status`. Statuses without a body stay what they are, since the body follows.
fn set_status(patch: &mut Patch, original: u16, name: &[u8], value: &[u8]) -> Result<EditOutcome, EditError> {
    if name != b":status" {
        return Ok(EditOutcome::Ignored);
    }
    let text = str::from_utf8(value).map_err(|_| EditError::Malformed)?;
    let status: u16 = text.parse().map_err(|_| EditError::Malformed)?;
    let has_body = |status: u16| matches!(status, 200..=599) && !matches!(status, 204 | 304);
    if status == original {
        patch.line_mut().status = None;
    } else if has_body(status) && has_body(original) {
        patch.line_mut().status = Some(status);
    } else {
        return Ok(EditOutcome::Ignored);
    }
    Ok(EditOutcome::Applied)
}

/// Returns a trailer section with edits.
pub(super) fn patched_trailers(trailers: Head, patch: &Patch) -> Head {
    if patch.is_empty() {
        return trailers;
    }
    let mut patched = HeadBuilder::response(200, 8);
    for (_, name, value) in trailers.fields().filter(|(_, name, _)| !patch.drops(name)) {
        patched.field(name, value);
    }
    patch.added().for_each(|(name, value)| patched.field(name, value));
    patched.build()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn removing_content_length_announces_another_body() {
        let response = ResponseSource::Upstream(HeadBuilder::response(200, 0).build());
        for (name, outcome) in
            [(&b"Content-Length"[..], EditOutcome::Applied), (b"connection", EditOutcome::Ignored)]
        {
            let mut patch = Patch::default();
            assert_eq!(edit_response(&mut patch, &response, MapEdit::Remove { name }), Ok(outcome));
            assert_eq!(patch.changes_length(), outcome == EditOutcome::Applied);
            assert!(patch.is_empty());
        }
    }
}
