//! A schema as an expression: literal JSON and the schemas of other types.

use proc_macro2::TokenStream;
use quote::quote;
use syn::Type;

/// A schema that is put together.
#[derive(Default)]
pub(crate) struct Schema(Vec<Part>);

enum Part {
    Text(String),
    /// The schema of a type with a description, which is escaped as in JSON.
    Type(String, Box<Type>),
}

impl Schema {
    /// Creates a schema that is literal JSON.
    pub(crate) fn literal(text: &str) -> Self {
        let mut schema = Self::default();
        schema.push(text);
        schema
    }

    /// Adds literal JSON.
    pub(crate) fn push(&mut self, text: &str) {
        match self.0.last_mut() {
            Some(Part::Text(last)) => last.push_str(text),
            _ => self.0.push(Part::Text(text.to_owned())),
        }
    }

    /// Adds the schema of a type, with a description if it is not empty.
    pub(crate) fn push_type(&mut self, description: String, ty: &Type) {
        self.0.push(Part::Type(description, Box::new(ty.clone())));
    }

    /// Adds a description, which is escaped as in JSON, to a whole schema that is no type's own. Empty: none.
    pub(crate) fn describe(&mut self, description: &str) {
        if let Some(Part::Text(text)) = self.0.first_mut().filter(|_| !description.is_empty()) {
            let members = text.trim_start_matches('{').to_owned();
            let comma = if members == "}" { "" } else { "," };
            *text = format!("{{\"description\":\"{description}\"{comma}{members}");
        }
    }

    /// Adds another schema.
    pub(crate) fn append(&mut self, other: Self) {
        for part in other.0 {
            match part {
                Part::Text(text) => self.push(&text),
                other => self.0.push(other),
            }
        }
    }

    /// Adds schemas with commas between them.
    pub(crate) fn append_all(&mut self, schemas: impl IntoIterator<Item = Self>) {
        for (index, schema) in schemas.into_iter().enumerate() {
            if index > 0 {
                self.push(",");
            }
            self.append(schema);
        }
    }

    /// Returns the expression of a reference to the schema.
    pub(crate) fn expression(&self) -> TokenStream {
        let parts = self.0.iter().map(|part| match part {
            Part::Text(text) => quote!(schema.push(#text);),
            Part::Type(description, ty) => quote! {
                schema.push_described(
                    ::plugin_sdk::__private::first_of(
                        #description,
                        <#ty as ::plugin_sdk::Config>::DESCRIPTION,
                    ),
                    <#ty as ::plugin_sdk::Config>::SCHEMA,
                );
            },
        });
        quote! {
            &{
                let mut schema = ::plugin_sdk::SchemaText::new();
                #(#parts)*
                schema
            }
        }
    }
}
