#!/usr/bin/env python3
"""Makes tokens with PyJWT, another implementation: `pip install pyjwt cryptography; ./make.py > tokens.json`.

The keys are new in each run, so the file changes. The tests read it; they do not run this program.
"""

import base64
import hashlib
import hmac
import json

import jwt
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa

ISSUER, AUDIENCE = "https://id.example", "api"
NOW = 1_800_000_000
CLAIMS = {"iss": ISSUER, "aud": AUDIENCE, "exp": NOW + 3600, "sub": "ann", "roles": ["a", "b"]}


def b64(data):
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def unb64(text):
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


def rsa_key(bits=2048):
    return rsa.generate_private_key(public_exponent=65537, key_size=bits)


KEYS = {
    "RS256": rsa_key(),
    "RS384": rsa_key(),
    "RS512": rsa_key(4096),
    "PS256": rsa_key(),
    "ES256": ec.generate_private_key(ec.SECP256R1()),
    "ES384": ec.generate_private_key(ec.SECP384R1()),
    "EdDSA": ed25519.Ed25519PrivateKey.generate(),
}


def jwk(algorithm, key, kid):
    implementation = jwt.get_algorithm_by_name(algorithm)
    found = implementation.to_jwk(key.public_key(), as_dict=True)
    found.pop("key_ops", None)
    return {**found, "kid": kid, "alg": algorithm, "use": "sig"}


def sign(algorithm="RS256", claims=CLAIMS, kid=None, key=None, **headers):
    names = {"kid": kid or algorithm, **headers}
    return jwt.encode(claims, key or KEYS[algorithm], algorithm=algorithm, headers=names)


def raw(header, payload, signature=b"x"):
    """A token of these parts, with any bytes."""
    parts = [json.dumps(part).encode() if isinstance(part, dict) else part for part in (header, payload)]
    return ".".join([b64(parts[0]), b64(parts[1]), b64(signature)])


def resign(header, payload=None):
    """A token with this header, signed by the RS256 key."""
    from cryptography.hazmat.primitives import hashes
    from cryptography.hazmat.primitives.asymmetric import padding

    body = json.dumps(CLAIMS).encode() if payload is None else payload
    signed = f"{b64(header)}.{b64(body)}"
    signature = KEYS["RS256"].sign(signed.encode(), padding.PKCS1v15(), hashes.SHA256())
    return f"{signed}.{b64(signature)}"


def hmac_with_public_key():
    pem = KEYS["RS256"].public_key().public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    signed = f'{b64(json.dumps({"alg": "HS256", "kid": "RS256"}).encode())}.{b64(json.dumps(CLAIMS).encode())}'
    return f"{signed}.{b64(hmac.new(pem, signed.encode(), hashlib.sha256).digest())}"


def der_signature():
    from cryptography.hazmat.primitives import hashes

    signed = sign("ES256").rsplit(".", 1)[0]
    return f'{signed}.{b64(KEYS["ES256"].sign(signed.encode(), ec.ECDSA(hashes.SHA256())))}'


def with_claims(**changes):
    return {name: value for name, value in {**CLAIMS, **changes}.items() if value is not None}


def changed_signature(token, change):
    signed, signature = token.rsplit(".", 1)
    return f"{signed}.{b64(change(unb64(signature)))}"


