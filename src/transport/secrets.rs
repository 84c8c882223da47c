//! Secrets by reference: the routing document and every record name them, and their values come from the environment or
//! from files when a request needs them. A value that is replaced where it lies is in force with the next request.
//!
//! In a rotation two values stand side by side: the secret `NAME` and `NAME.previous`, the environment variable `VAR` and
//! `VAR_PREVIOUS`. What signs, signs with both; what verifies, takes both; a password is always the current one.

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use zeroize::Zeroizing;

/// Longest secret, in bytes: a chain of certificates has room.
const MAX_SECRET: usize = 64 * 1024;
/// Longest name.
const MAX_NAME: usize = 128;

/// A secret's value. It is never shown, and its memory is overwritten when it is dropped.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(Arc<Zeroizing<Vec<u8>>>);

impl Secret {
    /// Takes a value.
    pub fn new(value: Vec<u8>) -> Self {
        Self(Arc::new(Zeroizing::new(value)))
    }

    /// The value.
    pub fn bytes(&self) -> &[u8] {
        &self.0
    }

    /// The value as text, where it is UTF-8.
    pub fn text(&self) -> Option<&str> {
        std::str::from_utf8(&self.0).ok()
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(…)")
    }
}

/// A secret's values.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Values {
    /// The one in force.
    pub current: Secret,
    /// The one before it, during a rotation.
    pub previous: Option<Secret>,
}

impl Values {
    /// The current one, then the previous one.
    pub fn all(&self) -> impl Iterator<Item = &Secret> {
        [Some(&self.current), self.previous.as_ref()].into_iter().flatten()
    }
}

/// Why a secret has no value. It never holds any part of one.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SecretError {
    /// The name is none.
    #[error("`{0}` is no name of a secret: 1 to {MAX_NAME} characters of [A-Za-z0-9._-], the first no dot")]
    IllegalName(String),
    /// Nothing says where it is.
    #[error("no secret `{0}`: the configuration says neither a variable nor a file nor a directory for it")]
    Nowhere(String),
    /// It can't be read.
    #[error("the secret `{name}` can't be read from {place}: {why}")]
    Unreadable {
        /// Its name.
        name: String,
        /// The variable or file.
        place: String,
        /// What the system says.
        why: String,
    },
}

/// Whether a text can name a secret: 1 to 128 characters of `[A-Za-z0-9._-]`, the first no dot.
pub fn is_secret_name(name: &str) -> bool {
    (1..=MAX_NAME).contains(&name.len())
        && !name.starts_with('.')
        && name.bytes().all(|b| b.is_ascii_alphanumeric() || b"._-".contains(&b))
}

/// Where secrets are.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Secrets {
    /// The value of a secret that was made on the spot, by the secret's name.
    pub held: BTreeMap<String, Secret>,
    /// The environment variable of a secret, by the secret's name.
    pub variables: BTreeMap<String, String>,
    /// The file of a secret, by the secret's name.
    pub files: BTreeMap<String, PathBuf>,
    /// A directory that has a file named like each other secret, as Kubernetes mounts them.
    pub directory: Option<PathBuf>,
}

impl Secrets {
    /// A secret's values, read where they are at this moment. Line ends at the end of a file don't count.
    ///
    /// Blocks for as long as the file system does.
    pub fn read(&self, name: &str) -> Result<Values, SecretError> {
        if !is_secret_name(name) {
            return Err(SecretError::IllegalName(name.chars().take(MAX_NAME).collect()));
        }
        if let Some(held) = self.held.get(name) {
            return Ok(Values { current: held.clone(), previous: None });
        }
        if let Some(variable) = self.variables.get(name) {
            let current = of_environment(variable).map_err(|why| unreadable(name, variable, why))?;
            return Ok(Values { current, previous: of_environment(&format!("{variable}_PREVIOUS")).ok() });
        }
        let path = match (self.files.get(name), &self.directory) {
            (Some(path), _) => path.clone(),
            (None, Some(directory)) => directory.join(name),
            (None, None) => return Err(SecretError::Nowhere(name.to_owned())),
        };
        let current = of_file(&path).map_err(|why| unreadable(name, &path.display().to_string(), why))?;
        let mut previous = path.into_os_string();
        previous.push(".previous");
        Ok(Values { current, previous: of_file(Path::new(&previous)).ok() })
    }

