//! Edits of messages and replies of the plugin, by the rules of the gateway.

use api::message_edit;
use api::message_edit::EDIT_OVERHEAD_BYTES;
use api::message_edit::MAX_EDIT_BYTES;
use api::policy;

use super::message::FieldList;
use crate::host::Edit;
use crate::host::LocalResponse;
use crate::host::Status;
use crate::pairs::Fields;

/// What the plugin edited in a map of fields.
#[derive(Debug, Default)]
pub(super) struct Edits {
    /// Names and bytes of the edits that count.
    recorded: Vec<(String, usize)>,
    /// Method or status before the plugin edited it.
    original: Option<Vec<u8>>,
}

impl Edits {
    /// Applies an edit to the fields of a message. One that only the gateway may make has no effect.
    ///
    /// # Errors
    /// [`Status::BadArgument`] if the name or value is malformed, [`Status::InternalFailure`] if all edits are too large.
    pub(super) fn apply(&mut self, fields: &mut FieldList, edit: Edit<'_>) -> Result<(), Status> {
        let (name, value) = match edit {
            Edit::Append(name, value) | Edit::Set(name, value) => (name, Some(value)),
            Edit::Remove(name) => (name, None),
        };
        let size: usize = self.recorded.iter().map(|(_, bytes)| bytes).sum();
        let bytes = name.len() + value.unwrap_or_default().len();
        if size + bytes > MAX_EDIT_BYTES {
            return Err(Status::InternalFailure);
        }
        if name.starts_with(b":") {
            return value.map_or(Ok(()), |value| self.set_pseudo(fields, name, value));
        }
        let name = str::from_utf8(name).ok().filter(|name| policy::is_field_name(name));
        let Some(name) = name.map(str::to_ascii_lowercase) else {
            // A malformed name is in no map.
            return if value.is_some() { Err(Status::BadArgument) } else { Ok(()) };
        };
        // Its removal says that the body will have another length.
        let is_announcement = value.is_none() && name == "content-length";
        if policy::is_reserved_field(&name) && !is_announcement {
            return Ok(());
        }
        if value.is_some_and(|value| !policy::is_field_value(value)) {
            return Err(Status::BadArgument);
        }
        if !matches!(edit, Edit::Append(..)) {
            self.recorded.retain(|(known, _)| *known != name);
        }
        if !is_announcement {
            self.recorded.push((name.clone(), EDIT_OVERHEAD_BYTES + bytes));
        }
        match edit {
            Edit::Append(_, value) => fields.push((name, value.to_vec())),
            Edit::Set(_, value) => set(fields, name, value),
            Edit::Remove(_) => fields.retain(|(known, _)| *known != name),
        }
        Ok(())
    }

    /// Sets a part of the first line. `:scheme`, and what would frame the message differently, stay as they are.
    fn set_pseudo(&mut self, fields: &mut FieldList, name: &[u8], value: &[u8]) -> Result<(), Status> {
        let is_known = |field: &&(String, Vec<u8>)| field.0.as_bytes() == name;
        let Some((name, present)) = fields.iter().find(is_known).cloned() else { return Ok(()) };
        let original = || self.original.clone().unwrap_or_else(|| present.clone());
        let is_applied = match name.as_str() {
            ":path" if !message_edit::is_request_target(value) => return Err(Status::BadArgument),
            ":authority" if !message_edit::is_request_authority(value) => return Err(Status::BadArgument),
            ":path" | ":authority" => true,
            ":method" => {
                let original = original();
                value == original || original != b"HEAD" && message_edit::is_request_method(value)
            }
            ":status" => {
                let status = parse_status(value).ok_or(Status::BadArgument)?;
                message_edit::can_replace_status(parse_status(&original()).unwrap_or_default(), status)
            }
            _ => false,
        };
        if matches!(name.as_str(), ":method" | ":status") {
            self.original.get_or_insert(present);
        }
        if is_applied {
            set(fields, name, value);
        }
        Ok(())
    }
}

fn parse_status(value: &[u8]) -> Option<u16> {
    str::from_utf8(value).ok()?.parse().ok()
}

