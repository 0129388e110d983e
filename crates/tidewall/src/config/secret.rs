//! Passwords, tokens and keys: never in the configuration itself, but in a file or a variable of the
//! environment that it names. They are read when the configuration is, and never shown.

use std::path::Path;

use tidewall_actions::Secret;

use super::listen::Text;
use super::sink::Sink;
use super::table::Typed;

/// Reads secrets, and remembers the variables that they come from.
#[derive(Debug, Default)]
pub(super) struct Secrets {
    variables: Vec<String>,
}

impl Secrets {
    /// The secret of a pair of keys, `..._file` and `..._env`; `None` without either, and where it
    /// cannot be read.
    pub(super) fn read(
        &mut self,
        file: Option<&Typed<Text>>,
        variable: Option<&Typed<Text>>,
        sink: &mut Sink,
    ) -> Option<Secret> {
        if let Some(variable) = variable {
            self.variables.push(variable.value.0.clone());
        }
        let (at, secret) = match (file, variable) {
            (Some(file), Some(variable)) => {
                let reason = format!("`{}` is given too", file.at.key);
                sink.error_fix(&variable.at, reason, "a secret comes from one place: keep one");
                return None;
            }
            (Some(file), None) => (&file.at, Secret::from_file(Path::new(&file.value.0))),
            (None, Some(variable)) => (&variable.at, Secret::from_env(&variable.value.0)),
            (None, None) => return None,
        };
        match secret {
            Ok(secret) => Some(secret),
            Err(error) => {
                let fix = "it needs one line with the secret, readable for the service";
                sink.error_fix(at, error.to_string(), fix);
                None
            }
        }
    }

    /// Variables that hold secrets, each once.
    pub(super) fn variables(mut self) -> Vec<String> {
        self.variables.sort_unstable();
        self.variables.dedup();
        self.variables
    }
}
