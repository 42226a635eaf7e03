//! Tokens in the compact serialization (RFC 7515 §7.1).

use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use serde::Deserialize;

use crate::algorithm::Algorithm;
use crate::claims::Claims;

/// A token whose signature and claims are not checked yet.
pub(crate) struct Token<'a> {
    pub(crate) algorithm: Algorithm,
    pub(crate) key_id: Option<String>,
    pub(crate) claims: Claims,
    /// The bytes that are signed.
    pub(crate) signed: &'a [u8],
    pub(crate) signature: Vec<u8>,
}

/// The JOSE header. A member that is there twice is an error of `serde`.
#[derive(Deserialize)]
struct Header {
    alg: String,
    kid: Option<String>,
    crit: Option<serde::de::IgnoredAny>,
}

impl<'a> Token<'a> {
    /// Parses a token.
    ///
    /// # Errors
    /// Why it is none that can be checked.
    pub(crate) fn parse(token: &'a [u8]) -> Result<Self, &'static str> {
        let mut parts = token.split(|byte| *byte == b'.');
        let (Some(header), Some(payload), Some(signature), None) =
            (parts.next(), parts.next(), parts.next(), parts.next())
        else {
            return Err("the token has not three parts");
        };
        let signed = token.get(..header.len() + 1 + payload.len()).unwrap_or_default();
        let header: Header =
            serde_json::from_slice(&decoded(header)?).map_err(|_| "the token's header is malformed")?;
        // No extension is known, so a critical one is not understood (RFC 7515 §4.1.11).
        if header.crit.is_some() {
            return Err("the token has critical extensions");
        }
        let algorithm = Algorithm::from_name(&header.alg).ok_or("the token's algorithm is not supported")?;
        let claims = Claims::parse(&decoded(payload)?).ok_or("the token's claims are malformed")?;
        Ok(Self { algorithm, key_id: header.kid, claims, signed, signature: decoded(signature)? })
    }
}

fn decoded(part: &[u8]) -> Result<Vec<u8>, &'static str> {
    BASE64_URL_SAFE_NO_PAD.decode(part).map_err(|_| "the token is not base64url")
}