fn set(fields: &mut FieldList, name: String, value: &[u8]) {
    let first = fields.iter().position(|(known, _)| *known == name).unwrap_or(fields.len());
    fields.retain(|(known, _)| *known != name);
    fields.insert(first.min(fields.len()), (name, value.to_vec()));
}

/// Returns head and body of a reply of the plugin. Fields that the plugin may not write are left out.
pub(super) fn reply(response: &LocalResponse<'_>) -> (FieldList, Vec<u8>) {
    let status = message_edit::reply_status(response.status.into());
    let mut head = vec![(":status".to_owned(), status.to_string().into_bytes())];
    head.extend(writable(response.headers, |name| !policy::is_reserved_field(name)));
    let body = if matches!(status, 204 | 304) { Vec::new() } else { response.body.to_vec() };
    if !response.body.is_empty() && !head.iter().any(|(name, _)| name == "content-type") {
        head.push(("content-type".to_owned(), b"text/plain".to_vec()));
    }
    (head, body)
}

/// Returns the fields of a callout that its service receives. Returns `None` if the first line is malformed: the callout
/// fails.
pub(super) fn callout(headers: &[u8]) -> Option<FieldList> {
    let block = Fields::from_block(headers.to_vec());
    let is_method = |method: &[u8]| method == b"HEAD" || message_edit::is_request_method(method);
    let is_valid = is_method(block.get_bytes(":method")?)
        && message_edit::is_request_target(block.get_bytes(":path")?)
        && message_edit::is_request_authority(block.get_bytes(":authority")?);
    let pseudo = block.all().filter(|(name, _)| name.starts_with(b":"));
    let mut fields: FieldList =
        pseudo.map(|(name, value)| (String::from_utf8_lossy(name).into_owned(), value.to_vec())).collect();
    fields.extend(sendable(headers));
    is_valid.then_some(fields)
}

/// Returns the fields of a block that a callout may send. It may describe the hops of the request that it asks about.
pub(super) fn sendable(block: &[u8]) -> FieldList {
    writable(block, |name| !policy::is_framing_field(name))
}

fn writable(block: &[u8], is_allowed: impl Fn(&str) -> bool) -> FieldList {
    let fields = Fields::from_block(block.to_vec());
    let fields = fields.all().filter_map(|(name, value)| {
        let name =
            str::from_utf8(name).ok().filter(|name| policy::is_field_name(name) && is_allowed(name))?;
        policy::is_field_value(value).then(|| (name.to_ascii_lowercase(), value.to_vec()))
    });
    fields.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn edits_of_one_name_count_once_unless_appended() {
        let value = [b'v'; MAX_EDIT_BYTES * 2 / 5];
        let (mut edits, mut fields) = (Edits::default(), FieldList::new());
        for _ in 0..3 {
            assert_eq!(edits.apply(&mut fields, Edit::Set(b"a", &value)), Ok(()));
        }
        assert_eq!(edits.apply(&mut fields, Edit::Append(b"a", &value)), Ok(()));
        assert_eq!(edits.apply(&mut fields, Edit::Append(b"a", &value)), Err(Status::InternalFailure));
        assert_eq!(edits.apply(&mut fields, Edit::Remove(b"a")), Ok(()));
        assert_eq!(edits.apply(&mut fields, Edit::Append(b"a", &value)), Ok(()));
        assert_eq!(fields.len(), 1);
    }

    #[test]
    fn status_is_compared_with_the_first_one() {
        let (mut edits, mut fields) = (Edits::default(), vec![(":status".to_owned(), b"200".to_vec())]);
        for (status, result, expected) in [
            ("404", Ok(()), "404"),
            ("204", Ok(()), "404"),
            ("999", Ok(()), "404"),
            ("200", Ok(()), "200"),
            ("x", Err(Status::BadArgument), "200"),
        ] {
            assert_eq!(
                edits.apply(&mut fields, Edit::Set(b":status", status.as_bytes())),
                result,
                "{status}"
            );
            assert_eq!(fields, [(":status".to_owned(), expected.as_bytes().to_vec())], "{status}");
        }
    }
}
