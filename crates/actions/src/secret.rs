//! Passwords, tokens and keys: read from a file or the environment, never shown.

use std::fmt;
use std::path::{Path, PathBuf};

use thiserror::Error;

/// Longer files are no secrets but mistakes.
const MAX_BYTES: u64 = 64 * 1024;

/// A text that is never printed.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

/// Why a secret could not be read.
#[derive(Debug, Error)]
pub enum SecretError {
    /// The file cannot be read.
    #[error("cannot read the secret in {path}: {error}")]
    File {
        /// Which file.
        path: PathBuf,
        /// Why not.
        error: std::io::Error,
    },
    /// The variable is not set, or not UTF-8.
    #[error("the environment has no readable variable {0}")]
    Environment(String),
    /// There is nothing in it.
    #[error("the secret in {0} is empty")]
    Empty(String),
}

impl Secret {
    /// A secret that is known already.
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// First line of a file.
    pub fn from_file(path: &Path) -> Result<Self, SecretError> {
        let failed = |error| SecretError::File { path: path.to_owned(), error };
        let length = std::fs::metadata(path).map_err(failed)?.len();
        if length > MAX_BYTES {
            let message = format!("{length} bytes; at most {MAX_BYTES} are taken");
            return Err(failed(std::io::Error::other(message)));
        }
        let text = std::fs::read_to_string(path).map_err(failed)?;
        Self::first_line(&text, &path.display().to_string())
    }

    /// First line of a variable of the environment.
    pub fn from_env(name: &str) -> Result<Self, SecretError> {
        let text = std::env::var(name).map_err(|_| SecretError::Environment(name.to_owned()))?;
        Self::first_line(&text, name)
    }

    /// The text itself: for the line, not for logs.
    pub fn expose(&self) -> &str {
        &self.0
    }

    fn first_line(text: &str, from: &str) -> Result<Self, SecretError> {
        match text.lines().next().map(str::trim_end) {
            None | Some("") => Err(SecretError::Empty(from.to_owned())),
            Some(line) => Ok(Self(line.to_owned())),
        }
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(***)")
    }
}

impl fmt::Display for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn is_read_and_not_shown() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("token");
        std::fs::write(&path, "hunter2\nnotes\n").unwrap();
        let secret = Secret::from_file(&path).unwrap();
        assert_eq!(secret.expose(), "hunter2");
        assert!(!format!("{secret} {secret:?} {:?}", Some(&secret)).contains("hunter2"));
        assert!(!Secret::from_env("PATH").unwrap().expose().is_empty());
    }

    #[test]
    fn says_what_is_missing() {
        let dir = tempfile::tempdir().unwrap();
        let (empty, large) = (dir.path().join("empty"), dir.path().join("large"));
        std::fs::write(&empty, "\n").unwrap();
        std::fs::write(&large, vec![b'x'; MAX_BYTES as usize + 1]).unwrap();
        assert!(matches!(Secret::from_file(&empty), Err(SecretError::Empty(_))));
        assert!(Secret::from_file(&large).unwrap_err().to_string().contains("at most"));
        assert!(matches!(Secret::from_file(dir.path()), Err(SecretError::File { .. })));
        let missing = Secret::from_env("TIDEWALL_NO_SUCH_VARIABLE").unwrap_err();
        assert!(missing.to_string().contains("TIDEWALL_NO_SUCH_VARIABLE"));
    }
}
