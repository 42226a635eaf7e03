//! The derive macro `Config`.

use proc_macro2::TokenStream;
use quote::quote;
use syn::Data;
use syn::DataEnum;
use syn::DeriveInput;
use syn::Error;
use syn::Field;
use syn::Fields;
use syn::FieldsUnnamed;
use syn::Variant;

use crate::docs::description;
use crate::docs::quoted;
use crate::members;
use crate::members::ObjectRules;
use crate::schema::Schema;
use crate::serde_attributes::ContainerAttributes;
use crate::serde_attributes::MemberAttributes;

/// Returns the implementation of `Config`.
pub(crate) fn expand(item: TokenStream) -> syn::Result<TokenStream> {
    let item: DeriveInput = syn::parse2(item)?;
    if !item.generics.params.is_empty() {
        return Err(Error::new_spanned(&item.generics, "`Config` does not support generic types"));
    }
    let attributes = ContainerAttributes::parse(&item.attrs)?;
    let schema = match (&attributes.from, &item.data) {
        (Some(ty), _) => {
            let mut schema = Schema::default();
            schema.push_type(String::new(), ty);
            schema
        }
        (None, Data::Struct(data)) => structure(&item, &data.fields, &attributes)?,
        (None, Data::Enum(data)) => enumeration(data, &attributes)?,
        (None, Data::Union(_)) => {
            return Err(Error::new_spanned(&item.ident, "`Config` does not support unions"));
        }
    };
    let (name, description, schema) = (&item.ident, description(&item.attrs), schema.expression());
    Ok(quote! {
        impl ::plugin_sdk::Config for #name {
            const DESCRIPTION: &'static str = #description;
            const SCHEMA: &'static ::plugin_sdk::SchemaText = #schema;
        }
    })
}

fn structure(item: &DeriveInput, fields: &Fields, attributes: &ContainerAttributes) -> syn::Result<Schema> {
    match fields {
        Fields::Named(fields) => {
            let rules = ObjectRules {
                rename_all: attributes.rename_all,
                deny_unknown_fields: attributes.deny_unknown_fields,
                has_default: attributes.has_default,
                tag: None,
            };
            members::object(fields, rules)
        }
        Fields::Unnamed(fields) => newtype(fields),
        Fields::Unit => Err(Error::new_spanned(
            &item.ident,
            "`Config` does not support unit structs; `NoConfig` is the configuration without fields",
        )),
    }
}

/// Returns the schema of a type with one field without a name.
fn newtype(fields: &FieldsUnnamed) -> syn::Result<Schema> {
    let field = only_field(fields)?;
    Ok(members::value(field, &MemberAttributes::parse(&field.attrs)?))
}

fn only_field(fields: &FieldsUnnamed) -> syn::Result<&Field> {
    match fields.unnamed.first() {
        Some(field) if fields.unnamed.len() == 1 => Ok(field),
        _ => Err(Error::new_spanned(fields, "`Config` does not support tuples; name the fields")),
    }
}

fn enumeration(data: &DataEnum, attributes: &ContainerAttributes) -> syn::Result<Schema> {
    let mut units = Vec::new();
    let mut schemas = Vec::new();
    for variant in &data.variants {
        let member = MemberAttributes::parse(&variant.attrs)?;
        if member.is_skipped {
            continue;
        }
        let name = member
            .rename
            .clone()
            .unwrap_or_else(|| attributes.rename_all.variant(&variant.ident.to_string()));
        for name in [&name].into_iter().chain(&member.aliases) {
            match (&attributes.tag, &variant.fields) {
                (None, Fields::Unit) if !attributes.is_untagged => units.push(quoted(name)),
                _ => {
                    let mut schema = tagged(variant, name, &member, attributes)?;
                    schema.describe(&description(&variant.attrs));
                    schemas.push(schema);
                }
            }
        }
    }
    if !units.is_empty() {
        let unit = Schema::literal(&format!("{{\"type\":\"string\",\"enum\":[{}]}}", units.join(",")));
        if schemas.is_empty() {
            return Ok(unit);
        }
        schemas.insert(0, unit);
    }
    let mut schema = Schema::literal(if attributes.is_untagged { "{\"anyOf\":[" } else { "{\"oneOf\":[" });
    schema.append_all(schemas);
    schema.push("]}");
    Ok(schema)
}

/// Returns the schema of a variant that is not a string.
fn tagged(
    variant: &Variant,
    name: &str,
    member: &MemberAttributes,
    attributes: &ContainerAttributes,
) -> syn::Result<Schema> {
    let rules = ObjectRules {
        rename_all: member.rename_all.unwrap_or(attributes.rename_all_fields),
        deny_unknown_fields: attributes.deny_unknown_fields,
        has_default: false,
        tag: attributes.tag.as_deref().map(|tag| (tag, name)),
    };
    if rules.tag.is_some() {
        return match &variant.fields {
            Fields::Named(fields) => members::object(fields, rules),
            Fields::Unit => members::object(
                &syn::FieldsNamed { brace_token: <_>::default(), named: <_>::default() },
                rules,
            ),
            Fields::Unnamed(fields) => Err(Error::new_spanned(
                fields,
                "`Config` does not support unnamed fields in an enum with a tag; name the fields",
            )),
        };
    }
    let content = match &variant.fields {
        Fields::Named(fields) => members::object(fields, rules)?,
        Fields::Unnamed(fields) => newtype(fields)?,
        Fields::Unit => Schema::literal(r#"{"type":"null"}"#),
    };
    if attributes.is_untagged {
        return Ok(content);
    }
    let name = quoted(name);
    let mut schema = Schema::literal(&format!("{{\"type\":\"object\",\"properties\":{{{name}:"));
    schema.append(content);
    schema.push(&format!("}},\"required\":[{name}],\"additionalProperties\":false}}"));
    Ok(schema)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unsupported_types_are_errors_with_a_reason() {
        for (item, expected) in [
            ("struct A;", "does not support unit structs"),
            ("struct A<T> { a: T }", "does not support generic types"),
            ("struct A(u8, u8);", "does not support tuples"),
            ("enum A { B(u8, u8) }", "does not support tuples"),
            ("union A { a: u8 }", "does not support unions"),
            ("#[serde(tag = \"type\")] enum A { B(C) }", "unnamed fields in an enum with a tag"),
            ("#[serde(tag = \"t\", content = \"c\")] enum A { B }", "does not support content of serde"),
            ("struct A { #[serde(flatten)] a: B }", "does not support flatten of serde"),
            ("struct A { #[serde(with = \"b\")] a: B }", "does not support a function that reads"),
            ("struct A { #[config(schema = \"[]\")] a: B }", "the schema is not a JSON object"),
            ("struct A { #[config(title = \"a\")] a: B }", "`title` is not known"),
            ("#[serde(rename_all = \"Title\")] struct A { a: B }", "`Title` is not a rule of serde"),
        ] {
            let error = expand(item.parse().unwrap()).unwrap_err().to_string();
            assert!(error.contains(expected), "{item}: {error}");
        }
    }
}
