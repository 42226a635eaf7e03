//! `requestHeaders` and `responseHeaders`: edits that a policy lists.

use std::sync::Arc;

use api::RoutePolicySpec;
use api::policy::{HeaderEdits, HeaderField};

use super::{Filter, FilterContext, Phases, Slot, Stage, Step};
use crate::message::{FieldName, FieldValue, Patch, RequestHead, ResponseHead};

#[derive(Debug)]
struct Headers {
    request: Patch,
    response: Patch,
}

/// Returns the filter if the policy edits header fields.
pub(super) fn build(spec: &RoutePolicySpec) -> Option<Arc<dyn Filter>> {
    let headers = Headers {
        request: patch(spec.request_headers.as_ref()),
        response: patch(spec.response_headers.as_ref()),
    };
    let is_needed = !headers.request.is_empty() || !headers.response.is_empty();
    is_needed.then(|| Arc::new(headers) as Arc<dyn Filter>)
}

/// Records the edits: removals, then replacements, then additions. The compiler has refused invalid ones with a
/// Problem; they are left out here.
fn patch(edits: Option<&HeaderEdits>) -> Patch {
    let mut patch = Patch::default();
    let Some(edits) = edits else { return patch };
    for name in edits.remove.iter().flatten() {
        if let Ok(name) = FieldName::parse(name) {
            patch.remove(name);
        }
    }
    for (name, value) in valid(edits.set.as_deref()) {
        patch.set(name, value);
    }
    for (name, value) in valid(edits.add.as_deref()) {
        patch.add(name, value);
    }
    patch
}

/// Returns the fields that can be written.
fn valid(fields: Option<&[HeaderField]>) -> impl Iterator<Item = (FieldName, FieldValue)> {
    fields.unwrap_or_default().iter().filter_map(|field| {
        Some((FieldName::parse(&field.name).ok()?, FieldValue::parse(field.value.clone()).ok()?))
    })
}

impl Filter for Headers {
    fn stage(&self) -> Stage {
        Stage::Headers
    }

    fn phases(&self) -> Phases {
        Phases { request: !self.request.is_empty(), response: !self.response.is_empty(), ..Phases::default() }
    }

    fn request(&self, _slot: &mut Slot, head: &mut RequestHead<'_>, _cx: &FilterContext<'_>) -> Step {
        head.patch().append(&self.request);
        Step::Continue
    }

    fn response(&self, _slot: &mut Slot, head: &mut ResponseHead<'_>, _cx: &FilterContext<'_>) -> Step {
        head.patch().append(&self.response);
        Step::Continue
    }
}
