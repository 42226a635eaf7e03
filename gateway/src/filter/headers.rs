//! `requestHeaders` and `responseHeaders`: edits that a policy lists.

use std::sync::Arc;

use api::RoutePolicySpec;
use api::policy::HeaderEdits;

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
    for field in edits.set.iter().flatten() {
        if let (Ok(name), Ok(value)) = (FieldName::parse(&field.name), FieldValue::parse(field.value.clone()))
        {
            patch.set(name, value);
        }
    }
    for field in edits.add.iter().flatten() {
        if let (Ok(name), Ok(value)) = (FieldName::parse(&field.name), FieldValue::parse(field.value.clone()))
        {
            patch.add(name, value);
        }
    }
    patch
}

impl Filter for Headers {
    fn stage(&self) -> Stage {
        Stage::Headers
    }

    fn phases(&self) -> Phases {
        Phases { request: !self.request.is_empty(), response: !self.response.is_empty() }
    }

    fn request(&self, _slot: &mut Slot, head: &mut RequestHead<'_>, _cx: &FilterContext<'_>) -> Step {
        head.patch().append(&self.request);
        Step::Continue
    }

    fn response(&self, _slot: &mut Slot, head: &mut ResponseHead<'_>, _cx: &FilterContext<'_>) {
        head.patch().append(&self.response);
    }
}
