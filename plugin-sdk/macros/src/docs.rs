//! Comments as descriptions, and text as JSON.

use std::fmt::Write;

use syn::Attribute;
use syn::Expr;
use syn::ExprLit;
use syn::Lit;
use syn::Meta;

/// Returns the comment of an item, escaped as in JSON: lines of a paragraph are joined, an empty line ends it.
pub(crate) fn description(attributes: &[Attribute]) -> String {
    let mut text = String::new();
    for line in attributes.iter().filter_map(doc_line) {
        let line = line.trim();
        let is_begin = text.is_empty() || text.ends_with('\n');
        if line.is_empty() {
            if !is_begin {
                text.push_str("\n\n");
            }
        } else {
            if !is_begin {
                text.push(' ');
            }
            text.push_str(line);
        }
    }
    escape(text.trim_end())
}

fn doc_line(attribute: &Attribute) -> Option<String> {
    match &attribute.meta {
        Meta::NameValue(meta) if meta.path.is_ident("doc") => match &meta.value {
            Expr::Lit(ExprLit { lit: Lit::Str(line), .. }) => Some(line.value()),
            _ => None,
        },
        _ => None,
    }
}

/// Returns text as a JSON string.
pub(crate) fn quoted(text: &str) -> String {
    format!("\"{}\"", escape(text))
}

fn escape(text: &str) -> String {
    let mut escaped = String::new();
    for c in text.chars() {
        match c {
            '"' => escaped.push_str("\\\""),
            '\\' => escaped.push_str("\\\\"),
            '\n' => escaped.push_str("\\n"),
            c if c.is_control() => {
                // Writing to a string does not fail.
                let _ = write!(escaped, "\\u{:04x}", u32::from(c));
            }
            c => escaped.push(c),
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use syn::ItemStruct;
    use syn::parse_quote;

    use super::*;

    #[test]
    fn lines_are_joined_to_paragraphs() {
        let item: ItemStruct = parse_quote! {
            /// One "line"
            /// and another.
            ///
            ///
            /// A\B.
            #[other]
            struct A;
        };
        assert_eq!(description(&item.attrs), r#"One \"line\" and another.\n\nA\\B."#);
    }

    #[test]
    fn control_characters_are_escaped() {
        assert_eq!(quoted("a\tb\u{1}\"\n"), r#""a\u0009b\u0001\"\n""#);
    }
}
