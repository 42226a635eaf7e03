//! Keys of a JWK set.

use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use plugin_sdk::prelude::*;
use rsa::BoxedUint;
use rsa::pkcs1v15;
use rsa::pss;
use rsa::signature::Verifier;
use sha2::{Sha256, Sha384, Sha512};

use crate::algorithm::{Algorithm, KeyType};

/// Sizes in bits of RSA keys. Smaller ones are weak, and larger ones take long.
const RSA_BITS: std::ops::RangeInclusive<usize> = 2048..=4096;

/// A key as a JWK set has it (RFC 7517 §4). Members that are not here are ignored.
#[derive(Clone, Debug, Deserialize, Config)]
pub(crate) struct Jwk {
    /// Type: `RSA`, `EC` or `OKP`.
    kty: String,
    /// Identifier, which tokens name.
    kid: Option<String>,
    /// Use: `sig`. Keys for another use are passed over.
    #[serde(rename = "use")]
    usage: Option<String>,
    /// Operations, `verify` among them.
    key_ops: Option<Vec<String>>,
    /// The only algorithm that the key is for.
    alg: Option<String>,
    /// Curve: `P-256`, `P-384` or `Ed25519`.
    crv: Option<String>,
    /// Modulus of an RSA key.
    n: Option<String>,
    /// Exponent of an RSA key.
    e: Option<String>,
    /// Coordinate of the point, or the public key of Ed25519.
    x: Option<String>,
    /// Coordinate of the point.
    y: Option<String>,
}

/// A key that verifies signatures of one algorithm.
pub(crate) struct Key {
    pub(crate) id: Option<String>,
    pub(crate) algorithm: Algorithm,
    verifier: Verifying,
}

enum Verifying {
    Rs256(pkcs1v15::VerifyingKey<Sha256>),
    Rs384(pkcs1v15::VerifyingKey<Sha384>),
    Rs512(pkcs1v15::VerifyingKey<Sha512>),
    Ps256(pss::VerifyingKey<Sha256>),
    Es256(p256::ecdsa::VerifyingKey),
    Es384(p384::ecdsa::VerifyingKey),
    Ed25519(ed25519_dalek::VerifyingKey),
}

impl Key {
    /// Makes a key of a JWK, for the issuer's algorithms.
    ///
    /// # Errors
    /// Why it verifies no token of the issuer.
    pub(crate) fn new(jwk: &Jwk, algorithms: &[Algorithm]) -> Result<Self, &'static str> {
        if jwk.usage.as_deref().is_some_and(|usage| usage != "sig") {
            return Err("its `use` is not `sig`");
        }
        if jwk.key_ops.as_ref().is_some_and(|operations| !operations.iter().any(|known| known == "verify")) {
            return Err("its `key_ops` has no `verify`");
        }
        let algorithm = algorithm(jwk, algorithms)?;
        Ok(Self { id: jwk.kid.clone(), algorithm, verifier: Verifying::new(jwk, algorithm)? })
    }

    /// Is this a signature of the key?
    pub(crate) fn verify(&self, signed: &[u8], signature: &[u8]) -> bool {
        match &self.verifier {
            Verifying::Rs256(key) => verify_rsa(key, signed, signature),
            Verifying::Rs384(key) => verify_rsa(key, signed, signature),
            Verifying::Rs512(key) => verify_rsa(key, signed, signature),
            Verifying::Ps256(key) => pss::Signature::try_from(signature)
                .is_ok_and(|signature| key.verify(signed, &signature).is_ok()),
            Verifying::Es256(key) => p256::ecdsa::Signature::from_slice(signature)
                .is_ok_and(|signature| key.verify(signed, &signature).is_ok()),
            Verifying::Es384(key) => p384::ecdsa::Signature::from_slice(signature)
                .is_ok_and(|signature| key.verify(signed, &signature).is_ok()),
            Verifying::Ed25519(key) => ed25519_dalek::Signature::from_slice(signature)
                .is_ok_and(|signature| key.verify_strict(signed, &signature).is_ok()),
        }
    }
}

fn verify_rsa<D: sha2::Digest>(key: &pkcs1v15::VerifyingKey<D>, signed: &[u8], signature: &[u8]) -> bool
where
    pkcs1v15::VerifyingKey<D>: Verifier<pkcs1v15::Signature>,
{
    pkcs1v15::Signature::try_from(signature).is_ok_and(|signature| key.verify(signed, &signature).is_ok())
}

