//! One spelling for one value: JSON with sorted keys and no white space, and digests over it.

use serde_json::Value as Json;
use sha2::{Digest, Sha256};

/// Compact JSON in which the keys of every object are sorted by their UTF-8 bytes.
///
/// Two values that are equal have the same bytes, whatever order a map kept its keys in.
pub fn canonical_json(value: &Json) -> String {
    let mut out = Vec::new();
    write_value(value, &mut out);
    String::from_utf8(out).expect("JSON is text")
}

/// `sha256:` and 64 hex digits.
pub fn sha256_digest(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    let mut out = String::from("sha256:");
    for byte in Sha256::digest(bytes) {
        // Writing to a String can't fail.
        let _ = write!(out, "{byte:02x}");
    }
    out
}

fn write_value(value: &Json, out: &mut Vec<u8>) {
    match value {
        Json::Null | Json::Bool(_) | Json::Number(_) | Json::String(_) => write_plain(value, out),
        Json::Array(items) => {
            out.push(b'[');
            for (i, item) in items.iter().enumerate() {
                if i > 0 {
                    out.push(b',');
                }
                write_value(item, out);
            }
            out.push(b']');
        }
        Json::Object(fields) => {
            let mut sorted: Vec<(&String, &Json)> = fields.iter().collect();
            sorted.sort_by_key(|(key, _)| *key);
            out.push(b'{');
            for (i, (key, field)) in sorted.into_iter().enumerate() {
                if i > 0 {
                    out.push(b',');
                }
                write_plain(key, out);
                out.push(b':');
                write_value(field, out);
            }
            out.push(b'}');
        }
    }
}

fn write_plain(value: &(impl serde::Serialize + ?Sized), out: &mut Vec<u8>) {
    serde_json::to_writer(out, value).expect("a Vec takes everything, and a plain value can be JSON");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_sorted_at_every_depth() {
        let value: Json = serde_json::from_str(r#"{ "b": [ {"z": 1, "a": "\u00e9\n"} ], "a": 1.5 }"#).unwrap();
        assert_eq!(canonical_json(&value), "{\"a\":1.5,\"b\":[{\"a\":\"é\\n\",\"z\":1}]}");
    }

    #[test]
    fn a_digest_names_its_algorithm() {
        let empty = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
        assert_eq!(sha256_digest(b""), empty);
    }
}
