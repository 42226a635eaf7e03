//! Types of functions at the border of a module.

use std::fmt;

use wasmparser::ValType;

/// The type of a function.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Signature<'a> {
    pub(crate) params: &'a [ValType],
    pub(crate) results: &'a [ValType],
}

impl fmt::Display for Signature<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_types(f, self.params)?;
        f.write_str(" -> ")?;
        write_types(f, self.results)
    }
}

fn write_types(f: &mut fmt::Formatter<'_>, types: &[ValType]) -> fmt::Result {
    f.write_str("(")?;
    for (at, ty) in types.iter().enumerate() {
        if at > 0 {
            f.write_str(", ")?;
        }
        write!(f, "{ty}")?;
    }
    f.write_str(")")
}
