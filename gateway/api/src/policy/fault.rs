//! A value of the right type that cannot be honoured.

/// Why a field's value, or one entry of a list, is not honoured.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Fault {
    /// The entry of the list; `None`: the field as a whole.
    pub entry: Option<usize>,
    /// The field of the entry, such as `.name`; may be empty.
    pub below: &'static str,
    /// The reason, and what to write instead.
    pub message: String,
}

impl Fault {
    /// A fault of the field as a whole.
    pub fn new(message: impl Into<String>) -> Self {
        Self { entry: None, below: "", message: message.into() }
    }

    /// A fault of a list's entry.
    pub fn entry(index: usize, below: &'static str, message: impl Into<String>) -> Self {
        Self { entry: Some(index), below, message: message.into() }
    }

    /// Returns the place below the field: `[2].name`.
    pub fn place(&self) -> String {
        self.entry.map(|index| format!("[{index}]{}", self.below)).unwrap_or_default()
    }
}
