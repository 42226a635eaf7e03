//! Doc comments of the code's enums and structs: the sentences of the generated tables.

use std::collections::BTreeMap;

use crate::pages;

/// Returns the variants of an enum with their doc comments, in the order of the source.
pub(crate) fn variants(path: &str, name: &str) -> Vec<(String, String)> {
    let file = syn::parse_file(&pages::read(path)).expect("Rust");
    let item = file.items.iter().find_map(|item| match item {
        syn::Item::Enum(item) if item.ident == name => Some(item),
        _ => None,
    });
    let item = item.unwrap_or_else(|| panic!("{path}: no enum {name}"));
    item.variants.iter().map(|variant| (variant.ident.to_string(), doc(&variant.attrs))).collect()
}

/// Returns the doc comments of the fields of all structs of a file, by `Struct::field`.
pub(crate) fn fields(path: &str) -> BTreeMap<String, String> {
    let file = syn::parse_file(&pages::read(path)).expect("Rust");
    let mut found = BTreeMap::new();
    for item in file.items {
        let syn::Item::Struct(item) = item else { continue };
        for field in item.fields {
            let name = field.ident.as_ref().map(ToString::to_string).unwrap_or_default();
            found.insert(format!("{}::{name}", item.ident), doc(&field.attrs));
        }
    }
    found
}

/// Returns the entries of the macro `fields!` of the access log: the doc comment and the name of each field.
pub(crate) fn macro_fields(text: &str) -> Vec<(String, String)> {
    let body = text.split_once("\nfields! {\n").and_then(|(_, rest)| rest.split_once("\n}")).unwrap().0;
    let (mut found, mut comment) = (Vec::new(), String::new());
    for line in body.lines().map(str::trim) {
        match line.strip_prefix("/// ") {
            Some(text) => comment.push_str(text),
            None => found.push((std::mem::take(&mut comment), line.split('"').nth(1).unwrap().to_owned())),
        }
    }
    found
}

/// Returns the first paragraph of a doc comment, without the brackets of links.
fn doc(attributes: &[syn::Attribute]) -> String {
    let lines = attributes.iter().filter_map(|attribute| match &attribute.meta {
        syn::Meta::NameValue(syn::MetaNameValue { path, value: syn::Expr::Lit(text), .. })
            if path.is_ident("doc") =>
        {
            let syn::Lit::Str(text) = &text.lit else { return None };
            Some(text.value().trim().to_owned())
        }
        _ => None,
    });
    let paragraph: Vec<_> = lines.take_while(|line| !line.is_empty()).collect();
    paragraph.join(" ").replace("[`", "`").replace("`]", "`")
}