good = sign()
head, body, signature = good.split(".")
UNSUPPORTED, WRONG = "algorithm is not supported", "signature is wrong"
refused = {
    "none": (raw({"alg": "none"}, CLAIMS, b""), UNSUPPORTED),
    "none without signature": (raw({"alg": "none"}, CLAIMS, b"").rstrip("."), "three parts"),
    "None": (raw({"alg": "None"}, CLAIMS, b""), UNSUPPORTED),
    "empty signature": (f"{head}.{body}.", WRONG),
    "public key as shared secret": (hmac_with_public_key(), UNSUPPORTED),
    "algorithm that the issuer does not use": (sign("RS256", kid="RS256").replace(head, b64(b'{"alg":"ES512"}')), UNSUPPORTED),
    "key of another algorithm": (sign("PS256", kid="RS256", key=KEYS["RS256"]), "no key of the issuer fits"),
    "key of another algorithm, without identifier": (jwt.encode(CLAIMS, KEYS["RS256"], algorithm="RS512"), WRONG),
    "key of somebody else": (sign("RS256", key=rsa_key()), WRONG),
    "identifier of another key": (sign("RS256", kid="RS384"), "no key of the issuer fits"),
    "unknown identifier": (sign("RS256", kid="../../etc/passwd"), "no key of the issuer fits"),
    "key in the header": (sign("ES256", kid="x", key=(own := ec.generate_private_key(ec.SECP256R1())), jwk=jwk("ES256", own, "x")), "no key of the issuer fits"),
    "critical extension": (sign(crit=["exp"]), "critical extensions"),
    "empty list of critical extensions": (resign(b'{"alg":"RS256","kid":"RS256","crit":[]}'), "critical extensions"),
    "algorithm twice": (resign(b'{"alg":"none","alg":"RS256","kid":"RS256"}'), "header is malformed"),
    "issuer twice": (resign(b'{"alg":"RS256","kid":"RS256"}', json.dumps(CLAIMS).encode()[:-1] + b',"iss":"x"}'), "claims are malformed"),
    "changed claims": (f"{head}.{b64(json.dumps(with_claims(sub='root')).encode())}.{signature}", WRONG),
    "changed header": (f"{b64(json.dumps({'alg': 'RS256'}).encode())}.{body}.{signature}", WRONG),
    "changed signature": (changed_signature(good, lambda old: old[:-1] + bytes([old[-1] ^ 1])), WRONG),
    "longer signature": (changed_signature(good, lambda old: b"\0" + old), WRONG),
    "shorter signature": (changed_signature(good, lambda old: old[1:]), WRONG),
    "signature of zeros": (changed_signature(sign("ES256"), lambda old: b"\0" * 64), WRONG),
    "signature in DER": (der_signature(), WRONG),
    "half of the other curve": (changed_signature(sign("ES384"), lambda old: old[:64]), WRONG),
    "ed25519 signature of zeros": (changed_signature(sign("EdDSA"), lambda old: b"\0" * 64), WRONG),
    "four parts": (good + ".x", "three parts"),
    "two parts": (f"{head}.{body}", "three parts"),
    "nothing": ("..", "header is malformed"),
    "padding": (good + "=", "base64url"),
    "bits behind the signature": (good[:-1] + chr(ord(good[-1]) + 1), "base64url|signature is wrong"),
    "characters of base64": (raw({"alg": "RS256"}, CLAIMS, b"\xff\xff\xff").replace("____", "////"), "base64url"),
    "space": (f"{head} .{body}.{signature}", "base64url"),
    "header that is no object": (raw(b'["RS256"]', CLAIMS), "header is malformed"),
    "claims that are no object": (resign(b'{"alg":"RS256","kid":"RS256"}', b'"x"'), "claims are malformed"),
    "algorithm that is no text": (raw({"alg": 256}, CLAIMS), "header is malformed"),
    "deep claims": (resign(b'{"alg":"RS256","kid":"RS256"}', b'{"a":' * 1000 + b"1" + b"}" * 1000), "claims are malformed"),
    "expired": (sign(claims=with_claims(exp=NOW - 61)), "expired"),
    "without end": (sign(claims=with_claims(exp=None)), "no `exp`"),
    "not yet valid": (sign(claims=with_claims(nbf=NOW + 61)), "not valid yet"),
    "for another audience": (sign(claims=with_claims(aud="other")), "another audience"),
    "without audience": (sign(claims=with_claims(aud=None)), "no `aud`"),
    "of another issuer": (sign(claims=with_claims(iss="https://evil.example")), "unknown issuer"),
    "issuer with a slash": (sign(claims=with_claims(iss=ISSUER + "/")), "unknown issuer"),
    "without issuer": (sign(claims=with_claims(iss=None)), "unknown issuer"),
    "claim with a line break": (sign(claims=with_claims(sub="ann\r\nx-admin: 1")), "control characters"),
    "claim that is an object": (sign(claims=with_claims(sub={"a": 1})), "neither a text"),
}
valid = {algorithm: sign(algorithm) for algorithm in KEYS}
valid["without identifier"] = jwt.encode(CLAIMS, KEYS["ES256"], algorithm="ES256")
valid["several audiences"] = sign(claims=with_claims(aud=["other", AUDIENCE]))
valid["within the skew"] = sign(claims=with_claims(exp=NOW - 59, nbf=NOW + 59))
print(
    json.dumps(
        {
            "now": NOW,
            "keys": [jwk(algorithm, key, algorithm) for algorithm, key in KEYS.items()],
            "valid": valid,
            "refused": {name: list(pair) for name, pair in refused.items()},
        },
        indent=1,
    )
)
