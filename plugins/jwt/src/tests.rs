//! The plugin in the mock host, with tokens of other libraries and of the RFCs.

use std::collections::BTreeMap;
use std::time::Duration;

use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use plugin_sdk::test::{Answer, CaseRecord, MockHost, MockRequest, MockResponse, TestPlugin, run_cases};
use serde::Deserialize;
use serde_json::{Value, json};

use super::Jwt;
use super::Settings;
use super::algorithm::Algorithm;
use super::jwk::{Jwk, Key};

/// Tokens that `vectors/make.py` made with PyJWT.
#[derive(Deserialize)]
struct Tokens {
    now: u64,
    keys: Vec<Value>,
    valid: BTreeMap<String, String>,
    /// With the reasons of which one is given.
    refused: BTreeMap<String, (String, String)>,
}

/// An example of an RFC.
#[derive(Deserialize)]
struct Example {
    name: String,
    jwk: Jwk,
    algorithm: String,
    token: String,
}

fn tokens() -> Tokens {
    serde_json::from_str(include_str!("../vectors/tokens.json")).unwrap()
}

fn config(keys: &[Value]) -> Value {
    json!({"issuers": [{
        "issuer": "https://id.example",
        "audiences": ["api"],
        "jwks": {"keys": keys},
        "algorithms": ["RS256", "RS384", "RS512", "PS256", "ES256", "ES384", "EdDSA"],
        "claimsToHeaders": [{"claim": "sub", "header": "x-user"}, {"claim": "roles", "header": "x-roles"}],
    }]})
}

fn remote() -> Value {
    json!({"issuers": [{
        "issuer": "https://id.example",
        "audiences": ["api"],
        "remoteJwks": {"upstream": "idp/keycloak:8080", "path": "/certs"},
        "claimsToHeaders": [{"claim": "sub", "header": "x-user"}],
    }]})
}

fn start(tokens: &Tokens, config: &Value) -> TestPlugin<Jwt> {
    let host = MockHost::new().now(Duration::from_secs(tokens.now));
    host.start::<Jwt>(&config.to_string()).unwrap()
}

fn request(token: &str) -> MockRequest {
    MockRequest::get("/").header("authorization", format!("Bearer {token}")).header("x-user", "root")
}

fn send(plugin: &TestPlugin<Jwt>, request: MockRequest) -> CaseRecord {
    plugin.exchange(request, MockResponse::new(200))
}

fn jwk_set(keys: &[Value]) -> MockResponse {
    MockResponse::new(200).body(json!({"keys": keys}).to_string())
}

#[test]
fn cases_pass() {
    run_cases::<Jwt>("cases");
}

#[test]
fn schema_is_the_documented_one() {
    assert_eq!(include_str!("../schema.json").trim_end(), plugin_sdk::schema::<Settings>());
}

#[test]
fn tokens_of_another_library_pass() {
    let tokens = tokens();
    let plugin = start(&tokens, &config(&tokens.keys));
    for (name, token) in &tokens.valid {
        let record = send(&plugin, request(token));
        let request = record.request.unwrap_or_else(|| panic!("{name}: {:?}", record.response));
        assert_eq!(request.header("x-user").as_deref(), Some("ann"), "{name}");
        assert_eq!(request.header("x-roles").as_deref(), Some("a,b"), "{name}");
    }
}

#[test]
fn hostile_tokens_are_refused() {
    let tokens = tokens();
    let plugin = start(&tokens, &config(&tokens.keys));
    for (name, (token, reasons)) in &tokens.refused {
        let record = send(&plugin, request(token));
        assert_eq!(record.request, None, "{name}");
        let response = record.response.unwrap();
        assert_eq!(response.status(), 401, "{name}");
        let challenge = response.header("www-authenticate").unwrap();
        assert!(reasons.split('|').any(|reason| challenge.contains(reason)), "{name}: {challenge}");
    }
}

#[test]
fn examples_of_the_rfcs_are_verified() {
    let examples: Vec<Example> = serde_json::from_str(include_str!("../vectors/rfc.json")).unwrap();
    for Example { name, jwk, algorithm, token } in examples {
        let algorithm = Algorithm::from_name(&algorithm).unwrap();
        let key = Key::new(&jwk, &[algorithm]).unwrap_or_else(|reason| panic!("{name}: {reason}"));
        let (signed, signature) = token.rsplit_once('.').unwrap();
        let signature = BASE64_URL_SAFE_NO_PAD.decode(signature).unwrap();
        assert!(key.verify(signed.as_bytes(), &signature), "{name}");
        for index in 0..signature.len() {
            let mut changed = signature.clone();
            if let Some(byte) = changed.get_mut(index) {
                *byte ^= 1;
            }
            assert!(!key.verify(signed.as_bytes(), &changed), "{name}: byte {index}");
        }
    }
}