    /// [`Secrets::read`] away from the threads that must not block.
    pub(super) async fn fetch(&self, name: &str) -> Result<Values, SecretError> {
        let (secrets, owned) = (self.clone(), name.to_owned());
        let read = tokio::task::spawn_blocking(move || secrets.read(&owned)).await;
        read.unwrap_or_else(|e| Err(unreadable(name, "a thread of its own", e.to_string())))
    }
}

fn unreadable(name: &str, place: &str, why: String) -> SecretError {
    SecretError::Unreadable { name: name.to_owned(), place: place.to_owned(), why }
}

fn of_environment(variable: &str) -> Result<Secret, String> {
    let value = std::env::var_os(variable).ok_or("the variable is not set")?;
    checked(value.into_encoded_bytes())
}

fn of_file(path: &Path) -> Result<Secret, String> {
    let length = std::fs::metadata(path).map_err(|e| e.to_string())?.len();
    if length > MAX_SECRET as u64 {
        return Err(format!("it is longer than {MAX_SECRET} bytes"));
    }
    let mut value = std::fs::read(path).map_err(|e| e.to_string())?;
    while value.last().is_some_and(|byte| b"\r\n".contains(byte)) {
        value.pop();
    }
    checked(value)
}

fn checked(value: Vec<u8>) -> Result<Secret, String> {
    match value.len() {
        0 => Err("it is empty".to_owned()),
        1..=MAX_SECRET => Ok(Secret::new(value)),
        _ => Err(format!("it is longer than {MAX_SECRET} bytes")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn directory() -> (tempfile::TempDir, Secrets) {
        let directory = tempfile::tempdir().unwrap();
        let secrets = Secrets { directory: Some(directory.path().to_owned()), ..Secrets::default() };
        (directory, secrets)
    }

    #[test]
    fn a_mounted_directory_has_a_file_for_each_and_is_read_anew() {
        let (directory, secrets) = directory();
        std::fs::write(directory.path().join("b-key"), "one\n").unwrap();
        assert_eq!(secrets.read("b-key").unwrap(), Values { current: Secret::new(b"one".into()), previous: None });
        std::fs::write(directory.path().join("b-key"), "two\r\n").unwrap();
        std::fs::write(directory.path().join("b-key.previous"), "one").unwrap();
        let values = secrets.read("b-key").unwrap();
        let all: Vec<&[u8]> = values.all().map(Secret::bytes).collect();
        assert_eq!(all, [b"two", b"one"]);
    }

    #[test]
    fn a_file_or_a_variable_of_its_own_comes_first() {
        let (directory, mut secrets) = directory();
        for (name, value) in [("a", "of the directory"), ("elsewhere", "of a file")] {
            std::fs::write(directory.path().join(name), value).unwrap();
        }
        secrets.files.insert("a".into(), directory.path().join("elsewhere"));
        assert_eq!(secrets.read("a").unwrap().current.text(), Some("of a file"));
        secrets.held.insert("elsewhere".into(), Secret::new(b"made here".into()));
        assert_eq!(secrets.read("elsewhere").unwrap().current.text(), Some("made here"));
        // A variable that every test has.
        secrets.variables.insert("a".into(), "CARGO_MANIFEST_DIR".into());
        assert_eq!(secrets.read("a").unwrap().current.text(), Some(env!("CARGO_MANIFEST_DIR")));
    }

    #[test]
    fn what_is_not_there_is_said_without_any_value() {
        let (directory, secrets) = directory();
        std::fs::write(directory.path().join("empty"), "\n").unwrap();
        std::fs::write(directory.path().join("long"), vec![b's'; MAX_SECRET + 1]).unwrap();
        for name in ["missing", "empty", "long", "../etc/passwd", "", ".hidden", "a/b"] {
            let said = secrets.read(name).unwrap_err().to_string();
            assert!(!said.contains("sss"), "{said}");
        }
        assert_eq!(Secrets::default().read("x"), Err(SecretError::Nowhere("x".into())));
    }

    #[test]
    fn a_value_is_not_printed() {
        let values = Values { current: Secret::new(b"canary".into()), previous: Some(Secret::new(b"canary".into())) };
        assert!(!format!("{values:?} {:#?}", values.current).contains("canary"));
    }
}
