//! Text of JSON schemas, built at compile time.

/// Maximum bytes of a schema. A longer one does not compile.
const MAX_SCHEMA_BYTES: usize = 32 << 10;

/// The text of a JSON schema.
#[derive(Clone, Copy, Debug)]
pub struct SchemaText {
    bytes: [u8; MAX_SCHEMA_BYTES],
    len: usize,
}

impl SchemaText {
    /// Creates an empty text.
    #[doc(hidden)]
    pub const fn new() -> Self {
        Self { bytes: [0; MAX_SCHEMA_BYTES], len: 0 }
    }

    /// Creates a text.
    #[doc(hidden)]
    pub const fn literal(text: &str) -> Self {
        let mut schema = Self::new();
        schema.push(text);
        schema
    }

    /// Creates the schema `{"KEY":SCHEMA REST}`, such as an array of items.
    #[doc(hidden)]
    pub const fn wrapping(before: &str, schema: &Self, behind: &str) -> Self {
        let mut outer = Self::new();
        outer.push(before);
        outer.push(schema.as_str());
        outer.push(behind);
        outer
    }

    /// Creates the document of a schema.
    #[doc(hidden)]
    pub const fn document(description: &str, schema: &Self) -> Self {
        let mut document = Self::new();
        document.push(r#"{"$schema":"https://json-schema.org/draft/2020-12/schema","#);
        let mut described = Self::new();
        described.push_described(description, schema);
        document.push(described.as_str().split_at(1).1);
        document
    }

    /// Adds text.
    #[doc(hidden)]
    pub const fn push(&mut self, text: &str) {
        let (_, free) = self.bytes.split_at_mut(self.len);
        free.split_at_mut(text.len()).0.copy_from_slice(text.as_bytes());
        self.len += text.len();
    }

    /// Adds a schema with a description, which is escaped as in JSON already. Empty: none.
    #[doc(hidden)]
    pub const fn push_described(&mut self, description: &str, schema: &Self) {
        if description.is_empty() {
            self.push(schema.as_str());
            return;
        }
        self.push(r#"{"description":""#);
        self.push(description);
        self.push(r#"""#);
        // All schemas are objects.
        let members = schema.as_str().split_at(1).1;
        if members.len() > 1 {
            self.push(",");
        }
        self.push(members);
    }

    /// Returns the text.
    pub const fn as_str(&self) -> &str {
        match std::str::from_utf8(self.bytes.split_at(self.len).0) {
            Ok(text) => text,
            Err(_) => "",
        }
    }
}

impl Default for SchemaText {
    fn default() -> Self {
        Self::new()
    }
}

/// Copies a text to an array of its length.
#[doc(hidden)]
pub const fn to_array<const N: usize>(text: &str) -> [u8; N] {
    let mut bytes = [0; N];
    bytes.copy_from_slice(text.as_bytes());
    bytes
}

/// Returns the first text that is not empty.
#[doc(hidden)]
pub const fn first_of<'a>(text: &'a str, other: &'a str) -> &'a str {
    if text.is_empty() { other } else { text }
}
