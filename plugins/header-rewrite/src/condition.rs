//! Which requests a rule is about.

use std::borrow::Cow;

use plugin_sdk::prelude::*;

/// A condition on a request. All parts that are given must hold.
#[derive(Default, Deserialize, Config)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
pub(crate) struct Condition {
    /// Methods, one of which the request has. Empty: any.
    methods: Vec<String>,
    /// The whole path, without the query.
    path_exact: Option<String>,
    /// The first elements of the path: `/a` matches `/a` and `/a/b`, not `/ab`.
    path_prefix: Option<String>,
    /// Conditions on fields, all of which hold.
    headers: Vec<FieldCondition>,
}

/// A condition on the values of a field. One value must meet all parts that are given.
#[derive(Deserialize, Config)]
#[serde(deny_unknown_fields)]
struct FieldCondition {
    /// Name of the field.
    name: String,
    /// The whole value.
    value: Option<String>,
    /// Start of the value.
    prefix: Option<String>,
    /// Whether there must be no such value instead.
    #[serde(default)]
    absent: bool,
}

impl Condition {
    /// Is nothing required?
    pub(crate) fn is_empty(&self) -> bool {
        self.methods.is_empty()
            && self.path_exact.is_none()
            && self.path_prefix.is_none()
            && self.headers.is_empty()
    }

    /// Does a request meet the condition? `fields` are those of the request, once a condition has read them.
    pub(crate) fn matches(&self, request: &Request, fields: &mut Option<Fields>) -> Result<bool, Error> {
        if !self.methods.is_empty() {
            let method = request.method()?;
            if !self.methods.contains(&method) {
                return Ok(false);
            }
        }
        if self.path_exact.is_some() || self.path_prefix.is_some() {
            let target = request.path()?;
            let path = target.split('?').next().unwrap_or_default();
            let is_exact = self.path_exact.as_ref().is_none_or(|exact| exact == path);
            let is_below = self.path_prefix.as_ref().is_none_or(|prefix| has_prefix(path, prefix));
            if !is_exact || !is_below {
                return Ok(false);
            }
        }
        if self.headers.is_empty() {
            return Ok(true);
        }
        let fields = match fields {
            Some(fields) => fields,
            None => fields.insert(request.fields()?),
        };
        Ok(self.headers.iter().all(|condition| {
            let values: Vec<_> = fields.get_all(&condition.name).map(Cow::into_owned).collect();
            condition.matches(&values)
        }))
    }
}

impl FieldCondition {
    fn matches(&self, values: &[String]) -> bool {
        let is_met = |value: &String| {
            self.value.as_ref().is_none_or(|expected| expected == value)
                && self.prefix.as_ref().is_none_or(|prefix| value.starts_with(prefix.as_str()))
        };
        values.iter().any(is_met) != self.absent
    }
}

/// Are these the first elements of a path?
fn has_prefix(path: &str, prefix: &str) -> bool {
    let prefix = prefix.trim_end_matches('/');
    path.strip_prefix(prefix).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prefixes_match_whole_elements() {
        for (path, prefix, expected) in [
            ("/a", "/a", true),
            ("/a/", "/a", true),
            ("/a/b", "/a/", true),
            ("/ab", "/a", false),
            ("/", "/", true),
            ("/a", "/", true),
            ("/b", "/a", false),
        ] {
            assert_eq!(has_prefix(path, prefix), expected, "{path} {prefix}");
        }
    }

    #[test]
    fn field_conditions_hold_for_one_of_the_values() {
        let condition = |value: Option<&str>, prefix: Option<&str>, absent| FieldCondition {
            name: "x".to_owned(),
            value: value.map(str::to_owned),
            prefix: prefix.map(str::to_owned),
            absent,
        };
        for (value, prefix, absent, values, expected) in [
            (None, None, false, &["1"][..], true),
            (None, None, false, &[][..], false),
            (None, None, true, &[][..], true),
            (None, None, true, &["1"][..], false),
            (Some("2"), None, false, &["1", "2"][..], true),
            (Some("3"), None, false, &["1", "2"][..], false),
            (None, Some("ab"), false, &["abc"][..], true),
            (Some("abc"), Some("b"), false, &["abc", "b"][..], false),
            (Some("3"), None, true, &["1"][..], true),
        ] {
            let values: Vec<_> = values.iter().map(|value| (*value).to_owned()).collect();
            let condition = condition(value, prefix, absent);
            assert_eq!(condition.matches(&values), expected, "{value:?} {prefix:?} {absent} {values:?}");
        }
    }
}
