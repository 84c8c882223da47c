//! Identities and times: the small values that every other record is built of.

use std::borrow::Borrow;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use serde::de::{self, Visitor};
use serde::{Deserialize, Deserializer, Serialize};

/// Longest `file_id` that a producer may choose, in characters.
pub const MAX_FILE_ID: usize = 200;

/// Why a text is no identity. The text names the rule that it breaks.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct IllegalId(pub String);

/// Identity of a file: 1 to 200 characters of `[A-Za-z0-9._:~-]`, immutable.
///
/// A successor's identity is its predecessor's followed by `~` and a number; see [`FileId::successor`].
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(transparent)]
pub struct FileId(Arc<str>);

impl FileId {
    /// Checks the characters and the length of an identity that a producer chose.
    pub fn parse(text: &str) -> Result<Self, IllegalId> {
        let illegal = |why: &str| Err(IllegalId(format!("file_id {why}")));
        if text.is_empty() {
            return illegal("is empty");
        }
        if text.len() > MAX_FILE_ID {
            return illegal("is longer than 200 characters");
        }
        if !text.bytes().all(is_file_id_byte) {
            return illegal("has a character outside [A-Za-z0-9._:~-]");
        }
        let id = Self(text.into());
        if id.generation() > 0 {
            return illegal("ends in ~ and digits, which is reserved for successors");
        }
        Ok(id)
    }

    /// Takes an identity as it stands in a record that consign itself wrote.
    pub fn trusted(text: &str) -> Self {
        Self(text.into())
    }

    /// The identity as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// How many resubmits led to this file: 0 for one that a producer announced.
    pub fn generation(&self) -> u32 {
        self.split_generation().1
    }

    /// The identity of the file that takes this one up: `x` → `x~1` → `x~2`.
    #[must_use]
    pub fn successor(&self) -> Self {
        let (base, generation) = self.split_generation();
        Self(format!("{base}~{}", generation + 1).into())
    }

    fn split_generation(&self) -> (&str, u32) {
        self.0
            .rsplit_once('~')
            .filter(|(base, digits)| {
                !base.is_empty() && !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit())
            })
            .map_or((&self.0, 0), |(base, digits)| (base, digits.parse().unwrap_or(u32::MAX - 1)))
    }
}

fn is_file_id_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"._:~-".contains(&byte)
}

/// Name of a target: 1 to 64 characters of `[a-z0-9-]`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(transparent)]
pub struct TargetName(Arc<str>);

impl TargetName {
    /// Checks a name as it stands in a routing document or a request.
    pub fn parse(text: &str) -> Result<Self, IllegalId> {
        let legal = (1..=64).contains(&text.len())
            && text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-');
        if legal {
            Ok(Self(text.into()))
        } else {
            Err(IllegalId(format!("target name `{text}` is not 1 to 64 characters of [a-z0-9-]")))
        }
    }

    /// Takes a name as it stands in a record that consign itself wrote.
    pub fn trusted(text: &str) -> Self {
        Self(text.into())
    }

    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// Takes a text over with one allocation.
struct Text;

impl Visitor<'_> for Text {
    type Value = Arc<str>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a text")
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<Arc<str>, E> {
        Ok(text.into())
    }
}

macro_rules! text_newtype {
    ($name:ident) => {
        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(&self.0)
            }
        }
        impl Borrow<str> for $name {
            fn borrow(&self) -> &str {
                &self.0
            }
        }
        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                deserializer.deserialize_str(Text).map(Self)
            }
        }
    };
}
text_newtype!(FileId);
text_newtype!(TargetName);

/// A point in time: milliseconds since 1970-01-01T00:00:00Z.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Timestamp(pub i64);

impl Timestamp {
    /// The time `millis` milliseconds later, saturating.
    #[must_use]
    pub fn plus_millis(self, millis: i64) -> Self {
        Self(self.0.saturating_add(millis))
    }

    /// The time that much later, saturating.
    #[must_use]
    pub fn plus(self, duration: Duration) -> Self {
        self.plus_millis(i64::try_from(duration.as_millis()).unwrap_or(i64::MAX))
    }

    /// Milliseconds from `earlier` to here; negative if `earlier` is later.
    pub fn millis_since(self, earlier: Self) -> i64 {
        self.0.saturating_sub(earlier.0)
    }
}

impl fmt::Display for Timestamp {
    /// RFC 3339 in UTC with milliseconds.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // humantime formats 1970 to 9999 only.
        let millis = u64::try_from(self.0).unwrap_or(0).min(253_402_300_799_999);
        let time = std::time::UNIX_EPOCH + Duration::from_millis(millis);
        f.pad(&humantime::format_rfc3339_millis(time).to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_id_has_a_small_alphabet_and_a_bounded_length() {
        for legal in ["a", "a_b", "invoice-2026.11:7", "x~y", "~1"] {
            assert!(FileId::parse(legal).is_ok(), "{legal}");
        }
        let too_long = "x".repeat(201);
        for illegal in ["", "a b", "a/b", "ü", "x~1", "x~007", too_long.as_str()] {
            assert!(FileId::parse(illegal).is_err(), "{illegal}");
        }
    }

    #[test]
    fn successors_are_numbered_from_the_first_file() {
        let file = FileId::parse("x").unwrap();
        assert_eq!(file.successor().as_str(), "x~1");
        assert_eq!(file.successor().successor().as_str(), "x~2");
        assert_eq!(file.successor().generation(), 1);
    }

    #[test]
    fn target_names_are_lower_case() {
        assert!(TargetName::parse("team-b2").is_ok());
        for illegal in ["", "Team", "a_b", "a/b", &"t".repeat(65)] {
            assert!(TargetName::parse(illegal).is_err(), "{illegal}");
        }
    }

    #[test]
    fn times_print_in_utc() {
        assert_eq!(Timestamp(1_700_000_000_123).to_string(), "2023-11-14T22:13:20.123Z");
    }
}
