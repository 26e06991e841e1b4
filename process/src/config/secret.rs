//! Secrets come from the environment or from a file, never from a flag: flags are visible to every process.

use std::path::Path;

use secrecy::SecretString;

use crate::Failure;

/// The variable's value, or else the file's content without the end of its last line.
pub(super) fn read(variable: &str, file: Option<&Path>) -> Result<Option<SecretString>, Failure> {
    if let Ok(value) = std::env::var(variable) {
        return Ok(Some(SecretString::from(value)));
    }
    let Some(path) = file else { return Ok(None) };
    let text = std::fs::read_to_string(path).map_err(|error| {
        Failure::configuration(format!("can't read the password in {}", path.display()))
            .because(error)
            .remedy(format!("make it readable for us alone, or set {variable}"))
    })?;
    Ok(Some(SecretString::from(text.trim_end_matches(['\r', '\n']).to_owned())))
}
