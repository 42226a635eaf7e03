//! Claims of a token (RFC 7519 §4.1).

use std::fmt;
use std::time::Duration;

use serde::de::{Deserialize, Deserializer, Error, MapAccess, Visitor};
use serde_json::{Map, Value};

/// The claims of a token.
#[derive(Debug)]
pub(crate) struct Claims(Map<String, Value>);

/// Members of an object, none of which is there twice: parsers disagree about which one counts.
struct Unique(Map<String, Value>);

impl<'de> Deserialize<'de> for Unique {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Members;

        impl<'de> Visitor<'de> for Members {
            type Value = Unique;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut access: A) -> Result<Unique, A::Error> {
                let mut members = Map::new();
                while let Some((name, value)) = access.next_entry::<String, Value>()? {
                    if members.insert(name, value).is_some() {
                        return Err(Error::custom("a member is there twice"));
                    }
                }
                Ok(Unique(members))
            }
        }

        deserializer.deserialize_map(Members)
    }
}

impl Claims {
    /// Parses claims. Returns `None` if they are no object, or one is there twice.
    pub(crate) fn parse(json: &[u8]) -> Option<Self> {
        serde_json::from_slice(json).ok().map(|Unique(members)| Self(members))
    }

    /// Returns the issuer.
    pub(crate) fn issuer(&self) -> Option<&str> {
        self.0.get("iss")?.as_str()
    }

    /// Checks audience and time.
    ///
    /// # Errors
    /// Why the token is not valid now.
    pub(crate) fn check(
        &self,
        audiences: &[String],
        now: Duration,
        skew: Duration,
    ) -> Result<(), &'static str> {
        if !self.audiences()?.iter().any(|audience| audiences.iter().any(|known| known == audience)) {
            return Err("the token is for another audience");
        }
        let (now, skew) = (now.as_secs_f64(), skew.as_secs_f64());
        let expires_at = self.date("exp")?.ok_or("the token has no `exp`")?;
        if now >= expires_at + skew {
            return Err("the token has expired");
        }
        if self.date("nbf")?.is_some_and(|begins_at| now + skew < begins_at) {
            return Err("the token is not valid yet");
        }
        Ok(())
    }

    fn audiences(&self) -> Result<Vec<&str>, &'static str> {
        const MALFORMED: &str = "`aud` is neither a text nor an array of texts";
        match self.0.get("aud") {
            Some(Value::String(only)) => Ok(vec![only]),
            Some(Value::Array(all)) => all.iter().map(Value::as_str).collect::<Option<_>>().ok_or(MALFORMED),
            Some(_) => Err(MALFORMED),
            None => Err("the token has no `aud`"),
        }
    }

    /// Returns seconds since 1970.
    fn date(&self, name: &str) -> Result<Option<f64>, &'static str> {
        match self.0.get(name) {
            None => Ok(None),
            Some(value) => value.as_f64().map(Some).ok_or("a date of the token is no number"),
        }
    }

    /// Returns a claim as the value of a field; `None` if it is absent. Names within objects follow behind a dot. A claim
    /// whose own name has dots is found first.
    ///
    /// # Errors
    /// It is no text, number, truth value, or array of those, or not fit for a field.
    pub(crate) fn text(&self, path: &str) -> Result<Option<String>, &'static str> {
        let Some(value) = self.0.get(path).or_else(|| self.within(path)) else { return Ok(None) };
        let text = match value {
            Value::Array(items) => {
                items.iter().map(scalar).collect::<Option<Vec<_>>>().map(|all| all.join(","))
            }
            value => scalar(value),
        };
        let text = text.ok_or("a claim for a field is neither a text nor a number")?;
        if text.chars().any(char::is_control) {
            return Err("a claim for a field has control characters");
        }
        if text.is_empty() || text.trim() != text {
            return Err("a claim for a field is empty, or has space around it");
        }
        Ok(Some(text))
    }

    fn within(&self, path: &str) -> Option<&Value> {
        let mut names = path.split('.');
        let first = self.0.get(names.next()?)?;
        names.try_fold(first, |value, name| value.get(name))
    }
}

fn scalar(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        Value::Bool(truth) => Some(truth.to_string()),
        Value::Null | Value::Array(_) | Value::Object(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Duration = Duration::from_secs(1_000_000);
    const SKEW: Duration = Duration::from_secs(60);

    fn claims(json: &str) -> Claims {
        Claims::parse(json.as_bytes()).unwrap()
    }

    #[test]
    fn audience_and_time_are_checked_with_skew() {
        for (json, expected) in [
            (r#"{"aud":"api","exp":1000001}"#, Ok(())),
            (r#"{"aud":["other","api"],"exp":1000001.5}"#, Ok(())),
            (r#"{"aud":"api","exp":999941}"#, Ok(())),
            (r#"{"aud":"api","exp":999940}"#, Err("the token has expired")),
            (r#"{"aud":"api"}"#, Err("the token has no `exp`")),
            (r#"{"aud":"api","exp":"1000001"}"#, Err("a date of the token is no number")),
            (r#"{"aud":"api","exp":null}"#, Err("a date of the token is no number")),
            (r#"{"aud":"api","exp":-1}"#, Err("the token has expired")),
            (r#"{"aud":"api","exp":2000000,"nbf":1000060}"#, Ok(())),
            (r#"{"aud":"api","exp":2000000,"nbf":1000061}"#, Err("the token is not valid yet")),
            (r#"{"aud":"API","exp":1000001}"#, Err("the token is for another audience")),
            (r#"{"aud":[],"exp":1000001}"#, Err("the token is for another audience")),
            (r#"{"aud":["api",1],"exp":1000001}"#, Err("`aud` is neither a text nor an array of texts")),
            (r#"{"aud":{"api":1},"exp":1000001}"#, Err("`aud` is neither a text nor an array of texts")),
            (r#"{"exp":1000001}"#, Err("the token has no `aud`")),
        ] {
            assert_eq!(claims(json).check(&["api".to_owned()], NOW, SKEW), expected, "{json}");
        }
    }

    #[test]
    fn claims_that_are_there_twice_are_malformed() {
        for json in [r#"{"iss":"a","iss":"b"}"#, "[]", "null", "1", "", r#"{"iss":"a"}x"#] {
            assert!(Claims::parse(json.as_bytes()).is_none(), "{json}");
        }
    }

    #[test]
    fn claims_become_texts() {
        let claims = claims(
            r#"{"sub":"ann","n":1,"t":true,"r":{"roles":["a","b"]},"a.b":"own","a":{"b":"in"},"x":{},"c":"a\nb","s":" ann ","e":""}"#,
        );
        for (path, expected) in [
            ("sub", Ok(Some("ann"))),
            ("n", Ok(Some("1"))),
            ("t", Ok(Some("true"))),
            ("r.roles", Ok(Some("a,b"))),
            ("a.b", Ok(Some("own"))),
            ("none", Ok(None)),
            ("sub.none", Ok(None)),
            ("x", Err("a claim for a field is neither a text nor a number")),
            ("c", Err("a claim for a field has control characters")),
            ("s", Err("a claim for a field is empty, or has space around it")),
            ("e", Err("a claim for a field is empty, or has space around it")),
        ] {
            assert_eq!(claims.text(path), expected.map(|text| text.map(str::to_owned)), "{path}");
        }
    }
}
