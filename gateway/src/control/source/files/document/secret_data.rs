//! The data of a Secret in a file: `stringData`, key pairs, and errors that do not quote it.

use k8s_openapi::api::core::v1 as core;

use super::super::node::ParseError;
use crate::control::source::PemPair;

/// Replaces the message of an error in a Secret's data, which quotes the value.
pub(super) fn redacted(error: ParseError) -> ParseError {
    if error.field.starts_with("metadata") {
        return error;
    }
    ParseError { message: "wrong type, or not base64 (values of Secrets are not shown)".to_owned(), ..error }
}

/// Merges `stringData` into `data` as an API server does. `stringData` takes precedence.
pub(super) fn merge_string_data(secret: &mut core::Secret) {
    for (key, text) in secret.string_data.take().unwrap_or_default() {
        let bytes = k8s_openapi::ByteString(text.into_bytes());
        secret.data.get_or_insert_default().insert(key, bytes);
    }
}

pub(super) fn pem_pair(secret: core::Secret) -> Option<PemPair> {
    let mut data = secret.data?;
    let mut take = |key: &str| data.remove(key).map(|value| value.0).filter(|bytes| !bytes.is_empty());
    Some(PemPair { chain: take("tls.crt")?, key: take("tls.key")? })
}