#[test]
fn keys_are_for_one_algorithm_each() {
    let tokens = tokens();
    let rsa = tokens.keys.first().unwrap();
    let jwk = |changes: Value| -> Jwk {
        let mut jwk = rsa.clone();
        for (name, value) in changes.as_object().unwrap() {
            jwk.as_object_mut().unwrap().insert(name.clone(), value.clone());
        }
        serde_json::from_value(jwk).unwrap()
    };
    let all = [Algorithm::RS256, Algorithm::PS256, Algorithm::ES256];
    for (changes, algorithms, expected) in [
        (json!({}), &all[..], Ok(())),
        (json!({"alg": null}), &all[..1], Ok(())),
        (json!({"alg": null}), &all[..2], Err("several")),
        (json!({"alg": null}), &all[2..], Err("none of the issuer's")),
        (json!({"alg": "PS256"}), &all[..1], Err("none of the issuer's")),
        (json!({"alg": "ES256"}), &all[..], Err("none of the issuer's")),
        (json!({"alg": "HS256"}), &all[..], Err("not supported")),
        (json!({"kty": "oct"}), &all[..], Err("not supported")),
        (json!({"use": "enc"}), &all[..], Err("`use`")),
        (json!({"key_ops": ["sign"]}), &all[..], Err("`key_ops`")),
        (json!({"n": "AQAB"}), &all[..], Err("2048")),
        (json!({"e": "AQ"}), &all[..], Err("2048")),
        (json!({"n": "a+b"}), &all[..], Err("base64url")),
        (json!({"n": null}), &all[..], Err("missing")),
    ] {
        let result = Key::new(&jwk(changes.clone()), algorithms).map(|_| ());
        match expected {
            Ok(()) => assert_eq!(result, Ok(()), "{changes}"),
            Err(part) => assert!(result.is_err_and(|reason| reason.contains(part)), "{changes}: {result:?}"),
        }
    }
}

#[test]
fn requests_with_several_or_no_tokens_are_refused() {
    let tokens = tokens();
    let plugin = start(&tokens, &config(&tokens.keys));
    let good = tokens.valid.get("ES256").unwrap();
    for request in [
        MockRequest::get("/"),
        MockRequest::get("/").header("authorization", "Basic abc"),
        request(good).header("authorization", format!("Bearer {good}")),
        request(&"a".repeat(17_000)),
    ] {
        let record = send(&plugin, request);
        assert_eq!((record.request, record.response.unwrap().status()), (None, 401));
    }
}

#[test]
fn missing_tokens_pass_if_allowed_and_invalid_ones_never() {
    let tokens = tokens();
    let mut settings = config(&tokens.keys);
    settings["allowMissing"] = json!(true);
    let plugin = start(&tokens, &settings);
    let record = send(&plugin, MockRequest::get("/").header("x-user", "root"));
    assert_eq!(record.request.unwrap().header("x-user"), None, "a client cannot claim a field");
    let record = send(&plugin, request(&tokens.refused.get("none").unwrap().0));
    assert_eq!(record.request, None);
}

#[test]
fn keys_are_loaded_at_the_start_and_again() {
    let tokens = tokens();
    let good = request(tokens.valid.get("ES256").unwrap());
    let plugin = start(&tokens, &remote());
    plugin.answer(jwk_set(&tokens.keys));
    plugin.answer_callouts();
    let record = send(&plugin, good.clone());
    assert_eq!(record.request.unwrap().header("x-user").as_deref(), Some("ann"));
    assert_eq!(record.callouts.len(), 0);
    // After five minutes they are loaded again. The service has failed: the keys before stay.
    plugin.advance(Duration::from_secs(301));
    plugin.answer(Answer::Reset);
    plugin.tick();
    plugin.answer_callouts();
    assert!(send(&plugin, good).request.is_some());
    assert!(plugin.log().iter().any(|line| line.contains("idp/keycloak:8080/certs")), "{:?}", plugin.log());
}

#[test]
fn unknown_keys_are_loaded_at_most_each_ten_seconds() {
    let tokens = tokens();
    let plugin = start(&tokens, &remote());
    plugin.answer(jwk_set(&[]));
    plugin.answer_callouts();
    let good = request(tokens.valid.get("ES256").unwrap());
    let record = send(&plugin, good.clone());
    assert_eq!((record.callouts.len(), record.response.unwrap().status()), (0, 401));
    plugin.advance(Duration::from_secs(11));
    plugin.answer(jwk_set(&tokens.keys));
    let record = send(&plugin, good.clone());
    assert_eq!((record.callouts.len(), record.response.unwrap().status()), (1, 200));
    let record = send(&plugin, request(&tokens.refused.get("unknown identifier").unwrap().0));
    assert_eq!((record.callouts.len(), record.response.unwrap().status()), (0, 401));
}

#[test]
fn requests_are_refused_until_keys_are_loaded() {
    let tokens = tokens();
    let plugin = start(&tokens, &remote());
    plugin.answer(Answer::Timeout);
    plugin.answer_callouts();
    plugin.answer(MockResponse::new(500));
    let record = send(&plugin, request(tokens.valid.get("ES256").unwrap()));
    assert_eq!((record.request, record.response.unwrap().status()), (None, 503));
}

#[test]
fn wrong_configuration_is_refused_with_the_field() {
    let tokens = tokens();
    let with = |changes: Value| {
        let mut settings = config(&tokens.keys);
        for (name, value) in changes.as_object().unwrap() {
            settings["issuers"][0][name] = value.clone();
        }
        settings
    };
    for (config, expected) in [
        (json!({"issuers": []}), "issuers: name at least one"),
        (with(json!({"audiences": []})), "issuers[0].audiences"),
        (with(json!({"jwks": null})), "issuers[0]: give its keys"),
        (with(json!({"algorithms": ["HS256"]})), "issuers[0].algorithms[0]"),
        (with(json!({"jwks": {"keys": [{"kty": "oct", "k": "AA"}]}})), "issuers[0].jwks.keys[0]"),
    ] {
        let error = MockHost::new().start::<Jwt>(&config.to_string()).unwrap_err().to_string();
        assert!(error.contains(expected), "{config}: {error}");
    }
}
