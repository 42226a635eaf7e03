//! Rules of `rename_all`, as serde has them.

/// A rule of `rename_all`.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(crate) enum RenameRule {
    #[default]
    None,
    Lower,
    Upper,
    Pascal,
    Camel,
    Snake,
    ScreamingSnake,
    Kebab,
    ScreamingKebab,
}

impl RenameRule {
    /// All rules by their names in the attribute.
    pub(crate) const ALL: [(&'static str, Self); 8] = [
        ("lowercase", Self::Lower),
        ("UPPERCASE", Self::Upper),
        ("PascalCase", Self::Pascal),
        ("camelCase", Self::Camel),
        ("snake_case", Self::Snake),
        ("SCREAMING_SNAKE_CASE", Self::ScreamingSnake),
        ("kebab-case", Self::Kebab),
        ("SCREAMING-KEBAB-CASE", Self::ScreamingKebab),
    ];

    /// Returns the name of a field, which is in snake case.
    pub(crate) fn field(self, name: &str) -> String {
        match self {
            Self::None | Self::Lower | Self::Snake => name.to_owned(),
            Self::Upper | Self::ScreamingSnake => name.to_ascii_uppercase(),
            Self::Pascal => pascal(name),
            Self::Camel => lower_first(&pascal(name)),
            Self::Kebab => name.replace('_', "-"),
            Self::ScreamingKebab => name.to_ascii_uppercase().replace('_', "-"),
        }
    }

    /// Returns the name of a variant, which is in Pascal case.
    pub(crate) fn variant(self, name: &str) -> String {
        match self {
            Self::None | Self::Pascal => name.to_owned(),
            Self::Lower => name.to_ascii_lowercase(),
            Self::Upper => name.to_ascii_uppercase(),
            Self::Camel => lower_first(name),
            Self::Snake => snake(name),
            Self::ScreamingSnake => snake(name).to_ascii_uppercase(),
            Self::Kebab => snake(name).replace('_', "-"),
            Self::ScreamingKebab => snake(name).to_ascii_uppercase().replace('_', "-"),
        }
    }
}

fn pascal(name: &str) -> String {
    let mut words = String::new();
    let mut is_first = true;
    for c in name.chars() {
        if c == '_' {
            is_first = true;
        } else if is_first {
            words.push(c.to_ascii_uppercase());
            is_first = false;
        } else {
            words.push(c);
        }
    }
    words
}

fn lower_first(name: &str) -> String {
    let mut chars = name.chars();
    chars.next().map_or_else(String::new, |first| first.to_ascii_lowercase().to_string() + chars.as_str())
}

fn snake(name: &str) -> String {
    let mut words = String::new();
    for (at, c) in name.char_indices() {
        if at > 0 && c.is_uppercase() {
            words.push('_');
        }
        words.push(c.to_ascii_lowercase());
    }
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_follow_the_rule() {
        struct Row {
            rule: &'static str,
            field: &'static str,
            variant: &'static str,
        }
        for Row { rule, field, variant } in [
            Row { rule: "lowercase", field: "max_age", variant: "failclose" },
            Row { rule: "UPPERCASE", field: "MAX_AGE", variant: "FAILCLOSE" },
            Row { rule: "PascalCase", field: "MaxAge", variant: "FailClose" },
            Row { rule: "camelCase", field: "maxAge", variant: "failClose" },
            Row { rule: "snake_case", field: "max_age", variant: "fail_close" },
            Row { rule: "SCREAMING_SNAKE_CASE", field: "MAX_AGE", variant: "FAIL_CLOSE" },
            Row { rule: "kebab-case", field: "max-age", variant: "fail-close" },
            Row { rule: "SCREAMING-KEBAB-CASE", field: "MAX-AGE", variant: "FAIL-CLOSE" },
        ] {
            let (_, found) = RenameRule::ALL.into_iter().find(|(name, _)| *name == rule).unwrap();
            assert_eq!(found.field("max_age"), field, "{rule}");
            assert_eq!(found.variant("FailClose"), variant, "{rule}");
        }
    }
}
