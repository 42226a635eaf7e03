//! Recorded edits of a head.

use std::sync::Arc;

use super::field::{FieldName, FieldValue};
use super::start_line::{RequestAuthority, RequestMethod, RequestTarget};

/// Bytes that an edit counts beside its name and value.
const EDIT_BYTES: usize = 64;

/// Edits of a head, in the order in which filters made them. An empty patch allocates nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Patch {
    edits: Edits,
    line: Option<Box<LineEdits>>,
    changes_length: bool,
}

/// Edits of the first line. Those of the other direction stay `None`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LineEdits {
    /// Method for the endpoint.
    pub method: Option<RequestMethod>,
    /// Target for the endpoint. The route stays.
    pub target: Option<RequestTarget>,
    /// Host for the endpoint.
    pub authority: Option<RequestAuthority>,
    /// Status for the client, 200 to 599, of the same kind of body as the endpoint's.
    pub status: Option<u16>,
}

/// Edits of fields, in one patch or in several.
#[derive(Clone, Debug)]
enum Edits {
    Owned(Vec<Edit>),
    /// Copied before an edit if another patch has them too.
    Shared(Arc<Vec<Edit>>),
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Edit {
    name: FieldName,
    action: Action,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Action {
    /// Replaces all fields of the name.
    Set(FieldValue),
    /// Adds a field behind those of the name.
    Add(FieldValue),
    /// Removes all fields of the name.
    Remove,
}

impl Edits {
    fn as_slice(&self) -> &[Edit] {
        match self {
            Self::Owned(edits) => edits,
            Self::Shared(edits) => edits,
        }
    }

    fn to_mut(&mut self) -> &mut Vec<Edit> {
        match self {
            Self::Owned(edits) => edits,
            Self::Shared(edits) => Arc::make_mut(edits),
        }
    }
}

impl Default for Edits {
    fn default() -> Self {
        Self::Owned(Vec::new())
    }
}

impl PartialEq for Edits {
    fn eq(&self, other: &Self) -> bool {
        self.as_slice() == other.as_slice()
    }
}

impl Eq for Edits {}

impl Patch {
    /// Returns a copy that shares the edits of fields with this patch, until one of both is edited.
    pub fn share(&mut self) -> Self {
        if let Edits::Owned(edits) = &mut self.edits
            && !edits.is_empty()
        {
            self.edits = Edits::Shared(Arc::new(std::mem::take(edits)));
        }
        self.clone()
    }

    /// Replaces all fields of this name, earlier edits included, with one.
    pub fn set(&mut self, name: FieldName, value: FieldValue) {
        self.forget(&name);
        self.edits.to_mut().push(Edit { name, action: Action::Set(value) });
    }

    /// Adds a field of this name and keeps the others.
    pub fn add(&mut self, name: FieldName, value: FieldValue) {
        self.edits.to_mut().push(Edit { name, action: Action::Add(value) });
    }

    /// Removes all fields of this name, earlier edits included.
    pub fn remove(&mut self, name: FieldName) {
        self.forget(&name);
        self.edits.to_mut().push(Edit { name, action: Action::Remove });
    }

    /// Applies all edits of another patch after those of this one.
    pub fn append(&mut self, later: &Self) {
        let later_edits = later.edits.as_slice();
        if !later_edits.is_empty() {
            self.edits.to_mut().reserve(later_edits.len());
        }
        for Edit { name, action } in later_edits {
            match action {
                Action::Set(value) => self.set(name.clone(), value.clone()),
                Action::Add(value) => self.add(name.clone(), value.clone()),
                Action::Remove => self.remove(name.clone()),
            }
        }
        self.changes_length |= later.changes_length;
        if let Some(later) = &later.line {
            let LineEdits { method, target, authority, status } = &**later;
            let line = self.line_mut();
            line.method = method.clone().or(line.method.take());
            line.target = target.clone().or(line.target.take());
            line.authority = authority.clone().or(line.authority.take());
            line.status = status.or(line.status);
        }
    }

    /// Returns the edits of the first line.
    pub fn line(&self) -> Option<&LineEdits> {
        self.line.as_deref()
    }

    /// Returns the edits of the first line, to make more.
    pub fn line_mut(&mut self) -> &mut LineEdits {
        self.line.get_or_insert_default()
    }

    /// Records that a filter will change the length of the body. The gateway then frames it again.
    pub fn set_changes_length(&mut self) {
        self.changes_length = true;
    }

    /// Will a filter change the length of the body?
    pub fn changes_length(&self) -> bool {
        self.changes_length
    }

    /// Is a field with this name of the original head dropped?
    pub fn drops(&self, name: &[u8]) -> bool {
        let drops = |edit: &Edit| match edit.action {
            Action::Set(_) | Action::Remove => edit.name.matches(name),
            Action::Add(_) => false,
        };
        self.edits.as_slice().iter().any(drops)
    }

    /// Returns the fields to write behind those of the original head.
    pub fn added(&self) -> impl Iterator<Item = (&[u8], &[u8])> {
        self.edits.as_slice().iter().filter_map(|edit| match &edit.action {
            Action::Set(value) | Action::Add(value) => Some((edit.name.as_bytes(), value.as_bytes())),
            Action::Remove => None,
        })
    }

    /// Returns the bytes that the edits occupy, at least: names, values, and 64 for each.
    pub fn size(&self) -> usize {
        let value = |action: &Action| match action {
            Action::Set(value) | Action::Add(value) => value.as_bytes().len(),
            Action::Remove => 0,
        };
        self.edits
            .as_slice()
            .iter()
            .map(|edit| EDIT_BYTES + edit.name.as_bytes().len() + value(&edit.action))
            .sum()
    }

    /// Is there no edit of a field?
    pub fn is_empty(&self) -> bool {
        self.edits.as_slice().is_empty()
    }

    fn forget(&mut self, name: &FieldName) {
        if self.edits.as_slice().iter().any(|edit| edit.name == *name) {
            self.edits.to_mut().retain(|edit| edit.name != *name);
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn name(index: usize) -> FieldName {
        FieldName::from_static(["a", "b", "c"][index])
    }

    /// Applies edits to a plain list, as the documentation of the methods says.
    fn naive(fields: &mut Vec<(String, String)>, (index, value): (usize, Option<(bool, u8)>)) {
        let name = ["a", "b", "c"][index].to_owned();
        match value {
            None => fields.retain(|(existing, _)| *existing != name),
            Some((true, value)) => {
                fields.retain(|(existing, _)| *existing != name);
                fields.push((name, value.to_string()));
            }
            Some((false, value)) => fields.push((name, value.to_string())),
        }
    }

    proptest! {
        #[test]
        fn patch_equals_edits_of_a_list(
            original in prop::collection::vec((0..3_usize, any::<u8>()), 0..6),
            edits in prop::collection::vec((0..3_usize, prop::option::of((any::<bool>(), any::<u8>()))), 0..12),
            split in 0..12_usize,
        ) {
            let mut expected: Vec<_> =
                original.iter().map(|(index, value)| (["A", "B", "C"][*index].to_lowercase(), value.to_string())).collect();
            let (mut patch, mut later) = (Patch::default(), Patch::default());
            for (at, (index, edit)) in edits.iter().enumerate() {
                naive(&mut expected, (*index, *edit));
                let target = if at < split { &mut patch } else { &mut later };
                let value = |value: &u8| FieldValue::parse(value.to_string()).unwrap();
                match edit {
                    None => target.remove(name(*index)),
                    Some((true, text)) => target.set(name(*index), value(text)),
                    Some((false, text)) => target.add(name(*index), value(text)),
                }
            }
            let before = Patch { edits: Edits::Owned(patch.edits.as_slice().to_vec()), ..Patch::default() };
            let shared = patch.share();
            patch.append(&later);
            prop_assert_eq!(shared, before);
            let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
            let kept = original.iter().map(|(index, value)| (["A", "B", "C"][*index], value.to_string()));
            let kept = kept.filter(|(name, _)| !patch.drops(name.as_bytes()));
            let mut actual: Vec<_> = kept.map(|(name, value)| (name.to_lowercase(), value)).collect();
            actual.extend(patch.added().map(|(name, value)| (text(name), text(value))));
            // The order matters among fields of one name only.
            for name in ["a", "b", "c"] {
                let of_name = |fields: &[(String, String)]| -> Vec<String> {
                    fields.iter().filter(|(existing, _)| existing == name).map(|(_, value)| value.clone()).collect()
                };
                prop_assert_eq!(of_name(&actual), of_name(&expected));
            }
        }
    }
}
