//! Edits of fields.

use plugin_sdk::prelude::*;

use crate::template::Template;

/// An edit of fields. An edit whose value names a property that is absent has no effect.
#[derive(Deserialize, Config)]
#[serde(tag = "action", rename_all = "camelCase", deny_unknown_fields)]
pub(crate) enum Edit {
    /// Replaces all fields of a name with one.
    Set {
        /// Name of the field.
        name: String,
        /// Its value. `${request.path}` and the like are replaced by properties.
        value: Template,
    },
    /// Adds a field if there is none of the name.
    Add {
        /// Name of the field.
        name: String,
        /// Its value. `${request.path}` and the like are replaced by properties.
        value: Template,
    },
    /// Adds a field behind those of the name.
    Append {
        /// Name of the field.
        name: String,
        /// Its value. `${request.path}` and the like are replaced by properties.
        value: Template,
    },
    /// Removes all fields of a name.
    Remove {
        /// Name of the fields.
        name: String,
    },
    /// Gives all fields of a name another name, in place of those that have it.
    Rename {
        /// Name of the fields.
        name: String,
        /// Their new name.
        to: String,
    },
}

/// Applies edits to a message, in order.
pub(crate) fn apply(edits: &[Edit], message: &mut impl Headers) -> Result<(), Error> {
    for edit in edits {
        match edit {
            Edit::Set { name, value } => {
                if let Some(value) = value.render()? {
                    message.set(name, value)?;
                }
            }
            Edit::Add { name, value } => {
                if !message.contains(name)?
                    && let Some(value) = value.render()?
                {
                    message.append(name, value)?;
                }
            }
            Edit::Append { name, value } => {
                if let Some(value) = value.render()? {
                    message.append(name, value)?;
                }
            }
            Edit::Remove { name } => message.remove(name)?,
            Edit::Rename { name, to } => rename(message, name, to)?,
        }
    }
    Ok(())
}

fn rename(message: &mut impl Headers, name: &str, to: &str) -> Result<(), Error> {
    let fields = message.fields()?;
    let values: Vec<_> = fields.get_all_bytes(name).collect();
    if values.is_empty() {
        return Ok(());
    }
    message.remove(name)?;
    message.remove(to)?;
    for value in values {
        message.append(to, value)?;
    }
    Ok(())
}
