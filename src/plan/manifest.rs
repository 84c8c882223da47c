//! What a manifest must be before anything is planned, and its digest.

use super::failure;
use crate::record::{Failure, FileId, FileManifest};
use crate::routing::{canonical_record, code, sha256_digest};

/// Longest `name`, in bytes.
pub const MAX_NAME: usize = 1024;
/// Longest `location`, in bytes.
pub const MAX_LOCATION: usize = 2048;
/// Most attributes.
pub const MAX_ATTRIBUTES: usize = 64;
/// Longest value of an attribute, in bytes; a key has at most a quarter of it.
pub const MAX_ATTRIBUTE: usize = 1024;
/// Longest `data`, in bytes.
pub const MAX_DATA: usize = 1024 * 1024;
/// Longest `file_type`, `produced_by` and `media_type`, in bytes.
const MAX_WORD: usize = 255;

/// `sha256:` and hex over the manifest's canonical JSON, fields that are null left out.
pub fn manifest_digest(manifest: &FileManifest) -> String {
    sha256_digest(canonical_record(manifest, &[]).as_bytes())
}

/// Whether a producer's manifest can be accepted at all: a legal `file_id`, no empty names, no over-long fields. The error
/// has the code CG120. Whether the file fits the routing document is for [`super::plan`] to say.
pub fn check_manifest(manifest: &FileManifest) -> Result<(), Failure> {
    match fault(manifest) {
        Some(text) => Err(failure(code::MANIFEST, text)),
        None => Ok(()),
    }
}

fn fault(manifest: &FileManifest) -> Option<String> {
    if let Err(illegal) = FileId::parse(manifest.file_id.as_str()) {
        return Some(illegal.to_string());
    }
    if manifest.schema_version < 1 {
        return Some(format!("schema_version is {}, less than 1", manifest.schema_version));
    }
    let named = [
        ("file_type", Some(manifest.file_type.as_str()), MAX_WORD),
        ("name", Some(&manifest.name), MAX_NAME),
        ("produced_by", Some(&manifest.produced_by), MAX_WORD),
        ("location", manifest.location.as_deref(), MAX_LOCATION),
        ("media_type", manifest.media_type.as_deref(), MAX_WORD),
    ];
    named
        .into_iter()
        .find_map(|(field, text, limit)| name_fault(field, text?, limit))
        .or_else(|| attributes_fault(manifest))
        .or_else(|| content_fault(manifest))
}

fn name_fault(field: &str, text: &str, limit: usize) -> Option<String> {
    if text.trim().is_empty() {
        Some(format!("{field} is empty"))
    } else if text.len() > limit {
        Some(format!("{field} has {} bytes, more than {limit}", text.len()))
    } else if text.chars().any(char::is_control) {
        Some(format!("{field} has a control character"))
    } else {
        None
    }
}

fn attributes_fault(manifest: &FileManifest) -> Option<String> {
    let attributes = &manifest.attributes;
    if attributes.len() > MAX_ATTRIBUTES {
        return Some(format!("there are {} attributes, more than {MAX_ATTRIBUTES}", attributes.len()));
    }
    attributes.iter().find_map(|(key, value)| {
        let too_long = |what: &str, limit| Some(format!("{what} of an attribute is longer than {limit} bytes"));
        if key.is_empty() {
            Some("an attribute has no name".to_owned())
        } else if key.len() > MAX_ATTRIBUTE / 4 {
            too_long("the name", MAX_ATTRIBUTE / 4)
        } else if value.len() > MAX_ATTRIBUTE {
            too_long("the value", MAX_ATTRIBUTE)
        } else {
            None
        }
    })
}

