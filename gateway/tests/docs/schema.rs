//! The fields of the gateway's kinds, from the schemas in their CustomResourceDefinitions.

use serde_json::Value;

/// A row of the table of a kind.
pub(crate) struct Field {
    /// Path below `spec`; `[]` is an item of a list.
    pub(crate) path: String,
    /// Type, or the permitted values.
    pub(crate) form: String,
    pub(crate) is_required: bool,
    pub(crate) about: String,
}

/// Returns all fields of a kind, parents before children.
pub(crate) fn fields(plural: &str) -> Vec<Field> {
    let definitions = gateway::cli::crds::all();
    let definition = definitions.iter().find(|definition| definition.plural == plural).expect("a kind");
    let value: Value = serde_saphyr::from_str(&definition.to_yaml().unwrap()).unwrap();
    let spec =
        value.pointer("/spec/versions/0/schema/openAPIV3Schema/properties/spec").expect("a schema of spec");
    let mut found = Vec::new();
    collect(spec, "", &mut found);
    found
}

fn collect(schema: &Value, parent: &str, found: &mut Vec<Field>) {
    let required = schema.get("required").and_then(Value::as_array).cloned().unwrap_or_default();
    for (name, field) in schema.get("properties").and_then(Value::as_object).into_iter().flatten() {
        let items = field.get("items").filter(|items| items.get("properties").is_some());
        let path = format!("{parent}{name}{}", if items.is_some() { "[]" } else { "" });
        found.push(Field {
            path: path.clone(),
            form: match field.get("default") {
                Some(default) => {
                    format!("{}; default `{}`", form(field), default.to_string().trim_matches('"'))
                }
                None => form(field),
            },
            is_required: required.iter().any(|required| required == name),
            about: text(field, "description").replace('\n', " "),
        });
        collect(items.unwrap_or(field), &format!("{path}."), found);
    }
}

fn text(schema: &Value, key: &str) -> String {
    schema.get(key).and_then(Value::as_str).unwrap_or_default().to_owned()
}

/// Returns the type of a field in words, or its permitted values.
fn form(schema: &Value) -> String {
    if let Some(values) = schema.get("enum").and_then(Value::as_array) {
        let values: Vec<_> =
            values.iter().filter_map(Value::as_str).map(|value| format!("`{value}`")).collect();
        return values.join(", ");
    }
    if let Some(items) = schema.get("items") {
        return if items.get("properties").is_some() {
            "list".to_owned()
        } else {
            format!("list: {}", form(items))
        };
    }
    if text(schema, "pattern").contains("h|m|s|ms") {
        return "duration (`1h`, `30s`, `250ms`)".to_owned();
    }
    let alternatives = schema.get("anyOf").and_then(Value::as_array).into_iter().flatten();
    if alternatives.clone().any(|schema| text(schema, "pattern").contains("Ki|Mi")) {
        return "bytes (`65536`, `64Ki`, `10Mi`)".to_owned();
    }
    if alternatives.count() > 0 {
        return "number or name".to_owned();
    }
    if schema.get("x-kubernetes-preserve-unknown-fields").is_some() {
        return "any value".to_owned();
    }
    let bound = |key: &str| schema.get(key).and_then(Value::as_u64);
    match (text(schema, "type").as_str(), bound("minimum"), bound("maximum")) {
        ("integer", Some(low), Some(high)) => format!("integer, {low} to {high}"),
        ("integer", Some(low), None) => format!("integer, {low} or more"),
        (other, _, _) => other.to_owned(),
    }
}