/// Returns the only algorithm of a key: the one that it names, or the issuer's only one for its type.
fn algorithm(jwk: &Jwk, algorithms: &[Algorithm]) -> Result<Algorithm, &'static str> {
    let key_type = match (jwk.kty.as_str(), jwk.crv.as_deref()) {
        ("RSA", _) => KeyType::Rsa,
        ("EC", Some("P-256")) => KeyType::P256,
        ("EC", Some("P-384")) => KeyType::P384,
        ("OKP", Some("Ed25519")) => KeyType::Ed25519,
        _ => return Err("its type is not supported"),
    };
    let mut fitting = algorithms.iter().copied().filter(|algorithm| algorithm.key_type() == key_type);
    let Some(name) = &jwk.alg else {
        let only = fitting.next().ok_or("none of the issuer's algorithms fits it")?;
        return if fitting.next().is_some() {
            Err("it names no `alg`, and several of the issuer's algorithms fit it")
        } else {
            Ok(only)
        };
    };
    let named = Algorithm::from_name(name).ok_or("its algorithm is not supported")?;
    fitting.find(|algorithm| *algorithm == named).ok_or("its algorithm is none of the issuer's for its type")
}

impl Verifying {
    fn new(jwk: &Jwk, algorithm: Algorithm) -> Result<Self, &'static str> {
        const NO_POINT: &str = "it is no point of its curve";
        Ok(match algorithm {
            Algorithm::RS256 => Self::Rs256(pkcs1v15::VerifyingKey::new(rsa_key(jwk)?)),
            Algorithm::RS384 => Self::Rs384(pkcs1v15::VerifyingKey::new(rsa_key(jwk)?)),
            Algorithm::RS512 => Self::Rs512(pkcs1v15::VerifyingKey::new(rsa_key(jwk)?)),
            Algorithm::PS256 => Self::Ps256(pss::VerifyingKey::new(rsa_key(jwk)?)),
            Algorithm::ES256 => {
                let point = point(jwk, 32)?;
                Self::Es256(p256::ecdsa::VerifyingKey::from_sec1_bytes(&point).map_err(|_| NO_POINT)?)
            }
            Algorithm::ES384 => {
                let point = point(jwk, 48)?;
                Self::Es384(p384::ecdsa::VerifyingKey::from_sec1_bytes(&point).map_err(|_| NO_POINT)?)
            }
            Algorithm::EdDSA => {
                let bytes = decoded(jwk.x.as_ref(), 32)?;
                let bytes = bytes.first_chunk::<32>().ok_or(NO_POINT)?;
                let key = ed25519_dalek::VerifyingKey::from_bytes(bytes).map_err(|_| NO_POINT)?;
                if key.is_weak() {
                    return Err("it is a weak key");
                }
                Self::Ed25519(key)
            }
        })
    }
}

fn rsa_key(jwk: &Jwk) -> Result<rsa::PublicKey, &'static str> {
    let number = |text: Option<&String>| {
        let bytes = BASE64_URL_SAFE_NO_PAD.decode(text.ok_or("`n` or `e` is missing")?);
        Ok::<_, &'static str>(BoxedUint::from_be_slice_vartime(&bytes.map_err(|_| "it is not base64url")?))
    };
    rsa::PublicKey::new_with_size_limits(number(jwk.n.as_ref())?, number(jwk.e.as_ref())?, RSA_BITS)
        .map_err(|_| "it is no RSA key of 2048 to 4096 bits")
}

/// Returns a point in the uncompressed form of SEC 1.
fn point(jwk: &Jwk, len: usize) -> Result<Vec<u8>, &'static str> {
    Ok([&[4][..], &decoded(jwk.x.as_ref(), len)?, &decoded(jwk.y.as_ref(), len)?].concat())
}

fn decoded(text: Option<&String>, len: usize) -> Result<Vec<u8>, &'static str> {
    let bytes = BASE64_URL_SAFE_NO_PAD.decode(text.ok_or("`x` or `y` is missing")?);
    let bytes = bytes.map_err(|_| "it is not base64url")?;
    if bytes.len() == len { Ok(bytes) } else { Err("a coordinate has the wrong length") }
}
