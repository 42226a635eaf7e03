//! The members of an object: named fields.

use syn::Error;
use syn::Field;
use syn::FieldsNamed;
use syn::Type;

use crate::docs::description;
use crate::docs::quoted;
use crate::rename::RenameRule;
use crate::schema::Schema;
use crate::serde_attributes::MemberAttributes;

/// How the fields of an object are read.
#[derive(Clone, Copy, Default)]
pub(crate) struct ObjectRules<'a> {
    pub(crate) rename_all: RenameRule,
    pub(crate) deny_unknown_fields: bool,
    /// Whether all fields have a default.
    pub(crate) has_default: bool,
    /// A member that the object has beside its fields, and its value.
    pub(crate) tag: Option<(&'a str, &'a str)>,
}

/// Returns the schema of an object.
pub(crate) fn object(fields: &FieldsNamed, rules: ObjectRules<'_>) -> syn::Result<Schema> {
    let mut properties = Vec::new();
    let mut required = Vec::new();
    if let Some((tag, value)) = rules.tag {
        properties.push(Schema::literal(&format!("{}:{{\"const\":{}}}", quoted(tag), quoted(value))));
        required.push(quoted(tag));
    }
    for field in &fields.named {
        let attributes = MemberAttributes::parse(&field.attrs)?;
        if attributes.is_skipped {
            continue;
        }
        let name = field_name(field, &attributes, rules.rename_all)?;
        for name in attributes.aliases.iter().chain([&name]) {
            properties.push(property(name, field, &attributes));
        }
        let is_optional = attributes.has_default || rules.has_default || is_option(&field.ty);
        if !is_optional && attributes.aliases.is_empty() {
            required.push(quoted(&name));
        }
    }
    let mut schema = Schema::literal(r#"{"type":"object","properties":{"#);
    schema.append_all(properties);
    schema.push("}");
    if !required.is_empty() {
        schema.push(&format!(",\"required\":[{}]", required.join(",")));
    }
    schema.push(if rules.deny_unknown_fields { ",\"additionalProperties\":false}" } else { "}" });
    Ok(schema)
}

fn property(name: &str, field: &Field, attributes: &MemberAttributes) -> Schema {
    let mut schema = Schema::literal(&format!("{}:", quoted(name)));
    schema.append(value(field, attributes));
    schema
}

/// Returns the schema of a field's value.
pub(crate) fn value(field: &Field, attributes: &MemberAttributes) -> Schema {
    let description = description(&field.attrs);
    match &attributes.schema {
        Some(json) => {
            let mut schema = Schema::literal(json);
            schema.describe(&description);
            schema
        }
        None => {
            let mut schema = Schema::default();
            schema.push_type(description, &field.ty);
            schema
        }
    }
}

fn field_name(field: &Field, attributes: &MemberAttributes, rule: RenameRule) -> syn::Result<String> {
    if let Some(name) = &attributes.rename {
        return Ok(name.clone());
    }
    let ident = field.ident.as_ref().ok_or_else(|| Error::new_spanned(field, "the field has no name"))?;
    let ident = ident.to_string();
    Ok(rule.field(ident.strip_prefix("r#").unwrap_or(&ident)))
}

/// Returns whether serde reads a missing field as `None`.
fn is_option(ty: &Type) -> bool {
    match ty {
        Type::Path(path) => path.path.segments.last().is_some_and(|segment| segment.ident == "Option"),
        _ => false,
    }
}
