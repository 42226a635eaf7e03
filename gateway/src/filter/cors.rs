//! `cors`: lets pages of other origins read responses (Fetch standard, CORS protocol).

use std::sync::Arc;

use api::RoutePolicySpec;
use api::policy::Cors as CorsFields;

use super::{Filter, FilterContext, Phases, Slot, Stage, Step};
use crate::message::{FieldName, FieldValue, LocalReply, RequestHead, ResponseHead};

const ALLOW_ORIGIN: FieldName = FieldName::from_static("access-control-allow-origin");
const ALLOW_CREDENTIALS: FieldName = FieldName::from_static("access-control-allow-credentials");
const ALLOW_METHODS: FieldName = FieldName::from_static("access-control-allow-methods");
const ALLOW_HEADERS: FieldName = FieldName::from_static("access-control-allow-headers");
const EXPOSE_HEADERS: FieldName = FieldName::from_static("access-control-expose-headers");
const MAX_AGE: FieldName = FieldName::from_static("access-control-max-age");
const VARY: FieldName = FieldName::from_static("vary");

/// The fields that a response must not bring from the endpoint: two values of one of them make browsers refuse it.
const CORS_FIELDS: [FieldName; 6] =
    [ALLOW_ORIGIN, ALLOW_CREDENTIALS, ALLOW_METHODS, ALLOW_HEADERS, EXPOSE_HEADERS, MAX_AGE];

#[derive(Debug)]
struct Cors {
    origins: Vec<AllowedOrigin>,
    credentials: bool,
    methods: Allowed,
    headers: Allowed,
    exposed: Option<FieldValue>,
    max_age: Option<FieldValue>,
}

/// What a preflight response allows.
#[derive(Debug)]
enum Allowed {
    /// Only what needs no permission.
    Safelisted,
    /// This list; `*` alone allows everything if no credentials are sent.
    Listed(FieldValue),
    /// Whatever the preflight request asks for.
    Requested,
}

/// An entry of `allowOrigins`.
#[derive(Debug)]
enum AllowedOrigin {
    /// `*`
    Any,
    /// `https://shop.example`
    Exact(String),
    /// `https://*.shop.example`: one label before the suffix.
    Label { scheme: String, suffix: String },
}

/// The state of a request, in its [`Slot`].
const NOT_ALLOWED: u32 = 0;
const ALLOWED: u32 = 1;
const PREFLIGHT: u32 = 2;

/// Returns the filter if the policy allows origins.
pub(super) fn build(spec: &RoutePolicySpec) -> Option<Arc<dyn Filter>> {
    let CorsFields {
        allow_origins,
        allow_methods,
        allow_headers,
        expose_headers,
        allow_credentials,
        max_age,
    } = spec.cors.as_ref()?;
    let origins = allow_origins.as_ref()?.iter().map(|origin| AllowedOrigin::parse(origin)).collect();
    let credentials = allow_credentials.unwrap_or(false);
    let any_method = if credentials { AnyForm::Requested } else { AnyForm::Star };
    Some(Arc::new(Cors {
        origins,
        credentials,
        methods: Allowed::new(allow_methods.as_deref(), any_method),
        // `*` never covers Authorization, so the requested names are listed.
        headers: Allowed::new(allow_headers.as_deref(), AnyForm::Requested),
        exposed: list(expose_headers.as_deref()),
        max_age: max_age.and_then(|age| FieldValue::parse(age.as_secs().to_string()).ok()),
    }))
}

fn list(items: Option<&[String]>) -> Option<FieldValue> {
    let items = items.filter(|items| !items.is_empty())?;
    FieldValue::parse(items.join(", ")).ok()
}

/// How a preflight response allows everything.
#[derive(Clone, Copy, PartialEq, Eq)]
enum AnyForm {
    /// By `*`.
    Star,
    /// By the names that the request asks for.
    Requested,
}

impl Allowed {
    fn new(items: Option<&[String]>, form: AnyForm) -> Self {
        let is_any = items.is_some_and(|items| items.iter().any(|item| item == "*"));
        match list(items) {
            Some(_) if is_any && form == AnyForm::Requested => Self::Requested,
            Some(list) => Self::Listed(list),
            None => Self::Safelisted,
        }
    }

    /// Returns the value for a preflight request that asks by the field `requested`.
    fn value(&self, cx: &FilterContext<'_>, requested: &[u8]) -> Option<FieldValue> {
        match self {
            Self::Safelisted => None,
            Self::Listed(list) => Some(list.clone()),
            Self::Requested => FieldValue::parse(single_value(cx, requested)?.to_vec()).ok(),
        }
    }
}