fn content_fault(manifest: &FileManifest) -> Option<String> {
    if let Some(size) = manifest.size.filter(|size| *size < 0) {
        return Some(format!("size is {size}"));
    }
    let is_digest = |text: &str| {
        text.strip_prefix("sha256:")
            .is_some_and(|hex| hex.len() == 64 && hex.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b)))
    };
    if manifest.checksum.as_deref().is_some_and(|checksum| !is_digest(checksum)) {
        return Some("checksum is not `sha256:` and 64 lower-case hex digits".to_owned());
    }
    let length = manifest.data.as_ref().map_or(0, String::len);
    (length > MAX_DATA).then(|| format!("data has {length} bytes, more than {MAX_DATA}"))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::record::Timestamp;

    fn manifest() -> FileManifest {
        FileManifest {
            file_id: FileId::trusted("invoice-1"),
            schema_version: 1,
            file_type: "invoice".to_owned(),
            name: "invoice 1.json".to_owned(),
            location: None,
            size: Some(3),
            checksum: Some(format!("sha256:{}", "0a".repeat(32))),
            media_type: None,
            attributes: BTreeMap::from([("region".to_owned(), "eu".to_owned())]),
            data: Some(r#"{"b":1, "a":2}"#.to_owned()),
            produced_by: "erp".to_owned(),
            produced_at: Timestamp(1_700_000_000_000),
            deadline: None,
        }
    }

    #[test]
    fn a_manifest_of_ordinary_size_is_accepted() {
        assert_eq!(check_manifest(&manifest()), Ok(()));
    }

    #[test]
    fn every_fault_of_a_manifest_is_named() {
        type Spoil = fn(&mut FileManifest);
        let faults: [(&str, Spoil); 17] = [
            ("file_id has a character", |m| m.file_id = FileId::trusted("a b")),
            ("reserved for successors", |m| m.file_id = FileId::trusted("a~1")),
            ("schema_version is 0", |m| m.schema_version = 0),
            ("file_type is empty", |m| m.file_type = String::new()),
            ("name is empty", |m| m.name = " ".to_owned()),
            ("name has 1025 bytes", |m| m.name = "x".repeat(1025)),
            ("name has a control character", |m| m.name = "a\u{1b}[2J".to_owned()),
            ("produced_by is empty", |m| m.produced_by = String::new()),
            ("location has 2049 bytes", |m| m.location = Some("x".repeat(2049))),
            ("media_type is empty", |m| m.media_type = Some(String::new())),
            ("there are 65 attributes", |m| {
                m.attributes = (0..65).map(|i| (i.to_string(), String::new())).collect();
            }),
            ("an attribute has no name", |m| m.attributes = BTreeMap::from([(String::new(), String::new())])),
            ("the name of an attribute", |m| m.attributes = BTreeMap::from([("x".repeat(257), String::new())])),
            ("the value of an attribute", |m| m.attributes = BTreeMap::from([("x".to_owned(), "x".repeat(1025))])),
            ("size is -1", |m| m.size = Some(-1)),
            ("checksum is not", |m| m.checksum = Some("sha256:abc".to_owned())),
            ("data has 1048577 bytes", |m| m.data = Some("x".repeat(1_048_577))),
        ];
        for (text, spoil) in faults {
            let mut manifest = manifest();
            spoil(&mut manifest);
            let failure = check_manifest(&manifest).unwrap_err();
            assert_eq!(failure.code, code::MANIFEST);
            assert!(failure.text.contains(text), "{text}: {failure:?}");
        }
    }

    #[test]
    fn the_digest_is_that_of_the_sorted_json_without_nulls() {
        let digest = manifest_digest(&manifest());
        let json = concat!(
            r#"{"attributes":{"region":"eu"},"#,
            r#""checksum":"sha256:0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a","#,
            r#""data":"{\"b\":1, \"a\":2}","file_id":"invoice-1","file_type":"invoice","name":"invoice 1.json","#,
            r#""produced_at":1700000000000,"produced_by":"erp","schema_version":1,"size":3}"#,
        );
        assert_eq!(digest, sha256_digest(json.as_bytes()));
        let other = FileManifest { name: "other".to_owned(), ..manifest() };
        assert_ne!(manifest_digest(&other), digest);
    }
}
