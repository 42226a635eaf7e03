//! Attributes of serde, and `#[config(…)]`, as far as they change what a configuration may contain.

use syn::Attribute;
use syn::Error;
use syn::LitStr;
use syn::Token;
use syn::Type;
use syn::meta::ParseNestedMeta;

use crate::rename::RenameRule;

/// Attributes of a type or a variant.
#[derive(Default)]
pub(crate) struct ContainerAttributes {
    /// Rule for the names of fields or variants.
    pub(crate) rename_all: RenameRule,
    /// Rule for the names of the fields of variants.
    pub(crate) rename_all_fields: RenameRule,
    pub(crate) deny_unknown_fields: bool,
    pub(crate) has_default: bool,
    pub(crate) tag: Option<String>,
    pub(crate) is_untagged: bool,
    /// The type that serde reads instead.
    pub(crate) from: Option<Type>,
}

/// Attributes of a field or a variant.
#[derive(Default)]
pub(crate) struct MemberAttributes {
    pub(crate) rename: Option<String>,
    pub(crate) aliases: Vec<String>,
    pub(crate) has_default: bool,
    pub(crate) is_skipped: bool,
    /// The schema as JSON.
    pub(crate) schema: Option<String>,
    /// Rule for the names of the fields of a variant.
    pub(crate) rename_all: Option<RenameRule>,
}

impl ContainerAttributes {
    /// Reads the attributes of a type.
    pub(crate) fn parse(attributes: &[Attribute]) -> syn::Result<Self> {
        let mut found = Self::default();
        for attribute in serde(attributes) {
            attribute.parse_nested_meta(|meta| {
                match name_of(&meta).as_str() {
                    "rename_all" => found.rename_all = rule(&meta)?,
                    "rename_all_fields" => found.rename_all_fields = rule(&meta)?,
                    "deny_unknown_fields" => found.deny_unknown_fields = true,
                    "default" => {
                        found.has_default = true;
                        skip_value(&meta)?;
                    }
                    "tag" => found.tag = Some(text(&meta)?),
                    "untagged" => found.is_untagged = true,
                    "from" | "try_from" => found.from = Some(text_literal(&meta)?.parse()?),
                    // Another name of the type, texts of errors, and what concerns serialization.
                    "rename" | "expecting" | "bound" | "crate" | "into" | "transparent" => skip_value(&meta)?,
                    other => return Err(unsupported(&meta, other)),
                }
                Ok(())
            })?;
        }
        Ok(found)
    }
}

impl MemberAttributes {
    /// Reads the attributes of a field or a variant.
    pub(crate) fn parse(attributes: &[Attribute]) -> syn::Result<Self> {
        let mut found = Self::default();
        let mut custom = None;
        for attribute in serde(attributes) {
            attribute.parse_nested_meta(|meta| {
                match name_of(&meta).as_str() {
                    "rename" => found.rename = deserialize_text(&meta)?.or(found.rename.take()),
                    "alias" => found.aliases.push(text(&meta)?),
                    "rename_all" => found.rename_all = Some(rule(&meta)?),
                    "default" => {
                        found.has_default = true;
                        skip_value(&meta)?;
                    }
                    "skip" | "skip_deserializing" => found.is_skipped = true,
                    "with" | "deserialize_with" => {
                        custom = Some(unsupported(&meta, "a function that reads the field"));
                        skip_value(&meta)?;
                    }
                    // What concerns serialization or lifetimes.
                    "skip_serializing" | "skip_serializing_if" | "serialize_with" | "borrow" | "bound" => {
                        skip_value(&meta)?;
                    }
                    other => return Err(unsupported(&meta, other)),
                }
                Ok(())
            })?;
        }
        for attribute in attributes.iter().filter(|attribute| attribute.path().is_ident("config")) {
            attribute.parse_nested_meta(|meta| match name_of(&meta).as_str() {
                "schema" => {
                    found.schema = Some(json_object(&meta)?);
                    Ok(())
                }
                other => Err(meta.error(format!("`{other}` is not known; expected `schema = \"{{…}}\"`"))),
            })?;
        }
        match custom {
            Some(error) if found.schema.is_none() => Err(error),
            _ => Ok(found),
        }
    }
}

fn serde(attributes: &[Attribute]) -> impl Iterator<Item = &Attribute> {
    attributes.iter().filter(|attribute| attribute.path().is_ident("serde"))
}

fn name_of(meta: &ParseNestedMeta<'_>) -> String {
    meta.path.get_ident().map(ToString::to_string).unwrap_or_default()
}

fn unsupported(meta: &ParseNestedMeta<'_>, what: &str) -> Error {
    meta.error(format!(
        "`Config` does not support {what} of serde; use another type, or `#[config(schema = …)]`"
    ))
}

fn text_literal(meta: &ParseNestedMeta<'_>) -> syn::Result<LitStr> {
    meta.value()?.parse()
}

fn text(meta: &ParseNestedMeta<'_>) -> syn::Result<String> {
    Ok(text_literal(meta)?.value())
}

fn json_object(meta: &ParseNestedMeta<'_>) -> syn::Result<String> {
    let literal = text_literal(meta)?;
    let text = literal.value().trim().to_owned();
    if text.starts_with('{') && text.ends_with('}') {
        return Ok(text);
    }
    Err(Error::new(literal.span(), "the schema is not a JSON object"))
}

/// Reads `= "…"`, or `(deserialize = "…")` among others. Returns `None` if there is nothing about deserialization.
fn deserialize_text(meta: &ParseNestedMeta<'_>) -> syn::Result<Option<String>> {
    if meta.input.peek(Token![=]) {
        return text(meta).map(Some);
    }
    let mut found = None;
    meta.parse_nested_meta(|inner| {
        let value = text(&inner)?;
        if name_of(&inner) == "deserialize" {
            found = Some(value);
        }
        Ok(())
    })?;
    Ok(found)
}

fn rule(meta: &ParseNestedMeta<'_>) -> syn::Result<RenameRule> {
    let Some(name) = deserialize_text(meta)? else { return Ok(RenameRule::None) };
    let found = RenameRule::ALL.into_iter().find(|(known, _)| *known == name);
    found.map(|(_, rule)| rule).ok_or_else(|| meta.error(format!("`{name}` is not a rule of serde")))
}

/// Skips the value of an attribute, if it has one.
fn skip_value(meta: &ParseNestedMeta<'_>) -> syn::Result<()> {
    if meta.input.peek(Token![=]) {
        text(meta)?;
    } else if meta.input.peek(syn::token::Paren) {
        meta.parse_nested_meta(|inner| skip_value(&inner))?;
    }
    Ok(())
}