impl AllowedOrigin {
    fn parse(text: &str) -> Self {
        match text.split_once("://*") {
            _ if text == "*" => Self::Any,
            Some((scheme, suffix)) => Self::Label { scheme: scheme.to_owned(), suffix: suffix.to_owned() },
            None => Self::Exact(text.to_owned()),
        }
    }

    fn matches(&self, origin: &[u8]) -> bool {
        match self {
            Self::Any => true,
            Self::Exact(exact) => exact.as_bytes().eq_ignore_ascii_case(origin),
            Self::Label { scheme, suffix } => {
                let rest = origin
                    .split_at_checked(scheme.len())
                    .filter(|(found, _)| found.eq_ignore_ascii_case(scheme.as_bytes()));
                let host = rest.and_then(|(_, rest)| rest.strip_prefix(b"://"));
                let label = host.and_then(|host| {
                    let (label, end) = host.split_at_checked(host.len().checked_sub(suffix.len())?)?;
                    end.eq_ignore_ascii_case(suffix.as_bytes()).then_some(label)
                });
                label.is_some_and(|label| !label.is_empty() && !label.contains(&b'.'))
            }
        }
    }
}

impl Cors {
    /// Is the response the same for all origins?
    fn allows_any_origin(&self) -> bool {
        !self.credentials && self.origins.iter().any(|origin| matches!(origin, AllowedOrigin::Any))
    }
}

/// Returns the only value of a field; `None` for several.
fn single_value<'a>(cx: &FilterContext<'a>, name: &[u8]) -> Option<&'a [u8]> {
    let mut values = cx.request.fields().filter(|(_, found, _)| found.eq_ignore_ascii_case(name));
    let (_, _, value) = values.next()?;
    values.next().is_none().then_some(value)
}

impl Filter for Cors {
    fn stage(&self) -> Stage {
        Stage::Cors
    }

    fn phases(&self) -> Phases {
        Phases { request: true, response: true, ..Phases::default() }
    }

    fn request(&self, slot: &mut Slot, _head: &mut RequestHead<'_>, cx: &FilterContext<'_>) -> Step {
        let Some(origin) = single_value(cx, b"origin") else { return Step::Continue };
        let is_allowed = self.origins.iter().any(|allowed| allowed.matches(origin));
        slot.word = if is_allowed { ALLOWED } else { NOT_ALLOWED };
        let is_preflight =
            cx.request.method() == b"OPTIONS" && single_value(cx, b"access-control-request-method").is_some();
        if !is_preflight {
            return Step::Continue;
        }
        slot.word |= PREFLIGHT;
        Step::Reply(Box::new(LocalReply::new(204, "cors_preflight")))
    }

    fn response(&self, slot: &mut Slot, head: &mut ResponseHead<'_>, cx: &FilterContext<'_>) -> Step {
        for name in CORS_FIELDS {
            head.patch().remove(name);
        }
        if !self.allows_any_origin() && !head.has_token("vary", b"origin") && !head.has_token("vary", b"*") {
            head.patch().add(VARY, FieldValue::from_static("Origin"));
        }
        // A response that is the same for all origins is cached for all of them, so a request without Origin gets it too.
        if slot.word & ALLOWED == 0 && !self.allows_any_origin() {
            return Step::Continue;
        }
        let origin = if self.allows_any_origin() {
            Some(FieldValue::from_static("*"))
        } else {
            single_value(cx, b"origin").and_then(|origin| FieldValue::parse(origin.to_vec()).ok())
        };
        let credentials = self.credentials.then(|| FieldValue::from_static("true"));
        let fields = if slot.word & PREFLIGHT == 0 {
            [(EXPOSE_HEADERS, self.exposed.clone()), (ALLOW_METHODS, None), (MAX_AGE, None)]
        } else {
            [
                (ALLOW_METHODS, self.methods.value(cx, b"access-control-request-method")),
                (ALLOW_HEADERS, self.headers.value(cx, b"access-control-request-headers")),
                (MAX_AGE, self.max_age.clone()),
            ]
        };
        for (name, value) in
            [(ALLOW_ORIGIN, origin), (ALLOW_CREDENTIALS, credentials)].into_iter().chain(fields)
        {
            if let Some(value) = value {
                head.set(name, value);
            }
        }
        Step::Continue
    }
}
